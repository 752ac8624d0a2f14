//! Anthropic's wire formats.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    answer::{Answer, Events, to_json},
    ask::{Ask, Cache, Format, Parts, Speaker, Text, Tool, ToolChoice, Turn},
    faults::UsageManner,
    refusal::Refusal,
    reply::{self, Choice, Finish, Reply, ToolCall},
    serve::{Answered, Conduct, Desk},
    tokens,
};

#[derive(Deserialize)]
struct Messages<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    #[serde(borrow)]
    system: Option<Parts<'a, Block<'a>>>,
    max_tokens: Option<u32>,
    stream: Option<bool>,
    #[serde(borrow)]
    tools: Option<Vec<ToolField<'a>>>,
    #[serde(borrow)]
    tool_choice: Option<Choosing<'a>>,
    #[serde(borrow)]
    thinking: Option<Thinking<'a>>,
    #[serde(borrow)]
    stop_sequences: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    output_config: Option<OutputConfig<'a>>,
    #[serde(borrow)]
    output_format: Option<FormatField<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    content: Parts<'a, Block<'a>>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    source: Option<Source<'a>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Parts<'a, Block<'a>>,
    cache_control: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

#[derive(Deserialize)]
struct ToolField<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    input_schema: Option<&'a RawValue>,
    cache_control: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Choosing<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(default)]
    disable_parallel_tool_use: bool,
}

#[derive(Deserialize)]
struct Thinking<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    budget_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct OutputConfig<'a> {
    #[serde(borrow)]
    format: Option<FormatField<'a>>,
}

#[derive(Deserialize)]
struct FormatField<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

