//! A whole answer of `generateContent`, as a chat's.

use serde::Deserialize;
use serde_json::value::RawValue;
use shared::usage::Usage;

use crate::{
    ask::Outline,
    providers::{
        NotAnAnswer, Whole,
        chat::Text,
        openai::read,
        told::{Call, Choice, Completion, Extra, Finish, Google, Said},
        usage::take,
    },
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response<'a> {
    #[serde(borrow, default)]
    pub candidates: Vec<Candidate<'a>>,
    #[serde(borrow)]
    pub prompt_feedback: Option<Feedback<'a>>,
    pub usage_metadata: Option<Counted>,
    #[serde(borrow, default)]
    pub model_version: Text<'a>,
    #[serde(borrow, default)]
    pub response_id: Text<'a>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(borrow)]
    pub content: Option<Content<'a>>,
    #[serde(borrow)]
    pub finish_reason: Option<Text<'a>>,
    #[serde(default)]
    pub index: u32,
}

#[derive(Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow, default)]
    pub parts: Vec<Part<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    pub text: Option<&'a RawValue>,
    #[serde(default)]
    pub thought: bool,
    #[serde(borrow)]
    pub function_call: Option<Called<'a>>,
    #[serde(borrow)]
    pub thought_signature: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Called<'a> {
    #[serde(borrow)]
    pub id: Option<Text<'a>>,
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub args: Option<&'a RawValue>,
}

impl<'a> Part<'a> {
    pub(super) fn extra(&'a self) -> Option<Extra<'a>> {
        let thought_signature = self.thought_signature.as_deref()?;
        Some(Extra { google: Google { thought_signature } })
    }
}

impl<'a> Called<'a> {
    /// Its own name, or one that no other call of the conversation has.
    pub(super) fn id(&self, response: &str, nth: u32) -> String {
        self.id.as_deref().map_or_else(|| format!("call_{response}_{nth}"), str::to_owned)
    }

