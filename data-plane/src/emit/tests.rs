use std::time::Instant;

use http::StatusCode;
use redis::{AsyncCommands, Value};
use shared::{
    counters::{Places, Shard},
    event::{Outcome, UsageSource},
    failure::code,
    ids::RequestId,
    keys::{Brand, NewKey},
    usage::Usage,
};

use super::*;
use crate::{
    authenticate::Caller,
    call::{Attempt, Fate, Served},
    catalog::{
        Candidate,
        tests::{Fixture, key, snapshot},
    },
    metrics::Metrics,
};

fn emitter(most: usize) -> (Arc<Emitter>, Metrics) {
    let metrics = Metrics::new().unwrap();
    (Arc::new(Emitter::holding(most, metrics.events.clone())), metrics)
}

fn caller() -> Caller {
    Caller { key: Arc::new(key(&NewKey::generate(Brand::Live))) }
}

fn candidate() -> Candidate {
    let mut fixture = Fixture::default();
    fixture.upstream(None, &["gpt-5"]);
    let snapshot = snapshot(&fixture);
    let model = snapshot.serving(caller().organization(), "gpt-5").next().unwrap().clone();
    let credential = model.upstream.credentials.first().unwrap().clone();
    Candidate { model, credential }
}

fn told(emitter: &Arc<Emitter>, how: impl FnOnce(&mut Story)) -> Vec<Told> {
    let mut story = Story::begin(emitter, RequestId::generate(), "chat");
    how(&mut story);
    drop(story);
    emitter.take()
}

fn attempt(candidate: &Candidate, fate: Fate, status: StatusCode) -> Attempt {
    let (started, took) = (tokio::time::Instant::now(), Duration::from_millis(3));
    Attempt { candidate: candidate.clone(), fate, status: Some(status), started, took }
}

fn served(attempts: Vec<Attempt>) -> Served {
    let model = attempts[0].candidate.model.clone();
    Served { asked: "gpt-5".into(), model, attempts }
}

fn dropped(metrics: &Metrics) -> u64 {
    let lines = metrics.exposition(None, time::OffsetDateTime::UNIX_EPOCH);
    let lines = String::from_utf8(lines).unwrap();
    let value = lines.lines().find_map(|it| it.strip_prefix("turnpike_events_dropped_total "));
    value.unwrap().parse().unwrap()
}

#[test]
fn a_call_is_told_once_with_all_that_is_known() {
    let (emitter, _) = emitter(10);
    let (candidate, caller) = (candidate(), caller());
    let usage = Usage { input: 7, output: 9, ..Usage::default() };
    let events = told(&emitter, |story| {
        story.caller(&caller);
        story.client(Some("OpenAI/Python 2.8.0"), Some("team=search"));
        story.asks("gpt-5\u{7}");
        story.streams();
        story.routed("asked", None);
        let refused = attempt(&candidate, Fate::RateLimited, StatusCode::TOO_MANY_REQUESTS);
        let answered = attempt(&candidate, Fate::Answered, StatusCode::OK);
        story.tried(&served(vec![refused, answered]));
        story.first_byte();
        story.usage(usage, UsageSource::Upstream);
        story.ends(Outcome::Broken, 200);
        story.ends(Outcome::Success, 200);
        story.fails(code::UPSTREAM_ERROR);
    });
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.key, event.project), (caller.key.id, caller.key.project));
    assert_eq!((event.asked.as_str(), event.stream), ("gpt-5", true));
    assert_eq!(event.client.as_deref(), Some("openai-python"));
    assert_eq!(event.tags["team"], "search");
    let attempts: Vec<_> = event.attempts.iter().map(|it| (&*it.outcome, it.status)).collect();
    assert_eq!(attempts, [("rate_limited", Some(429)), ("answered", Some(200))]);
    let served = event.served.as_ref().unwrap();
    assert_eq!((served.provider.as_str(), served.credential), ("example", candidate.credential.id));
    assert!(event.first_byte_ms.is_some());
    assert_eq!((event.usage, event.usage_source), (usage, UsageSource::Upstream));
    assert_eq!((event.outcome, event.status), (Outcome::Broken, 200));
    assert_eq!(event.error.as_deref(), Some("upstream_error"));
}

#[test]
fn a_call_that_says_nothing_more_is_one_whose_client_is_gone() {
    let (emitter, _) = emitter(10);
    let events = told(&emitter, |story| story.caller(&caller()));
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.outcome, event.status), (Outcome::Gone, 0));
}

