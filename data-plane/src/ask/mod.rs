//! A request as far as the road needs to understand it: which model it asks for, how the
//! answer shall come, and how long it may get.
//!
//! Everything else goes to an upstream of the same dialect as it came, byte for byte:
//! fields that we have never heard of, the order of keys, white space, the spelling of
//! numbers. What we read is read once and said once: a field that stands there twice is
//! refused, for the upstream may read the other.

mod edit;
mod estimate;
mod fields;
mod marks;
mod members;
mod needs;
mod wishes;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::{Deref, Range},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;
use shared::failure::{Classified, Kind, Problem};

use self::{
    edit::{Edit, edited},
    fields::Fields,
};
pub use self::{
    marks::Marks,
    needs::Needs,
    wishes::{Sort, Wishes},
};

/// The model that moderates where none was named.
const MODERATOR: &str = "omni-moderation-latest";
/// What is asked for where none was named otherwise.
pub const DEFAULT: &str = "default";

/// What an answer is taken to come to whose length nobody said.
const UNCAPPED_OUTPUT: u64 = 1_024;

/// Which of our endpoints was asked, and so which form request and answer have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    Chat,
    Completions,
    Embeddings,
    Moderations,
}

impl Form {
    /// Whether the answer is written by a model, and so may stream and has a length.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }
}

/// A body that is a JSON object and names a model.
#[derive(Debug)]
pub struct Ask {
    outline: Arc<Outline>,
    /// What the caller wishes of who answers.
    pub wishes: Wishes,
    /// What it says of the call in `x-turnpike-tags`.
    pub tags: BTreeMap<String, String>,
    /// What it says in `x-turnpike-session`.
    pub session: Option<String>,
    /// How many tokens it will be, roughly.
    input: u64,
    places: Places,
    body: Bytes,
}

/// What of an ask has to be known when it has been sent, and its body is not needed any more.
#[derive(Debug)]
pub struct Outline {
    pub form: Form,
    pub model: String,
    /// Models to be asked when the first cannot answer: our own addition to the dialect.
    pub fallbacks: Vec<String>,
    pub is_streaming: bool,
    /// Whether the caller wants to read in the stream what was used.
    pub wants_usage: bool,
    /// How many tokens each choice may have, as the caller said.
    pub output_cap: Option<u64>,
    /// How many answers are asked for, or written to choose from.
    pub choices: u32,
    /// How many texts are read for themselves: a model's context is for one of them.
    pub contexts: u32,
    /// The tier of the vendor's service that the caller asks for.
    pub service_tier: Option<String>,
    /// Whether numbers are to be told as Base64.
    pub is_base64: bool,
    /// When it came, in seconds since 1970: translated answers tell it.
    pub asked_at: u64,
}

impl Outline {
    /// How many tokens a choice may have, by the caller's word and ours.
    pub fn cap(&self, most: Option<u64>) -> Option<u64> {
        [self.output_cap, most].into_iter().flatten().min()
    }

    /// How long all choices together will be, roughly.
    pub fn estimated_output(&self, most: Option<u64>) -> u64 {
        if !self.form.writes() {
            return 0;
        }
        let usual = UNCAPPED_OUTPUT.min(most.unwrap_or(u64::MAX));
        self.cap(None).map_or(usual, |it| it.min(usual)).saturating_mul(self.choices.into())
    }
}

impl Deref for Ask {
    type Target = Outline;

    fn deref(&self) -> &Outline {
        &self.outline
    }
}

/// Where in the body stands what may have to be rewritten.
#[derive(Debug, Default)]
struct Places {
    /// Behind the object's first brace.
    inside: usize,
    /// Whether there is anything in the object that stays.
    is_empty: bool,
    /// The model's name, with its quotes.
    model: Option<Range<usize>>,
    /// What is for us alone, each with its comma.
    ours: Vec<Range<usize>>,
    stream_options: Option<Range<usize>>,
    output_caps: Vec<(Range<usize>, u64)>,
}

/// How the body has to differ for an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// What the upstream calls the model.
    pub model: &'a str,
    /// Whether a stream can be asked to say what was used.
    pub takes_stream_options: bool,
    /// What we allow a choice to have, whatever the caller said,
    pub most_output: Option<u64>,
    /// and the field for it, where the caller used none.
    pub output_cap: &'static str,
}

