//! Getting back in, and showing that an address is one's own.

use futures::future::join_all;
use harness::{Stack, one_time_code, sign_in};
use http::StatusCode;
use sqlx::PgPool;

use crate::second_factor::enrolled;

const NEW: &str = "cobalt lantern orbit whisper";

async fn ask(stack: &Stack, email: &str) -> String {
    let mut browser = stack.browser();
    let answer = browser.fill("/password/reset", "/password/reset", &[("email", email)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    stack.link_mailed_to(email, "/password/reset/").await
}

#[sqlx::test(migrations = "../migrations")]
async fn a_reset_link_works_once_and_ends_every_session(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.confirmed("ada@acme.test", "Acme").await;
    let link = ask(&stack, &ada.email).await;
    let mut browser = stack.browser();
    // Those who scan mail look first.
    for _ in 0..3 {
        assert_eq!(browser.get(&link).await.status, StatusCode::OK);
    }
    let weak = browser.fill(&link, &link, &[("password", "too short")]).await;
    assert_eq!(weak.status, StatusCode::UNPROCESSABLE_ENTITY, "{weak:?}");
    let answer = browser.fill(&link, &link, &[("password", NEW)]).await;
    assert_eq!(answer.location().as_deref(), Some("/login"), "{answer:?}");
    assert_eq!(browser.cookie("__Host-session"), None, "a link is no sign-in");

    assert_eq!(browser.get(&link).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ada.browser.get("/account").await.status, StatusCode::SEE_OTHER);
    let answer = sign_in(&mut browser, &ada.email, NEW).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    // The owner of the account hears of it.
    let letters = stack.browser().page("/dev/mailbox").await;
    assert!(letters.words().contains("Your password was changed"));
}

#[sqlx::test(migrations = "../migrations")]
async fn of_many_who_use_a_reset_link_at_once_one_succeeds(root: PgPool) {
    let stack = Stack::start(root).await;
    let ada = stack.confirmed("ada@acme.test", "Acme").await;
    let link = ask(&stack, &ada.email).await;
    let tries = (0..8).map(|_| {
        let (mut browser, link) = (stack.browser(), link.clone());
        async move {
            let page = browser.page(&link).await;
            (browser, page.form(&link))
        }
    });
    let ready = join_all(tries).await;
    let sent = ready.into_iter().map(|(mut browser, form)| async move {
        browser.submit(form, &[("password", NEW)]).await.status
    });
    let seen = join_all(sent).await;
    let succeeded = seen.iter().filter(|it| **it == StatusCode::SEE_OTHER).count();
    assert_eq!(succeeded, 1, "{seen:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_new_password_does_not_get_around_the_second_factor(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.confirmed("ada@acme.test", "Acme").await;
    let enrolled = enrolled(&mut ada).await;
    let link = ask(&stack, &ada.email).await;
    let mut browser = stack.browser();
    browser.fill(&link, &link, &[("password", NEW)]).await;
    let answer = sign_in(&mut browser, &ada.email, NEW).await;
    assert_eq!(answer.location().as_deref(), Some("/login/mfa?next=%2Fstart"), "{answer:?}");
    assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER);
    let code = one_time_code(&enrolled.seed, 1);
    let answer = browser.fill("/login/mfa", "/login/mfa", &[("code", &code)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    assert_eq!(browser.get("/account").await.status, StatusCode::OK);
}

#[sqlx::test(migrations = "../migrations")]
async fn looking_at_a_confirmation_link_does_not_use_it_up(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let link = stack.link_mailed_to(&ada.email, "/verify/").await;
    for _ in 0..3 {
        assert_eq!(stack.browser().get(&link).await.status, StatusCode::OK);
    }
    assert!(ada.browser.page("/account").await.words().contains("Not confirmed"));
    let answer = ada.browser.fill(&link, &link, &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    assert!(!ada.browser.page("/account").await.words().contains("Not confirmed"));
    assert_eq!(ada.browser.get(&link).await.status, StatusCode::NOT_FOUND);
}

/// Whoever confirms an address has it; the others who claimed it do not, and cannot.
#[sqlx::test(migrations = "../migrations")]
async fn an_address_belongs_to_who_reads_its_mail(root: PgPool) {
    let stack = Stack::start(root).await;
    let squatter = stack.signed_up("ada@acme.test", "Squatters").await;
    let planted = stack.link_mailed_to(&squatter.email, "/verify/").await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let link = stack.link_mailed_to(&ada.email, "/verify/").await;
    assert_ne!(planted, link);
    let answer = ada.browser.fill(&link, &link, &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    // The older link, opened now, takes nothing away.
    let mut browser = stack.browser();
    let page = browser.get(&planted).await;
    if page.status == StatusCode::OK {
        let answer = browser.fill(&planted, &planted, &[]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
    }
    let verified: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM people WHERE email = 'ada@acme.test' AND email_verified_at IS NOT NULL",
    )
    .fetch_one(&stack.root)
    .await
    .unwrap();
    assert_eq!(verified, 1);
    // And the password that works for the address is the reader's.
    let link = ask(&stack, "ada@acme.test").await;
    let mut browser = stack.browser();
    browser.fill(&link, &link, &[("password", NEW)]).await;
    sign_in(&mut browser, "ada@acme.test", NEW).await;
    assert!(browser.page("/orgs").await.words().contains("Acme"));
    assert!(!browser.page("/orgs").await.words().contains("Squatters"));
}
