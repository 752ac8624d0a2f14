use actix_web::http::{Method, StatusCode};
use shared::ids::{CostCenterId, TeamId};
use sqlx::PgPool;
use time::{Duration, macros::datetime};

use super::*;
use crate::{
    access::{Role, Work},
    testing::meter::{Meter, cost},
};

/// Calls of three days, in our organization.
async fn used(root: PgPool) -> (Meter, Vec<Event>) {
    let mut meter = Meter::new(root).await;
    let now = OffsetDateTime::now_utc();
    let mut events = Vec::new();
    for (number, days) in [(1, 0), (2, 0), (3, 1), (4, 2)] {
        let at = now - Duration::days(days);
        let mut event =
            meter.settled_at(at, number, 1_500_000_001 * i64::try_from(number).unwrap());
        if number == 3 {
            event.lines[0].model = "=large".into();
        }
        meter.settle(&event).await;
        events.push(event);
    }
    meter.ingest().await;
    (meter, events)
}

#[sqlx::test(migrations = "../migrations")]
async fn another_tenants_usage_is_not_there_and_nobodys_can_be_changed(root: PgPool) {
    let (meter, events) = used(root).await;
    let fixture = &meter.fixture;
    for table in ["usage_events", "usage_hours", "usage_days", "budget_windows"] {
        let count = format!("SELECT count(*) FROM {table}");
        let seen = async |mut work: Work| {
            sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(count.clone()))
                .fetch_one(&mut *work)
                .await
                .unwrap()
        };
        assert!(seen(fixture.work(Role::Viewer).await).await > 0, "{table}");
        assert_eq!(seen(fixture.work_of(&fixture.theirs, Role::Owner).await).await, 0, "{table}");
        for refused in [
            format!("DELETE FROM {table}"),
            format!("UPDATE {table} SET organization_id = organization_id"),
            format!("INSERT INTO {table} SELECT * FROM {table}"),
        ] {
            let mut work = fixture.work(Role::Owner).await;
            let error = sqlx::query(sqlx::AssertSqlSafe(refused.clone()))
                .execute(&mut *work)
                .await
                .unwrap_err();
            assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42501", "{refused}");
        }
    }
    // Nor by what runs our functions.
    let mut conn = fixture.root.acquire().await.unwrap();
    sqlx::query("SET ROLE turnpike_jobs").execute(&mut *conn).await.unwrap();
    for futile in ["DELETE FROM usage_events", "UPDATE usage_events SET cost_nano = 0"] {
        let done = sqlx::query(futile).execute(&mut *conn).await.unwrap();
        assert_eq!(done.rows_affected(), 0, "{futile}");
    }
    sqlx::query("RESET ROLE").execute(&mut *conn).await.unwrap();
    assert_eq!(meter.number("SELECT count(*) FROM usage_events").await, events.len() as i64);
}

