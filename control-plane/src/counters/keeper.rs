//! The healer and the sweeper.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use actix_web::web::Data;
use prometheus::{IntCounter, IntGauge, register_int_counter, register_int_gauge};
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, pipe};
use shared::wire::{Connection, Pool, PoolError};
use shared::{
    counters::{
        Epoch, Healing, Incarnation, Places, ReadAnswer, Reading, Scripts, Shard, State, Sweeping,
        Swept,
    },
    ids::{BudgetId, OrganizationId},
    snapshot::Budget,
};
use sqlx::PgConnection;
use tokio::time::{error::Elapsed, timeout};
use tracing::{info, warn};
use uuid::Uuid;

use super::store::{self, Process};
use crate::{budgets, platform::Platform};

pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// For how long proxies may say what they hold, before anything new is let through;
const LEARNING_MS: u64 = 5_000;
/// and for how long those are waited for of whom one knows that they held something. What they
/// hold would be overspent; people who know better say `turnpike counters warm`.
const LONGEST_MS: u64 = 600_000;
/// How often what old processes left in Redis is removed.
const TIDIES: Duration = Duration::from_secs(60 * 60);
/// A process that has given no sign of life for so long is dead.
const SILENCE_MS: i64 = 60_000;

static HEALED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("turnpike_counter_shards_healed_total", "Shards of counters healed.")
        .expect("the metric is registered once")
});

static COLD: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "turnpike_counter_shards_cold",
        "Shards of counters that wait to be healed."
    )
    .expect("the metric is registered once")
});

static LEARNING: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "turnpike_counter_shards_learning",
        "Shards of counters that wait for proxies which held something to say what they hold."
    )
    .expect("the metric is registered once")
});

static BURIED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "turnpike_dead_holds_total",
        "Holds of proxies that died, kept as held by the dead."
    )
    .expect("the metric is registered once")
});

static RELEASED: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "turnpike_settled_holds_released_total",
        "Holds of calls that were settled before the store went back, let go."
    )
    .expect("the metric is registered once")
});

/// Keeps the counters. Any number may run at once.
pub struct Keeper {
    platform: Data<Platform>,
    scripts: Scripts,
    /// Who holds something, as far as that is noted.
    noted: Mutex<Option<BTreeSet<Process>>>,
    tidied: Mutex<Option<Instant>>,
}

/// How a shard was found.
struct Found {
    living: Vec<Epoch>,
    is_cold: bool,
    /// Whether it waits for who held something.
    awaits: bool,
}

impl Keeper {
    pub fn new(platform: Data<Platform>, places: Places) -> Self {
        Self::with(platform, Scripts::new(places))
    }

    /// Tests bring scripts that nobody else has.
    pub(super) fn with(platform: Data<Platform>, scripts: Scripts) -> Self {
        let (noted, tidied) = (Mutex::default(), Mutex::default());
        Self { platform, scripts, noted, tidied }
    }

    /// Heals every shard that lost something.
    pub async fn heal(&self) -> Result<(), KeeperError> {
        let mut redis = self.redis().await?;
        self.look_at(&mut redis).await?;
        let found = self.find(&mut redis).await?;
        let cold: Vec<_> = found.iter().filter(|(_, it)| it.is_cold).map(|it| it.0).collect();
        let awaits = found.iter().filter(|(_, it)| it.awaits).count();
        COLD.set(i64::try_from(cold.len()).unwrap_or(i64::MAX));
        LEARNING.set(i64::try_from(awaits).unwrap_or(i64::MAX));
        self.note_living(&found).await?;
        if cold.is_empty() {
            return Ok(());
        }
        let mut db = self.platform.db.acquire().await?;
        let remembered = Remembered::read(&mut db).await?;
        let (mut healed, mut learning) = (0, 0);
        for shards in remembered.in_order(cold) {
            let healed_before = healed;
            for shard in shards {
                let with = remembered.of(shard);
                if self.heal_shard(&mut redis, &mut db, shard, with).await? {
                    HEALED.inc();
                    healed += 1;
                    learning += u32::from(with.learning_ms > 0);
                    COLD.dec();
                }
            }
            if healed > healed_before {
                // What it lost of caps is put back by whoever keeps budgets.
                self.platform.nudges.caps.notify_one();
            }
        }
        match (healed, learning) {
            (0, _) => {}
            (_, 0) => info!("{healed} shards of counters begin to count"),
            _ => warn!("{learning} shards of counters had lost something, and are healed"),
        }
        Ok(())
    }

