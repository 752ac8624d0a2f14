//! Gemini's wire formats: camel case, the model in the path, and usage in every event.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    answer::{Answer, Events, json, to_json},
    ask::{Ask, Format, Speaker, Text, Tool, ToolChoice, Turn},
    embed,
    faults::UsageManner,
    refusal::Refusal,
    reply::{self, Choice, Finish, Reply},
    serve::{Answered, Conduct, Desk},
    tokens,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generate<'a> {
    #[serde(borrow, default)]
    contents: Vec<ContentField<'a>>,
    #[serde(borrow, alias = "system_instruction")]
    system_instruction: Option<ContentField<'a>>,
    #[serde(borrow)]
    tools: Option<Vec<ToolField<'a>>>,
    #[serde(borrow, alias = "tool_config")]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(borrow, default, alias = "generation_config")]
    generation_config: Generation<'a>,
}

#[derive(Deserialize)]
struct ContentField<'a> {
    #[serde(borrow)]
    role: Option<Text<'a>>,
    #[serde(borrow, default)]
    parts: Vec<PartField<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartField<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow, alias = "inline_data", alias = "fileData", alias = "file_data")]
    inline_data: Option<Blob<'a>>,
    #[serde(borrow, alias = "function_call")]
    function_call: Option<&'a RawValue>,
    #[serde(borrow, alias = "function_response")]
    function_response: Option<FunctionResponse<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    #[serde(borrow, alias = "mime_type")]
    mime_type: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct FunctionResponse<'a> {
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolField<'a> {
    #[serde(borrow, alias = "function_declarations")]
    function_declarations: Option<Vec<Declaration<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow, alias = "parametersJsonSchema", alias = "parameters_json_schema")]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig<'a> {
    #[serde(borrow, alias = "function_calling_config")]
    function_calling_config: Option<CallingConfig<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallingConfig<'a> {
    #[serde(borrow)]
    mode: Option<Text<'a>>,
    #[serde(borrow, alias = "allowed_function_names")]
    allowed_function_names: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Generation<'a> {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<u32>,
    #[serde(borrow, alias = "stop_sequences")]
    stop_sequences: Option<Vec<Text<'a>>>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<u32>,
    #[serde(borrow, alias = "response_mime_type")]
    response_mime_type: Option<Text<'a>>,
    #[serde(
        borrow,
        alias = "response_schema",
        alias = "responseJsonSchema",
        alias = "response_json_schema"
    )]
    response_schema: Option<&'a RawValue>,
    seed: Option<i64>,
    #[serde(alias = "thinking_config")]
    thinking_config: Option<ThinkingConfig>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
struct ThinkingConfig {
    #[serde(alias = "thinking_budget")]
    thinking_budget: Option<i32>,
    #[serde(default, alias = "include_thoughts")]
    include_thoughts: bool,
}

pub(super) fn answer(desk: &Desk) -> Answered {
    let last = desk.request.path.rsplit('/').next().unwrap_or_default();
    let (model, action) = last.split_once(':').unwrap_or((last, ""));
    match (desk.request.method, action) {
        ("GET", "") => models(desk),
        ("POST", "generateContent") => generate(desk, model, false),
        ("POST", "streamGenerateContent") => generate(desk, model, true),
        ("POST", "countTokens") => count_tokens(desk, model),
        ("POST", "embedContent") => embed_content(desk, model),
        ("POST", "batchEmbedContents") => batch_embed(desk, model),
        (_, _) => Err(desk.refuse(&Refusal::new(404, "Requested entity was not found."))),
    }
}

fn models(desk: &Desk) -> Answered {
    const MODELS: [&str; 4] =
        ["gemini-2.5-pro", "gemini-2.5-flash", "gemini-embedding-001", "sim-small"];
    let conduct = desk.conduct(None, false)?;
    let model = |name: &str| {
        json!({
            "name": format!("models/{name}"),
            "displayName": name,
            "version": "001",
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"],
        })
    };
    let body = json!({"models": MODELS.map(model)});
    Ok(conduct.apply(Answer::json(200, to_json(&body)), desk.dialect, 0))
}

