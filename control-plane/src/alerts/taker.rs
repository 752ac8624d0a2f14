//! Takes alerts from the streams that settlements write them into.

use std::{collections::HashMap, time::Duration};

use redis::{RedisError, pipe};
use shared::wire::PoolError;
use shared::{
    counters::{Places, Shard},
    failure::{Classified, Kind},
    ids::{BudgetId, OrganizationId},
};
use tokio::time::{error::Elapsed, timeout};
use tracing::{error, warn};
use uuid::Uuid;

use super::{AlertError, raise_alarm, store};
use crate::{
    access::{Actor, Origin, Work},
    budgets::live::Counted,
    platform::Platform,
};

const PATIENCE: Duration = Duration::from_secs(2);
const AT_ONCE: usize = 100;

/// A threshold that was passed, as the script told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    pub budget: BudgetId,
    /// When it began, in milliseconds since 1970.
    pub window: i64,
    pub percent: i16,
    /// Of money, in nano-dollars.
    pub spent: i64,
    /// Of what it was passed, how much was spent of that, and what the cap was.
    pub kind: Counted,
    pub amount: i64,
    pub cap: i64,
    /// Of the terms that the cap is of.
    pub version: i64,
}

impl Passed {
    fn read(fields: &HashMap<String, String>) -> Option<Self> {
        let field = |name: &str| fields.get(name).map(String::as_str);
        let number = |name: &str| field(name)?.parse().ok();
        Some(Self {
            budget: BudgetId::from_uuid(Uuid::try_parse(field("budget")?).ok()?),
            window: field("window")?.parse().ok()?,
            percent: field("percent")?.parse().ok()?,
            spent: number("spent")?,
            kind: field("kind")?.parse().ok()?,
            amount: number("amount")?,
            cap: number("cap")?,
            version: number("version")?,
        })
    }
}

type Entry = (String, HashMap<String, String>);

/// Takes everything that waits. Any number may run at once: one takes from each stream, and
/// an alert that is taken twice is told once.
pub async fn take(platform: &Platform, places: &Places) -> Result<(), TakeError> {
    let mut ask = pipe();
    Shard::all().for_each(|it| _ = ask.cmd("XLEN").arg(places.alerts(it)));
    let waiting: Vec<usize> = {
        let mut redis = timeout(PATIENCE, platform.redis.get()).await??;
        timeout(PATIENCE, ask.query_async(&mut redis)).await??
    };
    for (shard, _) in Shard::all().zip(waiting).filter(|it| it.1 > 0) {
        let stream = places.alerts(shard);
        while take_some(platform, &stream).await? == AT_ONCE {}
    }
    Ok(())
}

/// The oldest entries of a stream; says how many. One that cannot be told is tried again later,
/// and keeps no other.
async fn take_some(platform: &Platform, stream: &str) -> Result<usize, TakeError> {
    let entries: Vec<Entry> = {
        let mut redis = timeout(PATIENCE, platform.redis.get()).await??;
        let mut ask = redis::cmd("XRANGE");
        ask.arg(stream).arg("-").arg("+").arg("COUNT").arg(AT_ONCE);
        timeout(PATIENCE, ask.query_async(&mut redis)).await??
    };
    let mut done = Vec::new();
    for (id, fields) in &entries {
        let is_told = match Passed::read(fields) {
            Some(passed) => match tell(platform, stream, &passed).await {
                Ok(Told::Now) => true,
                Ok(Told::ByAnother) => break,
                Err(error) if error.kind() == Kind::Unavailable => return Err(error),
                Err(error) => {
                    error!(%error, budget.id = %passed.budget, "an alert is not told: {error}");
                    false
                }
            },
            None => {
                error!("left out an alert that cannot be read: {fields:?}");
                true
            }
        };
        if is_told {
            done.push(id);
        }
    }
    if !done.is_empty() {
        let mut redis = timeout(PATIENCE, platform.redis.get()).await??;
        let mut ask = redis::cmd("XDEL");
        ask.arg(stream).arg(&done);
        let () = timeout(PATIENCE, ask.query_async(&mut redis)).await??;
        platform.nudges.mail.notify_one();
        platform.nudges.webhooks.notify_one();
    }
    Ok(if done.len() == entries.len() { done.len() } else { 0 })
}

/// Whether an alert was told, now or before.
enum Told {
    Now,
    /// Another takes from that stream.
    ByAnother,
}

async fn tell(platform: &Platform, stream: &str, passed: &Passed) -> Result<Told, TakeError> {
    let mut tx = platform.db.begin().await?;
    if !store::claim(&mut tx, stream).await? {
        return Ok(Told::ByAnother);
    }
    let owner: Option<OrganizationId> = store::owner(&mut tx, passed.budget).await?;
    let Some(owner) = owner else {
        warn!(budget.id = %passed.budget, "nobody has the budget that an alert is of");
        return Ok(Told::Now);
    };
    let mut work = Work::within(tx, owner, Actor::System, Origin::internal()).await?;
    raise_alarm(&mut work, platform, passed).await?;
    work.commit().await?;
    Ok(Told::Now)
}

/// Told by a job: the words hold the cause.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error("Redis did not answer in time")]
    TooSlow(#[from] Elapsed),
    #[error("Redis gave no connection: {0}")]
    NoConnection(#[from] PoolError),
    #[error("Redis failed: {0}")]
    Redis(#[from] RedisError),
    #[error("the store of alerts failed: {0}")]
    Store(#[from] sqlx::Error),
    #[error(transparent)]
    Alert(#[from] AlertError),
}

impl Classified for TakeError {
    fn kind(&self) -> Kind {
        match self {
            Self::TooSlow(_) | Self::NoConnection(_) | Self::Redis(_) => Kind::Unavailable,
            Self::Store(error) => error.kind(),
            Self::Alert(error) => error.kind(),
        }
    }
}
