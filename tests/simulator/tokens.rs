//! How the simulator counts: cheap, and the same every time.
//!
//! A reply's token is a *piece*: a word of at most eight letters with the space before it, the
//! rest of a longer word, a sign, or one character beyond ASCII. A streamed reply sends one piece
//! an event, so that what was delivered and what is billed can be compared. A prompt is estimated
//! from its length, as nothing depends on where its tokens begin.

const LONGEST_PIECE: usize = 8;

/// The pieces of `text`, in order; joined they are `text` again.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(first_piece(rest));
        rest = after;
        Some(piece)
    })
}

pub(super) fn count(text: &str) -> u32 {
    u32::try_from(pieces(text).count()).unwrap_or(u32::MAX)
}

/// `text` up to its first `limit` pieces.
pub(super) fn first(text: &str, limit: u32) -> &str {
    let length = pieces(text).take(limit as usize).map(str::len).sum();
    &text[..length]
}

/// What `text` costs in a prompt: four ASCII bytes or one other character a token.
pub(super) fn estimate(text: &str) -> u32 {
    let others = if text.is_ascii() { 0 } else { text.chars().filter(|it| !it.is_ascii()).count() };
    let ascii = if others == 0 { text.len() } else { text.bytes().filter(u8::is_ascii).count() };
    u32::try_from(ascii.div_ceil(4) + others).unwrap_or(u32::MAX)
}

/// The length of the first piece of `text`, which is not empty.
fn first_piece(text: &str) -> usize {
    let bytes = text.as_bytes();
    let start = usize::from(bytes[0] == b' ' && bytes.len() > 1);
    let mut end = start;
    while end < bytes.len() && end < start + LONGEST_PIECE && bytes[end].is_ascii_alphanumeric() {
        end += 1;
    }
    if end > start { end } else { start + width(bytes[start]) }
}

/// The length of the character that begins with `byte`.
fn width(byte: u8) -> usize {
    match byte {
        ..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_signs_and_foreign_characters_are_pieces() {
        let split = |text| pieces(text).collect::<Vec<_>>();
        assert_eq!(
            split("Hello, understanding world"),
            ["Hello", ",", " understa", "nding", " world"]
        );
        assert_eq!(split("  a 你好"), ["  ", "a", " 你", "好"]);
        assert_eq!(split(" "), [" "]);
    }

    #[test]
    fn a_prompt_counts_four_letters_or_one_character_a_token() {
        assert_eq!(estimate("12345678"), 2);
        assert_eq!(estimate("123456789"), 3);
        assert_eq!(estimate("你好ab"), 3);
    }

    proptest! {
        #[test]
        fn pieces_joined_are_the_text(text in ".*", limit in 0u32..9) {
            prop_assert_eq!(pieces(&text).collect::<String>(), text.clone());
            prop_assert!(count(first(&text, limit)) <= limit);
        }
    }
}