fn count_tokens(desk: &Desk, model: &str) -> Answered {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Count<'a> {
        #[serde(borrow, default)]
        contents: Vec<ContentField<'a>>,
        #[serde(borrow)]
        generate_content_request: Option<Generate<'a>>,
    }
    let asked: Count = desk.parse()?;
    let conduct = desk.conduct(Some(model), false)?;
    let contents = asked.generate_content_request.map_or(asked.contents, |it| it.contents);
    let turns: Result<Vec<_>, _> = contents.into_iter().map(turn).collect();
    let turns = turns.map_err(|refusal: Refusal| desk.refuse(&refusal))?;
    let ask = Ask { turns, ..Ask::to(model.into()) };
    let body = json!({"totalTokens": ask.prompt_tokens()});
    Ok(conduct.apply(Answer::json(200, to_json(&body)), desk.dialect, 0))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Embed<'a> {
    #[serde(borrow)]
    content: ContentField<'a>,
    #[serde(alias = "output_dimensionality")]
    output_dimensionality: Option<usize>,
}

impl Embed<'_> {
    fn vector(&self) -> Value {
        let texts = self.content.parts.iter().filter_map(|it| it.text.as_ref());
        let text = texts.map(|it| it.0.as_ref()).collect::<Vec<_>>().join("\n");
        let dimensions = self.output_dimensionality.unwrap_or(768).clamp(1, 4096);
        json!({"values": embed::vector(&text, dimensions)})
    }
}

fn embed_content(desk: &Desk, model: &str) -> Answered {
    let asked: Embed = desk.parse()?;
    let conduct = desk.conduct(Some(model), false)?;
    let body = json!({"embedding": asked.vector()});
    Ok(conduct.apply(Answer::json(200, to_json(&body)), desk.dialect, 0))
}

fn batch_embed(desk: &Desk, model: &str) -> Answered {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        requests: Vec<Embed<'a>>,
    }
    let asked: Batch = desk.parse()?;
    let conduct = desk.conduct(Some(model), false)?;
    let body = json!({"embeddings": asked.requests.iter().map(Embed::vector).collect::<Vec<_>>()});
    Ok(conduct.apply(Answer::json(200, to_json(&body)), desk.dialect, 0))
}

fn generate(desk: &Desk, model: &str, stream: bool) -> Answered {
    let asked: Generate = desk.parse()?;
    let conduct = desk.conduct(Some(model), stream)?;
    let shows_thought =
        asked.generation_config.thinking_config.is_some_and(|it| it.include_thoughts);
    let ask = ask(asked, model.into()).map_err(|refusal| desk.refuse(&refusal))?;
    let reply = reply::compose(&ask, conduct.profile.length, &conduct.manner);
    let told = Told { ask: &ask, reply: &reply, conduct: &conduct, shows_thought };
    let answer = if !stream {
        Answer::json(200, to_json(&told.whole()))
    } else if desk.request.query_field("alt") == Some("sse") {
        Answer::stream(told.stream(Spelling::Events))
    } else {
        let events = told.stream(Spelling::Array);
        Answer { content_type: "application/json; charset=UTF-8", ..Answer::stream(events) }
    };
    Ok(conduct.apply(answer, desk.dialect, reply.usage.completion))
}

fn ask<'a>(asked: Generate<'a>, model: Cow<'a, str>) -> Result<Ask<'a>, Refusal> {
    if asked.contents.is_empty() {
        return Err(Refusal::invalid(
            "* GenerateContentRequest.contents: contents is not specified",
        ));
    }
    let system = asked.system_instruction.into_iter().map(|it| {
        let turn = turn(it)?;
        Ok(Turn { speaker: Speaker::System, ..turn })
    });
    let turns: Result<Vec<_>, _> = system.chain(asked.contents.into_iter().map(turn)).collect();
    let declared = asked.tools.into_iter().flatten();
    let declared = declared.flat_map(|it| it.function_declarations.unwrap_or_default());
    let generation = asked.generation_config;
    let wants_json = generation.response_mime_type.is_some_and(|it| it.0 == "application/json");
    Ok(Ask {
        turns: turns?,
        tools: declared.map(|it| Tool::new(it.name, it.parameters)).collect(),
        tool_choice: tool_choice(asked.tool_config.and_then(|it| it.function_calling_config)),
        format: match generation.response_schema {
            Some(schema) => Format::Schema(schema),
            None if wants_json => Format::Json,
            None => Format::Text,
        },
        cap: generation.max_output_tokens,
        stop: generation.stop_sequences.unwrap_or_default(),
        choices: generation.candidate_count.unwrap_or(1).min(8),
        seed: generation.seed,
        thought: thought(generation.thinking_config, &model),
        ..Ask::to(model)
    })
}

