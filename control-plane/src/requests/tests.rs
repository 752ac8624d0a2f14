//! Events to test with, and what holds of the log as a whole.

mod ingesting;
mod metering;
mod pages;
mod telling;

use actix_web::http::{Method, StatusCode};
use serde_json::Value;
use shared::{
    event::{Attempt, Outcome, PolicyVersion, Server, UsageSource},
    ids::{ApiKeyId, CredentialId, OrganizationId, ProjectId, ProxyId, UpstreamId},
    money::Money,
    usage::Usage,
};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use uuid::{NoContext, Timestamp, Uuid};

use super::*;
use crate::{access::Role, testing::Fixture};

/// A call that was served at once, a moment ago.
pub fn event(organization: OrganizationId, project: ProjectId, key: ApiKeyId) -> Event {
    let (provider, model) = ("openai".to_owned(), "gpt-5".to_owned());
    Event {
        request: RequestId::generate(),
        proxy: ProxyId::generate(),
        organization,
        project,
        key,
        endpoint: "chat".into(),
        asked: model.clone(),
        policy: None,
        reason: Some("asked".into()),
        decision: None,
        served: Some(Server {
            model: model.clone(),
            upstream_model: "gpt-5-2025".into(),
            upstream: UpstreamId::generate(),
            provider: provider.clone(),
            credential: CredentialId::generate(),
        }),
        attempts: vec![Attempt {
            provider,
            model,
            outcome: "answered".into(),
            status: Some(200),
            took_ms: 600,
        }],
        outcome: Outcome::Success,
        status: 200,
        error: None,
        stream: false,
        usage: Usage { input: 1_038, output: 134, ..Usage::default() },
        usage_source: UsageSource::Upstream,
        started_at: OffsetDateTime::now_utc(),
        first_byte_ms: Some(287),
        total_ms: 620,
        client: Some("curl".into()),
        tags: Default::default(),
        settlement: None,
        billed_at_ms: 0,
        lines: Vec::new(),
        cost: Money::ZERO,
        counted: Vec::new(),
        overrun: Money::ZERO,
    }
}

/// The same call, begun then.
fn begun(at: OffsetDateTime, event: Event) -> Event {
    let seconds = u64::try_from(at.unix_timestamp()).unwrap();
    let id = Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, at.nanosecond()));
    Event { request: RequestId::from_uuid(id), started_at: at, ..event }
}

/// A project and a key of ours, and one call after the other.
struct Desk {
    fixture: Fixture,
    project: ProjectId,
    key: ApiKeyId,
}

impl Desk {
    async fn new(root: PgPool) -> Self {
        let fixture = Fixture::new(root).await;
        let (project, key) = (ProjectId::generate(), ApiKeyId::generate());
        sqlx::query("INSERT INTO projects (organization_id, id, name) VALUES ($1, $2, 'bot')")
            .bind(fixture.ours.id)
            .bind(project)
            .execute(&fixture.root)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO api_keys
                    (organization_id, id, project_id, name, brand, owner_id, created_by, scopes)
             VALUES ($1, $2, $3, 'web-prod', 'live', $4, $4, '{chat}')",
        )
        .bind(fixture.ours.id)
        .bind(key)
        .bind(project)
        .bind(fixture.ours.person(Role::Owner))
        .execute(&fixture.root)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO api_key_secrets (organization_id, key_id, hash, hint)
             VALUES ($1, $2, sha256('desk'), 'tpk_live_…')",
        )
        .bind(fixture.ours.id)
        .bind(key)
        .execute(&fixture.root)
        .await
        .unwrap();
        Self { fixture, project, key }
    }

    fn event(&self) -> Event {
        event(self.fixture.ours.id, self.project, self.key)
    }

    async fn log(&self, events: Vec<Event>) {
        add(&mut self.fixture.db.acquire().await.unwrap(), events).await.unwrap();
    }

    async fn logged(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM request_events")
            .fetch_one(&self.fixture.root)
            .await
            .unwrap()
    }

    async fn api(&self, path: &str) -> Value {
        let token = self.fixture.token(Role::Developer, false).await;
        let answer = self.fixture.api(Some(&token), Method::GET, path, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.json()
    }
}

