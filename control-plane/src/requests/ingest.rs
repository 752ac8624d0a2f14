//! From the streams that proxies write into the log and the meter.
//!
//! What a stream holds is what was not taken yet. One transaction adds the events of some
//! streams to the log, adds those that were settled to the usage, and sums these up; after it
//! proxies are told how far their events have come, and only then the entries are removed, by
//! nothing else than this. What cannot be read, or the database will not have, is put aside into
//! a table of its own in the same transaction, until an operator has it tried again: it is no
//! reason for its proxy to keep it and all behind it. A process that dies anywhere in between leaves the entries to be
//! taken again, and what is there already stays as it is.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::RangeInclusive,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use actix_web::web::Data;
use prometheus::{IntCounterVec, IntGauge, register_int_counter_vec, register_int_gauge};
use redis::{RedisError, pipe};
use serde::Deserialize;
use serde_json::Value;
use shared::wire::PoolError;
use shared::{
    counters::{Epoch, Places, Scripts, Shard},
    event::{Event, FIELD, SettlementId},
};
use sqlx::{Connection, PgConnection, PgPool};
use time::{Date, OffsetDateTime};
use tokio::time::{error::Elapsed, sleep, timeout};
use tracing::{error, info, warn};

use super::store;
use crate::{
    failpoints::Failpoint,
    platform::Platform,
    usage::{self, Watermark},
};

const PATIENCE: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_secs(2);
/// How many entries are taken at once.
const AT_ONCE: usize = 2_000;
/// For how many days to come there is room.
const AHEAD: i64 = 3;
/// How many days late usage may come.
const LATEST: i64 = 400;

static TAKEN: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "turnpike_request_events_total",
        "Events of calls taken from proxies: new, known already, or put aside.",
        &["result"]
    )
    .expect("the metric is registered once")
});

static GAPS: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!(
        "turnpike_usage_gaps",
        "Processes of proxies, in each shard, of whose events one is missing before others."
    )
    .expect("the metric is registered once")
});

type OfShard<'a> = (Shard, &'a Entry);

/// An entry of a stream as Redis gives it: its id, then fields and values.
type Entry = (String, Vec<(Vec<u8>, Vec<u8>)>);

/// An event, and the text it came as.
pub(super) struct Told {
    pub event: Event,
    pub text: String,
}

impl Told {
    fn read(entry: &Entry) -> Result<Self, NotReadable> {
        let (_, fields) = entry;
        let field = fields.iter().find(|(name, _)| name == FIELD.as_bytes());
        let (_, bytes) = field.ok_or(NotReadable::Version)?;
        Self::of(bytes)
    }

    fn of(bytes: &[u8]) -> Result<Self, NotReadable> {
        let text = std::str::from_utf8(bytes).map_err(|_| NotReadable::Version)?;
        let text = without_nul(text);
        let event = Event::decode(text.as_bytes())?;
        if event.settlement.is_some_and(|it| i64::try_from(it.number).is_err()) {
            return Err(NotReadable::Settlement);
        }
        Ok(Self { event, text })
    }

    fn day(&self) -> Date {
        self.event.started_at.to_offset(time::UtcOffset::UTC).date()
    }

    fn settled(&self) -> Option<(Shard, SettlementId)> {
        Some((Shard::of(self.event.organization), self.event.settlement?))
    }
}

/// An event that is put aside, and why.
pub(super) struct Aside<'a> {
    pub shard: Shard,
    pub entry: &'a str,
    pub settlement: Option<SettlementId>,
    pub event: &'a [u8],
    pub why: String,
}

impl<'a> Aside<'a> {
    fn of(shard: Shard, (entry, fields): &'a Entry, why: String) -> Self {
        // Of another version it is the only field.
        let named = fields.iter().find(|(name, _)| name == FIELD.as_bytes());
        let event = named.or(fields.first()).map_or(&[][..], |(_, bytes)| bytes);
        Self { shard, entry, settlement: settlement_in(event), event, why }
    }
}

/// Which settlement told an event of which nothing else may be readable.
fn settlement_in(event: &[u8]) -> Option<SettlementId> {
    #[derive(Deserialize)]
    struct Numbered {
        settlement: Option<SettlementId>,
    }
    let found = serde_json::from_slice::<Numbered>(event).ok()?.settlement;
    found.filter(|it| i64::try_from(it.number).is_ok_and(|it| it > 0))
}

