//! Redis is frozen, then killed: limits go on, in shares.

use std::time::Instant;

use harness::{
    load::{Load, report},
    processes::{Installation, NewKey},
};
use http::StatusCode;

const A_MINUTE: f64 = 30.0;
const NARROW: NewKey = &[("requests_per_minute", "30")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_on_without_redis() {
    let Some(mut turnpike) = Installation::start("redis").await else { return };
    let narrow = turnpike.make_key("narrow", NARROW).await;
    turnpike.served().await;
    let load = Load::start(&turnpike).await;

    turnpike.redis.freeze().await;
    for at in 0..2 {
        turnpike.limits_are(at, "local").await;
    }
    load.goes_on().await;
    shares_hold(&turnpike, &narrow).await;
    turnpike.redis.thaw().await;
    for at in 0..2 {
        turnpike.limits_are(at, "shared").await;
    }
    load.goes_on().await;

    turnpike.redis.kill().await;
    for at in 0..2 {
        turnpike.limits_are(at, "local").await;
    }
    load.goes_on().await;
    turnpike.redis.start().await;
    for at in 0..2 {
        turnpike.limits_are(at, "shared").await;
    }
    turnpike.takes_changes().await;
    load.goes_on().await;

    load.finish().await.nobody_noticed("Redis is frozen, then killed");
    turnpike.finish().await;
}

/// Of a key that nobody has used yet, the proxies together give out a minute's worth at
/// once, and beyond it what comes back in the time that it takes.
async fn shares_hold(turnpike: &Installation, key: &str) {
    let began = Instant::now();
    let mut let_in = [0.0; 2];
    for at in (0..2).cycle().take(60) {
        match turnpike.call(at, key).await.unwrap() {
            StatusCode::OK => let_in[at] += 1.0,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
    let came_back = A_MINUTE * began.elapsed().as_secs_f64() / 60.0;
    let together: f64 = let_in.iter().sum();
    report(&format!("{A_MINUTE} calls a minute without Redis: the proxies let {let_in:?} in"));
    assert!(let_in.iter().all(|it| *it >= A_MINUTE / 2.0), "a proxy gave less than its share");
    assert!(together <= A_MINUTE + came_back + 2.0, "{together} were let in");
}
