//! A request for a chat as OpenAI's dialect says it, read by those who have to say it in
//! other words.
//!
//! What it holds that we know and cannot say is refused by name. What we do not know is
//! left out: it is meant for an upstream of the same dialect.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::CannotSay;
use crate::{ask::Ask, catalog::Candidate};

type Raw<'a> = Option<&'a RawValue>;

/// The fields, each still to be read, so that whoever cannot read one can name it.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    messages: Raw<'a>,
    #[serde(borrow)]
    tools: Raw<'a>,
    #[serde(borrow)]
    tool_choice: Raw<'a>,
    #[serde(borrow)]
    parallel_tool_calls: Raw<'a>,
    #[serde(borrow)]
    response_format: Raw<'a>,
    #[serde(borrow)]
    stop: Raw<'a>,
    #[serde(borrow)]
    temperature: Raw<'a>,
    #[serde(borrow)]
    top_p: Raw<'a>,
    #[serde(borrow)]
    reasoning_effort: Raw<'a>,
    #[serde(borrow)]
    user: Raw<'a>,
    #[serde(borrow)]
    seed: Raw<'a>,
    #[serde(borrow)]
    presence_penalty: Raw<'a>,
    #[serde(borrow)]
    frequency_penalty: Raw<'a>,
    #[serde(borrow)]
    logprobs: Raw<'a>,
    #[serde(borrow)]
    top_logprobs: Raw<'a>,
    #[serde(borrow)]
    logit_bias: Raw<'a>,
    #[serde(borrow)]
    audio: Raw<'a>,
    #[serde(borrow)]
    modalities: Raw<'a>,
    #[serde(borrow)]
    prediction: Raw<'a>,
    #[serde(borrow)]
    web_search_options: Raw<'a>,
    #[serde(borrow)]
    functions: Raw<'a>,
    #[serde(borrow)]
    function_call: Raw<'a>,
    #[serde(borrow)]
    store: Raw<'a>,
    #[serde(borrow)]
    verbosity: Raw<'a>,
}

/// A chat, read. Numbers keep their spelling.
#[derive(Debug)]
pub struct Chat<'a> {
    pub messages: Vec<Message<'a>>,
    pub tools: Vec<Tool<'a>>,
    pub tool_choice: ToolChoice<'a>,
    pub parallel_tool_calls: bool,
    pub format: Format<'a>,
    pub stop: Vec<Text<'a>>,
    pub temperature: Raw<'a>,
    pub top_p: Raw<'a>,
    pub effort: Option<Effort>,
    pub user: Option<Text<'a>>,
    pub seed: Raw<'a>,
    pub presence_penalty: Raw<'a>,
    pub frequency_penalty: Raw<'a>,
}

#[derive(Debug, Deserialize)]
pub struct Message<'a> {
    pub role: Role,
    #[serde(borrow, default)]
    pub content: Option<OneOrMany<'a, Part<'a>>>,
    #[serde(borrow, default)]
    pub tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow)]
    pub tool_call_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub refusal: Option<Text<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// A piece of a message. Which of the fields matters, `kind` says.
#[derive(Debug, Deserialize)]
pub struct Part<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Text<'a>,
    #[serde(borrow)]
    pub text: Option<Text<'a>>,
    #[serde(borrow)]
    pub refusal: Option<Text<'a>>,
    #[serde(borrow)]
    pub image_url: Option<ImageUrl<'a>>,
    #[serde(borrow)]
    pub input_audio: Option<Audio<'a>>,
    #[serde(borrow)]
    pub file: Option<File<'a>>,
    /// Not OpenAI's, but what everybody sends who wants a vendor to keep a prompt.
    #[serde(borrow)]
    pub cache_control: Raw<'a>,
}

#[derive(Debug, Deserialize)]
pub struct ImageUrl<'a> {
    #[serde(borrow)]
    pub url: Text<'a>,
}

#[derive(Debug, Deserialize)]
pub struct Audio<'a> {
    #[serde(borrow)]
    pub data: Text<'a>,
    #[serde(borrow)]
    pub format: Text<'a>,
}

