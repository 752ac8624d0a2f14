//! What a caller asks, whichever dialect it was said in.

use std::{borrow::Cow, fmt::Formatter, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{digest::Digest, tokens};

/// Text borrowed from the request wherever it holds no escapes, also inside `Option` and `Vec`,
/// where serde would copy a bare `Cow`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// What stands where a vendor takes either a text or a list of parts.
pub(super) enum Parts<'a, Part> {
    Text(Cow<'a, str>),
    Several(Vec<Part>),
}

impl<Part> Default for Parts<'_, Part> {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl<'de: 'a, 'a, Part: Deserialize<'de>> Deserialize<'de> for Parts<'a, Part> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartsVisitor(PhantomData))
    }
}

struct PartsVisitor<'a, Part>(PhantomData<(&'a (), Part)>);

impl<'de: 'a, 'a, Part: Deserialize<'de>> Visitor<'de> for PartsVisitor<'a, Part> {
    type Value = Parts<'a, Part>;

    fn expecting(&self, formatter: &mut Formatter) -> std::fmt::Result {
        formatter.write_str("a string or an array")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Parts::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Parts::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Parts::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = seq.next_element()? {
            parts.push(part);
        }
        Ok(Parts::Several(parts))
    }
}

pub(super) struct Ask<'a> {
    pub model: Cow<'a, str>,
    pub turns: Vec<Turn<'a>>,
    pub tools: Vec<Tool<'a>>,
    pub tool_choice: ToolChoice<'a>,
    pub parallel_tools: bool,
    pub format: Format<'a>,
    /// How many tokens may come out, thoughts included.
    pub cap: Option<u32>,
    pub stop: Vec<Text<'a>>,
    pub choices: u32,
    pub seed: Option<i64>,
    /// At most so many tokens of thought; `None` where the model does not think.
    pub thought: Option<u32>,
    pub cache: Cache,
}

impl<'a> Ask<'a> {
    /// A question to `model` with nothing said yet and nothing special wanted.
    pub(super) fn to(model: Cow<'a, str>) -> Self {
        Self {
            model,
            turns: Vec::new(),
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_tools: true,
            format: Format::Text,
            cap: None,
            stop: Vec::new(),
            choices: 1,
            seed: None,
            thought: None,
            cache: Cache::Automatic,
        }
    }

    /// A hash of what decides the answer. How it is to be delivered (streamed or not, how long)
    /// is left out, so that both ways bring the same words.
    pub(super) fn digest(&self) -> Digest {
        let mut digest = Digest::new().with(self.model.as_bytes());
        for turn in &self.turns {
            digest = digest.with_number(turn.speaker as u64).with(turn.text.as_bytes());
            digest = digest.with_number(u64::from(turn.images));
        }
        for tool in &self.tools {
            digest = digest.with(tool.name.as_bytes());
        }
        if let Format::Schema(schema) = self.format {
            digest = digest.with(schema.get().as_bytes());
        }
        digest.with_number(self.seed.unwrap_or_default() as u64)
    }

    pub(super) fn last_user_text(&self) -> &str {
        let said = self.turns.iter().rev().find(|it| matches!(it.speaker, Speaker::User));
        said.map_or("", |it| it.text.as_ref())
    }

    /// What the prompt costs: the turns, what frames them, the tools and the schema.
    pub(super) fn prompt_tokens(&self) -> u32 {
        let turns: u32 = self.turns.iter().map(Turn::tokens).sum();
        let tools: u32 = self.tools.iter().map(|it| it.tokens).sum();
        let schema = match self.format {
            Format::Schema(schema) => tokens::estimate(schema.get()),
            Format::Text | Format::Json => 0,
        };
        3 + turns + tools + schema
    }
}

#[derive(Debug, Clone)]
pub(super) struct Turn<'a> {
    pub speaker: Speaker,
    pub text: Cow<'a, str>,
    pub images: u32,
    /// What it costs beyond its text and images: tool calls, audio, documents.
    pub further_tokens: u32,
}

impl<'a> Turn<'a> {
    pub(super) fn new(speaker: Speaker, text: Cow<'a, str>) -> Self {
        Self { speaker, text, images: 0, further_tokens: 0 }
    }

    pub(super) fn tokens(&self) -> u32 {
        const FRAME: u32 = 3;
        const IMAGE: u32 = 255;
        FRAME + tokens::estimate(&self.text) + self.images * IMAGE + self.further_tokens
    }

    /// Adds another part of the same turn.
    pub(super) fn say(&mut self, text: Cow<'a, str>) {
        if self.text.is_empty() {
            self.text = text;
        } else {
            let so_far = self.text.to_mut();
            so_far.push('\n');
            so_far.push_str(&text);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

pub(super) struct Tool<'a> {
    pub name: Text<'a>,
    pub parameters: Option<&'a RawValue>,
    pub tokens: u32,
}

impl<'a> Tool<'a> {
    pub(super) fn new(name: Text<'a>, parameters: Option<&'a RawValue>) -> Self {
        let tokens = 8 + parameters.map_or(0, |it| tokens::estimate(it.get()));
        Self { name, parameters, tokens }
    }
}

impl Text<'_> {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[derive(Clone)]
pub(super) enum ToolChoice<'a> {
    Auto,
    Never,
    Required,
    Named(Text<'a>),
}

#[derive(Clone, Copy)]
pub(super) enum Format<'a> {
    Text,
    Json,
    Schema(&'a RawValue),
}

/// Which part of the prompt the vendor may have seen before.
#[derive(Clone, Copy)]
pub(super) enum Cache {
    /// The vendor decides: what stands before the last turn of a long prompt.
    Automatic,
    /// The caller marked so many tokens at the start of the prompt.
    Marked(u32),
}
