//! From the streams that proxies write into the log.
//!
//! What a stream holds is what was not taken yet: entries are removed once their events
//! are committed, and by nothing else here. A process that dies in between leaves them
//! to be taken again, and what is in the log already stays as it is.

use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use actix_web::web::Data;
use deadpool_redis::PoolError;
use prometheus::{IntCounterVec, register_int_counter_vec};
use redis::{RedisError, pipe};
use shared::{
    counters::{Places, Shard},
    event::{Event, FIELD},
};
use sqlx::{Connection, PgConnection};
use time::{Date, OffsetDateTime};
use tokio::time::{error::Elapsed, sleep, timeout};
use tracing::{error, info};

use super::store;
use crate::platform::Platform;

const PATIENCE: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_secs(2);
/// How many entries are taken at once.
const AT_ONCE: usize = 500;
/// For how many days to come there is room.
const AHEAD: i64 = 3;
/// How many entries that cannot be read are kept for people to look at.
const MOST_ASIDE: usize = 1_000;

static TAKEN: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "turnpike_request_events_total",
        "Events of calls taken from proxies: new, known already, or put aside.",
        &["result"]
    )
    .expect("the metric is registered once")
});

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
        let event = Event::decode(bytes)?;
        let text = String::from_utf8(bytes.clone()).map_err(|_| NotReadable::Version)?;
        Ok(Self { event, text })
    }

    fn day(&self) -> Date {
        self.event.started_at.to_offset(time::UtcOffset::UTC).date()
    }
}

/// Carries events into the log. Any number may run at once: one takes from each stream.
pub struct Ingester {
    platform: Data<Platform>,
    places: Places,
    /// For how many days requests are kept.
    keep: u16,
    /// The day on which room was made last.
    ready_on: Mutex<Option<Date>>,
}

impl Ingester {
    pub fn new(platform: Data<Platform>, places: Places, keep: u16) -> Self {
        Self { platform, places, keep, ready_on: Mutex::default() }
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

    async fn take_all(&self) -> Result<(), IngestError> {
        self.turn_days(OffsetDateTime::now_utc().date()).await?;
        let waiting = self.waiting().await?;
        for (shard, _) in Shard::all().zip(waiting).filter(|(_, length)| *length > 0) {
            let stream = self.places.events(shard);
            while self.take(&stream).await? == AT_ONCE {}
        }
        Ok(())
    }

    /// Once a day: makes room for the days to come, and forgets those long past.
    async fn turn_days(&self, today: Date) -> Result<(), sqlx::Error> {
        let ready_on = || self.ready_on.lock().unwrap_or_else(PoisonError::into_inner);
        if *ready_on() == Some(today) {
            return Ok(());
        }
        let mut conn = self.platform.db.acquire().await?;
        let (yesterday, last) = (days_before(today, 1), days_before(today, -AHEAD));
        store::make_days(&mut conn, yesterday, last).await?;
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
            pipeline.cmd("XLEN").arg(self.places.events(shard));
        }
        let mut redis = timeout(PATIENCE, self.platform.redis.get()).await??;
        Ok(timeout(PATIENCE, pipeline.query_async(&mut redis)).await??)
    }

    /// Takes the oldest entries of a stream; says how many.
    async fn take(&self, stream: &str) -> Result<usize, IngestError> {
        let mut tx = self.platform.db.begin().await?;
        if !store::claim(&mut tx, stream).await? {
            return Ok(0);
        }
        let entries = self.read(stream).await?;
        let (mut told, mut aside) = (Vec::new(), Vec::new());
        for entry in &entries {
            match Told::read(entry) {
                Ok(it) => told.push((entry, it)),
                Err(why) => aside.push((entry, why.to_string())),
            }
        }
        self.make_late_days(told.iter().map(|(_, it)| it.day()).min()).await?;
        let new = add_what_fits(&mut tx, told, &mut aside).await?;
        tx.commit().await?;
        self.put_aside(&aside).await?;
        self.remove(stream, &entries).await?;

        let known = entries.len() - aside.len() - new;
        for (result, count) in [("new", new), ("known", known), ("aside", aside.len())] {
            TAKEN.with_label_values(&[result]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        }
        Ok(entries.len())
    }

    /// Events may come days late, when no control plane ran.
    async fn make_late_days(&self, first: Option<Date>) -> Result<(), sqlx::Error> {
        let today = OffsetDateTime::now_utc().date();
        let yesterday = days_before(today, 1);
        let Some(first) = first.map(|it| it.max(self.oldest(today))).filter(|it| *it < yesterday)
        else {
            return Ok(());
        };
        let mut conn = self.platform.db.acquire().await?;
        store::make_days(&mut conn, first, yesterday).await
    }

    async fn read(&self, stream: &str) -> Result<Vec<Entry>, IngestError> {
        let mut range = redis::cmd("XRANGE");
        range.arg(stream).arg("-").arg("+").arg("COUNT").arg(AT_ONCE);
        let mut redis = timeout(PATIENCE, self.platform.redis.get()).await??;
        Ok(timeout(PATIENCE, range.query_async(&mut redis)).await??)
    }

    async fn put_aside(&self, entries: &[(&Entry, String)]) -> Result<(), IngestError> {
        if entries.is_empty() {
            return Ok(());
        }
        let place = self.places.aside();
        let mut pipeline = pipe();
        for ((id, fields), why) in entries {
            // What it holds is not for the log.
            error!(entry = id, why, "an event of a call was put aside into {place}: {why}");
            let add = pipeline.cmd("XADD").arg(&place).arg("MAXLEN").arg("~").arg(MOST_ASIDE);
            add.arg("*").arg("entry").arg(id).arg("why").arg(why).arg(fields).ignore();
        }
        let mut redis = timeout(PATIENCE, self.platform.redis.get()).await??;
        let () = timeout(PATIENCE, pipeline.query_async(&mut redis)).await??;
        Ok(())
    }

    async fn remove(&self, stream: &str, entries: &[Entry]) -> Result<(), IngestError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut delete = redis::cmd("XDEL");
        delete.arg(stream).arg(entries.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>());
        let mut redis = timeout(PATIENCE, self.platform.redis.get()).await??;
        let () = timeout(PATIENCE, delete.query_async(&mut redis)).await??;
        Ok(())
    }
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
    store::add(conn, &told).await?;
    Ok(())
}

/// Adds all at once; where the database refuses that, one by one, so that those it will
/// not have are found. Says how many were new.
async fn add_what_fits<'a>(
    conn: &mut PgConnection,
    told: Vec<(&'a Entry, Told)>,
    aside: &mut Vec<(&'a Entry, String)>,
) -> Result<usize, sqlx::Error> {
    let (entries, told): (Vec<_>, Vec<_>) = told.into_iter().unzip();
    let mut new = 0;
    match add_or_undo(conn, &told).await? {
        Ok(count) => new = count,
        Err(_) => {
            for (entry, one) in entries.into_iter().zip(&told) {
                match add_or_undo(conn, std::slice::from_ref(one)).await? {
                    Ok(count) => new += count,
                    Err(why) => aside.push((entry, why)),
                }
            }
        }
    }
    Ok(usize::try_from(new).unwrap_or_default())
}

/// What the database says about the values is one failure, that it is away another.
async fn add_or_undo(
    conn: &mut PgConnection,
    told: &[Told],
) -> Result<Result<i64, String>, sqlx::Error> {
    let mut within = conn.begin().await?;
    match store::add(&mut within, told).await {
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
}
