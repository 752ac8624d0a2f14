//! From a call to the page that tells of it.

use harness::{Person, Stack, eventually};
use http::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

/// Makes a call, waits until it is in the log, and says where its page is.
pub async fn logged_call(stack: &Stack, ada: &mut Person, key: &str, model: &str) -> String {
    stack.published().await;
    let hello =
        json!({ "model": model, "messages": [{ "role": "user", "content": "the-prompt" }] });
    let answer = stack.program(key).call(Method::POST, "/v1/chat/completions", &hello).await;
    let id = answer.header("x-request-id").unwrap().to_owned();
    let page = format!("{}/{id}", ada.path("/requests"));
    eventually("the call to be in the log", || {
        let (mut browser, page) = (ada.browser.clone(), page.clone());
        async move { (browser.get(&page).await.status == StatusCode::OK).then_some(()) }
    })
    .await;
    page
}

#[sqlx::test(migrations = "../migrations")]
async fn a_call_is_in_the_log_with_its_reason_and_without_its_words(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let key = ada.first_key().await;
    let list = ada.path("/requests");
    let empty = ada.browser.get(&list).await.text();
    assert!(empty.contains("No calls yet"), "{empty}");

    let served = logged_call(&stack, &mut ada, &key, "auto").await;
    let refused = logged_call(&stack, &mut ada, &key, "no-such-model").await;
    for (path, words) in [
        (&list, "sim-small"),
        (&list, "404 Refused"),
        (&served, "Why this request went to sim-small"),
        (&served, "Asked simulator for sim-small"),
        (&refused, "no-such-model"),
        (&refused, "Why this request was refused"),
    ] {
        let answer = ada.browser.get(path).await;
        let text = answer.text();
        assert!(text.contains(words), "{path} lacks {words}: {text}");
        assert!(!text.contains("the-prompt") && !text.contains(&key), "{path}: {text}");
    }
    let kept: Vec<String> = sqlx::query_scalar("SELECT r::text FROM request_events r")
        .fetch_all(&stack.root)
        .await
        .unwrap();
    assert_eq!(kept.len(), 2);
    assert!(!kept.iter().any(|it| it.contains("the-prompt") || it.contains(&key)), "{kept:?}");
}

/// Somebody without a key of ours is nobody's caller.
#[sqlx::test(migrations = "../migrations")]
async fn a_stranger_is_not_logged_and_the_database_may_be_away(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let key = ada.first_key().await;
    stack.published().await;
    let hello = json!({ "model": "auto", "messages": [] });
    let chat = "/v1/chat/completions";
    let stranger = stack.program("tpk_live_nonsense").call(Method::POST, chat, &hello).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED);

    stack.database.shut();
    for _ in 0..3 {
        stack.program(&key).call(Method::POST, chat, &hello).await;
    }
    stack.database.open();
    logged_call(&stack, &mut ada, &key, "auto").await;
    let logged: i64 = sqlx::query_scalar("SELECT count(*) FROM request_events")
        .fetch_one(&stack.root)
        .await
        .unwrap();
    assert_eq!(logged, 4);
}