fn turn(content: ContentField) -> Result<Turn, Refusal> {
    let mut speaker = match content.role.as_ref().map(|it| it.0.as_ref()) {
        None | Some("user") => Speaker::User,
        Some("model") => Speaker::Assistant,
        Some("function") => Speaker::Tool,
        Some("system") => Speaker::System,
        Some(_) => return Err(Refusal::invalid("Please use a valid role: user, model.")),
    };
    let mut turn = Turn::new(speaker, "".into());
    for part in content.parts {
        if let Some(text) = part.text {
            turn.say(text.0);
        }
        if let Some(blob) = part.inline_data {
            match blob.mime_type.unwrap_or_default().0.starts_with("image/") {
                true => turn.images += 1,
                false => turn.further_tokens += 100,
            }
        }
        if let Some(call) = part.function_call {
            turn.further_tokens += tokens::estimate(call.get());
        }
        if let Some(response) = part.function_response {
            speaker = Speaker::Tool;
            turn.say(response.response.map_or("", |it| it.get()).into());
        }
    }
    Ok(Turn { speaker, ..turn })
}

fn tool_choice(config: Option<CallingConfig>) -> ToolChoice {
    let Some(config) = config else { return ToolChoice::Auto };
    let mode = config.mode.unwrap_or_default().0.to_ascii_uppercase();
    let allowed = config.allowed_function_names.unwrap_or_default().into_iter().next();
    match (mode.as_str(), allowed) {
        ("ANY", Some(name)) => ToolChoice::Named(name),
        ("ANY", None) => ToolChoice::Required,
        ("NONE", _) => ToolChoice::Never,
        (_, _) => ToolChoice::Auto,
    }
}

fn thought(config: Option<ThinkingConfig>, model: &str) -> Option<u32> {
    match config.and_then(|it| it.thinking_budget) {
        Some(0) => None,
        // -1 leaves it to the model.
        Some(budget) => Some(u32::try_from(budget).unwrap_or(128).min(128)),
        None if config.is_some_and(|it| it.include_thoughts) => Some(96),
        None => model.starts_with("sim-reasoning").then_some(96),
    }
}

/// How a stream is written down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    Events,
    /// One JSON array that grows.
    Array,
}

