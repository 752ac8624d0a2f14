//! What Redis is asked.

use shared::snapshot::Signed;

use super::{Feed, FeedError, NotTaken};

/// What Redis holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shelf {
    /// The newest revision.
    pub revision: i64,
    /// The newest one that is there whole.
    pub full: i64,
}

/// So many revisions are read at once.
const PAGE: usize = 200;
/// No image is larger than this many pieces of half a mebibyte.
const MOST_PIECES: usize = 1_024;

type Entry = (String, Vec<(String, Vec<u8>)>);

impl Feed {
    pub(super) async fn shelf(&self) -> Result<Option<Shelf>, FeedError> {
        let mut connection = self.pool.get().await?;
        let mut ask = redis::cmd("HMGET");
        ask.arg(self.source.places.head()).arg("revision").arg("full");
        let (revision, full): (Option<i64>, Option<i64>) = ask.query_async(&mut connection).await?;
        Ok(revision.zip(full).map(|(revision, full)| Shelf { revision, full }))
    }

    /// The deltas after `revision`, as they are in the log. Nothing of them is checked.
    pub(super) async fn deltas(&self, revision: i64) -> Result<Vec<(i64, Signed)>, FeedError> {
        let mut connection = self.pool.get().await?;
        let mut ask = redis::cmd("XRANGE");
        ask.arg(self.source.places.log()).arg(format!("({revision}-0")).arg("+");
        ask.arg("COUNT").arg(PAGE);
        let entries: Vec<Entry> = ask.query_async(&mut connection).await?;
        Ok(entries.into_iter().filter_map(read).collect())
    }

    /// Everything at `revision`, piece by piece.
    pub(super) async fn everything(&self, revision: i64) -> Result<Signed, NotTaken> {
        let place = self.source.places.full(revision);
        let mut connection = self.pool.get().await.map_err(FeedError::from)?;
        let mut ask = redis::cmd("HMGET");
        ask.arg(&place).arg("head").arg("signature").arg("pieces");
        let answer = ask.query_async(&mut connection).await.map_err(FeedError::from)?;
        let (Some(head), Some(signature), Some(pieces)) = answer else {
            return Err(NotTaken::Incomplete(place));
        };
        let pieces: usize = pieces;
        let mut body = Vec::new();
        for number in 0..pieces.min(MOST_PIECES) {
            let mut ask = redis::cmd("HGET");
            ask.arg(&place).arg(number);
            let piece: Option<Vec<u8>> =
                ask.query_async(&mut connection).await.map_err(FeedError::from)?;
            body.extend(piece.ok_or_else(|| NotTaken::Incomplete(place.clone()))?);
        }
        Ok(Signed { head, signature, body })
    }
}

/// An entry that is not one of ours is as good as none: what follows it shows a gap.
fn read((id, fields): Entry) -> Option<(i64, Signed)> {
    let revision = id.split_once('-')?.0.parse().ok()?;
    let (mut head, mut signature, mut body) = (None, None, None);
    for (name, value) in fields {
        match name.as_str() {
            "head" => head = String::from_utf8(value).ok(),
            "signature" => signature = Some(value),
            "body" => body = Some(value),
            _ => (),
        }
    }
    Some((revision, Signed { head: head?, signature: signature?, body: body? }))
}
