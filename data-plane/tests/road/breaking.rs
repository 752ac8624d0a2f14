//! Upstreams that fail: what breaks never looks complete, and never looks like the
//! caller's fault.

use std::time::Duration;

use futures::future::join_all;
use http::Request;
use serde_json::Value;
use shared::snapshot::Dialect;

use crate::{
    plane::{Answer, Plane, send},
    upstream::{EVENTS, JSON, LAST_CHUNK, Step, Upstream, answer, chunk, staying},
};

const CALL: &str = r#"{"model":"auto","stream":true}"#;

/// A plane that goes on asking an upstream that does nothing but fail.
async fn patient(upstream: &Upstream) -> Plane {
    listening(upstream, Dialect::OpenAi).await
}

/// The same to an upstream that speaks so.
async fn listening(upstream: &Upstream, dialect: Dialect) -> Plane {
    let plane = Plane::bare(|it| it.breaker_calls = u32::MAX).await;
    plane.serve_changed(upstream.address, |image| {
        image.upstreams.iter_mut().for_each(|it| it.dialect = dialect);
    });
    plane
}

#[track_caller]
fn check(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{answer:?}");
    assert_eq!(answer.headers["x-turnpike-provider"], "scripted");
}

async fn check_script(script: Vec<Step>, status: u16, code: &str) {
    let upstream = Upstream::start([script]).await;
    let plane = Plane::start(upstream.address).await;
    check(&plane.chat(CALL).await, status, code);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_credential_is_not_the_callers() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let body = r#"{"error":{"message":"Incorrect API key provided: sk-upst***"}}"#;
        check_script(answer(status, JSON, body), 502, "provider_auth_error").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_answer_is_an_error() {
    let redirect = "location: http://169.254.169.254/\r\n";
    check_script(answer("302 Found", redirect, ""), 502, "upstream_error").await;
    let html = "content-type: text/html\r\n";
    check_script(answer("200 OK", html, "<html>"), 502, "upstream_error").await;
    check_script(answer("503 Busy", html, "<html>"), 502, "upstream_error").await;
    check_script(answer("200 OK", JSON, ""), 502, "upstream_error").await;
    check_script(vec![], 502, "upstream_error").await;
    check_script(vec![Step::Send(b"SSH-2.0\r\n".into())], 502, "upstream_error").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_answer_is_none() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for length in ["content-length: 100\r\n", "transfer-encoding: chunked\r\n", ""] {
        let half = format!("{cut}{length}\r\n{{\"id\":");
        check_script(vec![Step::Send(half.into())], 502, "upstream_error").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_there_is_an_error() {
    let gone = Upstream::start([]).await;
    let plane = Plane::start(gone.address).await;
    drop(gone);
    check(&plane.chat(CALL).await, 502, "upstream_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_says_nothing_is_a_timeout() {
    for begun in ["", EVENTS, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"] {
        let upstream = Upstream::start([vec![Step::Send(begun.into()), Step::Hang]]).await;
        let short = Duration::from_millis(100);
        let plane = Plane::with(upstream.address, |it| it.timeouts.first_byte = short).await;
        check(&plane.chat(CALL).await, 504, "upstream_timeout");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_falls_silent_ends_with_an_error() {
    let begun = [EVENTS.as_bytes(), &chunk("data: {\"a\":1}\n\ndata: {\"b")].concat();
    let upstream = Upstream::start([vec![Step::Send(begun), Step::Hang]]).await;
    let short = Duration::from_millis(100);
    let plane = Plane::with(upstream.address, |it| it.timeouts.idle = short).await;
    let answer = plane.chat(CALL).await;
    let body = std::str::from_utf8(&answer.body).unwrap();
    assert!(body.starts_with("data: {\"a\":1}\n\n\n\ndata: {\"error\":{"), "{body}");
    assert!(body.contains("\"code\":\"upstream_timeout\"") && body.ends_with("}}\n\n"), "{body}");
    assert!(!body.contains("[DONE]"), "{body}");

    let metrics = plane.get_privately("/metrics").await;
    let metrics = std::str::from_utf8(&metrics.body).unwrap();
    for line in [
        r#"turnpike_requests_total{endpoint="chat",outcome="broken"} 1"#,
        r#"turnpike_requests_total{endpoint="chat",outcome="2xx"} 0"#,
        r#"turnpike_refusals_total{code="upstream_timeout"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

/// What a client asks, and whom we ask then.
#[derive(Clone, Copy)]
struct Asked {
    path: &'static str,
    body: &'static str,
    dialect: Dialect,
}

const CHAT: Asked = Asked {
    path: "/v1/chat/completions",
    body: r#"{"model":"auto","stream":true,"messages":[{"role":"user","content":"x"}]}"#,
    dialect: Dialect::OpenAi,
};
const COMPLETION: Asked = Asked {
    path: "/v1/completions",
    body: r#"{"model":"auto","stream":true,"prompt":"x"}"#,
    dialect: Dialect::OpenAi,
};
const EMBEDDING: Asked = Asked {
    path: "/v1/embeddings",
    body: r#"{"model":"auto","input":["x"]}"#,
    dialect: Dialect::OpenAi,
};
const MODERATION: Asked =
    Asked { path: "/v1/moderations", body: r#"{"model":"auto","input":"x"}"#, ..EMBEDDING };

impl Asked {
    async fn of(self, plane: &Plane) -> Answer {
        let request = Request::post(format!("http://{}{}", plane.address, self.path));
        send(request.header("authorization", plane.bearer()), self.body).await
    }
}

/// What a client takes a stream for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// None at all.
    Refused,
    Broken,
    Complete,
}

/// Every event has to be whole, and only a stream that is complete may say so.
#[track_caller]
fn seen(answer: &Answer) -> Seen {
    if answer.status == 502 {
        assert_eq!(answer.code(), "upstream_error");
        return Seen::Refused;
    }
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = std::str::from_utf8(&answer.body).unwrap();
    let events: Vec<_> = text.split("\n\n").map(str::trim).filter(|it| !it.is_empty()).collect();
    let (last, before) = events.split_last().unwrap();
    for event in before {
        let chunk = serde_json::from_str::<Value>(event.strip_prefix("data: ").unwrap());
        assert!(chunk.is_ok_and(|it| it["error"].is_null()), "{text}");
    }
    match last.strip_prefix("data: ").unwrap() {
        "[DONE]" => Seen::Complete,
        error => {
            let error: Value = serde_json::from_str(error).unwrap();
            assert_eq!(error["error"]["code"], "upstream_error", "{text}");
            Seen::Broken
        }
    }
}

/// How the end of a body is told, or is not.
#[derive(Clone, Copy)]
enum Framing {
    Chunked,
    Length,
    Close,
}

impl Framing {
    const ALL: [Self; 3] = [Self::Chunked, Self::Length, Self::Close];

    /// The head of an answer that has these pieces for a body, and its body.
    fn of(self, kind: &str, pieces: &[&str]) -> (String, Vec<u8>) {
        let body = pieces.concat();
        let (header, body) = match self {
            Self::Chunked => {
                let mut chunks: Vec<_> = pieces.iter().map(|it| chunk(it)).collect();
                chunks.push(LAST_CHUNK.into());
                ("transfer-encoding: chunked\r\n".to_owned(), chunks.concat())
            }
            Self::Length => (format!("content-length: {}\r\n", body.len()), body.into_bytes()),
            Self::Close => (String::new(), body.into_bytes()),
        };
        (format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{header}\r\n"), body)
    }
}

/// So many go on at once: a call that failed waits before it is tried again.
const LANES: usize = 16;

/// What is answered where the upstream ends behind each byte of `rest`, and behind none.
async fn cut_everywhere(asked: Asked, begins: &[u8], rest: &[u8]) -> Vec<Answer> {
    let lane = async |first: usize| {
        let upstream = Upstream::start([]).await;
        let plane = listening(&upstream, asked.dialect).await;
        let mut answers = vec![];
        for end in (first..=rest.len()).step_by(LANES) {
            upstream.then(vec![Step::Send([begins, &rest[..end]].concat())]);
            answers.push((end, asked.of(&plane).await));
        }
        answers
    };
    let lanes = join_all((0..LANES).map(lane)).await;
    let mut all: Vec<_> = lanes.into_iter().flatten().collect();
    all.sort_by_key(|(end, _)| *end);
    all.into_iter().map(|(_, answer)| answer).collect()
}

/// Cuts the stream behind each of its bytes. The first of its events begins the answer, and
/// the last one says that it is complete.
async fn check_cuts(asked: Asked, framings: &[Framing], events: &[&str]) {
    for framing in framings {
        let (head, body) = framing.of("text/event-stream", events);
        let first = framing.of("", &events[..1]).1.len();
        let answers = cut_everywhere(asked, head.as_bytes(), &body).await;
        let all: Vec<_> = answers.iter().map(seen).collect();
        for (answer, seen) in answers.iter().zip(&all) {
            // Only where we translate it is we who say why an answer ended.
            if *seen != Seen::Complete && asked.dialect != Dialect::OpenAi {
                let text = String::from_utf8_lossy(&answer.body);
                assert!(!text.contains(r#""finish_reason":""#), "{text}");
            }
        }
        let of = |wanted| all.iter().filter(|it| **it == wanted).count();
        assert!(all.is_sorted_by_key(|it| *it as u8), "{all:?}");
        assert!(of(Seen::Refused) <= first, "{first} bytes hold an event");
        // What follows the last event's own line is an empty one, and how the body ends.
        assert!((1..=10).contains(&of(Seen::Complete)), "{all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_cut_at_any_byte_never_looks_complete() {
    let events = [
        "data: {\"a\":\"data: [DONE]\"}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]}}]}\n\n",
        "data: {\"b\":2}\n\ndata: [DONE]\n\n",
    ];
    check_cuts(CHAT, &Framing::ALL, &events).await;
    let events = ["data: {\"choices\":[{\"text\":\"[DONE]\"}]}\n\n", "data: [DONE]\n\n"];
    check_cuts(COMPLETION, &Framing::ALL, &events).await;
}

/// A text, and a call of a tool whose arguments come in pieces.
#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_that_is_translated_from_anthropics_words() {
    let of =
        |kind: &str, rest: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
    let delta = |index: u32, kind: &str, rest: &str| {
        let delta = format!(r#","index":{index},"delta":{{"type":"{kind}",{rest}}}"#);
        of("content_block_delta", &delta)
    };
    let tool = r#","index":1,"content_block":{"type":"tool_use","id":"t","name":"f"}"#;
    let events = [
        of("message_start", r#","message":{"id":"1","model":"m"}"#),
        delta(0, "text_delta", r#""text":"[DONE]""#),
        of("content_block_start", tool),
        delta(1, "input_json_delta", r#""partial_json":"{\"a\":""#),
        delta(1, "input_json_delta", r#""partial_json":"1}""#),
        of("content_block_stop", r#","index":1"#),
        of("message_delta", r#","delta":{"stop_reason":"tool_use"}"#),
        of("message_stop", ""),
    ];
    let asked = Asked { dialect: Dialect::Anthropic, ..CHAT };
    check_cuts(asked, &[Framing::Chunked, Framing::Close], &events.each_ref().map(|it| &it[..]))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_that_is_translated_from_geminis_words() {
    let of = |parts: &str, rest: &str| {
        format!("data: {{\"candidates\":[{{\"content\":{{\"parts\":[{parts}]}}{rest}}}]}}\r\n\r\n")
    };
    let events = [
        of(r#"{"text":"[DONE]"}"#, ""),
        of(r#"{"functionCall":{"name":"f","args":{"a":1}}}"#, ""),
        of(r#"{"functionCall":{"name":"g","args":{}}}"#, r#","finishReason":"STOP""#),
    ];
    let asked = Asked { dialect: Dialect::Gemini, ..CHAT };
    check_cuts(asked, &[Framing::Chunked, Framing::Close], &events.each_ref().map(|it| &it[..]))
        .await;
}

/// The same of an answer that is no stream: each byte of its head and its body.
async fn check_whole_cuts(asked: Asked, framings: &[Framing], (one, two): (&str, &str)) {
    for framing in framings {
        let (head, body) = framing.of("application/json", &[one, two]);
        let whole = [head.as_bytes(), &body].concat();
        let answers = cut_everywhere(asked, b"", &whole).await;
        let (all_of_it, cut) = answers.split_last().unwrap();
        for answer in cut {
            check(answer, 502, "upstream_error");
        }
        assert_eq!(all_of_it.status, 200, "{all_of_it:?}");
        let is_as_it_was = all_of_it.body == format!("{one}{two}");
        assert!(is_as_it_was || asked.dialect != Dialect::OpenAi, "{all_of_it:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_at_any_byte_is_an_error() {
    check_whole_cuts(CHAT, &Framing::ALL, (r#"{"choices":[1,"#, r#""x"]}"#)).await;
    let ends_with_its_connection = &[Framing::Close];
    for (asked, halves) in [
        (COMPLETION, (r#"{"choices":["#, "]}")),
        (EMBEDDING, (r#"{"data":["#, "]}")),
        (MODERATION, (r#"{"results":["#, "]}")),
    ] {
        check_whole_cuts(asked, ends_with_its_connection, halves).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_translated_and_cut_at_any_byte_is_an_error() {
    let ends_with_its_connection = &[Framing::Close];
    let anthropics = (
        r#"{"id":"1","model":"m","content":[{"type":"tool_use","id":"t","name":"f","#,
        r#""input":{"a":1}}],"stop_reason":"tool_use"}"#,
    );
    let geminis = (
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","#,
        r#""args":{"a":1}}}]},"finishReason":"STOP"}]}"#,
    );
    for (asked, dialect, halves) in [
        (CHAT, Dialect::Anthropic, anthropics),
        (CHAT, Dialect::Gemini, geminis),
        (EMBEDDING, Dialect::Gemini, (r#"{"embeddings":[{"#, r#""values":[0.5,-1]}]}"#)),
    ] {
        check_whole_cuts(Asked { dialect, ..asked }, ends_with_its_connection, halves).await;
    }
}

/// Whatever was answered on a connection, the next call on it, or instead of it, gets its
/// own answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_answer_spoils_no_other() {
    const REPLY: &str = r#"{"choices":["own"]}"#;
    let good = || staying(answer("200 OK", JSON, REPLY));
    let raw = |bytes: Vec<u8>| staying(vec![Step::Send(bytes)]);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let deep = format!("{{\"choices\":{deep}}}");
    let smuggled = format!("{head}content-length: 14\r\n\r\n{{\"choices\":[]}}");
    let upstream = Upstream::start([]).await;
    let plane = patient(&upstream).await;
    for (bad, status) in [
        (staying(answer("200 OK", JSON, "{\"bad\":")), 502),
        (staying(answer("200 OK", "content-type: text/html\r\n", "<html>")), 502),
        (staying(answer("200 OK", JSON, &deep)), 200),
        (staying(answer("401 No", JSON, "{}")), 502),
        (staying(answer("302 Found", "location: /\r\n", "moved")), 502),
        (staying(answer("200 OK", &format!("{JSON}content-encoding: br\r\n"), "{}")), 502),
        (raw([head.as_bytes(), b"content-length: 3\r\n\r\n\"\xff\""].concat()), 502),
        (raw(format!("{head}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}").into()), 502),
        (
            raw(format!("{head}x: {}\r\ncontent-length: 2\r\n\r\n{{}}", "x".repeat(70_000)).into()),
            502,
        ),
        (raw(format!("{head}{}content-length: 2\r\n\r\n{{}}", "x: y\r\n".repeat(200)).into()), 502),
        (raw(format!("{head}content-length: 99999999\r\n\r\n{{").into()), 502),
        (raw(format!("{smuggled}{head}content-length: 9\r\n\r\n{{\"evil\":1}}").into()), 200),
    ] {
        upstream.then(bad.clone());
        let answer = plane.chat(CALL).await;
        assert_eq!(answer.status, status, "{:?}", answer.headers);
        upstream.then(good());
        for _ in 0..2 {
            let next = plane.chat(CALL).await;
            assert_eq!((next.status.as_u16(), &next.body[..]), (200, REPLY.as_bytes()));
        }
    }
}
