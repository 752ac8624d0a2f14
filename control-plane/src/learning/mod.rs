//! What people and programs say of answers, and what an organization's proxies learn from it.
//!
//! Programs say it with a key, through the proxies and a stream; people on a request's page, or
//! with a token. A job makes of it what proxies judge models by, which they get as they get
//! everything else. No word of a prompt is here, only what prompts are like.
//!
//! Always holds: one thing was said of a request by each who said something, the latest; who says
//! it may see the request, and a key speaks of its project's alone; what is learned from one
//! organization's feedback reaches no other.

mod api;
mod learn;
mod savings;
mod signals;
mod store;
mod take;
#[cfg(test)]
mod tests;
mod web;
mod worths;

use std::collections::BTreeMap;

use routing_engine::{Features, Learned as Tables, Standing, Task, router};
use serde::{Deserialize, Serialize};
use shared::{
    failure::{Classified, Code, Kind, Problem},
    feedback::BEST,
    ids::{FeedbackId, OrganizationId, ProjectId, RequestId},
    snapshot,
};
use sqlx::{PgConnection, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::{
    learn::learn_due,
    signals::notice_due,
    take::{NotTaken, take},
    worths::{Spending, told, weigh_due},
};
use crate::{
    access::{Actor, Doors, Work},
    audit::{self, Entry},
    organizations,
    requests::{self, RequestError},
    snapshots,
    upstreams::{self, UpstreamError},
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

/// Who speaks: a program, or somebody who saw the request's page or its answer of the API. Or nobody
/// does, and the same was asked again, or what the answer wanted called could not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Api,
    Page,
    AskedAgain,
    ToolFailed,
}

impl Source {
    const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Page => "page",
            Self::AskedAgain => "asked_again",
            Self::ToolFailed => "tool_failed",
        }
    }
}

/// What is kept of what somebody said.
struct Kept {
    id: FeedbackId,
    project: ProjectId,
    request: Option<RequestId>,
    model: String,
    task: Option<String>,
    features: Option<Vec<u8>>,
    per_mille: u16,
    source: Source,
    said_by: Uuid,
    at: OffsetDateTime,
}

/// What was said of a request's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdicts {
    /// How many said something,
    pub count: usize,
    /// and how many of them that it was rather good.
    pub good: usize,
    /// What the reader said, in per mille.
    pub own: Option<u16>,
}

/// What was said of whoever answered a request.
pub async fn verdicts(
    work: &mut Work,
    request: RequestId,
    model: &str,
) -> Result<Verdicts, sqlx::Error> {
    let (organization, reader) = (work.organization, speaker(&work.actor));
    let said = store::said_of(work, organization, request, model).await?;
    let own = said.iter().find(|it| it.0 == reader).map(|it| it.1);
    let good = said.iter().filter(|it| it.1 >= BEST / 2).count();
    Ok(Verdicts { count: said.len(), good, own })
}

/// Keeps what whoever acts says of a request's answer; of another model's to the same prompt where
/// that is named.
pub async fn judge(
    work: &mut Work,
    request: RequestId,
    model: Option<String>,
    per_mille: u16,
) -> Result<(), LearningError> {
    let requests::Request { event, features: kept, .. } = requests::find(work, request).await?;
    let model = match model {
        Some(model) => {
            let known = upstreams::catalogue(work).await?;
            if !known.iter().any(|it| it.offered.model.name == model) {
                return Err(Problems::one("model", "there is no such model").into());
            }
            model
        }
        None => event.served.map(|it| it.model).ok_or(LearningError::NobodyAnswered)?,
    };
    let kept = Kept {
        id: FeedbackId::generate(),
        project: event.project,
        request: Some(request),
        model,
        task: event.decision.and_then(|it| it.task).map(|it| it.into_owned()),
        features: kept.and_then(|it| features(&it)),
        per_mille,
        source: Source::Page,
        said_by: speaker(&work.actor),
        at: OffsetDateTime::now_utc(),
    };
    let organization = work.organization;
    keep(work, organization, &[kept]).await?;
    Ok(())
}

