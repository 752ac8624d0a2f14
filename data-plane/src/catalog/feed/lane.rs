//! The fast lane: which secrets have stopped, asked for twice a second and at a hint.
//!
//! It does not depend on anybody having published a revision, nor on the hint having
//! come. That we heard is told as soon as it is on our disk, for the page of the key that was
//! revoked.

use std::sync::{Mutex, PoisonError};

use redis::Script;
use shared::keys::KeyHash;

use super::{Feed, FeedError};

#[derive(Default)]
pub(super) struct Lane {
    /// The last entry heard.
    heard: Mutex<Option<String>>,
}

type Entry = (String, Vec<(String, Vec<u8>)>);

/// Kept for a day.
const HEARD: &str = r"
    local time = redis.call('TIME')
    local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
    for at = 1, #KEYS do
        redis.call('HSETNX', KEYS[at], ARGV[1], now)
        redis.call('EXPIRE', KEYS[at], 86400)
    end
";

/// So many entries at once.
const PAGE: usize = 100;

impl Feed {
    /// Refuses what has stopped, and says whether there is a newer revision as well.
    pub(super) async fn hear(&self) -> Result<bool, FeedError> {
        self.hear_what_stopped().await?;
        let Some(shelf) = self.shelf().await? else { return Ok(false) };
        let refusing = self.refusing.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = refusing.as_ref().map_or(0, |it| it.newest);
        Ok(shelf.revision > self.revision().max(refused))
    }

    pub(super) async fn hear_what_stopped(&self) -> Result<(), FeedError> {
        // There is nothing yet that could be stopped, and it must not be missed later.
        while self.catalog.present().is_some() {
            let mut connection = self.pool.get().await?;
            let after = self.lane.heard().map_or("-".to_owned(), |it| format!("({it}"));
            let mut ask = redis::cmd("XRANGE");
            ask.arg(self.source.places.stopped()).arg(after).arg("+").arg("COUNT").arg(PAGE);
            let entries: Vec<Entry> = ask.query_async(&mut connection).await?;
            let Some((last, _)) = entries.last() else { break };
            let last = last.clone();
            let secrets: Vec<_> = entries.iter().flat_map(|(_, it)| read(it)).collect();
            self.catalog.stop(&secrets);
            self.keep_stopped(&secrets);

            let script = Script::new(HEARD);
            let mut told = script.arg(&self.proxy.name);
            for (entry, _) in &entries {
                told.key(self.source.places.heard(entry));
            }
            let () = told.invoke_async(&mut connection).await?;
            self.lane.note(last);
        }
        Ok(())
    }
}

impl Lane {
    fn heard(&self) -> Option<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, entry: String) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry);
    }
}

/// The secrets of an entry, and the revision that has the last word about them.
fn read(fields: &[(String, Vec<u8>)]) -> Vec<(KeyHash, i64)> {
    let field = |name| fields.iter().find(|it| it.0 == name).map(|it| it.1.as_slice());
    let until = field("until").and_then(|it| std::str::from_utf8(it).ok()?.parse().ok());
    let hashes = field("secrets").unwrap_or_default().as_chunks::<32>().0;
    hashes.iter().map(|it| (KeyHash(*it), until.unwrap_or(i64::MAX))).collect()
}
