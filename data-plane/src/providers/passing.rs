//! A stream that goes to the client as it came, watched on its way.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::usage::Usage;

use super::{
    MOST_HELD, NotAnAnswer, Output, Reader, chat::Text, openai::told_or_nothing, usage,
    written::Written,
};
use crate::sse::{self, Assembler};

/// No event that we wait for is longer; one that is goes on before its end is here.
const LONGEST_WATCHED: usize = 64 * 1024;

/// What of an event is kept so that a line end that was cut in two stays one.
const LINE_END: usize = 2;

/// Passes everything but two kinds of events: one that only says what was used, where the
/// client did not ask, and one that tells of an error, which breaks the stream.
pub struct Passing {
    assembler: Assembler,
    drops_usage: bool,
    usage: Option<Usage>,
    service_tier: Option<String>,
    delivered: Written,
    is_complete: bool,
    has_failed: bool,
    /// How much went on of an event that is too long to be watched.
    gone: usize,
    /// The dropped event's line end may have been cut in two.
    drops_line_feed: bool,
}

enum Verdict {
    Pass,
    Drop,
    Fail,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "told_or_nothing")]
    service_tier: Option<Text<'a>>,
}

impl Passing {
    pub fn new(drops_usage: bool) -> Self {
        Self {
            assembler: Assembler::default(),
            drops_usage,
            usage: None,
            service_tier: None,
            delivered: Written::default(),
            is_complete: false,
            has_failed: false,
            gone: 0,
            drops_line_feed: false,
        }
    }

    /// What of the events passes. Only where one is dropped, the others are copied.
    fn sift(&mut self, events: Bytes) -> Result<Bytes, NotAnAnswer> {
        let mut sifted: Option<BytesMut> = None;
        let mut seen = 0;
        for event in sse::events(&events) {
            match self.look(event)? {
                Verdict::Pass => {
                    if let Some(sifted) = &mut sifted {
                        sifted.extend_from_slice(event);
                    }
                }
                Verdict::Drop => {
                    let before = events.get(..seen).unwrap_or_default();
                    sifted.get_or_insert_with(|| BytesMut::from(before));
                }
                Verdict::Fail => {
                    self.has_failed = true;
                    return Ok(sifted.map_or_else(|| events.slice(..seen), BytesMut::freeze));
                }
            }
            seen += event.len();
        }
        Ok(sifted.map_or(events, BytesMut::freeze))
    }

    fn look(&mut self, event: &[u8]) -> Result<Verdict, NotAnAnswer> {
        let gone = std::mem::take(&mut self.gone);
        if gone + event.len() > MOST_HELD {
            return Err(NotAnAnswer::TooLong);
        }
        let is_cut_line_feed = std::mem::take(&mut self.drops_line_feed) && event == b"\n";
        if is_cut_line_feed {
            return Ok(Verdict::Drop);
        }
        if gone > 0 || event.len() > LONGEST_WATCHED {
            self.delivered.pass(event.len());
            return Ok(Verdict::Pass);
        }
        self.is_complete |= has_done_line(event);
        self.delivered.note(event);
        let (says_usage, says_error) = (names(event, &USAGE), names(event, &ERROR));
        if !says_usage && !says_error {
            return Ok(Verdict::Pass);
        }
        let verdict = self.read_chunk(event);
        self.drops_line_feed = matches!(verdict, Verdict::Drop) && event.ends_with(b"\r");
        Ok(verdict)
    }

    fn read_chunk(&mut self, event: &[u8]) -> Verdict {
        let Some(data) = sse::data(event) else { return Verdict::Pass };
        let Ok(chunk) = serde_json::from_slice::<Chunk>(&data) else { return Verdict::Pass };
        if chunk.error.is_some() {
            return Verdict::Fail;
        }
        let usage = chunk.usage.and_then(usage::of_openai);
        self.usage = usage.or(self.usage);
        if let Some(Text(tier)) = chunk.service_tier {
            self.service_tier = Some(tier.into_owned());
        }
        let is_all = chunk.choices.is_some_and(|it| it.is_empty());
        if self.drops_usage && usage.is_some() && is_all { Verdict::Drop } else { Verdict::Pass }
    }
}

impl Reader for Passing {
    fn read(&mut self, bytes: Bytes) -> Result<Bytes, NotAnAnswer> {
        if self.has_failed {
            return Err(NotAnAnswer::Failed);
        }
        let complete = self.assembler.push(bytes);
        let passed = self.sift(complete)?;
        if self.has_failed {
            return if passed.is_empty() { Err(NotAnAnswer::Failed) } else { Ok(passed) };
        }
        let held = self.assembler.held();
        let kept = if let Some(end) = early_end(held).filter(|_| self.gone == 0) {
            self.is_complete = true;
            held.len() - end
        } else if held.len() > LONGEST_WATCHED {
            LINE_END
        } else {
            return Ok(passed);
        };
        if held.len() > LONGEST_WATCHED {
            self.delivered.pass(held.len() - kept);
        }
        self.gone += held.len() - kept;
        // What was dropped has another event behind it, and what comes next is that one's.
        self.drops_line_feed = false;
        if self.gone > MOST_HELD {
            return Err(NotAnAnswer::TooLong);
        }
        let early = self.assembler.release(kept);
        Ok(if passed.is_empty() { early } else { [passed, early].concat().into() })
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }

