//! Puts caps into Redis, where they bind: after the commit that changed them, and again by a
//! job, for what Redis lost or somebody could not tell it.

use std::time::Duration;

use redis::{Cmd, RedisError, pipe};
use shared::wire::{Connection, PoolError};
use shared::{
    counters::{Counter, Opening, Shard, Terms},
    failure::{Classified, Kind},
    ids::BudgetId,
    snapshot::Budget,
};
use tokio::time::{error::Elapsed, timeout};
use tracing::{info, warn};

use super::published::published;
use crate::{access, platform::Platform};

/// A request waits no longer than this for Redis: the job will tell it too.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many budgets are asked for at once.
const BATCH: usize = 500;

/// Tells Redis of a budget as it is now. What it cannot be told, the job tells it.
pub async fn tell(platform: &Platform, budget: BudgetId) {
    match timeout(PATIENCE, tell_of(platform, budget)).await {
        Ok(Ok(())) => (),
        Ok(Err(error)) => warn!(%error, budget.id = %budget, "could not set caps at once"),
        Err(_) => warn!(budget.id = %budget, "could not set caps in time"),
    }
}

async fn tell_of(platform: &Platform, budget: BudgetId) -> Result<(), TermsError> {
    let mut conn = platform.db.acquire().await?;
    let found = published(&mut conn, Some(&[budget])).await?.pop();
    drop(conn);
    let Some(budget) = found else { return Ok(()) };
    let mut redis = platform.redis.get().await?;
    let kept: Vec<u8> = known(&budget, platform).query_async(&mut redis).await?;
    put(platform, &mut redis, &budget, !Counter::read(&kept).is_opened).await
}

/// Tells Redis of every budget of which it has older caps than we, or none. Any number may
/// run at once: caps are put in force where they are newer, and nowhere else.
pub async fn repeat(platform: &Platform) -> Result<(), TermsError> {
    let budgets = {
        let mut conn = platform.db.acquire().await?;
        published(&mut conn, None).await?
    };
    for batch in budgets.chunks(BATCH) {
        let mut redis = timeout(PATIENCE, platform.redis.get()).await??;
        let mut ask = pipe();
        batch.iter().for_each(|it| _ = ask.add_command(known(it, platform)));
        let told: Vec<Vec<u8>> = timeout(PATIENCE, ask.query_async(&mut redis)).await??;
        for (budget, kept) in batch.iter().zip(told) {
            let Counter { version, is_opened, .. } = Counter::read(&kept);
            if version < budget.version || !is_opened {
                timeout(PATIENCE, put(platform, &mut redis, budget, !is_opened)).await??;
                info!(budget.id = %budget.id, "set the caps of {} again", budget.id);
            }
        }
    }
    Ok(())
}

/// Asks for what Redis has of a budget.
fn known(budget: &Budget, platform: &Platform) -> Cmd {
    platform.counters.budget(Shard::of(budget.organization), budget.id)
}

async fn put(
    platform: &Platform,
    redis: &mut Connection,
    budget: &Budget,
    opens: bool,
) -> Result<(), TermsError> {
    let opening = match opens {
        true => Some(opening(platform, redis, budget).await?),
        false => None,
    };
    let (scripts, shard) = (&platform.counters, Shard::of(budget.organization));
    let set = scripts.set_terms(shard, Terms { budget, opening });
    let done: Result<i64, RedisError> = set.query_async(redis).await;
    match done {
        Err(error) if error.code() == Some("NOSCRIPT") => {
            let () = scripts.load_terms().query_async(redis).await?;
            let _: i64 = set.query_async(redis).await?;
            Ok(())
        }
        done => Ok(done.map(drop)?),
    }
}

/// The present window, and what was spent in it by calls that did not count on the budget:
/// before it was made, say.
async fn opening(
    platform: &Platform,
    redis: &mut Connection,
    budget: &Budget,
) -> Result<Opening, TermsError> {
    let now_ms = now_ms(redis).await?;
    let span = budget.period.span_at(&budget.zone, now_ms);
    let mut tx = platform.db.begin().await?;
    access::scope(&mut tx, Some(budget.organization), None).await?;
    let spent = super::spent::uncounted(&mut tx, budget, span).await?;
    tx.commit().await?;
    Ok(Opening { from_ms: span.start_ms, until_ms: span.end_ms, spent })
}

/// By the clock of Redis, by which windows begin and end.
pub(super) async fn now_ms(redis: &mut Connection) -> Result<i64, RedisError> {
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(redis).await?;
    Ok(seconds * 1_000 + micros / 1_000)
}

/// Told by a job: the words hold the cause.
#[derive(Debug, thiserror::Error)]
pub enum TermsError {
    #[error("Redis did not answer in time")]
    TooSlow(#[from] Elapsed),
    #[error("Redis gave no connection: {0}")]
    NoConnection(#[from] PoolError),
    #[error("Redis failed: {0}")]
    Redis(#[from] RedisError),
    #[error("the store of budgets failed: {0}")]
    Store(#[from] sqlx::Error),
}

impl Classified for TermsError {
    fn kind(&self) -> Kind {
        match self {
            Self::TooSlow(_) | Self::NoConnection(_) | Self::Redis(_) => Kind::Unavailable,
            Self::Store(error) => error.kind(),
        }
    }
}
