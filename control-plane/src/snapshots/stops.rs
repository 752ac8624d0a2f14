//! The fast lane: what has stopped opening anything is told to the proxies before the
//! request that stopped it is answered, and the answer says whether they have heard.
//!
//! It knows no reasons. Whatever a commit did, the secrets that proxies were told to let
//! in and that open nothing now have stopped. Proxies refuse them until a revision comes
//! that must have seen that commit, and says whatever it says.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use redis::Script;
use shared::{
    ids::ApiKeyId,
    snapshot::{Entity, Key, Record},
};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use super::{SnapshotError, chain, distribution::soon, gather, publisher::Publisher};
use crate::{fleet, platform::Platform};

/// A request waits no longer than this for the fast lane: the chain will say it too.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is asked who has heard.
const PAUSE: Duration = Duration::from_millis(10);

/// How far what a commit has stopped has come when its request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing that proxies let in has stopped.
    Nothing,
    /// Every proxy that lives has said that it lets it in no more.
    Everybody,
    /// It is where proxies look twice a second, and of those that live so many have said that
    /// they heard.
    Some { heard: usize, live: usize },
    /// The store where proxies look did not answer, so that none of them knows.
    Nobody,
}

impl Told {
    /// Whether what stopped is let in by no proxy that lives.
    pub const fn is_effective(self) -> bool {
        match self {
            Self::Nothing | Self::Everybody => true,
            Self::Some { .. } | Self::Nobody => false,
        }
    }

    /// What somebody has to know who relies on it.
    pub fn note(self) -> Option<String> {
        match self {
            Self::Nothing | Self::Everybody => None,
            Self::Some { live: 0, .. } => Some(
                "It is told to the proxies, and it is not known whether they have heard."
                    .to_owned(),
            ),
            Self::Some { heard, live } => Some(format!(
                "It is told to the proxies, and {heard} of {live} have said so far that they let \
                 it in no more. The others do within a second, if they run and reach their store."
            )),
            Self::Nobody => Some(
                "The proxies could not be told yet, since the store where they look did not \
                 answer. They go on letting it in until that answers again, and refuse it within \
                 seconds of that."
                    .to_owned(),
            ),
        }
    }

    /// What a page says was done, with what has to be known of it.
    pub fn beside(self, done: &str) -> String {
        self.note().map_or_else(|| done.to_owned(), |note| format!("{done}. {note}"))
    }
}

/// After a commit that proxies have to know of: tells at once what has stopped, waits a moment
/// for them to have heard, and has the rest published.
pub async fn tell(platform: &Platform) -> Told {
    let told = told(&platform.publisher).await;
    platform.nudges.snapshot.notify_one();
    told
}

pub(super) async fn told(publisher: &Publisher) -> Told {
    let end = Instant::now() + PATIENCE;
    match timeout_at(end, publisher.tell_what_stopped()).await {
        Ok(Ok(entries)) if entries.is_empty() => Told::Nothing,
        Ok(Ok(entries)) => heard(publisher, &entries, end).await,
        Ok(Err(error)) => {
            warn!(%error, "could not tell at once what has stopped");
            Told::Nobody
        }
        Err(_) => {
            warn!("could not tell in time what has stopped");
            Told::Nobody
        }
    }
}

/// Waits until all have heard, or for as long as a request may wait.
async fn heard(publisher: &Publisher, entries: &[String], end: Instant) -> Told {
    let mut told = Told::Some { heard: 0, live: 0 };
    loop {
        let asked = fleet::heard_all(&publisher.redis, &publisher.places, entries);
        match timeout_at(end, asked).await {
            Ok(Ok((heard, live))) if heard == live => return Told::Everybody,
            Ok(Ok((heard, live))) => told = Told::Some { heard, live },
            Ok(Err(error)) => {
                warn!(%error, "could not ask who has heard what has stopped");
                return told;
            }
            Err(_) => return told,
        }
        if Instant::now() + PAUSE >= end {
            return told;
        }
        sleep(PAUSE).await;
    }
}

/// A key of which some secrets, or all, open nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stopped {
    key: ApiKeyId,
    hashes: Vec<Vec<u8>>,
}

