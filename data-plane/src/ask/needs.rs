//! What of a request decides who can answer it, and what it is for: the abilities that it surely
//! asks for, and the user's last turn.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::{
    Form,
    marks::{kind, name, objects},
    members::{self, Member, Members, items},
};

/// So much of a long turn is read at each end: a letter may be spelled by six, and a choice among
/// models looks at 6 KB of the beginning and 2 of the end.
const READ_AT_BEGINNING: usize = 36 * 1024;
const READ_AT_END: usize = 12 * 1024;

/// So many calls of tools of one answer are looked at.
const CALLS_READ: usize = 64;

/// What a request asks for beyond an answer. What stands in it in vain (no tools in a list of
/// tools) is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub tools: bool,
    pub parallel_tools: bool,
    pub json_schema: bool,
    /// JSON of any shape.
    pub json: bool,
    pub reasoning: bool,
    pub logprobs: bool,
    pub images: bool,
    pub audio: bool,
    pub files: bool,
    /// How many turns the user has taken, with the last one.
    pub turns: u16,
    turn: Option<Range<usize>>,
    /// The tools that the last answer wanted called, where the user has said nothing since.
    called: Option<Member>,
}

impl Needs {
    /// As they are kept, a bit for each. The order of what there is stays as it is.
    pub fn bits(&self) -> u16 {
        let all = self.all().into_iter().enumerate();
        all.fold(0, |bits, (at, is_asked)| bits | u16::from(*is_asked) << at)
    }

    pub fn of_bits(bits: u16) -> Self {
        let mut needs = Self::default();
        for (at, it) in needs.all_mut().into_iter().enumerate() {
            *it = bits >> at & 1 == 1;
        }
        needs
    }

    const fn all(&self) -> [&bool; 9] {
        let Self { tools, parallel_tools, json_schema, json, reasoning, .. } = self;
        let Self { logprobs, images, audio, files, .. } = self;
        [tools, parallel_tools, json_schema, json, reasoning, logprobs, images, audio, files]
    }

    const fn all_mut(&mut self) -> [&mut bool; 9] {
        let Self {
            tools,
            parallel_tools,
            json_schema,
            json,
            reasoning,
            logprobs,
            images,
            audio,
            files,
            turns: _,
            turn: _,
            called: _,
        } = self;
        [tools, parallel_tools, json_schema, json, reasoning, logprobs, images, audio, files]
    }

    pub(super) fn of(form: Form, text: &str) -> Self {
        let mut needs = Self::default();
        for member in Members::of(text, members::beginning(text)) {
            needs.take(form, text, &member);
        }
        needs
    }

    fn take(&mut self, form: Form, text: &str, member: &Member) {
        let value = &text[member.value.clone()];
        let is_said = !matches!(value, "null" | "false" | "0" | "\"none\"" | "[]" | "{}");
        match name(text, member) {
            "tools" | "functions" => {
                self.tools |= value.starts_with('[') && objects(text, member).next().is_some();
            }
            "parallel_tool_calls" => self.parallel_tools |= value == "true",
            "response_format" if value.starts_with('{') => match kind(text, member.value.start) {
                Some("json_schema") => self.json_schema = true,
                Some("json_object") => self.json = true,
                Some(_) | None => (),
            },
            "logprobs" | "top_logprobs" => self.logprobs |= is_said,
            "reasoning" | "reasoning_effort" | "thinking" => self.reasoning |= is_said,
            "messages" if form == Form::Chat && value.starts_with('[') => {
                items(text, member.value.start).for_each(|it| self.hears(text, it));
            }
            "prompt" if form == Form::Completions => self.turn = Some(member.value.clone()),
            _ => (),
        }
    }

    /// A message: what is in it, and whether the user said it.
    fn hears(&mut self, text: &str, message: Range<usize>) {
        if !text[message.clone()].starts_with('{') {
            return;
        }
        let (mut role, mut content, mut called) = ("", None, None);
        for member in Members::of(text, message.start) {
            match name(text, &member) {
                "role" => role = &text[member.value],
                "content" => content = Some(member),
                "tool_calls" => called = Some(member),
                _ => (),
            }
        }
        let is_users = role == "\"user\"";
        if is_users || role == "\"assistant\"" {
            self.called = called;
        }
        let Some(content) = content else { return };
        if text[content.value.clone()].starts_with('[') {
            parts(text, &content).for_each(|(kind, _)| self.reads(kind));
        }
        if is_users {
            self.turns = self.turns.saturating_add(1);
            self.turn = Some(content.value);
        }
    }

    fn reads(&mut self, part: &str) {
        match part {
            "image_url" => self.images = true,
            "input_audio" => self.audio = true,
            "file" | "input_file" => self.files = true,
            _ => (),
        }
    }

    /// Whether the answer before wanted a tool called with arguments that are no JSON, as far as
    /// anybody looks: whoever was to call it could not.
    pub(super) fn has_spoilt_calls(&self, text: &str) -> bool {
        let Some(called) = &self.called else { return false };
        let calls = objects(text, called).take(CALLS_READ);
        let functions = calls.filter_map(|it| member(text, it, "function"));
        let mut arguments = functions.filter_map(|it| member(text, it.value.start, "arguments"));
        arguments.any(|it| !is_json(&text[it.value]))
    }

