//! A prompt as words: lower-cased, hashed, in one pass. A character of a script without spaces
//! is a word; a number is known by how long it is.

const SEED: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// So many bytes of a prompt are looked at: its head and its tail.
pub const HEAD: usize = 6 * 1024;
pub const TAIL: usize = 2 * 1024;

/// The parts of `text` that are looked at. Together at most `HEAD + TAIL` bytes.
pub fn window(text: &str) -> (&str, &str) {
    if text.len() <= HEAD + TAIL {
        return (text, "");
    }
    let head = boundary(text, HEAD);
    let mut tail = text.len() - TAIL;
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    (text.get(..head).unwrap_or(""), text.get(tail..).unwrap_or(""))
}

/// The last place up to `at` where a character begins, or the end.
pub fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Its hash, how many characters, whether it began with a capital.
    Word {
        hash: u64,
        length: u32,
        is_capital: bool,
    },
    Number {
        hash: u64,
        length: u32,
    },
    Symbol(u8),
    /// Of another script than ASCII.
    OtherSymbol,
    Space,
    Line,
}

/// Mixes, so that the upper bits may be used as an index.
pub const fn finish(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

/// Two words in a row.
pub const fn pair(first: u64, second: u64) -> u64 {
    finish(first.wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(23) ^ second)
}

/// As `pieces` hashes them: of two words their pair.
pub fn hash_of_phrase(phrase: &str) -> u64 {
    let mut last = None;
    pieces(phrase, |it| match it {
        Piece::Word { hash, .. } | Piece::Number { hash, .. } => {
            last = Some(last.map_or(hash, |before| pair(before, hash)));
        }
        Piece::Symbol(_) | Piece::OtherSymbol | Piece::Space | Piece::Line => (),
    });
    last.unwrap_or_default()
}

const fn is_unspaced(it: char) -> bool {
    matches!(it, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{0e00}'..='\u{0e7f}' | '\u{20000}'..='\u{2ffff}')
}

/// Hands over all that `text` is made of, in order.
pub fn pieces(text: &str, mut take: impl FnMut(Piece)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_digit() {
            let from = at;
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            let length = u32::try_from(at - from).unwrap_or(u32::MAX);
            let hash = finish(SEED ^ (0x1_0000 + u64::from(length.min(12))).wrapping_mul(PRIME));
            take(Piece::Number { hash, length });
        } else if byte.is_ascii_alphabetic() || !byte.is_ascii() {
            at = word(text, at, &mut take);
        } else {
            at += 1;
            take(match byte {
                b'\n' => Piece::Line,
                b' ' | b'\t' | b'\r' => Piece::Space,
                other => Piece::Symbol(other),
            });
        }
    }
}

/// From `at`, where a letter or something beyond ASCII is. Answers where it ends.
fn word(text: &str, mut at: usize, take: &mut impl FnMut(Piece)) -> usize {
    let bytes = text.as_bytes();
    let (mut hash, mut length) = (SEED, 0_u32);
    let is_capital = bytes.get(at).is_some_and(u8::is_ascii_uppercase);
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_alphabetic() {
            hash = (hash ^ u64::from(byte | 0x20)).wrapping_mul(PRIME);
            (at, length) = (at + 1, length + 1);
        } else if byte == b'\''
            && length > 0
            && bytes.get(at + 1).is_some_and(u8::is_ascii_alphabetic)
        {
            at += 1;
        } else if byte == b'+' && length == 1 && bytes.get(at + 1) == Some(&b'+') {
            // C++ is no C.
            hash = (hash ^ u64::from(b'+')).wrapping_mul(PRIME);
            (at, length) = (at + 2, length + 1);
        } else if byte.is_ascii() {
            break;
        } else {
            let Some(it) = text.get(at..).and_then(|it| it.chars().next()) else { break };
            let is_letter = it.is_alphanumeric() || is_mark(it);
            if is_letter && !is_unspaced(it) {
                let lower = it.to_lowercase().next().unwrap_or(it);
                hash = (hash ^ u64::from(u32::from(lower))).wrapping_mul(PRIME);
                (at, length) = (at + it.len_utf8(), length + 1);
                continue;
            }
            if length > 0 {
                break;
            }
            let alone = finish((SEED ^ u64::from(u32::from(it))).wrapping_mul(PRIME));
            take(if is_letter {
                Piece::Word { hash: alone, length: 1, is_capital: false }
            } else {
                Piece::OtherSymbol
            });
            return at + it.len_utf8();
        }
    }
    take(Piece::Word { hash: finish(hash), length, is_capital });
    at
}

/// Vowel signs of Indian and Thai scripts, and accents that stand alone: parts of words.
const fn is_mark(it: char) -> bool {
    matches!(it, '\u{0300}'..='\u{036f}' | '\u{0900}'..='\u{0d7f}' | '\u{0e31}'..='\u{0e4e}'
        | '\u{064b}'..='\u{0652}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hashes(text: &str) -> Vec<u64> {
        let mut all = Vec::new();
        pieces(text, |it| {
            if let Piece::Word { hash, .. } | Piece::Number { hash, .. } = it {
                all.push(hash);
            }
        });
        all
    }

    #[test]
    fn case_and_apostrophes_make_no_difference_and_numbers_count_by_length() {
        assert_eq!(hashes("Don't STOP 12"), hashes("dont stop 97"));
        assert_ne!(hashes("12"), hashes("123"));
        assert_ne!(hashes("C++"), hashes("C"));
        assert_eq!(hashes("Übung"), hashes("übung"));
        assert_eq!(hashes("你好").len(), 2);
        assert_eq!(hashes("안녕 하세요").len(), 2);
    }

    #[test]
    fn a_phrase_is_the_pair_of_its_words() {
        let words = hashes("how many");
        assert_eq!(hash_of_phrase("How many"), pair(words[0], words[1]));
        assert_eq!(hash_of_phrase("poem"), hashes("poem")[0]);
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart(text in "\\PC{0,400}") {
            pieces(&text, |_| ());
        }

        #[test]
        fn a_window_is_head_and_tail(text in "(a|é|漢|😀){3000,5000}") {
            let (head, tail) = window(&text);
            prop_assert!(head.len() + tail.len() <= HEAD + TAIL);
            prop_assert!(text.starts_with(head) && text.ends_with(tail));
        }
    }
}
