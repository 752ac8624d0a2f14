//! The file that a router is kept in: lines that say what it was trained on and what is known of
//! models, an empty line, and the bytes of the heads.

use crate::{
    features::{Extractor, HASHED, NUMERIC},
    heads::Heads,
    language::{BUCKETS, HEADED, LanguageHead},
    quality::{Known, Prior},
    router::{ByLength, Router},
    task::TASKS,
};

const FIRST_LINE: &str = "turnpike routing weights 1";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("this is no file of routing weights, or one of another version")]
    Other,
    #[error("line {0} of the weights is not understood")]
    Line(usize),
    #[error("the weights' bytes are damaged or cut off")]
    Damaged,
}

/// As it is kept. `sources` are lines that say what it was trained on.
#[cfg(any(test, feature = "train"))]
pub fn write(router: &Router, sources: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(router.extractor.language().rows().iter().map(|it| it.cast_unsigned()));
    for heads in [&router.tasks, &router.ease] {
        let (steps, numbers, grams) = heads.parts();
        steps.iter().chain(numbers).for_each(|it| bytes.extend(it.to_le_bytes()));
        bytes.extend(grams.iter().map(|it| it.cast_unsigned()));
    }
    let mut lines = vec![FIRST_LINE.to_owned()];
    lines.extend(sources.iter().map(|it| format!("from {it}")));
    let [starts, rises] = router.prior.by_price;
    lines.push(format!("price {starts} {rises}"));
    let ByLength { middle, rises } = router.by_length;
    lines.push(format!("length {middle} {rises}"));
    let output = router.output.map(|it| it.map_or("-".to_owned(), |it| it.to_string()));
    lines.push(format!("output {}", output.join(" ")));
    for (model, known) in &router.prior.models {
        let quality = known.quality.map(|it| it.map_or("-".to_owned(), |it| it.to_string()));
        lines.push(format!("model {model} {} {}", known.seen, quality.join(" ")));
    }
    lines.push(format!("bytes {} {:016x}", bytes.len(), digest(&bytes)));
    let mut file = (lines.join("\n") + "\n\n").into_bytes();
    file.append(&mut bytes);
    file
}

pub fn read(file: &[u8]) -> Result<Router, Unreadable> {
    let end = file.windows(2).position(|it| it == b"\n\n").ok_or(Unreadable::Other)?;
    let (head, bytes) = file.split_at(end);
    let bytes = bytes.get(2..).ok_or(Unreadable::Damaged)?;
    let head = std::str::from_utf8(head).map_err(|_| Unreadable::Other)?;
    let (mut prior, mut output, mut is_whole) = (Prior::default(), [None; TASKS], false);
    let mut by_length = ByLength::default();
    for (at, line) in head.lines().enumerate() {
        let mut words = line.split(' ');
        let understood = match (at, words.next()) {
            (0, _) if line != FIRST_LINE => return Err(Unreadable::Other),
            (0, _) | (_, Some("from")) => Some(()),
            (_, Some("price")) => numbers(words).map(|it| prior.by_price = it),
            (_, Some("length")) => {
                numbers(words).map(|[middle, rises]| by_length = ByLength { middle, rises })
            }
            (_, Some("output")) => maybe(words).map(|it| output = it),
            (_, Some("model")) => {
                model(words).map(|(it, known)| _ = prior.models.insert(it, known))
            }
            (_, Some("bytes")) => {
                is_whole = line == format!("bytes {} {:016x}", bytes.len(), digest(bytes));
                Some(())
            }
            _ => None,
        };
        understood.ok_or(Unreadable::Line(at + 1))?;
    }
    if !is_whole {
        return Err(Unreadable::Damaged);
    }
    let mut left = bytes;
    let language = signed(take(&mut left, BUCKETS * HEADED)?);
    let language = LanguageHead::new(language).ok_or(Unreadable::Damaged)?;
    let tasks = heads(&mut left, TASKS)?;
    let ease = heads(&mut left, 1)?;
    let version = format!("{:08x}", digest(file) >> 32);
    let extractor = Extractor::new(language);
    Ok(Router { extractor, tasks, ease, prior, by_length, output, version })
}

fn heads(left: &mut &[u8], count: usize) -> Result<Heads, Unreadable> {
    let mut floats = |many: usize| {
        let of = |it: &[u8]| it.try_into().map(f32::from_le_bytes).unwrap_or(f32::NAN);
        take(left, many * 4).map(|it| it.chunks_exact(4).map(of).collect::<Vec<f32>>())
    };
    let (steps, numbers) = (floats(count)?, floats(NUMERIC * count)?);
    let grams = signed(take(left, HASHED * count)?);
    Heads::from_parts(steps, numbers, grams).ok_or(Unreadable::Damaged)
}

fn take<'a>(left: &mut &'a [u8], many: usize) -> Result<&'a [u8], Unreadable> {
    let (taken, rest) = left.split_at_checked(many).ok_or(Unreadable::Damaged)?;
    *left = rest;
    Ok(taken)
}

fn signed(bytes: &[u8]) -> Vec<i8> {
    bytes.iter().map(|it| it.cast_signed()).collect()
}

fn model<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<(String, Known)> {
    let name = words.next()?.to_owned();
    let seen = words.next()?.parse().ok()?;
    Some((name, Known { quality: maybe(words)?, seen }))
}

fn numbers<'a, const N: usize>(words: impl Iterator<Item = &'a str>) -> Option<[f32; N]> {
    let all: Option<Vec<f32>> = words.map(|it| it.parse().ok()).collect();
    all?.try_into().ok()
}

/// A `-` is nothing.
fn maybe<'a, T: std::str::FromStr + std::fmt::Debug, const N: usize>(
    words: impl Iterator<Item = &'a str>,
) -> Option<[Option<T>; N]> {
    let read = |it: &str| if it == "-" { Some(None) } else { it.parse().ok().map(Some) };
    let all: Option<Vec<Option<T>>> = words.map(read).collect();
    all?.try_into().ok()
}

/// FNV-1a: against accidents, not against anybody.
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &it| {
        (hash ^ u64::from(it)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_to_the_byte() {
        let file = crate::SHIPPED;
        let router = read(file).unwrap();
        let head =
            std::str::from_utf8(&file[..file.windows(2).position(|it| it == b"\n\n").unwrap()]);
        let sources = head.unwrap().lines().filter_map(|it| it.strip_prefix("from "));
        let sources: Vec<_> = sources.map(str::to_owned).collect();
        assert!(!sources.is_empty());
        assert_eq!(write(&router, &sources), file);
        assert_eq!(router.version(), crate::router().version());
    }

    #[test]
    fn damage_is_noticed() {
        let mut file = crate::SHIPPED.to_vec();
        assert_eq!(read(&file[..file.len() - 1]).unwrap_err(), Unreadable::Damaged);
        *file.last_mut().unwrap() ^= 1;
        assert_eq!(read(&file).unwrap_err(), Unreadable::Damaged);
        assert_eq!(read(b"nothing").unwrap_err(), Unreadable::Other);
        assert_eq!(read(b"turnpike routing weights 9\n\n").unwrap_err(), Unreadable::Other);
        assert_eq!(read(b"turnpike routing weights 1\nwhat\n\n").unwrap_err(), Unreadable::Line(2));
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
            let mut file = b"turnpike routing weights 1\n".to_vec();
            file.extend(bytes);
            let _ = read(&file);
        }
    }
}
