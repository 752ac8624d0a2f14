//! Budgets as the application sees them, through their pages and the API, and in Redis.

mod counting;
mod pages;

use shared::{
    counters::{Amounts, Counter, Shard},
    ids::{ProjectId, TeamId},
    money::Money,
    snapshot,
};
use sqlx::PgPool;
use time::macros::datetime;

use super::*;
use crate::{keys::tests::project, testing::Fixture};

fn money(usd: i64) -> Caps {
    Caps { money: Some(Money::from_nanos(usd * 1_000_000_000)), ..Caps::default() }
}

pub(crate) fn terms(usd: i64) -> Terms {
    Terms {
        caps: money(usd),
        is_hard: true,
        thresholds: Thresholds::try_from(vec![80, 100]).unwrap(),
        on_tight: OnTight::Clamp,
        on_redis_loss: OnRedisLoss::Closed,
        alert_roles: ALERTED.to_vec(),
    }
}

pub(crate) fn new(name: &str, scope: BudgetScope, usd: i64) -> NewBudget {
    NewBudget {
        name: name.parse().unwrap(),
        scope,
        period: Period::Month,
        zone: "Europe/Berlin".parse().unwrap(),
        terms: terms(usd),
    }
}

struct Scene {
    fixture: Fixture,
    project: ProjectId,
    budget: BudgetId,
}

impl Scene {
    async fn new(root: PgPool) -> Self {
        let fixture = Fixture::new(root).await;
        let project = project(&fixture, &fixture.ours, "bot").await;
        let mut work = fixture.work(Role::Admin).await;
        let wanted = new("Bot", BudgetScope::Project(project), 500);
        let budget = create(&mut work, &wanted).await.unwrap();
        work.commit().await.unwrap();
        Self { fixture, project, budget }
    }

    async fn published(&self, work: &mut Work) -> Option<snapshot::Budget> {
        published(work, Some(&[self.budget])).await.unwrap().pop()
    }

    async fn counter(&self) -> Counter {
        let mut redis = self.fixture.platform.redis.get().await.unwrap();
        let shard = Shard::of(self.fixture.ours.id);
        let ask = self.fixture.platform.counters.budget(shard, self.budget);
        let kept: Vec<u8> = ask.query_async(&mut redis).await.unwrap();
        Counter::read(&kept)
    }