struct Told<'a> {
    ask: &'a Ask<'a>,
    reply: &'a Reply,
    conduct: &'a Conduct,
    shows_thought: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates: Vec<Candidate<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<Usage>,
    model_version: &'a str,
    response_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'static str>,
    index: usize,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: Vec<Part<'a>>,
    role: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Part<'a> {
    FunctionCall {
        id: String,
        name: &'a str,
        args: Box<RawValue>,
    },
    #[serde(untagged)]
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        thought: bool,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    prompt_token_count: u32,
    candidates_token_count: u32,
    total_token_count: u32,
    #[serde(skip_serializing_if = "is_zero")]
    cached_content_token_count: u32,
    #[serde(skip_serializing_if = "is_zero")]
    thoughts_token_count: u32,
    prompt_tokens_details: [Details; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    modality: &'static str,
    token_count: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl<'a> Told<'a> {
    fn id(&self) -> String {
        super::openai::id("sim", self.reply.digest)
    }

    fn whole(&self) -> Value {
        let candidates = self.reply.choices.iter().enumerate().map(|(index, choice)| {
            let mut parts = Vec::new();
            if self.shows_thought && index == 0 && !self.reply.thought.is_empty() {
                parts.push(Part::Text { text: &self.reply.thought, thought: true });
            }
            if !choice.text.is_empty() {
                parts.push(Part::Text { text: &choice.text, thought: false });
            }
            parts.extend(calls(choice));
            candidate(index, parts, Some(finish_reason(choice)))
        });
        json!(Body {
            candidates: candidates.collect(),
            usage_metadata: self.usage(self.reply.usage.completion, true),
            model_version: &self.ask.model,
            response_id: &self.id(),
        })
    }

    /// `completion` tokens so far; whether the answer is `over`.
    fn usage(&self, completion: u32, over: bool) -> Option<Usage> {
        let told = match self.conduct.manner.usage {
            UsageManner::Missing => false,
            UsageManner::Middle => completion == self.reply.usage.completion / 2,
            UsageManner::AsAsked | UsageManner::Every | UsageManner::Zero | UsageManner::Huge => {
                true
            }
        };
        let usage = self.reply.usage;
        let completion = if over { usage.completion } else { completion.min(usage.completion) };
        told.then(|| Usage {
            prompt_token_count: usage.prompt,
            candidates_token_count: completion.saturating_sub(usage.reasoning),
            total_token_count: usage.prompt.saturating_add(completion.max(usage.reasoning)),
            cached_content_token_count: usage.cache_read,
            thoughts_token_count: usage.reasoning,
            prompt_tokens_details: [Details { modality: "TEXT", token_count: usage.prompt }],
        })
    }

    fn stream(&self, spelling: Spelling) -> Events {
        let id = self.id();
        let mut stream =
            Stream { told: self, id: &id, spelling, events: Events::default(), sent: 0 };
        if self.shows_thought {
            for text in tokens::pieces(&self.reply.thought) {
                stream.send(true, candidate(0, vec![Part::Text { text, thought: true }], None));
            }
        } else {
            stream.sent = self.reply.usage.reasoning;
        }
        for (index, choice) in self.reply.choices.iter().enumerate() {
            stream.choice(index, choice);
        }
        if spelling == Spelling::Array {
            stream.events.push(false, |out| out.extend_from_slice(b"\n]\n"));
        }
        stream.events
    }
}

fn calls(choice: &Choice) -> impl Iterator<Item = Part<'_>> {
    choice.calls.iter().map(|call| Part::FunctionCall {
        id: format!("{:016x}", call.id),
        name: &call.name,
        args: call.arguments_or_empty(),
    })
}

fn candidate<'a>(
    index: usize,
    parts: Vec<Part<'a>>,
    finish_reason: Option<&'static str>,
) -> Candidate<'a> {
    Candidate { content: Content { parts, role: "model" }, finish_reason, index }
}

fn finish_reason(choice: &Choice) -> &'static str {
    match choice.finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Filtered => "SAFETY",
    }
}

struct Stream<'a> {
    told: &'a Told<'a>,
    id: &'a str,
    spelling: Spelling,
    events: Events,
    /// Tokens that went out, or were only thought.
    sent: u32,
}

impl Stream<'_> {
    fn choice(&mut self, index: usize, choice: &Choice) {
        for text in tokens::pieces(&choice.text) {
            let part = Part::Text { text, thought: false };
            self.send(true, candidate(index, vec![part], None));
        }
        for call in calls(choice) {
            self.send(true, candidate(index, vec![call], None));
        }
        // The last event has the whole usage, and the text that is left: none.
        self.sent = self.told.reply.usage.completion;
        let end = vec![Part::Text { text: "", thought: false }];
        self.send(false, candidate(index, end, Some(finish_reason(choice))));
    }

    fn send(&mut self, paced: bool, candidate: Candidate) {
        self.sent += u32::from(paced);
        let over = candidate.finish_reason.is_some();
        let body = Body {
            candidates: vec![candidate],
            usage_metadata: self.told.usage(self.sent, over),
            model_version: &self.told.ask.model,
            response_id: self.id,
        };
        let (before, after): (&[u8], &[u8]) = match self.spelling {
            Spelling::Events => (b"data: ", b"\r\n\r\n"),
            Spelling::Array if self.events.len() == 0 => (b"[", b""),
            Spelling::Array => (b"\n,\r\n", b""),
        };
        self.events.push(paced, |out| {
            out.extend_from_slice(before);
            json(out, &body);
            out.extend_from_slice(after);
        });
    }
}
