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

/// One client, whose next question the simulator may know already.
struct Asker {
    stream: TcpStream,
}

impl Asker {
    /// The status, the head and the body that are answered.
    async fn ask(&mut self, key: &str, body: &Value) -> (u16, String, String) {
        let body = body.to_string();
        let request = format!(
            "POST {CHAT} HTTP/1.1\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        loop {
            let mut part = [0; 4096];
            let read = self.stream.read(&mut part).await.unwrap();
            answer.push_str(std::str::from_utf8(&part[..read]).unwrap());
            let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() == length {
                let status = head[9..12].parse().unwrap();
                return (status, head.to_owned(), body.to_owned());
            }
        }
    }
}

fn asked(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}]})
}

#[tokio::test]
async fn a_connection_asked_again_answers_again_until_something_changed() {
    let simulator = simulator();
    let mut asker = Asker { stream: TcpStream::connect(simulator.address).await.unwrap() };
    let question = asked("gpt-4o", "Hello");

    let (_, first_head, first) = asker.ask("one", &question).await;
    let (_, second_head, second) = asker.ask("one", &question).await;
    assert_eq!(first, second);
    let numbered = |number: u32| move |head: &str| head.contains(&format!("req_sim_{number}\r\n"));
    assert!(numbered(1)(&first_head) && numbered(2)(&second_head), "{second_head}");

    assert_eq!(asker.ask("bad-key", &question).await.0, 401);
    assert_eq!(asker.ask("one", &question).await.2, first);
    assert_ne!(asker.ask("one", &asked("gpt-4o", "Goodbye")).await.2, first);
    assert_eq!(asker.ask("one", &question).await.2, first);

    simulator.arm("429".parse().unwrap(), Scope { next: Some(2), ..Scope::default() });
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(asker.ask("one", &question).await.0);
    }
    assert_eq!(statuses, [429, 429, 200, 200]);

    simulator.set_profile("gpt-4o", Profile { length: Some(3), ..Profile::default() });
    let (_, head, short) = asker.ask("one", &question).await;
    assert!(short.len() < first.len(), "{short}");
    // The tenth number is longer than the ninth, and the eleventh is as long again.
    assert!(numbered(11)(&head), "{head}");
    assert_eq!(simulator.calls().len(), 11);
}

#[tokio::test]
async fn one_that_fails_every_other_time_does_so_on_one_connection_too() {
    let simulator = simulator();
    let mut asker = Asker { stream: TcpStream::connect(simulator.address).await.unwrap() };
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(asker.ask("one", &asked("sim-fault-flap", "Hello")).await.0);
    }
    assert_eq!(statuses, [503, 200, 503, 200, 503]);
}
