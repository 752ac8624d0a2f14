//! From the chain in PostgreSQL to Redis, where proxies look.
//!
//! Scripts compare before they write, so that two control planes may do this at once.
//! The newest revision never points at something that is not there.

use std::time::Duration;

use redis::Script;
use shared::snapshot::{PIECE, Signed};
use shared::wire::Connection;
use tracing::info;

use super::{
    SnapshotError,
    chain::{self, End, Sealed},
    publisher::Publisher,
};

/// Redis answers in a millisecond or is away.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// After so many revisions, or so long, everything is put there again, so that nobody
/// who comes anew has far to go.
const REVISIONS_APART: i64 = 1_000;
const APART: Duration = Duration::from_secs(600);
/// How many revisions are handed over at once.
const BATCH: i64 = 500;

/// What Redis holds.
#[derive(Debug)]
struct Shelf {
    revision: i64,
    digest: String,
    full: i64,
    /// How long ago everything was put there.
    full_age: Duration,
    /// Whether who comes anew finds their way to the newest revision.
    is_whole: bool,
}

/// Adds a delta to the log if it follows what is there.
const PUT_DELTA: &str = r"
    if redis.call('HGET', KEYS[1], 'digest') ~= ARGV[2] then return 0 end
    redis.call('XADD', KEYS[2], ARGV[1] .. '-0',
               'head', ARGV[4], 'signature', ARGV[5], 'body', ARGV[6])
    redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'digest', ARGV[3])
    redis.call('PUBLISH', KEYS[3], ARGV[1])
    return 1
";

/// Points at everything, which was put there before. Where that is newer than the log,
/// the log begins anew. The last three are kept, and the log since the second-newest.
const POINT_AT_FULL: &str = r"
    local prefix, ours = ARGV[3], ARGV[1]
    if tonumber(redis.call('HGET', KEYS[1], 'revision') or '0') < tonumber(ours) then
        redis.call('DEL', KEYS[2])
        redis.call('HSET', KEYS[1], 'revision', ours, 'digest', ARGV[2])
        redis.call('PUBLISH', KEYS[3], ours)
    end
    redis.call('PERSIST', KEYS[4])
    local kept = { ours }
    for it in string.gmatch(redis.call('HGET', KEYS[1], 'fulls') or '', '%d+') do
        if it ~= ours then
            if #kept < 3 then kept[#kept + 1] = it else redis.call('DEL', prefix .. it) end
        end
    end
    redis.call('HSET', KEYS[1], 'fulls', table.concat(kept, ' '), 'full', ours,
               'full_at', redis.call('TIME')[1])
    if kept[2] then
        redis.call('XTRIM', KEYS[2], 'MINID', string.format('%d-0', tonumber(kept[2]) + 1))
    end
    return 1
";

impl Publisher {
    /// Brings Redis to the newest revision, whatever it holds.
    pub(super) async fn distribute(&self) -> Result<(), SnapshotError> {
        let mut conn = self.db.acquire().await?;
        let Some(end) = chain::end(&mut conn).await? else { return Ok(()) };
        let Some(shelf) = self.shelf().await? else { return self.put_everything().await };
        if shelf.revision > end.revision {
            return Err(SnapshotError::Ahead { there: shelf.revision, ours: end.revision });
        }
        let digest = chain::digest_at(&mut conn, shelf.revision).await?;
        if digest.is_some_and(|it| it.to_string() != shelf.digest) {
            return Err(SnapshotError::OtherChain { revision: shelf.revision });
        }
        let mut at = shelf.revision;
        while at < end.revision {
            let next = chain::after(&mut conn, at, BATCH).await?;
            if !self.put_deltas(at, &shelf.digest, &next).await? {
                return self.put_everything().await;
            }
            at = next.last().map_or(end.revision, |it| it.revision);
        }
        let is_due = end.revision - shelf.full >= REVISIONS_APART
            || end.revision > shelf.full && shelf.full_age >= APART;
        if is_due || !shelf.is_whole {
            drop(conn);
            self.put_everything().await?;
        }
        Ok(())
    }

