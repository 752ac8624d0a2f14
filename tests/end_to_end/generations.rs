//! From a call to what its caller is told became of it.

use harness::{Stack, eventually};
use http::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

#[sqlx::test(migrations = "../migrations")]
async fn a_caller_is_told_what_became_of_a_call_and_nobody_else(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let mut bob = stack.signed_up("bob@other.test", "Other").await;
    let (key, other) = (ada.first_key().await, bob.first_key().await);
    stack.published().await;
    let hello =
        json!({ "model": "auto", "messages": [{ "role": "user", "content": "the-prompt" }] });
    let answer = stack.program(&key).call(Method::POST, "/v1/chat/completions", &hello).await;
    let id = answer.header("x-request-id").unwrap().to_owned();
    let path = format!("/v1/generations/{id}");

    // As a rule the first asks already get it, which nobody can promise on a busy machine.
    let told = eventually("the call to be in the log", || {
        let (mut program, path) = (stack.program(&key).that_expects_failures(), path.clone());
        async move {
            let told = program.get(&path).await;
            (told.status == StatusCode::OK).then_some(told)
        }
    })
    .await;
    assert!(!told.text().contains("the-prompt") && !told.text().contains(&key));
    let record = told.json();
    for (pointer, expected) in [
        ("/object", json!("generation")),
        ("/id", json!(id)),
        ("/asked", json!("auto")),
        ("/policy/name", json!("auto")),
        ("/served/model", json!("sim-small")),
        ("/served/provider", json!("simulator")),
        ("/attempts/0/outcome", json!("answered")),
        ("/outcome", json!("success")),
        ("/status", json!(200)),
        ("/usage_source", json!("upstream")),
        ("/cost_usd", json!(answer.header("x-turnpike-cost-usd").unwrap())),
    ] {
        assert_eq!(record.pointer(pointer), Some(&expected), "{pointer} of {record}");
    }
    assert!(record["decision"]["candidates"][0]["model"] == "sim-small", "{record}");
    assert!(record["total_ms"].is_u64() && record["usage"]["output"].as_u64() > Some(0));

    let mut program = stack.program(&other).that_expects_failures();
    let refused = program.get(&path).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{}", refused.text());
    assert_eq!(refused.header("x-turnpike-error-code"), Some("generation_not_found"));
    assert!(!refused.text().contains("sim-small"));
}
