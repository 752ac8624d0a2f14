//! From signing up to a call that a provider answers, and keys that stop working.

use std::time::{Duration, Instant};

use harness::{
    Answer, Browser, Person, Stack, eventually, secret_on, simulator::faults::Scope,
    stack::UPSTREAM_SECRET,
};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

const CHAT: &str = "/v1/chat/completions";

fn hello(stream: bool) -> Value {
    json!({
        "model": "auto",
        "stream": stream,
        "messages": [{ "role": "user", "content": "Say hello" }],
    })
}

async fn chat(program: &mut Browser) -> Answer {
    program.call(Method::POST, CHAT, &hello(false)).await
}

#[sqlx::test(migrations = "../migrations")]
async fn whoever_signs_up_makes_a_call_at_once(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let key = ada.first_key().await;
    assert!(key.starts_with("tpk_live_"), "{key}");
    stack.published().await;

    let answer = chat(&mut stack.program(&key)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let completion = answer.json();
    assert_eq!(completion["object"], "chat.completion");
    assert_eq!(completion["choices"][0]["message"]["role"], "assistant");
    assert!(
        completion["choices"][0]["message"]["content"].as_str().is_some_and(|it| !it.is_empty())
    );
    assert!(completion["usage"]["total_tokens"].as_u64().is_some_and(|it| it > 0));

    // The provider saw its own secret, and nothing of ours.
    let seen = stack.simulator.call_that(|it| it.path().ends_with("/chat/completions")).await;
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {UPSTREAM_SECRET}").as_str()));
    assert!(!seen.headers().any(|(_, value)| value.contains(&key)));
    assert!(!String::from_utf8_lossy(seen.body()).contains(&key));
}

/// The secret was on one page and is on none any more.
#[sqlx::test(migrations = "../migrations")]
async fn a_key_is_seen_once(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let key = ada.first_key().await;
    let path = ada.path("/keys");
    let list = ada.browser.page(&path).await;
    let one = list.links().find(|it| it.contains("/keys/key_")).unwrap().to_owned();
    for path in [ada.path(""), path, one, ada.path("/audit")] {
        let answer = ada.browser.go(&path).await;
        assert!(!answer.text().contains(&key), "{path} shows the key again");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_stream_arrives_byte_for_byte(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let key = ada.first_key().await;
    stack.published().await;

    // A stream that asks for its usage, since we ask for it whoever does not.
    let mut hello = hello(true);
    hello["stream_options"] = json!({ "include_usage": true });
    let through = stack.program(&key).call(Method::POST, CHAT, &hello).await;
    assert_eq!(through.status, StatusCode::OK, "{through:?}");
    let seen = stack.simulator.call_that(|it| it.path().ends_with("/chat/completions")).await;
    let asked: Value = serde_json::from_slice(seen.body()).unwrap();
    let mut direct = Browser::new(stack.simulator.url());
    let direct = direct.call(Method::POST, CHAT, &asked).await;
    assert_eq!(through.text(), direct.text());
    assert_eq!(through.header("content-type"), direct.header("content-type"));
    assert!(through.text().ends_with("data: [DONE]\n\n"), "{}", through.text());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_wrong_key_is_refused_and_told_why(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let key = ada.first_key().await;
    stack.published().await;

    let other = never_issued();
    let cut = &key[..key.len() - 1];
    for wrong in [other.as_str(), cut, "sk-proj-123", "nonsense", ""] {
        let answer = chat(&mut stack.program(wrong)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{wrong}: {answer:?}");
        let error = &answer.json()["error"];
        assert!(error["message"].as_str().is_some_and(|it| !it.is_empty()), "{error}");
        assert!(!answer.text().contains(wrong) || wrong.is_empty(), "{answer:?} repeats the key");
    }
    assert!(stack.simulator.calls().is_empty(), "nothing of it reached the provider");
}

/// Well formed, and never issued.
fn never_issued() -> String {
    use secrecy::ExposeSecret;
    shared::keys::NewKey::generate(shared::keys::Brand::Live).secret.expose_secret().to_owned()
}

/// What an organization disables of the platform's is gone for its programs and for nobody
/// else's, also where a policy leads to it.
#[sqlx::test(migrations = "../migrations")]
async fn a_disabled_model_is_neither_listed_nor_served(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let mut bob = stack.signed_up("bob@other.test", "Other").await;
    let (ada_key, bob_key) = (ada.first_key().await, bob.first_key().await);
    stack.published().await;
    let (mut ours, mut theirs) = (stack.program(&ada_key), stack.program(&bob_key));
    assert_eq!(chat(&mut ours).await.status, StatusCode::OK);

    let path = ada.path("/models");
    let disabled = ada.browser.fill(&path, "/models/enable", &[]).await;
    assert_eq!(disabled.status, StatusCode::SEE_OTHER, "{disabled:?}");
    stack.published().await;
    let mut by_name = hello(false);
    by_name["model"] = json!("sim-small");
    let refused = ours.call(Method::POST, CHAT, &by_name).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{refused:?}");
    assert_eq!(refused.json()["error"]["code"], "model_not_found");
    assert!(refused.text().contains("has disabled"), "{refused:?}");
    assert_eq!(chat(&mut ours).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let listed = ours.go("/v1/models").await.json();
    assert_eq!(listed["data"], json!([]), "nor is the policy that leads nowhere");
    assert_eq!(theirs.call(Method::POST, CHAT, &by_name).await.status, StatusCode::OK);

    let enabled = ada.browser.fill(&path, "/models/enable", &[]).await;
    assert_eq!(enabled.status, StatusCode::SEE_OTHER, "{enabled:?}");
    stack.published().await;
    assert_eq!(chat(&mut ours).await.status, StatusCode::OK);
}

async fn key_path(ada: &mut Person) -> String {
    let path = ada.path("/keys");
    let list = ada.browser.page(&path).await;
    list.links().find(|it| it.contains("/keys/key_")).unwrap().to_owned()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_revoked_key_is_refused(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let key = ada.first_key().await;
    stack.published().await;
    let mut program = stack.program(&key);
    assert_eq!(chat(&mut program).await.status, StatusCode::OK);

    let path = key_path(&mut ada).await;
    let revoked = ada.browser.fill(&path, "/revoke", &[]).await;
    assert_eq!(revoked.status, StatusCode::SEE_OTHER, "{revoked:?}");
    stack.published().await;
    assert_eq!(chat(&mut program).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(stack.simulator.calls().len(), 1);
}

/// Nobody is let in later than a second after the answer that said so, and the key's page
/// says how far it has come.
#[sqlx::test(migrations = "../migrations")]
async fn a_revocation_takes_the_fast_lane(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let key = ada.first_key().await;
    stack.published().await;
    let mut program = stack.program(&key);
    assert_eq!(chat(&mut program).await.status, StatusCode::OK);

    let path = key_path(&mut ada).await;
    ada.browser.fill(&path, "/revoke", &[]).await;
    let answered = Instant::now();
    let mut let_in = Duration::ZERO;
    while chat(&mut program).await.status != StatusCode::UNAUTHORIZED {
        let_in = answered.elapsed();
        assert!(let_in < Duration::from_secs(30), "it is never refused");
    }
    assert!(let_in <= Duration::from_secs(1), "let in {let_in:?} after the answer");
    eventually("the page to say so", || {
        let (mut browser, path) = (ada.browser.clone(), path.clone());
        async move {
            let words = browser.page(&path).await.words();
            words.contains("Refused on 1 of 1 proxy after").then_some(())
        }
    })
    .await;
}

#[sqlx::test(migrations = "../migrations")]
async fn the_fleet_is_seen_by_operators(root: PgPool) {
    let stack = Stack::start(root).await;
    stack.published().await;
    let staff = stack.planted_operator("staff@turnpike.test").await;
    eventually("the proxy to say what it serves", || {
        let mut browser = staff.browser.clone();
        async move {
            let words = browser.page("/operator/fleet").await.words();
            words.contains("1 of 1 serve the newest revision").then_some(())
        }
    })
    .await;
}

/// A provider that fails too often is left alone, and operators see that it is, and for whom.
#[sqlx::test(migrations = "../migrations")]
async fn what_a_proxy_leaves_alone_is_seen_by_operators(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let key = ada.first_key().await;
    stack.published().await;
    let staff = stack.planted_operator("staff@turnpike.test").await;
    let words = staff.browser.clone().page("/operator/fleet").await.words();
    assert!(!words.contains("Simulator"), "{words}");

    stack.simulator.arm("500".parse().unwrap(), Scope::default());
    let mut program = stack.program(&key);
    for _ in 0..20 {
        chat(&mut program).await;
    }
    eventually("the fleet's page to tell of it", || {
        let mut browser = staff.browser.clone();
        async move {
            let words = browser.page("/operator/fleet").await.words();
            (words.contains("Simulator") && words.contains("1 of 1")).then_some(())
        }
    })
    .await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_rotated_key_works_beside_its_successor_for_as_long_as_said(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let old = ada.first_key().await;
    let path = key_path(&mut ada).await;
    let rotated = ada.browser.fill(&path, "/rotate", &[("overlap_hours", "24")]).await;
    let new = secret_on(&rotated);
    assert_ne!(old, new);
    stack.published().await;
    assert_eq!(chat(&mut stack.program(&old)).await.status, StatusCode::OK);
    assert_eq!(chat(&mut stack.program(&new)).await.status, StatusCode::OK);

    let ended = ada.browser.fill(&path, "/end-overlap", &[]).await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER, "{ended:?}");
    stack.published().await;
    assert_eq!(chat(&mut stack.program(&old)).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(chat(&mut stack.program(&new)).await.status, StatusCode::OK);
}

/// Archiving stops every key, and restoring brings them back.
#[sqlx::test(migrations = "../migrations")]
async fn an_archived_organizations_keys_stop(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let key = ada.first_key().await;
    stack.published().await;
    let settings = ada.path("/settings");
    let wrong = ada.browser.fill(&settings, "/archive", &[("confirm", "Acne")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
    let archived = ada.browser.fill(&settings, "/archive", &[("confirm", "Acme")]).await;
    assert_eq!(archived.status, StatusCode::SEE_OTHER, "{archived:?}");
    stack.published().await;
    assert_eq!(chat(&mut stack.program(&key)).await.status, StatusCode::UNAUTHORIZED);

    let restored = ada.browser.fill(&settings, "/restore", &[]).await;
    assert_eq!(restored.status, StatusCode::SEE_OTHER, "{restored:?}");
    stack.published().await;
    assert_eq!(chat(&mut stack.program(&key)).await.status, StatusCode::OK);
}

/// The data plane needs neither the control plane's database nor a newer snapshot.
#[sqlx::test(migrations = "../migrations")]
async fn calls_go_on_while_the_database_is_away(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let key = ada.first_key().await;
    stack.published().await;
    stack.database.shut();
    for _ in 0..3 {
        assert_eq!(chat(&mut stack.program(&key)).await.status, StatusCode::OK);
    }
    stack.database.open();
    // Once it is back, so are we.
    let path = ada.path("/keys");
    eventually("the pages to come back", || {
        let (mut browser, path) = (ada.browser.clone(), path.clone());
        async move { (browser.get(&path).await.status == StatusCode::OK).then_some(()) }
    })
    .await;
}
