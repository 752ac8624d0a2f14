//! How much of an answer has been written, where nobody has said yet.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// How many bytes make a token, in most scripts and words.
const BYTES_PER_TOKEN: u64 = 4;

static CONTENT: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"content\":"));
static ARGUMENTS: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\"arguments\":"));
static TEXT: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\"text\":"));

/// What has gone by of an answer's words. A piece of them is a token at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pieces: u64,
    bytes: u64,
}

impl Written {
    /// Of an event in OpenAI's dialect.
    pub fn note(&mut self, event: &[u8]) {
        for name in [&CONTENT, &ARGUMENTS, &TEXT] {
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

    pub fn tokens(&self) -> u64 {
        self.pieces.max(self.bytes.div_ceil(BYTES_PER_TOKEN))
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
    fn check(events: &[&str], tokens: u64) {
        let mut written = Written::default();
        events.iter().for_each(|it| written.note(it.as_bytes()));
        assert_eq!(written.tokens(), tokens, "{events:?}");
    }

    #[test]
    fn words_are_counted_and_what_frames_them_is_not() {
        check(&[r#"data: {"choices":[{"delta":{"role":"assistant","content":""}}]}"#], 0);
        check(&[r#"data: {"choices":[{"delta":{"content":"Hi"}}]}"#], 1);
        check(&[r#"data: {"choices":[{"delta":{"reasoning_content": "a \"quoted\" word"}}]}"#], 5);
        check(&[r#"data: {"choices":[{"delta":{"content":null}}]}"#], 0);
        check(&[r#"{"delta":{"tool_calls":[{"function":{"arguments":"{\"a\":1}"}}]}}"#; 3], 7);
    }
}
