//! What a policy spends a dollar for, so that all calls that it decides come to its goal together:
//! one that it helps much may cost more, and another then costs less. The last calls are decided
//! again, by the proxies' own code, and tell it.
//!
//! Always holds: one organization's calls tell nothing of another's; where few ever told anything,
//! nothing is told, and each call comes to the goal by itself.

use std::collections::{BTreeMap, BTreeSet};

use data_plane::{
    catalog::Snapshot,
    route::{By, Lately, Past, worth_of_a_dollar},
};
use routing_engine::Offer;
use serde::{Deserialize, Serialize};
use shared::{
    event::Event,
    ids::{OrganizationId, PolicyId},
    money::Money,
    snapshot::{Document, Goal, Worth},
};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::{LearningError, learn::begin, state, store};
use crate::{platform::Platform, requests, snapshots};

/// Fewer calls tell nothing.
const FEWEST: usize = 50;
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

    fn is_in_force(&self, snapshot: &Snapshot, organization: OrganizationId) -> bool {
        let Some(policy) = snapshot.policy_of(organization, self.policy) else { return false };
        let staged = policy.staged.as_ref().map(|it| &it.document);
        let choices = [&policy.document].into_iter().chain(staged).flat_map(Document::choices);
        let mut goals = choices.filter_map(|it| By::together(it.strategy, it.goal));
        goals.any(|it| it == self.goal)
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

    /// What a turn and its answer may cost more where the answer is likelier to be good by one in a hundred: zero
    /// where the cheapest always will do; any price where cost counts for nothing.
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
        if let Err(error) = weigh(desk, organization).await {
            // The others are not to wait for it, and it for its next hour.
            warn!(organization.id = %organization, %error, "what calls tell could not be weighed");
            let mut work = begin(desk, organization).await?;
            store::set_worths(&mut work, organization, None).await?;
            work.commit().await?;
        }
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
    let before = state(&mut work).await?.worths.0;
    work.commit().await?;
    let former = before.clone();
    let now = spawn_blocking(move || {
        let snapshot = Snapshot::deciding(0, &records);
        let now = told(&snapshot, &events);
        with_former(now, former, |it| it.is_in_force(&snapshot, organization))
    });
    let now = now.await?;
    let mut work = begin(desk, organization).await?;
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
        let weighs = past.weighed(snapshot, &Lately::default());
        // Where there is no choice, there is nothing to tell.
        if let Some(it) = weighs.filter(|it| it.offers.len() > 1) {
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

/// And what was told before of which few of the last calls speak.
fn with_former(
    mut now: Vec<Spending>,
    former: Vec<Spending>,
    is_in_force: impl Fn(&Spending) -> bool,
) -> Vec<Spending> {
    let is_of = |it: &Spending| (it.policy, it.goal);
    for it in former {
        if !now.iter().any(|now| is_of(now) == is_of(&it)) && is_in_force(&it) {
            now.push(it);
        }
    }
    now.sort_by(|one, other| {
        (&one.name, one.policy, one.goal).cmp(&(&other.name, other.policy, other.goal))
    });
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spending(name: &str, calls: u32) -> Spending {
        let policy = PolicyId::from_uuid(uuid::Uuid::from_u128(name.len() as u128));
        let (name, goal) = (name.to_owned(), Goal::QualityPercent(90));
        Spending { policy, name, goal, of_a_dollar: 7, calls }
    }

    #[test]
    fn what_few_of_the_last_calls_speak_of_stays_as_long_as_it_is_in_force() {
        let former = vec![spending("a", 50), spending("bb", 60), spending("ccc", 70)];
        let now = with_former(vec![spending("bb", 99)], former, |it| it.name != "ccc");
        assert_eq!(now, [spending("a", 50), spending("bb", 99)]);
    }

    #[test]
    fn a_point_has_a_price() {
        let of = |of_a_dollar| Spending { of_a_dollar, ..spending("a", 1) }.price_of_a_point();
        assert_eq!(of(0), None);
        // A tenth likelier for a dollar: a point for a tenth of one.
        assert_eq!(of(100_000), Some(Money::from_nanos(100_000_000)));
        assert_eq!(of(9_000_000_000_000_000), Some(Money::ZERO));
    }
}
