//! When keys were last used, as proxies say it: in Redis now and then, noted here.

use std::collections::HashMap;

use redis::{AsyncCommands, RedisError};
use shared::ids::ApiKeyId;
use shared::wire::PoolError;
use time::OffsetDateTime;
use tokio::time::{Duration, error::Elapsed, timeout};

use super::store;
use crate::platform::Platform;

const PATIENCE: Duration = Duration::from_secs(2);

/// Takes what proxies have said at `place` and notes it. Put aside first, and removed
/// when it is noted, so that a process that dies in between loses nothing.
pub async fn note_uses(platform: &Platform, place: &str) -> Result<(), UsesError> {
    let aside = format!("{place}:taken");
    let uses = timeout(PATIENCE, take(platform, place, &aside)).await??;
    if uses.is_empty() {
        return Ok(());
    }
    let (keys, ats): (Vec<_>, Vec<_>) = uses
        .iter()
        .filter_map(|(id, at)| {
            let key: ApiKeyId = id.parse().ok()?;
            Some((key.uuid(), OffsetDateTime::from_unix_timestamp(*at).ok()?))
        })
        .unzip();
    let mut conn = platform.db.acquire().await?;
    store::note_uses(&mut conn, &keys, &ats).await?;
    let mut redis = timeout(PATIENCE, platform.redis.get()).await??;
    let () = timeout(PATIENCE, redis.del(&aside)).await??;
    Ok(())
}

async fn take(
    platform: &Platform,
    place: &str,
    aside: &str,
) -> Result<HashMap<String, i64>, UsesError> {
    let mut redis = platform.redis.get().await?;
    let is_left_over: bool = redis.exists(aside).await?;
    let is_said: bool = redis.exists(place).await?;
    if !is_left_over && is_said {
        let () = redis.rename(place, aside).await?;
    }
    Ok(redis.hgetall(aside).await?)
}

#[derive(Debug, thiserror::Error)]
pub enum UsesError {
    #[error("Redis did not answer in time")]
    TooSlow(#[from] Elapsed),
    #[error("Redis gave no connection")]
    NoConnection(#[from] PoolError),
    #[error("Redis failed")]
    Redis(#[from] RedisError),
    #[error("the key store failed")]
    Store(#[from] sqlx::Error),
}

#[cfg(test)]
mod tests {
    use shared::random;
    use sqlx::PgPool;

    use super::*;
    use crate::{
        access::Role,
        keys::{self, Mode, NewApiKey, Terms},
        testing::Fixture,
    };

    #[sqlx::test(migrations = "../migrations")]
    async fn what_proxies_say_is_noted_once_and_never_goes_back(root: PgPool) {
        let fixture = Fixture::new(root).await;
        let mut work = fixture.work(Role::Owner).await;
        sqlx::query("INSERT INTO projects (organization_id, id, name) VALUES ($1, $1, 'bot')")
            .bind(fixture.ours.id)
            .execute(&mut *work)
            .await
            .unwrap();
        let terms = Terms::named("ci".parse().unwrap());
        let new = NewApiKey { project: None, mode: Mode::Live, owner: None, terms };
        let key = keys::issue(&mut work, &new, None).await.unwrap().key;
        work.commit().await.unwrap();

        let place = format!("test:{}", random::base62(12));
        for (said, noted) in [(1_000, 1_000), (900, 1_000), (2_000, 2_000)] {
            let mut redis = fixture.platform.redis.get().await.unwrap();
            let uses = [(key.to_string(), said), ("nonsense".to_owned(), 5)];
            let () = redis.hset_multiple(&place, &uses).await.unwrap();
            note_uses(&fixture.platform, &place).await.unwrap();
            let mut work = fixture.work(Role::Owner).await;
            let seen = keys::find(&mut work, key).await.unwrap().last_used_at.unwrap();
            assert_eq!(seen.unix_timestamp(), noted);
            assert!(!redis.exists::<_, bool>(&place).await.unwrap());
        }
        note_uses(&fixture.platform, &place).await.unwrap();
    }
}
