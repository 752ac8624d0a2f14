//! How much of an answer has been written, where nobody has said yet.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::Output;

/// No tokenizer makes more tokens of a text than it has bytes. How many bytes go into one on an
/// average is not known, but that these are not exceeded, nor are a token's pieces this many:
/// there are vendors that send half words.
const MOST_BYTES_PER_TOKEN: u64 = 8;
const MOST_PIECES_PER_TOKEN: u64 = 2;
/// Of a short answer an average says little.
const SLACK: u64 = 64;

/// What a vendor's words stand behind. Thoughts and refusals are paid like any others.
static NAMES: LazyLock<[Finder; 6]> = LazyLock::new(|| {
    let names = [
        "content\":",
        "\"arguments\":",
        "\"text\":",
        "\"reasoning\":",
        "\"refusal\":",
        "\"name\":",
    ];
    names.map(|it| Finder::new(it.as_bytes()))
});

/// What has gone by of an answer's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pieces: u64,
    bytes: u64,
}

impl Written {
    /// Of an event in OpenAI's dialect.
    pub fn note(&mut self, event: &[u8]) {
        for name in NAMES.iter() {
            for at in name.find_iter(event) {
                let value = event.get(at + name.needle().len()..).unwrap_or_default();
                let value = value.trim_ascii_start();
                if let Some(text) = value.strip_prefix(b"\"") {
                    self.add(length(text));
                }
            }
        }
    }

    /// A text of that length.
    pub fn add(&mut self, bytes: usize) {
        if bytes > 0 {
            self.pieces = self.pieces.saturating_add(1);
            self.bytes = self.bytes.saturating_add(bytes as u64);
        }
    }

    /// What passed by without being looked into.
    pub fn pass(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    pub fn output(&self) -> Output {
        let of_bytes = self.bytes / MOST_BYTES_PER_TOKEN;
        let surely = of_bytes.max(self.pieces / MOST_PIECES_PER_TOKEN);
        Output { at_least: surely.saturating_sub(SLACK), at_most: self.bytes }
    }
}

/// Up to the quote that ends a text.
fn length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', text.get(at..).unwrap_or_default()) {
        at += found;
        if text.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(events: &[&str], bytes: u64) {
        let mut written = Written::default();
        events.iter().for_each(|it| written.note(it.as_bytes()));
        assert_eq!(written.output().at_most, bytes, "{events:?}");
    }

    #[test]
    fn words_are_counted_and_what_frames_them_is_not() {
        check(&[r#"data: {"choices":[{"delta":{"role":"assistant","content":""}}]}"#], 0);
        check(&[r#"data: {"choices":[{"delta":{"content":"Hi"}}]}"#], 2);
        check(&[r#"data: {"choices":[{"delta":{"reasoning_content": "a \"quoted\" word"}}]}"#], 17);
        check(&[r#"data: {"choices":[{"delta":{"reasoning":"so"}}]}"#], 2);
        check(&[r#"data: {"choices":[{"delta":{"content":null,"refusal":"no"}}]}"#], 2);
        check(&[r#"{"delta":{"tool_calls":[{"function":{"arguments":"{\"a\":1}"}}]}}"#; 3], 27);
    }

    /// Nobody's answer is broken off that keeps to its cap, however it is cut.
    #[test]
    fn what_is_surely_written_is_less_than_what_is() {
        let mut letters = Written::default();
        (0..2_000).for_each(|_| letters.add(1));
        // A thousand tokens of two letters each, letter by letter.
        assert!(letters.output().at_least < 1_000);
        let mut words = Written::default();
        (0..2_000).for_each(|_| words.add(5));
        assert_eq!(words.output(), Output { at_least: 1_250 - 64, at_most: 10_000 });
        let mut short = Written::default();
        short.add(400);
        assert_eq!(short.output().at_least, 0);
    }
}
