//! One-time codes and recovery codes.

use harness::{Person, Stack, one_time_code, sign_in};
use http::StatusCode;
use sqlx::PgPool;

pub struct Enrolled {
    pub seed: String,
    pub recovery_codes: Vec<String>,
    /// The code that confirmed it.
    pub used: String,
}

/// Sets up a second factor as its owner would.
pub async fn enrolled(ada: &mut Person) -> Enrolled {
    let typed = [("current_password", ada.password.as_str())];
    let answer = ada.browser.fill("/account/security", "/account/mfa", &typed).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let page = answer.page();
    // 160 bits in base 32, in groups of four.
    let words = page.words();
    let is_group = |it: &&str| {
        it.len() == 4 && it.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b))
    };
    let groups: Vec<_> = words.split_whitespace().filter(is_group).collect();
    assert_eq!(groups.len(), 8, "{words}");
    let seed = groups.join(" ");
    // The step before, so that the one of now is still to be used.
    let used = one_time_code(&seed, -1);
    let answer = ada.browser.submit(page.form("/account/mfa/confirm"), &[("code", &used)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let page = answer.page();
    let is_code = |it: &&str| it.len() == 13 && it.as_bytes()[6] == b'-';
    let recovery_codes: Vec<_> =
        page.words().split_whitespace().filter(is_code).map(ToOwned::to_owned).collect();
    assert_eq!(recovery_codes.len(), 10, "{}", page.words());
    Enrolled { seed, recovery_codes, used }
}

async fn show(stack: &Stack, ada: &Person, code: &str) -> StatusCode {
    let mut browser = stack.browser();
    let answer = sign_in(&mut browser, &ada.email, &ada.password).await;
    assert_eq!(answer.location().as_deref(), Some("/login/mfa?next=%2Fstart"), "{answer:?}");
    assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER, "not yet");
    let answer = browser.fill("/login/mfa", "/login/mfa", &[("code", code)]).await;
    if answer.status == StatusCode::SEE_OTHER {
        assert_eq!(browser.get("/account").await.status, StatusCode::OK);
    }
    answer.status
}

#[sqlx::test(migrations = "../migrations")]
async fn a_code_works_once(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let factor = enrolled(&mut ada).await;
    assert_eq!(show(&stack, &ada, &factor.used).await, StatusCode::UNPROCESSABLE_ENTITY);
    let code = one_time_code(&factor.seed, 1);
    assert_eq!(show(&stack, &ada, &code).await, StatusCode::SEE_OTHER);
    assert_eq!(show(&stack, &ada, &code).await, StatusCode::UNPROCESSABLE_ENTITY);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_recovery_code_works_once(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let factor = enrolled(&mut ada).await;
    let code = &factor.recovery_codes[3];
    assert_eq!(show(&stack, &ada, code).await, StatusCode::SEE_OTHER);
    assert_eq!(show(&stack, &ada, code).await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(show(&stack, &ada, &factor.recovery_codes[4]).await, StatusCode::SEE_OTHER);
}

#[sqlx::test(migrations = "../migrations")]
async fn codes_cannot_be_tried_one_after_the_other(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let factor = enrolled(&mut ada).await;
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.push(show(&stack, &ada, "000000").await);
    }
    assert_eq!(seen.last(), Some(&StatusCode::TOO_MANY_REQUESTS), "{seen:?}");
    // Not even the right one passes meanwhile.
    let code = one_time_code(&factor.seed, 1);
    assert_eq!(show(&stack, &ada, &code).await, StatusCode::TOO_MANY_REQUESTS);
}

/// A session that somebody left open does not get the factor off the account.
#[sqlx::test(migrations = "../migrations")]
async fn a_second_factor_is_not_taken_off_without_the_password(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    enrolled(&mut ada).await;
    for (action, wrong) in [("/mfa/disable", "guess"), ("/mfa/codes", "guess")] {
        let typed = [("current_password", wrong)];
        let answer = ada.browser.fill("/account/security", action, &typed).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
    }
    let typed = [("current_password", ada.password.as_str())];
    let answer = ada.browser.fill("/account/security", "/mfa/disable", &typed).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    let answer = sign_in(&mut stack.browser(), &ada.email, &ada.password).await;
    assert_eq!(answer.location().as_deref(), Some("/start"), "{answer:?}");
}

/// Who has none sees nothing of an organization that asks for one.
#[sqlx::test(migrations = "../migrations")]
async fn an_organization_can_require_a_second_factor(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let mut dev =
        stack.planted("dev@acme.test", &ada.slug, control_plane::access::Role::Developer).await;
    let settings = ada.path("/settings");
    let on = [("requires_second_factor", "true")];
    let answer = ada.browser.fill(&settings, "/settings/security", &on).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "one must have one: {answer:?}");
    enrolled(&mut ada).await;
    let answer = ada.browser.fill(&settings, "/settings/security", &on).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");

    let keys = dev.path("/keys");
    let answer = dev.browser.get(&keys).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    assert!(answer.page().words().contains("second factor"));
    enrolled(&mut dev).await;
    assert_eq!(dev.browser.get(&keys).await.status, StatusCode::OK);
}
