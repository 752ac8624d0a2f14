use actix_web::http::StatusCode;
use redis::AsyncCommands;
use shared::counters::Counter;
use sqlx::PgPool;
use time::macros::date;

use super::*;
use crate::{access::Role, testing::meter::Meter};

/// A meter whose books agree, with something in each of them.
async fn agreeing(root: PgPool) -> Meter {
    let mut meter = Meter::new(root).await;
    // Ended windows are compared too, and calls from the day before.
    let yesterday = OffsetDateTime::now_utc() - time::Duration::days(1);
    meter.settle(&meter.settled_at(yesterday, 1, 3_500_001)).await;
    meter.settle_all(2..=6).await;
    meter.ingest().await;
    // Of an hour that is over and was not charged nobody can say that its books agree.
    assert_eq!(meter.compare().await.verdict(), Verdict::NotCompared);
    crate::ledger::charge_due(&meter.fixture.db).await.unwrap();
    let report = meter.compare().await;
    assert!(report.is_sound(), "{report}");
    assert_eq!(report.events, 6);
    meter
}

/// The one equality that is told not to hold, and its differences.
#[track_caller]
fn broken(report: &Report, equality: Equality) -> &[Difference] {
    let found = report.equalities.iter().find(|it| it.equality == equality).unwrap();
    assert!(!found.holds(), "{report}");
    &found.differences
}

