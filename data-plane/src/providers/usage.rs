//! What was used, as OpenAI's dialect says it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
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
    /// Mistral's.
    num_cached_tokens: Option<u64>,
    /// Moonshot's.
    cached_tokens: Option<u64>,
    /// Mistral's sign that something was heard.
    prompt_audio_seconds: Option<Value>,
    /// xAI's word for what its searches found and used, which is what it charges.
    num_sources_used: Option<u64>,
    /// OpenRouter's word for searches, as Anthropic's.
    server_tool_use: Option<ServerTools>,
}

#[derive(Default, Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cached_tokens_details: Option<CachedDetails>,
    cache_write_tokens: Option<u64>,
    /// Qwen's word for what was written.
    cache_creation_input_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CachedDetails {
    audio_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    image_tokens: Option<u64>,
}

/// What an upstream ran by itself.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct ServerTools {
    web_search_requests: Option<u64>,
}

impl ServerTools {
    pub(super) fn searches(self) -> u64 {
        self.web_search_requests.unwrap_or_default()
    }
}

/// Takes a part out of a whole: as much as was said, as long as there is any.
pub(super) fn take(whole: &mut u64, part: u64) -> u64 {
    let taken = part.min(*whole);
    *whole -= taken;
    taken
}

/// `None` where it is not said in a way that can be counted.
pub fn of_openai(raw: &RawValue) -> Option<Usage> {
    let said: Said = serde_json::from_str(raw.get()).ok()?;
    let mut input = said.prompt_tokens.or(said.total_tokens)?;
    let mut output = said.completion_tokens.unwrap_or_default();
    let beside = said.beside(input.saturating_add(output));
    let searches = said.searches();
    let cached = said.cached();
    let is_heard = said.prompt_audio_seconds.as_ref().and_then(Value::as_u64) > Some(0);
    let (into, out) = (said.prompt_tokens_details, said.completion_tokens_details);
    let (into, out) = (into.unwrap_or_default(), out.unwrap_or_default());

    let mut cached_input = take(&mut input, cached);
    let written = into.cache_write_tokens.or(into.cache_creation_input_tokens);
    let cache_write = take(&mut input, written.unwrap_or_default());
    let heard = into.audio_tokens.unwrap_or_default();
    let heard_before = into.cached_tokens_details.and_then(|it| it.audio_tokens);
    let cached_audio_input = take(&mut cached_input, heard_before.unwrap_or_default().min(heard));
    let audio_input = take(&mut input, heard - cached_audio_input);

    let thought = out.reasoning_tokens.unwrap_or_default();
    let within = if thought == beside { 0 } else { take(&mut output, thought) };
    let audio_output = take(&mut output, out.audio_tokens.unwrap_or_default());
    let image_output_tokens = take(&mut output, out.image_tokens.unwrap_or_default());
    let (heard_beside, thought_beside) = if is_heard { (beside, 0) } else { (0, beside) };
    Some(Usage {
        input,
        cached_input,
        cache_write,
        output,
        reasoning: within.saturating_add(thought_beside),
        audio_input: audio_input.saturating_add(heard_beside),
        cached_audio_input,
        audio_output,
        image_output_tokens,
        searches,
        ..Usage::default()
    })
}

impl Said {
    /// What is in the total and in neither part of it. Most count thoughts as part of the
    /// completion, some beside it, and some don't even name them; of speech, Mistral counts
    /// some of its tokens nowhere else.
    fn beside(&self, parts: u64) -> u64 {
        let is_whole = self.prompt_tokens.is_some();
        self.total_tokens.filter(|_| is_whole).unwrap_or_default().saturating_sub(parts)
    }

    fn cached(&self) -> u64 {
        let details = self.prompt_tokens_details.as_ref().and_then(|it| it.cached_tokens);
        let said = details.or(self.prompt_cache_hit_tokens);
        said.or(self.num_cached_tokens).or(self.cached_tokens).unwrap_or_default()
    }

    fn searches(&self) -> u64 {
        let tools = self.server_tool_use.map(ServerTools::searches);
        tools.or(self.num_sources_used).unwrap_or_default()
    }
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
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_tokens: Option<u64>,
}

#[derive(Serialize)]
struct ToldOutput {
    reasoning_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_tokens: Option<u64>,
}

impl From<Usage> for Told {
    fn from(usage: Usage) -> Self {
        let heard = usage.audio_input.saturating_add(usage.cached_audio_input);
        let told = |count| Some(count).filter(|it| *it > 0);
        Self {
            prompt_tokens: usage.total_input(),
            completion_tokens: usage.total_output(),
            total_tokens: usage.total(),
            prompt_tokens_details: ToldInput {
                cached_tokens: usage.cached_input.saturating_add(usage.cached_audio_input),
                audio_tokens: told(heard),
            },
            completion_tokens_details: ToldOutput {
                reasoning_tokens: usage.reasoning,
                audio_tokens: told(usage.audio_output),
            },
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
        // Nor are those that only the total knows of.
        check(
            r#"{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135}"#,
            Some([32, 0, 0, 9, 94]),
        );
        check(
            r#"{"prompt_tokens":32,"completion_tokens":9,"total_tokens":40,
                "completion_tokens_details":{"reasoning_tokens":4}}"#,
            Some([32, 0, 0, 5, 4]),
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
