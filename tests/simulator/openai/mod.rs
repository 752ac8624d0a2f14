//! OpenAI's wire formats, and so those of everyone who speaks them.

mod chat;
mod completions;
mod embeddings;
mod logprobs;
mod models;
mod moderations;
mod responses;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    ask::Text,
    digest::Digest,
    faults::UsageManner,
    refusal::Refusal,
    reply::Usage,
    serve::{Answered, Desk},
};

/// 2026-01-01: an answer must not depend on when it is given.
const CREATED: u64 = 1_767_225_600;

pub(super) fn answer(desk: &Desk) -> Answered {
    let path = desk.request.path.trim_end_matches('/');
    let mut parts = path.rsplit('/');
    let (last, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match (desk.request.method, before, last) {
        ("POST", "chat", "completions") => chat::answer(desk),
        ("POST", _, "completions") => completions::answer(desk),
        ("POST", _, "embeddings") => embeddings::answer(desk),
        ("POST", _, "moderations") => moderations::answer(desk),
        ("POST", _, "responses") => responses::answer(desk),
        ("GET", _, "models") => models::list(desk),
        ("GET", "models", model) => models::one(desk, model),
        (_, _, "completions" | "embeddings" | "moderations" | "responses" | "models") => {
            Err(desk.refuse(&Refusal::new(405, "Not allowed to use that method on this URL.")))
        }
        (method, _, _) => {
            Err(desk.refuse(&Refusal::new(404, format!("Invalid URL ({method} {path})"))))
        }
    }
}

/// What `stream_options` asks for.
#[derive(serde::Deserialize, Clone, Copy, Default)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// An answer's id, the same for the same question.
pub(super) fn id(prefix: &str, digest: Digest) -> String {
    format!("{prefix}{:016x}", digest.value())
}

/// The model that a deployment's path names (Azure), where the body names none.
fn deployment(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("/deployments/")?;
    rest.split('/').next()
}

/// Most tokens of thought for an effort; models that think do so unasked.
fn thought(model: &str, effort: Option<&str>) -> Option<u32> {
    let name = model.rsplit('/').next().unwrap_or(model);
    let thinks = ["sim-reasoning", "sim-thinking", "o1", "o3", "o4", "gpt-5", "deepseek-r", "qwq"];
    match effort {
        Some("none") => None,
        Some("minimal") => Some(16),
        Some("low") => Some(32),
        Some("medium") => Some(96),
        Some(_) => Some(128),
        None => thinks.iter().any(|it| name.starts_with(it)).then_some(96),
    }
}

/// Some vendors let the thoughts be seen, in a field of their own.
fn shows_thought(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    ["sim-thinking", "deepseek-r", "qwq"].iter().any(|it| name.starts_with(it))
}

#[derive(Serialize, Clone, Copy)]
struct UsageBlock {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize, Clone, Copy)]
struct PromptDetails {
    cached_tokens: u32,
    audio_tokens: u32,
}

#[derive(Serialize, Clone, Copy)]
struct CompletionDetails {
    reasoning_tokens: u32,
    audio_tokens: u32,
    accepted_prediction_tokens: u32,
    rejected_prediction_tokens: u32,
}

impl From<Usage> for UsageBlock {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt,
            completion_tokens: usage.completion,
            total_tokens: usage.prompt.saturating_add(usage.completion),
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cache_read,
                audio_tokens: 0,
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: usage.reasoning,
                audio_tokens: 0,
                accepted_prediction_tokens: 0,
                rejected_prediction_tokens: 0,
            },
        }
    }
}

/// The usage of a whole answer, as the manner wants it told.
fn whole_usage(usage: Usage, manner: UsageManner) -> Option<UsageBlock> {
    (manner != UsageManner::Missing).then(|| usage.into())
}

/// `stop`: null, a string, or several.
fn stops(stop: Option<&RawValue>) -> Result<Vec<Text<'_>>, Refusal> {
    match stop.map(RawValue::get) {
        None | Some("null") => Ok(Vec::new()),
        Some(one) if one.starts_with('"') => Ok(vec![serde_json::from_str(one)?]),
        Some(several) => Ok(serde_json::from_str(several)?),
    }
}
