//! The fields of a request that we read, and where they stand.

use std::ops::Range;

use serde::de::{DeserializeOwned, IgnoredAny};

use super::{
    Edit, Form, NotAnAsk, Places, Wishes,
    members::{self, Member, Members},
};

/// Nobody has more places to try.
const MOST_FALLBACKS: usize = 16;

/// Additions of ours to the dialect: no upstream is told.
const OURS: [&str; 2] = ["models", "provider"];

/// As many answers as the dialect allows.
const MOST_CHOICES: u32 = 128;

/// As many texts as the dialect lets complete at once.
const MOST_PROMPTS: u32 = 2_048;

/// What libraries and other gateways read from a body to decide where a call goes and what
/// it shows there. Passed on to one, it could take our secret elsewhere.
const STEERING: [&str; 12] = [
    "api_base",
    "api_key",
    "api_type",
    "api_version",
    "azure_endpoint",
    "base_url",
    "custom_llm_provider",
    "default_headers",
    "extra_headers",
    "headers",
    "proxies",
    "proxy",
];

/// What was said, with what was left out at its default.
#[derive(Default)]
pub(super) struct Fields {
    pub model: Option<String>,
    pub models: Vec<String>,
    pub stream: bool,
    pub include_usage: bool,
    pub output_cap: Option<u64>,
    pub choices: u32,
    /// Each is read, and where anything is written answered, for itself.
    pub texts: u32,
    /// The tier of the vendor's service.
    pub service_tier: Option<String>,
    /// Whether numbers are to be told as Base64.
    pub is_base64: bool,
    pub wishes: Wishes,
    pub places: Places,
}

impl Fields {
    /// `text` is valid JSON; an object is at `start`, or nothing that has members.
    pub(super) fn read(form: Form, text: &str, start: usize) -> Result<Self, NotAnAsk> {
        let places = Places { inside: start + members::BRACE, is_empty: true, ..Places::default() };
        let mut fields = Self { choices: 1, texts: 1, places, ..Self::default() };
        let mut seen = Vec::new();
        let mut members = Members::of(text, start).peekable();
        let mut before: Option<Member> = None;
        while let Some(member) = members.next() {
            if let Some(name) = known(form, text, &member) {
                if seen.contains(&name) {
                    return Err(NotAnAsk::Twice(name));
                }
                seen.push(name);
                fields.take(name, text, &member)?;
                if OURS.contains(&name) {
                    // Where nothing stays before it, the comma behind it goes too.
                    let before_it = before.as_ref().filter(|_| !fields.places.is_empty);
                    let cut = with_comma(before_it, &member, members.peek());
                    fields.places.ours.push(cut);
                    before = Some(member);
                    continue;
                }
            }
            fields.places.is_empty = false;
            before = Some(member);
        }
        fields.choices = fields.choices.saturating_mul(fields.texts);
        Ok(fields)
    }

    fn take(&mut self, name: &'static str, text: &str, member: &Member) -> Result<(), NotAnAsk> {
        let value = text.get(member.value.clone()).unwrap_or_default();
        let bad = |what| NotAnAsk::BadField { field: name, what };
        match name {
            "model" => {
                let model: String = serde_json::from_str(value).map_err(|_| NotAnAsk::BadModel)?;
                if model.is_empty() {
                    return Err(NotAnAsk::BadModel);
                }
                self.model = Some(model);
                self.places.model = Some(member.value.clone());
            }
            "models" => {
                let models: Vec<String> = read(value).ok_or_else(|| bad("a list of names"))?;
                if models.len() > MOST_FALLBACKS {
                    return Err(bad("a list of at most 16 names"));
                }
                self.models = models;
            }
            "provider" => self.wishes.read(text, member.value.start)?,
            "stream" => self.stream = read(value).ok_or_else(|| bad("true or false"))?,
            "stream_options" => {
                self.include_usage = include_usage(text, member.value.start)
                    .ok_or_else(|| bad("an object, and `include_usage` in it true or false"))?;
                self.places.stream_options = Some(member.value.clone());
            }
            // The best of several is chosen after all of them were written.
            "n" | "best_of" => {
                let choices: Option<u32> =
                    read(value).ok_or_else(|| bad("a whole number from 1 to 128"))?;
                let choices = choices.unwrap_or(1);
                if !(1..=MOST_CHOICES).contains(&choices) {
                    return Err(bad("a whole number from 1 to 128"));
                }
                self.choices = self.choices.max(choices);
            }
            "prompt" => {
                self.texts = texts(value);
                if self.texts > MOST_PROMPTS {
                    return Err(bad("at most 2048 texts"));
                }
            }
            "input" => self.texts = texts(value),
            "service_tier" => self.service_tier = read(value).ok_or_else(|| bad("a text"))?,
            "encoding_format" => self.is_base64 = value == "\"base64\"",
            "max_tokens" | "max_completion_tokens" => {
                let cap: Option<u64> = read(value).ok_or_else(|| bad("a whole number"))?;
                if let Some(cap) = cap {
                    // Where both are said, what we count on is the larger.
                    self.output_cap = self.output_cap.max(Some(cap));
                    self.places.output_caps.push((member.value.clone(), cap));
                } else {
                    // `null` says nothing, and still is the place to say it.
                    self.places.output_caps.push((member.value.clone(), u64::MAX));
                }
            }
            _ => return Err(NotAnAsk::Steers(name)),
        }
        Ok(())
    }
}

