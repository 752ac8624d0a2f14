//! `POST /v1/chat/completions`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    CREATED, StreamOptions, UsageBlock, deployment, id, logprobs::Logprobs, shows_thought, stops,
    thought, whole_usage,
};
use crate::simulator::{
    answer::{Answer, Events, to_json},
    ask::{Ask, Format, Parts, Speaker, Text, Tool, ToolChoice, Turn},
    faults::UsageManner,
    refusal::{Dialect, Refusal},
    reply::{self, Choice, Finish, Reply},
    serve::{Answered, Desk},
    tokens,
};

#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    #[serde(borrow, default)]
    tools: Option<Vec<ToolField<'a>>>,
    #[serde(borrow, default)]
    functions: Option<Vec<Function<'a>>>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    parallel_tool_calls: Option<bool>,
    #[serde(borrow)]
    response_format: Option<ResponseFormat<'a>>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    #[serde(borrow)]
    stop: Option<&'a RawValue>,
    n: Option<u32>,
    seed: Option<i64>,
    logprobs: Option<bool>,
    top_logprobs: Option<u8>,
    #[serde(borrow)]
    reasoning_effort: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow, default)]
    content: Parts<'a, Part<'a>>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    image_url: Option<ImageUrl<'a>>,
    #[serde(borrow)]
    refusal: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct ImageUrl<'a> {
    #[serde(borrow)]
    url: Text<'a>,
}

#[derive(Deserialize)]
struct ToolField<'a> {
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ResponseFormat<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    json_schema: Option<NamedSchema<'a>>,
}

#[derive(Deserialize)]
struct NamedSchema<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

pub(super) fn answer(desk: &Desk) -> Answered {
    let chat: Chat = desk.parse()?;
    let delivery = Delivery::of(&chat);
    let named = chat.model.as_ref().map(|it| it.0.clone());
    let model = named.or_else(|| deployment(desk.request.path).map(Cow::Borrowed));
    let conduct = desk.conduct(model.as_deref(), delivery.stream)?;
    let Some(model) = model else {
        return Err(desk.refuse(&Refusal::invalid("you must provide a model parameter")));
    };
    let ask = ask(chat, model).map_err(|refusal| desk.refuse(&refusal))?;
    let reply = reply::compose(&ask, conduct.profile.length, &conduct.manner);
    let answer = match delivery.stream {
        true => Answer::stream(stream(&ask, &reply, &delivery, conduct.manner.usage)),
        false => Answer::json(200, to_json(&whole(&ask, &reply, &delivery, conduct.manner.usage))),
    };
    Ok(conduct.apply(answer, Dialect::OpenAi, reply.usage.completion))
}

/// How the answer is to be handed over.
struct Delivery {
    stream: bool,
    include_usage: bool,
    /// How many alternatives to tell for each token, if its probability is wanted.
    logprobs: Option<u8>,
}

impl Delivery {
    fn of(chat: &Chat) -> Self {
        let logprobs = chat.logprobs.unwrap_or(false);
        Self {
            stream: chat.stream.unwrap_or(false),
            include_usage: chat.stream_options.unwrap_or_default().include_usage,
            logprobs: logprobs.then(|| chat.top_logprobs.unwrap_or(0)),
        }
    }
}

fn ask<'a>(chat: Chat<'a>, model: Cow<'a, str>) -> Result<Ask<'a>, Refusal> {
    if chat.messages.is_empty() {
        return Err(Refusal::invalid("[] is too short - 'messages'"));
    }
    let turns: Result<Vec<_>, _> = chat.messages.into_iter().map(turn).collect();
    let effort = chat.reasoning_effort.as_ref().map(|it| it.0.as_ref());
    let functions = chat.tools.into_iter().flatten().filter_map(|it| it.function);
    let functions = functions.chain(chat.functions.into_iter().flatten());
    Ok(Ask {
        thought: thought(&model, effort),
        turns: turns?,
        tools: functions.map(|it| Tool::new(it.name, it.parameters)).collect(),
        tool_choice: chat.tool_choice.map_or(Ok(ToolChoice::Auto), tool_choice)?,
        parallel_tools: chat.parallel_tool_calls.unwrap_or(true),
        format: format(chat.response_format)?,
        cap: chat.max_completion_tokens.or(chat.max_tokens),
        stop: stops(chat.stop)?,
        choices: chat.n.unwrap_or(1).min(128),
        seed: chat.seed,
        ..Ask::to(model)
    })
}

