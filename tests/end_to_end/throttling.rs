//! Guessing passwords is slowed down, and the owner of the account is not kept out.

use harness::{Stack, sign_in};
use http::StatusCode;
use sqlx::PgPool;

/// Each try claims to come from elsewhere, by a header that nobody we trust wrote.
#[sqlx::test(migrations = "../migrations")]
async fn a_guesser_is_slowed_down_and_the_owner_is_not(root: PgPool) {
    let stack = Stack::start(root).await;
    let ada = stack.confirmed("ada@acme.test", "Acme").await;
    // Ada has signed in on her own device before.
    let mut device = stack.browser();
    sign_in(&mut device, &ada.email, &ada.password).await;
    let answer = device.fill("/account", "/logout", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);

    let mut seen = Vec::new();
    for number in 0..12 {
        let address = format!("203.0.113.{number}");
        let mut guesser = stack.browser().always("x-forwarded-for", &address);
        let answer = sign_in(&mut guesser, &ada.email, "wrong horse battery staple").await;
        seen.push(answer.status);
    }
    assert_eq!(seen[0], StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(seen.last(), Some(&StatusCode::TOO_MANY_REQUESTS), "{seen:?}");
    let mut guesser = stack.browser();
    let answer = sign_in(&mut guesser, &ada.email, "wrong horse battery staple").await;
    assert!(answer.header("retry-after").is_some(), "{answer:?}");

    let answer = sign_in(&mut device, &ada.email, &ada.password).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
}

/// One try at each of many accounts is noticed too.
#[sqlx::test(migrations = "../migrations")]
async fn one_address_cannot_try_everybody(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut seen = Vec::new();
    for number in 0..30 {
        let email = format!("person{number}@acme.test");
        let mut guesser = stack.browser().always("x-forwarded-for", &format!("203.0.113.{number}"));
        seen.push(sign_in(&mut guesser, &email, "wrong horse battery staple").await.status);
    }
    assert_eq!(seen.last(), Some(&StatusCode::TOO_MANY_REQUESTS), "{seen:?}");
}

/// Asking for mail over and over fills nobody's mailbox.
#[sqlx::test(migrations = "../migrations")]
async fn nobodys_mailbox_is_filled(root: PgPool) {
    let stack = Stack::start(root).await;
    let ada = stack.confirmed("ada@acme.test", "Acme").await;
    let before = stack.letters_to(&ada.email).await;
    for _ in 0..15 {
        let mut browser = stack.browser();
        browser.fill("/password/reset", "/password/reset", &[("email", &ada.email)]).await;
    }
    let sent = stack.letters_to(&ada.email).await - before;
    assert!((1..=8).contains(&sent), "{sent} letters");
}
