//! What a client meets when a provider misbehaves. Every case names the fault in the model.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::simulator::faults::Point;

fn chat(fault: &str, stream: bool) -> Value {
    json!({
        "model": format!("sim-fault-{fault}"),
        "stream": stream,
        "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "Hello"}],
    })
}

/// How long nothing may come before it counts as silence. Too short could only hide a failure.
const SILENCE: Duration = Duration::from_millis(50);

/// What comes before the simulator falls silent, the connection still open.
async fn before_silence(simulator: &Simulator, body: &Value) -> String {
    let mut stream = connect(simulator, CHAT, body).await;
    let mut bytes = Vec::new();
    let mut patience = Duration::from_secs(5);
    if body["model"] == "sim-fault-hang" {
        patience = SILENCE;
    }
    while let Ok(read) = timeout(patience, stream.read_buf(&mut bytes)).await {
        assert_ne!(read.unwrap(), 0, "closed");
        patience = SILENCE;
    }
    String::from_utf8(bytes).unwrap()
}

fn events(text: &str) -> usize {
    text.matches("data: ").count()
}

async fn whole(simulator: &Simulator, fault: &str, stream: bool) -> reqwest::Result<String> {
    let url = format!("{}{CHAT}", simulator.url());
    let response = reqwest::Client::new().post(url).json(&chat(fault, stream)).send().await?;
    response.text().await
}

#[tokio::test]
async fn hanging_sends_nothing_and_stalling_only_some_events() {
    let simulator = simulator();
    assert_eq!(before_silence(&simulator, &chat("hang", true)).await, "");
    for (fault, expected) in [("stall-0", 0), ("stall", 2), ("stall-5", 5)] {
        let text = before_silence(&simulator, &chat(fault, true)).await;
        assert!(text.starts_with("HTTP/1.1 200 OK"));
        assert_eq!(events(&text), expected, "{fault}");
    }
    let half = before_silence(&simulator, &chat("stall", false)).await;
    assert!(half.contains("chat.completion") && !half.contains("usage"), "{half}");
}

#[tokio::test]
async fn cuts_come_after_so_many_bytes_or_events() {
    let simulator = simulator();
    for (fault, end) in [("reset", End::Reset), ("fin", End::Fin)] {
        for at in [0, 1, 17, 200, 500] {
            let cut = seen(&simulator, CHAT, &chat(&format!("{fault}-{at}"), true)).await;
            assert_eq!((cut.bytes.len(), &cut.end), (at, &end), "{fault}");
        }
        let cut = seen(&simulator, CHAT, &chat(&format!("{fault}-event-3"), true)).await;
        assert_eq!((events(&cut.text()), &cut.end), (3, &end));
        assert!(cut.text().ends_with("\n\n\r\n"), "the third event is whole");
    }
}

#[tokio::test]
async fn a_stream_can_be_cut_at_every_byte_and_never_looks_whole() {
    let simulator = simulator();
    let mut body = chat("fin", true);
    body["max_tokens"] = 2.into();
    body["model"] = "sim-small".into();
    let url = format!("{}{CHAT}", simulator.url());
    let client = reqwest::Client::new();
    client.post(&url).json(&body).send().await.unwrap().bytes().await.unwrap();
    let call = simulator.call_that(|it| it.outcome().is_some()).await;
    let whole = call.outcome().unwrap().bytes_sent as usize;
    for at in (0..whole).step_by(7).chain([whole - 1]) {
        let fault = Fault::Fin(Point::Byte(at));
        simulator.arm(fault, Scope { next: Some(1), ..Scope::default() });
        let answered = client.post(&url).json(&body).send().await;
        let result = match answered {
            Ok(response) => response.bytes().await.map(drop),
            Err(error) => Err(error),
        };
        assert!(result.is_err(), "cut after {at} of {whole} bytes");
    }
}

#[tokio::test]
async fn truncated_answers_end_cleanly_but_too_early() {
    let simulator = simulator();
    let text = whole(&simulator, "truncate-3", true).await.unwrap();
    assert_eq!(events(&text), 3);
    let text = whole(&simulator, "truncate-bytes-50", true).await.unwrap();
    assert_eq!(text.len(), 50);
    let text = whole(&simulator, "no-done", true).await.unwrap();
    assert!(text.contains("usage") && !text.contains("[DONE]"));
    let text = whole(&simulator, "truncate", false).await.unwrap();
    assert!(serde_json::from_str::<Value>(&text).is_err());
}