#[test]
fn a_call_of_nobody_is_not_told() {
    let (emitter, _) = emitter(10);
    let events = told(&emitter, |story| {
        story.asks("gpt-5");
        story.fails(code::INVALID_API_KEY);
        story.ends(Outcome::ClientError, 401);
    });
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn when_there_is_no_room_the_newest_go_and_are_counted() {
    let (emitter, metrics) = emitter(3);
    let tell = |count: usize| {
        for _ in 0..count {
            Story::begin(&emitter, RequestId::generate(), "chat").caller(&caller());
        }
    };
    tell(5);
    assert_eq!(dropped(&metrics), 2);
    let older = emitter.take();
    let order: Vec<_> = older.iter().map(|it| it.request).collect();
    tell(2);
    emitter.put_back(older);
    assert_eq!(dropped(&metrics), 4);
    let kept: Vec<_> = emitter.take().iter().map(|it| it.request).collect();
    assert_eq!(kept, order);
}

fn pool(url: &str) -> Pool {
    deadpool_redis::Config::from_url(url)
        .create_pool(Some(deadpool_redis::Runtime::Tokio1))
        .unwrap()
}

fn test_redis() -> Pool {
    pool(&std::env::var("TURNPIKE_TEST_REDIS_URL").expect("a Redis for tests: infra/stack.sh"))
}

async fn in_streams(redis: &Pool, place: &Places) -> Vec<Event> {
    let mut connection = redis.get().await.unwrap();
    let mut events = Vec::new();
    for shard in Shard::all() {
        let stream = place.events(shard);
        type Entry = (String, Vec<(String, Vec<u8>)>);
        let entries: Vec<Entry> = redis::cmd("XRANGE")
            .arg(&stream)
            .arg("-")
            .arg("+")
            .query_async(&mut connection)
            .await
            .unwrap();
        for (_, fields) in entries {
            let [(field, bytes)] = fields.as_slice() else { panic!("{fields:?}") };
            assert_eq!(field, FIELD);
            let event = Event::decode(bytes).unwrap();
            assert_eq!(Shard::of(event.organization), shard);
            events.push(event);
        }
        let _: Value = connection.del(&stream).await.unwrap();
    }
    events
}

#[tokio::test]
async fn every_event_is_carried_to_its_organizations_stream() {
    let (emitter, _) = emitter(2_000);
    for _ in 0..600 {
        Story::begin(&emitter, RequestId::generate(), "chat").caller(&caller());
    }
    let (redis, place) =
        (test_redis(), Places::with_prefix(&format!("test:{}:", RequestId::generate())));
    emitter.carry(&redis, &place).await.unwrap();
    assert!(emitter.take().is_empty());
    assert_eq!(in_streams(&redis, &place).await.len(), 600);
}

#[tokio::test]
async fn what_cannot_be_carried_is_kept_until_redis_is_back() {
    let (emitter, metrics) = emitter(2_000);
    for _ in 0..300 {
        Story::begin(&emitter, RequestId::generate(), "chat").caller(&caller());
    }
    let place = Places::with_prefix(&format!("test:{}:", RequestId::generate()));
    // Nobody listens there.
    emitter.carry(&pool("redis://127.0.0.1:1"), &place).await.unwrap_err();
    let redis = test_redis();
    emitter.carry(&redis, &place).await.unwrap();
    assert_eq!(in_streams(&redis, &place).await.len(), 300);
    assert_eq!(dropped(&metrics), 0);
}

/// Prints what an event costs: `cargo test --release -p data-plane -- --ignored cost`.
#[test]
#[ignore = "a measurement"]
fn cost_of_an_event() {
    const ROUNDS: u32 = 200_000;
    let (emitter, _) = emitter(usize::MAX);
    let (candidate, caller) = (candidate(), caller());
    let tried = served(vec![attempt(&candidate, Fate::Answered, StatusCode::OK)]);
    let tell = || {
        let mut story = Story::begin(&emitter, RequestId::generate(), "chat");
        story.caller(&caller);
        story.client(Some("OpenAI/Python 2.8.0"), None);
        story.asks("gpt-5");
        story.streams();
        story.routed("asked", None);
        story.tried(&tried);
        story.first_byte();
        story.usage(Usage::default(), UsageSource::Upstream);
        story.ends(Outcome::Success, 200);
    };
    let per = |began: Instant| began.elapsed() / ROUNDS;
    let began = Instant::now();
    (0..ROUNDS).for_each(|_| _ = std::hint::black_box(RequestId::generate()));
    let id = per(began);
    let began = Instant::now();
    (0..ROUNDS).for_each(|_| tell());
    let road = per(began).saturating_sub(id);
    let events = emitter.take();
    let began = Instant::now();
    let bytes: usize = events.iter().map(|it| it.encode().len()).sum();
    let encoding = per(began);
    let size = bytes / events.len();
    eprintln!("on the road {road:?}, encoding beside it {encoding:?}, {size} bytes");
}
