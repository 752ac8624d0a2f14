//! Publishes what the proxies run: keys, upstreams and all that belongs to them.
//!
//! Whatever changes a record notes it in the outbox, in the transaction of the change.
//! `publisher` makes of what was noted the next revision of a signed chain in PostgreSQL,
//! `distribution` brings Redis up to it, and `stops` is the shorter way of a secret that
//! stopped. None of them takes any input, and each may run anywhere, at any time.

mod chain;
mod distribution;
mod publisher;
mod stops;
mod store;

use shared::{
    failure::{Classified, Kind},
    ids::{ApiKeyId, BudgetId, OrganizationId, PolicyId, PriceBookId, ProjectId, UpstreamId},
    snapshot::{Entity, RecordId, Snapshot},
};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::{
    chain::Listed,
    publisher::{Publisher, Verdict},
    stops::{Told, tell},
};
use crate::{budgets, learning, limits, platform::Platform, policies, upstreams};

/// Publishes what was committed and is not published yet.
pub async fn publish(platform: &Platform) -> Result<(), SnapshotError> {
    publisher::quiet(&platform.nudges.snapshot).await;
    platform.publisher.publish().await.map(drop)
}

/// The newest revision, and when it was published.
pub async fn newest(db: &PgPool) -> Result<Option<(i64, OffsetDateTime)>, sqlx::Error> {
    let end = chain::end(&mut *db.acquire().await?).await?;
    Ok(end.map(|it| (it.revision, it.published_at)))
}

/// Whether what was published last still lets a key in.
pub async fn lets_in(db: &PgPool, key: ApiKeyId) -> Result<bool, sqlx::Error> {
    let record = RecordId { entity: Entity::Key, id: key.uuid() };
    let found = chain::records(&mut *db.acquire().await?, Some(&[record])).await?;
    Ok(!found.is_empty())
}

/// What proxies are to hold, seen at one instant: everything, or those of the records in
/// `wanted` that there are. Where the records come from is here and nowhere else.
async fn gather(
    conn: &mut PgConnection,
    wanted: Option<&[RecordId]>,
) -> Result<Snapshot, SnapshotError> {
    let keys = wanted.map(|it| ids(it, Entity::Key, |id| id));
    let revoked = wanted.map(|it| ids(it, Entity::Revoked, |id| id));
    let upstreams = wanted.map(|it| ids(it, Entity::Upstream, UpstreamId::from_uuid));
    let policies = wanted.map(|it| ids(it, Entity::Policy, PolicyId::from_uuid));
    let organizations = wanted.map(|it| ids(it, Entity::Organization, OrganizationId::from_uuid));
    let projects = wanted.map(|it| ids(it, Entity::Project, ProjectId::from_uuid));
    let budgets = wanted.map(|it| ids(it, Entity::Budget, BudgetId::from_uuid));
    let books = wanted.map(|it| ids(it, Entity::PriceBook, PriceBookId::from_uuid));
    let learned = wanted.map(|it| ids(it, Entity::Learned, OrganizationId::from_uuid));
    Ok(Snapshot {
        revision: 0,
        taken_at: OffsetDateTime::now_utc(),
        upstreams: upstreams::published(conn, upstreams.as_deref()).await?,
        keys: store::keys(conn, keys.as_deref()).await?,
        policies: policies::published(conn, policies.as_deref()).await?,
        tenants: limits::published_organizations(conn, organizations.as_deref()).await?,
        projects: limits::published_projects(conn, projects.as_deref()).await?,
        budgets: budgets::published(conn, budgets.as_deref()).await?,
        books: upstreams::books::published(conn, books.as_deref()).await?,
        revoked: store::revoked(conn, revoked.as_deref()).await?,
        learned: learning::published(conn, learned.as_deref()).await?,
    })
}

/// What proxies are to hold of an organization, and of these keys of it: by what its calls are
/// decided.
pub async fn of_organization(
    conn: &mut PgConnection,
    organization: OrganizationId,
    keys: &[ApiKeyId],
) -> Result<Vec<(RecordId, String)>, SnapshotError> {
    let mut wanted = store::ids_of(conn, organization).await?;
    for entity in [Entity::Organization, Entity::Learned] {
        wanted.push(RecordId { entity, id: organization.uuid() });
    }
    wanted.extend(keys.iter().map(|it| RecordId { entity: Entity::Key, id: it.uuid() }));
    let mut gathered = gather(conn, Some(&wanted)).await?;
    let books = gathered.tenants.iter().flat_map(|it| &it.books).map(|it| it.book);
    let books: Vec<_> = books.collect();
    gathered.books = upstreams::books::published(conn, Some(&books)).await?;
    let records = gathered.records()?.into_iter().map(|it| (it.id, it.content));
    Ok(records.collect())
}

/// Those of the records that are of one kind, by their ids.
fn ids<T>(records: &[RecordId], entity: Entity, id: impl Fn(Uuid) -> T) -> Vec<T> {
    records.iter().filter(|it| it.entity == entity).map(|it| id(it.id)).collect()
}

/// Told by a job, not by a page: the words hold the cause.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("Redis did not answer in time")]
    TooSlow,
    #[error("Redis gave no connection: {0}")]
    NoConnection(#[from] shared::wire::PoolError),
    #[error("Redis failed: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("the snapshot could not be written down: {0}")]
    Unwritable(#[from] serde_json::Error),
    #[error("the snapshot could not be compressed: {0}")]
    Uncompressed(#[from] std::io::Error),
    #[error("somebody else is publishing: try again")]
    Busy,
    #[error(
        "Redis holds revision {there} and we only {ours}: was the database restored? Then \
         `turnpike snapshots republish --after {there}`"
    )]
    Ahead { there: i64, ours: i64 },
    #[error(
        "Redis holds another revision {revision} than we made: was the database restored? Then \
         `turnpike snapshots republish`"
    )]
    OtherChain { revision: i64 },
    #[error("the store of keys and upstreams failed: {0}")]
    Store(#[from] sqlx::Error),
}

impl Classified for SnapshotError {
    fn kind(&self) -> Kind {
        match self {
            Self::TooSlow | Self::NoConnection(_) | Self::Redis(_) | Self::Busy => {
                Kind::Unavailable
            }
            Self::Unwritable(_)
            | Self::Uncompressed(_)
            | Self::Ahead { .. }
            | Self::OtherChain { .. } => Kind::Internal,
            Self::Store(error) => error.kind(),
        }
    }
}

#[cfg(test)]
mod tests;