    /// Where Redis is not the one that it was, says so of every shard before anything else.
    async fn look_at(&self, redis: &mut Connection) -> Result<(), KeeperError> {
        self.scripts.enter(&timeout(PATIENCE, redis.history()).await??);
        let known: Vec<bool> = ask(redis, self.scripts.are_known()).await?;
        if known.iter().all(|it| *it) {
            return Ok(());
        }
        if known.first() == Some(&true) {
            // Proxies of another version looked after it, whose scripts are others.
            return send(redis, self.scripts.load()).await;
        }
        warn!("this is another Redis than before, or a restarted one: what it lost is put back");
        send(redis, self.scripts.chill_all(Incarnation::fresh())).await?;
        send(redis, self.scripts.load()).await
    }

    /// Who lives is asked first: a store that is warm afterwards was when it was asked.
    async fn find(&self, redis: &mut Connection) -> Result<Vec<(Shard, Found)>, KeeperError> {
        let places = &self.scripts.places;
        let mut pipeline = pipe();
        for shard in Shard::all() {
            pipeline.cmd("ZRANGE").arg(places.living(shard)).arg(0).arg(-1);
            pipeline.cmd("EXISTS").arg(places.awaited(shard));
            pipeline.cmd("GET").arg(places.incarnation(shard));
        }
        type Told = (Vec<String>, bool, Option<String>);
        let told: Vec<redis::Value> = timeout(PATIENCE, pipeline.query_async(redis)).await??;
        let mut found = Vec::new();
        for (shard, of_shard) in Shard::all().zip(told.chunks(3)) {
            let told = redis::Value::Array(of_shard.to_vec());
            let (living, awaits, state): Told =
                redis::from_redis_value(told).map_err(|_| KeeperError::Unreadable)?;
            let living = living.iter().filter_map(|it| it.parse().ok()).collect();
            let is_cold = state.is_none_or(|it| it.contains(" C "));
            found.push((shard, Found { living, is_cold, awaits }));
        }
        Ok(found)
    }