    /// What the user said last, as far as anybody looks at it, and how many images are in it.
    pub(super) fn turn(&self, text: &str) -> (String, u32) {
        let Some(turn) = self.turn.clone() else { return (String::new(), 0) };
        let (mut said, mut images) = (String::new(), 0);
        match text.as_bytes().get(turn.start) {
            Some(b'"') => read(&text[turn], &mut said),
            Some(b'[') => {
                let turn = Member { key: turn.start..turn.start, value: turn };
                for (kind, part) in parts(text, &turn) {
                    match kind {
                        "image_url" => images += 1,
                        "text" => {
                            let is_text = |it: &Member| name(text, it) == "text";
                            let Some(it) = Members::of(text, part).find(is_text) else { continue };
                            if !said.is_empty() {
                                said.push('\n');
                            }
                            read(&text[it.value], &mut said);
                        }
                        _ => (),
                    }
                }
            }
            Some(_) | None => (),
        }
        (said, images)
    }
}

/// The parts of a message that say what they are, and where each begins.
fn parts<'a>(text: &'a str, content: &Member) -> impl Iterator<Item = (&'a str, usize)> {
    objects(text, content)
        .filter(|it| text[*it..].starts_with('{'))
        .filter_map(|it| Some((kind(text, it)?, it)))
}

/// What an object, if it is one, says by that name.
fn member(text: &str, object: usize, called: &str) -> Option<Member> {
    let is_object = text[object..].starts_with('{');
    is_object.then(|| Members::of(text, object).find(|it| name(text, it) == called))?
}

/// Whether a text stands for JSON, or for nothing, or is so long that nobody looks.
fn is_json(quoted: &str) -> bool {
    if quoted.len() > READ_AT_BEGINNING {
        return true;
    }
    let mut said = String::new();
    read(quoted, &mut said);
    said.trim().is_empty() || serde_json::from_str::<IgnoredAny>(&said).is_ok()
}

/// Appends what a text of JSON stands for; of a long one its ends.
fn read(quoted: &str, to: &mut String) {
    let raw = quoted.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or_default();
    if raw.len() <= READ_AT_BEGINNING + READ_AT_END {
        return unescape(raw, to);
    }
    unescape(&raw[..boundary(raw, READ_AT_BEGINNING)], to);
    unescape(&raw[boundary(raw, raw.len() - READ_AT_END)..], to);
}

/// The last place up to `at` where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|it| text.is_char_boundary(*it)).unwrap_or(0)
}

/// What is cut within an escape stands for little, and nothing here minds.
fn unescape(raw: &str, to: &mut String) {
    to.reserve(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        to.push_str(&rest[..at]);
        let mut letters = rest[at + 1..].chars();
        match letters.next() {
            Some('n') => to.push('\n'),
            Some('t') => to.push('\t'),
            Some('r') => to.push('\r'),
            Some('b') => to.push('\u{8}'),
            Some('f') => to.push('\u{c}'),
            Some('u') => {
                let (letter, length) = spelled(letters.as_str());
                to.extend(letter);
                rest = &letters.as_str()[length..];
                continue;
            }
            Some(itself) => to.push(itself),
            None => (),
        }
        rest = letters.as_str();
    }
    to.push_str(rest);
}

