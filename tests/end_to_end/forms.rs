//! A form is taken from a page of ours, in the browser that was shown it, or not at all.

use harness::{Person, Request, Stack};
use http::{Method, StatusCode};
use sqlx::PgPool;

async fn teams(stack: &Stack) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM teams").fetch_one(&stack.root).await.unwrap()
}

async fn form(ada: &mut Person) -> Request {
    let path = ada.path("/teams/new");
    let page = ada.browser.page(&path).await;
    ada.browser.request_of(page.form("/teams"), &[("name", "Forged")])
}

#[sqlx::test(migrations = "../migrations")]
async fn a_form_from_elsewhere_is_refused(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let before = teams(&stack).await;

    for site in ["cross-site", "same-site", "none", "nonsense"] {
        let request = form(&mut ada).await.header("sec-fetch-site", site);
        let answer = ada.browser.send(request).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{site}: {answer:?}");
    }
    // A browser that does not say where from says at least who.
    for origin in ["null", "https://evil.test", "http://127.0.0.1:1", "evil"] {
        let request = form(&mut ada).await.without("sec-fetch-site").header("origin", origin);
        let answer = ada.browser.send(request).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}: {answer:?}");
    }
    assert_eq!(teams(&stack).await, before);

    // What is no browser has the token to show.
    let request = form(&mut ada).await.without("sec-fetch-site").without("origin");
    assert_eq!(ada.browser.send(request).await.status, StatusCode::SEE_OTHER);
    assert_eq!(teams(&stack).await, before + 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_form_without_its_token_is_refused(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let mut bob = stack.signed_up("bob@other.test", "Other").await;
    let before = teams(&stack).await;
    let of_bob = bob.browser.page("/account").await.form("/logout").fields[0].1.clone();
    let of_visitor = stack.browser().page("/login").await.form("/login").fields[0].1.clone();
    let path = ada.path("/teams");
    for token in ["", "AAAA", of_bob.as_str(), of_visitor.as_str()] {
        let fields = [("csrf", token), ("name", "Forged")];
        let answer = ada.browser.send(Request::form(&path, &fields)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{token}: {answer:?}");
    }
    let answer = ada.browser.send(Request::form(&path, &[("name", "Forged")])).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");

    // In a link it does nothing.
    let page = ada.browser.page("/account").await;
    let token = page.form("/logout").fields[0].1.clone();
    let answer = ada.browser.get(&format!("{path}?csrf={token}&name=Forged")).await;
    assert!(answer.status.is_client_error() || answer.status == StatusCode::OK, "{answer:?}");
    let query = Request::form(&format!("{path}?csrf={token}&name=Forged"), &[("name", "Forged")]);
    assert_eq!(ada.browser.send(query).await.status, StatusCode::FORBIDDEN);
    assert_eq!(teams(&stack).await, before);
}

/// Before anybody is signed in too, lest somebody is signed in as somebody else.
#[sqlx::test(migrations = "../migrations")]
async fn signing_in_takes_a_token_of_the_same_browser(root: PgPool) {
    let stack = Stack::start(root).await;
    let ada = stack.signed_up("ada@acme.test", "Acme").await;
    let token = stack.browser().page("/login").await.form("/login").fields[0].1.clone();
    let mut victim = stack.browser();
    victim.page("/login").await;
    let fields = [("csrf", token.as_str()), ("email", &ada.email), ("password", &ada.password)];
    let answer = victim.send(Request::form("/login", &fields)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    assert_eq!(victim.cookie("__Host-session"), None);
}

/// Kinds of body that a page of another site can send without asking.
#[sqlx::test(migrations = "../migrations")]
async fn a_body_that_is_no_form_is_refused(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let before = teams(&stack).await;
    for kind in ["text/plain", "application/json", "multipart/form-data; boundary=x", ""] {
        let request = form(&mut ada).await.header("content-type", kind);
        let answer = ada.browser.send(request).await;
        assert!(answer.status.is_client_error(), "{kind}: {answer:?}");
    }
    for header in ["x-http-method-override", "x-method-override", "x-http-method"] {
        let path = ada.path("/teams");
        let answer = ada.browser.send(Request::get(&path).header(header, "POST")).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    assert_eq!(teams(&stack).await, before);
}

/// The API takes tokens only, so that no page of another site can use a session.
#[sqlx::test(migrations = "../migrations")]
async fn a_session_opens_nothing_of_the_api(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let path = format!("/api/v1/orgs/{}/teams", ada.slug);
    let body = serde_json::json!({ "name": "Forged" });
    for method in [Method::GET, Method::POST] {
        let answer = ada.browser.call(method, &path, &body).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        assert_eq!(answer.json()["code"], "not_signed_in");
    }
    assert_eq!(teams(&stack).await, 0);
}
