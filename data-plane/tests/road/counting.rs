//! What a call has used, as its upstream counts it and the request log hears of it.

use std::time::Duration;

use data_plane::catalog::feed::Source;
use redis::aio::MultiplexedConnection;
use secrecy::ExposeSecret;
use shared::{
    counters::Shard,
    event::{Event, UsageSource},
    ids::RequestId,
    snapshot::Places,
    usage::Usage,
};

use crate::{
    feed::redis_url,
    plane::{Plane, warm},
    soon,
    upstream::{EVENTS, JSON, LAST_CHUNK, Step, Upstream, answer, chunk},
};

const WHOLE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}"#;
const BEGUN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const COUNTED: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

pub fn source() -> Source {
    let (name, never) = (RequestId::generate(), Duration::from_secs(3_600));
    Source {
        redis_url: redis_url(),
        places: Places::new(&format!("test:{{{name}}}")),
        last_used: format!("test:{name}:last_used"),
        pulses: format!("test:{name}:pulses"),
        feedback: format!("test:{name}:feedback"),
        generations: format!("test:{{{name}}}:generations"),
        events: shared::counters::Places::with_prefix(&format!("test:{name}:")),
        period: never,
        lane_period: never,
    }
}

/// All that was told of calls.
pub async fn told(source: &Source) -> Vec<Event> {
    type Entry = (String, Vec<(String, Vec<u8>)>);
    let client = redis::Client::open(source.redis_url.expose_secret()).unwrap();
    let mut redis: MultiplexedConnection = client.get_multiplexed_async_connection().await.unwrap();
    let mut events = Vec::new();
    for shard in Shard::all() {
        let mut range = redis::cmd("XRANGE");
        range.arg(source.events.events(shard)).arg("-").arg("+");
        let entries: Vec<Entry> = range.query_async(&mut redis).await.unwrap();
        let fields = entries.iter().flat_map(|(_, fields)| fields);
        events.extend(fields.map(|(_, bytes)| Event::decode(bytes).unwrap()));
    }
    events
}

async fn check(call: &str, script: Vec<Step>, answered: &str) {
    let (upstream, source) = (Upstream::start([script]).await, source());
    warm(&source).await;
    let plane = Plane::bare_from(source.clone(), |it| it.redis_url = redis_url()).await;
    plane.serve(upstream.address);
    assert_eq!(plane.chat(call).await.body, answered);
    soon(plane.running.drain()).await;
    let events = told(&source).await;
    let used: Vec<_> = events.iter().map(|it| (it.usage, it.usage_source)).collect();
    let expected = Usage { input: 9, output: 4, ..Usage::default() };
    assert_eq!(used, [(expected, UsageSource::Upstream)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_read_also_where_the_client_did_not_ask_for_it() {
    check(r#"{"model":"auto"}"#, answer("200 OK", JSON, WHOLE), WHOLE).await;
    let stream = [BEGUN, COUNTED, DONE].concat();
    let script = [EVENTS.as_bytes(), &chunk(&stream), LAST_CHUNK].concat();
    let script = vec![Step::Send(script)];
    let asks = r#"{"model":"auto","stream":true,"stream_options":{"include_usage":true}}"#;
    check(asks, script.clone(), &stream).await;
    check(r#"{"model":"auto","stream":true}"#, script, &[BEGUN, DONE].concat()).await;
}
