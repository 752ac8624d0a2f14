//! What of a request matters for how much it can cost at most. What is known to matter is found
//! by the names that stand in it, wherever they do: one that stands in a text costs a larger
//! bound, and none is overlooked. And what is not known at all (a part, a tool, a parameter) may
//! be anything that the vendor has thought of since.

use std::sync::LazyLock;

use memchr::memchr2_iter;

use super::{
    Ask,
    members::{self, Member, Members},
};

/// Spelling a letter by its code is what no program does that has nothing to hide.
const ESCAPE: &[u8] = b"\\u00";

/// What a name says that stands in a request.
#[derive(Clone, Copy)]
enum Mark {
    /// A turn, a part or a tool.
    Frame,
    Tools,
    Image,
    /// Nobody can say how much the vendor reads.
    Input,
    /// The vendor does work that is paid apart, as often as it likes.
    Work,
    /// It searches once.
    Search,
    Cache,
    Hour,
    Audio,
    Prediction,
}

/// A name behind its first quote, and what it says.
type Name = (&'static [u8], Mark);

const NAMES: [Name; 37] = [
    (b"role\"", Mark::Frame),
    (b"type\"", Mark::Frame),
    (b"tools\"", Mark::Tools),
    (b"functions\"", Mark::Tools),
    (b"image_url\"", Mark::Image),
    (b"image\"", Mark::Image),
    (b"file\"", Mark::Input),
    (b"file_id\"", Mark::Input),
    (b"file_url\"", Mark::Input),
    (b"input_file\"", Mark::Input),
    (b"document\"", Mark::Input),
    (b"document_url\"", Mark::Input),
    (b"input_audio\"", Mark::Input),
    (b"audio_url\"", Mark::Input),
    (b"video_url\"", Mark::Input),
    (b"video\"", Mark::Input),
    (b"previous_response_id\"", Mark::Input),
    (b"cached_content\"", Mark::Input),
    (b"cachedContent\"", Mark::Input),
    (b"web_search", Mark::Work),
    (b"plugins\"", Mark::Work),
    (b"search_parameters\"", Mark::Work),
    (b"enable_search\"", Mark::Work),
    (b"code_interpreter\"", Mark::Work),
    (b"code_execution\"", Mark::Work),
    (b"googleSearch\"", Mark::Work),
    (b"google_search\"", Mark::Work),
    (b"url_context\"", Mark::Work),
    (b"urlContext\"", Mark::Work),
    (b"file_search\"", Mark::Work),
    (b"mcp_servers\"", Mark::Work),
    (b"web_search_options\"", Mark::Search),
    (b"cache_control\"", Mark::Cache),
    (b"1h\"", Mark::Hour),
    (b"audio\"", Mark::Audio),
    (b"input_audio\"", Mark::Audio),
    (b"prediction\"", Mark::Prediction),
];

/// The names by their first letters: most quotes are before none of these.
static BY_LETTER: LazyLock<[Vec<Name>; 256]> = LazyLock::new(|| {
    let begins =
        |name: &[u8], letter: usize| name.first().is_some_and(|it| usize::from(*it) == letter);
    let of = |letter| NAMES.into_iter().filter(|(name, _)| begins(name, letter)).collect();
    std::array::from_fn(of)
});

/// Parameters that change how an answer is written, and not what is read or done for it beyond
/// what stands in the body; or are looked at elsewhere.
const KNOWN: &[&str] = &[
    "audio",
    "bad_words",
    "best_of",
    "cache_control",
    "chat_template",
    "chat_template_kwargs",
    "dimensions",
    "echo",
    "enable_thinking",
    "encoding_format",
    "frequency_penalty",
    "function_call",
    "functions",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "ignore_eos",
    "include_reasoning",
    "input_type",
    "length_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "min_p",
    "min_tokens",
    "modalities",
    "model",
    "models",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_mode",
    "provider",
    "random_seed",
    "reasoning",
    "reasoning_effort",
    "reasoning_format",
    "repetition_penalty",
    "response_format",
    "safe_prompt",
    "safety_identifier",
    "safety_settings",
    "seed",
    "service_tier",
    "skip_special_tokens",
    "stop",
    "stop_token_ids",
    "store",
    "stream",
    "stream_options",
    "structured_outputs",
    "suffix",
    "task",
    "temperature",
    "thinking",
    "thinking_budget",
    "tool_choice",
    "top_a",
    "top_k",
    "top_logprobs",
    "top_p",
    "transforms",
    "truncate",
    "typical_p",
    "use_beam_search",
    "usage",
    "user",
    "verbosity",
    "web_search_options",
];

/// What a message has.
const OF_MESSAGES: &[&str] = &[
    "cache_control",
    "content",
    "function_call",
    "name",
    "prefix",
    "reasoning",
    "reasoning_content",
    "refusal",
    "role",
    "tool_call_id",
    "tool_calls",
];

/// What a part of one is, and has.
const PARTS: [&str; 5] = ["text", "refusal", "image_url", "input_audio", "thinking"];
const OF_PARTS: &[&str] = &[
    "cache_control",
    "image_url",
    "input_audio",
    "refusal",
    "signature",
    "text",
    "thinking",
    "type",
];

/// Tools that the caller runs.
const TOOLS: [&str; 2] = ["function", "custom"];

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
        let (found, unknown) = (Found::in_body(&ask.body), Unknown::of(ask.text()));
        Self {
            bytes: ask.body.len() as u64,
            frames: found.frames,
            has_tools: found.has_tools,
            images: found.images,
            is_input_unbounded: unknown.is_read || found.is_input_unbounded || found.spells_a_name,
            is_work_unbounded: unknown.is_done
                || found.works > found.searches
                || found.spells_a_name,
            searches: found.searches.min(1),
            writes_cache: found.writes_cache,
            writes_cache_for_an_hour: found.writes_cache && found.has_hour,
            has_audio: found.has_audio,
            predicts: found.predicts,
        }
    }
}