    /// Appends deltas to the log. `false` where they do not follow what is there, or one
    /// is too large for a log.
    async fn put_deltas(
        &self,
        at: i64,
        digest: &str,
        deltas: &[Sealed],
    ) -> Result<bool, SnapshotError> {
        let is_gapless = deltas.first().is_some_and(|it| it.revision == at + 1)
            && deltas.windows(2).all(|it| it[0].revision + 1 == it[1].revision);
        if !is_gapless || deltas.iter().any(|it| it.signed.body.len() > PIECE) {
            return Ok(false);
        }
        let mut conn = self.connection().await?;
        let script = Script::new(PUT_DELTA);
        let mut before = digest.to_owned();
        for Sealed { revision, digest, signed } in deltas {
            let digest = digest.to_string();
            let mut put = script.key(self.places.head());
            put.key(self.places.log()).key(self.places.hint());
            put.arg(*revision).arg(&before).arg(&digest);
            put.arg(&signed.head).arg(&signed.signature).arg(&signed.body);
            // Not put means that another control plane was faster.
            let put = soon(async { Ok(put.invoke_async::<bool>(&mut conn).await?) });
            if let Err(error) = put.await {
                return if is_refusal(&error) { Ok(false) } else { Err(error) };
            }
            before = digest;
        }
        Ok(true)
    }

    /// Puts everything there, and points at it.
    pub(super) async fn put_everything(&self) -> Result<(), SnapshotError> {
        let Some((end, signed)) = self.everything().await? else { return Ok(()) };
        let mut conn = self.connection().await?;
        let place = self.places.full(end.revision);
        let Signed { head, signature, body } = &signed;
        let pieces: Vec<_> = body.chunks(PIECE).collect();
        let mut first = redis::pipe();
        // Should we die in between, it goes by itself.
        first.hset(&place, "head", head).ignore().expire(&place, 3_600).ignore();
        first.hset(&place, "signature", signature).ignore();
        first.hset(&place, "pieces", pieces.len()).ignore();
        soon(async { Ok(first.query_async::<()>(&mut conn).await?) }).await?;
        for (number, piece) in pieces.iter().enumerate() {
            let mut put = redis::cmd("HSET");
            put.arg(&place).arg(number).arg(*piece);
            soon(async { Ok(put.query_async::<()>(&mut conn).await?) }).await?;
        }
        self.point_at(&mut conn, end).await?;
        info!(
            snapshot.revision = end.revision,
            bytes = body.len(),
            "put everything of revision {} there",
            end.revision
        );
        Ok(())
    }

    async fn point_at(&self, conn: &mut Connection, end: End) -> Result<(), SnapshotError> {
        let End { revision, digest, .. } = end;
        let script = Script::new(POINT_AT_FULL);
        let mut pointed = script.key(self.places.head());
        pointed.key(self.places.log()).key(self.places.hint()).key(self.places.full(revision));
        pointed.arg(revision).arg(digest.to_string()).arg(self.places.fulls());
        soon(async { Ok(pointed.invoke_async::<()>(conn).await?) }).await
    }

    async fn shelf(&self) -> Result<Option<Shelf>, SnapshotError> {
        let mut conn = self.connection().await?;
        let asked = async {
            let mut pipe = redis::pipe();
            let fields = ["revision", "digest", "full", "full_at"];
            pipe.cmd("HMGET").arg(self.places.head()).arg(&fields).cmd("TIME");
            type Fields = (Option<i64>, Option<String>, Option<i64>, Option<i64>);
            let (head, time): (Fields, (i64, i64)) = pipe.query_async(&mut conn).await?;
            let (Some(revision), Some(digest), full, full_at) = head else { return Ok(None) };
            let full = full.unwrap_or_default();
            let mut more = redis::pipe();
            more.exists(self.places.full(full));
            more.cmd("XREVRANGE").arg(self.places.log()).arg("+").arg("-").arg("COUNT").arg(1);
            type Newest = Vec<(String, redis::Value)>;
            let (is_full_there, newest): (bool, Newest) = more.query_async(&mut conn).await?;
            let logged = newest.first().is_some_and(|it| it.0 == format!("{revision}-0"));
            let is_whole = is_full_there && (full == revision || logged);
            let age = u64::try_from(time.0 - full_at.unwrap_or_default()).unwrap_or_default();
            let full_age = Duration::from_secs(age);
            Ok(Some(Shelf { revision, digest, full, full_age, is_whole }))
        };
        soon(asked).await
    }

    pub(super) async fn connection(&self) -> Result<Connection, SnapshotError> {
        soon(async { Ok(self.redis.get().await?) }).await
    }
}

/// Redis was there, and would not: the log holds a later entry than the one we add.
fn is_refusal(error: &SnapshotError) -> bool {
    matches!(error, SnapshotError::Redis(it) if !it.is_io_error() && !it.is_timeout())
}

pub(super) async fn soon<T>(
    asked: impl Future<Output = Result<T, SnapshotError>>,
) -> Result<T, SnapshotError> {
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| SnapshotError::TooSlow)?
}
