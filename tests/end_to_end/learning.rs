//! From what is said of answers to where calls go.

use harness::{Stack, eventually};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::ids::PolicyId;
use sqlx::PgPool;

use crate::requests::logged_call;

const QUESTION: &str = "Write a Python function that sorts a list of numbers.";

/// A second model that nothing is known of, and a policy that takes whichever is better.
async fn compare_two(root: &PgPool) {
    sqlx::query(
        "INSERT INTO upstream_models (upstream_id, name, upstream_name, display_name,
                                      context_length, max_output_tokens, capabilities, input,
                                      output, position)
         SELECT upstream_id, 'sim-other', upstream_name, 'sim-other', context_length,
                max_output_tokens, capabilities, input, output, 2 FROM upstream_models",
    )
    .execute(root)
    .await
    .unwrap();
    sqlx::query(
        r#"WITH better AS (INSERT INTO policies (id, name, version)
                           VALUES ($1, 'better', 1) RETURNING id)
           INSERT INTO policy_versions (policy_id, version, name, document, note)
           SELECT id, 1, 'better', '{"otherwise": {"strategy": "auto"}}', '' FROM better"#,
    )
    .bind(PolicyId::generate())
    .execute(root)
    .await
    .unwrap();
}

async fn route(stack: &Stack, key: &str) -> Value {
    let asked = json!({ "model": "better", "messages": [{ "role": "user", "content": QUESTION }] });
    let answer = stack.program(key).call(Method::POST, "/v1/route", &asked).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_said_of_two_models_changes_where_calls_go(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let key = ada.first_key().await;
    compare_two(&stack.root).await;
    stack.published().await;
    let before = route(&stack, &key).await;
    let named = |at: usize| before["candidates"][at]["model"].as_str().unwrap().to_owned();
    let (first, second) = (named(0), named(1));
    assert_eq!(before["learned"], Value::Null);

    let item = |model: &str, score| json!({ "prompt": QUESTION, "model": model, "score": score });
    let items: Vec<_> = (0..40).flat_map(|_| [item(&first, 0), item(&second, 1)]).collect();
    let said = json!({ "items": items });
    let answer = stack.program(&key).call(Method::POST, "/v1/feedback", &said).await;
    assert_eq!((answer.status, &answer.json()["taken"]), (StatusCode::ACCEPTED, &80.into()));
    let after = eventually("the feedback to be learned from", || async {
        let told = route(&stack, &key).await;
        (told["chosen"]["model"] == second).then_some(told)
    })
    .await;
    let version = after["learned"].as_str().unwrap();

    let learned = ada.browser.get(&ada.path("/learning")).await.text();
    assert!(learned.contains(version) && learned.contains(&second), "{learned}");
    let page = logged_call(&stack, &mut ada, &key, "better").await;
    let told = ada.browser.get(&page).await.text();
    assert!(told.contains(version) && told.contains("routed by it"), "{told}");
    let there = format!("{page}/feedback");
    ada.browser.fill(&page, &there, &[("label", "good")]).await;
    let told = ada.browser.get(&page).await.text();
    assert!(told.contains("One said that it was good. You said good."), "{told}");
    let kept: Vec<String> =
        sqlx::query_scalar("SELECT f::text FROM feedback f").fetch_all(&stack.root).await.unwrap();
    assert_eq!(kept.len(), 81);
    assert!(!kept.iter().any(|it| it.contains("Python") || it.contains(&key)));
}
