//! What a policy spends a dollar for, so that all calls that it decides come to its goal together:
//! one that it helps much may cost more, and another then costs less. The last calls are decided
//! again, by the proxies' own code, and tell it.
//!
//! Always holds: one organization's calls tell nothing of another's; where few tell anything, nothing
//! is told, and each call comes to the goal by itself.

use std::collections::{BTreeMap, BTreeSet};

use data_plane::{
    catalog::Snapshot,
    route::{Lately, Past, worth_of_a_dollar},
};
use routing_engine::Offer;
use serde::{Deserialize, Serialize};
use shared::{
    event::Event,
    ids::{OrganizationId, PolicyId},
    money::Money,
    snapshot::{Goal, Worth},
};
use tokio::task::spawn_blocking;
use tracing::info;

use super::{LearningError, learn::begin, state, store};
use crate::{platform::Platform, requests, snapshots};

/// Fewer calls tell nothing.
pub(super) const FEWEST: usize = 50;
/// So many of the last are asked.
const MOST: i64 = 1_000;

/// What a policy spends a dollar for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = LearningWorth)]
pub struct Spending {
    #[schema(value_type = String)]
    policy: PolicyId,
    name: String,
    goal: Goal,
    /// How much likelier a good answer has to be for a dollar, in millionths.
    of_a_dollar: u64,
    /// How many calls told.
    calls: u32,
}

impl Spending {
    pub fn worth(&self) -> Worth {
        let Self { policy, goal, of_a_dollar, .. } = *self;
        Worth { policy, goal, of_a_dollar: Some(of_a_dollar) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn goal(&self) -> Goal {
        self.goal
    }

    pub(super) fn calls(&self) -> u32 {
        self.calls
    }

    /// What a call may cost more where its answer is likelier to be good by one in a hundred; any
    /// price where cost counts for nothing.
    pub(super) fn price_of_a_point(&self) -> Option<Money> {
        const MILLIONTHS_OF_A_POINT: i64 = 10_000;
        const DOLLAR: i64 = 1_000_000_000;
        let nanos =
            (MILLIONTHS_OF_A_POINT * DOLLAR).checked_div(i64::try_from(self.of_a_dollar).ok()?)?;
        Some(Money::from_nanos(nanos))
    }
}

/// Finds it out for those who made calls.
pub async fn weigh_due(desk: &Platform) -> Result<(), LearningError> {
    let due = store::worths_due(&mut *desk.db.acquire().await?).await?;
    for organization in due {
        weigh(desk, organization).await?;
    }
    Ok(())
}

async fn weigh(desk: &Platform, organization: OrganizationId) -> Result<(), LearningError> {
    let mut work = begin(desk, organization).await?;
    let events = requests::weighed(&mut work, MOST).await?;
    let keys: BTreeSet<_> = events.iter().map(|it| it.key).collect();
    let keys: Vec<_> = keys.into_iter().collect();
    let records = match events.is_empty() {
        true => Vec::new(),
        false => snapshots::of_organization(&mut work, organization, &keys).await?,
    };
    work.commit().await?;
    let now = spawn_blocking(move || told(&Snapshot::deciding(0, &records), &events)).await?;
    let mut work = begin(desk, organization).await?;
    let before = state(&mut work).await?.worths.0;
    let is_new = now != before;
    store::set_worths(&mut work, organization, is_new.then_some(&now)).await?;
    work.commit().await?;
    if is_new {
        desk.nudges.snapshot.notify_one();
        let goals = now.len();
        info!(organization.id = %organization, "{organization} spends by {goals} goals");
    }
    Ok(())
}

/// What calls tell when `snapshot` decides them.
pub fn told(snapshot: &Snapshot, events: &[Event]) -> Vec<Spending> {
    let mut weighed: BTreeMap<(String, PolicyId, Goal), Vec<Vec<Offer>>> = BTreeMap::new();
    for event in events {
        let Some(key) = snapshot.key(event.key) else { continue };
        let Ok(past) = Past::of(event, key.clone()) else { continue };
        if let Some(it) = past.weighed(snapshot, &Lately::default()) {
            weighed.entry((it.name, it.policy, it.goal)).or_default().push(it.offers);
        }
    }
    weighed.retain(|_, calls| calls.len() >= FEWEST);
    let spending = |((name, policy, goal), calls): ((String, PolicyId, Goal), Vec<Vec<Offer>>)| {
        let of_a_dollar = worth_of_a_dollar(&calls, goal);
        let calls = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        Spending { policy, name, goal, of_a_dollar, calls }
    };
    weighed.into_iter().map(spending).collect()
}
