//! Every way in which a call can end, and what is then used of its limits.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

const LIMITS: Limits =
    Limits { requests_per_minute: Some(100), tokens_per_minute: Some(1_000), concurrent: Some(1) };

/// A call is estimated at 400 tokens and ends in some way.
async fn check(end: impl FnOnce(Permit), used: u64) {
    let fixture = Fixture::new().await;
    let proxy = fixture.proxy().await;
    end(fixture.admit(&proxy, on_key(LIMITS), 400).await.unwrap());
    proxy.leave().await;
    assert_eq!(fixture.used(&proxy, LIMITS).await.1, used);
    // Its place is free. A second settlement would have left less used than there was.
    let other = fixture.admit(&proxy, on_key(LIMITS), 100).await.unwrap();
    assert!(proxy.leases.living().len() == 1);
    other.settle(100);
    proxy.leave().await;
    assert_eq!(fixture.used(&proxy, LIMITS).await.1, used + 100);
    assert!(proxy.leases.living().is_empty());
    assert_eq!(proxy.metrics.settlements_lost.get(), 0);
}

#[tokio::test]
async fn a_call_that_came_to_less_gives_the_rest_back() {
    check(|it| it.settle(150), 150).await;
}

#[tokio::test]
async fn a_call_that_came_to_more_is_charged_more() {
    check(|it| it.settle(700), 700).await;
}

#[tokio::test]
async fn a_call_that_was_estimated_well_is_left_alone() {
    check(|it| it.settle(400), 400).await;
}

#[tokio::test]
async fn a_call_that_is_forgotten_comes_to_nothing() {
    check(drop, 0).await;
}

#[tokio::test]
async fn a_call_that_panics_comes_to_nothing() {
    let panics = |permit: Permit| {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _permit = permit;
            panic!("boom");
        }));
        assert!(panicked.is_err());
    };
    check(panics, 0).await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_before_redis_answers_takes_no_place() {
    let mut fixture = Fixture::new().await;
    let (proxy, limits) = (fixture.proxy().await, on_key(concurrent(1)));
    let mut asking = Box::pin(through(&proxy, fixture.asked(&limits, 1)));
    assert!(futures::poll!(&mut asking).is_pending());
    // Redis has let the call through, and nobody has heard it.
    soon(async { while fixture.kept().await.is_empty() {} }).await;
    drop(asking);
    soon(async {
        while !fixture.kept().await.is_empty() {
            proxy.leave().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_drained_meanwhile_is_not_given_back() {
    let mut fixture = Fixture::new().await;
    let (proxy, limits) = (fixture.proxy().await, on_key(tokens(600)));
    let permit = fixture.admit(&proxy, limits, 500).await.unwrap();
    // 300 tokens come back; somebody else takes 400.
    fixture.pass(30_000).await;
    let other = fixture.admit(&proxy, limits, 400).await.unwrap();
    assert_eq!(fixture.used(&proxy, limits.key).await.1, 600);
    drop(permit);
    proxy.leave().await;
    assert_eq!(fixture.used(&proxy, limits.key).await.1, 400);
    other.settle(400);
}

#[tokio::test]
async fn a_full_queue_loses_settlements_and_says_so() {
    let mut fixture = Fixture::new().await;
    let proxy = fixture.proxy_with(Settling::with(1)).await;
    let limits = on_key(Limits { concurrent: Some(2), ..LIMITS });
    let permits =
        [fixture.admit(&proxy, limits, 400).await, fixture.admit(&proxy, limits, 400).await];
    drop(permits);
    assert_eq!(proxy.metrics.settlements_lost.get(), 1);
    proxy.leave().await;
    // The one that was lost stays charged and keeps its place, until its time is over.
    assert_eq!(fixture.used(&proxy, limits.key).await.1, 400);
    let _permit = fixture.admit(&proxy, limits, 1).await.unwrap();
    assert!(fixture.admit(&proxy, limits, 1).await.is_err());
    fixture.pass(PLACE_LIFE.as_millis() as u64).await;
    assert!(fixture.admit(&proxy, limits, 1).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn settlements_are_carried_without_being_asked_for() {
    let fixture = Fixture::new().await;
    let proxy = Limiter::new(fixture.place(), metrics()).unwrap();
    let supervisor = Supervisor::default();
    proxy.clone().start(&supervisor);
    soon(async {
        while proxy.state() == State::Local {
            tokio::task::yield_now().await
        }
    })
    .await;
    for _ in 0..20 {
        let permit = soon(async {
            loop {
                if let Ok(permit) = fixture.admit(&proxy, on_key(concurrent(1)), 1).await {
                    return permit;
                }
            }
        });
        permit.await.settle(1);
    }
    supervisor.shut_down().await;
}
