//! Leaving without cutting anyone short.

use std::sync::Arc;

use data_plane::config::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::{
    plane::{Plane, send},
    soon,
    upstream::{EVENTS, Event, JSON, LAST_CHUNK, Step, Upstream, answer, chunk},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_under_way_finishes_while_we_are_not_ready() {
    let signal = Arc::new(Notify::new());
    let begun = [EVENTS.as_bytes(), &chunk("data: {}\n\n")].concat();
    let ended = [&chunk("data: [DONE]\n\n")[..], LAST_CHUNK].concat();
    let script = vec![Step::Send(begun), Step::Await(signal.clone()), Step::Send(ended)];
    let upstream = Upstream::start([script]).await;
    let plane = Plane::start(upstream.address).await;
    let mut client = plane.open(r#"{"model":"auto","stream":true}"#).await;
    let mut begun = vec![0; 20];
    soon(client.read_exact(&mut begun)).await.unwrap();

    let private = plane.private;
    let readyz = || http::Request::get(format!("http://{private}/readyz"));
    assert_eq!(send(readyz(), "").await.status, 200);
    let drained = plane.running.drain();
    let rest = async {
        while send(readyz(), "").await.status != 503 {}
        signal.notify_one();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        rest
    };
    let ((), rest) = soon(async { tokio::join!(drained, rest) }).await;
    assert!(rest.contains("data: [DONE]"), "{rest}");
}

fn short(config: &mut Config) {
    config.floor.drain_seconds = 2;
}

/// What is under way when the time is over, each on a connection of its own.
async fn read_to_end(client: &mut TcpStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[track_caller]
fn is_told_to_come_back(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    for words in ["retry-after: 2\r\n", "x-turnpike-error-code: unavailable", "\"unavailable\""] {
        assert!(answer.contains(words), "{words} is not in {answer}");
    }
    assert!(!answer.contains("x-should-retry"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_not_answered_in_time_are_told_to_come_back() {
    let half = format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 100\r\n\r\n{{");
    let scripts = [
        vec![Step::Hang],
        vec![Step::Send(half.into_bytes()), Step::Hang],
        vec![Step::Send(EVENTS.into()), Step::Hang],
    ];
    let mut upstream = Upstream::start(scripts).await;
    let plane = Plane::with(upstream.address, short).await;
    let mut clients = Vec::new();
    for body in [r#"{"model":"auto"}"#, r#"{"model":"auto"}"#, r#"{"model":"auto","stream":true}"#]
    {
        clients.push(plane.open(body).await);
        assert!(matches!(upstream.event().await, Event::Request { .. }));
    }
    let answers = futures::future::join_all(clients.iter_mut().map(read_to_end));
    let ((), answers) = soon(async { tokio::join!(plane.running.drain(), answers) }).await;
    answers.iter().for_each(|it| is_told_to_come_back(it));
    for _ in answers {
        assert_eq!(upstream.event().await, Event::HungUp, "nobody waits for the answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_holds_nobody_up() {
    let plane = Plane::with(Upstream::start([]).await.address, short).await;
    let mut client = plane.connect().await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n\
         content-length: 100\r\n\r\n{{",
        plane.bearer()
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let metrics = async || plane.get_privately("/metrics").await.body;
    let is_here = |it: &[u8]| it.windows(29).any(|it| it == b"turnpike_requests_in_flight 1");
    soon(async { while !is_here(&metrics().await) {} }).await;
    let ((), answer) =
        soon(async { tokio::join!(plane.running.drain(), read_to_end(&mut client)) }).await;
    is_told_to_come_back(&answer);
}

/// The second place would answer, and is not asked any more.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_once_we_leave() {
    let mut first = Upstream::start([vec![Step::Hang]]).await;
    let mut second = Upstream::start([answer("200 OK", JSON, "{}")]).await;
    let plane = Plane::between(&[first.address, second.address], short).await;
    let mut client = plane.open(r#"{"model":"auto"}"#).await;
    assert!(matches!(first.event().await, Event::Request { .. }));
    let ((), answer) =
        soon(async { tokio::join!(plane.running.drain(), read_to_end(&mut client)) }).await;
    is_told_to_come_back(&answer);
    assert!(answer.contains("x-turnpike-attempts: 1"), "{answer}");
    assert_eq!(second.requests(), 0);
}
