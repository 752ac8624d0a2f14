//! Tokens through their pages and the management API.

use actix_web::http::{Method, StatusCode};
use serde_json::json;

use super::*;

const TOKENS: &str = "/orgs/ours/tokens";

#[sqlx::test(migrations = "../migrations")]
async fn a_token_is_shown_once_and_opens_the_api(root: PgPool) {
    let scene = Scene::new(root).await;
    let browser = scene.fixture.browser(Role::Developer).await;
    let path = "/orgs/ours/settings/tokens";
    browser.get(path).await.says(StatusCode::OK, "No tokens yet");
    let fields = [("name", "Terraform"), ("role", "viewer"), ("expires_in", "30")];
    let page = browser.post(path, &fields).await;
    page.says(StatusCode::OK, "tpk_mgmt_");
    let from = page.body.find("tpk_mgmt_").unwrap();
    let secret: SecretString = page.body[from..from + 56].to_owned().into();

    let answer = scene.fixture.api(Some(&secret), Method::GET, TOKENS, None).await;
    answer.says(StatusCode::OK, "\"name\":\"Terraform\"");
    let id = answer.json()["data"][0]["id"].as_str().unwrap().to_owned();
    let page = browser.get(path).await;
    page.says(StatusCode::OK, "Terraform");
    assert!(!page.body.contains(secret.expose_secret()), "the secret is shown once");
    let page = browser.post(&format!("{path}/{id}/revoke"), &[]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let answer = scene.fixture.api(Some(&secret), Method::GET, TOKENS, None).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_refused_form_comes_back_with_what_was_typed(root: PgPool) {
    let scene = Scene::new(root).await;
    let browser = scene.fixture.browser(Role::Admin).await;
    let path = "/orgs/ours/settings/tokens";
    let fields = [("name", "\u{7}"), ("role", "king"), ("owner", "service"), ("expires_in", "0")];
    let page = browser.post(path, &fields).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "There are 3 problems");
    assert!(page.body.contains("<option value=\"service\" selected>"), "{}", page.body);
    let fields = [("name", "a"), ("role", "owner"), ("expires_in", "7")];
    let page = browser.post(path, &fields).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN, "an admin makes no owner's token");
    let fields = [("name", "a"), ("role", "viewer"), ("expires_in", "7"), ("person", "x")];
    let page = browser.post(path, &fields).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[sqlx::test(migrations = "../migrations")]
async fn an_opaque_token_is_exchanged_for_a_short_lived_one(root: PgPool) {
    let scene = Scene::new(root).await;
    let (_, secret) = scene.token(Role::Admin, Role::Admin, false).await;
    let exchange = async |token: Option<&SecretString>| {
        scene.fixture.api(token, Method::POST, "/token", Some(json!({}))).await
    };
    let answer = exchange(Some(&secret)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let body = answer.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(900)));
    let signed: SecretString = body["access_token"].as_str().unwrap().to_owned().into();
    let answer = scene.fixture.api(Some(&signed), Method::GET, TOKENS, None).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);

    assert_eq!(exchange(Some(&signed)).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(exchange(None).await.status, StatusCode::UNAUTHORIZED);
    let body = Some(json!({ "role": "owner" }));
    let answer = scene.fixture.api(Some(&secret), Method::POST, "/token", body).await;
    answer.says(StatusCode::BAD_REQUEST, "unknown field");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_program_makes_narrower_tokens_only(root: PgPool) {
    let scene = Scene::new(root).await;
    let (_, secret) = scene.token(Role::Admin, Role::Developer, false).await;
    let make =
        async |body| scene.fixture.api(Some(&secret), Method::POST, TOKENS, Some(body)).await;
    let made = make(json!({ "name": "ci", "role": "viewer", "expires_in_days": 7 })).await;
    made.says(StatusCode::CREATED, "\"secret\":\"tpk_mgmt_");
    for wider in [
        json!({ "name": "ci", "role": "admin", "expires_in_days": 7 }),
        json!({ "name": "ci", "role": "viewer", "expires_in_days": 31 }),
    ] {
        make(wider).await.says(StatusCode::FORBIDDEN, "grant_exceeds_grantor");
    }
    let service = json!({ "name": "ci", "role": "viewer", "owner": "service" });
    assert_eq!(make(service).await.status, StatusCode::FORBIDDEN);
    let answer = make(json!({ "name": "ci", "role": "viewer", "expires_in_days": 366 })).await;
    answer.says(StatusCode::BAD_REQUEST, "\"field\":\"expires_in_days\"");
}