#[derive(Debug, Deserialize)]
pub struct File<'a> {
    #[serde(borrow)]
    pub file_data: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
pub struct ToolCall<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub function: Called<'a>,
    /// Where Google's own answers in this dialect keep what a model wants to see again.
    #[serde(borrow)]
    pub extra_content: Option<Extra<'a>>,
}

#[derive(Debug, Deserialize)]
pub struct Called<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub arguments: Text<'a>,
}

#[derive(Debug, Deserialize)]
pub struct Extra<'a> {
    #[serde(borrow)]
    pub google: Option<Google<'a>>,
}

#[derive(Debug, Deserialize)]
pub struct Google<'a> {
    #[serde(borrow)]
    pub thought_signature: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
pub struct Tool<'a> {
    #[serde(borrow)]
    pub function: Function<'a>,
}

#[derive(Debug, Deserialize)]
pub struct Function<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub description: Option<Text<'a>>,
    #[serde(borrow)]
    pub parameters: Raw<'a>,
}

#[derive(Debug, Default, PartialEq)]
pub enum ToolChoice<'a> {
    #[default]
    Auto,
    Never,
    Required,
    Named(Text<'a>),
}

#[derive(Debug)]
pub enum Format<'a> {
    Text,
    Json,
    Schema(&'a RawValue),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    #[serde(alias = "max")]
    Xhigh,
}

/// Who a request is read for, to say what cannot be said there.
#[derive(Clone, Copy)]
pub struct Listener<'a> {
    pub model: &'a str,
}

impl<'a> Listener<'a> {
    pub fn of(to: &'a Candidate) -> Self {
        Self { model: &to.model.name }
    }

    pub fn cannot(self, parameter: &'static str, why: &'static str) -> CannotSay {
        CannotSay { model: self.model.to_owned(), parameter, why }
    }

    /// Refuses what is said, unless it says nothing.
    fn silence(self, parameter: &'static str, raw: Raw, nothing: &[&str]) -> Result<(), CannotSay> {
        match raw {
            Some(raw) if !nothing.contains(&raw.get()) => {
                Err(self.cannot(parameter, "its provider has no such thing"))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub fn read<'b, T: Deserialize<'b>>(
        self,
        parameter: &'static str,
        raw: Raw<'b>,
    ) -> Result<Option<T>, CannotSay> {
        let Some(raw) = raw else { return Ok(None) };
        let read = serde_json::from_str(raw.get()).map(Some);
        read.map_err(|_| self.cannot(parameter, "it is not in a form that we can read"))
    }
}

impl<'a> Chat<'a> {
    pub fn read(ask: &'a Ask, listener: Listener) -> Result<Self, CannotSay> {
        let fields: Fields = serde_json::from_str(ask.text())
            .map_err(|_| listener.cannot("messages", "a field stands in the body twice"))?;
        for (parameter, raw, nothing) in [
            ("logprobs", fields.logprobs, &["false"][..]),
            ("top_logprobs", fields.top_logprobs, &["0"]),
            ("logit_bias", fields.logit_bias, &["{}"]),
            ("audio", fields.audio, &[]),
            ("modalities", fields.modalities, &["[\"text\"]", "[]"]),
            ("prediction", fields.prediction, &[]),
            ("web_search_options", fields.web_search_options, &[]),
            ("functions", fields.functions, &["[]"]),
            ("function_call", fields.function_call, &["\"none\"", "\"auto\""]),
            ("store", fields.store, &["false"]),
            ("verbosity", fields.verbosity, &["\"medium\""]),
        ] {
            listener.silence(parameter, raw, nothing)?;
        }
        let parallel = listener.read("parallel_tool_calls", fields.parallel_tool_calls)?;
        let stop: Option<OneOrMany<Text>> = listener.read("stop", fields.stop)?;
        Ok(Self {
            messages: listener
                .read("messages", fields.messages)?
                .ok_or_else(|| listener.cannot("messages", "there are none"))?,
            tools: listener.read("tools", fields.tools)?.unwrap_or_default(),
            tool_choice: tool_choice(fields.tool_choice, listener)?,
            parallel_tool_calls: parallel.unwrap_or(true),
            format: format(fields.response_format, listener)?,
            stop: match stop {
                None => Vec::new(),
                Some(OneOrMany::One(one)) => vec![Text(one)],
                Some(OneOrMany::Many(many)) => many,
            },
            temperature: number("temperature", fields.temperature, listener)?,
            top_p: number("top_p", fields.top_p, listener)?,
            effort: listener.read("reasoning_effort", fields.reasoning_effort)?,
            user: listener.read("user", fields.user)?,
            seed: number("seed", fields.seed, listener)?,
            presence_penalty: number("presence_penalty", fields.presence_penalty, listener)?,
            frequency_penalty: number("frequency_penalty", fields.frequency_penalty, listener)?,
        })
    }

    /// Refuses what a vendor without these has no words for.
    pub fn without_penalties(&self, listener: Listener) -> Result<(), CannotSay> {
        const NONE: [&str; 3] = ["0", "0.0", "0.00"];
        listener.silence("presence_penalty", self.presence_penalty, &NONE)?;
        listener.silence("frequency_penalty", self.frequency_penalty, &NONE)
    }

    pub fn without_seed(&self, listener: Listener) -> Result<(), CannotSay> {
        listener.silence("seed", self.seed, &[])
    }
}

fn number<'a>(
    parameter: &'static str,
    raw: Raw<'a>,
    listener: Listener,
) -> Result<Raw<'a>, CannotSay> {
    listener.read::<serde_json::Number>(parameter, raw).map(|it| it.and(raw))
}

fn tool_choice<'a>(raw: Raw<'a>, listener: Listener) -> Result<ToolChoice<'a>, CannotSay> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        function: Name<'a>,
    }
    #[derive(Deserialize)]
    struct Name<'a> {
        #[serde(borrow)]
        name: Text<'a>,
    }
    match raw.map(RawValue::get) {
        None | Some("\"auto\"") => Ok(ToolChoice::Auto),
        Some("\"none\"") => Ok(ToolChoice::Never),
        Some("\"required\"") => Ok(ToolChoice::Required),
        Some(_) => {
            let named: Option<Named> = listener.read("tool_choice", raw)?;
            Ok(named.map_or(ToolChoice::Auto, |it| ToolChoice::Named(it.function.name)))
        }
    }
}

