//! What a policy would have decided, had it been in force: the last calls that it led are decided
//! again, by the version in force and by another, from what was kept of them. The code that
//! decides is the proxies' own.
//!
//! Always holds: no call is made and nothing is changed; both versions are asked about the same
//! calls, with the same models, prices and health; what is not known is not guessed, but told.

mod caps;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use data_plane::{
    catalog::Snapshot,
    route::{Lately, Outcome, Past, Unplayable},
};
use serde_json::json;
use shared::{
    event::Event,
    ids::{ApiKeyId, PolicyId},
    money::Money,
    snapshot::{Document, Entity, RecordId},
};

use self::caps::Refused;
pub use self::report::{Place, Simulation, Sum};
use super::{Policy, PolicyError, drafts::draft_of, everywhere::turn, find, known, versions};
use crate::{
    access::Work,
    audit,
    learning::{self, Spending},
    requests, snapshots,
};

/// As many calls as are decided again unless somebody says how many,
pub const USUAL: u32 = 1_000;
/// and as many as may be.
pub const MOST: u32 = 5_000;

/// What is to be tried.
#[derive(Clone, Debug)]
pub enum Trial {
    Draft,
    Version(i32),
    Document(Box<Document>),
}

/// Decides the last calls of a policy again, at most so many.
pub async fn simulate(
    work: &mut Work,
    policy: PolicyId,
    trial: Trial,
    most: u32,
) -> Result<Simulation, PolicyError> {
    let policy = find(work, policy).await?;
    if policy.is_archived() {
        return Err(PolicyError::Archived);
    }
    let document = tried(work, &policy, trial).await?;
    let most = i64::from(most.clamp(1, MOST));
    if work.organization == audit::PLATFORM {
        return everywhere(work, &policy, &document, most).await;
    }
    let events = requests::decided_by(work, &policy.name, most).await?;
    let (decided, refused) = decided(work, &policy, &document, events).await?;
    Ok(report::told(&policy, decided, refused))
}

/// The same of the last calls of all organizations, each with its own models, prices and budgets.
/// Numbers are told, and neither whose calls those were nor what people there call their budgets and
/// the models at providers of their own.
async fn everywhere(
    work: &mut Work,
    policy: &Policy,
    document: &Document,
    most: i64,
) -> Result<Simulation, PolicyError> {
    let mut by_organization: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in requests::decided_by_platforms(work, &policy.name, most).await? {
        by_organization.entry(event.organization).or_default().push(event);
    }
    let (mut all, mut refused) = (Decided::default(), Refused::default());
    for (organization, events) in by_organization {
        turn(work, organization).await?;
        let (decided, refused_there) = self::decided(work, policy, document, events).await?;
        all.add(decided);
        refused.before += refused_there.before;
        refused.after += refused_there.after;
    }
    turn(work, audit::PLATFORM).await?;
    all.calls.sort_by_key(|it| it.event.request);
    let told = report::told(policy, all, refused);
    let ours = known(work).await?;
    let places = told.places.iter().cloned();
    let (mut places, own): (Vec<_>, Vec<_>) =
        places.partition(|it| ours.serves(&it.provider, &it.model));
    if !own.is_empty() {
        let sum = |of: fn(&Place) -> u32| own.iter().map(of).sum();
        let (before, after) = (sum(|it| it.before), sum(|it| it.after));
        let (model, provider) = ("models".to_owned(), "providers of their own".to_owned());
        places.push(Place { model, provider, before, after });
    }
    Ok(Simulation { places, changes: Vec::new(), ..told })
}

/// Decides calls of one organization again, which are given the latest first.
async fn decided(
    work: &mut Work,
    policy: &Policy,
    document: &Document,
    mut events: Vec<Event>,
) -> Result<(Decided, Refused), PolicyError> {
    events.reverse();
    let keys: BTreeSet<ApiKeyId> = events.iter().map(|it| it.key).collect();
    let keys: Vec<_> = keys.into_iter().collect();
    let organization = work.organization;
    let records = snapshots::of_organization(work, organization, &keys).await?;
    let present = Arc::new(Snapshot::deciding(0, &records));
    let tried = Snapshot::deciding(0, &replaced(records, policy, document)?);
    let is_other = policy.document != *document;
    let decided = tokio::task::spawn_blocking({
        let present = present.clone();
        move || {
            // As calls would tell if it were in force: what the present one spends is another's.
            let told = if is_other { learning::told(&tried, &events) } else { Vec::new() };
            let worths: Vec<_> = told.iter().map(Spending::worth).collect();
            let tried = tried.spending(organization, &worths);
            Decided::all((&present, &tried), events, is_other)
        }
    });
    let decided = decided.await.map_err(|_| PolicyError::NotSimulated)?;
    let refused = caps::refused(work, &present, &decided.calls).await?;
    Ok((decided, refused))
}

