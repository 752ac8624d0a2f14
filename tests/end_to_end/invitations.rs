//! Colleagues: invited, joining with the role that was offered, and seen in the audit log.

use harness::{Person, Stack, sign_in};
use http::StatusCode;
use sqlx::PgPool;

const PASSWORD: &str = "cobalt lantern orbit whisper";

async fn invite(ada: &mut Person, email: &str, role: &str) -> StatusCode {
    let path = ada.path("/members/invite");
    let typed = [("emails", email), ("role", role)];
    ada.browser.fill(&path, "/members/invite", &typed).await.status
}

#[sqlx::test(migrations = "../migrations")]
async fn a_colleague_joins_with_fewer_rights_and_the_log_tells(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.confirmed("ada@acme.test", "Acme").await;
    ada.first_key().await;
    assert_eq!(invite(&mut ada, "bob@acme.test", "developer").await, StatusCode::SEE_OTHER);

    let link = stack.link_mailed_to("bob@acme.test", "/invites/").await;
    let mut bob = stack.browser();
    let page = bob.page(&link).await;
    for shown in ["Acme", "Developer", "ada@acme.test"] {
        assert!(page.words().contains(shown), "{shown} before accepting: {}", page.words());
    }
    // Looking does not use it up.
    stack.browser().page(&link).await;
    let answer = bob.fill(&link, &link, &[("password", PASSWORD)]).await;
    assert_eq!(answer.location(), Some(ada.path("")), "{answer:?}");
    let first = bob.follow(&answer).await;
    assert_eq!(first.status, StatusCode::OK);
    assert!(first.page().words().contains("Developer"));

    // A developer makes keys, and neither invites nor changes the organization.
    assert_eq!(bob.get(&ada.path("/keys/new")).await.status, StatusCode::OK);
    for path in ["/members/invite", "/teams/new", "/projects/new", "/cost-centers/new"] {
        let answer = bob.get(&ada.path(path)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
        assert!(answer.page().words().contains("Owner or Admin") || path.contains("cost"));
    }
    assert!(!first.page().links().any(|it| it.ends_with("/members/invite")));

    // The link is used up.
    let again = stack.browser().get(&link).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND, "{again:?}");

    let audit = ada.browser.page(&ada.path("/audit")).await;
    let words = audit.words();
    for told in ["organization", "key", "invitation", "bob@acme.test", "ada@acme.test"] {
        assert!(words.contains(told), "{told} is not in the log: {words}");
    }
    let actions: Vec<String> = sqlx::query_scalar(
        "SELECT action FROM audit_entries e JOIN organizations o ON o.id = e.organization_id
          WHERE o.slug = $1 ORDER BY seq",
    )
    .bind(&ada.slug)
    .fetch_all(&stack.root)
    .await
    .unwrap();
    for action in ["organization.created", "invitation"] {
        assert!(actions.iter().any(|it| it.starts_with(action)), "{action} in {actions:?}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn an_invitation_is_for_its_address_only(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.confirmed("ada@acme.test", "Acme").await;
    invite(&mut ada, "bob@acme.test", "admin").await;
    let link = stack.link_mailed_to("bob@acme.test", "/invites/").await;
    let mut eve = stack.confirmed("eve@evil.test", "Evil").await;
    let page = eve.browser.get(&link).await;
    assert!(page.status == StatusCode::OK || page.status.is_client_error(), "{page:?}");
    let offers = page.is_html() && page.page().forms().iter().any(|it| it.action == link);
    if offers {
        let answer = eve.browser.fill(&link, &link, &[]).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
    }
    let answer = eve.browser.get(&ada.path("")).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

/// One who has an account signs in and accepts; the password of the account is not
/// replaced by whoever holds the link.
#[sqlx::test(migrations = "../migrations")]
async fn who_has_an_account_joins_with_it(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.confirmed("ada@acme.test", "Acme").await;
    let bob = stack.confirmed("bob@acme.test", "Bob's own").await;
    invite(&mut ada, "bob@acme.test", "viewer").await;
    let link = stack.link_mailed_to("bob@acme.test", "/invites/").await;
    let mut browser = stack.browser();
    let page = browser.page(&link).await;
    let has_password = page
        .forms()
        .iter()
        .any(|it| it.action == link && it.names.contains(&"password".to_owned()));
    assert!(!has_password, "an account's password cannot be set by an invitation");
    sign_in(&mut browser, &bob.email, &bob.password).await;
    let answer = browser.fill(&link, &link, &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    assert_eq!(browser.get(&ada.path("")).await.status, StatusCode::OK);
    assert!(browser.page("/orgs").await.words().contains("Bob's own"));
}

#[sqlx::test(migrations = "../migrations")]
async fn an_invitation_taken_back_opens_nothing(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.confirmed("ada@acme.test", "Acme").await;
    invite(&mut ada, "bob@acme.test", "viewer").await;
    let first = stack.link_mailed_to("bob@acme.test", "/invites/").await;
    let members = ada.path("/members");
    let answer = ada.browser.fill(&members, "/resend", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    let second = stack.link_mailed_to("bob@acme.test", "/invites/").await;
    assert_ne!(first, second);
    assert_eq!(stack.browser().get(&first).await.status, StatusCode::NOT_FOUND);
    assert_eq!(stack.browser().get(&second).await.status, StatusCode::OK);
    let answer = ada.browser.fill(&members, "/revoke", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    assert_eq!(stack.browser().get(&second).await.status, StatusCode::NOT_FOUND);
}

/// A member who is taken out is out at once, and their keys with them.
#[sqlx::test(migrations = "../migrations")]
async fn who_is_taken_out_is_out(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.confirmed("ada@acme.test", "Acme").await;
    let role = control_plane::access::Role::Developer;
    let mut dev = stack.planted("dev@acme.test", &ada.slug, role).await;
    let key = dev.first_key().await;
    stack.published().await;
    assert_eq!(stack.program(&key).get("/v1/models").await.status, StatusCode::OK);

    let members = ada.browser.page(&ada.path("/members")).await;
    let dev_page = members.links().find(|it| {
        let (_, id) = it.rsplit_once('/').unwrap_or_default();
        it.contains("/members/") && id.starts_with("per") && {
            let link = members.all("a").find(|a| a.attribute("href") == Some(it)).unwrap();
            members.text_of(link).contains("dev@acme.test")
        }
    });
    let dev_page = dev_page.expect("the developer has a page").to_owned();
    let answer = ada.browser.fill(&dev_page, "/remove", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    assert_eq!(dev.browser.get(&dev.path("/keys")).await.status, StatusCode::NOT_FOUND);
    stack.published().await;
    assert_eq!(stack.program(&key).get("/v1/models").await.status, StatusCode::UNAUTHORIZED);
}
