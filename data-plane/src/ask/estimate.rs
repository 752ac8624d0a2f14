//! How many tokens a text will be, roughly and quickly.
//!
//! Good enough to count against a limit before the provider has counted; never what
//! anybody pays.

/// What an image or another file counts for that is sent within the body.
const PER_FILE: u64 = 1_000;

const FILE_MARK: &[u8] = b";base64,";

/// Counts words by their length, as tokenizers cut long ones; digits by three; signs by
/// two; and what is not ASCII by two bytes, which fits most scripts.
pub fn tokens(text: &[u8]) -> u64 {
    let mut rest = text;
    let mut tokens = 0;
    while let Some(found) = memchr::memmem::find(rest, FILE_MARK) {
        let (before, file) = rest.split_at(found + FILE_MARK.len());
        tokens += words(before) + PER_FILE;
        let end = memchr::memchr(b'"', file).unwrap_or(file.len());
        rest = file.get(end..).unwrap_or_default();
    }
    tokens + words(rest)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Space,
    Sign,
    Other,
}

impl Class {
    const fn of(byte: u8) -> Self {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => Self::Letter,
            b'0'..=b'9' => Self::Digit,
            b' ' | b'\t' | b'\n' | b'\r' => Self::Space,
            0..=0x7F => Self::Sign,
            0x80.. => Self::Other,
        }
    }

    /// How many bytes of its kind go into a token.
    const fn bytes_per_token(self) -> u64 {
        match self {
            Self::Letter => 8,
            Self::Digit => 3,
            // One goes with the word that follows.
            Self::Space => u64::MAX,
            Self::Sign | Self::Other => 2,
        }
    }
}

fn words(text: &[u8]) -> u64 {
    text.chunk_by(|one, next| Class::of(*one) == Class::of(*next))
        .filter_map(|run| Some((Class::of(*run.first()?), run.len() as u64)))
        .filter(|(class, _)| *class != Class::Space)
        .map(|(class, length)| length.div_ceil(class.bytes_per_token()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: u64) {
        assert_eq!(tokens(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn words_digits_signs_and_other_scripts() {
        check("", 0);
        check("Tell me a joke", 4);
        check("internationalization", 3);
        check("2026", 2);
        check("{\"a\":1}", 5);
        check("你好", 3);
    }

    #[test]
    fn a_file_counts_as_one_whatever_its_size() {
        let file = format!("\"data:image/png;base64,{}\" see", "iVBORw0KGgo".repeat(10_000));
        check(&file, tokens(b"\"data:image/png;base64,\" see"));
    }
}
