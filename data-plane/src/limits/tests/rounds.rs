//! What is asked together, and who leaves meanwhile.

use std::pin::Pin;

use futures::{FutureExt, future::join_all, poll};
use tokio::task::yield_now;

use super::{valve::Valve, *};

type Asking<'a> = Pin<Box<dyn Future<Output = Result<Permit, LimitReached>> + 'a>>;

/// A question that is under way.
async fn put<'a>(proxy: &'a Arc<Limiter>, asked: Asked<'a>) -> Asking<'a> {
    let before = proxy.metrics.questions.get();
    let mut asking = through(proxy, asked).boxed_local();
    assert!(poll!(&mut asking).is_pending());
    while proxy.metrics.questions.get() == before {
        yield_now().await;
    }
    asking
}

#[tokio::test]
async fn who_comes_while_a_question_is_under_way_asks_with_all_others_after_it() {
    let fixture = Fixture::new().await;
    let (proxy, limits) = (fixture.proxy().await, on_key(requests(60)));
    let asked = || fixture.asked(&limits, 1);
    let first = put(&proxy, asked()).await;
    assert_eq!(proxy.metrics.questions.get(), 1);
    let others = join_all((0..70).map(|_| through(&proxy, asked())));
    let (first, others) = soon(async { tokio::join!(first, others) }).await;
    assert!(first.is_ok());
    // In the order in which they came.
    let passed: Vec<_> = others.iter().map(Result::is_ok).collect();
    assert_eq!(passed, [vec![true; 59], vec![false; 11]].concat());
    // 32 at once, at most.
    assert_eq!(proxy.metrics.questions.get(), 4);
}

#[tokio::test]
async fn other_shards_are_asked_by_themselves() {
    let mut fixture = Fixture::new().await;
    // What is asked here of one shard has names of another's, where there are slots.
    if fixture.url.expose_secret().contains(',') {
        return;
    }
    let (proxy, limits) = (fixture.real_proxy().await, on_key(requests(60)));
    let asked = fixture.asked(&limits, 1);
    fixture.organization = OrganizationId::generate();
    while Shard::of(fixture.organization) == Shard::of(asked.organization) {
        fixture.organization = OrganizationId::generate();
    }
    let other = fixture.asked(&limits, 1);
    let both = soon(async { tokio::join!(through(&proxy, asked), through(&proxy, other)) }).await;
    assert!(both.0.is_ok() && both.1.is_ok());
    assert_eq!(proxy.metrics.questions.get(), 2);
}

#[tokio::test]
async fn who_leaves_before_their_question_is_put_asks_nothing() {
    let fixture = Fixture::new().await;
    let proxy = fixture.proxy().await;
    let key = Limits { requests_per_minute: Some(60), concurrent: Some(9), ..NONE };
    let limits = on_key(key);
    let asked = || fixture.asked(&limits, 1);
    let first = put(&proxy, asked()).await;
    let mut others: Vec<_> = (0..3).map(|_| through(&proxy, asked()).boxed_local()).collect();
    for it in &mut others {
        assert!(poll!(it).is_pending());
    }
    drop(others.remove(1));
    let (_first, others) = soon(async { tokio::join!(first, join_all(others)) }).await;
    assert!(others.iter().all(Result::is_ok));
    let charges = asked().charges();
    let decision = decided(&proxy, fixture.organization, &charges, None).await.unwrap();
    let level = decision.levels[0];
    assert_eq!((level.requests.0 / gcra::MINUTE, level.under_way), (4, 4));
}

#[tokio::test]
async fn who_leaves_while_their_question_is_under_way_keeps_no_place() {
    let mut fixture = Fixture::new().await;
    let (proxy, limits) = (fixture.proxy().await, on_key(concurrent(9)));
    let first = put(&proxy, fixture.asked(&limits, 1)).await;
    drop(first);
    soon(async {
        while proxy.rounds.is_asked() || !fixture.kept().await.is_empty() {
            proxy.leave().await;
            yield_now().await;
        }
    })
    .await;
    assert_eq!(proxy.metrics.settlements_lost.get(), 0);
}

/// One on the way, and one of all that came meanwhile: their failure is one.
#[tokio::test]
async fn a_question_that_nobody_answers_is_one_failure_and_all_who_asked_it_go_on_alone() {
    let fixture = Fixture::new().await;
    if fixture.url.expose_secret().contains(',') {
        return;
    }
    let valve = Valve::start(address(&fixture.url)).await;
    let proxy = fixture.behind(&valve).await;
    let limits = on_key(requests(1_000_000));
    let before = (proxy.metrics.redis_failures.get(), proxy.metrics.questions.get());
    valve.freeze();
    let asked = || fixture.asked(&limits, 1);
    let all = soon(join_all((0..20).map(|_| through(&proxy, asked())))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(proxy.metrics.admissions(State::Local).get(), 20);
    let after = (proxy.metrics.redis_failures.get(), proxy.metrics.questions.get());
    assert_eq!(after, (before.0 + 1, before.1 + 1));
}

/// With the runtime in which the question was put: it is not waited for for ever.
#[test]
fn a_question_that_ends_before_its_time_is_answered_by_nobody() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (one, other) = (runtime(), runtime());
    let fixture = other.block_on(Fixture::new());
    let proxy = other.block_on(fixture.proxy());
    let limits = on_key(requests(60));
    let asking = one.block_on(put(&proxy, fixture.asked(&limits, 1)));
    drop(one);
    assert!(!proxy.rounds.is_asked());
    assert!(other.block_on(soon(asking)).is_ok());
    assert_eq!(proxy.metrics.admissions(State::Local).get(), 1);
    assert!(other.block_on(fixture.admit(&proxy, limits, 1)).is_ok());
    assert_eq!(proxy.metrics.admissions(State::Shared).get(), 1);
}
