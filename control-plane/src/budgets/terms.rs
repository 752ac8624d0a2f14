//! Puts caps into Redis, where they bind: after the commit that changed them, and again by a
//! job, for what Redis lost or somebody could not tell it.
//!
//! Always holds: a hard budget's caps are in force only with what was spent in its window before
//! it counted, which is summed up once and kept.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use redis::{Cmd, RedisError, pipe};
use shared::wire::{Connection, PoolError};
use shared::{
    counters::{Amounts, Counter, Opening, Shard, Terms},
    failure::{Classified, Kind},
    ids::BudgetId,
    money::Period,
    snapshot::Budget,
};
use tokio::time::{error::Elapsed, timeout};
use tracing::{info, warn};

use super::{published::published, store};
use crate::{access, platform::Platform};

/// Nobody waits longer than this for Redis.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a request waits for what was spent before a budget counted: the job will ask too,
const SUMMING: Duration = Duration::from_secs(2);
/// and longer.
const SUMMING_APART: Duration = Duration::from_secs(60);
/// How many budgets are asked for at once.
const BATCH: usize = 500;
/// How many are summed up for at the same time, so that none waits for another's.
const TOGETHER: usize = 4;

/// Tells Redis of a budget as it is now. What it cannot be told, the job tells it.
pub async fn tell(platform: &Platform, budget: BudgetId) {
    if let Err(error) = tell_of(platform, budget).await {
        warn!(%error, budget.id = %budget, "could not set caps at once: {error}");
    }
}

async fn tell_of(platform: &Platform, budget: BudgetId) -> Result<(), TermsError> {
    let mut conn = platform.db.acquire().await?;
    let found = published(&mut conn, Some(&[budget])).await?.pop();
    drop(conn);
    let Some(budget) = found else { return Ok(()) };
    let mut redis = timeout(PATIENCE, platform.redis.get()).await??;
    let asked: Vec<u8> =
        timeout(PATIENCE, known(&budget, platform).query_async(&mut redis)).await??;
    if Counter::read(&asked).is_opened {
        return put(platform, &mut redis, &[(&budget, None)]).await;
    }
    open(platform, &mut redis, &budget, SUMMING).await
}

/// Tells Redis of every budget of which it has older caps than we, or none. Any number may
/// run at once: caps are put in force where they are newer, and nowhere else. One that cannot be
/// opened keeps no other.
pub async fn repeat(platform: &Platform) -> Result<(), TermsError> {
    let budgets = {
        let mut conn = platform.db.acquire().await?;
        published(&mut conn, None).await?
    };
    let mut unknown = Vec::new();
    for batch in budgets.chunks(BATCH) {
        unknown.extend(repeat_some(platform, batch).await?);
    }
    let opened = stream::iter(unknown).map(|budget| open_apart(platform, budget));
    opened.buffer_unordered(TOGETHER).try_collect().await
}

/// Opens a budget, however long summing up takes. Where that fails it is tried again later.
async fn open_apart(platform: &Platform, budget: Budget) -> Result<(), TermsError> {
    let mut redis = timeout(PATIENCE, platform.redis.get()).await??;
    match open(platform, &mut redis, &budget, SUMMING_APART).await {
        Err(error @ (TermsError::Summing(_) | TermsError::Store(_))) => {
            warn!(%error, budget.id = %budget.id, "could not open {}: {error}", budget.id);
            Ok(())
        }
        done => done,
    }
}

/// Answers those of which nobody has summed up yet what was spent before they counted.
async fn repeat_some(platform: &Platform, batch: &[Budget]) -> Result<Vec<Budget>, TermsError> {
    let mut redis = timeout(PATIENCE, platform.redis.get()).await??;
    let mut ask = pipe();
    batch.iter().for_each(|it| _ = ask.add_command(known(it, platform)));
    let told: Vec<Vec<u8>> = timeout(PATIENCE, ask.query_async(&mut redis)).await??;
    let told = batch.iter().zip(told.iter().map(|it| Counter::read(it)));
    let missing: Vec<_> =
        told.filter(|(budget, it)| it.version < budget.version || !it.is_opened).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let unopened: Vec<_> = missing.iter().filter(|it| !it.1.is_opened).map(|it| it.0.id).collect();
    let openings = {
        let mut conn = platform.db.acquire().await?;
        store::openings(&mut conn, &unopened).await?
    };
    let now_ms = timeout(PATIENCE, now_ms(&mut redis)).await??;
    let (mut terms, mut unknown) = (Vec::new(), Vec::new());
    for (budget, kept) in missing {
        let opening = match kept.is_opened {
            true => Some(None),
            false => known_opening(budget, openings.get(&budget.id), now_ms).map(Some),
        };
        match opening {
            Some(opening) => terms.push((budget, opening)),
            None => unknown.push(budget.clone()),
        }
    }
    put(platform, &mut redis, &terms).await?;
    for (budget, _) in &terms {
        info!(budget.id = %budget.id, "set the caps of {} again", budget.id);
    }
    Ok(unknown)
}