/// A member's name, if we read it in this form.
fn known(form: Form, text: &str, member: &Member) -> Option<&'static str> {
    const ALL: [&str; 3] = ["model", "models", "provider"];
    const WRITING: [&str; 6] =
        ["stream", "stream_options", "n", "max_tokens", "max_completion_tokens", "service_tier"];
    const COMPLETING: [&str; 2] = ["best_of", "prompt"];
    const READING: [&str; 2] = ["input", "encoding_format"];
    let raw = text.get(member.key.clone())?;
    let decoded: String;
    let name = if raw.contains('\\') {
        decoded = serde_json::from_str(raw).ok()?;
        decoded.as_str()
    } else {
        raw.trim_matches('"')
    };
    let writing = WRITING.iter().filter(|_| form.writes());
    let completing = COMPLETING.iter().filter(|_| form == Form::Completions);
    let reading = READING.iter().filter(|_| !form.writes());
    let known = ALL.iter().chain(writing).chain(completing).chain(reading);
    known.chain(&STEERING).find(|it| **it == name).copied()
}

/// How many texts there are: one, unless it is a list of texts, of lists of tokens, or of what
/// else can be read.
fn texts(value: &str) -> u32 {
    let rest = value.strip_prefix('[').unwrap_or_default().trim_start();
    if !rest.starts_with(['"', '[', '{']) {
        return 1;
    }
    let all: Vec<IgnoredAny> = serde_json::from_str(value).unwrap_or_default();
    u32::try_from(all.len()).unwrap_or(u32::MAX).max(1)
}

/// What stands there, or what stands for nothing where `null` does.
fn read<T: DeserializeOwned + Default>(value: &str) -> Option<T> {
    serde_json::from_str::<Option<T>>(value).ok().map(Option::unwrap_or_default)
}

/// A member and the comma that goes with it.
fn with_comma(before: Option<&Member>, member: &Member, after: Option<&Member>) -> Range<usize> {
    match (before, after) {
        (Some(before), _) => before.value.end..member.value.end,
        (None, Some(after)) => member.key.start..after.key.start,
        (None, None) => member.key.start..member.value.end,
    }
}

/// What the `stream_options` at `start` say; `None` where they are none.
fn include_usage(text: &str, start: usize) -> Option<bool> {
    match text.as_bytes().get(start)? {
        b'n' => Some(false),
        b'{' => {
            let mut found = usage_members(text, start);
            let said = found.next().map_or(Some(false), |it| read(text.get(it.value)?));
            said.filter(|_| found.next().is_none())
        }
        _ => None,
    }
}

fn usage_members(text: &str, start: usize) -> impl Iterator<Item = Member> {
    Members::of(text, start).filter(|it| {
        let key = text.get(it.key.clone()).unwrap_or_default();
        serde_json::from_str::<String>(key).is_ok_and(|it| it == "include_usage")
    })
}

/// The present `stream_options`, made to ask for usage; the rest of them stays.
pub(super) fn with_usage(text: &str, at: Range<usize>, options: &'static str) -> Edit<'static> {
    if text.as_bytes().get(at.start) != Some(&b'{') {
        return Edit { at, to: options.into() };
    }
    if let Some(said) = usage_members(text, at.start).next() {
        return Edit { at: said.value, to: "true".into() };
    }
    let is_empty = Members::of(text, at.start).next().is_none();
    let inside = at.start + members::BRACE;
    let comma = if is_empty { "" } else { "," };
    Edit { at: inside..inside, to: format!("\"include_usage\":true{comma}").into() }
}