pub(super) fn answer(desk: &Desk) -> Answered {
    let path = desk.request.path.trim_end_matches('/');
    let mut parts = path.rsplit('/');
    let (last, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match (desk.request.method, before, last) {
        ("POST", _, "messages") => message(desk),
        ("POST", "messages", "count_tokens") => count_tokens(desk),
        ("GET", _, "models") => models(desk),
        ("GET", "models", id) => {
            let conduct = desk.conduct(Some(id), false)?;
            Ok(conduct.apply(Answer::json(200, to_json(&model(id))), desk.dialect, 0))
        }
        (_, _, "messages" | "count_tokens" | "models") => {
            Err(desk.refuse(&Refusal::new(405, "Method Not Allowed")))
        }
        (_, _, _) => Err(desk.refuse(&Refusal::new(404, "Not Found"))),
    }
}

const MODELS: [&str; 4] = ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5", "sim-small"];

fn model(id: &str) -> Value {
    json!({"type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z"})
}

fn models(desk: &Desk) -> Answered {
    let conduct = desk.conduct(None, false)?;
    let body = json!({
        "data": MODELS.map(model),
        "has_more": false,
        "first_id": MODELS.first(),
        "last_id": MODELS.last(),
    });
    Ok(conduct.apply(Answer::json(200, to_json(&body)), desk.dialect, 0))
}

fn count_tokens(desk: &Desk) -> Answered {
    let asked: Messages = desk.parse()?;
    let model = asked.model.as_ref().map(|it| it.0.clone());
    let conduct = desk.conduct(model.as_deref(), false)?;
    let ask = ask(asked, model).map_err(|refusal| desk.refuse(&refusal))?;
    let body = json!({"input_tokens": ask.prompt_tokens()});
    Ok(conduct.apply(Answer::json(200, to_json(&body)), desk.dialect, 0))
}

fn message(desk: &Desk) -> Answered {
    let asked: Messages = desk.parse()?;
    let stream = asked.stream.unwrap_or(false);
    let capped = asked.max_tokens.is_some();
    let model = asked.model.as_ref().map(|it| it.0.clone());
    let conduct = desk.conduct(model.as_deref(), stream)?;
    let ask = ask(asked, model).map_err(|refusal| desk.refuse(&refusal))?;
    if !capped {
        return Err(desk.refuse(&Refusal::invalid("max_tokens: Field required")));
    }
    let reply = reply::compose(&ask, conduct.profile.length, &conduct.manner);
    let told = Told { ask: &ask, reply: &reply, conduct: &conduct };
    let answer = match stream {
        true => Answer::stream(told.stream()),
        false => Answer::json(200, to_json(&told.whole())),
    };
    Ok(conduct.apply(answer, desk.dialect, reply.usage.completion))
}

fn ask<'a>(asked: Messages<'a>, model: Option<Cow<'a, str>>) -> Result<Ask<'a>, Refusal> {
    let model = model.ok_or_else(|| Refusal::invalid("model: Field required"))?;
    if asked.messages.is_empty() {
        return Err(Refusal::invalid("messages: at least one message is required"));
    }
    let mut prompt = Prompt::default();
    for tool in asked.tools.into_iter().flatten() {
        let marked = tool.cache_control.is_some();
        let tool = Tool::new(tool.name, tool.input_schema);
        prompt.pass(tool.tokens, marked);
        prompt.tools.push(tool);
    }
    if let Some(system) = asked.system {
        prompt.add(Speaker::System, system)?;
    }
    for message in asked.messages {
        let speaker = match message.role.0.as_ref() {
            "user" => Speaker::User,
            "assistant" => Speaker::Assistant,
            "system" => Speaker::System,
            _ => return Err(Refusal::invalid("messages: Unexpected role")),
        };
        prompt.add(speaker, message.content)?;
    }
    let format = asked.output_config.and_then(|it| it.format).or(asked.output_format);
    let choosing = asked.tool_choice;
    Ok(Ask {
        turns: prompt.turns,
        tools: prompt.tools,
        parallel_tools: !choosing.as_ref().is_some_and(|it| it.disable_parallel_tool_use),
        tool_choice: tool_choice(choosing),
        format: format.and_then(|it| it.schema).map_or(Format::Text, Format::Schema),
        cap: asked.max_tokens,
        stop: asked.stop_sequences.unwrap_or_default(),
        thought: thought(asked.thinking, &model),
        cache: Cache::Marked(prompt.marked),
        ..Ask::to(model)
    })
}

fn tool_choice(choosing: Option<Choosing>) -> ToolChoice {
    let Some(choosing) = choosing else { return ToolChoice::Auto };
    match (choosing.kind.0.as_ref(), choosing.name) {
        ("tool", Some(name)) => ToolChoice::Named(name),
        ("any", _) => ToolChoice::Required,
        ("none", _) => ToolChoice::Never,
        (_, _) => ToolChoice::Auto,
    }
}

fn thought(thinking: Option<Thinking>, model: &str) -> Option<u32> {
    match thinking {
        Some(Thinking { kind, .. }) if kind.0 == "disabled" => None,
        Some(Thinking { budget_tokens, .. }) => Some(budget_tokens.unwrap_or(128).min(128)),
        None => model.starts_with("sim-reasoning").then_some(96),
    }
}

/// The prompt being read, and how much of it is marked for the cache.
#[derive(Default)]
struct Prompt<'a> {
    turns: Vec<Turn<'a>>,
    tools: Vec<Tool<'a>>,
    so_far: u32,
    marked: u32,
}

impl<'a> Prompt<'a> {
    fn pass(&mut self, tokens: u32, marked: bool) {
        self.so_far += tokens;
        if marked {
            self.marked = self.so_far;
        }
    }

    fn add(&mut self, speaker: Speaker, content: Parts<'a, Block<'a>>) -> Result<(), Refusal> {
        let mut turn = Turn::new(speaker, "".into());
        let marked = match &content {
            Parts::Text(_) => false,
            Parts::Several(blocks) => blocks.iter().any(|it| it.cache_control.is_some()),
        };
        say(&mut turn, content)?;
        self.pass(turn.tokens(), marked);
        self.turns.push(turn);
        Ok(())
    }
}