fn ids(list: &Value) -> Vec<RequestId> {
    let data = list["data"].as_array().unwrap();
    data.iter().map(|it| it["request"].as_str().unwrap().parse().unwrap()).collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn another_tenants_requests_are_not_there(root: PgPool) {
    let desk = Desk::new(root).await;
    let ours = desk.event();
    desk.log(vec![ours.clone()]).await;

    let mut work = desk.fixture.work(Role::Viewer).await;
    assert_eq!(find(&mut work, ours.request).await.unwrap().event, ours);
    let mut theirs = desk.fixture.work_of(&desk.fixture.theirs, Role::Owner).await;
    assert!(matches!(find(&mut theirs, ours.request).await, Err(RequestError::NotFound)));
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM request_events")
        .fetch_one(&mut *theirs)
        .await
        .unwrap();
    assert_eq!(seen, 0);
    // Nor past the table, nor otherwise than to look.
    let day = format!("app.requests_{}", ours.started_at.date().to_string().replace('-', ""));
    for refused in [
        format!("SELECT count(*) FROM {day}"),
        "DELETE FROM request_events".to_owned(),
        "UPDATE request_events SET status = 200".to_owned(),
    ] {
        let mut work = desk.fixture.work(Role::Owner).await;
        let error =
            sqlx::query(sqlx::AssertSqlSafe(refused)).execute(&mut *work).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42501", "{error}");
    }
}

/// Every filter finds what it asks for and nothing else.
#[sqlx::test(migrations = "../migrations")]
async fn filters_find_what_they_ask_for(root: PgPool) {
    let desk = Desk::new(root).await;
    let now = OffsetDateTime::now_utc();
    let plain = begun(now - Duration::minutes(50), desk.event());
    let old = begun(now - Duration::days(3), desk.event());
    let refused = Event {
        outcome: Outcome::ClientError,
        status: 429,
        error: Some("rate_limited".into()),
        served: None,
        reason: None,
        ..begun(now - Duration::minutes(40), desk.event())
    };
    let slow = Event { total_ms: 61_000, ..begun(now - Duration::minutes(30), desk.event()) };
    let mut routed = Event {
        asked: "auto".into(),
        policy: Some(PolicyVersion { name: "auto".into(), version: 7 }),
        ..begun(now - Duration::minutes(20), desk.event())
    };
    routed.served.as_mut().unwrap().provider = "mistral".into();
    routed.served.as_mut().unwrap().model = "large".into();
    let elsewhere = Event {
        project: ProjectId::generate(),
        key: ApiKeyId::generate(),
        outcome: Outcome::Gone,
        status: 0,
        ..begun(now - Duration::minutes(10), desk.event())
    };
    let all = [&elsewhere, &routed, &slow, &refused, &plain, &old];
    desk.log(all.iter().map(|it| (*it).clone()).collect()).await;

    let (from, key) = (now - Duration::minutes(45), elsewhere.key);
    let from = from.replace_nanosecond(0).unwrap();
    let from = from.format(&time::format_description::well_known::Rfc3339).unwrap();
    let project = desk.project;
    for (query, expected) in [
        (String::new(), &all[..]),
        ("range=hour".into(), &all[..5]),
        ("range=day".into(), &all[..5]),
        (format!("from={from}"), &all[..4]),
        (format!("to={from}"), &all[4..]),
        (format!("project={project}"), &all[1..]),
        (format!("key={key}"), &all[..1]),
        ("asked=auto".into(), &[&routed]),
        ("model=large".into(), &[&routed]),
        ("provider=mistral".into(), &[&routed]),
        ("outcome=client_error".into(), &[&refused]),
        ("outcome=unserved".into(), &[&elsewhere, &refused]),
        ("status=429".into(), &[&refused]),
        ("error=rate_limited".into(), &[&refused]),
        ("min_ms=60000".into(), &[&slow]),
        ("min_ms=60000&outcome=gone".into(), &[]),
    ] {
        let list = desk.api(&format!("/orgs/ours/requests?{query}")).await;
        let expected: Vec<_> = expected.iter().map(|it| it.request).collect();
        assert_eq!(ids(&list), expected, "{query}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn pages_meet_without_gaps(root: PgPool) {
    let desk = Desk::new(root).await;
    let events: Vec<_> = (0..450).map(|_| desk.event()).collect();
    let mut expected: Vec<_> = events.iter().map(|it| it.request).collect();
    expected.sort_by(|a, b| b.cmp(a));
    desk.log(events).await;
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let list = desk.api(&format!("/orgs/ours/requests?after={next}")).await;
        seen.extend(ids(&list));
        match list["next"].as_str() {
            Some(it) => next = it.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, expected);
}

#[sqlx::test(migrations = "../migrations")]
async fn whether_calls_are_few_is_said_of_those_since_and_of_ours(root: PgPool) {
    let desk = Desk::new(root).await;
    let theirs = event(desk.fixture.theirs.id, ProjectId::generate(), ApiKeyId::generate());
    let long_ago = begun(OffsetDateTime::now_utc() - Duration::hours(2), desk.event());
    desk.log(vec![desk.event(), desk.event(), desk.event(), long_ago, theirs]).await;
    let mut work = desk.fixture.work(Role::Owner).await;
    for (hours, few, is_so) in [(1, 2, false), (1, 3, true), (3, 3, false), (3, 4, true)] {
        let since = OffsetDateTime::now_utc() - Duration::hours(hours);
        let said = are_at_most(&mut work, since, few).await.unwrap();
        assert_eq!(said, is_so, "{few} in {hours} h");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn the_api_shows_a_request_as_it_was_told(root: PgPool) {
    let desk = Desk::new(root).await;
    let event = desk.event();
    desk.log(vec![event.clone()]).await;
    let shown = desk.api(&format!("/orgs/ours/requests/{}", event.request)).await;
    assert_eq!((&shown["project_name"], &shown["key_name"]), (&"bot".into(), &"web-prod".into()));
    assert_eq!(serde_json::from_value::<Event>(shown).unwrap(), event);

    let token = desk.fixture.token(Role::Developer, false).await;
    for (path, status) in [
        (format!("/orgs/ours/requests/{}", RequestId::generate()), StatusCode::NOT_FOUND),
        ("/orgs/ours/requests/nonsense".to_owned(), StatusCode::NOT_FOUND),
        ("/orgs/ours/requests?after=last".to_owned(), StatusCode::BAD_REQUEST),
        ("/orgs/ours/requests?status=fine".to_owned(), StatusCode::BAD_REQUEST),
        ("/orgs/ours/requests?colour=red".to_owned(), StatusCode::BAD_REQUEST),
    ] {
        let answer = desk.fixture.api(Some(&token), Method::GET, &path, None).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
    let billing = desk.fixture.token(Role::Billing, false).await;
    let answer = desk.fixture.api(Some(&billing), Method::GET, "/orgs/ours/requests", None).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}
