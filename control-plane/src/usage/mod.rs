//! What was used and what it cost: one event for each call that was settled, kept for good,
//! and what is summed up of them.
//!
//! Always holds: an event counts once, however often it is told, whenever, and whoever died in
//! between; hours, days and windows are fed from what was really inserted, in its transaction.
//! Nobody changes or deletes an event. Days are those of UTC.

mod api;
mod chart;
mod csv;
mod query;
mod store;
#[cfg(test)]
pub mod tests;
mod told;
mod web;

use std::ops::Range;

use shared::{
    counters::{Amounts, Epoch, Shard},
    event::{Event, SettlementId},
    failure::{Classified, Kind},
    ids::{ApiKeyId, OrganizationId, ProjectId},
    snapshot::{Budget, BudgetScope, Caps},
};
use sqlx::PgConnection;
use time::{Date, OffsetDateTime};

pub use self::{
    store::make_days,
    told::{MeteredLine, Pinned},
};
use crate::{access::Doors, keys::KeyError, projects::ProjectError, teams::TeamError};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

/// How far the events of a proxy's process have come in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    pub shard: Shard,
    pub epoch: Epoch,
    /// Up to here none is missing.
    pub last: u64,
    /// Above `last` where one is missing in between.
    pub highest: u64,
}

impl Watermark {
    pub fn has_gap(&self) -> bool {
        self.highest > self.last
    }
}

/// Adds what was settled, whosever it is, and sums it up. Says how many were new. Those that no
/// proxy settled are no usage. There has to be room for their days.
pub async fn add(conn: &mut PgConnection, events: &[&Event]) -> Result<i64, sqlx::Error> {
    let settled: Vec<_> = events.iter().filter_map(|it| told::Told::of(it)).collect();
    if settled.is_empty() {
        return Ok(0);
    }
    store::add(conn, &settled).await
}

/// Moves the watermarks of those settlements' processes as far as none is missing.
pub async fn advance(
    conn: &mut PgConnection,
    settled: &[(Shard, SettlementId)],
) -> Result<Vec<Watermark>, sqlx::Error> {
    let mut processes: Vec<_> = settled.iter().map(|(shard, id)| (*shard, id.epoch)).collect();
    processes.sort_unstable();
    processes.dedup();
    if processes.is_empty() {
        return Ok(Vec::new());
    }
    store::advance(conn, &processes).await
}

/// What a scope spent in each span, by the hours in which it spent something, the earliest
/// first: what a budget on it would have been told. Its rows have to be in sight. A cost center
/// bears its share of each call, rounded up, by its projects' splits of the day.
pub async fn by_hour(
    conn: &mut PgConnection,
    organization: OrganizationId,
    scope: BudgetScope,
    spans: &[Range<OffsetDateTime>],
) -> Result<Vec<Vec<(OffsetDateTime, Amounts)>>, sqlx::Error> {
    store::by_hour(conn, organization, scope, spans).await
}

/// What a budget's scope spent in the span of one of its windows by calls that the budget was
/// not told of: those before it was made, say.
pub async fn uncounted(
    conn: &mut PgConnection,
    budget: &Budget,
    span: Range<OffsetDateTime>,
    window: i64,
) -> Result<Amounts, sqlx::Error> {
    let Budget { id, organization, scope, .. } = *budget;
    store::uncounted(conn, organization, id, scope, (span, window)).await
}

/// Of a scope's calls in a span, in the order in which they were let through: since when, and
/// with how much in all, they go beyond `room`. Who is the first to do so takes all after it
/// along.
pub async fn beyond(
    conn: &mut PgConnection,
    organization: OrganizationId,
    scope: BudgetScope,
    span: Range<OffsetDateTime>,
    room: Caps,
) -> Result<(Option<OffsetDateTime>, Amounts), sqlx::Error> {
    store::beyond(conn, organization, scope, span, room).await
}

/// The prices that an hour's calls were charged by. The organization's rows have to be in sight.
pub async fn pinned_prices(
    conn: &mut PgConnection,
    organization: OrganizationId,
    hour: OffsetDateTime,
) -> Result<Vec<Pinned>, sqlx::Error> {
    store::pinned_prices(conn, organization, hour).await
}

/// What the lines of an hour's events say, one after the other. The organization's rows have to
/// be in sight.
pub async fn each_line(
    conn: &mut PgConnection,
    organization: OrganizationId,
    hour: OffsetDateTime,
    each: impl FnMut(ProjectId, ApiKeyId, MeteredLine),
) -> Result<(), UsageError> {
    store::each_line(conn, organization, hour, each).await
}

/// The day in UTC that an event is billed at, if its time is one.
pub fn billed_on(event: &Event) -> Option<Date> {
    told::billed_at(event).map(OffsetDateTime::date)
}

#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Team(#[from] TeamError),
    #[error("a line of usage cannot be read")]
    Unreadable(#[from] serde_json::Error),
    #[error("the store of usage failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for UsageError {
    fn kind(&self) -> Kind {
        match self {
            Self::Project(error) => error.kind(),
            Self::Key(error) => error.kind(),
            Self::Team(error) => error.kind(),
            Self::Unreadable(_) => Kind::Internal,
            Self::Store(error) => error.kind(),
        }
    }
}