    fn delivered(&self) -> Output {
        self.delivered.output()
    }

    fn service_tier(&self) -> Option<String> {
        self.service_tier.clone()
    }
}

static USAGE: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\"usage\""));
static ERROR: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\"error\""));

/// Whether `name` is a key in `event` that stands for more than `null`: for less than a
/// chunk's JSON costs to read.
fn names(event: &[u8], name: &Finder) -> bool {
    name.find_iter(event).any(|at| {
        let after = event.get(at + name.needle().len()..).unwrap_or_default();
        let mut after = after.iter().filter(|it| !it.is_ascii_whitespace());
        after.next() == Some(&b':') && after.next() != Some(&b'n')
    })
}

/// No event that says that the stream is complete says much before.
const LONGEST_DONE: usize = 256;

static DONE: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"[DONE]"));

/// Where lines end that say that the stream is complete: where their line ends stand.
fn done_lines(event: &[u8]) -> impl Iterator<Item = usize> {
    let beginning = event.get(..LONGEST_DONE).unwrap_or(event);
    DONE.find_iter(beginning).filter_map(|at| {
        let end = at + DONE.needle().len();
        let is_over = matches!(beginning.get(end), Some(b'\n' | b'\r'));
        let line = sse::lines(beginning.get(..end)?).last()?;
        (is_over && is_done(line)).then_some(end)
    })
}

fn has_done_line(event: &[u8]) -> bool {
    done_lines(event).next().is_some()
}

/// Behind such a line in the beginning of an event, whatever follows: not all send the
/// blank one.
fn early_end(held: &[u8]) -> Option<usize> {
    let mut ends = done_lines(held).filter_map(|it| match held.get(it..)? {
        [b'\n', ..] => Some(it + 1),
        [b'\r', b'\n', ..] => Some(it + 2),
        _ => None,
    });
    ends.find(|it| *it <= LONGEST_DONE)
}

