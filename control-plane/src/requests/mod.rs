//! The request log: each call that proxies told of, for some weeks.
//!
//! Always holds: an event is in the log once, however often it was told and whenever a
//! process died; one that cannot be read is put aside and stops no other. There is no
//! prompt and no reply here, and nothing to delete one by one: days go as a whole.

mod api;
mod csv;
mod detail;
mod filter;
mod ingest;
mod line;
mod live;
mod store;
mod tell;
#[cfg(test)]
pub mod tests;
mod web;

use serde::Serialize;
use shared::{
    event::{Event, Exploration, Weighed},
    failure::{Classified, Kind},
    ids::RequestId,
    money::Money,
    usage::Usage,
};
use time::OffsetDateTime;
use utoipa::ToSchema;

use self::filter::Filter;
pub use self::{
    filter::first_at,
    ingest::{IngestError, Ingester, Retried, add, retry},
    line::grouped,
    tell::{NotAnswered, Teller},
};
use crate::{
    access::{Doors, Work},
    keys::KeyError,
    projects::ProjectError,
    web::{Part, Span},
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    live::doors(doors);
    detail::doors(doors);
    api::doors(doors);
}

/// One call, and what its project and key are called by now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LoggedRequest)]
pub struct Request {
    #[serde(flatten)]
    pub event: Event,
    pub project_name: Option<String>,
    pub key_name: Option<String>,
    /// What the prompt was like, apart from what is shown: whoever guesses a prompt could tell by
    /// it.
    #[serde(skip)]
    #[schema(ignore)]
    pub features: Option<String>,
}

/// Those that `filter` lets through, the latest first.
async fn list(
    work: &mut Work,
    filter: &Filter,
    span: Span<RequestId>,
) -> Result<Part<Request, RequestId>, RequestError> {
    let organization = work.organization;
    let read = store::list(work, organization, filter, span.after, span.limit()).await?;
    Ok(span.part(read, |it| it.event.request))
}

/// So many calls are looked through for those that a policy decided.
pub const LOOKED_THROUGH: i64 = 50_000;

/// The last calls that the policy called `policy` decided, the latest first.
pub async fn decided_by(
    work: &mut Work,
    policy: &str,
    most: i64,
) -> Result<Vec<Event>, sqlx::Error> {
    let organization = work.organization;
    store::decided_by(work, organization, policy, (most, LOOKED_THROUGH)).await
}

/// So many organizations are looked at for calls that a policy of the platform's decided, those
/// that called last; and so many of the last calls of each.
const PLATFORM_LOOKED_THROUGH: (i32, i32) = (100, 1_000);

/// The last calls that a policy of the platform's decided, whosever they are, the latest first.
pub async fn decided_by_platforms(
    work: &mut Work,
    policy: &str,
    most: i64,
) -> Result<Vec<Event>, sqlx::Error> {
    store::decided_by_platforms(work, policy, most, PLATFORM_LOOKED_THROUGH).await
}

/// So many calls are looked through for those that weighed quality against cost.
const WEIGHED_LOOKED_THROUGH: i64 = 5_000;

/// The last calls for which a policy weighed quality against cost, the latest first.
pub async fn weighed(work: &mut Work, most: i64) -> Result<Vec<Event>, sqlx::Error> {
    let organization = work.organization;
    store::weighed(work, organization, (most, WEIGHED_LOOKED_THROUGH)).await
}

/// A call for which a policy compared models, as far as it takes to say what that came to.
pub struct Compared {
    pub request: RequestId,
    /// The model that answered, or was the last to be asked.
    pub served: String,
    pub exploration: Option<Exploration>,
    pub candidates: Vec<Weighed>,
    pub usage: Usage,
    pub cost: Money,
    pub at_ms: i64,
}

/// Gives `each` those of the latest calls since then for which models were compared by how good they
/// are, and that somebody was asked for. Says how many calls were looked through.
pub async fn each_compared(
    work: &mut Work,
    since: OffsetDateTime,
    each: &mut (dyn FnMut(Compared) + Send),
) -> Result<i64, sqlx::Error> {
    let (organization, since) = (work.organization, first_at(since));
    store::each_compared(work, organization, since, LOOKED_THROUGH, each).await?;
    store::calls_since(work, organization, since, LOOKED_THROUGH).await
}

/// Whether there were no more calls than that since.
pub async fn are_at_most(
    work: &mut Work,
    since: OffsetDateTime,
    few: i64,
) -> Result<bool, sqlx::Error> {
    let (organization, since) = (work.organization, first_at(since));
    Ok(store::calls_since(work, organization, since, few.saturating_add(1)).await? <= few)
}

pub async fn find(work: &mut Work, request: RequestId) -> Result<Request, RequestError> {
    let organization = work.organization;
    store::find(work, organization, request).await?.ok_or(RequestError::NotFound)
}

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("there is no such request in the log, or not any more")]
    NotFound,
    #[error("too many follow the log at once: close another page, or come back in a while")]
    TooManyFollow,
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the store of requests failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for RequestError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::TooManyFollow => Kind::Unavailable,
            Self::Project(error) => error.kind(),
            Self::Key(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}