/// What names stand in a body, wherever they do.
#[derive(Default)]
struct Found {
    frames: u64,
    has_tools: bool,
    images: u64,
    is_input_unbounded: bool,
    works: u64,
    searches: u64,
    writes_cache: bool,
    has_hour: bool,
    has_audio: bool,
    predicts: bool,
    /// Whether a letter, a digit or a low line is spelled by its code.
    spells_a_name: bool,
}

impl Found {
    /// Reads the body once, however many names there are: it may be long.
    fn in_body(body: &[u8]) -> Self {
        let (mut found, names) = (Self::default(), &*BY_LETTER);
        for at in memchr2_iter(b'"', b'\\', body) {
            let rest = body.get(at..).unwrap_or_default();
            let Some((b'"', name)) = rest.split_first() else {
                found.spells_a_name |= spells_a_name(rest);
                continue;
            };
            let Some(letter) = name.first() else { break };
            for (is, mark) in &names[usize::from(*letter)] {
                if name.starts_with(is) {
                    found.notes(*mark);
                }
            }
        }
        found
    }

    fn notes(&mut self, mark: Mark) {
        match mark {
            Mark::Frame => self.frames += 1,
            Mark::Tools => self.has_tools = true,
            Mark::Image => self.images += 1,
            Mark::Input => self.is_input_unbounded = true,
            Mark::Work => self.works += 1,
            Mark::Search => self.searches += 1,
            Mark::Cache => self.writes_cache = true,
            Mark::Hour => self.has_hour = true,
            Mark::Audio => self.has_audio = true,
            Mark::Prediction => self.predicts = true,
        }
    }
}

/// Whether there is something of which we do not know what it is.
#[derive(Clone, Copy, Debug, Default)]
struct Unknown {
    /// It may be read, however long it is elsewhere.
    is_read: bool,
    /// It may be done, and paid apart.
    is_done: bool,
}

impl Unknown {
    fn of(text: &str) -> Self {
        let mut unknown = Self::default();
        for member in Members::of(text, members::beginning(text)) {
            let value = &text[member.value.clone()];
            match name(text, &member) {
                "messages" => {
                    unknown.is_read |= objects(text, &member).any(|it| !is_message(text, it))
                }
                "tools" => unknown.is_done |= objects(text, &member).any(|it| !is_tool(text, it)),
                "input" | "prompt" => {
                    unknown.is_read |= objects(text, &member).any(|it| is_object(text, it));
                }
                known if KNOWN.contains(&known) => (),
                _ => unknown.takes(value),
            }
        }
        unknown
    }

    fn takes(&mut self, value: &str) {
        let is_number = value.starts_with(|it: char| it == '-' || it.is_ascii_digit());
        if is_number || matches!(value, "null" | "false") {
            return;
        }
        self.is_read = true;
        self.is_done |= value.starts_with(['[', '{']);
    }
}

/// What a list holds, each from where it begins, if it is one of objects. Anything else is at
/// least one that is none.
pub(super) fn objects<'a>(text: &'a str, list: &Member) -> Box<dyn Iterator<Item = usize> + 'a> {
    match text.as_bytes().get(list.value.start) {
        Some(b'[') => Box::new(members::items(text, list.value.start).map(|it| it.start)),
        Some(b'n') => Box::new(std::iter::empty()),
        _ => Box::new(std::iter::once(list.value.start)),
    }
}

fn is_message(text: &str, start: usize) -> bool {
    let is_known = |it: &Member| match name(text, it) {
        "content" => match text.as_bytes().get(it.value.start) {
            Some(b'"' | b'n') => true,
            Some(b'[') => objects(text, it).all(|it| is_part(text, it)),
            Some(_) | None => false,
        },
        it_is if OF_MESSAGES.contains(&it_is) => true,
        _ => &text[it.value.clone()] == "null",
    };
    is_object(text, start) && Members::of(text, start).all(|it| is_known(&it))
}

