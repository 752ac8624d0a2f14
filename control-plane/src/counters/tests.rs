use futures::FutureExt;
use redis::AsyncCommands;
use shared::{
    counters::{self, Counted, Epoch, Incarnation, Looked, Scripts, State},
    event::{Event, SettlementId},
    ids::RequestId,
    snapshot::BudgetScope,
};
use sqlx::PgPool;

use crate::{
    access::Role,
    budgets,
    counters::{Keeper, release, warm},
    testing::meter::{EPOCH, Meter, cost},
};

async fn look(meter: &mut Meter) -> Looked {
    says(meter, None).await
}

async fn says(meter: &mut Meter, has_said: Option<Incarnation>) -> Looked {
    let ask = meter.scripts.look((meter.shard(), EPOCH), true, has_said);
    Looked::read(ask.query_async(&mut meter.redis).await.unwrap()).unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_new_store_counts_at_once(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let looked = look(&mut meter).await;
    assert_eq!((looked.state, looked.settled, looked.durable), (State::Warm, 0, 0));
    meter.settle_all(1..=1).await;
    let caps = meter.fixture.platform.nudges.caps.notified();
    assert!(caps.now_or_never().is_some(), "who keeps caps has been woken");
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

/// Proxies of another version have the same sign of who looked after it, and other scripts.
#[sqlx::test(migrations = "../migrations")]
async fn a_store_that_knows_the_sign_and_none_of_our_scripts_is_healed(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let events = meter.settle_all(1..=3).await;
    meter.ingest().await;
    meter.flush().await;
    let clock = format!("-- {}\n{}", RequestId::generate(), counters::CLOCK);
    let scripts = Scripts::with(&clock, meter.places());
    scripts.enter(&meter.redis.history().await.unwrap());
    let load = scripts.load();
    let sign = load.cmd_iter().last().unwrap();
    let () = sign.query_async(&mut meter.redis).await.unwrap();
    Keeper::with(meter.fixture.platform.clone(), scripts).heal().await.unwrap();
    assert_eq!(meter.money().await, (cost(&events), 0));
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

/// What it holds may be all that is left of a cap.
#[sqlx::test(migrations = "../migrations")]
async fn a_shard_is_not_warm_before_all_have_spoken_who_held_something(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let (keeper, event) = (meter.keeper(), meter.settled(1, 5_000_000));
    meter.hold(&event, 70_000).await;
    keeper.heal().await.unwrap();
    meter.flush().await;
    // As another control plane finds it.
    meter.keeper().heal().await.unwrap();
    let looked = look(&mut meter).await;
    assert_eq!(looked.state, State::Learning);
    let awaited = meter.places().awaited(meter.shard());
    let names: Vec<String> = meter.redis.hkeys(&awaited).await.unwrap();
    assert!(names.contains(&EPOCH.to_string()), "{names:?}");
    keeper.heal().await.unwrap();
    meter.hold(&event, 70_000).await;
    says(&mut meter, Some(looked.incarnation)).await;
    let is_awaited: bool = meter.redis.exists(&awaited).await.unwrap();
    assert!(!is_awaited);
    // It ends, and is not waited for any more.
    let living = meter.places().living(meter.shard());
    let () = meter.redis.del(&living).await.unwrap();
    keeper.heal().await.unwrap();
    assert_eq!(meter.number("SELECT count(*) FROM counter_epochs").await, 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn people_may_say_that_nobody_is_waited_for(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let event = meter.settled(1, 5_000_000);
    meter.hold(&event, 70_000).await;
    let keeper = meter.keeper();
    keeper.heal().await.unwrap();
    meter.flush().await;
    keeper.heal().await.unwrap();
    let (redis, places) = (meter.fixture.platform.redis.clone(), meter.places());
    assert_eq!(warm(&redis, &places).await.unwrap(), [(meter.shard(), EPOCH)]);
    assert_eq!(look(&mut meter).await.state, State::Warm);
    assert!(warm(&redis, &places).await.unwrap().is_empty());
}

/// Else pages, and whoever asks for a quote, are told that nothing is spent.
#[sqlx::test(migrations = "../migrations")]
async fn a_window_that_was_put_back_ends_when_it_does(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let mut work = meter.fixture.work(Role::Admin).await;
    let wanted = budgets::tests::new("All", BudgetScope::Organization, 500);
    let budget = budgets::create(&mut work, &wanted).await.unwrap();
    work.commit().await.unwrap();
    let mut event = meter.settled(1, 5_000_000);
    let span = wanted.period.span_at(&wanted.zone, event.billed_at_ms);
    event.counted = vec![Counted { budget, window: span.start_ms, ..event.counted[0] }];
    meter.settle(&event).await;
    meter.ingest().await;
    meter.flush().await;
    meter.keeper().heal().await.unwrap();
    let counter = meter.counter(budget).await;
    let present = counter.at(event.billed_at_ms).unwrap();
    assert_eq!((present.spent.money, present.until_ms), (event.cost.nanos(), span.end_ms));
}

#[sqlx::test(migrations = "../migrations")]
async fn what_the_dead_hold_for_long_is_let_go_by_operators_and_that_is_written_down(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let mut work = meter.fixture.work(Role::Admin).await;
    let wanted = budgets::tests::new("All", BudgetScope::Organization, 500);
    meter.budgets[0] = budgets::create(&mut work, &wanted).await.unwrap();
    work.commit().await.unwrap();
    let event = meter.settled(1, 5_000_000);
    meter.hold(&event, 10_000).await;
    let now = look(&mut meter).await.now_ms;
    let platform = meter.fixture.platform.clone();
    let mut redis = platform.redis.get().await.unwrap();
    meter.keeper().sweep_since(&mut redis, now).await.unwrap();
    let (db, places) = (&platform.db, meter.places());
    let dead = meter.places().dead_holds(meter.shard());
    let none = release(db, &platform.redis, &places, now - 1).await.unwrap();
    assert!(none.is_empty(), "not long enough");
    let now = look(&mut meter).await.now_ms;
    let released = release(db, &platform.redis, &places, now).await.unwrap();
    assert_eq!(released, [event.request]);
    let left: u64 = meter.redis.hlen(&dead).await.unwrap();
    let held = meter.counter(meter.budgets[1]).await.window.unwrap();
    assert_eq!((left, held.held.money, held.held_by_the_dead), (0, 0, 0));
    let told = "SELECT count(*) FROM audit_entries WHERE action = 'budget.hold_released'";
    assert_eq!(meter.number(told).await, 1);
    // Its proxy comes back: what it came to is counted.
    assert_eq!(meter.settle(&event).await, 1);
    assert!(release(db, &platform.redis, &places, now).await.unwrap().is_empty());
}

/// It was put back with all that is summed up, and nobody said its number.
#[sqlx::test(migrations = "../migrations")]
async fn what_a_process_of_long_ago_settled_is_put_back_once(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let mut events = meter.settle_all(1..=5).await;
    meter.ingest().await;
    meter.plant("UPDATE usage_watermarks SET seen_at = now() - interval '40 days'").await;
    let later = Event {
        settlement: Some(SettlementId { epoch: Epoch(9), number: 1 }),
        ..meter.settled(1, 5_000_000)
    };
    meter.settle(&later).await;
    meter.ingest().await;
    events.push(later);
    meter.flush().await;
    meter.keeper().heal().await.unwrap();
    assert_eq!(meter.money().await.0, cost(&events));
    let kept = meter.dump().await;
    meter.rewind(&kept).await;
    meter.keeper().heal().await.unwrap();
    assert_eq!(meter.money().await.0, cost(&events));
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
