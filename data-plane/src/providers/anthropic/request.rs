//! What is asked, in the words of the Messages API.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    ask::Ask,
    providers::{
        CannotSay,
        chat::{
            Chat, Effort, Format, Listener, Message, OneOrMany, Part, Role, Text, Tool, ToolCall,
            ToolChoice, data_url,
        },
    },
};

/// How long an answer may be where nobody said, which the API wants said.
const USUAL_OUTPUT: u64 = 4_096;

/// The API thinks at least so much, or not at all.
const LEAST_THOUGHT: u64 = 1_024;

pub(super) struct Names<'a> {
    pub model: &'a str,
    /// How much the model can write; 0 where nobody knows.
    pub most_output: u64,
    /// How much of it a budget allows.
    pub allowed: Option<u64>,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [Text<'a>],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Declared<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Output<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: Speaker,
    content: Vec<Block<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Speaker {
    User,
    Assistant,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    Image {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: &'a RawValue,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: Vec<Block<'a>>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

#[derive(Serialize)]
struct Declared<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: &'a RawValue,
}

#[derive(Serialize)]
struct Choice<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disable_parallel_tool_use: bool,
}

#[derive(Serialize)]
struct Thinking {
    #[serde(rename = "type")]
    kind: &'static str,
    budget_tokens: u64,
}

#[derive(Serialize)]
struct Output<'a> {
    format: Schema<'a>,
}

#[derive(Serialize)]
struct Schema<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: &'a RawValue,
}

#[derive(Serialize)]
struct Metadata<'a> {
    user_id: &'a str,
}

pub(super) fn body(ask: &Ask, names: Names, listener: Listener) -> Result<Bytes, CannotSay> {
    if ask.choices > 1 {
        return Err(listener.cannot("n", "its provider gives one answer at a time"));
    }
    let chat = Chat::read(ask, listener)?;
    chat.without_penalties(listener)?;
    chat.without_seed(listener)?;
    let known = Some(names.most_output).filter(|it| *it > 0);
    let max_tokens = ask.cap(names.allowed).or(known).unwrap_or(USUAL_OUTPUT);
    let thinking = thinking(&chat, max_tokens);
    if thinking.is_some() {
        agrees_with_thinking(&chat, listener)?;
    }
    let (system, messages) = conversation(&chat, listener)?;
    let format = match chat.format {
        Format::Text => None,
        Format::Schema(schema) => Some(Schema { kind: "json_schema", schema }),
        Format::Json => {
            let why = "its provider writes JSON by a schema only: send `json_schema`";
            return Err(listener.cannot("response_format", why));
        }
    };
    let body = Body {
        model: names.model,
        max_tokens,
        system,
        messages,
        temperature: chat.temperature,
        top_p: chat.top_p,
        stop_sequences: &chat.stop,
        tools: chat.tools.iter().map(declared).collect(),
        tool_choice: tool_choice(&chat),
        thinking,
        output_config: format.map(|format| Output { format }),
        metadata: chat.user.as_deref().map(|user_id| Metadata { user_id }),
        stream: ask.is_streaming,
    };
    Ok(serde_json::to_vec(&body).expect("texts, numbers and JSON are JSON").into())
}

/// In the middle of its calls a model goes on without a thought: what it thought before is
/// not in the client's words, and the API wants to see it.
fn thinking(chat: &Chat, max_tokens: u64) -> Option<Thinking> {
    let wanted = match chat.effort? {
        Effort::None => return None,
        Effort::Minimal | Effort::Low => LEAST_THOUGHT,
        Effort::Medium => 4_096,
        Effort::High => 16_384,
        Effort::Xhigh => 32_768,
    };
    let is_amid_calls = chat.messages.last().is_some_and(|it| it.role == Role::Tool);
    // As much again is left for the answer.
    let budget_tokens = wanted.min(max_tokens / 2);
    let fits = budget_tokens >= LEAST_THOUGHT && !is_amid_calls;
    fits.then_some(Thinking { kind: "enabled", budget_tokens })
}

fn agrees_with_thinking(chat: &Chat, listener: Listener) -> Result<(), CannotSay> {
    let temperature = chat.temperature.map(RawValue::get);
    if temperature.is_some_and(|it| !matches!(it, "1" | "1.0")) {
        return Err(listener.cannot("temperature", "its provider thinks at 1 only"));
    }
    match chat.tool_choice {
        ToolChoice::Auto | ToolChoice::Never => Ok(()),
        ToolChoice::Required | ToolChoice::Named(_) => {
            let why = "a model of its provider's that thinks chooses by itself";
            Err(listener.cannot("tool_choice", why))
        }
    }
}