/// Asks for what Redis has of a budget.
fn known(budget: &Budget, platform: &Platform) -> Cmd {
    platform.counters.budget(Shard::of(budget.organization), budget.id)
}

/// Puts a budget's caps in force, and begins its window with what was spent before it counted.
async fn open(
    platform: &Platform,
    redis: &mut Connection,
    budget: &Budget,
    patience: Duration,
) -> Result<(), TermsError> {
    let now_ms = timeout(PATIENCE, now_ms(redis)).await??;
    let summed = timeout(patience, opening(platform, budget, now_ms, patience)).await;
    let opening = summed.map_err(TermsError::Summing)??;
    put(platform, redis, &[(budget, Some(opening))]).await
}

async fn put(
    platform: &Platform,
    redis: &mut Connection,
    all: &[(&Budget, Option<Opening>)],
) -> Result<(), TermsError> {
    if all.is_empty() {
        return Ok(());
    }
    let scripts = &platform.counters;
    let mut pipeline = pipe();
    for (budget, opening) in all {
        let (shard, opening) = (Shard::of(budget.organization), *opening);
        pipeline.add_command(scripts.set_terms(shard, Terms { budget, opening })).ignore();
    }
    let done: Result<(), RedisError> = timeout(PATIENCE, pipeline.query_async(redis)).await?;
    match done {
        Err(error) if error.code() == Some("NOSCRIPT") => {
            let () = timeout(PATIENCE, scripts.load_terms().query_async(redis)).await??;
            Ok(timeout(PATIENCE, pipeline.query_async(redis)).await??)
        }
        done => Ok(done?),
    }
}

/// The present window, and what was spent in it by calls that did not count on the budget. One
/// that never renews counts from its first day on: nobody who caps what is to come means all that
/// ever was.
fn known_opening(budget: &Budget, kept: Option<&(i64, Amounts)>, now_ms: i64) -> Option<Opening> {
    let span = budget.period.span_at(&budget.zone, now_ms);
    let spent = match (budget.period, kept) {
        (Period::Total, _) => Amounts::default(),
        (_, Some((window, spent))) if *window == span.start_ms => *spent,
        // In a later one everything was counted.
        (_, Some(_)) => Amounts::default(),
        (_, None) => return None,
    };
    Some(Opening { from_ms: span.start_ms, until_ms: span.end_ms, spent })
}

/// The same, summed up and kept where nobody has done so yet.
async fn opening(
    platform: &Platform,
    budget: &Budget,
    now_ms: i64,
    patience: Duration,
) -> Result<Opening, TermsError> {
    let mut tx = platform.db.begin().await?;
    access::scope(&mut tx, Some(budget.organization), None).await?;
    let kept = store::openings(&mut tx, &[budget.id]).await?;
    if let Some(opening) = known_opening(budget, kept.get(&budget.id), now_ms) {
        return Ok(opening);
    }
    store::take_time(&mut tx, patience).await?;
    let span = budget.period.span_at(&budget.zone, now_ms);
    let spent = super::spent::uncounted(&mut tx, budget, span).await?;
    let kept = store::keep_opening(&mut tx, budget, span.start_ms, spent).await?;
    tx.commit().await?;
    // Somebody else may have summed it up a moment before.
    let opening = known_opening(budget, Some(&kept), now_ms);
    Ok(opening.unwrap_or(Opening { from_ms: span.start_ms, until_ms: span.end_ms, spent }))
}

/// By the clock of Redis, by which windows begin and end.
pub async fn now_ms(redis: &mut Connection) -> Result<i64, RedisError> {
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(redis).await?;
    Ok(seconds * 1_000 + micros / 1_000)
}

/// Told by a job: the words hold the cause.
#[derive(Debug, thiserror::Error)]
pub enum TermsError {
    #[error("Redis did not answer in time")]
    TooSlow(#[from] Elapsed),
    #[error("what was spent before a budget counted could not be summed up in time")]
    Summing(#[source] Elapsed),
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
            Self::TooSlow(_) | Self::Summing(_) | Self::NoConnection(_) | Self::Redis(_) => {
                Kind::Unavailable
            }
            Self::Store(error) => error.kind(),
        }
    }
}
