//! Upstreams that fail: what breaks never looks complete, and never looks like the
//! caller's fault.

use std::time::Duration;

use crate::{
    plane::{Answer, Plane},
    upstream::{EVENTS, JSON, LAST_CHUNK, Step, Upstream, answer, chunk, staying},
};

const CALL: &str = r#"{"model":"auto","stream":true}"#;

/// A plane that goes on asking an upstream that does nothing but fail.
async fn patient(upstream: &Upstream) -> Plane {
    Plane::with(upstream.address, |it| it.breaker_calls = u32::MAX).await
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

/// The last event of a stream as a client reads it.
fn last_event(body: &str) -> &str {
    body.trim_end().rsplit("\n\n").next().unwrap_or_default()
}

/// The first event is whole after `first_event` bytes of `body`.
async fn check_cuts(head: &str, body: &[u8], first_event: usize) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{head}\r\n");
    let upstream = Upstream::start([]).await;
    let plane = patient(&upstream).await;
    for end in 0..=body.len() {
        let piece = [head.as_bytes(), &body[..end]].concat();
        upstream.then(vec![Step::Send(piece)]);
        let answer = plane.chat(CALL).await;
        let text = std::str::from_utf8(&answer.body).unwrap();
        if answer.status == 502 {
            assert_eq!(answer.code(), "upstream_error");
            assert!(end < first_event, "{end} bytes hold an event");
        } else if last_event(text).starts_with("data: {\"error\":{") {
            assert!(!text.contains("\ndata: [DONE]\n"), "after {end} bytes: {text}");
            assert!(end < body.len(), "all of it was there: {text}");
        } else {
            assert_eq!(last_event(text), "data: [DONE]", "after {end} bytes");
            assert!(end + 10 > body.len(), "after {end} bytes: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_cut_at_any_byte_never_looks_complete() {
    let (one, two) = ("data: {\"a\":\"data: [DONE]\"}\n\n", "data: {\"b\":2}\n\ndata: [DONE]\n\n");
    let chunked = [&chunk(one)[..], &chunk(two), LAST_CHUNK].concat();
    check_cuts("transfer-encoding: chunked\r\n", &chunked, chunk(one).len()).await;
    check_cuts("", format!("{one}{two}").as_bytes(), one.len()).await;
}

async fn check_whole_cuts(head: &str, body: &[u8]) {
    const REPLY: &str = r#"{"choices":[1,"x"]}"#;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n");
    let whole = [head.as_bytes(), body].concat();
    let upstream = Upstream::start([]).await;
    let plane = patient(&upstream).await;
    for end in 0..=whole.len() {
        upstream.then(vec![Step::Send(whole[..end].into())]);
        let answer = plane.chat(CALL).await;
        if answer.status == 200 {
            assert_eq!((&answer.body[..], end), (REPLY.as_bytes(), whole.len()));
        } else {
            check(&answer, 502, "upstream_error");
            assert!(end < whole.len(), "all of it was there: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_at_any_byte_is_an_error() {
    let (one, two) = (r#"{"choices":[1,"#, r#""x"]}"#);
    check_whole_cuts("content-length: 19\r\n", format!("{one}{two}").as_bytes()).await;
    let chunked = [&chunk(one)[..], &chunk(two), LAST_CHUNK].concat();
    check_whole_cuts("transfer-encoding: chunked\r\n", &chunked).await;
    check_whole_cuts("", format!("{one}{two}").as_bytes()).await;
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
