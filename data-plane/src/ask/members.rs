//! Where the members of an object stand in a text that is known to be JSON.
//!
//! Everything here reads valid JSON only; on anything else it ends early and says little.

use std::ops::Range;

/// How deep lists and objects may be nested.
pub const DEEPEST: usize = 128;

/// How long an opening brace is.
pub const BRACE: usize = 1;

/// A member of an object, by where it stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// With its quotes.
    pub key: Range<usize>,
    pub value: Range<usize>,
}

/// The members of the object that begins at `start`, in their order.
pub struct Members<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Members<'a> {
    /// `start` is where the object's brace stands.
    pub fn of(text: &'a str, start: usize) -> Self {
        Self { text: text.as_bytes(), at: start + BRACE }
    }
}

impl Iterator for Members<'_> {
    type Item = Member;

    fn next(&mut self) -> Option<Member> {
        let key_at = skip(self.text, self.at, |it| is_space(it) || it == b',');
        if self.text.get(key_at) != Some(&b'"') {
            return None;
        }
        let key = key_at..end_of_text(self.text, key_at);
        let value_at = skip(self.text, key.end, |it| is_space(it) || it == b':');
        let value = value_at..end_of_value(self.text, value_at);
        self.at = value.end;
        Some(Member { key, value })
    }
}

/// What stands in the list that begins at `start`, item by item.
pub fn items(text: &str, start: usize) -> impl Iterator<Item = Range<usize>> {
    let (bytes, mut at) = (text.as_bytes(), start + BRACE);
    std::iter::from_fn(move || {
        let from = skip(bytes, at, |it| is_space(it) || it == b',');
        let is_there = bytes.get(from).is_some_and(|it| *it != b']');
        let item = from..end_of_value(bytes, from);
        // What is no JSON has no items that are nothing.
        at = item.end;
        (is_there && !item.is_empty()).then_some(item)
    })
}

/// Where the first byte that is no white space stands.
pub fn beginning(text: &str) -> usize {
    skip(text.as_bytes(), 0, is_space)
}

/// Whether lists and objects are nested deeper than anybody needs.
pub fn is_too_deep(text: &str) -> bool {
    let (text, mut at, mut depth) = (text.as_bytes(), 0, 0_usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = end_of_text(text, at);
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => (),
        }
        if depth > DEEPEST {
            return true;
        }
        at += 1;
    }
    false
}

/// Whether a text in it holds what no text can be stored with: a NUL, or half of a pair
/// of surrogates.
pub fn has_unstorable_text(text: &str) -> bool {
    let (text, mut at) = (text.as_bytes(), 0);
    while let Some(found) = memchr::memchr(b'\\', text.get(at..).unwrap_or_default()) {
        at += found;
        match escaped_unit(text, at) {
            Some(0 | 0xDC00..=0xDFFF) => return true,
            Some(0xD800..=0xDBFF) => match escaped_unit(text, at + 6) {
                Some(0xDC00..=0xDFFF) => at += 12,
                _ => return true,
            },
            Some(_) => at += 6,
            None => at += 2,
        }
    }
    false
}

/// The UTF-16 unit that `\uXXXX` at `at` stands for.
fn escaped_unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn skip(text: &[u8], from: usize, passes: impl Fn(u8) -> bool) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().position(|it| !passes(*it)).unwrap_or(rest.len())
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Where the text ends whose first quote stands at `start`: behind its last.
fn end_of_text(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', text.get(at..).unwrap_or_default()) {
        at += found;
        if text.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

fn end_of_value(text: &[u8], start: usize) -> usize {
    match text.get(start) {
        Some(b'"') => end_of_text(text, start),
        Some(b'[' | b'{') => end_of_nested(text, start),
        _ => skip(text, start, |it| !is_space(it) && !matches!(it, b',' | b'}' | b']')),
    }
}

fn end_of_nested(text: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = end_of_text(text, at);
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth <= 1 => return at + 1,
            b']' | b'}' => depth -= 1,
            _ => (),
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let members = Members::of(text, beginning(text));
        let found: Vec<_> = members.map(|it| (&text[it.key], &text[it.value])).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn members_are_found_whatever_they_hold() {
        check("{}", &[]);
        check(" { } ", &[]);
        check(r#"{"a":1}"#, &[(r#""a""#, "1")]);
        check(
            "{ \"a\\\"\" : [1, {\"x\":\"]}\"}] ,\n\"b\":\"\\\\\", \"c\" :-1.5e3 , \"d\":null}",
            &[
                (r#""a\"""#, r#"[1, {"x":"]}"}]"#),
                (r#""b""#, r#""\\""#),
                (r#""c""#, "-1.5e3"),
                (r#""d""#, "null"),
            ],
        );
    }

    #[test]
    fn a_list_has_its_items_whatever_they_are() {
        let all = |text: &'static str| -> Vec<_> { items(text, 0).map(|it| &text[it]).collect() };
        assert!(all("[]").is_empty() && all("[ ]").is_empty() && all("[").is_empty());
        assert_eq!(
            all(r#"[1, "a]" ,{"b":[2,3]},[],null]"#),
            ["1", "\"a]\"", "{\"b\":[2,3]}", "[]", "null"]
        );
    }

    #[test]
    fn depth_counts_nesting_and_not_brackets_in_texts() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_too_deep(&nested(DEEPEST)));
        assert!(is_too_deep(&nested(DEEPEST + 1)));
        assert!(!is_too_deep(&format!("[\"{}\"]", "[{\\\"".repeat(500))));
        assert!(!is_too_deep(&format!("[{}]", vec!["[]"; 500].join(","))));
    }

    #[test]
    fn texts_that_cannot_be_stored_are_found() {
        for good in [r#""\ud83d\ude00 \u0041""#, r#""\\u0000""#, r#""\\\\ud800""#, r#""\n\"""#] {
            assert!(!has_unstorable_text(good), "{good}");
        }
        for bad in
            [r#""\u0000""#, r#""\ud83d""#, r#""\ude00""#, r#""\ud83d\u0041""#, r#""\\\u0000""#]
        {
            assert!(has_unstorable_text(bad), "{bad}");
        }
    }
}