fn format<'a>(raw: Raw<'a>, listener: Listener) -> Result<Format<'a>, CannotSay> {
    #[derive(Deserialize)]
    struct Field<'a> {
        #[serde(borrow, rename = "type")]
        kind: Text<'a>,
        #[serde(borrow)]
        json_schema: Option<Schema<'a>>,
    }
    #[derive(Deserialize)]
    struct Schema<'a> {
        #[serde(borrow)]
        schema: Raw<'a>,
    }
    let Some(field) = listener.read::<Field>("response_format", raw)? else {
        return Ok(Format::Text);
    };
    match (&*field.kind, field.json_schema.and_then(|it| it.schema)) {
        ("text", _) => Ok(Format::Text),
        ("json_object", _) => Ok(Format::Json),
        ("json_schema", Some(schema)) => Ok(Format::Schema(schema)),
        (_, _) => Err(listener.cannot("response_format", "it is not in a form that we can read")),
    }
}

/// A `data:` address, taken apart: what it is, and in base64 what it holds.
pub fn data_url(url: &str) -> Option<(&str, &str)> {
    let (kind, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    Some((kind.split(';').next()?, data))
}

/// Text that is borrowed from the request wherever it holds no escapes, also inside
/// `Option` and `Vec`, where serde would copy a bare `Cow`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// What stands where the dialect takes either a text or a list.
#[derive(Debug)]
pub enum OneOrMany<'a, T> {
    One(Cow<'a, str>),
    Many(Vec<T>),
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either(PhantomData))
    }
}

struct Either<'a, T>(PhantomData<(&'a (), T)>);

impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for Either<'a, T> {
    type Value = OneOrMany<'a, T>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a text or a list")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(OneOrMany::One(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(OneOrMany::One(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut many = Vec::new();
        while let Some(one) = list.next_element()? {
            many.push(one);
        }
        Ok(OneOrMany::Many(many))
    }
}
