//! From what was said to what proxies judge models by.
//!
//! The same outcomes teach the same, whoever learns: two control planes that are at it at once come
//! to one end.

use std::{collections::BTreeMap, sync::Arc};

use routing_engine::{Features, Label, Learned, MOST_LABELS, Standing, Task, Tenant, router};
use shared::{feedback::BEST, ids::OrganizationId};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::{
    LearningError, signals, standing, standings,
    store::{self, Lessons, Outcome},
};
use crate::{
    access::{Actor, Origin, Work},
    platform::Platform,
};

/// At most so much of what is kept nobody said.
const PART_OF_SIGNALS: i64 = 4;

/// Learns for every organization of which enough was said since it was learned last.
pub async fn learn_due(desk: &Platform) -> Result<(), LearningError> {
    let due = store::due(&mut *desk.db.acquire().await?).await?;
    for organization in due {
        learn(desk, organization).await?;
    }
    Ok(())
}

async fn learn(desk: &Platform, organization: OrganizationId) -> Result<(), LearningError> {
    let mut work = begin(desk, organization).await?;
    let Some(before) = store::state(&mut work, organization).await? else { return Ok(()) };
    let most = i64::try_from(MOST_LABELS).unwrap_or(i64::MAX);
    store::trim(&mut work, organization, (most, most / PART_OF_SIGNALS)).await?;
    let outcomes = store::outcomes(&mut work, organization).await?;
    let standings = standings(&mut work).await?;
    work.commit().await?;

    let now = spawn_blocking(move || lessons(outcomes, &standings)).await?;
    let mut work = begin(desk, organization).await?;
    store::learned(&mut work, organization, &before, &now).await?;
    work.commit().await?;
    if now.version != before.version {
        desk.nudges.snapshot.notify_one();
    }
    let (labels, version) = (now.labels, now.version.as_deref().unwrap_or("none"));
    info!(
        organization.id = %organization,
        "learned version {version} from {labels} outcomes of {organization}"
    );
    Ok(())
}

pub(super) async fn begin(
    desk: &Platform,
    organization: OrganizationId,
) -> Result<Work, sqlx::Error> {
    Work::begin(&desk.db, organization, Actor::System, Origin::internal()).await
}

fn lessons(outcomes: Vec<Outcome>, standings: &BTreeMap<String, Standing>) -> Lessons {
    let mut tenant = Tenant::default();
    for it in outcomes {
        let weight = if it.is_said { 1.0 } else { signals::WEIGHT };
        match label(it, standings) {
            Some(label) => drop(tenant.learn_some(label, weight)),
            None => warn!("feedback is left out that no router reads"),
        }
    }
    let labels = i32::try_from(tenant.labels()).unwrap_or(i32::MAX);
    if labels == 0 {
        return Lessons { version: None, tables: None, labels };
    }
    tenant.refit();
    let tables = tenant.learned().encode();
    Lessons { version: Some(Learned::version(&tables)), tables: Some(tables), labels }
}

fn label(it: Outcome, standings: &BTreeMap<String, Standing>) -> Option<Label> {
    let task = Task::named(&it.task)?;
    let features = Arc::new(Features::decode(&it.features).ok()?);
    let expected = router().expected(&features, task, &standing(standings, &it.model)).quality;
    let score = f32::from(it.per_mille) / f32::from(BEST);
    Some(Label { features, task, model: it.model, expected, score })
}
