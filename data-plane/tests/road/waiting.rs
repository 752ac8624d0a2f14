//! Long silences, slow clients, and the end of a drain.

use std::{sync::Arc, time::Duration};

use shared::snapshot::Timeouts;
use tokio::{io::AsyncReadExt, sync::Notify};

use crate::{
    plane::Plane,
    soon,
    upstream::{EVENTS, Event, JSON, LAST_CHUNK, Step, Upstream, answer, chunk},
};

const REPLY: &str = r#"{"choices":[{"text":"hello"}]}"#;
const CALL: &str = r#"{"model":"auto","stream":true}"#;

fn begun() -> Step {
    Step::Send([EVENTS.as_bytes(), &chunk("data: {}\n\n")].concat())
}

async fn until(client: &mut tokio::net::TcpStream, received: &mut String, end: &str) {
    while !received.contains(end) {
        let mut bytes = Vec::new();
        soon(client.read_buf(&mut bytes)).await.unwrap();
        assert!(!bytes.is_empty(), "the connection closed after {received}");
        received.push_str(std::str::from_utf8(&bytes).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_filled_with_comments() {
    let signal = Arc::new(Notify::new());
    let ended = [&chunk("data: [DONE]\n\n")[..], LAST_CHUNK].concat();
    let script = vec![begun(), Step::Await(signal.clone()), Step::Send(ended)];
    let upstream = Upstream::start([script]).await;
    let short = Duration::from_millis(50);
    let plane = Plane::with(upstream.address, |it| it.timeouts.ping = short).await;
    let (mut client, mut received) = (plane.open(CALL).await, String::new());
    until(&mut client, &mut received, "data: {}\n\n\r\n8\r\n: ping\n\n\r\n8\r\n: ping\n\n\r\n")
        .await;
    signal.notify_one();
    until(&mut client, &mut received, "data: [DONE]\n\n\r\n0\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_dropped_and_its_upstream_when_that_is_too_much() {
    let mut upstream = Upstream::start([vec![Step::Send(EVENTS.into()), Step::Flood]]).await;
    let short = Duration::from_millis(300);
    let plane = Plane::with(upstream.address, |it| it.timeouts.write = short).await;
    let _client = plane.open(CALL).await;
    assert!(matches!(upstream.event().await, Event::Request { .. }));
    let Event::Flooded(taken) = upstream.event().await else { panic!("no flood") };
    // So much is heard out; the rest waits in the kernel's buffers of three sockets.
    assert!(taken < 64 * 1024 * 1024, "{taken} bytes were taken for nobody");
    let metrics = plane.get_privately("/metrics").await;
    let metrics = std::str::from_utf8(&metrics.body).unwrap();
    assert!(metrics.contains("turnpike_requests_in_flight 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_last_longer_than_the_drain_are_told() {
    let upstream = Upstream::start([vec![begun(), Step::Hang]]).await;
    let change = |it: &mut data_plane::config::Config| {
        it.floor.drain_seconds = 2;
        it.timeouts.ping = Duration::from_millis(50);
    };
    let plane = Plane::with(upstream.address, change).await;
    let (mut client, mut received) = (plane.open(CALL).await, String::new());
    until(&mut client, &mut received, "data: {}\n\n").await;
    let rest = async {
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        rest
    };
    let ((), rest) = soon(async { tokio::join!(plane.running.drain(), rest) }).await;
    assert!(rest.contains(r#""code":"unavailable""#), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n") && !rest.contains("[DONE]"), "{rest}");
}

/// Each is too slow in another way, for itself and not for the proxy.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_has_its_own_time() {
    let half = format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 100\r\n\r\n{{");
    let half = vec![Step::Send(half.into_bytes()), Step::Hang];
    let of = Timeouts::default();
    for (script, timeouts) in [
        (vec![Step::Hang], Timeouts { first_byte_seconds: Some(1), ..of }),
        (half.clone(), Timeouts { idle_seconds: Some(1), ..of }),
        (half, Timeouts { total_seconds: Some(1), ..of }),
    ] {
        let mut slow = Upstream::start([script]).await;
        let other = Upstream::start([answer("200 OK", JSON, REPLY)]).await;
        let plane = Plane::bare(|_| ()).await;
        plane.serve_timed(&[(slow.address, timeouts), (other.address, of)]);
        let told = plane.chat(r#"{"model":"auto"}"#).await;
        assert_eq!(
            (told.status.as_u16(), &told.headers["x-turnpike-attempts"]),
            (200, &"2".parse().unwrap())
        );
        assert!(matches!(slow.event().await, Event::Request { .. }));
        assert_eq!(slow.event().await, Event::HungUp);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_may_take_longer_than_others() {
    let signal = Arc::new(Notify::new());
    let whole = answer("200 OK", JSON, REPLY);
    let script = [vec![Step::Await(signal.clone())], whole].concat();
    let mut slow = Upstream::start([script]).await;
    let change = |it: &mut data_plane::config::Config| {
        it.timeouts.first_byte = Duration::from_millis(100);
        it.timeouts.total = Duration::from_millis(200);
    };
    let plane = Plane::bare(change).await;
    let timeouts =
        Timeouts { first_byte_seconds: Some(600), total_seconds: Some(600), ..Timeouts::default() };
    plane.serve_timed(&[(slow.address, timeouts)]);
    let after = async {
        assert!(matches!(slow.event().await, Event::Request { .. }));
        // Twice as long as the proxy's own patience.
        let other = Upstream::start([vec![Step::Hang]]).await;
        let hasty = Plane::with(other.address, change).await;
        for _ in 0..4 {
            assert_eq!(hasty.chat(r#"{"model":"auto"}"#).await.status, 504);
        }
        signal.notify_one();
    };
    let (told, ()) = tokio::join!(plane.chat(r#"{"model":"auto"}"#), after);
    assert_eq!(told.status, 200);
}
