use redis::AsyncCommands;
use shared::counters::{Looked, State};
use sqlx::PgPool;

use crate::testing::meter::{EPOCH, Meter, cost};

async fn look(meter: &mut Meter) -> Looked {
    let ask = meter.scripts.look(meter.shard(), EPOCH, true);
    Looked::read(ask.query_async(&mut meter.redis).await.unwrap()).unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_new_store_counts_at_once(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let looked = look(&mut meter).await;
    assert_eq!((looked.state, looked.settled, looked.durable), (State::Warm, 0, 0));
    meter.settle_all(1..=1).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_store_that_lost_everything_is_healed_to_the_sum_of_all_events(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let mut events = meter.settle_all(1..=20).await;
    meter.ingest().await;
    meter.flush().await;
    assert_eq!(look(&mut meter).await.state, State::Cold);
    assert_eq!(meter.settle(&meter.settled(21, 5_000)).await, 0, "nothing is counted before");

    meter.keeper().heal().await.unwrap();
    let looked = look(&mut meter).await;
    assert_eq!((looked.settled, looked.durable), (20, 20));
    let kept: String = meter.redis.get(meter.places().incarnation(meter.shard())).await.unwrap();
    assert!(kept.contains(" L "), "proxies may say what they hold: {kept}");
    assert_eq!(meter.money().await, (cost(&events), 0));
    meter.keeper().heal().await.unwrap();
    assert_eq!(meter.money().await, (cost(&events), 0), "once is enough");

    events.extend(meter.settle_all(21..=25).await);
    assert_eq!(meter.money().await.0, cost(&events));
    meter.ingest().await;
    assert!(meter.compare().await.is_sound());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_store_that_went_back_is_healed_and_holds_what_is_under_way(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let mut events = meter.settle_all(1..=10).await;
    // Two that hold something: one is settled soon, the other goes on for long.
    let (soon, long) = (meter.settled(11, 8_000_000), meter.settled(31, 9_000_000));
    meter.hold(&soon, 50_000).await;
    meter.hold(&long, 60_000).await;
    let dead = meter.settled(12, 7_000_000);
    meter.hold(&dead, 70_000).await;
    look(&mut meter).await;
    let before = meter.dump().await;

    for event in [soon, dead] {
        meter.settle(&event).await;
        events.push(event);
    }
    events.extend(meter.settle_all(13..=30).await);
    meter.ingest().await;
    let after = meter.money().await;
    meter.rewind(&before).await;
    assert_ne!(meter.money().await, after);
    let keeper = meter.keeper();
    // As if the process had been taken for dead meanwhile, with one of its calls.
    let (one, other) = (meter.keeper(), meter.keeper());
    let (a, b) = tokio::join!(one.heal(), other.heal());
    a.unwrap();
    b.unwrap();
    assert_eq!(meter.money().await, (cost(&events), 60_000), "what is settled holds nothing");
    assert_eq!(look(&mut meter).await.settled, 30);
    keeper.heal().await.unwrap();
    assert_eq!(meter.money().await, (cost(&events), 60_000));

    // The proxy says what it holds, as it does whenever the store is another.
    meter.hold(&long, 60_000).await;
    assert_eq!(meter.money().await.1, 60_000, "it was there already");
    meter.settle(&long).await;
    events.push(long);
    assert_eq!(meter.money().await, (cost(&events), 0));
    meter.ingest().await;
    assert!(meter.compare().await.is_sound());
}

/// What was counted, and lost before it reached the database, is settled again.
#[sqlx::test(migrations = "../migrations")]
async fn what_nobody_has_but_the_proxy_is_settled_again(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let mut events = meter.settle_all(1..=5).await;
    meter.ingest().await;
    let lost = meter.settle_all(6..=9).await;
    meter.flush().await;
    meter.keeper().heal().await.unwrap();
    assert_eq!(look(&mut meter).await.settled, 5);
    for event in lost {
        meter.settle(&event).await;
        events.push(event);
    }
    assert_eq!(meter.money().await.0, cost(&events));
    assert!(meter.compare().await.is_sound());
    meter.ingest().await;
    assert!(meter.compare().await.is_sound());
}

#[sqlx::test(migrations = "../migrations")]
async fn what_the_dead_hold_stays_held_and_is_let_go_where_it_was_settled(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let (one, other) = (meter.settled(1, 5_000_000), meter.settled(2, 6_000_000));
    meter.hold(&one, 10_000).await;
    meter.hold(&other, 20_000).await;
    let now = look(&mut meter).await.now_ms;
    let keeper = meter.keeper();
    let mut redis = meter.fixture.platform.redis.get().await.unwrap();
    keeper.sweep_since(&mut redis, now - 1).await.unwrap();
    let held = meter.counter(meter.budgets[0]).await;
    let dead: i64 = meter.redis.hlen(meter.places().dead_holds(meter.shard())).await.unwrap();
    assert_eq!(dead, 0, "it lives: {held:?}");
    keeper.sweep_since(&mut redis, now).await.unwrap();
    keeper.sweep_since(&mut redis, now).await.unwrap();
    let dead: i64 = meter.redis.hlen(meter.places().dead_holds(meter.shard())).await.unwrap();
    assert_eq!(dead, 2);
    let living: i64 = meter.redis.zcard(meter.places().living(meter.shard())).await.unwrap();
    assert_eq!(living, 0, "it holds nothing any more");

    // One comes back to life and settles; the store forgets that it did.
    let before = meter.dump().await;
    meter.settle(&one).await;
    meter.ingest().await;
    meter.rewind(&before).await;
    keeper.heal().await.unwrap();
    let dead: Vec<String> =
        meter.redis.hkeys(meter.places().dead_holds(meter.shard())).await.unwrap();
    assert_eq!(dead, [format!("{EPOCH} {}", other.request.uuid().simple())]);
    let window = meter.counter(meter.budgets[0]).await.window.unwrap();
    assert_eq!((window.spent.money, window.held.money), (5_000, 20_000));
    assert_eq!(window.held_by_the_dead, 20_000);
}