/// The letter of which the code stands there, and how much of the text that is.
fn spelled(text: &str) -> (Option<char>, usize) {
    let unit = |at: usize| u32::from_str_radix(text.get(at..at + 4)?, 16).ok();
    let Some(first) = unit(0) else { return (None, 0) };
    if let Some(letter) = char::from_u32(first) {
        return (Some(letter), 4);
    }
    let second =
        unit(6).filter(|it| text.get(4..6) == Some("\\u") && (0xDC00..0xE000).contains(it));
    match second.filter(|_| first < 0xDC00) {
        Some(second) => {
            let letter = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            (char::from_u32(letter), 10)
        }
        None => (None, 4),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_kept_of_needs_are_all_of_them(bits in 0_u16..1 << 9) {
            prop_assert_eq!(Needs::of_bits(bits).bits(), bits);
        }
    }

    fn needs(body: &str) -> Needs {
        Needs { turn: None, turns: 0, ..Needs::of(Form::Chat, body) }
    }

    #[test]
    fn what_is_surely_asked_for_is_found() {
        let none = Needs::default();
        for body in [
            r#"{"model":"a"}"#,
            r#"{"tools":[],"functions":null,"logprobs":false,"reasoning_effort":"none"}"#,
            r#"{"response_format":{"type":"text"},"messages":"tools"}"#,
            r#"{"messages":[{"role":"user","content":"{\"type\":\"image_url\"}"},7,null]}"#,
            r#"{"messages":[{"role":"user","content":[{"text":"image_url"},"image_url"]}]}"#,
        ] {
            assert_eq!(needs(body), none, "{body}");
        }
        for (body, expected) in [
            (r#"{"tools":[{"type":"function"}]}"#, Needs { tools: true, ..none.clone() }),
            (r#"{"functions":[{}]}"#, Needs { tools: true, ..none.clone() }),
            (
                r#"{"response_format":{"json_schema":{},"type":"json_schema"}}"#,
                Needs { json_schema: true, ..none.clone() },
            ),
            (r#"{"response_format":{"type":"json_object"}}"#, Needs { json: true, ..none.clone() }),
            (r#"{"top_logprobs":2}"#, Needs { logprobs: true, ..none.clone() }),
            (r#"{"reasoning":{"effort":"low"}}"#, Needs { reasoning: true, ..none.clone() }),
            (
                r#"{"messages":[{"role":"system","content":[{"type":"image_url"}]},{"role":"user"}]}"#,
                Needs { images: true, ..none.clone() },
            ),
            (
                r#"{"messages":[{"content":[{"type":"input_audio"},{"type":"file"}]}]}"#,
                Needs { audio: true, files: true, ..none.clone() },
            ),
        ] {
            assert_eq!(needs(body), expected, "{body}");
        }
    }

    #[track_caller]
    fn check(form: Form, body: &str, said: &str, images: u32) {
        let needs = Needs::of(form, body);
        let users = body.matches("\"role\":\"user\"").count();
        assert_eq!(usize::from(needs.turns), users, "{body}");
        let turn = needs.turn(body);
        assert_eq!(turn, (said.to_owned(), images), "{body}");
    }

    #[test]
    fn the_turn_is_what_the_user_said_last() {
        let body = r#"{"messages":[{"role":"system","content":"Be brief."},
            {"role":"user","content":"Hello"},{"content":"Hi","role":"assistant"},
            {"content":"What\n\u00e9\ud83d\ude00\"?","role":"user"},
            {"role":"assistant","content":null,"tool_calls":[]},
            {"role":"tool","content":"42"}]}"#;
        check(Form::Chat, body, "What\né😀\"?", 0);
        let body = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"one"},
            {"type":"image_url","image_url":{"url":"x"}},{"text":"two","type":"text"}]}]}"#;
        check(Form::Chat, body, "one\ntwo", 1);
        check(Form::Completions, r#"{"prompt":"Once"}"#, "Once", 0);
        check(Form::Completions, r#"{"prompt":[1,2]}"#, "", 0);
        check(Form::Embeddings, r#"{"input":"Once"}"#, "", 0);
        check(Form::Chat, r#"{"model":"a"}"#, "", 0);
    }

    #[test]
    fn calls_that_nobody_can_make_are_found() {
        let spoilt = |calls: &str, after: &str| {
            let body = format!(
                r#"{{"messages":[{{"role":"user","content":"?"}},
                {{"tool_calls":[{calls}],"content":null,"role":"assistant"}}{after}]}}"#
            );
            Needs::of(Form::Chat, &body).has_spoilt_calls(&body)
        };
        let call = |arguments: &str| {
            format!(r#"{{"id":"1","function":{{"name":"look","arguments":"{arguments}"}}}}"#)
        };
        let told = r#",{"role":"tool","tool_call_id":"1","content":"no such thing"}"#;
        for fine in [r#"{\"at\":1}"#, "", " ", "[]", &"x".repeat(READ_AT_BEGINNING)] {
            assert!(!spoilt(&call(fine), told), "{fine}");
        }
        for odd in [r#"{\"at\":1"#, "at 1", r#"{\"at\":1}}"#] {
            assert!(spoilt(&call(odd), told), "{odd}");
            assert!(spoilt(&format!("{},{}", call(""), call(odd)), told));
        }
        // The user or another answer has said something since.
        for since in [
            r#",{"role":"user","content":"!"}"#.to_owned(),
            format!(r#"{told},{{"role":"assistant","content":"Well."}}"#),
            format!(r#"{told},{{"role":"assistant","tool_calls":[{}]}}"#, call("")),
        ] {
            assert!(!spoilt(&call("at 1"), &since), "{since}");
        }
        for odd in ["{}", "7", r#"{"function":7}"#, r#"{"function":{"arguments":{}}}"#] {
            assert!(!spoilt(odd, told), "{odd}");
        }
        let many = vec![call(""); CALLS_READ].join(",");
        assert!(!spoilt(&format!("{many},{}", call("at 1")), told));
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_json_is(said in ".{0,40}|[\"\\\\\n\t😀é]{0,20}") {
            let quoted = serde_json::to_string(&said).unwrap();
            let mut found = String::new();
            read(&quoted, &mut found);
            prop_assert_eq!(found, said);
        }

        #[test]
        fn no_cut_of_a_text_panics(text in "(\\\\u[0-9a-fD]{0,5}|\\\\.?|.){0,20}") {
            unescape(&text, &mut String::new());
        }
    }

    #[test]
    fn of_a_long_turn_its_ends_are_read() {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"begins {} ends"}}]}}"#,
            "é".repeat(1_000_000)
        );
        let (said, _) = Needs::of(Form::Chat, &body).turn(&body);
        assert!(said.len() <= READ_AT_BEGINNING + READ_AT_END + 1);
        assert!(said.starts_with("begins ") && said.ends_with(" ends"));
    }
}