    /// Notes who holds something, of each shard that has not lost it.
    async fn note_living(&self, found: &[(Shard, Found)]) -> Result<(), KeeperError> {
        let noted = self.noted().clone();
        let mut noted = match noted {
            Some(noted) => noted,
            None => {
                let mut db = self.platform.db.acquire().await?;
                store::living(&mut db).await?.into_iter().collect()
            }
        };
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for (shard, it) in found.iter().filter(|(_, it)| !it.is_cold) {
            let living: BTreeSet<_> = it.living.iter().map(|it| (*shard, *it)).collect();
            new.extend(living.difference(&noted).copied());
            let of_shard = (*shard, Epoch(0))..=(*shard, Epoch(u64::MAX));
            let missing = noted.range(of_shard).filter(|it| !living.contains(it));
            // While it learns they may not have come yet.
            gone.extend(missing.filter(|_| !it.awaits).copied());
        }
        if !new.is_empty() || !gone.is_empty() {
            let mut db = self.platform.db.acquire().await?;
            store::note_living(&mut db, &new, &gone).await?;
        }
        noted.extend(new);
        gone.iter().for_each(|it| _ = noted.remove(it));
        *self.noted() = Some(noted);
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, Option<BTreeSet<Process>>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn heal_shard(
        &self,
        redis: &mut Connection,
        db: &mut PgConnection,
        shard: Shard,
        with: With<'_>,
    ) -> Result<bool, KeeperError> {
        let reading = self.read(redis, shard).await?;
        if reading.state != State::Cold {
            return Ok(false);
        }
        let to = Incarnation::fresh();
        // Before it counts, so that it is never taken for one that has not counted yet.
        store::note_healed(db, shard, to).await?;
        self.release_settled(redis, db, shard, &reading).await?;
        let mut known = store::known(db, shard, &reading.settled, with.organizations).await?;
        for it in &mut known.windows {
            // Where nobody knows the budget any more, the first call that comes says it.
            let end = |of: &Budget| of.period.span_at(&of.zone, it.from_ms).end_ms;
            it.until_ms = with.budgets.get(&it.budget).map_or(0, end);
        }
        if !with.awaited.is_empty() {
            let count = with.awaited.len();
            warn!("a shard of counters waits for {count} processes to say what they hold");
        }
        let healing = Healing {
            from: reading.incarnation,
            to,
            learning_ms: with.learning_ms,
            awaited: with.awaited,
            longest_ms: LONGEST_MS,
            settled: &known.settled,
            windows: &known.windows,
        };
        let healed: i64 = ask(redis, self.scripts.heal(shard, healing)).await?;
        Ok(healed == 1)
    }

    async fn read(&self, redis: &mut Connection, shard: Shard) -> Result<Reading, KeeperError> {
        let answer: ReadAnswer = ask(redis, self.scripts.read(shard, &[], 0)).await?;
        Reading::read(answer).ok_or(KeeperError::Unreadable)
    }

    /// Lets go of what calls hold that are settled: the store went back to a time before.
    async fn release_settled(
        &self,
        redis: &mut Connection,
        db: &mut PgConnection,
        shard: Shard,
        reading: &Reading,
    ) -> Result<(), KeeperError> {
        let places = &self.scripts.places;
        let mut epochs: HashSet<Epoch> = reading.settled.keys().copied().collect();
        let living: Vec<String> = ask(redis, zrange(&places.living(shard))).await?;
        epochs.extend(living.iter().filter_map(|it| it.parse::<Epoch>().ok()));
        epochs.extend(store::epochs(db, shard).await?);
        let mut held = Vec::new();
        for epoch in epochs {
            let holds: Vec<(String, Vec<u8>)> =
                ask(redis, hgetall(&places.holds(shard, epoch))).await?;
            held.extend(holds.into_iter().map(|(call, text)| (epoch, call, text, Swept::Settled)));
        }
        let dead: Vec<(String, Vec<u8>)> = ask(redis, hgetall(&places.dead_holds(shard))).await?;
        for (name, text) in dead {
            if let Some(epoch) = name.split_once(' ').and_then(|(epoch, _)| epoch.parse().ok()) {
                held.push((epoch, name, text, Swept::Buried));
            }
        }
        let call = |name: &str| {
            let call = name.split_once(' ').map_or(name, |(_, call)| call);
            Uuid::try_parse(call).ok()
        };
        let calls: Vec<_> = held.iter().filter_map(|(_, name, ..)| call(name)).collect();
        let settled = store::settled_calls(db, &calls).await?;
        for (epoch, name, text, why) in &held {
            if call(name).is_some_and(|it| settled.contains(&it)) {
                let sweeping = Sweeping { epoch: *epoch, call: name, written: text, why: *why };
                let taken: u64 = ask(redis, self.scripts.sweep(shard, sweeping)).await?;
                RELEASED.inc_by(taken);
            }
        }
        Ok(())
    }

    /// Moves what dead processes hold to the holds of the dead.
    pub async fn sweep(&self) -> Result<(), KeeperError> {
        let mut redis = self.redis().await?;
        self.tidy(&mut redis).await?;
        let (seconds, _): (i64, i64) = ask(&mut redis, redis::cmd("TIME")).await?;
        let silent_since_ms = seconds * 1_000 - SILENCE_MS;
        self.sweep_since(&mut redis, silent_since_ms).await
    }

    pub(super) async fn sweep_since(
        &self,
        redis: &mut Connection,
        silent_since_ms: i64,
    ) -> Result<(), KeeperError> {
        let places = &self.scripts.places;
        let mut pipeline = pipe();
        for shard in Shard::all() {
            let living = places.living(shard);
            pipeline.cmd("ZRANGEBYSCORE").arg(living).arg("-inf").arg(silent_since_ms);
        }
        let silent: Vec<Vec<String>> = timeout(PATIENCE, pipeline.query_async(redis)).await??;
        let silent = Shard::all().zip(silent).flat_map(|(shard, epochs)| {
            epochs.into_iter().filter_map(move |it| Some((shard, it.parse::<Epoch>().ok()?)))
        });
        for (shard, epoch) in silent {
            let holds: Vec<(String, Vec<u8>)> =
                ask(redis, hgetall(&places.holds(shard, epoch))).await?;
            let mut buried = 0;
            for (call, written) in &holds {
                let why = Swept::Dead { silent_since_ms };
                let sweeping = Sweeping { epoch, call, written, why };
                buried += ask::<u64>(redis, self.scripts.sweep(shard, sweeping)).await?;
            }
            let () = ask(redis, self.scripts.forget(shard, epoch, silent_since_ms)).await?;
            BURIED.inc_by(buried);
            if buried > 0 {
                warn!(%epoch, buried, "process {epoch} of a proxy died with {buried} calls held");
            }
        }
        Ok(())
    }

    /// Removes the numbers of processes that are gone for long: nobody asks for them any more.
    async fn tidy(&self, redis: &mut Connection) -> Result<(), KeeperError> {
        let last = || self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
        if last().is_some_and(|it| it.elapsed() < TIDIES) {
            return Ok(());
        }
        let mut db = self.platform.db.acquire().await?;
        let places = &self.scripts.places;
        let mut pipeline = pipe();
        for (shard, epoch) in store::forgotten(&mut db).await? {
            for place in [places.settled(shard), places.durable(shard)] {
                pipeline.cmd("HDEL").arg(place).arg(epoch.to_string()).ignore();
            }
        }
        if !pipeline.is_empty() {
            send(redis, pipeline).await?;
        }
        *last() = Some(Instant::now());
        Ok(())
    }

    async fn redis(&self) -> Result<Connection, KeeperError> {
        Ok(timeout(PATIENCE, self.platform.redis.get()).await??)
    }
}

/// Waits no more for who has not said what they hold. Answers who that was.
pub async fn warm(redis: &Pool, places: &Places) -> Result<Vec<Process>, KeeperError> {
    let scripts = Scripts::new(places.clone());
    let mut redis = timeout(PATIENCE, redis.get()).await??;
    let mut all = Vec::new();
    for shard in Shard::all() {
        let awaited: Vec<String> = ask(&mut redis, scripts.warm(shard)).await?;
        all.extend(awaited.iter().filter_map(|it| Some((shard, it.parse().ok()?))));
    }
    Ok(all)
}

/// What the database remembers of all shards.
struct Remembered {
    budgets: HashMap<BudgetId, Budget>,
    organizations: HashMap<Shard, Vec<OrganizationId>>,
    /// Processes that held something when it was noted last.
    living: HashMap<Shard, Vec<Epoch>>,
    /// Those that have counted before.
    healed: HashSet<Shard>,
}

/// What a shard is healed with.
#[derive(Clone, Copy)]
struct With<'a> {
    organizations: &'a [OrganizationId],
    budgets: &'a HashMap<BudgetId, Budget>,
    learning_ms: u64,
    awaited: &'a [Epoch],
}

