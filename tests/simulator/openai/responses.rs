//! `POST /v1/responses`, without `previous_response_id`: nothing is remembered.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{CREATED, chat, id, thought};
use crate::simulator::{
    answer::{Answer, Events, to_json},
    ask::{Ask, Format, Parts, Speaker, Text, Tool, ToolChoice, Turn},
    faults::UsageManner,
    refusal::Refusal,
    reply::{self, Choice, Finish, Reply, ToolCall},
    serve::{Answered, Desk},
    tokens,
};

#[derive(Deserialize)]
struct Responses<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<Parts<'a, Item<'a>>>,
    #[serde(borrow)]
    instructions: Option<Text<'a>>,
    stream: Option<bool>,
    #[serde(borrow)]
    tools: Option<Vec<ToolField<'a>>>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    parallel_tool_calls: Option<bool>,
    max_output_tokens: Option<u32>,
    #[serde(borrow)]
    reasoning: Option<Reasoning<'a>>,
    #[serde(borrow)]
    text: Option<TextField<'a>>,
}

#[derive(Deserialize)]
struct ToolField<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Reasoning<'a> {
    #[serde(borrow)]
    effort: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct TextField<'a> {
    #[serde(borrow)]
    format: Option<FormatField<'a>>,
}

#[derive(Deserialize)]
struct FormatField<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    role: Option<Text<'a>>,
    #[serde(borrow, default)]
    content: Parts<'a, Part<'a>>,
    #[serde(borrow, default)]
    output: Parts<'a, Part<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
}

pub(super) fn answer(desk: &Desk) -> Answered {
    let asked: Responses = desk.parse()?;
    let stream = asked.stream.unwrap_or(false);
    let model = asked.model.as_ref().map(|it| it.0.clone());
    let conduct = desk.conduct(model.as_deref(), stream)?;
    let Some(model) = model else {
        return Err(desk.refuse(&Refusal::invalid("Missing required parameter: 'model'.")));
    };
    let ask = ask(asked, model).map_err(|refusal| desk.refuse(&refusal))?;
    let reply = reply::compose(&ask, conduct.profile.length, &conduct.manner);
    let told = Told { ask: &ask, reply: &reply, usage: conduct.manner.usage };
    let answer = match stream {
        true => Answer::stream(told.stream()),
        false => Answer::json(200, to_json(&told.response(told.status(), told.items(), true))),
    };
    Ok(conduct.apply(answer, desk.dialect, reply.usage.completion))
}

fn ask<'a>(asked: Responses<'a>, model: Cow<'a, str>) -> Result<Ask<'a>, Refusal> {
    let mut turns = Vec::new();
    if let Some(instructions) = asked.instructions {
        turns.push(Turn::new(Speaker::System, instructions.0));
    }
    match asked.input {
        None => return Err(Refusal::invalid("Missing required parameter: 'input'.")),
        Some(Parts::Text(text)) => turns.push(Turn::new(Speaker::User, text)),
        Some(Parts::Several(items)) => turns.extend(items.into_iter().map(turn)),
    }
    let effort = asked.reasoning.and_then(|it| it.effort);
    let tools = asked.tools.into_iter().flatten();
    let tools = tools.filter_map(|it| Some(Tool::new(it.name?, it.parameters)));
    Ok(Ask {
        thought: thought(&model, effort.as_ref().map(|it| it.0.as_ref())),
        turns,
        tools: tools.collect(),
        tool_choice: asked.tool_choice.map_or(Ok(ToolChoice::Auto), chat::tool_choice)?,
        parallel_tools: asked.parallel_tool_calls.unwrap_or(true),
        format: match asked.text.and_then(|it| it.format) {
            Some(FormatField { schema: Some(schema), .. }) => Format::Schema(schema),
            Some(FormatField { kind, .. }) if kind.0 == "json_object" => Format::Json,
            Some(_) | None => Format::Text,
        },
        cap: asked.max_output_tokens,
        ..Ask::to(model)
    })
}

fn turn(item: Item) -> Turn {
    let kind = item.kind.map_or(Cow::Borrowed("message"), |it| it.0);
    match kind.as_ref() {
        "message" => {
            let role = item.role.unwrap_or_default();
            let speaker = match role.0.as_ref() {
                "system" | "developer" => Speaker::System,
                "assistant" => Speaker::Assistant,
                _ => Speaker::User,
            };
            let mut turn = Turn::new(speaker, "".into());
            say(&mut turn, item.content);
            turn
        }
        "function_call_output" => {
            let mut turn = Turn::new(Speaker::Tool, "".into());
            say(&mut turn, item.output);
            turn
        }
        _ => {
            let mut turn = Turn::new(Speaker::Assistant, "".into());
            turn.further_tokens = tokens::estimate(&item.arguments.unwrap_or_default().0);
            turn
        }
    }
}

fn say<'a>(turn: &mut Turn<'a>, content: Parts<'a, Part<'a>>) {
    match content {
        Parts::Text(text) => turn.text = text,
        Parts::Several(parts) => {
            for part in parts {
                match (part.kind.0.as_ref(), part.text) {
                    ("input_image", _) => turn.images += 1,
                    (_, Some(text)) => turn.say(text.0),
                    (_, None) => turn.further_tokens += 100,
                }
            }
        }
    }
}

struct Told<'a> {
    ask: &'a Ask<'a>,
    reply: &'a Reply,
    usage: UsageManner,
}

