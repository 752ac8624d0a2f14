//! The same ingester, as the meter sees it.

use super::*;
use crate::{
    failpoints::Failpoint,
    testing::meter::{EPOCH, Meter, cost},
};
use shared::event::SettlementId;

const COSTS: &str = "SELECT coalesce(sum(cost_nano), 0)::bigint FROM usage_events";

/// What events came to, by each table that says so.
async fn sums(meter: &Meter) -> [i64; 5] {
    [
        meter.number(COSTS).await,
        meter.number("SELECT coalesce(sum(cost_nano), 0)::bigint FROM usage_hours").await,
        meter.number("SELECT coalesce(sum(cost_nano), 0)::bigint FROM usage_days").await,
        // Two budgets were told of each.
        meter.number("SELECT coalesce(sum(money) / 2, 0)::bigint FROM budget_windows").await,
        meter.number("SELECT coalesce(sum(calls), 0)::bigint FROM usage_days").await,
    ]
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_settled_is_billed_summed_up_and_published(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let events = meter.settle_all(1..=40).await;
    // Told again by a proxy that heard no answer, and by one that nobody settled.
    meter.tell(&events[3]).await;
    let unsettled = Event { settlement: None, ..meter.settled(0, 5_000) };
    meter.tell(&unsettled).await;
    meter.ingest().await;
    let all = cost(&events);
    assert_eq!(sums(&meter).await, [all, all, all, all, 40]);
    assert_eq!((meter.waiting().await, meter.durable().await), (0, 40));
    assert_eq!(meter.number("SELECT count(*) FROM request_events").await, 41);
    let tokens = "SELECT sum(input + cached_input + output)::bigint FROM usage_hours";
    assert_eq!(meter.number(tokens).await, 40 * 1_230);

    for event in &events {
        meter.tell(event).await;
    }
    meter.ingest().await;
    assert_eq!(sums(&meter).await, [all, all, all, all, 40]);
    assert!(meter.compare().await.is_sound());
}

/// Wherever a process dies, the next one takes everything, and once.
#[sqlx::test(migrations = "../migrations")]
async fn a_death_anywhere_loses_nothing_and_doubles_nothing(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let (mut all, mut number) = (Vec::new(), 0);
    for point in Failpoint::ALL {
        all.extend(meter.settle_all(number + 1..=number + 25).await);
        let mut dies = meter.ingester();
        dies.breaks_at = Some(point);
        let error = dies.take_all().await.unwrap_err();
        assert!(matches!(error, IngestError::BrokenOff(at) if at == point), "{error}");
        let left = if point == Failpoint::IngestRemoved { 0 } else { 25 };
        assert_eq!(meter.waiting().await, left, "{point:?}: nothing is removed too early");
        let is_undone = matches!(
            point,
            Failpoint::IngestRead | Failpoint::IngestAdded | Failpoint::IngestInserted
        );
        if is_undone {
            assert_eq!(meter.number(COSTS).await, cost(&all[..all.len() - 25]), "{point:?}");
            assert_eq!(meter.durable().await, number, "{point:?}: nobody was told too early");
        }
        // Its transaction ends when its connection does, and with it its claim.
        while meter.waiting().await > 0 {
            meter.ingest().await;
        }
        number += 25;
        let sum = cost(&all);
        let calls = i64::try_from(number).unwrap();
        assert_eq!(sums(&meter).await, [sum, sum, sum, sum, calls], "{point:?}");
        assert_eq!((meter.waiting().await, meter.durable().await), (0, number), "{point:?}");
    }
    assert!(meter.compare().await.is_sound());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_missing_event_holds_the_watermark_until_it_comes(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let events: Vec<_> = (1..=6).map(|number| meter.settled(number, 7_000)).collect();
    for event in events.iter().filter(|it| it.settlement.unwrap().number != 3) {
        meter.tell(event).await;
    }
    let ingester = meter.ingester();
    ingester.take_all().await.unwrap();
    assert_eq!((meter.durable().await, ingester.gap_count()), (2, 1));
    // Late, and behind others that are in the database already.
    meter.tell(&events[2]).await;
    ingester.take_all().await.unwrap();
    assert_eq!((meter.durable().await, ingester.gap_count()), (6, 0));
    assert_eq!(sums(&meter).await[0], cost(&events));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_caller_gets_nothing_for_free_with_words_that_no_database_keeps(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let odd = Event {
        asked: "nul\0".into(),
        tags: [("a\0".to_owned(), "\0b".to_owned())].into(),
        ..meter.settled(1, 9_000)
    };
    let absurd = SettlementId { epoch: EPOCH, number: u64::MAX };
    let absurd = Event { settlement: Some(absurd), ..meter.settled(2, 1) };
    let future = OffsetDateTime::now_utc() + Duration::days(500);
    let future = meter.settled_at(future, 3, 1);
    let old = OffsetDateTime::now_utc() - Duration::days(90);
    let old = begun(old, meter.settled_at(old, 2, 11_000));
    for event in [&odd, &absurd, &future, &old] {
        meter.tell(event).await;
    }
    meter.ingest().await;
    // The log goes back thirty days, and what is billed further.
    assert_eq!(meter.number("SELECT count(*) FROM request_events").await, 1);
    assert_eq!(sums(&meter).await[0], odd.cost.nanos() + old.cost.nanos());
    assert_eq!((meter.waiting().await, meter.durable().await), (0, 3));
    assert_eq!(meter.number("SELECT count(*) FROM usage_aside").await, 2);
}

/// Else its proxy kept everything behind it, until it had no room for any call.
#[sqlx::test(migrations = "../migrations")]
async fn an_event_that_the_database_refuses_holds_nothing_up(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let future = OffsetDateTime::now_utc() + Duration::days(500);
    let mut events = meter.settle_all(1..=2).await;
    let refused = meter.settled_at(future, 3, 7_000);
    meter.settle(&refused).await;
    events.extend(meter.settle_all(4..=6).await);
    meter.ingest().await;
    assert_eq!((meter.waiting().await, meter.durable().await), (0, 6));
    assert_eq!(sums(&meter).await[0], cost(&events));
    // It is put aside, once, until somebody has it tried again.
    meter.tell(&refused).await;
    meter.ingest().await;
    assert_eq!(meter.number("SELECT count(*) FROM usage_aside").await, 1);
    let db = &meter.fixture.db;
    assert_eq!(retry(db, 30).await.unwrap(), Retried { added: 0, left: 1 });
    let day = refused.billed_at_ms / 86_400_000;
    let day = OffsetDateTime::from_unix_timestamp(day * 86_400).unwrap().date();
    let mut conn = db.acquire().await.unwrap();
    crate::usage::make_days(&mut conn, day, day).await.unwrap();
    assert_eq!(retry(db, 30).await.unwrap(), Retried { added: 1, left: 0 });
    assert_eq!(retry(db, 30).await.unwrap(), Retried::default());
    events.push(refused);
    assert_eq!(sums(&meter).await[0], cost(&events));
    assert!(meter.compare().await.is_sound());
    // Nobody reads it who may read what is of one organization.
    assert!(sqlx::query("SELECT FROM usage_aside").execute(db).await.is_err());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_proxy_whose_clock_is_wrong_bills_by_that_of_redis(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let now = OffsetDateTime::now_utc();
    let begun_at =
        [Duration::days(90), Duration::hours(1), -Duration::hours(1), -Duration::days(90)];
    let events: Vec<_> = (1..)
        .zip(begun_at)
        .map(|(number, ago)| begun(now - ago, meter.settled(number, 7_000)))
        .collect();
    for event in &events {
        meter.settle(event).await;
    }
    meter.ingest().await;
    assert_eq!(sums(&meter).await[0], cost(&events));
    assert_eq!((meter.waiting().await, meter.durable().await), (0, 4));
    assert_eq!(meter.number("SELECT count(*) FROM request_events").await, 2);
}

/// A call that was asked of two, each of which costs something.
#[sqlx::test(migrations = "../migrations")]
async fn lines_share_a_cost_that_is_rounded_up_once(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let mut event = meter.settled(1, 1_001);
    let mut other = event.lines[0].clone();
    other.provider = "mistral".into();
    event.lines.push(other);
    event.cost = shared::money::Pico::from_picos(2_002).to_money();
    event.counted.clear();
    let refused = Event {
        lines: Vec::new(),
        counted: Vec::new(),
        served: None,
        cost: Money::ZERO,
        ..meter.settled(2, 0)
    };
    meter.settle(&event).await;
    meter.settle(&refused).await;
    meter.ingest().await;
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "SELECT provider, calls, cost_pico, cost_nano FROM usage_hours ORDER BY provider",
    )
    .fetch_all(&meter.fixture.root)
    .await
    .unwrap();
    let row = |provider: &str, calls, picos, nanos| (provider.to_owned(), calls, picos, nanos);
    // Together three nano-dollars, as the event says, and not twice two.
    let expected = [row("", 1, 0, 0), row("mistral", 1, 1_001, 1), row("openai", 0, 1_001, 2)];
    assert_eq!(rows, expected);
    assert!(meter.compare().await.is_sound());
}

/// How many events a second reach PostgreSQL. Prints it; asserts nothing of it.
#[sqlx::test(migrations = "../migrations")]
#[ignore = "a measurement: run it alone, with --release"]
async fn how_fast_events_reach_the_database(root: PgPool) {
    const EVENTS: u64 = 100_000;
    let mut meter = Meter::new(root).await;
    let ingester = meter.ingester();
    let mut number = 0;
    let mut took = std::time::Duration::ZERO;
    while number < EVENTS {
        let mut pipeline = redis::pipe();
        for _ in 0..10_000 {
            number += 1;
            let event = meter.settled(number, 1_234_567);
            let stream = meter.places().events(meter.shard());
            pipeline.cmd("XADD").arg((stream, "*", shared::event::FIELD, event.encode())).ignore();
        }
        let () = pipeline.query_async(&mut meter.redis).await.unwrap();
        let began = std::time::Instant::now();
        ingester.take_all().await.unwrap();
        took += began.elapsed();
    }
    assert_eq!(meter.durable().await, EVENTS);
    let rate = u128::from(EVENTS) * 1_000 / took.as_millis();
    tracing::info!("{rate} events/s");
    std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("{EVENTS} events in {took:?}: {rate} events/s\n").as_bytes(),
    )
    .unwrap();
}
