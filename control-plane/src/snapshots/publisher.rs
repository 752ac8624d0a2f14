//! From what was committed to the next revision of the chain.
//!
//! Always holds: one revision is made at a time, by however many control planes, since
//! whoever makes one holds a lock; each is of one instant; what it contains and that it
//! is published commit together. Redis only ever gets what is committed, so it may be
//! wiped, or lag, or be asked twice.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tracing::info;

use shared::snapshot::{
    Change, Digest, Form, Head, Places, Record, RecordId, SCHEMA, SetSum, Signed, Signer, pack,
};

use super::{
    SnapshotError,
    chain::{self, Cause, End, NewRevision},
    gather,
    stops::Stopped,
};

/// Makes revisions, and hands them to the proxies.
pub struct Publisher {
    pub(super) db: PgPool,
    pub(super) redis: shared::wire::Pool,
    pub places: Places,
    signer: Signer,
    /// When everything was compared last.
    compared: Mutex<Option<Instant>>,
}

/// Beyond so many changes at once everything is read: it is faster.
const MANY: i64 = 5_000;
/// How often everything is compared with what was published, whatever was noted.
const COMPARE: Duration = Duration::from_secs(600);
/// How many revisions are kept, for proxies that were away and for people who look.
const KEPT: i64 = 20_000;
/// How long we wait for more changes after one, so that they travel together,
const PAUSE: Duration = Duration::from_millis(50);
/// and how long we do so at most.
const PATIENCE: Duration = Duration::from_millis(500);

/// Waits until nobody has nudged for a moment.
pub async fn quiet(nudge: &Notify) {
    let settled = async { while timeout(PAUSE, nudge.notified()).await.is_ok() {} };
    let _ = timeout(PATIENCE, settled).await;
}

impl Publisher {
    pub fn new(db: PgPool, redis: shared::wire::Pool, signer: Signer, places: Places) -> Self {
        Self { db, redis, places, signer, compared: Mutex::default() }
    }