/// What the system says, and the turns of the others. Who speaks twice in a row speaks
/// once, which is how results of several calls belong together.
fn conversation<'a>(
    chat: &'a Chat,
    listener: Listener,
) -> Result<(Vec<Block<'a>>, Vec<Turn<'a>>), CannotSay> {
    let mut system = Vec::new();
    let mut turns: Vec<Turn> = Vec::new();
    for message in &chat.messages {
        let (role, blocks) = match message.role {
            Role::System | Role::Developer => {
                system.extend(said(message, listener)?);
                continue;
            }
            Role::User => (Speaker::User, said(message, listener)?),
            Role::Tool => (Speaker::User, vec![result(message, listener)?]),
            Role::Assistant => {
                let mut blocks = said(message, listener)?;
                for call in message.tool_calls.iter().flatten() {
                    blocks.push(called(call, listener)?);
                }
                (Speaker::Assistant, blocks)
            }
        };
        match turns.last_mut() {
            Some(last) if last.role == role => last.content.extend(blocks),
            Some(_) | None if blocks.is_empty() => (),
            Some(_) | None => turns.push(Turn { role, content: blocks }),
        }
    }
    if turns.is_empty() {
        return Err(listener.cannot("messages", "nobody but the system says anything in them"));
    }
    Ok((system, turns))
}

/// The pieces of a message. The API wants none that are empty.
fn said<'a>(message: &'a Message, listener: Listener) -> Result<Vec<Block<'a>>, CannotSay> {
    let mut blocks = Vec::new();
    match &message.content {
        None => (),
        Some(OneOrMany::One(text)) => blocks.extend(spoken(text, None)),
        Some(OneOrMany::Many(parts)) => {
            for part in parts {
                blocks.extend(piece(part, listener)?);
            }
        }
    }
    blocks.extend(message.refusal.as_deref().and_then(|it| spoken(it, None)));
    Ok(blocks)
}

fn spoken<'a>(text: &'a str, cache_control: Option<&'a RawValue>) -> Option<Block<'a>> {
    (!text.is_empty()).then_some(Block::Text { text, cache_control })
}

fn piece<'a>(part: &'a Part, listener: Listener) -> Result<Option<Block<'a>>, CannotSay> {
    let cache_control = part.cache_control;
    match &*part.kind {
        "text" => Ok(part.text.as_deref().and_then(|it| spoken(it, cache_control))),
        "refusal" => Ok(part.refusal.as_deref().and_then(|it| spoken(it, cache_control))),
        "image_url" => {
            let image = part.image_url.as_ref();
            let url = &*image.ok_or_else(|| unreadable(listener))?.url;
            let source = match data_url(url) {
                Some((media_type, data)) => Source::Base64 { media_type, data },
                None => Source::Url { url },
            };
            Ok(Some(Block::Image { source, cache_control }))
        }
        "file" => {
            let data = part.file.as_ref().and_then(|it| it.file_data.as_deref());
            let why = "its provider reads files that are in the message only";
            let data = data.and_then(data_url).ok_or_else(|| listener.cannot("messages", why))?;
            let source = Source::Base64 { media_type: data.0, data: data.1 };
            Ok(Some(Block::Document { source, cache_control }))
        }
        "input_audio" => Err(listener.cannot("messages", "its provider listens to no audio")),
        _ => Err(unreadable(listener)),
    }
}

fn unreadable(listener: Listener) -> CannotSay {
    listener.cannot("messages", "a part of one is not in a form that we can read")
}

fn called<'a>(call: &'a ToolCall, listener: Listener) -> Result<Block<'a>, CannotSay> {
    let arguments = &*call.function.arguments;
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments.trim() };
    let input = serde_json::from_str::<&RawValue>(arguments).ok();
    let input = input.filter(|it| it.get().starts_with('{'));
    let why = "the arguments of a call in them are not an object";
    let input = input.ok_or_else(|| listener.cannot("messages", why))?;
    Ok(Block::ToolUse { id: &call.id, name: &call.function.name, input })
}

fn result<'a>(message: &'a Message, listener: Listener) -> Result<Block<'a>, CannotSay> {
    let why = "a result in them does not say of which call";
    let tool_use_id = message.tool_call_id.as_deref();
    let tool_use_id = tool_use_id.ok_or_else(|| listener.cannot("messages", why))?;
    Ok(Block::ToolResult { tool_use_id, content: said(message, listener)? })
}

fn declared<'a>(tool: &'a Tool) -> Declared<'a> {
    let function = &tool.function;
    Declared {
        name: &function.name,
        description: function.description.as_deref(),
        input_schema: function.parameters.unwrap_or_else(|| any_object()),
    }
}

fn any_object() -> &'static RawValue {
    serde_json::from_str(r#"{"type":"object","properties":{}}"#).expect("this is JSON")
}

fn tool_choice<'a>(chat: &'a Chat) -> Option<Choice<'a>> {
    if chat.tools.is_empty() {
        return None;
    }
    let (kind, name) = match &chat.tool_choice {
        ToolChoice::Auto if chat.parallel_tool_calls => return None,
        ToolChoice::Auto => ("auto", None),
        ToolChoice::Never => ("none", None),
        ToolChoice::Required => ("any", None),
        ToolChoice::Named(name) => ("tool", Some(&**name)),
    };
    let disable_parallel_tool_use =
        !chat.parallel_tool_calls && chat.tool_choice != ToolChoice::Never;
    Some(Choice { kind, name, disable_parallel_tool_use })
}