fn turn(message: Message) -> Result<Turn, Refusal> {
    let speaker = match message.role.0.as_ref() {
        "system" | "developer" => Speaker::System,
        "user" => Speaker::User,
        "assistant" => Speaker::Assistant,
        "tool" | "function" => Speaker::Tool,
        other => return Err(Refusal::invalid(format!("Invalid value: '{other}' for 'role'."))),
    };
    let mut turn = Turn::new(speaker, Cow::Borrowed(""));
    say(&mut turn, message.content)?;
    turn.further_tokens += message.tool_calls.map_or(0, |it| tokens::estimate(it.get()));
    Ok(turn)
}

fn say<'a>(turn: &mut Turn<'a>, content: Parts<'a, Part<'a>>) -> Result<(), Refusal> {
    let parts = match content {
        Parts::Text(text) => {
            turn.text = text;
            return Ok(());
        }
        Parts::Several(parts) => parts,
    };
    for part in parts {
        match part.kind.0.as_ref() {
            "text" => turn.say(part.text.unwrap_or_default().0),
            "refusal" => turn.say(part.refusal.unwrap_or_default().0),
            "image_url" => {
                let url = part.image_url.map(|it| it.url.0).unwrap_or_default();
                if !["data:image/", "https://", "http://"].iter().any(|it| url.starts_with(it)) {
                    return Err(Refusal::invalid("Invalid image: expected a data URL or http(s)."));
                }
                turn.images += 1;
            }
            "input_audio" | "file" => turn.further_tokens += 100,
            other => {
                return Err(Refusal::invalid(format!("Invalid value: '{other}' for 'type'.")));
            }
        }
    }
    Ok(())
}

/// `"auto"`, `"none"`, `"required"`, or an object naming one; also as the responses API has it.
pub(super) fn tool_choice(choice: &RawValue) -> Result<ToolChoice<'_>, Refusal> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        function: Option<Name<'a>>,
        #[serde(borrow)]
        name: Option<Text<'a>>,
    }
    #[derive(Deserialize)]
    struct Name<'a> {
        #[serde(borrow)]
        name: Text<'a>,
    }
    match choice.get() {
        "\"auto\"" | "null" => Ok(ToolChoice::Auto),
        "\"none\"" => Ok(ToolChoice::Never),
        "\"required\"" => Ok(ToolChoice::Required),
        object => {
            let named: Named = serde_json::from_str(object)?;
            let name = named.function.map(|it| it.name).or(named.name);
            Ok(name.map_or(ToolChoice::Required, ToolChoice::Named))
        }
    }
}

fn format(format: Option<ResponseFormat>) -> Result<Format, Refusal> {
    let Some(format) = format else { return Ok(Format::Text) };
    match (format.kind.0.as_ref(), format.json_schema.and_then(|it| it.schema)) {
        ("json_schema", Some(schema)) => Ok(Format::Schema(schema)),
        ("json_schema", None) => {
            Err(Refusal::invalid("Missing required parameter: 'response_format.json_schema'."))
        }
        ("json_object", _) => Ok(Format::Json),
        (_, _) => Ok(Format::Text),
    }
}

#[derive(Serialize)]
struct Completion<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<WholeChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageBlock>,
    service_tier: &'static str,
    system_fingerprint: &'static str,
}

#[derive(Serialize)]
struct WholeChoice<'a> {
    index: usize,
    message: Said<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Said<'a> {
    role: &'static str,
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WholeCall<'a>>,
    annotations: [(); 0],
}

#[derive(Serialize)]
struct WholeCall<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Called<'a>,
}

#[derive(Serialize)]
struct Called<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

const FINGERPRINT: &str = "fp_simulator";

fn whole<'a>(
    ask: &'a Ask,
    reply: &'a Reply,
    delivery: &Delivery,
    usage: UsageManner,
) -> Completion<'a> {
    let thought = shows_thought(&ask.model).then_some(reply.thought.as_str());
    let choices = reply.choices.iter().enumerate().map(|(index, choice)| WholeChoice {
        index,
        message: Said {
            role: "assistant",
            content: choice.calls.is_empty().then_some(choice.text.as_str()),
            reasoning_content: thought,
            refusal: None,
            tool_calls: choice.calls.iter().map(whole_call).collect(),
            annotations: [],
        },
        logprobs: delivery.logprobs.map(|top| Logprobs::of(&choice.text, top, reply.digest)),
        finish_reason: finish_reason(choice),
    });
    Completion {
        id: id("chatcmpl-", reply.digest),
        object: "chat.completion",
        created: CREATED,
        model: &ask.model,
        choices: choices.collect(),
        usage: whole_usage(reply.usage, usage),
        service_tier: "default",
        system_fingerprint: FINGERPRINT,
    }
}

fn whole_call(call: &reply::ToolCall) -> WholeCall<'_> {
    let function = Called { name: Some(&call.name), arguments: &call.arguments };
    WholeCall { id: call_id(call), kind: "function", function }
}