    pub(super) fn arguments(&self) -> &'a str {
        self.args.map_or("{}", RawValue::get)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Feedback<'a> {
    #[serde(borrow)]
    pub block_reason: Option<Text<'a>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Counted {
    prompt_token_count: u64,
    prompt_tokens_details: Option<Kinds>,
    tool_use_prompt_token_count: u64,
    tool_use_prompt_tokens_details: Option<Kinds>,
    cached_content_token_count: u64,
    cache_tokens_details: Option<Kinds>,
    candidates_token_count: u64,
    candidates_tokens_details: Option<Kinds>,
    thoughts_token_count: u64,
}

/// The kinds of tokens that have prices of their own.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(from = "Vec<OfKind>")]
struct Kinds {
    audio: u64,
    image: u64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OfKind {
    modality: Modality,
    token_count: u64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Modality {
    Audio,
    Image,
    #[default]
    #[serde(other)]
    Text,
}

impl From<Vec<OfKind>> for Kinds {
    fn from(counts: Vec<OfKind>) -> Self {
        let mut kinds = Self::default();
        for OfKind { modality, token_count } in counts {
            match modality {
                Modality::Audio => kinds.audio = kinds.audio.saturating_add(token_count),
                Modality::Image => kinds.image = kinds.image.saturating_add(token_count),
                Modality::Text => (),
            }
        }
        kinds
    }
}

impl Counted {
    /// The prompt includes what was cached of it, and not what its tools put in; thoughts
    /// are beside the answer. Pictures that are put in cost what text does.
    pub(super) fn usage(self) -> Usage {
        let of = |kinds: Option<Kinds>| kinds.unwrap_or_default();
        let mut input = self.prompt_token_count.saturating_add(self.tool_use_prompt_token_count);
        let heard = of(self.prompt_tokens_details).audio;
        let heard = heard.saturating_add(of(self.tool_use_prompt_tokens_details).audio);
        let heard_before = of(self.cache_tokens_details).audio.min(heard);
        let mut cached_input = take(&mut input, self.cached_content_token_count);
        let cached_audio_input = take(&mut cached_input, heard_before);
        let audio_input = take(&mut input, heard - cached_audio_input);
        let mut output = self.candidates_token_count;
        let made = of(self.candidates_tokens_details);
        Usage {
            input,
            cached_input,
            audio_input,
            cached_audio_input,
            audio_output: take(&mut output, made.audio),
            image_output_tokens: take(&mut output, made.image),
            output,
            reasoning: self.thoughts_token_count,
            ..Usage::default()
        }
    }
}

/// How an answer ended, by what the vendor says and by whether it calls anything.
pub(super) fn finish(reason: &str, has_calls: bool) -> Finish {
    match reason {
        "MAX_TOKENS" => Finish::Length,
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
        | "IMAGE_SAFETY" => Finish::ContentFilter,
        _ if has_calls => Finish::ToolCalls,
        _ => Finish::Stop,
    }
}

/// What was kept from being answered says so instead of an answer.
pub(super) fn is_blocked(feedback: Option<&Feedback>) -> bool {
    feedback.is_some_and(|it| it.block_reason.is_some())
}

pub(super) fn whole(asked: &Outline, body: &[u8]) -> Result<Whole, NotAnAnswer> {
    let response: Response = read(body)?;
    if response.error.is_some() {
        return Err(NotAnAnswer::Failed);
    }
    let mut names = Names::default();
    let mut choices = Vec::with_capacity(response.candidates.len());
    let ids: Vec<Vec<String>> =
        response.candidates.iter().map(|it| names.of(it, &response.response_id)).collect();
    for (candidate, ids) in response.candidates.iter().zip(&ids) {
        choices.push(choice(candidate, ids)?);
    }
    if choices.is_empty() {
        if !is_blocked(response.prompt_feedback.as_ref()) {
            return Err(NotAnAnswer::Incomplete);
        }
        let message = Said { content: Some(String::new()), ..Said::default() };
        let finish_reason = Finish::ContentFilter;
        choices.push(Choice { index: 0, message, logprobs: (), finish_reason });
    }
    let usage = response.usage_metadata.map(Counted::usage);
    let (id, model) = (&response.response_id, &response.model_version);
    let told = Completion::new(id, model, asked.asked_at, choices, usage).to_bytes();
    Ok(Whole { body: told, usage, service_tier: None })
}

/// Names for calls, none twice.
#[derive(Default)]
struct Names {
    given: u32,
}

impl Names {
    fn of(&mut self, candidate: &Candidate, response: &str) -> Vec<String> {
        let parts = candidate.content.iter().flat_map(|it| &it.parts);
        let calls = parts.filter_map(|it| it.function_call.as_ref());
        let named = calls.map(|it| {
            self.given = self.given.saturating_add(1);
            it.id(response, self.given - 1)
        });
        named.collect()
    }
}

fn choice<'a>(candidate: &'a Candidate, ids: &'a [String]) -> Result<Choice<'a>, NotAnAnswer> {
    let reason = candidate.finish_reason.as_deref().ok_or(NotAnAnswer::Incomplete)?;
    let mut message = Said::default();
    let mut ids = ids.iter();
    for part in candidate.content.iter().flat_map(|it| &it.parts) {
        if let Some(text) = part.text {
            let text: Text =
                serde_json::from_str(text.get()).map_err(|_| NotAnAnswer::Incomplete)?;
            match part.thought {
                true => message.reasoning_content.push_str(&text),
                false => message.content.get_or_insert_default().push_str(&text),
            }
        }
        if let Some(called) = &part.function_call {
            let id = ids.next().map(String::as_str).unwrap_or_default();
            let call = Call::new(id, &called.name, called.arguments());
            message.tool_calls.push(Call { extra_content: part.extra(), ..call });
        }
    }
    let has_calls = !message.tool_calls.is_empty();
    if !has_calls {
        message.content.get_or_insert_default();
    }
    let finish_reason = finish(reason, has_calls);
    Ok(Choice { index: candidate.index, message, logprobs: (), finish_reason })
}
