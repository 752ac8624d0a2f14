//! Places of calls at once: given back, renewed, and lost with a proxy that was killed.

use super::*;

const LIFE: u64 = PLACE_LIFE.as_millis() as u64;

#[tokio::test]
async fn a_place_is_free_when_its_call_ends_on_any_proxy() {
    let fixture = Fixture::new().await;
    let (one, other) = (fixture.proxy().await, fixture.proxy().await);
    let limits = Three { organization: concurrent(2), ..on_key(NONE) };
    let first = fixture.admit(&one, limits, 1).await.unwrap();
    let _second = fixture.admit(&other, limits, 1).await.unwrap();
    let reached = fixture.admit(&other, limits, 1).await.err().unwrap();
    assert_eq!((reached.which, reached.what), (Level::Organization, What::Concurrent));
    assert_eq!(
        reached.to_string(),
        "The organization's limit of 2 calls at once is reached. Try again in 1.0 s."
    );
    first.settle(1);
    one.leave().await;
    let _third = fixture.admit(&other, limits, 1).await.unwrap();
    assert!(fixture.admit(&one, limits, 1).await.is_err());
}

#[tokio::test]
async fn a_killed_proxy_gives_its_places_back_by_saying_nothing() {
    let mut fixture = Fixture::new().await;
    let (killed, other) = (fixture.proxy().await, fixture.proxy().await);
    let limits = on_key(concurrent(1));
    std::mem::forget(fixture.admit(&killed, limits, 1).await.unwrap());
    fixture.pass(LIFE - 1).await;
    assert!(fixture.admit(&other, limits, 1).await.is_err());
    fixture.pass(1).await;
    assert!(fixture.admit(&other, limits, 1).await.is_ok());
}

#[tokio::test]
async fn a_long_call_keeps_its_place() {
    let mut fixture = Fixture::new().await;
    let (proxy, other) = (fixture.proxy().await, fixture.proxy().await);
    let limits = Three { key: concurrent(1), project: concurrent(1), organization: NONE };
    let permit = fixture.admit(&proxy, limits, 1).await.unwrap();
    for _ in 0..10 {
        fixture.pass(LIFE - 1).await;
        let Ok(()) = proxy.clone().renew().await;
        assert!(fixture.admit(&other, limits, 1).await.is_err());
    }
    drop(permit);
    let Ok(()) = proxy.clone().renew().await;
    proxy.leave().await;
    assert!(fixture.admit(&other, limits, 1).await.is_ok());
}

#[tokio::test]
async fn the_fleet_counts_those_that_live() {
    let mut fixture = Fixture::new().await;
    let (one, other) = (fixture.proxy().await, fixture.proxy().await);
    let Ok(()) = one.clone().beat().await;
    assert_eq!(one.proxies.load(Ordering::Relaxed), 2);
    fixture.pass(scripts::BEAT_LIFE.as_millis() as u64).await;
    let Ok(()) = one.clone().beat().await;
    assert_eq!(one.proxies.load(Ordering::Relaxed), 1);
    let Ok(()) = other.clone().beat().await;
    assert_eq!(other.proxies.load(Ordering::Relaxed), 2);
}
