//! Server-sent events, however the network cut them: lines may end with CR, LF or both,
//! data may take several lines, comments and a byte order mark may stand in between.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Keeps the beginning of an event until the rest is there, and gives events whole, as the
/// bytes that they came in. What came whole is not copied.
#[derive(Default)]
pub struct Assembler {
    held: BytesMut,
}

impl Assembler {
    /// Takes what came and gives all events that are complete: none, one, or several.
    pub fn push(&mut self, bytes: Bytes) -> Bytes {
        let mut bytes = bytes;
        if self.held.is_empty() {
            let Some(end) = last_end(&bytes, 0) else {
                self.held.extend_from_slice(&bytes);
                return Bytes::new();
            };
            let complete = bytes.split_to(end);
            self.held.extend_from_slice(&bytes);
            return complete;
        }
        let before = self.held.len();
        self.held.extend_from_slice(&bytes);
        last_end(&self.held, before).map(|end| self.held.split_to(end).freeze()).unwrap_or_default()
    }

    /// The beginning of an event.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Gives up the beginning of an event, but for the last `kept` bytes.
    pub fn release(&mut self, kept: usize) -> Bytes {
        self.held.split_to(self.held.len().saturating_sub(kept)).freeze()
    }
}

/// Where the last event ends in `bytes`, if that is behind `known`. What is before `known`
/// holds no end of an event; `bytes` begin where a line does.
fn last_end(bytes: &[u8], known: usize) -> Option<usize> {
    let mut end = bytes.len();
    loop {
        let line_end = known + memchr::memrchr2(b'\n', b'\r', bytes.get(known..end)?)?;
        let is_pair = bytes.get(line_end) == Some(&b'\n')
            && line_end.checked_sub(1).and_then(|it| bytes.get(it)) == Some(&b'\r');
        let start = line_end - usize::from(is_pair);
        let is_blank = match start.checked_sub(1) {
            Some(before) => matches!(bytes.get(before), Some(b'\n' | b'\r')),
            None => true,
        };
        if is_blank {
            return Some(line_end + 1);
        }
        end = start;
    }
}

/// The events of `bytes`, each with the blank line that ends it.
pub fn events(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (event, after) = rest.split_at_checked(event_length(rest)?)?;
        rest = after;
        Some(event)
    })
}

/// How long the first event is, if its end is there.
fn event_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        let end = memchr::memchr2(b'\n', b'\r', rest)?;
        let is_pair = rest.get(end..end + 2) == Some(b"\r\n");
        at += end + 1 + usize::from(is_pair);
        if end == 0 {
            return Some(at);
        }
    }
}

/// The lines of an event that are not empty.
pub fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    let event = event.strip_prefix(BYTE_ORDER_MARK).unwrap_or(event);
    let mut rest = Some(event);
    let lines = std::iter::from_fn(move || {
        let present = rest?;
        match memchr::memchr2(b'\n', b'\r', present) {
            Some(end) => {
                rest = present.get(end + 1..);
                present.get(..end)
            }
            None => {
                rest = None;
                Some(present)
            }
        }
    });
    lines.filter(|it| !it.is_empty())
}

/// What an event says: all of its lines of data. `None` where it has none, as a comment.
pub fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut fields = lines(event).filter_map(|it| {
        let value = it.strip_prefix(b"data")?;
        match value.split_first() {
            None => Some(value),
            Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
            Some(_) => None,
        }
    });
    let first = fields.next()?;
    let mut data = Cow::Borrowed(first);
    for more in fields {
        let data = data.to_mut();
        data.push(b'\n');
        data.extend_from_slice(more);
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut assembler = Assembler::default();
        let mut said = Vec::new();
        for piece in pieces {
            let whole = assembler.push(Bytes::copy_from_slice(piece));
            said.extend(
                events(&whole)
                    .filter_map(data)
                    .map(|it| String::from_utf8(it.into_owned()).unwrap()),
            );
        }
        said
    }

    #[track_caller]
    fn check(stream: &str, expected: &[&str]) {
        assert_eq!(said([stream.as_bytes()]), expected, "{stream:?}");
        assert_eq!(said(stream.as_bytes().chunks(1)), expected, "{stream:?} byte by byte");
    }

    #[test]
    fn events_end_with_a_blank_line_of_any_kind() {
        check("data: a\n\ndata: b\n\n", &["a", "b"]);
        check("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]);
        check("data: a\r\rdata: b\r\r", &["a", "b"]);
        check("data: a\n\r\ndata: b\r\n\n", &["a", "b"]);
        check("data: a\n\ndata: b\n", &["a"]);
        check("\n\n\ndata: a\n\n", &["a"]);
    }

    #[test]
    fn fields_are_read_as_the_standard_says() {
        check("data:a\ndata: b\ndata:  c\n\n", &["a\nb\n c"]);
        check("\u{FEFF}data: a\n\n", &["a"]);
        check(": data: no\nevent: x\nid: 7\nretry: 9\ndata: a\ndatum: b\n\n", &["a"]);
        check(": only a comment\n\n", &[]);
        check("data\n\ndata:\n\n", &["", ""]);
    }

    #[test]
    fn what_came_whole_is_not_copied() {
        let bytes = Bytes::from_static(b"data: a\n\ndata: b\n\n");
        let (start, mut assembler) = (bytes.as_ptr(), Assembler::default());
        assert_eq!(assembler.push(bytes).as_ptr(), start);
        assert!(assembler.held().is_empty());
    }

    fn stream() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            Just("data: {\"a\":\"…\"}".to_owned()),
            Just("data: [DONE]".to_owned()),
            Just(": ping".to_owned()),
            Just("event: x".to_owned()),
            Just(String::new()),
            "[dat: äö\u{1F600}]{0,6}",
        ];
        let end = prop_oneof![Just("\n"), Just("\r"), Just("\r\n")];
        let lines = prop::collection::vec((line, end), 0..12);
        lines.prop_map(|it| it.iter().flat_map(|(line, end)| [line.as_str(), end]).collect())
    }

    proptest! {
        /// Where the network cuts the stream makes no difference, to the bytes neither.
        #[test]
        fn cuts_do_not_matter(stream in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let bytes = stream.as_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|it| it.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|it| &bytes[it[0]..it[1]]).collect();
            prop_assert_eq!(said(pieces.iter().copied()), said([bytes]));

            let mut assembler = Assembler::default();
            let mut passed: Vec<u8> = Vec::new();
            for piece in pieces {
                let whole = assembler.push(Bytes::copy_from_slice(piece));
                prop_assert_eq!(events(&whole).map(<[u8]>::len).sum::<usize>(), whole.len());
                passed.extend_from_slice(&whole);
            }
            passed.extend_from_slice(assembler.held());
            prop_assert_eq!(passed, bytes);
        }
    }
}