    /// Publishes what was committed and is not published yet, and brings Redis up to
    /// date. Says which revision it made, if any.
    pub async fn publish(&self) -> Result<Option<i64>, SnapshotError> {
        let cause = if self.is_to_compare() { Cause::Comparison } else { Cause::Changes };
        let made = self.seal(cause).await?;
        if cause == Cause::Comparison {
            *self.compared.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        if let Some(Made { revision, stopped }) = &made {
            self.announce_beside(stopped, *revision).await;
        }
        self.distribute().await?;
        Ok(made.map(|it| it.revision))
    }

    /// A new revision with everything as it is now, numbered above `after` where that is
    /// higher than ours: for an operator whose database went back, or whose proxies hold
    /// what nobody can explain.
    pub async fn republish(&self, after: Option<i64>) -> Result<i64, SnapshotError> {
        let db = self.db.clone();
        let mut tx = chain::lock(&db).await?.ok_or(SnapshotError::Busy)?;
        let end = chain::end(&mut tx).await?;
        let present = gather(&mut tx, None).await?.records()?;
        let published = chain::records(&mut tx, None).await?;
        let changes = Changes::between(&published, &present);
        let floor = after.unwrap_or_default().max(end.map_or(0, |it| it.revision));
        let made = self.add(&mut tx, end, floor + 1, &changes, Cause::Republished).await?;
        chain::clear_noted(&mut tx).await?;
        tx.commit().await?;
        self.put_everything().await?;
        Ok(made.revision)
    }

    fn is_to_compare(&self) -> bool {
        let compared = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        compared.is_none_or(|it| it.elapsed() >= COMPARE)
    }

    /// The next revision, where something has changed and nobody else is at it.
    async fn seal(&self, cause: Cause) -> Result<Option<Made>, SnapshotError> {
        // An idle second costs one small question and no lock.
        if cause == Cause::Changes {
            let mut conn = self.db.acquire().await?;
            if chain::noted(&mut conn, 1).await? == 0 {
                return Ok(None);
            }
        }
        let Some(mut tx) = chain::lock(&self.db).await? else { return Ok(None) };
        let end = chain::end(&mut tx).await?;
        let noted = chain::noted(&mut tx, MANY + 1).await?;
        let is_whole = end.is_none() || cause != Cause::Changes || noted > MANY;
        let touched = if is_whole { None } else { Some(chain::touched(&mut tx).await?) };
        let touched = touched.as_deref();
        let present = gather(&mut tx, touched).await?.records()?;
        let published = chain::records(&mut tx, touched).await?;
        let changes = Changes::between(&published, &present);
        chain::clear_noted(&mut tx).await?;
        // Even the first of an empty installation says something: that it is empty.
        if changes.is_empty() && end.is_some() {
            tx.commit().await?;
            return Ok(None);
        }
        let next = end.map_or(1, |it| it.revision + 1);
        let made = self.add(&mut tx, end, next, &changes, cause).await?;
        tx.commit().await?;
        info!(
            snapshot.revision = made.revision,
            changes = changes.len(),
            "published revision {}",
            made.revision
        );
        Ok(Some(made))
    }

    async fn add(
        &self,
        tx: &mut sqlx::PgConnection,
        end: Option<End>,
        revision: i64,
        changes: &Changes<'_>,
        cause: Cause,
    ) -> Result<Made, SnapshotError> {
        let now = OffsetDateTime::now_utc();
        let body = pack(changes.iter())?;
        let head = Head {
            form: Form::Delta,
            schema: SCHEMA,
            revision,
            published_at: micros(now),
            chain: end.map_or(Digest::NOTHING, |it| it.digest),
            sum: changes.sum(end.map_or(SetSum::default(), |it| it.sum)),
            body: Digest::of(&body),
        };
        let signed = self.signer.sign(&head, body);
        let end = End { revision, digest: head.digest(), sum: head.sum, published_at: now };
        let records = changes.len();
        chain::add(tx, NewRevision { end, signed: &signed, records, cause }).await?;
        chain::drop_records(tx, &changes.gone).await?;
        chain::put_records(tx, &changes.put).await?;
        chain::forget_before(tx, revision - KEPT).await?;
        Ok(Made { revision, stopped: changes.stopped(now) })
    }

    /// Everything at the newest revision, signed.
    pub(super) async fn everything(&self) -> Result<Option<(End, Signed)>, SnapshotError> {
        let mut tx = chain::look(&self.db).await?;
        let Some(end) = chain::end(&mut tx).await? else { return Ok(None) };
        let records = chain::records(&mut tx, None).await?;
        tx.commit().await?;
        let body = pack(records.iter().map(put))?;
        let head = Head {
            form: Form::Full,
            schema: SCHEMA,
            revision: end.revision,
            published_at: micros(end.published_at),
            chain: end.digest,
            sum: end.sum,
            body: Digest::of(&body),
        };
        Ok(Some((end, self.signer.sign(&head, body))))
    }

    /// Recomputes the chain from its beginning, as far as it is kept.
    pub async fn verify(&self) -> Result<Verdict, SnapshotError> {
        let (verifier, mut tx) = (self.signer.verifier(), chain::look(&self.db).await?);
        let mut verdict = Verdict::default();
        let mut before: Option<(i64, Digest)> = None;
        loop {
            let page = chain::after(&mut tx, before.map_or(0, |it| it.0), 500).await?;
            if page.is_empty() {
                break;
            }
            for it in page {
                let revision = it.revision;
                match verifier.verify(it.signed) {
                    Err(why) => verdict.faults.push(format!("revision {revision}: {why}")),
                    Ok(it) if before.is_some_and(|(_, digest)| digest != it.head.chain) => {
                        verdict.faults.push(format!("revision {revision} follows another one"));
                    }
                    Ok(_) => (),
                }
                before = Some((revision, it.digest));
                verdict.revisions += 1;
            }
        }
        let records = chain::records(&mut tx, None).await?;
        let sum = SetSum::of_all(records.iter().map(put));
        let end = chain::end(&mut tx).await?;
        if end.is_some_and(|it| it.sum != sum) {
            verdict.faults.push("the records do not add up to the newest revision".to_owned());
        }
        verdict.records = records.len();
        Ok(verdict)
    }

    /// The newest revisions.
    pub async fn list(&self, most: i64) -> Result<Vec<chain::Listed>, SnapshotError> {
        Ok(chain::list(&mut *self.db.acquire().await?, most).await?)
    }
}

/// What became of checking the chain.
#[derive(Debug, Default)]
pub struct Verdict {
    pub revisions: usize,
    pub records: usize,
    pub faults: Vec<String>,
}

struct Made {
    revision: i64,
    stopped: Vec<Stopped>,
}

/// What is different between two sets of records.
struct Changes<'a> {
    put: Vec<&'a Record>,
    /// What those that are put or gone were before.
    were: Vec<&'a Record>,
    gone: Vec<RecordId>,
}

impl<'a> Changes<'a> {
    fn between(published: &'a [Record], present: &'a [Record]) -> Self {
        let before: HashMap<_, _> = published.iter().map(|it| (it.id, it)).collect();
        let now: HashMap<_, _> = present.iter().map(|it| (it.id, it)).collect();
        let is_new =
            |it: &&Record| before.get(&it.id).is_none_or(|before| before.content != it.content);
        let is_old = |it: &&Record| now.get(&it.id).is_none_or(|now| now.content != it.content);
        let is_gone = |it: &&Record| !now.contains_key(&it.id);
        Self {
            put: present.iter().filter(is_new).collect(),
            were: published.iter().filter(is_old).collect(),
            gone: published.iter().filter(is_gone).map(|it| it.id).collect(),
        }
    }

    fn len(&self) -> usize {
        self.put.len() + self.gone.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        let gone = self.gone.iter().copied().map(Change::gone);
        gone.chain(self.put.iter().map(|it| put(it)))
    }

    fn sum(&self, before: SetSum) -> SetSum {
        let without = self.were.iter().fold(before, |sum, it| sum.without(SetSum::of(put(it))));
        self.put.iter().fold(without, |sum, it| sum.with(SetSum::of(put(it))))
    }

    fn stopped(&self, now: OffsetDateTime) -> Vec<Stopped> {
        Stopped::between(self.were.iter().copied(), self.put.iter().copied(), now)
    }
}

fn put(record: &Record) -> Change<'_> {
    Change::put(record.id, &record.content)
}

fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or_default()
}