fn say<'a>(turn: &mut Turn<'a>, content: Parts<'a, Block<'a>>) -> Result<(), Refusal> {
    match content {
        Parts::Text(text) => turn.say(text),
        Parts::Several(blocks) => {
            for block in blocks {
                say_block(turn, block)?;
            }
        }
    }
    Ok(())
}

fn say_block<'a>(turn: &mut Turn<'a>, block: Block<'a>) -> Result<(), Refusal> {
    match block.kind.0.as_ref() {
        "text" => turn.say(block.text.unwrap_or_default().0),
        "image" => {
            let kind = block.source.map(|it| it.kind.0).unwrap_or_default();
            if !["base64", "url", "file"].contains(&kind.as_ref()) {
                return Err(Refusal::invalid("image.source: Input should be base64 or url"));
            }
            turn.images += 1;
        }
        "tool_use" => turn.further_tokens += block.input.map_or(0, |it| tokens::estimate(it.get())),
        "tool_result" => {
            turn.speaker = Speaker::Tool;
            say(turn, block.content)?;
        }
        "thinking" | "redacted_thinking" => (),
        _ => turn.further_tokens += 100,
    }
    Ok(())
}

struct Told<'a> {
    ask: &'a Ask<'a>,
    reply: &'a Reply,
    conduct: &'a Conduct,
}

#[derive(Serialize)]
struct Whole<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Content<'a>>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    Thinking { thinking: &'a str, signature: String },
    Text { text: &'a str },
    ToolUse { id: String, name: &'a str, input: Box<RawValue> },
}

#[derive(Serialize)]
struct Usage {
    input_tokens: u32,
    cache_creation_input_tokens: u32,
    cache_read_input_tokens: u32,
    output_tokens: u32,
    service_tier: &'static str,
}

impl<'a> Told<'a> {
    /// There is one choice here.
    fn choice(&self) -> &'a Choice {
        &self.reply.choices[0]
    }

    fn usage(&self, output_tokens: u32) -> Usage {
        let usage = self.reply.usage;
        Usage {
            input_tokens: usage.prompt.saturating_sub(usage.cache_read + usage.cache_written),
            cache_creation_input_tokens: usage.cache_written,
            cache_read_input_tokens: usage.cache_read,
            output_tokens,
            service_tier: "standard",
        }
    }

    fn tells_usage(&self) -> bool {
        self.conduct.manner.usage != UsageManner::Missing
    }

    fn stop(&self) -> (&'static str, Option<&'a str>) {
        match &self.choice().finish {
            Finish::Stop => ("end_turn", None),
            Finish::StopSequence(sequence) => ("stop_sequence", Some(sequence)),
            Finish::Length => ("max_tokens", None),
            Finish::ToolCalls => ("tool_use", None),
            Finish::Filtered => ("refusal", None),
        }
    }

    fn signature(&self) -> String {
        format!("sim{:032x}", self.reply.digest.value())
    }

    fn whole(&self) -> Whole<'a> {
        let mut content = Vec::new();
        if !self.reply.thought.is_empty() {
            let thinking = &self.reply.thought;
            content.push(Content::Thinking { thinking, signature: self.signature() });
        }
        if !self.choice().text.is_empty() {
            content.push(Content::Text { text: &self.choice().text });
        }
        content.extend(self.choice().calls.iter().map(|call| Content::ToolUse {
            id: tool_id(call),
            name: &call.name,
            input: call.arguments_or_empty(),
        }));
        let (stop_reason, stop_sequence) = self.stop();
        Whole {
            content,
            stop_reason: Some(stop_reason),
            stop_sequence,
            usage: self.tells_usage().then(|| self.usage(self.reply.usage.completion)),
            ..self.opening()
        }
    }

    fn opening(&self) -> Whole<'a> {
        Whole {
            id: super::openai::id("msg_", self.reply.digest),
            kind: "message",
            role: "assistant",
            model: &self.ask.model,
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage: self.tells_usage().then(|| self.usage(1)),
        }
    }

    fn stream(&self) -> Events {
        let mut stream = Stream { told: self, events: Events::default(), block: 0, sent: 0 };
        let start = json!({"type": "message_start", "message": self.opening()});
        stream.events.named(false, "message_start", &start);
        stream.events.named(false, "ping", &json!({"type": "ping"}));
        if !self.reply.thought.is_empty() {
            stream.thought(&self.reply.thought);
        }
        if !self.choice().text.is_empty() {
            stream.text(&self.choice().text);
        }
        for call in &self.choice().calls {
            stream.call(call);
        }
        stream.end()
    }
}