/// PostgreSQL keeps no NUL, and callers choose some of what stands in an event: nobody's call is
/// free for having one in it.
fn without_nul(text: &str) -> String {
    if !text.contains("\\u0000") {
        return text.to_owned();
    }
    match serde_json::from_str(text) {
        Ok(mut json) => {
            replace_nul(&mut json);
            json.to_string()
        }
        Err(_) => text.to_owned(),
    }
}

fn replace_nul(json: &mut Value) {
    match json {
        Value::String(text) => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(list) => list.iter_mut().for_each(replace_nul),
        Value::Object(fields) => {
            let all = std::mem::take(fields);
            fields.extend(all.into_iter().map(|(name, mut value)| {
                replace_nul(&mut value);
                (name.replace('\0', "\u{fffd}"), value)
            }));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Carries events into the log and the meter. Any number may run at once: one takes from each
/// stream.
pub struct Ingester {
    platform: Data<Platform>,
    scripts: Scripts,
    /// For how many days requests are kept.
    keep: u16,
    /// The day on which room was made last.
    ready_on: Mutex<Option<Date>>,
    /// Whose events have a gap.
    gaps: Mutex<HashSet<(Shard, Epoch)>>,
    #[cfg(test)]
    pub breaks_at: Option<Failpoint>,
}

impl Ingester {
    pub fn new(platform: Data<Platform>, places: Places, keep: u16) -> Self {
        Self {
            platform,
            scripts: Scripts::new(places),
            keep,
            ready_on: Mutex::default(),
            gaps: Mutex::default(),
            #[cfg(test)]
            breaks_at: None,
        }
    }

    /// Takes everything that waits. Where that fails, it takes its time, so that a store
    /// that is away is not asked all the time.
    pub async fn run(&self) -> Result<(), IngestError> {
        let taken = self.take_all().await;
        if taken.is_err() {
            sleep(REST).await;
        }
        taken
    }

    pub(crate) async fn take_all(&self) -> Result<(), IngestError> {
        self.turn_days(OffsetDateTime::now_utc().date()).await?;
        let waiting = self.waiting().await?;
        let (mut together, mut entries) = (Vec::new(), 0);
        for (shard, length) in Shard::all().zip(waiting).filter(|(_, length)| *length > 0) {
            if entries + length > AT_ONCE && !together.is_empty() {
                self.take(&together).await?;
                (together, entries) = (Vec::new(), 0);
            }
            // Of a stream that holds more than is taken at once, what it held when we looked.
            for _ in 0..length / AT_ONCE {
                self.take(&[shard]).await?;
            }
            together.push(shard);
            entries += length % AT_ONCE;
        }
        if !together.is_empty() {
            self.take(&together).await?;
        }
        Ok(())
    }

    /// Once a day: makes room for the days to come, and forgets requests long past.
    async fn turn_days(&self, today: Date) -> Result<(), sqlx::Error> {
        let ready_on = || self.ready_on.lock().unwrap_or_else(PoisonError::into_inner);
        if *ready_on() == Some(today) {
            return Ok(());
        }
        let mut conn = self.platform.db.acquire().await?;
        let (yesterday, last) = (days_before(today, 1), days_before(today, -AHEAD));
        store::make_days(&mut conn, yesterday, last).await?;
        usage::make_days(&mut conn, yesterday, last).await?;
        let dropped = store::drop_days(&mut conn, self.oldest(today)).await?;
        if dropped > 0 {
            info!(dropped, "forgot the requests of {dropped} days");
        }
        *ready_on() = Some(today);
        Ok(())
    }

    fn oldest(&self, today: Date) -> Date {
        days_before(today, self.keep.into())
    }

    async fn waiting(&self) -> Result<Vec<usize>, IngestError> {
        let mut pipeline = pipe();
        for shard in Shard::all() {
            pipeline.cmd("XLEN").arg(self.places().events(shard));
        }
        let mut redis = timeout(PATIENCE, self.platform.redis.get()).await??;
        Ok(timeout(PATIENCE, pipeline.query_async(&mut redis)).await??)
    }

    fn places(&self) -> &Places {
        &self.scripts.places
    }

    /// Takes the oldest entries of some streams, of those that nobody else is taking from.
    async fn take(&self, shards: &[Shard]) -> Result<(), IngestError> {
        let mut tx = self.platform.db.begin().await?;
        let shards = store::claim(&mut tx, self.places(), shards).await?;
        if shards.is_empty() {
            return Ok(());
        }
        let streams = self.read(&shards).await?;
        let entries: Vec<_> = streams
            .iter()
            .flat_map(|(shard, entries)| entries.iter().map(|it| (*shard, it)))
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let (mut told, mut aside) = (Vec::new(), Vec::new());
        for entry in &entries {
            match Told::read(entry.1) {
                Ok(it) => told.push((*entry, it)),
                Err(why) => aside.push(Aside::of(entry.0, entry.1, why.to_string())),
            }
        }
        self.pass(Failpoint::IngestRead)?;
        self.make_late_days(&told).await?;
        let mut settled: Vec<_> = told.iter().filter_map(|(_, it)| it.settled()).collect();
        let new = self.add_what_fits(&mut tx, told, &mut aside).await?;
        settled.extend(aside.iter().filter_map(|it| Some((it.shard, it.settlement?))));
        put_aside(&mut tx, &aside).await?;
        self.pass(Failpoint::IngestAdded)?;
        let marks = usage::advance(&mut tx, &settled).await?;
        self.pass(Failpoint::IngestInserted)?;
        tx.commit().await?;
        self.pass(Failpoint::IngestCommitted)?;
        self.note_gaps(&marks);
        self.publish(&marks).await?;
        self.pass(Failpoint::IngestPublished)?;
        self.remove(&streams).await?;
        self.pass(Failpoint::IngestRemoved)?;

        let known = entries.len() - aside.len() - new;
        for (result, count) in [("new", new), ("known", known), ("aside", aside.len())] {
            TAKEN.with_label_values(&[result]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Where drills, and tests, break off.
    fn pass(&self, point: Failpoint) -> Result<(), IngestError> {
        point.reach();
        #[cfg(test)]
        if self.breaks_at == Some(point) {
            return Err(IngestError::BrokenOff(point));
        }
        Ok(())
    }

    /// Events may come days late, when no control plane ran.
    async fn make_late_days(&self, told: &[(OfShard<'_>, Told)]) -> Result<(), sqlx::Error> {
        let today = OffsetDateTime::now_utc().date();
        let yesterday = days_before(today, 1);
        let late = |first: Date, day: &Date| *day >= first && *day < yesterday;
        let logged: BTreeSet<_> = told.iter().map(|(_, it)| it.day()).collect();
        let billed = told.iter().filter(|(_, it)| it.event.settlement.is_some());
        let billed: BTreeSet<_> =
            billed.filter_map(|(_, it)| usage::billed_on(&it.event)).collect();
        let logged: Vec<_> = logged.into_iter().filter(|it| late(self.oldest(today), it)).collect();
        let oldest = days_before(today, LATEST);
        let billed: Vec<_> = billed.into_iter().filter(|it| late(oldest, it)).collect();
        if logged.is_empty() && billed.is_empty() {
            return Ok(());
        }
        let mut conn = self.platform.db.acquire().await?;
        for day in logged {
            store::make_days(&mut conn, day, day).await?;
        }
        for day in billed {
            usage::make_days(&mut conn, day, day).await?;
        }
        Ok(())
    }

    async fn read(&self, shards: &[Shard]) -> Result<Vec<(Shard, Vec<Entry>)>, IngestError> {
        let mut pipeline = pipe();
        for shard in shards {
            let stream = self.places().events(*shard);
            pipeline.cmd("XRANGE").arg(stream).arg("-").arg("+").arg("COUNT").arg(AT_ONCE);
        }
        let mut redis = timeout(PATIENCE, self.platform.redis.get()).await??;
        let read: Vec<Vec<Entry>> = timeout(PATIENCE, pipeline.query_async(&mut redis)).await??;
        Ok(shards.iter().copied().zip(read).collect())
    }

    /// Adds all at once; where the database refuses that, one half after the other, so that
    /// those it will not have are found. Says how many were new.
    async fn add_what_fits<'a>(
        &self,
        conn: &mut PgConnection,
        told: Vec<(OfShard<'a>, Told)>,
        aside: &mut Vec<Aside<'a>>,
    ) -> Result<usize, sqlx::Error> {
        store::take_time(conn).await?;
        let today = OffsetDateTime::now_utc().date();
        let kept = self.oldest(today)..=days_before(today, -AHEAD);
        let (entries, told): (Vec<_>, Vec<_>) = told.into_iter().unzip();
        let (mut new, mut parts) = (0, Vec::new());
        parts.push(0..told.len());
        while let Some(part) = parts.pop() {
            match add_or_undo(conn, &told[part.clone()], &kept).await? {
                Ok(count) => new += count,
                Err(why) if part.len() == 1 => {
                    let (shard, entry) = entries[part.start];
                    aside.push(Aside::of(shard, entry, why));
                }
                Err(_) => {
                    let middle = part.start + part.len() / 2;
                    parts.extend([middle..part.end, part.start..middle]);
                }
            }
        }
        Ok(usize::try_from(new).unwrap_or_default())
    }

    /// A number that is missing is an alarm: somebody's event is not where it should be.
    fn note_gaps(&self, marks: &[Watermark]) {
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        for mark in marks {
            let process = (mark.shard, mark.epoch);
            if !mark.has_gap() {
                gaps.remove(&process);
            } else if gaps.insert(process) {
                let Watermark { shard, epoch, last, highest } = mark;
                error!(
                    %epoch,
                    "event {} of process {epoch} in shard {shard} is missing, and {highest} is there",
                    last + 1,
                );
            }
        }
        GAPS.set(i64::try_from(gaps.len()).unwrap_or(i64::MAX));
    }

    #[cfg(test)]
    pub fn gap_count(&self) -> usize {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Tells proxies what they need not keep.
    async fn publish(&self, marks: &[Watermark]) -> Result<(), IngestError> {
        let mut by_shard: HashMap<Shard, Vec<(Epoch, u64)>> = HashMap::new();
        for mark in marks.iter().filter(|it| it.last > 0) {
            by_shard.entry(mark.shard).or_default().push((mark.epoch, mark.last));
        }
        if by_shard.is_empty() {
            return Ok(());
        }
        let mut pipeline = pipe();
        for (shard, durable) in by_shard {
            pipeline.add_command(self.scripts.publish(shard, &durable)).ignore();
        }
        let mut redis = timeout(PATIENCE, self.platform.redis.get()).await??;
        let () = timeout(PATIENCE, pipeline.query_async(&mut redis)).await??;
        Ok(())
    }

    async fn remove(&self, streams: &[(Shard, Vec<Entry>)]) -> Result<(), IngestError> {
        let mut pipeline = pipe();
        for (shard, entries) in streams.iter().filter(|(_, entries)| !entries.is_empty()) {
            let ids: Vec<_> = entries.iter().map(|(id, _)| id.as_str()).collect();
            pipeline.cmd("XDEL").arg(self.places().events(*shard)).arg(ids).ignore();
        }
        let mut redis = timeout(PATIENCE, self.platform.redis.get()).await??;
        let () = timeout(PATIENCE, pipeline.query_async(&mut redis)).await??;
        Ok(())
    }
}

async fn put_aside(conn: &mut PgConnection, aside: &[Aside<'_>]) -> Result<(), sqlx::Error> {
    for Aside { shard, entry, why, .. } in aside {
        // What it holds is not for the log.
        error!(%shard, entry, why, "an event of a call was put aside: {why}");
    }
    if aside.is_empty() { Ok(()) } else { store::put_aside(conn, aside).await }
}

/// What came of events that had been put aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    pub added: u64,
    /// Those that still cannot be.
    pub left: u64,
}

/// Tries again to add what was put aside, keeping requests for so many days.
pub async fn retry(db: &PgPool, keep: u16) -> Result<Retried, sqlx::Error> {
    let today = OffsetDateTime::now_utc().date();
    let (mut retried, mut behind) = (Retried::default(), 0);
    loop {
        let mut conn = db.acquire().await?;
        let some = store::aside(&mut conn, behind).await?;
        let Some(last) = some.last() else { return Ok(retried) };
        behind = last.id;
        for it in some {
            match add_again(&mut conn, &it, days_before(today, keep.into())).await? {
                Ok(()) => retried.added += 1,
                Err(why) => {
                    let store::Kept { id, shard, .. } = it;
                    warn!(id, %shard, why, "an event is aside still: {why}");
                    retried.left += 1;
                }
            }
        }
    }
}

async fn add_again(
    conn: &mut PgConnection,
    it: &store::Kept,
    oldest: Date,
) -> Result<Result<(), String>, sqlx::Error> {
    let told = match Told::of(&it.event) {
        Ok(told) => told,
        Err(why) => return Ok(Err(why.to_string())),
    };
    let today = OffsetDateTime::now_utc().date();
    let may_be = |day: &Date| *day >= days_before(today, LATEST) && *day < days_before(today, 1);
    if let Some(day) = usage::billed_on(&told.event).filter(may_be) {
        usage::make_days(conn, day, day).await?;
    }
    if may_be(&told.day()) && told.day() >= oldest {
        store::make_days(conn, told.day(), told.day()).await?;
    }
    let mut tx = conn.begin().await?;
    store::take_time(&mut tx).await?;
    let kept = oldest..=days_before(today, -AHEAD);
    if let Err(why) = add_or_undo(&mut tx, &[told], &kept).await? {
        return Ok(Err(why));
    }
    store::take_back(&mut tx, it.id).await?;
    tx.commit().await?;
    Ok(Ok(()))
}

/// Adds events that no proxy told of: those that the demo makes up.
pub async fn add(conn: &mut PgConnection, events: Vec<Event>) -> Result<(), sqlx::Error> {
    let told: Vec<_> = events
        .into_iter()
        .map(|event| Told { text: String::from_utf8_lossy(&event.encode()).into_owned(), event })
        .collect();
    let today = OffsetDateTime::now_utc().date();
    let first = told.iter().map(Told::day).min().unwrap_or(today);
    store::make_days(conn, first, days_before(today, -AHEAD)).await?;
    store::add(conn, told.iter()).await?;
    Ok(())
}

/// What the database says about the values is one failure, that it is away another. What the
/// log does not keep any more is billed all the same, and so is what has not begun yet by the
/// clock of its proxy: that decides nothing about money.
async fn add_or_undo(
    conn: &mut PgConnection,
    told: &[Told],
    kept: &RangeInclusive<Date>,
) -> Result<Result<i64, String>, sqlx::Error> {
    if told.is_empty() {
        return Ok(Ok(0));
    }
    let events: Vec<_> = told.iter().map(|it| &it.event).collect();
    let is_kept = |it: &&Told| it.event.settlement.is_none() || kept.contains(&it.day());
    let logged = told.iter().filter(is_kept);
    let mut within = conn.begin().await?;
    let added = match store::add(&mut within, logged).await {
        Ok(logged) => usage::add(&mut within, &events).await.map(|billed| logged.max(billed)),
        Err(error) => Err(error),
    };
    match added {
        Ok(new) => {
            within.commit().await?;
            Ok(Ok(new))
        }
        Err(error) if is_about_values(&error) => {
            within.rollback().await?;
            Ok(Err("the database will not have it".to_owned()))
        }
        Err(error) => Err(error),
    }
}

/// Class 22: data that a type cannot hold. 23: no partition for its day.
fn is_about_values(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|it| it.code());
    code.is_some_and(|it| it.starts_with("22") || it.starts_with("23"))
}

fn days_before(day: Date, count: i64) -> Date {
    day.checked_sub(time::Duration::days(count)).unwrap_or(day)
}

#[derive(Debug, thiserror::Error)]
enum NotReadable {
    #[error("it is of no version that we know")]
    Version,
    #[error("it has a settlement of no number that there is")]
    Settlement,
    #[error(transparent)]
    Event(#[from] shared::event::NotAnEvent),
}

#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("Redis did not answer in time")]
    TooSlow(#[from] Elapsed),
    #[error("Redis gave no connection")]
    NoConnection(#[from] PoolError),
    #[error("Redis failed")]
    Redis(#[from] RedisError),
    #[error("the store of requests failed")]
    Store(#[from] sqlx::Error),
    #[cfg(test)]
    #[error("broken off at {0:?}, as the test asks")]
    BrokenOff(Failpoint),
}
