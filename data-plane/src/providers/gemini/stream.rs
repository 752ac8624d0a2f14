//! A stream of `streamGenerateContent`, as a chat's chunks.

use std::collections::BTreeMap;

use shared::usage::Usage;

use super::answer::{Candidate, Counted, Part, Response, finish, is_blocked};
use crate::providers::{
    NotAnAnswer,
    openai::read,
    told::{Assistant, Call, Chunks, Delta, DeltaCall, Finish},
    translating::{Translator, text},
};

/// Nothing marks the end of such a stream: it is complete when every answer that was asked
/// for has said why it ended.
pub(super) struct Stream {
    tells_usage: bool,
    choices: u32,
    answers: BTreeMap<u32, Answer>,
    /// Names that were given to calls.
    named: u32,
    usage: Option<Usage>,
    is_complete: bool,
}

#[derive(Default)]
struct Answer {
    calls: u32,
    is_over: bool,
}

impl Stream {
    pub(super) fn new(tells_usage: bool, choices: u32) -> Self {
        Self {
            tells_usage,
            choices,
            answers: BTreeMap::new(),
            named: 0,
            usage: None,
            is_complete: false,
        }
    }

    fn goes(
        &mut self,
        candidate: &Candidate,
        response: &str,
        chunks: &mut Chunks,
    ) -> Result<(), NotAnAnswer> {
        let index = candidate.index;
        if index >= self.choices {
            return Err(NotAnAnswer::Incomplete);
        }
        if !self.answers.contains_key(&index) {
            let role = Some(Assistant::Assistant);
            chunks.delta(index, &Delta { role, ..Delta::default() });
        }
        let answer = self.answers.entry(index).or_default();
        if answer.is_over {
            return Ok(());
        }
        for part in candidate.content.iter().flat_map(|it| &it.parts) {
            say(part, chunks, index)?;
            self.named = call(part, answer, self.named, response, (chunks, index));
        }
        if let Some(reason) = &candidate.finish_reason {
            answer.is_over = true;
            chunks.finish(index, finish(reason, answer.calls > 0));
        }
        Ok(())
    }

    fn ends(&mut self, chunks: &mut Chunks) {
        chunks.done(self.usage.filter(|_| self.tells_usage));
        self.is_complete = true;
    }
}

fn say(part: &Part, chunks: &mut Chunks, index: u32) -> Result<(), NotAnAnswer> {
    if part.text.is_none() {
        return Ok(());
    }
    let said = Some(text(part.text)?).filter(|it| it.get() != "\"\"");
    let delta = match part.thought {
        true => Delta { reasoning_content: said, ..Delta::default() },
        false => Delta { content: said, ..Delta::default() },
    };
    if said.is_some() {
        chunks.delta(index, &delta);
    }
    Ok(())
}

/// Calls come whole. Says how many have been named then.
fn call(
    part: &Part,
    answer: &mut Answer,
    named: u32,
    response: &str,
    (chunks, index): (&mut Chunks, u32),
) -> u32 {
    let Some(called) = &part.function_call else { return named };
    let id = called.id(response, named);
    let call = Call {
        index: Some(answer.calls),
        extra_content: part.extra(),
        ..Call::new(&id, &called.name, called.arguments())
    };
    answer.calls = answer.calls.saturating_add(1);
    let tool_calls = Some([DeltaCall::Begins(call)]);
    chunks.delta(index, &Delta { tool_calls, ..Delta::default() });
    named.saturating_add(1)
}

impl Translator for Stream {
    fn translate(&mut self, data: &[u8], chunks: &mut Chunks) -> Result<(), NotAnAnswer> {
        let response: Response = read(data)?;
        if response.error.is_some() {
            return Err(NotAnAnswer::Failed);
        }
        self.usage = response.usage_metadata.map(Counted::usage).or(self.usage);
        if self.is_complete {
            return Ok(());
        }
        let is_blocked = is_blocked(response.prompt_feedback.as_ref());
        if response.candidates.is_empty() && !is_blocked {
            return Ok(());
        }
        if !chunks.has_begun() {
            chunks.begin(&response.response_id, &response.model_version);
        }
        for candidate in &response.candidates {
            self.goes(candidate, &response.response_id, chunks)?;
        }
        let over = self.answers.values().filter(|it| it.is_over).count();
        if is_blocked && response.candidates.is_empty() && self.answers.is_empty() {
            chunks.delta(0, &Delta { role: Some(Assistant::Assistant), ..Delta::default() });
            chunks.finish(0, Finish::ContentFilter);
            self.ends(chunks);
        } else if u32::try_from(over) == Ok(self.choices) {
            self.ends(chunks);
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}
