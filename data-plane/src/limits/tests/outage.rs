//! What happens when Redis does not answer.

use std::time::Instant;

use super::{valve::Valve, *};

const CALLS: u64 = 1_000;

impl Fixture {
    /// On the clock of Redis, behind a valve, and as patient as a proxy is.
    pub(super) async fn behind(&self, valve: &Valve) -> Arc<Limiter> {
        let mut url = Url::parse(self.url.expose_secret()).unwrap();
        url.set_port(Some(valve.address.port())).unwrap();
        let redis_url = url.to_string().into();
        let place = Place { redis_url, patience: PATIENCE, ..self.place() };
        connected(Limiter::new(place, metrics()).unwrap()).await
    }
}

/// Asks until Redis answers, which a busy machine may keep it from.
async fn until_shared(fixture: &Fixture, proxy: &Arc<Limiter>, limits: Three) {
    let shared = proxy.metrics.admissions(State::Shared).get();
    soon(async {
        while proxy.metrics.admissions(State::Shared).get() == shared {
            let Ok(()) = proxy.clone().beat().await;
            drop(fixture.admit(proxy, limits, 1).await.unwrap());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_costs_three_waits_and_then_none() {
    let fixture = Fixture::new().await;
    let valve = Valve::start(address(&fixture.url)).await;
    let proxy = fixture.behind(&valve).await;
    let limits = on_key(requests(1_000_000));
    until_shared(&fixture, &proxy, limits).await;
    let before = proxy.metrics.redis_failures.get();
    valve.freeze();

    for failures in 1..=3 {
        assert_eq!(proxy.state(), State::Shared);
        let start = Instant::now();
        drop(fixture.admit(&proxy, limits, 1).await.unwrap());
        println!("failure {failures} took {:?}", start.elapsed());
        assert_eq!(proxy.metrics.redis_failures.get(), before + failures);
    }
    assert_eq!(proxy.state(), State::Local);
    let start = Instant::now();
    for _ in 0..CALLS {
        drop(fixture.admit(&proxy, limits, 1).await.unwrap());
    }
    println!("{CALLS} calls without Redis took {:?}", start.elapsed());
    // A beat finds it frozen still, and nobody else tries.
    let Ok(()) = proxy.clone().beat().await;
    assert_eq!(proxy.state(), State::Local);
    assert_eq!(proxy.metrics.redis_failures.get(), before + 3);
    assert_eq!(proxy.metrics.shared.get(), 0);

    valve.thaw();
    until_shared(&fixture, &proxy, limits).await;
    assert_eq!((proxy.state(), proxy.metrics.shared.get()), (State::Shared, 1));
}

#[tokio::test]
async fn a_call_without_limits_asks_nobody() {
    let fixture = Fixture::new().await;
    let valve = Valve::start(address(&fixture.url)).await;
    let proxy = fixture.behind(&valve).await;
    valve.freeze();
    for _ in 0..10 {
        let permit = fixture.admit(&proxy, on_key(NONE), 1).await.unwrap();
        assert!(permit.headers().is_empty());
    }
    assert_eq!((proxy.state(), proxy.metrics.redis_failures.get()), (State::Shared, 0));
}

#[tokio::test]
async fn without_redis_each_proxy_gives_out_its_share() {
    let fixture = Fixture::new().await;
    let proxies = [fixture.proxy().await, fixture.proxy().await, fixture.proxy().await];
    let limits = Limits {
        requests_per_minute: Some(31),
        tokens_per_minute: Some(60_000),
        concurrent: Some(1_000),
    };
    let charges = fixture.asked(&on_key(limits), 100).charges();
    let mut permits = vec![];
    for proxy in &proxies {
        let Ok(()) = proxy.clone().beat().await;
        permits.extend(std::iter::from_fn(|| proxy.admit_here(charges.clone()).ok()));
    }
    assert_eq!(permits.len(), 30);
    let reached = proxies[0].admit_here(charges).err().unwrap();
    assert_eq!((reached.which, reached.what, reached.limit), (Level::Key, What::Requests, 10));
}

#[tokio::test]
async fn a_redis_that_was_never_there_leaves_the_assumed_share() {
    let fixture = Fixture::new().await;
    let redis_url = SecretString::from("redis://127.0.0.1:1");
    let place = Place { redis_url, assumed_proxies: 4, ..fixture.place() };
    let proxy = Limiter::new(place, metrics()).unwrap();
    let Ok(()) = proxy.clone().beat().await;
    let limits = on_key(concurrent(8));
    let permits = [
        fixture.admit(&proxy, limits, 1).await.unwrap(),
        fixture.admit(&proxy, limits, 1).await.unwrap(),
    ];
    assert!(fixture.admit(&proxy, limits, 1).await.is_err());
    assert_eq!((proxy.state(), proxy.metrics.redis_failures.get()), (State::Local, 0));
    drop(permits);
    assert!(fixture.admit(&proxy, limits, 1).await.is_ok());
}

#[tokio::test]
async fn tokens_are_settled_without_redis_too() {
    let fixture = Fixture::new().await;
    let proxy = fixture.proxy().await;
    let charges = fixture.asked(&on_key(tokens(1_000)), 1_000).charges();
    let now = proxy.local.now();
    let permit = proxy.admit_here(charges.clone()).ok().unwrap();
    assert!(proxy.local.admit(&charges, (None, &proxy.leases), now).refusal().is_some());
    drop(permit);
    assert!(proxy.local.admit(&charges, (None, &proxy.leases), now).refusal().is_none());
    proxy.local.sweep(now + 2 * gcra::MINUTE);
    let empty = proxy.local.admit(&charges, (None, &proxy.leases), now);
    assert_eq!(empty.levels[0].tokens.0, 1_000 * gcra::MINUTE);
}

/// Calls that were let through without Redis count in it when it is back.
#[tokio::test]
async fn calls_under_way_are_not_forgotten_when_redis_is_back() {
    let fixture = Fixture::new().await;
    let (proxy, other) = (fixture.proxy().await, fixture.proxy().await);
    let limits = on_key(concurrent(1));
    let permit = proxy.admit_here(fixture.asked(&limits, 1).charges()).ok().unwrap();
    let Ok(()) = proxy.clone().renew().await;
    assert!(fixture.admit(&other, limits, 1).await.is_err());
    drop(permit);
    proxy.leave().await;
    assert!(fixture.admit(&other, limits, 1).await.is_ok());
}

#[tokio::test]
async fn calls_from_before_count_in_the_share() {
    let fixture = Fixture::new().await;
    let (proxy, limits) = (fixture.proxy().await, on_key(concurrent(1)));
    let permit = fixture.admit(&proxy, limits, 1).await.unwrap();
    let charges = fixture.asked(&limits, 1).charges();
    assert!(proxy.admit_here(charges.clone()).is_err());
    drop(permit);
    assert!(proxy.admit_here(charges).is_ok());
}