async fn tried(work: &mut Work, policy: &Policy, trial: Trial) -> Result<Document, PolicyError> {
    match trial {
        Trial::Document(document) => Ok(*document),
        Trial::Draft => Ok(draft_of(work, policy.id).await?.ok_or(PolicyError::NoDraft)?.document),
        Trial::Version(version) => {
            let all = versions(work, policy.id).await?;
            let found = all.into_iter().find(|it| it.version == version);
            Ok(found.ok_or(PolicyError::NoVersion)?.document)
        }
    }
}

/// The records with another document of the policy, for all of its calls.
fn replaced(
    mut records: Vec<(RecordId, String)>,
    policy: &Policy,
    document: &Document,
) -> Result<Vec<(RecordId, String)>, PolicyError> {
    let id = RecordId { entity: Entity::Policy, id: policy.id.uuid() };
    let found = records.iter_mut().find(|it| it.0 == id).ok_or(PolicyError::NotFound)?;
    let mut record: serde_json::Map<_, _> =
        serde_json::from_str(&found.1).map_err(|_| PolicyError::NotSimulated)?;
    record.remove("staged");
    record.insert("document".to_owned(), json!(document));
    record.insert("version".to_owned(), json!(policy.version + 1));
    found.1 = serde_json::Value::Object(record).to_string();
    Ok(records)
}

/// Calls that were decided again.
#[derive(Default)]
struct Decided {
    calls: Vec<Call>,
    /// How many could not be, and why.
    unplayable: BTreeMap<String, u32>,
}

/// One of them.
struct Call {
    event: Event,
    /// Whether the version in force decided as it did when the call was made; none where another
    /// version did.
    is_as_it_was: Option<bool>,
    before: Side,
    after: Side,
}

/// What a version made of a call.
struct Side {
    outcome: Outcome,
    cost: Option<Money>,
    quality_ppm: Option<u32>,
    latency_ms: Option<u32>,
}

impl Side {
    fn of(past: &Past, snapshot: &Snapshot, lately: &Lately) -> Self {
        let outcome = past.again(snapshot, lately);
        let worth = outcome.places.first().map(|it| past.expects(snapshot, it, lately));
        let worth = worth.unwrap_or_default();
        Self {
            outcome,
            cost: worth.cost,
            quality_ppm: worth.quality.map(data_plane::route::ppm),
            latency_ms: worth.latency_ms,
        }
    }
}

impl Decided {
    fn add(&mut self, others: Self) {
        self.calls.extend(others.calls);
        for (why, calls) in others.unplayable {
            *self.unplayable.entry(why).or_default() += calls;
        }
    }

    /// By what is in force and by what is tried, which `is_other` or the same.
    fn all(by: (&Snapshot, &Snapshot), events: Vec<Event>, is_other: bool) -> Self {
        let (mut decided, mut lately) = (Self::default(), Lately::default());
        for event in events {
            match again(by, &event, &mut lately, is_other) {
                Ok((is_as_it_was, before, after)) => {
                    decided.calls.push(Call { event, is_as_it_was, before, after });
                }
                Err(why) => *decided.unplayable.entry(why).or_default() += 1,
            }
        }
        decided
    }
}

fn again(
    (present, tried): (&Snapshot, &Snapshot),
    event: &Event,
    lately: &mut Lately,
    is_other: bool,
) -> Result<(Option<bool>, Side, Side), String> {
    let key = present.key(event.key).ok_or("its key opens nothing any more")?;
    let mut past = Past::of(event, key.clone()).map_err(|why: Unplayable| why.to_string())?;
    let before = Side::of(&past, present, lately);
    if is_other {
        past.forget_worths();
    }
    let after = Side::of(&past, tried, lately);
    lately.note(&past);
    let version = event.policy.as_ref().map(|it| it.version);
    let kept = event.decision.as_ref().filter(|_| before.outcome.version == version);
    let is_as_it_was = kept.map(|it| before.outcome.is_that_of(it));
    Ok((is_as_it_was, before, after))
}

#[cfg(test)]
mod tests;