impl Ask {
    pub fn parse(form: Form, body: Bytes) -> Result<Self, NotAnAsk> {
        let text = std::str::from_utf8(&body).map_err(|_| NotAnAsk::NotUtf8)?;
        serde_json::from_str::<IgnoredAny>(text)?;
        // Only what is an object has members.
        let start = members::beginning(text);
        if text.as_bytes().get(start) != Some(&b'{') {
            return Err(NotAnAsk::NotAnObject);
        }
        if members::is_too_deep(text) {
            return Err(NotAnAsk::TooDeep);
        }
        if members::has_unstorable_text(text) {
            return Err(NotAnAsk::BadText);
        }
        let fields = Fields::read(form, text, start)?;
        let Fields { model, models, stream, include_usage, output_cap, .. } = fields;
        let Fields { choices, texts, service_tier, is_base64, wishes, places, .. } = fields;
        let model = match (model, form) {
            (Some(model), _) => model,
            (None, Form::Moderations) => MODERATOR.to_owned(),
            (None, Form::Chat | Form::Completions | Form::Embeddings) => DEFAULT.to_owned(),
        };
        let outline = Outline {
            form,
            model,
            fallbacks: models,
            is_streaming: stream,
            wants_usage: include_usage,
            output_cap,
            choices,
            contexts: texts,
            service_tier,
            is_base64,
            asked_at: now(),
        };
        let input = estimate::tokens(&body);
        let tags = BTreeMap::new();
        Ok(Self { outline: outline.into(), wishes, tags, session: None, input, places, body })
    }

    /// With what the head of the request says: `x-turnpike-policy`, and
    /// `x-turnpike-max-cost-usd`.
    pub fn headed(
        mut self,
        policy: Option<&str>,
        most_cost: Option<&str>,
    ) -> Result<Self, NotAnAsk> {
        self.wishes.heads(policy, most_cost)?;
        Ok(self)
    }

    /// What the body's `metadata` says, as far as that is texts.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let said: BTreeMap<String, Value> = self.member("metadata").unwrap_or_default();
        let texts = said.into_iter().filter_map(|(name, it)| match it {
            Value::String(text) => Some((name, text)),
            Value::Bool(_) | Value::Number(_) => Some((name, it.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        });
        texts.collect()
    }

    /// Whom the call is for, by the body's word.
    pub fn user(&self) -> String {
        self.member("user").unwrap_or_default()
    }

    /// Whether the caller has named a model.
    pub fn names_a_model(&self) -> bool {
        self.places.model.is_some()
    }

    /// What the call belongs to, by the caller's word: its head's, or else the body's
    /// `metadata.session_id`, `prompt_cache_key` or `user`, of which the first counts.
    pub fn session(&self) -> Option<String> {
        let of_metadata = || self.metadata().remove("session_id");
        let said = self.session.clone().or_else(of_metadata);
        let said = said.or_else(|| self.member("prompt_cache_key"));
        said.or_else(|| self.member("user")).filter(|it| !it.is_empty())
    }

    /// What stands in the body under a name, if it is of that kind.
    fn member<T: serde::de::DeserializeOwned>(&self, called: &str) -> Option<T> {
        let text = self.text();
        let mut members = members::Members::of(text, members::beginning(text));
        let found = members.find(|it| marks::name(text, it) == called)?;
        serde_json::from_str(&text[found.value]).ok()
    }

    /// What it surely asks for beyond an answer. Reads the body.
    pub fn needs(&self) -> Needs {
        Needs::of(self.form, self.text())
    }

    /// What the user said last, as far as a choice among models looks at it, and how many images
    /// are in it.
    pub fn turn(&self, needs: &Needs) -> (String, u32) {
        needs.turn(self.text())
    }

    /// Whether the answer before wanted tools called as nobody can.
    pub fn has_spoilt_calls(&self, needs: &Needs) -> bool {
        needs.has_spoilt_calls(self.text())
    }

    /// What of it is kept while its answer comes.
    pub fn outline(&self) -> Arc<Outline> {
        self.outline.clone()
    }

    /// As if it had come then.
    #[cfg(test)]
    pub fn at(mut self, seconds: u64) -> Self {
        Arc::get_mut(&mut self.outline).expect("nobody else has it yet").asked_at = seconds;
        self
    }

    /// How many tokens the request will be, roughly.
    pub fn estimated_input(&self) -> u64 {
        self.input
    }

    /// How many tokens a text will be, roughly.
    pub fn estimated(text: &str) -> u64 {
        estimate::tokens(text.as_bytes())
    }

    /// What of the body matters for how much the call can cost at most.
    pub fn marks(&self) -> Marks {
        Marks::of(self)
    }

    /// What the call may come to, as limits count it before it is made.
    pub fn estimated_tokens(&self) -> u64 {
        let output = match self.output_cap {
            Some(cap) => cap,
            None if self.form.writes() => UNCAPPED_OUTPUT,
            None => 0,
        };
        let choices = u64::from(self.choices);
        self.estimated_input().saturating_add(output.saturating_mul(choices))
    }

    /// The whole request, for who has to say it in other words.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("only UTF-8 is parsed")
    }