    /// Plants amounts into the present window: spent, held, and of that held by the dead.
    async fn spend(&self, amounts: [i64; 7]) {
        let mut redis = self.fixture.platform.redis.get().await.unwrap();
        let key = self
            .fixture
            .platform
            .counters
            .places
            .budget(Shard::of(self.fixture.ours.id), self.budget);
        let () = redis::cmd("SETRANGE")
            .arg(key)
            .arg(Counter::AMOUNTS_AT)
            .arg(shared::counters::packed(amounts))
            .query_async(&mut redis)
            .await
            .unwrap();
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_budget_is_published_as_people_decided(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.fixture.work(Role::Billing).await;
    let told = scene.published(&mut work).await.unwrap();
    assert_eq!((told.name.as_str(), told.version), ("Bot", 1));
    assert_eq!(told.scope, BudgetScope::Project(scene.project));
    assert_eq!(told.caps, money(500));
    assert_eq!(told.organization, scene.fixture.ours.id);
    let name = "Bot".parse().unwrap();
    change(&mut work, scene.budget, &name, &terms(600)).await.unwrap();
    change(&mut work, scene.budget, &name, &terms(600)).await.unwrap();
    let told = scene.published(&mut work).await.unwrap();
    assert_eq!((told.caps, told.version), (money(600), 2));
    archive(&mut work, scene.budget).await.unwrap();
    assert_eq!(scene.published(&mut work).await, None);
    let refused = change(&mut work, scene.budget, &name, &terms(700)).await.unwrap_err();
    assert!(matches!(refused, BudgetError::Archived));
    let changes = history(&mut work, scene.budget).await.unwrap();
    let told: Vec<_> = changes.iter().map(|it| (it.version, it.change.as_str())).collect();
    assert_eq!(told, [(3, "archived"), (2, "changed"), (1, "created")]);
    assert_eq!(changes[0].created_by.as_deref(), Some("billing@ours.test"));
    work.commit().await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_name_is_taken_while_its_budget_is_in_force(root: PgPool) {
    let scene = Scene::new(root).await;
    let again = new("Bot", BudgetScope::Organization, 5);
    let mut work = scene.fixture.work(Role::Admin).await;
    let refused = create(&mut work, &again).await.unwrap_err();
    assert!(matches!(refused, BudgetError::NameTaken), "{refused}");
    drop(work);
    let mut work = scene.fixture.work(Role::Admin).await;
    archive(&mut work, scene.budget).await.unwrap();
    create(&mut work, &again).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_budget_is_on_something_of_the_organization(root: PgPool) {
    let scene = Scene::new(root).await;
    let theirs = project(&scene.fixture, &scene.fixture.theirs, "bot").await;
    let mut work = scene.fixture.work(Role::Owner).await;
    for scope in [BudgetScope::Project(theirs), BudgetScope::Team(TeamId::generate())] {
        let refused = create(&mut work, &new("Other", scope, 5)).await.unwrap_err();
        assert!(matches!(refused, BudgetError::NoScope), "{refused}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn budgets_of_others_are_out_of_reach(root: PgPool) {
    let scene = Scene::new(root).await;
    let ours = scene.fixture.ours.id;
    let mut work = scene.fixture.work_of(&scene.fixture.theirs, Role::Owner).await;
    assert!(matches!(find(&mut work, scene.budget).await, Err(BudgetError::NotFound)));
    assert!(archive(&mut work, scene.budget).await.is_err());
    assert!(store::find(&mut work, ours, scene.budget).await.unwrap().is_none());
    assert!(store::versions(&mut work, ours, scene.budget).await.unwrap().is_empty());
    store::archive(&mut work, ours, scene.budget).await.unwrap();
    work.commit().await.unwrap();
    let mut work = scene.fixture.work(Role::Viewer).await;
    assert!(!find(&mut work, scene.budget).await.unwrap().is_archived());
}

#[sqlx::test(migrations = "../migrations")]
async fn caps_are_raised_for_a_while_with_a_reason(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.fixture.work(Role::Admin).await;
    let soon = OffsetDateTime::now_utc() + Duration::days(2);
    let past = datetime!(2020-01-01 0:00 UTC);
    for (caps, until, reason, field) in [
        (money(400), soon, "launch", "raised_usd"),
        (money(500), soon, "launch", "raised_usd"),
        (money(600), past, "launch", "until"),
        (money(600), soon + Duration::days(366), "launch", "until"),
        (money(600), soon, " ", "reason"),
    ] {
        let refused = raise(&mut work, scene.budget, caps, until, reason).await.unwrap_err();
        assert_eq!(refused.problems()[0].field, field, "{refused}");
    }
    raise(&mut work, scene.budget, money(900), soon, "launch").await.unwrap();
    let told = scene.published(&mut work).await.unwrap();
    assert_eq!((told.caps, told.raise.unwrap().caps, told.version), (money(500), money(900), 2));
    let found = find(&mut work, scene.budget).await.unwrap();
    assert_eq!(found.caps_at(soon - Duration::seconds(1)), money(900));
    assert_eq!(found.caps_at(soon), money(500));
    assert_eq!(found.raise.unwrap().by.as_deref(), Some("admin@ours.test"));
    // A raise that is none any more ends with the change that makes it so.
    let name = "Bot".parse().unwrap();
    change(&mut work, scene.budget, &name, &terms(800)).await.unwrap();
    assert!(find(&mut work, scene.budget).await.unwrap().raise.is_some());
    change(&mut work, scene.budget, &name, &terms(950)).await.unwrap();
    assert!(find(&mut work, scene.budget).await.unwrap().raise.is_none());
    raise(&mut work, scene.budget, money(1_000), soon, "launch").await.unwrap();
    end_raise(&mut work, scene.budget).await.unwrap();
    let told = scene.published(&mut work).await.unwrap();
    assert_eq!((told.raise, told.version), (None, 6));
}

#[test]
fn something_is_capped_and_nothing_beyond_what_redis_counts() {
    let check = |caps, field: &str| {
        let refused = Terms { caps, ..terms(1) }.checked().unwrap_err();
        assert!(refused.of(field).is_some(), "{refused}");
    };
    check(Caps::default(), "usd");
    check(Caps { tokens: Some(Caps::CEILING + 1), ..Caps::default() }, "tokens");
    check(Caps { requests: Some(-1), ..Caps::default() }, "requests");
    let bounded = OnRedisLoss::Bounded { allowance: Money::from_nanos(1) };
    let caps = Caps { requests: Some(5), ..money(1) };
    let refused = Terms { caps, on_redis_loss: bounded, ..terms(1) }.checked().unwrap_err();
    assert!(refused.of("allowance").is_some(), "what cannot be bounded is not allowed");
    let soft = Terms { caps, on_redis_loss: bounded, is_hard: false, ..terms(1) };
    assert!(soft.checked().is_ok());
    let told = Terms { alert_roles: vec![Role::Developer], ..terms(1) }.checked().unwrap_err();
    assert!(told.of("alert_roles").is_some());
    assert!(Terms { caps: money(0), ..terms(1) }.checked().is_ok(), "a cap of nothing is a cap");
}

#[sqlx::test(migrations = "../migrations")]
async fn redis_has_the_caps_when_the_answer_is_out(root: PgPool) {
    if std::env::var("TURNPIKE_TEST_REDIS_URL").is_err() {
        return;
    }
    let scene = Scene::new(root).await;
    let platform = &scene.fixture.platform;
    terms::tell(platform, scene.budget).await;
    assert_eq!(scene.counter().await.version, 1);
    let window = scene.counter().await.window.unwrap();
    let berlin: Zone = "Europe/Berlin".parse().unwrap();
    let now_ms =
        i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap();
    let span = Period::Month.span_at(&berlin, now_ms);
    assert_eq!((window.from_ms, window.until_ms), (span.start_ms, span.end_ms));
    let mut work = scene.fixture.work(Role::Admin).await;
    change(&mut work, scene.budget, &"Bot".parse().unwrap(), &terms(600)).await.unwrap();
    work.commit().await.unwrap();
    // A job tells what nobody could, and what Redis lost.
    terms::repeat(platform).await.unwrap();
    assert_eq!(scene.counter().await.version, 2);
    let mut redis = platform.redis.get().await.unwrap();
    let key = platform.counters.places.budget(Shard::of(scene.fixture.ours.id), scene.budget);
    let () = redis::cmd("DEL").arg(&key).query_async(&mut redis).await.unwrap();
    terms::repeat(platform).await.unwrap();
    assert_eq!(scene.counter().await.version, 2);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_spent_is_shown_as_it_is_counted(root: PgPool) {
    if std::env::var("TURNPIKE_TEST_REDIS_URL").is_err() {
        return;
    }
    let scene = Scene::new(root).await;
    let (platform, ours) = (&scene.fixture.platform, scene.fixture.ours.id);
    let mut work = scene.fixture.work(Role::Viewer).await;
    let budget = find(&mut work, scene.budget).await.unwrap();
    let usage = async || {
        live::usage(platform, ours, std::slice::from_ref(&budget)).await.unwrap().remove(0)
    };
    assert_eq!(usage().await.spent, Amounts::default(), "nobody has counted yet");
    terms::tell(platform, scene.budget).await;
    scene.spend([123_450_000_001, 0, 0, 3_000_000_000, 0, 0, 1_000_000_000]).await;
    let usage = usage().await;
    let [bar] = &live::Bar::all(&budget, &usage, OffsetDateTime::now_utc())[..] else {
        panic!("there is one cap")
    };
    assert_eq!(bar.spent_words(), "$123.45");
    assert_eq!(bar.spent_exact(), "123.450000001");
    assert_eq!((bar.held_words(), bar.dead_words()), ("$2.00".to_owned(), "$1.00".to_owned()));
    assert_eq!((bar.left_words(), bar.percent()), ("$373.54".to_owned(), 24));
    assert_eq!((bar.spent_width(), bar.held_width(), bar.dead_from()), (246, 4, 250));
}

#[test]
fn a_forecast_follows_the_pace_and_waits_for_one() {
    let usage = |now_ms| live::Usage {
        window: shared::money::Span { start_ms: 0, end_ms: 1_000_000 },
        now_ms,
        spent: Amounts { money: 10_000_000_000, ..Amounts::default() },
        held: Amounts::default(),
        held_by_the_dead: 0,
    };
    let budget = |period| Budget {
        id: BudgetId::generate(),
        name: "Bot".to_owned(),
        scope: BudgetScope::Organization,
        scope_name: "Ours".to_owned(),
        period,
        zone: Zone::UTC,
        terms: terms(25),
        raise: None,
        version: 1,
        created_at: OffsetDateTime::UNIX_EPOCH,
        archived_at: None,
    };
    let forecast = |period, now_ms| {
        live::Bar::all(&budget(period), &usage(now_ms), OffsetDateTime::UNIX_EPOCH)[0].clone()
    };
    assert_eq!(forecast(Period::Month, 9_999).forecast, None);
    let third = forecast(Period::Month, 250_000);
    assert_eq!(third.forecast_words().as_deref(), Some("$40.00"));
    assert!(third.is_outrun());
    assert!(!forecast(Period::Month, 500_000).is_outrun());
    assert_eq!(forecast(Period::Total, 500_000).forecast, None);
}