fn tool_id(call: &ToolCall) -> String {
    format!("toolu_{:016x}", call.id)
}

struct Stream<'a> {
    told: &'a Told<'a>,
    events: Events,
    /// The index of the content block being sent.
    block: usize,
    /// Tokens that went out.
    sent: u32,
}

#[derive(Serialize)]
struct BlockDelta<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    index: usize,
    delta: Delta<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: &'a str },
}

impl<'a> Stream<'a> {
    fn start(&mut self, block: Value) {
        let start =
            json!({"type": "content_block_start", "index": self.block, "content_block": block});
        self.events.named(false, "content_block_start", &start);
    }

    fn delta(&mut self, paced: bool, delta: Delta) {
        self.sent += u32::from(paced);
        let usage = self.told.conduct.manner.usage;
        let middle = self.told.reply.usage.completion / 2;
        if paced
            && (usage == UsageManner::Every || usage == UsageManner::Middle && self.sent == middle)
        {
            self.usage(None, self.sent);
        }
        let delta = BlockDelta { kind: "content_block_delta", index: self.block, delta };
        self.events.named(paced, "content_block_delta", &delta);
    }

    fn stop(&mut self) {
        let stop = json!({"type": "content_block_stop", "index": self.block});
        self.events.named(false, "content_block_stop", &stop);
        self.block += 1;
    }

    fn thought(&mut self, thought: &str) {
        self.start(json!({"type": "thinking", "thinking": "", "signature": ""}));
        for thinking in tokens::pieces(thought) {
            self.delta(true, Delta::Thinking { thinking });
        }
        self.delta(false, Delta::Signature { signature: self.told.signature() });
        self.stop();
    }

    fn text(&mut self, text: &str) {
        self.start(json!({"type": "text", "text": ""}));
        for text in tokens::pieces(text) {
            self.delta(true, Delta::Text { text });
        }
        self.stop();
    }

    fn call(&mut self, call: &ToolCall) {
        let (id, name) = (tool_id(call), &call.name);
        self.start(json!({"type": "tool_use", "id": id, "name": name, "input": {}}));
        self.delta(false, Delta::Input { partial_json: "" });
        for partial_json in tokens::pieces(&call.arguments) {
            self.delta(true, Delta::Input { partial_json });
        }
        self.stop();
    }

    fn usage(&mut self, stop: Option<(&str, Option<&str>)>, output_tokens: u32) {
        let (reason, sequence) = stop.unzip();
        let mut delta = json!({
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence.flatten()},
        });
        let told = match self.told.conduct.manner.usage {
            UsageManner::Missing => false,
            UsageManner::Middle => stop.is_none(),
            UsageManner::AsAsked | UsageManner::Every | UsageManner::Zero | UsageManner::Huge => {
                true
            }
        };
        if told {
            delta["usage"] = json!(self.told.usage(output_tokens));
        }
        self.events.named(false, "message_delta", &delta);
    }

    fn end(mut self) -> Events {
        self.usage(Some(self.told.stop()), self.told.reply.usage.completion);
        self.events.named(false, "message_stop", &json!({"type": "message_stop"}));
        self.events
    }
}
