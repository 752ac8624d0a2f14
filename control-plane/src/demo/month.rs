//! The demo's month, for tests of what looks back on it.

use crate::testing::Fixture;
use shared::{
    ids::PolicyId,
    money::{Money, Period, Zone},
    snapshot::{BudgetScope, Caps, OnRedisLoss, OnTight, Thresholds},
};

use super::*;
use crate::budgets;

/// Fewer than the demo has, since each takes its time: too few for something to be said of them.
const LEFT_TO_US_A_DAY: u32 = 10;

/// The demo's month of calls for the fixture's first organization, and the policy that led
/// them.
pub async fn month(fixture: &Fixture) -> PolicyId {
    let sealer = &fixture.platform.secrets.credentials;
    let simulator = "http://127.0.0.1:9".parse().unwrap();
    serve_everybody(&fixture.db, sealer, &simulator).await.unwrap();
    let mut work = fixture.work(Role::Owner).await;
    let project = projects::create(&mut work, &"bot".parse().unwrap(), None).await.unwrap();
    let terms = Terms::named("bot".parse().unwrap());
    let key = NewApiKey { project: Some(project), mode: Mode::Live, owner: None, terms };
    keys::issue(&mut work, &key, None).await.unwrap();
    let policy = ensure_support_chat(&mut work).await.unwrap();
    let owner = work.actor.clone();
    work.commit().await.unwrap();
    books::keep(&fixture.db, fixture.ours.id, &owner, LEFT_TO_US_A_DAY).await.unwrap();
    policy
}

/// A hard budget of what the organization has spent, and a little more.
pub async fn cap_all(fixture: &Fixture) {
    let mut work = fixture.work(Role::Owner).await;
    let spent: i64 = sqlx::query_scalar("SELECT sum(cost_nano)::bigint FROM usage_days")
        .fetch_one(&mut *work)
        .await
        .unwrap();
    let name = "What the demo spends".parse().unwrap();
    let caps = Caps { money: Some(Money::from_nanos(spent + 1)), ..Caps::default() };
    let terms = budgets::Terms {
        caps,
        is_hard: true,
        thresholds: Thresholds::try_from(vec![100]).unwrap(),
        on_tight: OnTight::Deny,
        on_redis_loss: OnRedisLoss::Closed,
        alert_roles: budgets::ALERTED.to_vec(),
    };
    let (scope, period) = (BudgetScope::Organization, Period::Total);
    let budget = budgets::NewBudget { name, scope, period, zone: Zone::UTC, terms };
    budgets::create(&mut work, &budget).await.unwrap();
    work.commit().await.unwrap();
}
