//! A whole answer of the Messages API, as a chat's.

use serde::Deserialize;
use serde_json::value::RawValue;
use shared::usage::Usage;

use crate::{
    ask::Outline,
    providers::{
        NotAnAnswer, Whole,
        chat::Text,
        openai::read,
        told::{Call, Choice, Completion, Finish, Said},
        usage::{ServerTools, take},
    },
};

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    content: Vec<Block<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    thinking: Text<'a>,
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// What was used, as far as an event says. What one leaves out, an earlier one said.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Counted {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<Written>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
    server_tool_use: Option<ServerTools>,
}

/// What was written to a cache, by how long it is kept.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Written {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl Counted {
    pub(super) fn then(self, later: Self) -> Self {
        Self {
            input_tokens: later.input_tokens.or(self.input_tokens),
            cache_creation_input_tokens: later
                .cache_creation_input_tokens
                .or(self.cache_creation_input_tokens),
            cache_creation: later.cache_creation.or(self.cache_creation),
            cache_read_input_tokens: later.cache_read_input_tokens.or(self.cache_read_input_tokens),
            output_tokens: later.output_tokens.or(self.output_tokens),
            output_tokens_details: later.output_tokens_details.or(self.output_tokens_details),
            server_tool_use: later.server_tool_use.or(self.server_tool_use),
        }
    }

    /// Thoughts are counted with the output, and told apart by newer models only.
    pub(super) fn usage(self) -> Option<Usage> {
        let mut output = self.output_tokens?;
        let thought = self.output_tokens_details.and_then(|it| it.thinking_tokens);
        let (mut cache_write, hour) = self.written();
        Some(Usage {
            input: self.input_tokens?,
            cached_input: self.cache_read_input_tokens.unwrap_or_default(),
            cache_write_1h: take(&mut cache_write, hour),
            cache_write,
            reasoning: take(&mut output, thought.unwrap_or_default()),
            output,
            searches: self.server_tool_use.map(ServerTools::searches).unwrap_or_default(),
            ..Usage::default()
        })
    }

    /// All that was written to a cache, and what of it is kept for an hour.
    fn written(self) -> (u64, u64) {
        let kept = |of: fn(Written) -> Option<u64>| self.cache_creation.and_then(of);
        let hour = kept(|it| it.ephemeral_1h_input_tokens).unwrap_or_default();
        let minutes = kept(|it| it.ephemeral_5m_input_tokens).unwrap_or_default();
        let parts = hour.saturating_add(minutes);
        (self.cache_creation_input_tokens.unwrap_or_default().max(parts), hour)
    }
}

pub(super) fn finish(stop_reason: &str) -> Finish {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::ContentFilter,
        _ => Finish::Stop,
    }
}

pub(super) fn whole(asked: &Outline, body: &[u8]) -> Result<Whole, NotAnAnswer> {
    let message: Message = read(body)?;
    let stop_reason = message.stop_reason.ok_or(NotAnAnswer::Incomplete)?;
    let mut said = Said::default();
    for block in &message.content {
        match &*block.kind {
            "text" => said.content.get_or_insert_default().push_str(&block.text),
            "thinking" => said.reasoning_content.push_str(&block.thinking),
            "tool_use" => {
                let input = block.input.ok_or(NotAnAnswer::Incomplete)?.get();
                said.tool_calls.push(Call::new(&block.id, &block.name, input));
            }
            _ => (),
        }
    }
    if said.tool_calls.is_empty() {
        said.content.get_or_insert_default();
    }
    let finish_reason = finish(&stop_reason);
    let choice = Choice { index: 0, message: said, logprobs: (), finish_reason };
    let usage = message.usage.and_then(Counted::usage);
    let told = Completion::new(&message.id, &message.model, asked.asked_at, vec![choice], usage)
        .to_bytes();
    Ok(Whole { body: told, usage, service_tier: None })
}
