//! What of a request matters for how much it can cost at most, found without reading all of
//! it: by the names that stand in it, wherever they do. A name that stands in a text costs
//! a larger bound, and no name is overlooked.

use memchr::memmem;

use super::Ask;

/// Spelling a letter by its code is what no program does that has nothing to hide.
const ESCAPE: &[u8] = b"\\u00";

/// With any of these nobody can say how much the vendor reads.
const UNBOUNDED_INPUT: [&[u8]; 9] = [
    b"\"file\"",
    b"\"file_id\"",
    b"\"file_url\"",
    b"\"input_file\"",
    b"\"document\"",
    b"\"input_audio\"",
    b"\"video_url\"",
    b"\"video\"",
    b"\"previous_response_id\"",
];

/// With any of these a vendor does work that is paid apart, as often as it likes.
const UNBOUNDED_WORK: [&[u8]; 8] = [
    b"\"web_search",
    b"\"plugins\"",
    b"\"search_parameters\"",
    b"\"enable_search\"",
    b"\"code_interpreter\"",
    b"\"googleSearch\"",
    b"\"google_search\"",
    b"\"file_search\"",
];

/// Searches once.
const SEARCH: &[u8] = b"\"web_search_options\"";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// No tokenizer makes more tokens of a text than it has bytes.
    pub bytes: u64,
    /// Turns, parts and tools, each of which a vendor frames in words of its own.
    pub frames: u64,
    pub has_tools: bool,
    pub images: u64,
    /// Whether what is put in cannot be told from the request.
    pub is_input_unbounded: bool,
    pub is_work_unbounded: bool,
    pub searches: u64,
    pub writes_cache: bool,
    pub writes_cache_for_an_hour: bool,
    pub has_audio: bool,
    /// What was predicted and is not so is paid as if it had been written.
    pub predicts: bool,
}

impl Marks {
    pub(super) fn of(ask: &Ask) -> Self {
        let body = &ask.body[..];
        let has = |name: &[u8]| memmem::find(body, name).is_some();
        let count = |name: &[u8]| memmem::find_iter(body, name).count() as u64;
        let searches = count(SEARCH);
        let works = UNBOUNDED_WORK.iter().map(|it| count(it)).sum::<u64>();
        Self {
            bytes: body.len() as u64,
            frames: count(b"\"role\"") + count(b"\"type\""),
            has_tools: has(b"\"tools\"") || has(b"\"functions\""),
            images: count(b"\"image_url\"") + count(b"\"image\""),
            is_input_unbounded: UNBOUNDED_INPUT.iter().any(|it| has(it)) || spells_a_name(body),
            is_work_unbounded: works > searches || spells_a_name(body),
            searches: searches.min(1),
            writes_cache: has(b"\"cache_control\""),
            writes_cache_for_an_hour: has(b"\"cache_control\"") && has(b"\"1h\""),
            has_audio: has(b"\"audio\"") || has(b"\"input_audio\""),
            predicts: has(b"\"prediction\""),
        }
    }
}

/// Whether a letter, a digit or a low line is spelled by its code.
fn spells_a_name(body: &[u8]) -> bool {
    memmem::find_iter(body, ESCAPE).any(|at| {
        let digits = body.get(at + ESCAPE.len()..at + ESCAPE.len() + 2).unwrap_or_default();
        let code = std::str::from_utf8(digits).ok().and_then(|it| u8::from_str_radix(it, 16).ok());
        code.is_some_and(|it| it.is_ascii_alphanumeric() || it == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Form;

    fn marks(body: &'static str) -> Marks {
        Ask::parse(Form::Chat, body.into()).unwrap().marks()
    }

    #[test]
    fn what_cannot_be_bounded_is_found_wherever_it_stands() {
        let plain =
            marks(r#"{"model":"a","messages":[{"role":"user","content":"caf\u00e9 <\u003e"}]}"#);
        assert!(!plain.is_input_unbounded && !plain.is_work_unbounded, "{plain:?}");
        assert_eq!((plain.frames, plain.images, plain.searches), (1, 0, 0));
        for body in [
            r#"{"model":"a","messages":[{"content":[{"type":"file","file":{"file_id":"f"}}]}]}"#,
            r#"{"model":"a","messages":[{"content":[{"\u0074ype":"x"}]}]}"#,
        ] {
            assert!(marks(body).is_input_unbounded, "{body}");
        }
        assert!(marks(r#"{"model":"a","tools":[{"type":"web_search"}]}"#).is_work_unbounded);
        let searching = marks(r#"{"model":"a","web_search_options":{}}"#);
        assert_eq!((searching.is_work_unbounded, searching.searches), (false, 1));
    }

    #[test]
    fn what_is_kept_pictured_heard_and_predicted_is_marked() {
        let of = marks(
            r#"{"model":"a","prediction":{},"messages":[{"content":[
                {"type":"image_url","image_url":{"url":"x"},"cache_control":{"ttl":"1h"}},
                {"type":"input_audio"}]}]}"#,
        );
        assert!(of.images >= 1 && of.has_audio && of.predicts && of.is_input_unbounded);
        assert!(of.writes_cache && of.writes_cache_for_an_hour);
    }
}
