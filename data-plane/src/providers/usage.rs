//! What was used, as OpenAI's dialect says it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::usage::Usage;

#[derive(Deserialize)]
struct Said {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<InputDetails>,
    completion_tokens_details: Option<OutputDetails>,
    /// DeepSeek's word for what was cached.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

/// `None` where it is not said in a way that can be counted.
pub fn of_openai(raw: &RawValue) -> Option<Usage> {
    let said: Said = serde_json::from_str(raw.get()).ok()?;
    let prompt = said.prompt_tokens.or(said.total_tokens)?;
    let completion = said.completion_tokens.unwrap_or_default();
    let details = said.prompt_tokens_details.as_ref();
    let cached = details.and_then(|it| it.cached_tokens).or(said.prompt_cache_hit_tokens);
    let cached_input = cached.unwrap_or_default().min(prompt);
    let written = details.and_then(|it| it.cache_write_tokens).unwrap_or_default();
    let cache_write = written.min(prompt - cached_input);
    let reasoning = said.completion_tokens_details.and_then(|it| it.reasoning_tokens);
    let reasoning = reasoning.unwrap_or_default();
    // Most count thoughts as part of the completion, some beside it; the sum tells.
    let beside = prompt.checked_add(completion).and_then(|it| it.checked_add(reasoning));
    let is_beside = reasoning > 0 && said.total_tokens.is_some() && said.total_tokens == beside;
    let output = if is_beside { completion } else { completion.saturating_sub(reasoning) };
    let reasoning = if is_beside { reasoning } else { reasoning.min(completion) };
    let input = prompt - cached_input - cache_write;
    Some(Usage { input, cached_input, cache_write, output, reasoning, ..Usage::default() })
}

#[derive(Serialize)]
pub struct Told {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: ToldInput,
    completion_tokens_details: ToldOutput,
}

#[derive(Serialize)]
struct ToldInput {
    cached_tokens: u64,
}

#[derive(Serialize)]
struct ToldOutput {
    reasoning_tokens: u64,
}

impl From<Usage> for Told {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.total_input(),
            completion_tokens: usage.total_output(),
            total_tokens: usage.total(),
            prompt_tokens_details: ToldInput { cached_tokens: usage.cached_input },
            completion_tokens_details: ToldOutput { reasoning_tokens: usage.reasoning },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Input, read from the cache, written to it, output, thoughts.
    #[track_caller]
    fn check(said: &str, expected: Option<[u64; 5]>) {
        let raw = serde_json::from_str(said).unwrap();
        let found = of_openai(raw);
        let found =
            found.map(|it| [it.input, it.cached_input, it.cache_write, it.output, it.reasoning]);
        assert_eq!(found, expected, "{said}");
    }

    #[test]
    fn a_token_counts_once() {
        check(
            r#"{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}"#,
            Some([9, 0, 0, 4, 0]),
        );
        check(
            r#"{"prompt_tokens":100,"completion_tokens":40,"total_tokens":140,
                "prompt_tokens_details":{"cached_tokens":60},
                "completion_tokens_details":{"reasoning_tokens":30}}"#,
            Some([40, 60, 0, 10, 30]),
        );
        check(r#"{"prompt_tokens":8,"total_tokens":8}"#, Some([8, 0, 0, 0, 0]));
        check(
            r#"{"prompt_tokens":9,"completion_tokens":1,"prompt_cache_hit_tokens":4}"#,
            Some([5, 4, 0, 1, 0]),
        );
    }

    #[test]
    fn thoughts_that_are_counted_beside_the_answer_are_not_taken_from_it() {
        check(
            r#"{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,
                "completion_tokens_details":{"reasoning_tokens":94}}"#,
            Some([32, 0, 0, 9, 94]),
        );
    }

    #[test]
    fn what_cannot_be_counted_is_not_said() {
        check("{}", None);
        check(r#"{"prompt_tokens":-1}"#, None);
        check(r#"{"prompt_tokens":1.5,"completion_tokens":2}"#, None);
        check("[]", None);
        let most = u64::MAX;
        check(
            &format!(
                r#"{{"prompt_tokens":{most},"completion_tokens":{most},"total_tokens":{most},
                "completion_tokens_details":{{"reasoning_tokens":{most}}}}}"#
            ),
            Some([most, 0, 0, 0, most]),
        );
    }
}
