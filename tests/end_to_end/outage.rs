//! The database is away: said so, never mistaken for a wrong password or a missing right.

use harness::{Browser, Request, Stack, eventually};
use http::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

use crate::site::furnish;

#[sqlx::test(migrations = "../migrations")]
async fn nobody_is_refused_for_our_troubles(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.confirmed("ada@acme.test", "Acme").await;
    let token = furnish(&mut ada, "Platform").await.token;
    let api = format!("/api/v1/orgs/{}/teams", ada.slug);
    let mut management = stack.management(&token);
    assert_eq!(management.get(&api).await.status, StatusCode::OK);
    let login = stack.browser();
    let sign_in = sign_in_request(&mut login.clone(), &ada.email, &ada.password).await;
    let path = ada.path("/teams/new");
    let page = ada.browser.page(&path).await;
    let create = ada.browser.request_of(page.form("/teams"), &[("name", "Lost")]);

    stack.database.shut();
    let keys = ada.path("/keys");
    for (browser, request) in [
        (ada.browser.clone(), Request::get(&keys)),
        (ada.browser.clone(), Request::get("/account")),
        (ada.browser.clone(), create),
        (sign_in.0, sign_in.1),
        (management.clone(), Request::get(&api)),
        (management.clone(), Request::json(Method::POST, &api, &json!({ "name": "Lost" }))),
    ] {
        let mut browser: Browser = browser;
        let answer = browser.send(request).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        if answer.path.starts_with("/api/") {
            assert_eq!(answer.json()["code"], "unavailable");
        } else {
            assert!(answer.page().words().contains("Nothing was changed"), "{answer:?}");
        }
        // A session is not given up over it.
        assert!(!answer.headers.contains_key("set-cookie"), "{:?}", answer.headers);
    }
    let mut nobody = stack.browser();
    assert_eq!(nobody.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(nobody.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(nobody.get("/login").await.status, StatusCode::OK, "it needs no database");

    stack.database.open();
    let mut browser = ada.browser.clone();
    eventually("the database to come back", || {
        let (mut browser, keys) = (browser.clone(), keys.clone());
        async move { (browser.get(&keys).await.status == StatusCode::OK).then_some(()) }
    })
    .await;
    assert_eq!(nobody.get("/readyz").await.status, StatusCode::OK);
    assert!(!browser.page(&ada.path("/teams")).await.words().contains("Lost"));
}

async fn sign_in_request(browser: &mut Browser, email: &str, password: &str) -> (Browser, Request) {
    let page = browser.page("/login").await;
    let typed = [("email", email), ("password", password)];
    let request = browser.request_of(page.form("/login"), &typed);
    (browser.clone(), request)
}