fn is_done(line: &[u8]) -> bool {
    matches!(line, b"data: [DONE]" | b"data:[DONE]")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Passed {
        text: String,
        is_complete: bool,
        usage: Option<Usage>,
        failure: Option<NotAnAnswer>,
    }

    fn pass<'a>(drops_usage: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Passed {
        let mut reader = Passing::new(drops_usage);
        let (mut text, mut failure) = (Vec::new(), None);
        for piece in pieces {
            match reader.read(Bytes::copy_from_slice(piece)) {
                Ok(bytes) => text.extend_from_slice(&bytes),
                Err(error) => failure = Some(error),
            }
        }
        let text = String::from_utf8(text).unwrap();
        Passed { text, is_complete: reader.is_complete(), usage: reader.usage(), failure }
    }

    const ROLE: &str =
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}],\"usage\":null}\n\n";
    const QUOTE: &str =
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{} [DONE]\"}}]}\n\n";
    const USAGE: &str =
        "data: {\"choices\":[],\"usage\": {\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";
    fn used() -> Usage {
        Usage { input: 9, output: 4, ..Usage::default() }
    }

    #[test]
    fn usage_is_read_and_passes_if_asked_for() {
        let stream = [ROLE, QUOTE, USAGE, DONE].concat();
        let passed = pass(false, [stream.as_bytes()]);
        assert_eq!((passed.text, passed.usage), (stream, Some(used())));
        assert!(passed.is_complete);
    }

    #[test]
    fn usage_that_nobody_asked_for_is_dropped_and_nothing_else() {
        let stream = [ROLE, QUOTE, USAGE, DONE].concat();
        for pieces in [vec![stream.as_bytes()], stream.as_bytes().chunks(1).collect()] {
            let passed = pass(true, pieces);
            assert_eq!(passed.text, [ROLE, QUOTE, DONE].concat());
            assert_eq!((passed.usage, passed.is_complete), (Some(used()), true));
        }
        let with_choice = USAGE.replace("[]", "[{\"delta\":{}}]");
        assert_eq!(pass(true, [with_choice.as_bytes()]).text, with_choice);
    }

    #[test]
    fn a_blank_line_behind_what_goes_on_early_is_not_that_of_what_was_dropped() {
        let usage = USAGE.replace('\n', "\r");
        let (line, blank) = DONE.split_at(DONE.len() - 1);
        let passed = pass(true, [&usage, line, blank].map(str::as_bytes));
        assert_eq!((passed.text.as_str(), passed.is_complete), (DONE, true));
    }

    #[test]
    fn an_error_breaks_the_stream_behind_what_came_before() {
        for error in [
            "data: {\"error\":{\"message\":\"our org-1 is out of money\"}}\n\n",
            "event: error\ndata: {\"error\": {\"message\":\"x\"}}\n\n",
            "data: {\"id\":\"c\",\"choices\":[],\"error\":{\"code\":\"server_error\"}}\n\n",
        ] {
            let stream = [ROLE, error, DONE].concat();
            for pieces in [vec![stream.as_bytes(), b""], stream.as_bytes().chunks(1).collect()] {
                let passed = pass(true, pieces);
                assert_eq!((passed.text.as_str(), passed.is_complete), (ROLE, false), "{error}");
                assert!(matches!(passed.failure, Some(NotAnAnswer::Failed)));
            }
        }
        let calm = "data: {\"choices\":[],\"error\":null}\n\n";
        assert_eq!(pass(true, [calm.as_bytes()]).text, calm);
    }

    #[test]
    fn a_stream_is_complete_with_its_done_line() {
        for (stream, expected) in [
            ("data: {}\n\ndata: [DONE]\n\n", true),
            ("data: {}\r\n\r\ndata: [DONE]\r\n\r\n", true),
            ("data: {}\r\rdata:[DONE]\r\r", true),
            ("data: {}\n\ndata: [DONE]\n", true),
            ("data: [DONE]\n\n: bye\n\n", true),
            ("data: [DONE]\n: bye", true),
            ("data: [DONE]\r\n: bye\r\n", true),
            (&format!("data: [DONE]\n: {}\n\n", "x".repeat(300)), true),
            (&format!(": {}\ndata: [DONE]\n\n", "x".repeat(300)), false),
            ("data: [DONE]\r: bye\n", false),
            ("", false),
            ("data: {}\n\n", false),
            ("data: {}\n\ndata: [DONE]", false),
            ("data: {\"content\":\"data: [DONE]\n", false),
            ("data: [DONE] or not\n\n", false),
        ] {
            assert_eq!(pass(false, [stream.as_bytes()]).is_complete, expected, "{stream:?}");
            let bytewise = pass(false, stream.as_bytes().chunks(1));
            assert_eq!(bytewise.is_complete, expected, "{stream:?} byte by byte");
        }
    }

    #[test]
    fn a_long_event_goes_on_before_its_end_and_a_longer_one_is_refused() {
        let long = format!("data: {{\"x\":\"{}\"}}\r\n\r\n", "é".repeat(100_000));
        let stream = [long.as_str(), USAGE, DONE].concat();
        for size in [1, 2, 999, 65_536, 300_000] {
            let mut reader = Passing::new(true);
            let mut passed = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                passed.extend_from_slice(&reader.read(Bytes::copy_from_slice(piece)).unwrap());
                assert!(reader.assembler.held().len() <= LONGEST_WATCHED);
            }
            assert!(passed == [long.as_str(), DONE].concat().as_bytes(), "pieces of {size}");
            assert!(reader.is_complete() && reader.usage() == Some(used()));
        }
        let mut reader = Passing::new(true);
        let piece = Bytes::from(vec![b'x'; 10_000]);
        let failure = (0..200).find_map(|_| reader.read(piece.clone()).err());
        assert!(matches!(failure, Some(NotAnAnswer::TooLong)));
    }

    #[test]
    fn what_passes_whole_is_not_copied() {
        let bytes = Bytes::from([ROLE, QUOTE].concat());
        let start = bytes.as_ptr();
        assert_eq!(Passing::new(true).read(bytes).unwrap().as_ptr(), start);
    }

    fn stream() -> impl Strategy<Value = String> {
        let event = prop_oneof![
            Just(ROLE),
            Just(QUOTE),
            Just(USAGE),
            Just(DONE),
            Just(": ping\n\n"),
            Just("data: {\n\n"),
            Just("\n"),
            Just("data: {\"usage\":\ndata: {\"prompt_tokens\":1},\"choices\":[]}\n\n"),
        ];
        let end = prop_oneof![Just("\n"), Just("\r"), Just("\r\n")];
        let all = prop::collection::vec((event, end), 0..10);
        all.prop_map(|it| it.iter().map(|(event, end)| event.replace('\n', end)).collect())
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            stream in stream(), drops in any::<bool>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let bytes = stream.as_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|it| it.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let (cut, whole) = (
                pass(drops, cuts.windows(2).map(|it| &bytes[it[0]..it[1]])),
                pass(drops, [bytes]),
            );
            prop_assert_eq!(&cut.text, &whole.text);
            prop_assert_eq!((cut.is_complete, cut.usage), (whole.is_complete, whole.usage));
            prop_assert!(drops || whole.text == stream);
        }

        #[test]
        fn nothing_is_a_panic(pieces: Vec<Vec<u8>>, drops: bool) {
            let mut reader = Passing::new(drops);
            for piece in pieces {
                let _ = reader.read(piece.into());
            }
        }
    }
}