#[tokio::test]
async fn an_error_comes_in_the_middle_of_a_stream() {
    let simulator = simulator();
    let text = whole(&simulator, "error-event-4", true).await.unwrap();
    assert_eq!(events(&text), 5);
    assert!(text.contains("\"error\"") && !text.contains("[DONE]"));
    let body = json!({
        "model": "sim-fault-error-event", "max_tokens": 9, "stream": true,
        "messages": [{"role": "user", "content": "Hello"}],
    });
    let (events, _) = stream(&simulator, MESSAGES, &body).await;
    assert_eq!(events.last().unwrap()["type"], "error");
}

#[tokio::test]
async fn lengths_lie() {
    let simulator = simulator();
    assert!(whole(&simulator, "short-length", false).await.is_err());
    let mut both = chat("both-lengths", false);
    both["max_tokens"] = 1.into();
    let text = before_silence(&simulator, &both).await;
    assert!(text.contains("content-length: ") && text.contains("transfer-encoding: chunked"));
}

#[tokio::test]
async fn unusual_spellings_mean_the_same() {
    let simulator = simulator();
    let usual: Vec<Value> = data_of(&whole(&simulator, "none", true).await.unwrap(), "none");
    for fault in ["bytes", "crlf", "comments", "multi-line", "early-hints"] {
        let text = whole(&simulator, fault, true).await.unwrap();
        assert_eq!(data_of(&text, fault), usual, "{fault}");
    }
    let text = whole(&simulator, "crlf", true).await.unwrap();
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
}

/// The events' data as a careful client reads it, the model's name made equal.
fn data_of(text: &str, fault: &str) -> Vec<Value> {
    let text = text.replace("\r\n", "\n").replace(&format!("sim-fault-{fault}"), "same");
    let data = text.split("\n\n").map(|event| {
        let lines = event.lines().filter_map(|it| it.strip_prefix("data: "));
        lines.collect::<Vec<_>>().join("\n")
    });
    let values = data.filter_map(|it| serde_json::from_str::<Value>(&it).ok());
    values
        .map(|mut it| {
            it["id"] = Value::Null;
            // The words after the greeting follow from the model's name.
            it["choices"][0]["delta"] = Value::Null;
            it["usage"] = Value::Null;
            it
        })
        .take(10)
        .collect()
}

#[tokio::test]
async fn connections_are_closed_or_poisoned_behind_the_answer() {
    let simulator = simulator();
    let closed = seen(&simulator, CHAT, &chat("close", false)).await;
    assert!(!closed.text().contains("connection: close"));
    assert!(serde_json::from_slice::<Value>(closed.body()).is_ok());
    let poisoned = before_silence(&simulator, &chat("extra-bytes", false)).await;
    assert!(poisoned.ends_with("}unexpected garbage"));
}

