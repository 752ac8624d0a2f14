//! Budgets and what was spent: before they counted, and had they been there.

use actix_web::http::{Method, StatusCode};
use serde_json::json;
use shared::event::Event;

use super::*;
use crate::testing::meter::{Meter, cost};

/// Calls of ours at those moments, each a dollar dearer than the one before.
async fn calls(meter: &mut Meter, moments: &[OffsetDateTime]) -> Vec<Event> {
    let mut events = Vec::new();
    for (number, at) in (1..).zip(moments) {
        let dollars = i64::try_from(number).unwrap();
        let event = meter.settled_at(*at, number, dollars * 1_000_000_000_000);
        meter.settle(&event).await;
        events.push(event);
    }
    meter.ingest().await;
    events
}

async fn present(meter: &Meter, budget: BudgetId) -> Amounts {
    let platform = &meter.fixture.platform;
    let mut redis = platform.redis.get().await.unwrap();
    let ask = platform.counters.budget(Shard::of(meter.organization()), budget);
    let kept: Vec<u8> = ask.query_async(&mut redis).await.unwrap();
    Counter::read(&kept).window.unwrap().spent
}

#[sqlx::test(migrations = "../migrations")]
async fn a_budget_made_in_mid_window_opens_with_what_was_spent_before(root: PgPool) {
    if std::env::var("TURNPIKE_TEST_REDIS_URL").is_err() {
        return;
    }
    let mut meter = Meter::new(root).await;
    let now = OffsetDateTime::now_utc();
    let berlin: Zone = "Europe/Berlin".parse().unwrap();
    let now_ms = i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap();
    let window = spent::instants(Period::Month.span_at(&berlin, now_ms));
    let before = window.start - Duration::milliseconds(1);
    let events = calls(&mut meter, &[before, window.start, now, now]).await;
    let mut work = meter.fixture.work(Role::Admin).await;
    let project = BudgetScope::Project(meter.project);
    let budget = create(&mut work, &new("Late", project, 500)).await.unwrap();
    work.commit().await.unwrap();
    let platform = &meter.fixture.platform.clone();
    terms::tell(platform, budget).await;
    let expected = Amounts { money: cost(&events[1..]), requests: 3, tokens: 3 * 1_230 };
    assert_eq!(present(&meter, budget).await, expected);
    // It opens once.
    terms::tell(platform, budget).await;
    terms::repeat(platform).await.unwrap();
    assert_eq!(present(&meter, budget).await, expected);
    // What counted on it is not told a second time, where Redis lost it: that is healed.
    let mut counted = meter.settled(5, 7_000_000_000_000);
    counted.counted[0] = shared::counters::Counted {
        budget,
        window: i64::try_from(window.start.unix_timestamp_nanos() / 1_000_000).unwrap(),
        ..counted.counted[0]
    };
    meter.settle(&counted).await;
    meter.ingest().await;
    let mut redis = platform.redis.get().await.unwrap();
    let key = platform.counters.places.budget(Shard::of(meter.organization()), budget);
    let () = redis::cmd("DEL").arg(&key).query_async(&mut redis).await.unwrap();
    terms::repeat(platform).await.unwrap();
    assert_eq!(present(&meter, budget).await, expected);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_budget_that_never_renews_counts_from_its_first_day_on(root: PgPool) {
    if std::env::var("TURNPIKE_TEST_REDIS_URL").is_err() {
        return;
    }
    let mut meter = Meter::new(root).await;
    let now = OffsetDateTime::now_utc();
    calls(&mut meter, &[now - Duration::days(90), now]).await;
    let mut work = meter.fixture.work(Role::Admin).await;
    let wanted = NewBudget { period: Period::Total, ..new("All", BudgetScope::Organization, 5) };
    let budget = create(&mut work, &wanted).await.unwrap();
    work.commit().await.unwrap();
    terms::tell(&meter.fixture.platform, budget).await;
    assert_eq!(present(&meter, budget).await, Amounts::default());
}

fn question(scope: BudgetScope, period: Period, caps: Caps) -> preview::Question {
    preview::Question { scope, period, zone: Zone::UTC, caps }
}

#[sqlx::test(migrations = "../migrations")]
async fn caps_are_looked_back_at_to_the_call(root: PgPool) {
    if std::env::var("TURNPIKE_TEST_REDIS_URL").is_err() {
        return;
    }
    let mut meter = Meter::new(root).await;
    let moments = [
        datetime!(2026-09-30 23:59 UTC),
        datetime!(2026-10-01 00:00 UTC),
        datetime!(2026-10-01 10:00 UTC),
        datetime!(2026-10-01 10:20 UTC),
        datetime!(2026-10-01 10:40 UTC),
        datetime!(2026-10-01 17:00 UTC),
        datetime!(2026-11-02 09:00 UTC),
    ];
    let events = calls(&mut meter, &moments).await;
    let now = datetime!(2026-11-28 12:00 UTC);
    let mut work = meter.fixture.work(Role::Admin).await;
    let (all, project) = (BudgetScope::Organization, BudgetScope::Project(meter.project));
    let mut seen = async |scope, period, caps| {
        preview::look_back(&mut work, &question(scope, period, caps), now).await.unwrap()
    };
    // 2 and 3 dollars fit, and 4 do not any more; then nothing does until the next day.
    for scope in [all, project] {
        let told = seen(scope, Period::Day, money(5)).await;
        assert_eq!((told.from, told.windows.len()), (moments[1], 59));
        assert_eq!(told.spent.money, cost(&events[1..]));
        assert_eq!((told.refused.money, told.refused.requests), (cost(&events[3..]), 4));
        let [first, second] = told.touched().collect::<Vec<_>>()[..] else { panic!("{told:?}") };
        assert_eq!((first.since, first.refused.requests), (Some(moments[3]), 3));
        assert_eq!((second.since, second.refused.money), (Some(moments[6]), cost(&events[6..])));
    }
    let told = seen(all, Period::Day, money(20)).await;
    assert_eq!((told.touched().count(), told.refused), (0, Amounts::default()));
    let requests = Caps { requests: Some(5), ..Caps::default() };
    let told = seen(all, Period::Total, requests).await;
    assert_eq!((told.windows.len(), told.refused.requests), (1, 1));
    assert_eq!(told.windows[0].since, Some(moments[6]));
    let tokens = Caps { tokens: Some(2 * 1_230), ..Caps::default() };
    let told = seen(project, Period::Month, tokens).await;
    assert_eq!((told.windows[0].since, told.refused.tokens), (Some(moments[3]), 3 * 1_230));
    let theirs = question(BudgetScope::Team(TeamId::generate()), Period::Day, money(5));
    let refused = preview::look_back(&mut work, &theirs, now).await;
    assert!(matches!(refused, Err(BudgetError::NoScope)));
}

#[sqlx::test(migrations = "../migrations")]
async fn forms_and_programs_look_back(root: PgPool) {
    if std::env::var("TURNPIKE_TEST_REDIS_URL").is_err() {
        return;
    }
    let mut meter = Meter::new(root).await;
    let now = OffsetDateTime::now_utc();
    calls(&mut meter, &[now, now, now]).await;
    let fixture = &meter.fixture;
    let admin = fixture.browser(Role::Admin).await;
    let path = "/orgs/ours/budgets/preview";
    let mut form = vec![
        ("scope", "organization"),
        ("period", "month"),
        ("time_zone", "UTC"),
        ("usd", "3"),
        ("hard", "true"),
    ];
    let page = admin.post(path, &form).await;
    page.says(StatusCode::OK, "It would have refused <b>1 request</b> that cost <b>$3.00</b>");
    page.says(StatusCode::OK, "in 1 of 2 months. There were 3 requests for $6.00.");
    page.says(StatusCode::OK, "value=\"3\"");
    form[3] = ("usd", "10");
    admin.post(path, &form).await.says(StatusCode::OK, "all 3 requests fit, at $6.00 together");
    form[3] = ("usd", "much");
    let page = admin.post(path, &form).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "write an amount like 12.50");
    let mut work = fixture.work(Role::Admin).await;
    let budget = create(&mut work, &new("All", BudgetScope::Organization, 500)).await.unwrap();
    work.commit().await.unwrap();
    let other = [("name", "All"), ("requests", "1")];
    let page = admin.post(&format!("/orgs/ours/budgets/{budget}/preview"), &other).await;
    page.says(StatusCode::OK, "It only alerts. If it were hard, it would have refused");

    let token = fixture.token(Role::Billing, false).await;
    let body = json!({
        "scope": { "kind": "organization" }, "period": "total", "caps": { "usd": "3" },
    });
    let path = "/orgs/ours/budgets/preview";
    let told = fixture.api(Some(&token), Method::POST, path, Some(body)).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.body);
    let told = told.json();
    assert_eq!(told["refused"], json!({ "usd": "3.000000000", "requests": 1, "tokens": 1_230 }));
    assert_eq!(told["windows"].as_array().unwrap().len(), 1);
}
