//! Nobody learns from us whether an address has an account.

use harness::{Answer, Stack, sign_in};
use http::StatusCode;
use sqlx::PgPool;

/// What can be told apart in an answer, without the parts that differ each time.
fn shape(answer: &Answer, email: &str) -> (StatusCode, String, Vec<String>) {
    let text = if answer.is_html() {
        let page = answer.page();
        let fields: Vec<_> = page.forms().into_iter().map(|it| it.names.join(",")).collect();
        format!("{} {fields:?}", page.words().replace(email, "ADDRESS"))
    } else {
        String::new()
    };
    let mut headers: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
    headers.sort();
    let cookies = answer.headers.get_all("set-cookie").iter();
    let mut cookies: Vec<_> =
        cookies.map(|it| it.to_str().unwrap().split('=').next().unwrap().to_owned()).collect();
    cookies.sort();
    headers.extend(cookies);
    (answer.status, text, headers)
}

#[sqlx::test(migrations = "../migrations")]
async fn signing_in_tells_nothing(root: PgPool) {
    let stack = Stack::start(root).await;
    let ada = stack.confirmed("ada@acme.test", "Acme").await;
    let mut shapes = Vec::new();
    for email in [ada.email.as_str(), "bob@acme.test"] {
        let answer = sign_in(&mut stack.browser(), email, "wrong horse battery staple").await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        shapes.push(shape(&answer, email));
    }
    assert_eq!(shapes[0], shapes[1]);
}

#[sqlx::test(migrations = "../migrations")]
async fn asking_for_a_new_password_tells_nothing(root: PgPool) {
    let stack = Stack::start(root).await;
    let ada = stack.confirmed("ada@acme.test", "Acme").await;
    let mut shapes = Vec::new();
    for email in [ada.email.as_str(), "bob@acme.test"] {
        let mut browser = stack.browser();
        let answer = browser.fill("/password/reset", "/password/reset", &[("email", email)]).await;
        shapes.push(shape(&answer, email));
    }
    assert_eq!(shapes[0], shapes[1]);
    assert_eq!(stack.letters_to("bob@acme.test").await, 0);
}

/// Whoever signs up with an address that has an account gets on as anybody would, and
/// the owner of the address is told.
#[sqlx::test(migrations = "../migrations")]
async fn signing_up_tells_nothing(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.confirmed("ada@acme.test", "Acme").await;
    let before = stack.letters_to(&ada.email).await;
    let mut shapes = Vec::new();
    for email in [ada.email.as_str(), "bob@acme.test"] {
        let mut browser = stack.browser();
        let typed = [
            ("email", email),
            ("password", "violet anvil teaspoon orbit"),
            ("organization", "Newcomers"),
        ];
        let answer = browser.fill("/signup", "/signup", &typed).await;
        let next = answer.location().unwrap();
        assert!(next.ends_with("/setup"), "{next}");
        let first = browser.go(&next).await;
        let account = browser.go("/account").await;
        let slug = next.trim_start_matches("/orgs/").trim_end_matches("/setup").to_owned();
        let strip = |(status, text, headers): (_, String, _)| {
            (status, text.replace(&slug, "SLUG"), headers)
        };
        shapes
            .push([shape(&answer, email), shape(&first, email), shape(&account, email)].map(strip));
    }
    assert_eq!(shapes[0], shapes[1]);
    assert_eq!(stack.letters_to(&ada.email).await, before + 1);
    let letters = stack.browser().page("/dev/mailbox").await;
    assert!(letters.words().contains("You have an account already"));
    // The newcomer is in no way the owner of the address.
    assert!(ada.browser.page("/orgs").await.words().contains("Acme"));
    assert!(!ada.browser.page("/orgs").await.words().contains("Newcomers"));
}