    /// The body as an upstream of the same dialect wants it.
    pub fn body_for(&self, sent: &Sent) -> Bytes {
        let mut edits = Vec::new();
        let mut added = String::new();
        self.ask_for_usage(sent, &mut edits, &mut added);
        self.keep_within_cap(sent, &mut edits, &mut added);
        self.name_the_model(sent, &added, &mut edits);
        let ours = self.places.ours.iter().cloned();
        edits.extend(ours.map(|at| Edit { at, to: Cow::Borrowed("") }));
        edited(&self.body, edits)
    }

    /// A name that is right keeps its spelling. What is added stands behind it, where it
    /// needs no thought about commas.
    fn name_the_model<'a>(&self, sent: &Sent, added: &str, edits: &mut Vec<Edit<'a>>) {
        if sent.model == self.model && added.is_empty() {
            return;
        }
        let name = Value::from(sent.model).to_string();
        let Some(at) = self.places.model.clone() else {
            let comma = if self.places.is_empty { "" } else { "," };
            let inside = self.places.inside;
            let to = format!("\"model\":{name}{added}{comma}").into();
            return edits.push(Edit { at: inside..inside, to });
        };
        let present = self.text().get(at.clone()).unwrap_or_default();
        let name = if sent.model == self.model { present } else { &name };
        edits.push(Edit { at, to: format!("{name}{added}").into() });
    }

    fn ask_for_usage(&self, sent: &Sent, edits: &mut Vec<Edit>, added: &mut String) {
        const OPTIONS: &str = r#"{"include_usage":true}"#;
        if !self.is_streaming || !sent.takes_stream_options {
            return;
        }
        match &self.places.stream_options {
            None => {
                added.push_str(",\"stream_options\":");
                added.push_str(OPTIONS);
            }
            Some(_) if self.wants_usage => (),
            Some(at) => edits.push(fields::with_usage(self.text(), at.clone(), OPTIONS)),
        }
    }

    fn keep_within_cap(&self, sent: &Sent, edits: &mut Vec<Edit>, added: &mut String) {
        let Some(most) = sent.most_output.filter(|_| self.form.writes()) else { return };
        if self.places.output_caps.is_empty() {
            let field = match self.form {
                Form::Completions => "max_tokens",
                Form::Chat | Form::Embeddings | Form::Moderations => sent.output_cap,
            };
            added.push_str(&format!(",\"{field}\":{most}"));
        }
        // What said nothing, beside what said little, must not say more.
        let cap = self.output_cap.map_or(most, |said| said.min(most));
        let above = self.places.output_caps.iter().filter(|(_, said)| *said > most);
        edits.extend(above.map(|(at, _)| Edit { at: at.clone(), to: cap.to_string().into() }));
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

#[derive(Debug, thiserror::Error)]
pub enum NotAnAsk {
    #[error("The body is not UTF-8.")]
    NotUtf8,
    #[error("The body is not a JSON object that we can read: {0}.")]
    NotJson(#[from] serde_json::Error),
    #[error("The body is JSON, but no object. Send one: {{\"model\": \"auto\", …}}.")]
    NotAnObject,
    #[error("The body is nested deeper than {} levels.", members::DEEPEST)]
    TooDeep,
    #[error("A text in the body holds \\u0000 or half of a surrogate pair.")]
    BadText,
    #[error("The model has to be a text that is not empty.")]
    BadModel,
    #[error("`{0}` stands in the body twice.")]
    Twice(&'static str),
    #[error("`{field}` has to be {what}.")]
    BadField { field: &'static str, what: &'static str },
    #[error("`provider.{field}` has to be {what}.")]
    BadWish { field: String, what: &'static str },
    #[error("There is no `provider.{field}`. There is {}.", wishes::KNOWN)]
    UnknownWish { field: String },
    #[error("{header} has to be {what}.")]
    BadHeader { header: &'static str, what: &'static str },
    #[error("`{0}` is not for callers to say: an admin decides where a call goes.")]
    Steers(&'static str),
}

impl NotAnAsk {
    fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotUtf8
            | Self::NotJson(_)
            | Self::NotAnObject
            | Self::TooDeep
            | Self::BadText => None,
            Self::BadModel => Some("model"),
            Self::BadWish { .. } | Self::UnknownWish { .. } => Some("provider"),
            Self::BadHeader { header, .. } => Some(header),
            Self::Twice(field) | Self::BadField { field, .. } | Self::Steers(field) => Some(field),
        }
    }
}

impl Classified for NotAnAsk {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |field| Problem { field, message: self.to_string() };
        self.field().map(problem).into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
