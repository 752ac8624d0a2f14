//! From a request to its answer: which endpoint, which faults, which words.

use super::{
    State,
    answer::Answer,
    anthropic,
    faults::{Fault, Manner},
    gemini, openai,
    profile::Profile,
    receive::Received,
    refusal::{Dialect, Refusal},
    spoilt,
};

/// A request, borrowed from the buffer it came in.
pub(super) struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    /// The key it was made with, `Bearer ` and all.
    pub key: Option<&'a str>,
    pub body: &'a [u8],
    vendor: Option<Dialect>,
}

impl<'a> Request<'a> {
    pub(super) fn new(received: &Received, buffer: &'a [u8], body: &'a [u8]) -> Self {
        let text = |range: &std::ops::Range<usize>| {
            std::str::from_utf8(&buffer[range.clone()]).unwrap_or_default()
        };
        let target = text(&received.target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let method = text(&received.method);
        let key = received.key.as_ref().map(text).or_else(|| field(query, "key"));
        Self { method, path, query, key, body, vendor: received.vendor }
    }

    pub(super) fn query_field(&self, name: &str) -> Option<&'a str> {
        field(self.query, name)
    }
}

fn field<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = query.split('&').filter_map(|it| it.split_once('='));
    fields.find(|it| it.0 == name).map(|it| it.1)
}

/// What a call meets here, decided by its model, its path and its key.
#[derive(Clone, Copy)]
pub(super) struct Conduct {
    pub fault: Option<Fault>,
    pub manner: Manner,
    pub profile: Profile,
}

/// The call being answered.
pub(super) struct Desk<'a> {
    state: &'a State,
    pub request: &'a Request<'a>,
    pub dialect: Dialect,
}

impl Desk<'_> {
    /// Decides how the call goes, and refuses here what is not to be answered properly.
    pub(super) fn conduct(
        &self,
        model: Option<&str>,
        stream: bool,
    ) -> Result<Conduct, Box<Answer>> {
        let Request { path, key, .. } = self.request;
        let fault = self.state.faults.meet(model, path, *key);
        if let Some(fault) = fault
            && let Some(answer) = spoilt::instead(fault, self, stream)
        {
            return Err(Box::new(answer));
        }
        let profile = model.map_or(Profile::default(), |it| self.state.profiles.of(it));
        Ok(Conduct { fault, manner: Manner::of(fault), profile })
    }

    pub(super) fn refuse(&self, refusal: &Refusal) -> Box<Answer> {
        Box::new(refusal.answer(self.dialect))
    }

    /// The body, understood.
    pub(super) fn parse<'b, T: serde::Deserialize<'b>>(&'b self) -> Result<T, Box<Answer>> {
        let body = std::str::from_utf8(self.request.body).map_err(|_| {
            self.refuse(&Refusal::invalid("The body of your request is not UTF-8."))
        })?;
        serde_json::from_str(body).map_err(|error| self.refuse(&error.into()))
    }
}

impl Conduct {
    /// `answer`, timed and spoilt as decided.
    pub(super) fn apply(&self, mut answer: Answer, dialect: Dialect, tokens: u32) -> Answer {
        answer.pace = self.profile.pace;
        if let super::answer::Body::Whole(_) = answer.body
            && let Some(gap) = answer.pace.gap.take()
        {
            answer.pace.first += gap * tokens.saturating_sub(1);
        }
        match self.fault {
            Some(fault) => spoilt::spoil(answer, fault, dialect),
            None => answer,
        }
    }
}

/// What the answer's endpoints return: an answer either way, early or in the end.
pub(super) type Answered = Result<Answer, Box<Answer>>;

pub(super) fn answer(state: &State, request: &Request) -> Answer {
    let dialect = dialect_of(request);
    let desk = Desk { state, request, dialect };
    if request.key.is_some_and(|it| it.contains("bad-key")) {
        return Refusal::bad_key(dialect);
    }
    let answered = match dialect {
        Dialect::OpenAi => openai::answer(&desk),
        Dialect::Anthropic => anthropic::answer(&desk),
        Dialect::Gemini => gemini::answer(&desk),
    };
    answered.unwrap_or_else(|early| *early)
}

/// The dialect is told by how the path ends, so that one simulator can stand for many base URLs;
/// where several vendors have the same path, by a header that only one of them wants.
fn dialect_of(request: &Request) -> Dialect {
    let (before, last) = request.path.rsplit_once('/').unwrap_or_default();
    match last {
        "completions" | "responses" | "embeddings" | "moderations" => Dialect::OpenAi,
        "messages" | "count_tokens" => Dialect::Anthropic,
        "models" if before.ends_with("/v1beta") => Dialect::Gemini,
        _ if last.contains(':') => Dialect::Gemini,
        _ => request.vendor.unwrap_or(Dialect::OpenAi),
    }
}