pub(super) fn call_id(call: &reply::ToolCall) -> String {
    format!("call_{:016x}", call.id)
}

fn finish_reason(choice: &Choice) -> &'static str {
    match choice.finish {
        Finish::Stop | Finish::StopSequence(_) => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::Filtered => "content_filter",
    }
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    service_tier: &'static str,
    system_fingerprint: &'static str,
    choices: &'a [ChunkChoice<'a>],
    /// Absent, null or told.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageBlock>>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize, Default)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
}

#[derive(Serialize)]
struct CallDelta<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: Called<'a>,
}

/// Writes the chunks of a stream, with the usage where it is wanted.
struct Chunks<'a> {
    events: Events,
    id: String,
    ask: &'a Ask<'a>,
    reply: &'a Reply,
    delivery: &'a Delivery,
    usage: UsageManner,
    /// How many tokens went out.
    told: u32,
}

fn stream(ask: &Ask, reply: &Reply, delivery: &Delivery, usage: UsageManner) -> Events {
    let events = reply.usage.completion as usize + 8;
    let mut chunks = Chunks {
        events: Events::with_capacity(events, events * 256),
        id: id("chatcmpl-", reply.digest),
        ask,
        reply,
        delivery,
        usage,
        told: 0,
    };
    for (index, choice) in reply.choices.iter().enumerate() {
        let role = Some("assistant");
        let content = choice.calls.is_empty().then_some("");
        chunks.delta(false, index, Delta { role, content, ..Delta::default() });
    }
    if shows_thought(&ask.model) {
        for piece in tokens::pieces(&reply.thought) {
            let delta = Delta { reasoning_content: Some(piece), ..Delta::default() };
            chunks.delta(true, 0, delta);
        }
    }
    for (index, choice) in reply.choices.iter().enumerate() {
        chunks.choice(index, choice);
    }
    chunks.end()
}

impl<'a> Chunks<'a> {
    fn choice(&mut self, index: usize, choice: &'a Choice) {
        let middle = tokens::count(&choice.text) / 2;
        for (piece, nth) in tokens::pieces(&choice.text).zip(0..) {
            if nth == middle && self.usage == UsageManner::Middle {
                self.write(false, &[], Some(Some(self.reply.usage.into())));
            }
            let logprobs = self.delivery.logprobs;
            let logprobs = logprobs.map(|top| Logprobs::of(piece, top, self.reply.digest));
            let delta = Delta { content: Some(piece), ..Delta::default() };
            self.send(true, ChunkChoice { index, delta, logprobs, finish_reason: None });
        }
        for (nth, call) in choice.calls.iter().enumerate() {
            let start = CallDelta {
                index: nth,
                id: Some(call_id(call)),
                kind: Some("function"),
                function: Called { name: Some(&call.name), arguments: "" },
            };
            self.delta(true, index, Delta { tool_calls: Some([start]), ..Delta::default() });
            for arguments in tokens::pieces(&call.arguments) {
                let function = Called { name: None, arguments };
                let part = CallDelta { index: nth, id: None, kind: None, function };
                self.delta(true, index, Delta { tool_calls: Some([part]), ..Delta::default() });
            }
        }
        let finish_reason = Some(finish_reason(choice));
        self.send(
            false,
            ChunkChoice { index, delta: Delta::default(), logprobs: None, finish_reason },
        );
    }

    fn delta(&mut self, paced: bool, index: usize, delta: Delta) {
        self.send(paced, ChunkChoice { index, delta, logprobs: None, finish_reason: None });
    }

    fn send(&mut self, paced: bool, choice: ChunkChoice) {
        self.told += u32::from(paced);
        let usage = match self.usage {
            UsageManner::Every => {
                let so_far = reply::Usage { completion: self.told, ..self.reply.usage };
                Some(Some(so_far.into()))
            }
            UsageManner::AsAsked
            | UsageManner::Missing
            | UsageManner::Middle
            | UsageManner::Zero
            | UsageManner::Huge => self.delivery.include_usage.then_some(None),
        };
        self.write(paced, &[choice], usage);
    }

    fn write(&mut self, paced: bool, choices: &[ChunkChoice], usage: Option<Option<UsageBlock>>) {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: CREATED,
            model: &self.ask.model,
            service_tier: "default",
            system_fingerprint: FINGERPRINT,
            choices,
            usage,
        };
        self.events.data(paced, &chunk);
    }

    fn end(mut self) -> Events {
        let told = !matches!(self.usage, UsageManner::Missing | UsageManner::Middle);
        if self.delivery.include_usage && told {
            self.write(false, &[], Some(Some(self.reply.usage.into())));
        }
        self.events.push(false, |out| out.extend_from_slice(b"data: [DONE]\n\n"));
        self.events
    }
}