impl Stopped {
    /// Those that `before` let in and `now` does not.
    pub fn between<'a>(
        before: impl Iterator<Item = &'a Record>,
        now: impl Iterator<Item = &'a Record>,
        at: OffsetDateTime,
    ) -> Vec<Self> {
        let open: HashMap<_, HashSet<_>> =
            now.filter_map(read).map(|it| (it.id, open_secrets(it, at).collect())).collect();
        let nothing = HashSet::new();
        let stopped = before.filter_map(read).map(|was| {
            let open = open.get(&was.id).unwrap_or(&nothing);
            let key = was.id;
            let hashes = open_secrets(was, at).filter(|it| !open.contains(it)).collect();
            Self { key, hashes }
        });
        stopped.filter(|it: &Self| !it.hashes.is_empty()).collect()
    }
}

fn read(record: &Record) -> Option<Key> {
    let is_key = record.id.entity == Entity::Key;
    is_key.then(|| serde_json::from_str(&record.content).ok()).flatten()
}

fn open_secrets(key: Key, at: OffsetDateTime) -> impl Iterator<Item = Vec<u8>> {
    let is_expired = key.expires_at.is_some_and(|it| it <= at);
    let is_open =
        move |until: Option<OffsetDateTime>| !is_expired && until.is_none_or(|it| at < it);
    key.secrets.into_iter().filter(move |it| is_open(it.valid_until)).map(|it| it.hash)
}

/// An entry goes by itself after an hour: a proxy that was away for longer reads the
/// chain first.
const STOP: &str = r"
    local oldest = (tonumber(redis.call('TIME')[1]) - 3600) * 1000
    local id = redis.call('XADD', KEYS[1], 'MINID', '~', string.format('%d', oldest), '*',
                          'until', ARGV[1], 'secrets', ARGV[2])
    for at = 3, #KEYS do
        if ARGV[3] == 'first' or redis.call('EXISTS', KEYS[at]) == 0 then
            redis.call('SET', KEYS[at], id, 'EX', 86400)
        end
    end
    redis.call('PUBLISH', KEYS[2], 'stop')
    return id
";

/// So many keys in one entry.
const BATCH: usize = 500;

impl Publisher {
    /// Tells what a commit has stopped that is not published yet. Answers by which entries of the
    /// fast lane.
    pub(super) async fn tell_what_stopped(&self) -> Result<Vec<String>, SnapshotError> {
        let mut tx = chain::look(&self.db).await?;
        let Some(end) = chain::end(&mut tx).await? else { return Ok(Vec::new()) };
        let touched = chain::touched(&mut tx).await?;
        let keys: Vec<_> = touched.into_iter().filter(|it| it.entity == Entity::Key).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let before = chain::records(&mut tx, Some(&keys)).await?;
        let now = gather(&mut tx, Some(&keys)).await?.records()?;
        tx.commit().await?;
        let stopped = Stopped::between(before.iter(), now.iter(), OffsetDateTime::now_utc());
        // The next revision may have begun before our commit; the one after it has not.
        self.announce(&stopped, end.revision + 2, "first").await
    }

    /// Tells what a revision stops, should it travel faster than the revision.
    pub(super) async fn announce_beside(&self, stopped: &[Stopped], revision: i64) {
        if let Err(error) = self.announce(stopped, revision, "again").await {
            warn!(%error, "could not tell at once what has stopped");
        }
    }

    async fn announce(
        &self,
        stopped: &[Stopped],
        until: i64,
        how: &str,
    ) -> Result<Vec<String>, SnapshotError> {
        let (script, mut entries) = (Script::new(STOP), Vec::new());
        for batch in stopped.chunks(BATCH) {
            let mut conn = self.connection().await?;
            let hashes: Vec<u8> = batch.iter().flat_map(|it| it.hashes.concat()).collect();
            let mut stop = script.key(self.places.stopped());
            stop.key(self.places.hint());
            for it in batch {
                stop.key(self.places.stop_of(it.key));
            }
            stop.arg(until).arg(hashes).arg(how);
            entries.push(soon(async { Ok(stop.invoke_async(&mut conn).await?) }).await?);
        }
        Ok(entries)
    }
}