#[tokio::test]
async fn statuses_come_with_and_without_retry_after() {
    let simulator = simulator();
    let url = format!("{}{CHAT}", simulator.url());
    let client = reqwest::Client::new();
    for (fault, status, retry_after) in [
        ("429", 429, None),
        ("429-retry-7", 429, Some("7")),
        ("429-retry-86400", 429, Some("86400")),
        ("503-retry-garbage", 503, Some("soon; maybe")),
        ("401", 401, None),
        ("418", 418, None),
        ("500", 500, None),
        ("529", 529, None),
    ] {
        let response = client.post(&url).json(&chat(fault, true)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        let header = response.headers().get("retry-after").map(|it| it.to_str().unwrap());
        assert_eq!(header, retry_after, "{fault}");
        assert!(response.json::<Value>().await.unwrap()["error"]["message"].is_string());
    }
}

#[tokio::test]
async fn a_storm_lasts_as_long_as_it_was_armed_for() {
    let simulator = simulator();
    let client = reqwest::Client::new();
    let arm = json!({"fault": "503", "next": 2, "model": "gpt-4o", "path": "/west/"});
    assert_eq!(answer(&simulator, "/__control/faults", &arm).await, json!({"ok": true}));
    let call = async |base: &str, model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
        let url = format!("{}{base}{CHAT}", simulator.url());
        client.post(url).json(&body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(call("/east", "gpt-4o").await, 200);
    assert_eq!(call("/west", "gpt-4o-mini").await, 200);
    assert_eq!([call("/west", "gpt-4o").await, call("/west", "gpt-4o").await], [503, 503]);
    assert_eq!(call("/west", "gpt-4o").await, 200);

    let nonsense = json!({"fault": "earthquake"});
    assert_eq!(post(&simulator, "/__control/faults", &nonsense).await.0, 400);
    simulator.arm(Fault::Status { status: 500, retry_after: None }, Scope::default());
    assert_eq!(call("/east", "gpt-4o").await, 500);
    simulator.disarm();
    assert_eq!(call("/east", "gpt-4o").await, 200);
}

#[tokio::test]
async fn a_redirect_leads_to_a_path_that_tells_who_followed() {
    let simulator = simulator();
    let none = reqwest::redirect::Policy::none();
    let client = reqwest::Client::builder().redirect(none).build().unwrap();
    let url = format!("{}{CHAT}", simulator.url());
    let response = client.post(url).json(&chat("redirect-308", false)).send().await.unwrap();
    assert_eq!(response.status(), 308);
    assert_eq!(response.headers()["location"], format!("/redirected{CHAT}"));
}

#[tokio::test]
async fn bodies_are_not_what_they_should_be() {
    let simulator = simulator();
    let page = whole(&simulator, "html", true).await.unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert_eq!(whole(&simulator, "empty", false).await.unwrap(), "");
    for stream in [false, true] {
        let text = whole(&simulator, "bad-json", stream).await.unwrap();
        let data = text.lines().map(|it| it.trim_start_matches("data: "));
        let mut data = data.filter(|it| it.starts_with('{'));
        assert!(data.any(|it| serde_json::from_str::<Value>(it).is_err()));

        let url = format!("{}{CHAT}", simulator.url());
        let response = reqwest::Client::new().post(url).json(&chat("bad-utf8", stream));
        let bytes = response.send().await.unwrap().bytes().await.unwrap();
        assert!(std::str::from_utf8(&bytes).is_err());

        let text = whole(&simulator, "no-choices", stream).await.unwrap();
        assert!(text.contains("\"status\":\"ok\""));
    }
    let leak = whole(&simulator, "leak-key", false).await.unwrap();
    assert!(leak.contains("none"), "{leak}");
    let deep = whole(&simulator, "deep-500", false).await.unwrap();
    assert_eq!(deep.matches('[').count(), 500);
}

#[tokio::test]
async fn answers_are_huge() {
    let simulator = simulator();
    let line = whole(&simulator, "huge-line-2", true).await.unwrap();
    assert!(line.starts_with("data: {") && line.len() > 2 << 20);
    assert_eq!(line.lines().count(), 2);
    let body = whole(&simulator, "huge-body-2", false).await.unwrap();
    assert!(serde_json::from_str::<Value>(&body).is_ok() && body.len() > 2 << 20);

    let url = format!("{}{CHAT}", simulator.url());
    let bomb = reqwest::Client::new().post(&url).json(&chat("gzip-bomb-4", false));
    let bomb = bomb.send().await.unwrap();
    assert_eq!(bomb.headers()["content-encoding"], "gzip");
    let packed = bomb.bytes().await.unwrap();
    assert!(packed.len() < 64 << 10, "{}", packed.len());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text)
        .unwrap();
    assert!(serde_json::from_str::<Value>(&text).is_ok() && text.len() > 4 << 20);

    let header = before_silence(&simulator, &chat("huge-header-3", false)).await;
    assert!(header.contains(&"x".repeat(3 << 10)));
}

#[tokio::test]
async fn usage_is_missing_misplaced_or_wrong() {
    let simulator = simulator();
    let usages = async |fault: &str| {
        let (events, _) = stream(&simulator, CHAT, &chat(fault, true)).await;
        events.iter().map(|it| it["usage"].is_object()).collect::<Vec<_>>()
    };
    assert!(usages("no-usage").await.iter().all(|it| !it));
    let every = usages("usage-every").await;
    assert!(every.len() > 9 && every.iter().all(|it| *it));
    let middle = usages("usage-mid").await;
    assert_eq!(middle.iter().filter(|it| **it).count(), 1);
    assert!(!middle[0] && !middle[middle.len() - 1]);

    let zero = answer(&simulator, CHAT, &chat("usage-zero", false)).await;
    assert_eq!(zero["usage"]["total_tokens"], 0);
    let huge = answer(&simulator, CHAT, &chat("usage-huge", false)).await;
    assert!(huge["usage"]["total_tokens"].as_u64().unwrap() > 1_000_000_000);
    for (path, field) in [
        (MESSAGES, "usage"),
        (&GENERATE.replace("gemini-2.5-flash", "sim-fault-no-usage"), "usageMetadata"),
    ] {
        let mut body = chat("no-usage", false);
        body["max_tokens"] = 99.into();
        body["contents"] = json!([{"parts": [{"text": "Hi"}]}]);
        let answer = answer(&simulator, path, &body).await;
        assert!(answer.get(field).is_none(), "{answer}");
    }
}

#[tokio::test]
async fn output_goes_over_the_cap_or_is_filtered() {
    let simulator = simulator();
    let mut body = chat("over-cap", false);
    body["max_tokens"] = 10.into();
    let over = answer(&simulator, CHAT, &body).await;
    assert_eq!(over["usage"]["completion_tokens"], 36);
    let filtered = answer(&simulator, CHAT, &chat("filtered", false)).await;
    assert_eq!(filtered["choices"][0]["finish_reason"], "content_filter");
}