#[track_caller]
fn names(differences: &[Difference], table: &str, key: &str, amount: &str, apart: i64) {
    let is_it = |it: &&Difference| {
        it.table.contains(table)
            && it.key.contains(key)
            && it.amount == amount
            && it.right - it.left == apart
    };
    assert!(differences.iter().any(|it| is_it(&it)), "{differences:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn events_under_way_are_no_difference(root: PgPool) {
    let mut meter = agreeing(root).await;
    // In the stream only; in the stream and in the database; and beyond what Redis had.
    meter.settle_all(7..=9).await;
    assert!(meter.compare().await.is_sound());
    let mut dies = meter.ingester();
    dies.breaks_at = Some(crate::failpoints::Failpoint::IngestCommitted);
    dies.take_all().await.unwrap_err();
    assert_eq!(meter.waiting().await, 3);
    assert!(meter.compare().await.is_sound());
    let budgets = meter.budgets.map(|it| (meter.organization(), it)).to_vec();
    let (redis, places) = (meter.fixture.platform.redis.clone(), meter.places());
    let read = counters::read(&redis, &places, budgets).await.unwrap();
    meter.ingest().await;
    meter.settle_all(10..=12).await;
    meter.ingest().await;
    let mut conn = meter.fixture.db.acquire().await.unwrap();
    let mut tx = store::begin(&mut conn).await.unwrap();
    let compared = counters::compare(&mut tx, &places, &read).await.unwrap();
    assert!(compared.holds(), "{:?}", compared.differences);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_nano_too_much_in_an_event_is_named(root: PgPool) {
    let meter = agreeing(root).await;
    meter.plant("UPDATE usage_events SET cost_nano = cost_nano + 1 WHERE number = 3").await;
    let report = meter.compare().await;
    names(broken(&report, Equality::Costs), "usage_events", "request=", "cost_nano", 1);
    assert!(report.to_string().contains("1 apart"), "{report}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_nano_too_much_in_a_line_is_named(root: PgPool) {
    let meter = agreeing(root).await;
    meter
        .plant(
            "UPDATE usage_events SET lines = jsonb_set(lines, '{0,cost_nano}',
                    to_jsonb((lines -> 0 ->> 'cost_nano')::bigint + 1)) WHERE number = 3",
        )
        .await;
    let report = meter.compare().await;
    names(broken(&report, Equality::Hours), "usage_events", "hour=", "cost_nano", -1);
    names(broken(&report, Equality::Costs), "usage_events.lines", "request=", "cost_nano", -1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_nano_too_much_in_the_request_log_is_named(root: PgPool) {
    let meter = agreeing(root).await;
    let log = meter.compare().await.equalities.into_iter().find(|it| it.equality == Equality::Log);
    let log = log.unwrap();
    assert!(log.left > 0 && log.left == log.right, "{log:?}");
    meter
        .plant(
            "UPDATE request_events SET event = jsonb_set(event::jsonb, '{cost}',
                    to_jsonb((event ->> 'cost')::bigint + 1))
              WHERE request_id = (SELECT request_id FROM usage_events WHERE number = 3)",
        )
        .await;
    let report = meter.compare().await;
    names(broken(&report, Equality::Log), "request_events", "request=", "cost_nano", -1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_nano_too_much_in_an_hour_is_named(root: PgPool) {
    let meter = agreeing(root).await;
    meter
        .plant(
            "UPDATE usage_hours SET cost_nano = cost_nano + 1
              WHERE hour = (SELECT min(hour) FROM usage_hours)",
        )
        .await;
    let report = meter.compare().await;
    names(broken(&report, Equality::Hours), "usage_hours", "model=gpt-5", "cost_nano", 1);
    names(broken(&report, Equality::Days), "usage_hours", "day=", "cost_nano", -1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_nano_too_much_in_a_day_is_named(root: PgPool) {
    let meter = agreeing(root).await;
    meter
        .plant(
            "UPDATE usage_days SET cost_nano = cost_nano + 1
              WHERE day = (SELECT max(day) FROM usage_days)",
        )
        .await;
    let report = meter.compare().await;
    names(broken(&report, Equality::Days), "usage_days", "provider=openai", "cost_nano", 1);
    let hours = report.equalities.iter().find(|it| it.equality == Equality::Hours).unwrap();
    assert!(hours.holds());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_nano_too_much_in_a_window_is_named(root: PgPool) {
    let meter = agreeing(root).await;
    meter
        .plant(
            "UPDATE budget_windows SET money = money + 1
              WHERE (budget_id, day) = (SELECT budget_id, day FROM budget_windows LIMIT 1)",
        )
        .await;
    let report = meter.compare().await;
    names(broken(&report, Equality::Windows), "budget_windows", "window=0", "money", 1);
    names(broken(&report, Equality::Counters), "Redis", "window=0", "money", 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_nano_too_much_in_redis_is_named(root: PgPool) {
    let mut meter = agreeing(root).await;
    let key = meter.places().budget(meter.shard(), meter.budgets[1]);
    let window = meter.counter(meter.budgets[1]).await.window.unwrap();
    let more = shared::counters::packed([window.spent.money + 1]);
    let at = isize::try_from(shared::counters::Counter::AMOUNTS_AT).unwrap();
    let () = meter.redis.setrange(&key, at, more).await.unwrap();
    let report = meter.compare().await;
    let budget = format!("budget={}", meter.budgets[1]);
    names(broken(&report, Equality::Counters), &key, &budget, "money", -1);
    // And one that is not there at all.
    let () = meter.redis.del(&key).await.unwrap();
    broken(&meter.compare().await, Equality::Counters);
}

#[test]
fn of_the_days_long_past_each_has_its_turn() {
    let days = vec![date!(2026 - 11 - 20), date!(2026 - 11 - 21), date!(2026 - 11 - 27)];
    let today = date!(2026 - 11 - 28);
    let latest = |turn| chosen(days.clone(), Extent::Latest { turn }, today);
    assert_eq!(latest(0), [date!(2026 - 11 - 27), date!(2026 - 11 - 20)]);
    assert_eq!(latest(1), [date!(2026 - 11 - 27), date!(2026 - 11 - 21)]);
    assert_eq!(latest(2), latest(0));
    assert_eq!(chosen(days.clone(), Extent::All, today), days);
    assert_eq!(chosen(Vec::new(), Extent::Latest { turn: 5 }, today), []);
}

#[sqlx::test(migrations = "../migrations")]
async fn the_page_shows_both_numbers_and_since_when(root: PgPool) {
    let meter = agreeing(root).await;
    let fixture = &meter.fixture;
    sqlx::query("UPDATE people SET is_operator = true WHERE id = $1")
        .bind(fixture.ours.person(Role::Owner))
        .execute(&fixture.root)
        .await
        .unwrap();
    let browser = fixture.browser(Role::Owner).await;
    let path = "/operator/reconciliation";
    browser.get(path).await.says(StatusCode::OK, "Nothing was compared yet");
    let (db, redis) = (&fixture.platform.db, &fixture.platform.redis);
    run(db, redis, &meter.places()).await.unwrap();
    // Somebody else was here a moment ago.
    run(db, redis, &meter.places()).await.unwrap();
    assert_eq!(meter.number("SELECT count(*) FROM reconciliations").await, 11);
    let page = browser.get(path).await;
    page.says(StatusCode::OK, "Equal");
    assert!(!page.body.contains("differ</span>"), "{}", page.body);

    sqlx::query("UPDATE reconciliations SET began_at = began_at - interval '1 hour'")
        .execute(&fixture.root)
        .await
        .unwrap();
    meter.plant("UPDATE usage_days SET cost_nano = cost_nano + 1 WHERE day = (SELECT max(day) FROM usage_days)").await;
    run(db, redis, &meter.places()).await.unwrap();
    let page = browser.get(path).await;
    page.says(StatusCode::OK, "1 differ");
    page.says(StatusCode::OK, "usage_hours | usage_days");
    page.says(StatusCode::OK, "cost_nano");
}

#[sqlx::test(migrations = "../migrations")]
async fn what_could_not_be_compared_is_not_called_equal(root: PgPool) {
    let mut meter = agreeing(root).await;
    meter.flush().await;
    let report = meter.compare().await;
    assert_eq!(report.verdict(), Verdict::NotCompared, "{report}");
    assert!(report.to_string().contains("not compared"), "{report}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_nano_held_that_no_call_holds_is_named(root: PgPool) {
    let mut meter = agreeing(root).await;
    let event = meter.settled(7, 5_000_000);
    meter.hold(&event, 70_000).await;
    let report = meter.compare().await;
    assert!(report.is_sound(), "{report}");
    let key = meter.places().budget(meter.shard(), meter.budgets[0]);
    let at = isize::try_from(Counter::AMOUNTS_AT).unwrap() + 3 * 8;
    let held = 70_001_i64.to_le_bytes().to_vec();
    let () = meter.redis.setrange(&key, at, held).await.unwrap();
    let report = meter.compare().await;
    let differences = broken(&report, Equality::Holds);
    names(differences, &key, "window=0", "money held", -1);
}
