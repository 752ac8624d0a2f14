//! What passes through, and that it passes untouched.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};

use crate::{
    plane::{Plane, send},
    soon,
    upstream::{EVENTS, Event, JSON, LAST_CHUNK, Step, Upstream, answer, chunk},
};

const REPLY: &str = r#"{"id":"1",  "choices":[], "usage":{"total_tokens":3}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_reaches_its_upstream_with_the_name_it_goes_by() {
    let mut upstream = Upstream::start([answer("200 OK", JSON, REPLY)]).await;
    let plane = Plane::start(upstream.address).await;
    let answer = plane.chat(r#"{ "x":1.0,"model":"auto","unknown":{"model":"auto"} }"#).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, REPLY.as_bytes()));

    let Event::Request { body, .. } = upstream.event().await else { panic!("no request") };
    assert_eq!(body, r#"{ "x":1.0,"model":"gpt-5","unknown":{"model":"auto"} }"#);
    for (name, value) in [
        ("x-turnpike-model", "gpt-5"),
        ("x-turnpike-requested-model", "auto"),
        ("x-turnpike-provider", "scripted"),
        ("cache-control", "no-store"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(answer.headers[name], value, "{name}");
    }
    assert_eq!(answer.headers["x-request-id"], answer.headers["request-id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_right_leaves_every_byte() {
    let mut upstream = Upstream::start([answer("200 OK", JSON, REPLY)]).await;
    let plane = Plane::start(upstream.address).await;
    let sent = "\n{\"stream\" : false, \"model\":\"s\\u0061me\",\t\"é\":1e400}\r\n";
    plane.chat(sent).await;
    let Event::Request { body, .. } = upstream.event().await else { panic!("no request") };
    assert_eq!(body, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_pass_by_name_in_both_directions() {
    let leaks = format!(
        "{JSON}set-cookie: a=b\r\nopenai-organization: org-ours\r\nserver: x\r\nx-request-id: theirs\r\n"
    );
    let mut upstream = Upstream::start([answer("200 OK", &leaks, REPLY)]).await;
    let plane = Plane::start(upstream.address).await;
    let request = Request::post(format!("http://{}/v1/chat/completions", plane.address))
        .header("x-api-key", plane.bearer().replace("Bearer ", ""))
        .header("cookie", "session=1")
        .header("x-forwarded-for", "192.0.2.1")
        .header("openai-project", "theirs")
        .header("te", "trailers")
        .header("user-agent", "client/1");
    let answer = send(request, r#"{"model":"auto"}"#).await;

    let Event::Request { head, .. } = upstream.event().await else { panic!("no request") };
    let mut names: Vec<_> = head.lines().filter_map(|it| it.split_once(": ")).collect();
    names.sort_unstable();
    let address = upstream.address.to_string();
    let agent = concat!("turnpike/", env!("CARGO_PKG_VERSION"));
    let expected = [
        ("accept", "application/json, text/event-stream"),
        ("authorization", "bearer sk-upstream"),
        ("content-length", "17"),
        ("content-type", "application/json"),
        ("host", &address),
        ("user-agent", agent),
    ];
    assert_eq!(names, expected);
    for name in ["set-cookie", "openai-organization", "server"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
    assert_ne!(answer.headers["x-request-id"], "theirs");
}

fn piece(at: usize) -> String {
    format!("data: {{\"n\":  {at}}}\n\n")
}

/// An upstream that sends each piece when it hears that the one before it has arrived.
async fn piecemeal(pieces: usize) -> (Upstream, Arc<Notify>) {
    let signal = Arc::new(Notify::new());
    let mut script = vec![Step::Send(EVENTS.into())];
    for at in 0..pieces {
        script.extend([Step::Send(chunk(&piece(at))), Step::Await(signal.clone())]);
    }
    let last = [&chunk(": bye\r\n\r\ndata: [DONE]\n\n")[..], LAST_CHUNK].concat();
    script.push(Step::Send(last));
    (Upstream::start([script]).await, signal)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_pass_one_by_one_and_byte_for_byte() {
    let (upstream, signal) = piecemeal(5).await;
    let plane = Plane::start(upstream.address).await;
    let mut stream = plane.open(r#"{"model":"auto","stream":true}"#).await;
    let mut received = String::new();
    for at in 0..5 {
        until(&mut stream, &mut received, &piece(at)).await;
        signal.notify_one();
    }
    until(&mut stream, &mut received, "\r\n0\r\n\r\n").await;
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    assert!(head.contains("x-turnpike-model: gpt-5"), "{head}");
    let pieces: String = (0..5).map(piece).collect();
    assert_eq!(unchunked(body), format!("{pieces}: bye\r\n\r\ndata: [DONE]\n\n"));
}

/// The longest wait for a piece, on a connection that acknowledges late because
/// questions and answers have alternated on it.
async fn longest_gap() -> Duration {
    let (upstream, signal) = piecemeal(10).await;
    let plane = Plane::start(upstream.address).await;
    let (mut stream, mut received) = (plane.connect().await, String::new());
    for _ in 0..5 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        until(&mut stream, &mut received, "alive\n").await;
        received.clear();
    }
    plane.ask(&mut stream, r#"{"model":"auto","stream":true}"#).await;
    let mut longest = Duration::ZERO;
    for at in 0..10 {
        let start = Instant::now();
        until(&mut stream, &mut received, &piece(at)).await;
        longest = longest.max(start.elapsed());
        signal.notify_one();
    }
    longest
}

/// With Nagle's algorithm on, one piece at least waits for an acknowledgement: 40 ms. A
/// busy machine may also be slow, but not always.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_not_held_back() {
    let mut gaps = Vec::new();
    for _ in 0..10 {
        gaps.push(longest_gap().await);
        if gaps.iter().any(|it| it.as_millis() < 30) {
            return;
        }
    }
    panic!("held back: {gaps:?}");
}

async fn until(stream: &mut tokio::net::TcpStream, received: &mut String, end: &str) {
    while !received.contains(end) {
        let mut bytes = Vec::new();
        soon(stream.read_buf(&mut bytes)).await.unwrap();
        assert!(!bytes.is_empty(), "the connection closed after {received}");
        received.push_str(std::str::from_utf8(&bytes).unwrap());
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let (piece, rest) = rest.split_at(usize::from_str_radix(length, 16).unwrap());
        whole.push_str(piece);
        body = rest.strip_prefix("\r\n").unwrap();
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_own_refusals_pass() {
    let refusal = r#"{"error":{"message":"slow down"}}"#;
    let headers = format!("{JSON}retry-after: 7\r\n");
    let upstream = Upstream::start([answer("429 Too Many", &headers, refusal)]).await;
    let plane = Plane::start(upstream.address).await;
    let passed = plane.chat(r#"{"model":"auto"}"#).await;
    assert_eq!((passed.status.as_u16(), &passed.body[..]), (429, refusal.as_bytes()));
    assert_eq!(passed.headers["retry-after"], "7");

    upstream.then(answer("400 Bad", JSON, refusal));
    let passed = plane.chat(r#"{"model":"auto"}"#).await;
    assert_eq!((passed.status.as_u16(), &passed.body[..]), (400, refusal.as_bytes()));
    assert_eq!(passed.headers["x-should-retry"], "false");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_and_told() {
    let upstream = Upstream::start([]).await;
    let plane = Plane::start(upstream.address).await;
    let list = plane.get("/v1/models?client_version=1").await.json();
    assert_eq!((&list["data"][0]["id"], &list["data"][1]["id"]), (&"auto".into(), &"same".into()));
    assert_eq!(plane.get("/v1/models/auto").await.json()["id"], "auto");
    let unknown = plane.get("/v1/models/vendor/aut").await;
    assert_eq!((unknown.status.as_u16(), unknown.code().as_str()), (404, "model_not_found"));
}