impl Remembered {
    async fn read(db: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let budgets = budgets::published(db, None).await?;
        let mut living: HashMap<_, Vec<_>> = HashMap::new();
        for (shard, epoch) in store::living(db).await? {
            living.entry(shard).or_default().push(epoch);
        }
        let mut organizations: HashMap<_, Vec<_>> = HashMap::new();
        for it in store::counted_organizations(db).await? {
            organizations.entry(Shard::of(it)).or_default().push(it);
        }
        let budgets = budgets.into_iter().map(|it| (it.id, it)).collect();
        Ok(Self { budgets, organizations, living, healed: store::healed_shards(db).await? })
    }

    /// Those first where calls wait for it.
    fn in_order(&self, cold: Vec<Shard>) -> [Vec<Shard>; 2] {
        let capped: HashSet<_> =
            self.budgets.values().map(|it| Shard::of(it.organization)).collect();
        let (capped, others) = cold.into_iter().partition(|it| capped.contains(it));
        [capped, others]
    }

    fn of(&self, shard: Shard) -> With<'_> {
        let organizations = self.organizations.get(&shard).map_or(&[][..], Vec::as_slice);
        // One that was never healed has never counted: nothing is held, nor lost.
        let (learning_ms, awaited) = match self.healed.contains(&shard) {
            true => (LEARNING_MS, self.living.get(&shard).map_or(&[][..], Vec::as_slice)),
            false => (0, &[][..]),
        };
        With { organizations, budgets: &self.budgets, learning_ms, awaited }
    }
}

pub(super) async fn ask<T: FromRedisValue>(
    redis: &mut Connection,
    question: Cmd,
) -> Result<T, KeeperError> {
    Ok(timeout(PATIENCE, question.query_async(redis)).await??)
}

async fn send(redis: &mut Connection, all: Pipeline) -> Result<(), KeeperError> {
    Ok(timeout(PATIENCE, all.exec_async(redis)).await??)
}

fn hgetall(key: &str) -> Cmd {
    let mut ask = redis::cmd("HGETALL");
    ask.arg(key);
    ask
}

fn zrange(key: &str) -> Cmd {
    let mut ask = redis::cmd("ZRANGE");
    ask.arg(key).arg(0).arg(-1);
    ask
}

#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    #[error("Redis did not answer in time")]
    TooSlow(#[from] Elapsed),
    #[error("Redis gave no connection")]
    NoConnection(#[from] PoolError),
    #[error("Redis failed")]
    Redis(#[from] RedisError),
    #[error("a shard of counters cannot be understood")]
    Unreadable,
    #[error("the database failed")]
    Store(#[from] sqlx::Error),
}
