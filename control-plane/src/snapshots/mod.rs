//! Publishes what the proxies run: every key and upstream, as one image in Redis.
//!
//! Whatever changes an image counts `snapshot_state.wanted` up, in the transaction of
//! the change. [`publish`] takes no input and may run anywhere, any number of times at
//! once: an image is replaced by a newer one only.

mod store;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use shared::{
    failure::{Classified, Kind},
    ids::CredentialId,
    seal::Sealer,
    snapshot::{HINT, IMAGE, Model, Snapshot, Upstream},
};
use sqlx::PgPool;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use tracing::info;
use url::Url;

use crate::{
    access::{Actor, Origin, Work},
    audit::{self, Entry},
    platform::Platform,
};

/// Publishes the present state, unless it is published already. Says whether it did.
pub async fn publish(platform: &Platform) -> Result<bool, SnapshotError> {
    publish_at(&platform.db, &platform.redis, Place { image: IMAGE, hint: HINT }).await
}

/// Where in Redis an image goes.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    image: &'a str,
    hint: &'a str,
}

impl Place<'_> {
    /// Beside the image, so that nobody reads all of it to learn how old it is.
    fn revision(self) -> String {
        format!("{}:revision", self.image)
    }
}

/// Redis answers in a millisecond or is away.
const PATIENCE: Duration = Duration::from_secs(2);

async fn publish_at(
    db: &PgPool,
    redis: &deadpool_redis::Pool,
    place: Place<'_>,
) -> Result<bool, SnapshotError> {
    let wanted = store::wanted(&mut *db.acquire().await?).await?;
    if published(redis, place).await? == Some(wanted) {
        return Ok(false);
    }
    let snapshot = gather(db).await?;
    let is_new = put(redis, place, &snapshot).await?;
    if is_new {
        info!(
            snapshot.revision,
            keys = snapshot.keys.len(),
            upstreams = snapshot.upstreams.len(),
            "published snapshot {}",
            snapshot.revision
        );
    }
    Ok(is_new)
}

/// The revision and all that belongs to it, seen at one instant.
async fn gather(db: &PgPool) -> Result<Snapshot, SnapshotError> {
    let mut tx = db.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let snapshot = Snapshot {
        revision: store::wanted(&mut tx).await?,
        taken_at: OffsetDateTime::now_utc(),
        upstreams: store::upstreams(&mut tx).await?,
        keys: store::keys(&mut tx).await?,
        policies: vec![],
        tenants: vec![],
        projects: vec![],
    };
    tx.commit().await?;
    Ok(snapshot)
}

/// The revision of the image that is there; none where there is no image.
async fn published(
    redis: &deadpool_redis::Pool,
    place: Place<'_>,
) -> Result<Option<i64>, SnapshotError> {
    let asked = async {
        let mut conn = redis.get().await?;
        let (revision, there): (Option<i64>, bool) =
            redis::pipe().get(place.revision()).exists(place.image).query_async(&mut conn).await?;
        Ok(revision.filter(|_| there))
    };
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| SnapshotError::TooSlow)?
}

/// Replaces an older image, announces that, and says so. Leaves a newer one, and the
/// same one, in peace.
const PUT: &str = r"
    local there = tonumber(redis.call('GET', KEYS[2]) or '0')
    local ours = tonumber(ARGV[1])
    if there > ours or (there == ours and redis.call('EXISTS', KEYS[1]) == 1) then
        return 0
    end
    redis.call('SET', KEYS[1], ARGV[2])
    redis.call('SET', KEYS[2], ARGV[1])
    redis.call('PUBLISH', KEYS[3], '')
    return 1
";

async fn put(
    redis: &deadpool_redis::Pool,
    place: Place<'_>,
    snapshot: &Snapshot,
) -> Result<bool, SnapshotError> {
    let image = serde_json::to_vec(snapshot)?;
    let asked = async {
        let mut conn = redis.get().await?;
        let is_new: bool = redis::Script::new(PUT)
            .key(place.image)
            .key(place.revision())
            .key(place.hint)
            .arg(snapshot.revision)
            .arg(image)
            .invoke_async(&mut conn)
            .await?;
        Ok(is_new)
    };
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| SnapshotError::TooSlow)?
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
    let all = store::upstreams(&mut tx).await?;
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
    #[error("the store of keys and upstreams failed: {0}")]
    Store(#[from] sqlx::Error),
}

impl Classified for SnapshotError {
    fn kind(&self) -> Kind {
        match self {
            Self::TooSlow | Self::NoConnection(_) | Self::Redis(_) => Kind::Unavailable,
            Self::Unwritable(_) => Kind::Internal,
            Self::Store(error) => error.kind(),
        }
    }
}

#[cfg(test)]
mod tests;
