//! Letting go of what the dead hold, where nobody will come any more to say what it came to.
//!
//! Whoever says so is an operator. It costs nobody anything, and stands in the audit log of the
//! organization whose budgets held it. Should its proxy come back all the same, what the call came
//! to is counted then.

use serde_json::json;
use shared::{
    counters::{Epoch, Hold, Places, Scripts, Shard, Sweeping, Swept},
    ids::RequestId,
    money::Money,
    wire::{Connection, Pool},
};
use sqlx::PgPool;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    KeeperError,
    keeper::{PATIENCE, ask},
    store,
};
use crate::{
    access::{Actor, Origin, Work},
    audit::{self, Entry},
};

/// How many are looked at in one breath.
const AT_ONCE: usize = 1_000;

/// Lets go of what the dead hold since that moment or longer, by the clock of Redis in
/// milliseconds since 1970. Answers of which calls.
pub async fn release(
    db: &PgPool,
    redis: &Pool,
    places: &Places,
    since_ms: i64,
) -> Result<Vec<RequestId>, KeeperError> {
    let scripts = Scripts::new(places.clone());
    let mut redis = timeout(PATIENCE, redis.get()).await??;
    let mut released = Vec::new();
    for shard in Shard::all() {
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(places.dead_holds(shard)).arg(cursor).arg("COUNT").arg(AT_ONCE);
            let (next, some): (u64, Vec<(String, Vec<u8>)>) = ask(&mut redis, scan).await?;
            for (name, written) in &some {
                if Hold::dead_since(written).is_some_and(|it| it <= since_ms) {
                    let dead = (shard, name.as_str(), written.as_slice());
                    released.extend(release_one(db, &mut redis, &scripts, dead).await?);
                }
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(released)
}

async fn release_one(
    db: &PgPool,
    redis: &mut Connection,
    scripts: &Scripts,
    (shard, name, written): (Shard, &str, &[u8]),
) -> Result<Option<RequestId>, KeeperError> {
    let holds = Hold::read_all(written);
    let Some((epoch, call)) = name.split_once(' ') else { return Ok(None) };
    let (epoch, call): (Option<Epoch>, _) = (epoch.parse().ok(), Uuid::try_parse(call).ok());
    let (Some(epoch), Some(call), Some(first)) = (epoch, call, holds.first()) else {
        return Ok(None);
    };
    let request = RequestId::from_uuid(call);
    let owner = store::owner(&mut *db.acquire().await?, first.budget).await?;
    let Some(owner) = owner else { return Ok(None) };
    let mut work = Work::begin(db, owner, Actor::System, Origin::internal()).await?;
    let held = holds.iter().map(|it| {
        let usd = Money::from_nanos(it.amounts.money).exact();
        json!({
            "budget": it.budget, "usd": usd, "requests": it.amounts.requests,
            "tokens": it.amounts.tokens,
        })
    });
    let entry = Entry::new("budget.hold_released", request, "a call of a proxy that died");
    audit::record(&mut work, entry.before(held.collect::<Vec<_>>())).await?;
    let sweeping = Sweeping { epoch, call: name, written, why: Swept::Buried };
    let taken: u64 = ask(redis, scripts.sweep(shard, sweeping)).await?;
    if taken == 0 {
        return Ok(None);
    }
    work.commit().await?;
    Ok(Some(request))
}