/// Keeps those that are not there yet or say something new, and says how many those were. The
/// organization is the one in sight.
async fn keep(
    conn: &mut PgConnection,
    organization: OrganizationId,
    all: &[Kept],
) -> Result<u64, sqlx::Error> {
    let mut new = 0;
    for it in all {
        new += store::put(conn, organization, it).await?;
    }
    if new > 0 {
        store::note_fresh(conn, organization, new).await?;
    }
    Ok(new)
}

fn speaker(actor: &Actor) -> Uuid {
    match actor {
        Actor::Person { id, .. } => id.uuid(),
        Actor::Service { token, .. } => token.uuid(),
        Actor::System => Uuid::nil(),
    }
}

/// As the router keeps them, if they are any.
fn features(text: &str) -> Option<Vec<u8>> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    let bytes = BASE64.decode(text).ok()?;
    Features::decode(&bytes).ok().map(|_| bytes)
}

/// What was learned from an organization's feedback, if anything, and what is still to be.
#[derive(Clone, Debug)]
struct State {
    is_on: bool,
    /// How much was said since it was learned.
    fresh: i32,
    version: Option<String>,
    tables: Option<Vec<u8>>,
    labels: i32,
    learned_at: Option<OffsetDateTime>,
    explore_per_mille: i16,
    baseline: Option<String>,
    worths: Json<Vec<Spending>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            is_on: true,
            fresh: 0,
            version: None,
            tables: None,
            labels: 0,
            learned_at: None,
            explore_per_mille: 0,
            baseline: None,
            worths: Json(Vec::new()),
        }
    }
}

/// How much is kept of what each source says of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = FeedbackSources)]
struct Sources {
    /// Said by programs,
    api: i64,
    /// and by people.
    page: i64,
    /// Answers that were asked for again, of which nobody said anything.
    asked_again: i64,
    /// Answers that wanted tools called with arguments that are no JSON, of which nobody said anything.
    tool_failed: i64,
}

async fn sources(work: &mut Work) -> Result<Sources, sqlx::Error> {
    let organization = work.organization;
    store::sources(work, organization).await
}

/// What was learned of one model's answers to one kind of prompt.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
struct Lesson {
    /// As callers call it.
    model: String,
    /// What the prompts were for, like `code`.
    task: String,
    /// How many outcomes were seen.
    outcomes: u32,
    /// How good they were on average, from 0 to 1.
    said: f32,
    /// What public data, or the price, made one expect.
    expected: f32,
    /// What is expected now of a usual prompt.
    now: f32,
}

async fn state(work: &mut Work) -> Result<State, sqlx::Error> {
    let organization = work.organization;
    Ok(store::state(work, organization).await?.unwrap_or_default())
}

/// What the tables say, by model and task.
async fn lessons(work: &mut Work, state: &State) -> Result<Vec<Lesson>, LearningError> {
    let Some(tables) = state.tables.as_deref().and_then(|it| Tables::decode(it).ok()) else {
        return Ok(Vec::new());
    };
    let standings = standings(work).await?;
    let lesson = |(model, task, counts): (&str, Task, routing_engine::Counts)| {
        let expected = standing(&standings, model).at(task);
        Lesson {
            model: model.to_owned(),
            task: task.name().to_owned(),
            outcomes: counted(counts.seen),
            said: counts.good / counts.seen.max(1.0),
            expected: expected.quality,
            now: tables.usual(task, model, expected),
        }
    };
    Ok(tables.counts().map(lesson).collect())
}

/// A count that was kept as what it is summed up in.
fn counted(seen: f32) -> u32 {
    seen.round() as u32
}

/// What is expected of each model that may be called, as proxies reckon it.
async fn standings(work: &mut Work) -> Result<BTreeMap<String, Standing>, UpstreamError> {
    let mut standings = BTreeMap::new();
    // Of one name the organization's own comes first, and counts.
    for it in upstreams::catalogue(work).await? {
        let model = it.offered.model;
        let price = model.price.as_ref().map(|it| it.price.standard().rates.output.picos());
        let price = price.and_then(|it| u64::try_from(it).ok());
        let standing = router().standing_of(&model.name, &model.upstream_name, price);
        standings.entry(model.name).or_insert(standing);
    }
    Ok(standings)
}

