//! One of two proxies is frozen, or killed.

use std::time::Instant;

use harness::{
    load::{Load, OpenStream},
    processes::Installation,
};

/// Whoever is connected to it waits; everybody is answered once it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_a_frozen_proxy_are_late_and_no_others() {
    let Some(turnpike) = Installation::start("frozen-proxy").await else { return };
    let load = Load::start(&turnpike).await;
    let stream = OpenStream::begin(&turnpike, 1, 300, 10).await;

    turnpike.proxies[1].freeze().await;
    load.goes_on_at(0).await;
    turnpike.proxies[1].thaw().await;
    load.goes_on().await;
    assert!(stream.rest().await.is_some(), "a stream under way goes on too");

    load.finish().await.nobody_noticed("a proxy is frozen");
    turnpike.finish().await;
}

/// What a load balancer sends to the other one is answered there. The streams under way are
/// lost, and known to be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_proxy_costs_the_streams_under_way_and_no_call() {
    let Some(mut turnpike) = Installation::start("killed-proxy").await else { return };
    let load = Load::start(&turnpike).await;
    let stream = OpenStream::begin(&turnpike, 1, 10_000, 20).await;

    turnpike.proxies[1].kill().await;
    let killed = Instant::now();
    assert!(stream.rest().await.is_none(), "a stream of a dead proxy has no end");
    load.goes_on().await;
    turnpike.proxies[1].start().await;
    load.goes_on().await;
    turnpike.takes_changes().await;

    let tally = load.finish().await;
    tally.none_failed("a proxy is killed");
    assert!(tally.elsewhere > 0, "nobody had to go to the other proxy");
    let is_fair = tally.lost.iter().all(|it| it.proxy == 1 && it.begun < killed);
    // Two of the callers stream there, one call at a time.
    assert!(is_fair && tally.lost.len() <= 2, "{tally:?}");
    turnpike.finish().await;
}
