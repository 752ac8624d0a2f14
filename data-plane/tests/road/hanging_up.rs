//! Clients that go away free their seat at once. Their upstream goes on and wants to be paid, so
//! its answer is heard out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use shared::event::{Outcome, UsageSource};
use tokio::{io::AsyncReadExt, sync::Notify};

use crate::{
    counting::{source, told},
    feed::redis_url,
    plane::{Plane, warm},
    soon,
    upstream::{EVENTS, Event, JSON, LAST_CHUNK, Step, Upstream, answer, chunk},
};

const BEGUN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const COUNTED: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const WHOLE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}"#;

/// The upstream does `first`, the client reads so much of that and leaves, and then the upstream
/// does the `rest`.
async fn check(call: &str, first: Option<Step>, awaits: usize, rest: Step) {
    let signal = Arc::new(Notify::new());
    let script = first.into_iter().chain([Step::Await(signal.clone()), rest]).collect();
    let (mut upstream, source) = (Upstream::start([script]).await, source());
    warm(&source).await;
    let plane = Plane::bare_from(source.clone(), |it| it.redis_url = redis_url()).await;
    plane.serve(upstream.address);
    let mut client = plane.open(call).await;
    assert!(matches!(upstream.event().await, Event::Request { .. }));
    soon(client.read_exact(&mut vec![0; awaits])).await.unwrap();

    let start = Instant::now();
    drop(client);
    soon(plane.is_idle()).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let metrics = plane.get_privately("/metrics").await;
    let metrics = std::str::from_utf8(&metrics.body).unwrap();
    let gone = r#"turnpike_requests_total{endpoint="chat",outcome="gone"} 1"#;
    assert!(metrics.contains(gone), "{metrics}");
    assert!(metrics.contains("turnpike_answers_being_heard_out 1"), "{metrics}");

    signal.notify_one();
    soon(plane.running.drain()).await;
    let events = told(&source).await;
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.outcome, event.usage_source), (Outcome::Gone, UsageSource::Upstream));
    assert_eq!((event.usage.input, event.usage.output), (9, 4));
}

const STREAM: &str = r#"{"model":"auto","stream":true}"#;

fn rest() -> Step {
    Step::Send([&chunk(COUNTED)[..], &chunk(DONE), LAST_CHUNK].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_answer() {
    let whole = answer("200 OK", JSON, WHOLE).remove(0);
    check(r#"{"model":"auto"}"#, None, 0, whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn within_an_answer_that_is_sent_whole() {
    let Step::Send(whole) = answer("200 OK", JSON, WHOLE).remove(0) else { panic!() };
    let (first, rest) = whole.split_at(whole.len() - 9);
    let [first, rest] = [first, rest].map(|it| Step::Send(it.to_vec()));
    check(r#"{"model":"auto"}"#, Some(first), 0, rest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_head_of_a_stream_and_its_first_byte() {
    let rest = [&chunk(BEGUN)[..], &chunk(COUNTED), &chunk(DONE), LAST_CHUNK].concat();
    check(STREAM, Some(Step::Send(EVENTS.into())), 0, Step::Send(rest)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn within_a_stream() {
    let begun = [EVENTS.as_bytes(), &chunk(BEGUN)].concat();
    check(STREAM, Some(Step::Send(begun)), 20, rest()).await;
}