#[sqlx::test(migrations = "../migrations")]
async fn page_file_and_api_tell_the_same(root: PgPool) {
    let (meter, events) = used(root).await;
    let fixture = &meter.fixture;
    let token = fixture.token(Role::Billing, false).await;
    let api = async |query: &str| {
        let path = format!("/orgs/ours/usage?{query}");
        let answer = fixture.api(Some(&token), Method::GET, &path, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()
    };
    let all = api("group=model").await;
    assert_eq!(all["total"]["cost_nano"], cost(&events));
    assert_eq!(all["total"]["calls"], 4);
    assert_eq!(all["total"]["tokens_in"], 4 * 1_200);
    assert_eq!(all["groups"].as_array().unwrap().len(), 2);
    assert_eq!(all["days"].as_array().unwrap().len(), 3);
    let sum: i64 =
        all["days"].as_array().unwrap().iter().map(|it| it["cost_nano"].as_i64().unwrap()).sum();
    assert_eq!(sum, cost(&events));
    let large = api("model=%3Dlarge&group=project").await;
    assert_eq!(large["total"]["cost_nano"], events[2].cost.nanos());
    assert_eq!(large["groups"][0]["group"], meter.project.to_string());
    assert_eq!(large["groups"][0]["name"], "bot");
    let today = OffsetDateTime::now_utc().date();
    let late = api(&format!("from={today}&to={today}")).await;
    assert_eq!(late["total"]["cost_nano"], cost(&events[..2]));

    let browser = fixture.browser(Role::Viewer).await;
    for group in ["model", "provider", "project", "team", "key", "source"] {
        let page = browser.get(&format!("/orgs/ours/usage?group={group}")).await;
        let exact = shared::money::Money::from_nanos(cost(&events)).exact();
        page.says(StatusCode::OK, &format!("title=\"${exact}\""));
    }
    let file = browser.get("/orgs/ours/usage.csv?group=model").await;
    assert_eq!(file.body.lines().count(), 4, "{}", file.body);
    file.says(StatusCode::OK, "\"'=large\"");
    file.says(StatusCode::OK, &format!("\"{}\"", events[2].cost.exact()));

    browser.get("/orgs/theirs/usage").await.says(StatusCode::NOT_FOUND, "");
    let wrong = browser.get("/orgs/ours/usage?period=ever").await;
    wrong.says(StatusCode::UNPROCESSABLE_ENTITY, "choose one of the periods");
    let empty = browser.get("/orgs/ours/usage?provider=nobody").await;
    empty.says(StatusCode::OK, "Nothing was used");
}

async fn spent(work: &mut Work, scope: BudgetScope, span: Range<OffsetDateTime>) -> Amounts {
    let organization = work.organization;
    let hours = by_hour(work, organization, scope, &[span]).await.unwrap();
    hours[0].iter().fold(Amounts::default(), |sum, (_, it)| sum.plus(*it))
}

/// Half an hour here and there is found in the events, the hours in between in the sums.
#[sqlx::test(migrations = "../migrations")]
async fn what_a_scope_spent_is_exact_at_both_ends(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let team = TeamId::generate();
    sqlx::query("INSERT INTO teams (organization_id, id, name) VALUES ($1, $2, 'ml')")
        .bind(meter.organization())
        .bind(team)
        .execute(&meter.fixture.root)
        .await
        .unwrap();
    sqlx::query("UPDATE projects SET team_id = $1")
        .bind(team)
        .execute(&meter.fixture.root)
        .await
        .unwrap();
    let day = OffsetDateTime::now_utc().date().midnight().assume_utc() - Duration::days(2);
    let mut events = Vec::new();
    for (number, minutes) in (1..).zip([0, 29, 30, 59, 60, 125, 180, 209, 210]) {
        let at = day + Duration::minutes(minutes);
        let event = meter.settled_at(at, number, 1_000 * i64::try_from(number).unwrap());
        meter.settle(&event).await;
        events.push(event);
    }
    meter.ingest().await;
    let mut work = meter.fixture.work(Role::Admin).await;
    let (half_past, later) = (day + Duration::minutes(30), day + Duration::minutes(210));
    for (span, expected) in [
        (half_past..later, &events[2..8]),
        (day..later, &events[..8]),
        (day..day, &events[..0]),
        (half_past..half_past + Duration::minutes(1), &events[2..3]),
    ] {
        for scope in [
            BudgetScope::Organization,
            BudgetScope::Team(team),
            BudgetScope::Project(meter.project),
            BudgetScope::Key(meter.key),
        ] {
            let found = spent(&mut work, scope, span.clone()).await;
            let count = i64::try_from(expected.len()).unwrap();
            let amounts = Amounts { money: cost(expected), requests: count, tokens: 1_230 * count };
            assert_eq!(found, amounts, "{scope:?} {span:?}");
        }
    }
    let nobody = BudgetScope::Team(TeamId::generate());
    assert_eq!(spent(&mut work, nobody, day..later).await, Amounts::default());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_cost_center_bears_its_share_of_each_call_rounded_up(root: PgPool) {
    let mut meter = Meter::new(root).await;
    let center = CostCenterId::generate();
    let root = meter.fixture.root.clone();
    for statement in [
        "INSERT INTO cost_centers (organization_id, id, code, name, valid_from)
         VALUES ($1, $2, 'A', 'A', '2026-01-01')",
        "INSERT INTO project_splits SELECT $1, id, d FROM projects,
                unnest(ARRAY['2026-01-01', '2026-11-11']::date[]) d WHERE $2::uuid IS NOT NULL",
        "INSERT INTO project_split_shares SELECT organization_id, project_id, effective_from, $2,
                CASE effective_from WHEN '2026-01-01' THEN 3333 ELSE 10000 END
           FROM project_splits WHERE organization_id = $1",
    ] {
        let made = sqlx::query(statement).bind(meter.organization()).bind(center);
        made.execute(&root).await.unwrap();
    }
    for (number, at) in [(1, datetime!(2026-11-10 23:59 UTC)), (2, datetime!(2026-11-10 12:00 UTC))]
    {
        let event = meter.settled_at(at, number, 10_000);
        meter.settle(&event).await;
    }
    let whole = meter.settled_at(datetime!(2026-11-11 00:00 UTC), 3, 10_000);
    meter.settle(&whole).await;
    meter.ingest().await;
    let mut work = meter.fixture.work(Role::Admin).await;
    let span = datetime!(2026-11-01 00:00 UTC)..datetime!(2026-12-01 00:00 UTC);
    let found = spent(&mut work, BudgetScope::CostCenter(center), span).await;
    // A third of ten is three and a bit, which is four; twice, and ten.
    assert_eq!(found, Amounts { money: 18, requests: 3, tokens: 410 + 410 + 1_230 });
}

/// How long the page's questions take, with as many events as EVENTS says. Prints it.
#[sqlx::test(migrations = "../migrations")]
#[ignore = "a measurement: infra/bench-usage.sh"]
async fn questions_are_answered_from_what_is_summed_up(root: PgPool) {
    const AT_ONCE: i64 = 250_000;
    let events: i64 =
        std::env::var("EVENTS").ok().and_then(|it| it.parse().ok()).unwrap_or(100_000);
    let meter = Meter::new(root).await;
    let fixture = &meter.fixture;
    let today = OffsetDateTime::now_utc().date();
    store::make_days(&mut fixture.db.acquire().await.unwrap(), today - Duration::days(91), today)
        .await
        .unwrap();
    for first in (0..events).step_by(usize::try_from(AT_ONCE).unwrap()) {
        sqlx::query(SEED)
            .bind(first)
            .bind((first + AT_ONCE).min(events) - 1)
            .bind(meter.organization())
            .execute(&fixture.root)
            .await
            .unwrap();
    }
    for statement in [SUM_HOURS, SUM_DAYS, "ANALYZE usage_hours", "ANALYZE usage_days"] {
        sqlx::query(statement).execute(&fixture.root).await.unwrap();
    }
    let rows = meter.number("SELECT count(*) FROM usage_days").await;
    let mut worst = std::time::Duration::ZERO;
    let mut work = fixture.work(Role::Viewer).await;
    let us = work.organization;
    for search in ["period=days90", "period=days90&group=key", "period=month&group=project"] {
        let search: query::UsageSearch = serde_html_form::from_str(search).unwrap();
        let query = search.understood(today).unwrap();
        for _ in 0..3 {
            let began = std::time::Instant::now();
            let slices = store::slices(&mut work, us, &query, query.group, 51).await.unwrap();
            let named: Vec<_> = slices.iter().take(4).map(|it| it.name.clone()).collect();
            let days = store::by_day(&mut work, us, &query, Some(&named), 50_000).await.unwrap();
            let calls: i64 = days.iter().map(|it| it.total.calls).sum();
            let took = began.elapsed();
            worst = worst.max(took);
            let line = format!("{search:?}: {took:?}, {calls} calls\n");
            std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
        }
    }
    let line = format!("{events} events, {rows} rows by the day: at most {worst:?} a page\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
    assert!(worst.as_millis() <= 150, "{worst:?}");
}

/// Calls of 90 days, with 400 keys of 20 projects and 24 models, half of them ours.
const SEED: &str = "
    INSERT INTO usage_events (billed_at, request_id, epoch, shard, number, organization_id,
                              project_id, key_id, cost_nano, cost_pico, lines, counted, outcome,
                              status, usage_source)
    SELECT now() - make_interval(secs => (n * 7919 % 7776000)::int), gen_random_uuid(), 7, 0, n + 1,
           CASE WHEN n % 2 = 0 THEN $3 ELSE md5('o' || n % 40)::uuid END,
           md5('p' || n % 20)::uuid, md5('k' || n % 400)::uuid, 1235, 1234567,
           jsonb_build_array(jsonb_build_object(
               'provider', 'provider' || n % 6, 'model', 'model' || n % 24,
               'usage_source', 'upstream', 'calls', 1, 'input', n % 5000, 'output', n % 700,
               'cost_pico', 1234567, 'cost_nano', 1235)), '[]', 'success', 200, 'upstream'
      FROM generate_series($1::bigint, $2::bigint) AS n";

const SUM_HOURS: &str = "
    INSERT INTO usage_hours
    SELECT e.organization_id, date_trunc('hour', e.billed_at, 'UTC'), e.project_id, e.team_id,
           e.key_id, l.provider, l.model, l.usage_source, sum(l.calls), sum(l.input), 0, 0, 0,
           sum(l.output), 0, 0, 0, 0, 0, 0, 0, sum(l.cost_pico), sum(l.cost_nano)
      FROM usage_events e, app.usage_lines(e.lines) l GROUP BY 1, 2, 3, 4, 5, 6, 7, 8";

const SUM_DAYS: &str = "
    INSERT INTO usage_days
    SELECT organization_id, date_trunc('day', hour, 'UTC'), project_id, team_id, key_id, provider,
           model, usage_source, sum(calls), sum(input), 0, 0, 0, sum(output), 0, 0, 0, 0, 0, 0, 0,
           sum(cost_pico), sum(cost_nano)
      FROM usage_hours GROUP BY 1, 2, 3, 4, 5, 6, 7, 8";
