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

use secrecy::{ExposeSecret, SecretString};
use shared::{
    failure::{Classified, Kind},
    ids::CredentialId,
    seal::Sealer,
    snapshot::{Entity, Model, RecordId, Snapshot, Upstream},
};
use sqlx::{PgConnection, PgPool};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;

pub use self::{
    chain::Listed,
    publisher::{Publisher, Verdict},
    stops::tell,
};
use crate::{
    access::{Actor, Origin, Work},
    audit::{self, Entry},
    platform::Platform,
};

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

/// What proxies are to hold, seen at one instant: everything, or those of the records in
/// `wanted` that there are. Where the records come from is here and nowhere else.
async fn gather(
    conn: &mut PgConnection,
    wanted: Option<&[RecordId]>,
) -> Result<Snapshot, SnapshotError> {
    let of = |entity| wanted.map(|it| ids_of(it, entity));
    Ok(Snapshot {
        revision: 0,
        taken_at: OffsetDateTime::now_utc(),
        upstreams: store::upstreams(conn, of(Entity::Upstream).as_deref()).await?,
        keys: store::keys(conn, of(Entity::Key).as_deref()).await?,
        policies: vec![],
        tenants: vec![],
        projects: vec![],
    })
}

fn ids_of(records: &[RecordId], entity: Entity) -> Vec<Uuid> {
    records.iter().filter(|it| it.entity == entity).map(|it| it.id).collect()
}

/// A place that serves models, with the secret that opens it.
#[derive(Clone, Debug)]
pub struct NewUpstream {
    pub provider: String,
    pub base_url: Url,
    pub secret: SecretString,
    pub models: Vec<Model>,
}

impl NewUpstream {
    /// As callers of it append to it.
    fn base(&self) -> &str {
        self.base_url.as_str().trim_end_matches('/')
    }
}

/// Adds an upstream to the organization, or gives the one at that address another
/// secret and other models. Does nothing where nothing is different.
pub async fn add_upstream(
    work: &mut Work,
    sealer: &Sealer,
    new: &NewUpstream,
) -> Result<CredentialId, SnapshotError> {
    let organization = work.organization;
    let there = store::upstream_at(work, organization, &new.provider, new.base()).await?;
    if let Some(there) = &there
        && is_same(sealer, there, new)
    {
        return Ok(credential_of(there));
    }
    let id = there.as_ref().map_or_else(CredentialId::generate, credential_of);
    let purpose = Upstream::purpose(id, Some(organization), new.base());
    let sealed = sealer.seal_text(&new.secret, &purpose);
    store::put_upstream(work, organization, id, new, &sealed).await?;
    let action = if there.is_some() { "provider.changed" } else { "provider.added" };
    let models: Vec<_> = new.models.iter().map(|it| &it.name).collect();
    let entry = Entry::new(action, id, &new.provider)
        .after(serde_json::json!({ "base_url": new.base(), "models": models }));
    audit::record(work, entry).await?;
    Ok(id)
}

/// The same for the platform's own, which every organization may call. For the command
/// line: no page does it.
pub async fn add_platform_upstream(
    db: &PgPool,
    sealer: &Sealer,
    new: &NewUpstream,
) -> Result<CredentialId, SnapshotError> {
    let mut tx = db.begin().await?;
    let all = store::upstreams(&mut tx, None).await?;
    let there = all.into_iter().find(|it| {
        it.organization.is_none() && it.provider == new.provider && it.base_url == new.base()
    });
    if let Some(there) = &there
        && is_same(sealer, there, new)
    {
        return Ok(credential_of(there));
    }
    let id = there.as_ref().map_or_else(CredentialId::generate, credential_of);
    let sealed = sealer.seal_text(&new.secret, &Upstream::purpose(id, None, new.base()));
    store::put_platform_upstream(&mut tx, id, new, &sealed).await?;
    let action = if there.is_some() { "provider.changed" } else { "provider.added" };
    let entry = Entry::new(action, id, &new.provider);
    audit::record_platform(&mut tx, &Actor::System, Origin::internal(), entry).await?;
    tx.commit().await?;
    Ok(id)
}

/// An upstream and its one credential have one row, and one id.
fn credential_of(upstream: &Upstream) -> CredentialId {
    CredentialId::from_uuid(upstream.id.uuid())
}

fn is_same(sealer: &Sealer, there: &Upstream, new: &NewUpstream) -> bool {
    let purpose = Upstream::purpose(credential_of(there), there.organization, &there.base_url);
    let sealed = there.credentials.first().map(|it| it.sealed_secret.as_slice());
    let secret = sealer.open(sealed.unwrap_or_default(), &purpose).unwrap_or_default();
    let is_same_secret: bool = secret.ct_eq(new.secret.expose_secret().as_bytes()).into();
    is_same_secret
        && serde_json::to_value(&there.models).ok() == serde_json::to_value(&new.models).ok()
}

/// A model that answers chats and that the organization may call, for examples.
pub async fn first_model(work: &mut Work) -> Result<Option<String>, sqlx::Error> {
    let organization = work.organization;
    let models = store::models(work, organization).await?;
    Ok(models.into_iter().find(|it| it.max_output_tokens > 0).map(|it| it.name))
}

/// Told by a job, not by a page: the words hold the cause.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("Redis did not answer in time")]
    TooSlow,
    #[error("Redis gave no connection: {0}")]
    NoConnection(#[from] deadpool_redis::PoolError),
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
