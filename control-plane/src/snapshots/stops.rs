//! The fast lane: what has stopped opening anything is told to the proxies before the
//! request that stopped it is answered.
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
use tokio::time::timeout;
use tracing::warn;

use super::{SnapshotError, chain, distribution::soon, gather, publisher::Publisher};
use crate::platform::Platform;

/// A request waits no longer than this for the fast lane: the chain will say it too.
const PATIENCE: Duration = Duration::from_millis(500);

/// After a commit that proxies have to know of: tells at once what has stopped, and has
/// the rest published.
pub async fn tell(platform: &Platform) {
    match timeout(PATIENCE, platform.publisher.tell_what_stopped()).await {
        Ok(Ok(())) => (),
        Ok(Err(error)) => warn!(%error, "could not tell at once what has stopped"),
        Err(_) => warn!("could not tell in time what has stopped"),
    }
    platform.nudges.snapshot.notify_one();
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
    /// Tells what a commit has stopped that is not published yet.
    pub(super) async fn tell_what_stopped(&self) -> Result<(), SnapshotError> {
        let mut tx = chain::look(&self.db).await?;
        let Some(end) = chain::end(&mut tx).await? else { return Ok(()) };
        let touched = chain::touched(&mut tx).await?;
        let keys: Vec<_> = touched.into_iter().filter(|it| it.entity == Entity::Key).collect();
        if keys.is_empty() {
            return Ok(());
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
    ) -> Result<(), SnapshotError> {
        let script = Script::new(STOP);
        for batch in stopped.chunks(BATCH) {
            let mut conn = self.connection().await?;
            let hashes: Vec<u8> = batch.iter().flat_map(|it| it.hashes.concat()).collect();
            let mut stop = script.key(self.places.stopped());
            stop.key(self.places.hint());
            for it in batch {
                stop.key(self.places.stop_of(it.key));
            }
            stop.arg(until).arg(hashes).arg(how);
            soon(async { Ok(stop.invoke_async::<()>(&mut conn).await?) }).await?;
        }
        Ok(())
    }
}
