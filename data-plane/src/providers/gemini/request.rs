//! What is asked, in the words of `generateContent`.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    ask::Ask,
    providers::{
        CannotSay,
        chat::{
            Chat, Effort, Format, Listener, Message, OneOrMany, Part as Said, Role, Text, Tool,
            ToolCall, ToolChoice, data_url,
        },
    },
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Declarations<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    generation_config: Generation<'a>,
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Speaker>,
    parts: Vec<Part<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Speaker {
    User,
    Model,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Part<'a> {
    Text {
        text: &'a str,
    },
    #[serde(rename_all = "camelCase")]
    Data {
        inline_data: Blob<'a>,
    },
    #[serde(rename_all = "camelCase")]
    File {
        file_data: FileData<'a>,
    },
    #[serde(rename_all = "camelCase")]
    Call {
        function_call: Call<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        thought_signature: Option<&'a str>,
    },
    #[serde(rename_all = "camelCase")]
    Result {
        function_response: CallResult<'a>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'static str>,
    file_uri: &'a str,
}

#[derive(Serialize)]
pub(super) struct Call<'a> {
    name: &'a str,
    args: &'a RawValue,
}

#[derive(Serialize)]
pub(super) struct CallResult<'a> {
    name: &'a str,
    response: Answered<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answered<'a> {
    Object(Box<RawValue>),
    Text { result: std::borrow::Cow<'a, str> },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declarations<'a> {
    function_declarations: Vec<Declared<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declared<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'a> {
    function_calling_config: Calling<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Calling<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_function_names: Option<[&'a str; 1]>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Generation<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [Text<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<Thinking>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Thinking {
    thinking_budget: u32,
}

pub(super) fn body(
    ask: &Ask,
    most_output: Option<u64>,
    listener: Listener,
) -> Result<Bytes, CannotSay> {
    let chat = Chat::read(ask, listener)?;
    if !chat.parallel_tool_calls && !chat.tools.is_empty() {
        let why = "its provider cannot be kept from calling several at once";
        return Err(listener.cannot("parallel_tool_calls", why));
    }
    let (system, contents) = conversation(&chat, listener)?;
    let (response_mime_type, response_json_schema) = match chat.format {
        Format::Text => (None, None),
        Format::Json => (Some("application/json"), None),
        Format::Schema(schema) => (Some("application/json"), Some(schema)),
    };
    let body = Body {
        system_instruction: (!system.is_empty()).then_some(Content { role: None, parts: system }),
        contents,
        tools: declarations(&chat),
        tool_config: tool_config(&chat),
        generation_config: Generation {
            max_output_tokens: ask.cap(most_output),
            temperature: chat.temperature,
            top_p: chat.top_p,
            stop_sequences: &chat.stop,
            candidate_count: (ask.choices > 1).then_some(ask.choices),
            seed: chat.seed,
            presence_penalty: chat.presence_penalty,
            frequency_penalty: chat.frequency_penalty,
            response_mime_type,
            response_json_schema,
            thinking_config: chat.effort.map(thinking),
        },
    };
    Ok(serde_json::to_vec(&body).expect("texts, numbers and JSON are JSON").into())
}

fn thinking(effort: Effort) -> Thinking {
    let thinking_budget = match effort {
        Effort::None => 0,
        Effort::Minimal | Effort::Low => 1_024,
        Effort::Medium => 8_192,
        Effort::High | Effort::Xhigh => 24_576,
    };
    Thinking { thinking_budget }
}

/// What the system says, and the turns of the others. Who speaks twice in a row speaks
/// once, which is how results of several calls belong together.
fn conversation<'a>(
    chat: &'a Chat,
    listener: Listener,
) -> Result<(Vec<Part<'a>>, Vec<Content<'a>>), CannotSay> {
    let mut system = Vec::new();
    let mut contents: Vec<Content> = Vec::new();
    // Results say of which call they are, and here they have to say of which function.
    let mut functions: HashMap<&str, &str> = HashMap::new();
    for message in &chat.messages {
        let (role, parts) = match message.role {
            Role::System | Role::Developer => {
                system.extend(said(message, listener)?);
                continue;
            }
            Role::User => (Speaker::User, said(message, listener)?),
            Role::Tool => (Speaker::User, vec![result(message, &functions, listener)?]),
            Role::Assistant => {
                let mut parts = said(message, listener)?;
                for call in message.tool_calls.iter().flatten() {
                    functions.insert(&call.id, &call.function.name);
                    parts.push(called(call, listener)?);
                }
                (Speaker::Model, parts)
            }
        };
        match contents.last_mut() {
            Some(last) if last.role == Some(role) => last.parts.extend(parts),
            Some(_) | None if parts.is_empty() => (),
            Some(_) | None => contents.push(Content { role: Some(role), parts }),
        }
    }
    if contents.is_empty() {
        return Err(listener.cannot("messages", "nobody but the system says anything in them"));
    }
    Ok((system, contents))
}

fn said<'a>(message: &'a Message, listener: Listener) -> Result<Vec<Part<'a>>, CannotSay> {
    let mut parts = Vec::new();
    match &message.content {
        None => (),
        Some(OneOrMany::One(text)) => parts.extend(spoken(Some(text))),
        Some(OneOrMany::Many(many)) => {
            for part in many {
                parts.extend(piece(part, listener)?);
            }
        }
    }
    parts.extend(spoken(message.refusal.as_deref()));
    Ok(parts)
}