impl<'a> Told<'a> {
    /// There is one choice here.
    fn choice(&self) -> &'a Choice {
        &self.reply.choices[0]
    }

    fn status(&self) -> &'static str {
        match self.choice().finish {
            Finish::Length | Finish::Filtered => "incomplete",
            Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => "completed",
        }
    }

    fn response(&self, status: &str, output: Vec<Value>, over: bool) -> Value {
        let usage = self.reply.usage;
        let usage = json!({
            "input_tokens": usage.prompt,
            "input_tokens_details": {"cached_tokens": usage.cache_read},
            "output_tokens": usage.completion,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.prompt.saturating_add(usage.completion),
        });
        let incomplete = match self.choice().finish {
            Finish::Length if over => json!({"reason": "max_output_tokens"}),
            Finish::Filtered if over => json!({"reason": "content_filter"}),
            Finish::Length
            | Finish::Filtered
            | Finish::Stop
            | Finish::StopSequence(_)
            | Finish::ToolCalls => Value::Null,
        };
        let told = over && self.usage != UsageManner::Missing;
        json!({
            "id": id("resp_", self.reply.digest),
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": incomplete,
            "instructions": null,
            "max_output_tokens": self.ask.cap,
            "model": self.ask.model,
            "output": output,
            "parallel_tool_calls": self.ask.parallel_tools,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "service_tier": "default",
            "store": false,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": if told { usage } else { Value::Null },
            "metadata": {},
        })
    }

    fn items(&self) -> Vec<Value> {
        let mut items = Vec::new();
        if !self.reply.thought.is_empty() {
            items.push(self.thought());
        }
        if self.choice().calls.is_empty() {
            items.push(self.message(self.status(), vec![part(&self.choice().text)]));
        }
        let calls = self.choice().calls.iter();
        items.extend(calls.map(|it| called(it, "completed", &it.arguments)));
        items
    }

    fn thought(&self) -> Value {
        json!({"id": id("rs_", self.reply.digest), "type": "reasoning", "summary": []})
    }

    fn message(&self, status: &str, content: Vec<Value>) -> Value {
        json!({
            "id": id("msg_", self.reply.digest),
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        })
    }

    fn stream(&self) -> Events {
        let mut stream = Stream::default();
        let begun = self.response("in_progress", Vec::new(), false);
        stream.send(false, "response.created", json!({"response": begun.clone()}));
        stream.send(false, "response.in_progress", json!({"response": begun}));
        if !self.reply.thought.is_empty() {
            stream.item(self.thought(), "added");
            stream.item(self.thought(), "done");
            stream.next += 1;
        }
        if self.choice().calls.is_empty() {
            self.stream_text(&mut stream);
        }
        for call in &self.choice().calls {
            stream_call(&mut stream, call);
        }
        let over = self.response(self.status(), self.items(), true);
        let name = ["response.", self.status()].concat();
        stream.send(false, &name, json!({"response": over}));
        stream.events
    }

    fn stream_text(&self, stream: &mut Stream) {
        let text = &self.choice().text;
        let place = json!({
            "item_id": id("msg_", self.reply.digest),
            "output_index": stream.next,
            "content_index": 0,
        });
        stream.item(self.message("in_progress", Vec::new()), "added");
        stream.send(false, "response.content_part.added", with(&place, "part", part("")));
        for piece in tokens::pieces(text) {
            let mut delta = with(&place, "delta", piece.into());
            delta["logprobs"] = json!([]);
            stream.send(true, "response.output_text.delta", delta);
        }
        let mut done = with(&place, "text", text.as_str().into());
        done["logprobs"] = json!([]);
        stream.send(false, "response.output_text.done", done);
        stream.send(false, "response.content_part.done", with(&place, "part", part(text)));
        stream.item(self.message(self.status(), vec![part(text)]), "done");
        stream.next += 1;
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

fn called(call: &ToolCall, status: &str, arguments: &str) -> Value {
    json!({
        "id": format!("fc_{:016x}", call.id),
        "type": "function_call",
        "status": status,
        "call_id": chat::call_id(call),
        "name": call.name,
        "arguments": arguments,
    })
}

fn stream_call(stream: &mut Stream, call: &ToolCall) {
    let place = json!({"item_id": format!("fc_{:016x}", call.id), "output_index": stream.next});
    stream.item(called(call, "in_progress", ""), "added");
    for piece in tokens::pieces(&call.arguments) {
        let delta = with(&place, "delta", piece.into());
        stream.send(true, "response.function_call_arguments.delta", delta);
    }
    let mut done = with(&place, "arguments", call.arguments.as_str().into());
    done["name"] = call.name.as_str().into();
    stream.send(false, "response.function_call_arguments.done", done);
    stream.item(called(call, "completed", &call.arguments), "done");
    stream.next += 1;
}

fn with(place: &Value, name: &str, value: Value) -> Value {
    let mut place = place.clone();
    place[name] = value;
    place
}

/// The events so far, each with its number and name inside as well.
#[derive(Default)]
struct Stream {
    events: Events,
    /// The index of the next output item.
    next: usize,
}

impl Stream {
    fn send(&mut self, paced: bool, name: &str, mut data: Value) {
        data["type"] = name.into();
        data["sequence_number"] = self.events.len().into();
        self.events.named(paced, name, &data);
    }

    fn item(&mut self, item: Value, what: &str) {
        let name = ["response.output_item.", what].concat();
        self.send(false, &name, json!({"output_index": self.next, "item": item}));
    }
}
