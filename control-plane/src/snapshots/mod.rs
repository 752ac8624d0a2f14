//! Publishes what the proxies run: every key and upstream, as one image in Redis.
//!
//! Whatever changes an image counts `snapshot_state.wanted` up, in the transaction of
//! the change. [`publish`] takes no input and may run anywhere, any number of times at
//! once: an image is replaced by a newer one only.

mod store;

use std::time::Duration;

use shared::{
    failure::{Classified, Kind},
    snapshot::{HINT, IMAGE, Snapshot},
};
use sqlx::PgPool;
use time::OffsetDateTime;
use tracing::info;

use crate::{limits, platform::Platform, policies, upstreams};

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
        upstreams: upstreams::published(&mut tx, None).await?,
        keys: store::keys(&mut tx).await?,
        policies: policies::published(&mut tx, None).await?,
        tenants: limits::published_organizations(&mut tx, None).await?,
        projects: limits::published_projects(&mut tx, None).await?,
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
