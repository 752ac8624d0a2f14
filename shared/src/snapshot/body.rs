//! Changes as bytes: a line each, compressed together.
//!
//! A line is `key 0198…  {…}`, or `key 0198… -` for one that is gone, so that a body is
//! read line by line and a bad line costs itself alone.

use std::io::{self, BufRead, BufReader, Read, Write};

use uuid::Uuid;

use super::{Change, Entity, RecordId};

const LEVEL: i32 = 3;
/// More than any installation has, so that a body that only swells is given up.
const MOST_BYTES: u64 = 1 << 30;

pub fn pack<'a>(changes: impl IntoIterator<Item = Change<'a>>) -> io::Result<Vec<u8>> {
    let mut to = zstd::Encoder::new(Vec::new(), LEVEL)?;
    for Change { id, content } in changes {
        let RecordId { entity, id } = id;
        writeln!(to, "{} {} {}", entity.name(), id.simple(), content.unwrap_or(GONE))?;
    }
    to.finish()
}

const GONE: &str = "-";

/// Hands each change to `take`, or the number of the line that is none.
pub fn unpack(
    body: &[u8],
    mut take: impl FnMut(Result<Change<'_>, BadLine>),
) -> Result<(), io::Error> {
    let plain = zstd::Decoder::new(body)?.take(MOST_BYTES);
    let mut plain = BufReader::with_capacity(64 * 1024, plain);
    let mut line = Vec::new();
    let mut number = 0;
    while plain.read_until(b'\n', &mut line)? > 0 {
        number += 1;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        take(parse(&line).ok_or(BadLine(number)));
        line.clear();
    }
    Ok(())
}

fn parse(line: &[u8]) -> Option<Change<'_>> {
    let (entity, rest) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let (id, content) = rest.split_once(' ')?;
    let id = RecordId { entity: Entity::named(entity), id: Uuid::try_parse(id).ok()? };
    Some(Change { id, content: Some(content).filter(|it| *it != GONE) })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not a record")]
pub struct BadLine(pub usize);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unpacked(body: &[u8]) -> Vec<Result<(RecordId, Option<String>), BadLine>> {
        let mut all = Vec::new();
        unpack(body, |it| all.push(it.map(|it| (it.id, it.content.map(str::to_owned))))).unwrap();
        all
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            changes in prop::collection::vec((any::<u128>(), prop::option::of("\\{[a-z0-9 ]{0,40}\\}")), 0..20),
        ) {
            let id = |id| RecordId { entity: Entity::Key, id: Uuid::from_u128(id) };
            let body = pack(changes.iter().map(|(it, content)| Change { id: id(*it), content: content.as_deref() }));
            let seen: Result<Vec<_>, _> = unpacked(&body.unwrap()).into_iter().collect();
            let sent: Vec<_> = changes.into_iter().map(|(it, content)| (id(it), content)).collect();
            prop_assert_eq!(seen, Ok(sent));
        }

        #[test]
        fn nothing_that_comes_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = unpack(&bytes, |_| ());
            let body = zstd::encode_all(bytes.as_slice(), 1).unwrap();
            let _ = unpack(&body, |_| ());
        }
    }

    #[test]
    fn a_bad_line_costs_itself() {
        let id = Uuid::nil().simple();
        let text = format!("key {id} {{}}\nkey 12 {{}}\nnonsense\n\nplan {id} {{}}\nkey {id} -\n");
        let seen = unpacked(&zstd::encode_all(text.as_bytes(), 1).unwrap());
        let is_good: Vec<_> = seen.iter().map(Result::is_ok).collect();
        assert_eq!(is_good, [true, false, false, false, true, true]);
        let plan = seen[4].clone().unwrap().0.entity;
        assert!(matches!(plan, Entity::Unknown(_)), "{plan:?}");
    }

    #[test]
    fn a_body_that_was_cut_is_noticed() {
        let cut = zstd::encode_all(&b"key 0000"[..], 1).unwrap();
        assert!(unpack(&cut, |_| ()).is_err());
    }
}
