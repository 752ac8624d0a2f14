//! Clients that go away take their upstream call with them.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use crate::{
    plane::Plane,
    soon,
    upstream::{EVENTS, Event, Step, Upstream, chunk},
};

const CALL: &str = r#"{"model":"auto","stream":true}"#;

async fn check(script: Vec<Step>, awaits: usize) {
    let mut upstream = Upstream::start([script]).await;
    let plane = Plane::start(upstream.address).await;
    let mut client = plane.open(CALL).await;
    assert!(matches!(upstream.event().await, Event::Request { .. }));
    soon(client.read_exact(&mut vec![0; awaits])).await.unwrap();

    let start = Instant::now();
    drop(client);
    assert_eq!(upstream.event().await, Event::HungUp);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let metrics = plane.get_privately("/metrics").await;
    let metrics = std::str::from_utf8(&metrics.body).unwrap();
    assert!(metrics.contains("turnpike_requests_in_flight 0"), "{metrics}");
    let gone = r#"turnpike_requests_total{endpoint="chat",outcome="gone"} 1"#;
    assert!(metrics.contains(gone), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_byte() {
    check(vec![Step::Hang], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_head_and_the_first_byte() {
    check(vec![Step::Send(EVENTS.into()), Step::Hang], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn within_the_stream() {
    let begun = [EVENTS.as_bytes(), &chunk("data: {}\n\n")].concat();
    check(vec![Step::Send(begun), Step::Hang], 20).await;
}
