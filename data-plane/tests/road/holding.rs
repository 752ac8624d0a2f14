//! What a call keeps while it is under way, of its caller's limits and of our memory, and when
//! that comes back.

use std::time::Duration;

use shared::snapshot::Limits;
use tokio::io::AsyncReadExt;

use crate::{
    plane::{Answer, Plane},
    soon,
    upstream::{Event, JSON, Step, Upstream, answer},
};

const CALL: &str = r#"{"model":"auto","max_tokens":100}"#;
const REPLY: &str = r#"{"id":"1","choices":[]}"#;
const LIMITS: Limits =
    Limits { requests_per_minute: Some(1_000), tokens_per_minute: Some(6_000), concurrent: None };

/// A call whose input is some 3,000 tokens.
fn long_call() -> String {
    let words = "word ".repeat(3_000);
    format!(r#"{{"model":"auto","max_tokens":100,"messages":[{{"content":"{words}"}}]}}"#)
}

fn remaining(answer: &Answer) -> u64 {
    let header = &answer.headers["x-ratelimit-remaining-tokens"];
    header.to_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_sent_uses_its_input_also_if_its_caller_leaves() {
    let mut upstream = Upstream::start([vec![Step::Hang]]).await;
    let plane = Plane::bare(|_| ()).await;
    plane.serve_limited(upstream.address, LIMITS);
    let client = plane.open(&long_call()).await;
    assert!(matches!(upstream.event().await, Event::Request { .. }));
    drop(client);
    soon(plane.is_idle()).await;
    upstream.then(answer("200 OK", JSON, REPLY));
    let left = remaining(&plane.chat(CALL).await);
    assert!(left < 4_000, "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_sent_uses_its_input_also_if_nothing_comes_of_it() {
    let upstream = Upstream::start([vec![Step::Hang]]).await;
    let short = Duration::from_millis(100);
    let plane = Plane::bare(|it| it.timeouts.first_byte = short).await;
    plane.serve_limited(upstream.address, LIMITS);
    let late = plane.chat(&long_call()).await;
    assert_eq!((late.status.as_u16(), remaining(&late) < 4_000), (504, true), "{late:?}");
    upstream.then(answer("200 OK", JSON, REPLY));
    let left = remaining(&plane.chat(CALL).await);
    assert!(left < 4_000, "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_went_nowhere_uses_nothing() {
    let gone = Upstream::start([]).await;
    let plane = Plane::bare(|_| ()).await;
    plane.serve_limited(gone.address, LIMITS);
    drop(gone);
    assert_eq!(plane.chat(&long_call()).await.status, 502);
    let left = remaining(&plane.chat(CALL).await);
    assert!(left > 5_000, "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_says_as_much_as_what_was_served() {
    let upstream = Upstream::start([answer("500 Oops", JSON, "{}")]).await;
    let plane = Plane::bare(|_| ()).await;
    plane.serve_limited(upstream.address, LIMITS);
    let failed = plane.chat(CALL).await;
    upstream.then(answer("200 OK", JSON, REPLY));
    let served = plane.chat(CALL).await;
    assert_eq!((failed.status.as_u16(), served.status.as_u16()), (502, 200));
    let told = |it: &Answer| {
        let names = it.headers.keys().map(|it| it.as_str().to_owned());
        let ours = |it: &String| it.starts_with("x-ratelimit") || it.starts_with("x-turnpike");
        let mut names: Vec<_> = names.filter(|it| ours(it) || it == "server-timing").collect();
        names.sort_unstable();
        names
    };
    let others = ["x-turnpike-cost-usd", "x-turnpike-error-code"];
    let without = |names: Vec<String>| -> Vec<String> {
        names.into_iter().filter(|it| !others.contains(&it.as_str())).collect()
    };
    assert_eq!(without(told(&failed)), without(told(&served)));
    assert_eq!(failed.headers["x-turnpike-reason"], "asked");
    assert!(failed.headers.contains_key("server-timing"), "{failed:?}");
}

/// An answer that is no stream is under way until it has been taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_keeps_its_place_until_its_answer_is_read() {
    let long = format!(r#"{{"choices":[],"id":"{}"}}"#, "x".repeat(24_000_000));
    let upstream = Upstream::start([answer("200 OK", JSON, &long)]).await;
    let plane = Plane::bare(|_| ()).await;
    plane.serve_limited(upstream.address, Limits { concurrent: Some(1), ..Limits::default() });
    let mut client = plane.open(CALL).await;
    let mut read = [0; 15];
    soon(client.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"HTTP/1.1 200 OK");
    upstream.then(answer("200 OK", JSON, REPLY));
    assert_eq!(plane.chat(CALL).await.status, 429);

    let mut rest = vec![0; long.len()];
    soon(client.read_exact(&mut rest)).await.unwrap();
    let head = String::from_utf8_lossy(&rest[..2_000]).to_lowercase();
    assert!(head.contains(&format!("content-length: {}", long.len())), "{head}");
    let passes = async { while plane.chat(CALL).await.status != 200 {} };
    soon(passes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_answers_have_so_much_memory() {
    let (short, long) = ("x".repeat(40_000), "x".repeat(60_000));
    let call = |text: &str| format!(r#"{{"model":"auto","user":"{text}"}}"#);
    let reply = |text: &str| answer("200 OK", JSON, &format!(r#"{{"choices":[],"id":"{text}"}}"#));
    let mut upstream = Upstream::start([reply("1")]).await;
    let plane = Plane::with(upstream.address, |it| it.body_memory_bytes = 100_000).await;
    let check = |answer: Answer| {
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "overloaded"));
        assert!(answer.headers.contains_key("retry-after"));
    };
    for _ in 0..3 {
        upstream.then(reply("1"));
        check(plane.chat(&call(&long)).await);
        assert_eq!(upstream.requests(), 0);
        assert_eq!(plane.chat(&call(&short)).await.status, 200);
        upstream.then(reply(&long));
        check(plane.chat(CALL).await);
        upstream.then(reply(&short));
        assert_eq!(plane.chat(CALL).await.status, 200);
        upstream.requests();
    }
}