fn is_part(text: &str, start: usize) -> bool {
    let is_of_parts = |it: Member| OF_PARTS.contains(&name(text, &it));
    text.as_bytes().get(start) == Some(&b'"')
        || is_object(text, start)
            && kind(text, start).is_some_and(|it| PARTS.contains(&it))
            && Members::of(text, start).all(is_of_parts)
}

fn is_tool(text: &str, start: usize) -> bool {
    is_object(text, start) && kind(text, start).is_some_and(|it| TOOLS.contains(&it))
}

fn is_object(text: &str, start: usize) -> bool {
    text.as_bytes().get(start) == Some(&b'{')
}

/// The `type` of an object.
pub(super) fn kind(text: &str, start: usize) -> Option<&str> {
    let mut all = Members::of(text, start).filter(|it| name(text, it) == "type");
    let only = all.next().filter(|_| all.next().is_none())?;
    text[only.value].strip_prefix('"')?.strip_suffix('"')
}

/// As it is spelled: what is spelled otherwise is not known.
pub(super) fn name<'a>(text: &'a str, member: &Member) -> &'a str {
    text[member.key.clone()].trim_matches('"')
}

/// Whether a text begins with a letter, a digit or a low line that is spelled by its code.
fn spells_a_name(text: &[u8]) -> bool {
    let digits = text.strip_prefix(ESCAPE).and_then(|it| it.get(..2));
    let digits = digits.and_then(|it| std::str::from_utf8(it).ok());
    let code = digits.and_then(|it| u8::from_str_radix(it, 16).ok());
    code.is_some_and(|it| it.is_ascii_alphanumeric() || it == b'_')
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

    /// Each is short, and may make a vendor read or do as much as it likes.
    #[test]
    fn what_nobody_knows_is_as_much_as_can_be() {
        let said = |part: &str| {
            let body = format!(
                r#"{{"model":"a","messages":[{{"role":"user","content":[{{"type":"text","text":"hi"}},{part}]}}]}}"#
            );
            Ask::parse(Form::Chat, body.into()).unwrap().marks()
        };
        let known = said(r#"{"type":"image_url","image_url":{"url":"x"},"cache_control":{}}"#);
        assert!(!known.is_input_unbounded && !known.is_work_unbounded, "{known:?}");
        for part in [
            r#"{"type":"document_url","document_url":"x"}"#,
            r#"{"type":"audio_url","audio_url":{"url":"x"}}"#,
            r#"{"type":"of_next_year","x":"y"}"#,
            r#"{"type":"text","text":"hi","of_next_year":"y"}"#,
            r#"{"text":"hi"}"#,
        ] {
            assert!(said(part).is_input_unbounded, "{part}");
        }
        for body in [
            r#"{"model":"a","messages":[{"role":"assistant","audio":{"id":"audio_1"}}]}"#,
            r#"{"model":"a","cached_content":"cachedContents/1"}"#,
            r#"{"model":"a","of_next_year":"x"}"#,
            r#"{"model":"a","messages":{"of":"next year"}}"#,
        ] {
            assert!(marks(body).is_input_unbounded, "{body}");
        }
        for body in [
            r#"{"model":"a","tools":[{"type":"mcp","server_url":"x"}]}"#,
            r#"{"model":"a","tools":[{"type":"function"},{"type":"x_search"}]}"#,
            r#"{"model":"a","tools":[{"type":"code_execution"}]}"#,
            r#"{"model":"a","tools":[{"url_context":{}}]}"#,
            r#"{"model":"a","extra_body":{"google":{}}}"#,
        ] {
            assert!(marks(body).is_work_unbounded, "{body}");
        }
    }

    #[test]
    fn what_everybody_sends_is_known() {
        for body in [
            r#"{"model":"a","messages":[
                {"role":"system","content":"x"},
                {"role":"assistant","content":null,"refusal":null,"audio":null,
                 "tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
                {"role":"tool","tool_call_id":"1","content":"{\"type\":\"mcp\"}"}],
              "tools":[{"type":"function","function":{"name":"f","parameters":
                {"type":"object","properties":{"type":{"type":["string","null"]}}}}}],
              "response_format":{"type":"json_schema","json_schema":{}},"temperature":1e0,
              "logit_bias":{"1":2},"reasoning_effort":"low","of_next_year":7,"another":false}"#,
            r#"{"model":"a"}"#,
        ] {
            let known = marks(body);
            assert!(!known.is_input_unbounded && !known.is_work_unbounded, "{known:?}");
        }
        let ask = |body: &'static str| Ask::parse(Form::Embeddings, body.into()).unwrap().marks();
        assert!(!ask(r#"{"model":"a","input":["{x", "y"]}"#).is_input_unbounded);
        assert!(!ask(r#"{"model":"a","input":[[1,2],[3]]}"#).is_input_unbounded);
        assert!(ask(r#"{"model":"a","input":[{"image":"x"}]}"#).is_input_unbounded);
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
