//! How a session begins and, more to the point, ends.

use harness::{Request, Stack, sign_in};
use http::StatusCode;
use sqlx::PgPool;

const SESSION: &str = "__Host-session";

#[sqlx::test(migrations = "../migrations")]
async fn signing_out_kills_the_session(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let stolen = ada.browser.clone();
    let answer = ada.browser.fill("/account", "/logout", &[]).await;
    assert_eq!(answer.location().as_deref(), Some("/login"), "{answer:?}");
    assert!(answer.header("clear-site-data").is_some());
    assert_eq!(ada.browser.cookie(SESSION), None);
    // Whoever kept the cookie has nothing.
    for mut browser in [ada.browser, stolen] {
        let answer = browser.get("/account").await;
        assert_eq!(answer.location().as_deref(), Some("/login?next=%2Faccount"), "{answer:?}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_session_is_never_one_that_the_browser_brought(root: PgPool) {
    let stack = Stack::start(root).await;
    let ada = stack.signed_up("ada@acme.test", "Acme").await;
    let mut browser = stack.browser();
    browser.set_cookie(SESSION, "0123456789abcdef0123456789abcdef");
    let answer = sign_in(&mut browser, &ada.email, &ada.password).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    let first = browser.cookie(SESSION).unwrap().to_owned();
    assert_ne!(first, "0123456789abcdef0123456789abcdef");
    assert!(first.len() >= 22, "128 bits at least");
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions WHERE token_hash = $1")
        .bind(first.as_bytes())
        .fetch_one(&stack.root)
        .await
        .unwrap();
    assert_eq!(kept, 0, "only a hash is kept");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_new_password_ends_every_other_session(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let mut elsewhere = stack.browser();
    sign_in(&mut elsewhere, &ada.email, &ada.password).await;
    assert_eq!(elsewhere.get("/account").await.status, StatusCode::OK);
    let before = ada.browser.clone();

    let new = "cobalt lantern orbit whisper";
    let typed = [("current_password", ada.password.as_str()), ("new_password", new)];
    let answer = ada.browser.fill("/account/security", "/account/password", &typed).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");

    assert_eq!(ada.browser.get("/account").await.status, StatusCode::OK);
    for mut old in [elsewhere, before] {
        assert_eq!(old.get("/account").await.status, StatusCode::SEE_OTHER);
    }
    let mut browser = stack.browser();
    let answer = sign_in(&mut browser, &ada.email, &ada.password).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
    let answer = sign_in(&mut browser, &ada.email, new).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_session_is_ended_from_another_one(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let mut elsewhere = stack.browser();
    sign_in(&mut elsewhere, &ada.email, &ada.password).await;
    let mut third = stack.browser();
    sign_in(&mut third, &ada.email, &ada.password).await;

    let page = ada.browser.page("/account/security").await;
    let others: Vec<_> = page
        .forms()
        .into_iter()
        .filter(|it| it.action.starts_with("/account/sessions/ses_"))
        .collect();
    let latest = others.into_iter().next().expect("other sessions can be ended");
    let answer = ada.browser.submit(latest, &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    let left = [elsewhere.get("/account").await.status, third.get("/account").await.status];
    assert_eq!(left.iter().filter(|it| **it == StatusCode::OK).count(), 1, "{left:?}");

    let answer = ada.browser.fill("/account/security", "/revoke-others", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    for mut browser in [elsewhere, third] {
        assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER);
    }
    assert_eq!(ada.browser.get("/account").await.status, StatusCode::OK);
}

/// Bob cannot end Ada's.
#[sqlx::test(migrations = "../migrations")]
async fn nobody_ends_anothers_session(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let mut bob = stack.signed_up("bob@other.test", "Other").await;
    let id: String = sqlx::query_scalar(
        "SELECT s.id::text FROM sessions s JOIN people p ON p.id = s.person_id WHERE p.email = $1",
    )
    .bind(&ada.email)
    .fetch_one(&stack.root)
    .await
    .unwrap();
    let id = format!("ses_{}", id.replace('-', ""));
    let page = bob.browser.page("/account").await;
    let csrf = page.form("/logout").fields[0].1.clone();
    for path in [format!("/account/sessions/{id}/revoke"), "/account/sessions/ses_1/revoke".into()]
    {
        let answer = bob.browser.send(Request::form(&path, &[("csrf", &csrf)])).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
    }
    assert_eq!(ada.browser.get("/account").await.status, StatusCode::OK);
}

/// After signing in one goes on where one was going, and nowhere else.
#[sqlx::test(migrations = "../migrations")]
async fn nobody_is_sent_to_another_site(root: PgPool) {
    let stack = Stack::start(root).await;
    let ada = stack.signed_up("ada@acme.test", "Acme").await;
    let outside = [
        "https://evil.test/",
        "//evil.test",
        "///evil.test",
        "/\\evil.test",
        "/%5cevil.test/..//",
        "\\\\evil.test",
        "javascript:alert(1)",
        "/a%0d%0alocation:%20https://evil.test",
        "%2f%2fevil.test",
        "https:evil.test",
        "/\t/evil.test",
    ];
    for next in outside {
        let encoded: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        let mut browser = stack.browser();
        let path = format!("/login?next={encoded}");
        let typed = [("email", ada.email.as_str()), ("password", ada.password.as_str())];
        // Reading the location checks that it is within our site.
        let answer = browser.fill(&path, "/login", &typed).await;
        let location = answer.location().unwrap_or_else(|| panic!("{answer:?}"));
        assert!(
            !location.contains("evil") || location.starts_with("/%") || location.starts_with("/a"),
            "{location}"
        );
        // Neither when one is signed in already.
        browser.get(&path).await.location().unwrap();
    }
    let mut browser = stack.browser();
    let wanted = ada.path("/keys?status=all");
    let answer = browser.get(&wanted).await;
    let login = answer.location().unwrap();
    let typed = [("email", ada.email.as_str()), ("password", ada.password.as_str())];
    let answer = browser.fill(&login, "/login", &typed).await;
    assert_eq!(answer.location(), Some(wanted));
}

/// A link in a mail is at our address, whatever host the request named.
#[sqlx::test(migrations = "../migrations")]
async fn the_host_of_a_request_is_not_believed(root: PgPool) {
    let stack = Stack::start(root).await;
    let ada = stack.signed_up("ada@acme.test", "Acme").await;
    let mut browser = stack.browser();
    let page = browser.page("/password/reset").await;
    let request = browser.request_of(page.form("/password/reset"), &[("email", &ada.email)]);
    let request = request.header("host", "evil.test").header("origin", "http://evil.test");
    browser.send(request.header("x-forwarded-host", "evil.test")).await;
    // Reading the link checks where it leads.
    let link = stack.link_mailed_to(&ada.email, "/password/reset/").await;
    assert!(!link.contains("evil"));
}

/// Links, pictures and whatever else a page of another site can make a browser fetch
/// change nothing.
#[sqlx::test(migrations = "../migrations")]
async fn looking_changes_nothing(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    for door in control_plane::app::doors().list {
        if door.method.as_str() != "POST" || door.path.starts_with("/api/") {
            continue;
        }
        let path = door.path.replace("{org}", &ada.slug);
        let before: i64 = count(&stack.root).await;
        let answer = ada.browser.get(&path).await;
        let after = count(&stack.root).await;
        assert_eq!(before, after, "GET {path} wrote something: {answer:?}");
    }
    assert_eq!(ada.browser.get("/account").await.status, StatusCode::OK);
}

async fn count(root: &PgPool) -> i64 {
    sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM audit_entries) + (SELECT count(*) FROM sessions)
              + (SELECT count(*) FROM mail_outbox)",
    )
    .fetch_one(root)
    .await
    .unwrap()
}