/// Of one that is not called any more, what is known without its price.
fn standing(of: &BTreeMap<String, Standing>, model: &str) -> Standing {
    of.get(model).copied().unwrap_or_else(|| router().standing(model, None))
}

/// Whether proxies are to judge models by the organization's feedback.
async fn switch(work: &mut Work, is_on: bool) -> Result<(), LearningError> {
    organizations::hold(work).await?;
    let before = state(work).await?.is_on;
    if before == is_on {
        return Ok(());
    }
    let organization = work.organization;
    store::switch(work, organization, is_on).await?;
    let name = organizations::find(work).await?.name;
    let entry = Entry::new("organization.learning_switched", organization, name);
    audit::record(work, entry.before(before).after(is_on)).await?;
    Ok(())
}

/// How much is left to chance, so that something is measured, and what with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LearningExploration)]
struct Exploring {
    /// Of a thousand calls for which policies compare models, how many go to one drawn by chance:
    /// from 0, which is none, to 100.
    per_mille: u16,
    /// The model that what routing saves is compared with. The one that is expected to answer best
    /// where it is left out or null.
    #[serde(default)]
    baseline: Option<String>,
}

impl State {
    fn exploring(&self) -> Exploring {
        let per_mille = u16::try_from(self.explore_per_mille).unwrap_or(0);
        Exploring { per_mille, baseline: self.baseline.clone() }
    }
}

/// Has so many calls explored.
pub async fn explore(work: &mut Work, per_mille: u16) -> Result<(), LearningError> {
    let baseline = state(work).await?.baseline;
    set_exploring(work, Exploring { per_mille, baseline }).await
}

async fn set_exploring(work: &mut Work, after: Exploring) -> Result<(), LearningError> {
    organizations::hold(work).await?;
    let before = state(work).await?.exploring();
    if before == after {
        return Ok(());
    }
    let mut problems = Problems::none();
    if after.per_mille > snapshot::MOST_EXPLORED {
        problems.add("per_mille", "a whole number from 0 to 100: of a thousand calls");
    }
    if let Some(model) = after.baseline.as_ref().filter(|it| before.baseline.as_ref() != Some(it)) {
        let known = upstreams::catalogue(work).await?;
        if !known.iter().any(|it| it.offered.model.name == *model) {
            problems.add("baseline", "there is no such model");
        }
    }
    problems.check()?;
    let organization = work.organization;
    store::explore(work, organization, &after).await?;
    let name = organizations::find(work).await?.name;
    let entry = Entry::new("organization.exploration_changed", organization, name);
    audit::record(work, entry.before(before).after(after)).await?;
    Ok(())
}

/// What was learned, of everybody who wants it, or of those of `only` that do: as proxies are
/// given it.
pub async fn published(
    conn: &mut PgConnection,
    only: Option<&[OrganizationId]>,
) -> Result<Vec<snapshot::Learned>, sqlx::Error> {
    store::published(conn, only).await
}

#[derive(Debug, thiserror::Error)]
pub enum LearningError {
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error("nobody answered the request, so there is nothing to judge")]
    NobodyAnswered,
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the store of feedback failed")]
    Store(#[from] sqlx::Error),
    #[error(transparent)]
    Snapshot(#[from] snapshots::SnapshotError),
    #[error("learning broke off")]
    BrokeOff(#[from] tokio::task::JoinError),
}

impl Classified for LearningError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused(_) => Kind::Invalid,
            Self::NobodyAnswered => Kind::Conflict,
            Self::Request(error) => error.kind(),
            Self::Upstream(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::BrokeOff(_) => Kind::Internal,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Request(error) => error.code(),
            Self::Upstream(error) => error.code(),
            Self::Refused(_)
            | Self::NobodyAnswered
            | Self::Snapshot(_)
            | Self::Store(_)
            | Self::BrokeOff(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Refused(problems) => problems.list().to_vec(),
            Self::Upstream(error) => error.problems(),
            Self::NobodyAnswered
            | Self::Request(_)
            | Self::Snapshot(_)
            | Self::Store(_)
            | Self::BrokeOff(_) => Vec::new(),
        }
    }
}
