use proptest::prelude::*;
use serde_json::json;

use super::*;

fn request() -> impl Strategy<Value = (&'static str, Value)> {
    let model = prop::sample::select(vec!["sim-small", "echo", "gpt-4o", "sim-reasoning"]);
    let text = ".{0,200}";
    let fields = (1u32..60, any::<bool>(), 1u32..4, any::<i64>());
    (model, text, fields).prop_flat_map(|(model, text, (cap, stream, n, seed))| {
        let said = json!([{"role": "user", "content": text}]);
        let chat = json!({
            "model": model, "messages": said, "max_tokens": cap, "stream": stream, "n": n, "seed": seed,
        });
        let message = json!({"model": model, "messages": said, "max_tokens": cap, "stream": stream});
        let generate = json!({
            "contents": [{"parts": [{"text": text}]}],
            "generationConfig": {"maxOutputTokens": cap, "seed": seed},
        });
        let response = json!({"model": model, "input": text, "stream": stream});
        prop::sample::select(vec![
            (CHAT, chat),
            (MESSAGES, message),
            (GENERATE, generate),
            ("/v1/responses", response),
            ("/v1/embeddings", json!({"model": model, "input": text, "dimensions": 16})),
        ])
    })
}

/// The body's bytes, and what the usage in it says came out.
async fn bytes(simulator: &Simulator, path: &str, body: &Value) -> Vec<u8> {
    let url = [&simulator.url(), path].concat();
    let response = reqwest::Client::new().post(url).json(body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.bytes().await.unwrap().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In another process just as in another minute: nothing but the request decides.
    #[test]
    fn the_same_request_gets_the_same_bytes((path, body) in request()) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (first, second) = runtime.block_on(async {
            let (one, other) = (simulator(), simulator());
            bytes(&other, "/v1/embeddings", &json!({"model": "x", "input": "something else"})).await;
            (bytes(&one, path, &body).await, bytes(&other, path, &body).await)
        });
        prop_assert_eq!(first, second);
    }

    /// The cap holds in every dialect.
    #[test]
    fn no_more_tokens_come_out_than_were_allowed((path, mut body) in request()) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        body["stream"] = false.into();
        body["n"] = 1.into();
        let answer = runtime.block_on(async { bytes(&simulator(), path, &body).await });
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let cap = body["max_tokens"].as_u64();
        let cap = cap.or(body["generationConfig"]["maxOutputTokens"].as_u64());
        let usage = [
            "/usage/completion_tokens",
            "/usage/output_tokens",
            "/usageMetadata/candidatesTokenCount",
        ];
        let told = usage.iter().find_map(|it| answer.pointer(it)?.as_u64());
        if let (Some(cap), Some(told)) = (cap, told) {
            prop_assert!(told <= cap, "{} of {}: {}", told, cap, answer);
        }
    }
}