fn spoken(text: Option<&str>) -> Option<Part<'_>> {
    text.filter(|it| !it.is_empty()).map(|text| Part::Text { text })
}

fn piece<'a>(part: &'a Said, listener: Listener) -> Result<Option<Part<'a>>, CannotSay> {
    let unreadable =
        || listener.cannot("messages", "a part of one is not in a form that we can read");
    match &*part.kind {
        "text" => Ok(spoken(part.text.as_deref())),
        "refusal" => Ok(spoken(part.refusal.as_deref())),
        "image_url" => {
            let url = &*part.image_url.as_ref().ok_or_else(unreadable)?.url;
            Ok(Some(match data_url(url) {
                Some(data) => inline(data),
                None => {
                    Part::File { file_data: FileData { mime_type: kind_of(url), file_uri: url } }
                }
            }))
        }
        "input_audio" => {
            let audio = part.input_audio.as_ref().ok_or_else(unreadable)?;
            let kind = match &*audio.format {
                "wav" => "audio/wav",
                "mp3" => "audio/mp3",
                _ => return Err(listener.cannot("messages", "audio in them is not wav or mp3")),
            };
            Ok(Some(inline((kind, &audio.data))))
        }
        "file" => {
            let data = part.file.as_ref().and_then(|it| it.file_data.as_deref());
            let why = "its provider reads files that are in the message only";
            let data = data.and_then(data_url).ok_or_else(|| listener.cannot("messages", why))?;
            Ok(Some(inline(data)))
        }
        _ => Err(unreadable()),
    }
}

fn inline<'a>((mime_type, data): (&'a str, &'a str)) -> Part<'a> {
    Part::Data { inline_data: Blob { mime_type, data } }
}

/// What an image is by the end of its address.
fn kind_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?.to_ascii_lowercase();
    match path.rsplit_once('.')?.1 {
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        "webp" => Some("image/webp"),
        "gif" => Some("image/gif"),
        "heic" => Some("image/heic"),
        _ => None,
    }
}

fn called<'a>(call: &'a ToolCall, listener: Listener) -> Result<Part<'a>, CannotSay> {
    let arguments = call.function.arguments.trim();
    let arguments = if arguments.is_empty() { "{}" } else { arguments };
    let args = serde_json::from_str::<&RawValue>(arguments).ok();
    let args = args.filter(|it| it.get().starts_with('{'));
    let why = "the arguments of a call in them are not an object";
    let args = args.ok_or_else(|| listener.cannot("messages", why))?;
    let google = call.extra_content.as_ref().and_then(|it| it.google.as_ref());
    let thought_signature = google.and_then(|it| it.thought_signature.as_deref());
    let function_call = Call { name: &call.function.name, args };
    Ok(Part::Call { function_call, thought_signature })
}

fn result<'a>(
    message: &'a Message,
    functions: &HashMap<&str, &'a str>,
    listener: Listener,
) -> Result<Part<'a>, CannotSay> {
    let name = message.tool_call_id.as_deref().and_then(|it| functions.get(it));
    let why = "a result in them is of no call that is in them too";
    let name = name.ok_or_else(|| listener.cannot("messages", why))?;
    let text = match &message.content {
        None => "".into(),
        Some(OneOrMany::One(text)) => std::borrow::Cow::Borrowed(&**text),
        Some(OneOrMany::Many(parts)) => {
            parts.iter().filter_map(|it| it.text.as_deref()).collect::<String>().into()
        }
    };
    let object = serde_json::from_str::<Box<RawValue>>(&text).ok();
    let response = match object.filter(|it| it.get().starts_with('{')) {
        Some(object) => Answered::Object(object),
        None => Answered::Text { result: text },
    };
    Ok(Part::Result { function_response: CallResult { name, response } })
}

fn declarations<'a>(chat: &'a Chat) -> Option<[Declarations<'a>; 1]> {
    let declared = |it: &'a Tool| Declared {
        name: &it.function.name,
        description: it.function.description.as_deref(),
        parameters_json_schema: it.function.parameters,
    };
    let function_declarations: Vec<_> = chat.tools.iter().map(declared).collect();
    (!function_declarations.is_empty()).then_some([Declarations { function_declarations }])
}

fn tool_config<'a>(chat: &'a Chat) -> Option<ToolConfig<'a>> {
    let (mode, allowed_function_names) = match &chat.tool_choice {
        _ if chat.tools.is_empty() => return None,
        ToolChoice::Auto => return None,
        ToolChoice::Never => ("NONE", None),
        ToolChoice::Required => ("ANY", None),
        ToolChoice::Named(name) => ("ANY", Some([&**name])),
    };
    Some(ToolConfig { function_calling_config: Calling { mode, allowed_function_names } })
}
