//! One file per wire format. Each only translates: bytes in, bytes out, no network, no
//! clock. Sending, retrying and timing live in `call`, once for all of them.

mod anthropic;
mod azure;
mod chat;
#[cfg(test)]
mod corpus;
mod gemini;
#[cfg(test)]
mod golden;
mod openai;
mod passing;
mod refusal;
mod scrub;
mod told;
mod translating;
mod usage;
mod written;

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{self, InvalidHeaderValue},
    uri::InvalidUri,
};
use http_body_util::Full;
use secrecy::SecretString;
use shared::{snapshot::Dialect, usage::Usage};

use crate::{
    ask::{Ask, Form, Outline},
    catalog::Candidate,
};

pub type Request = http::Request<Full<Bytes>>;

/// A vendor's wire format, seen from a client that speaks OpenAI's.
pub trait Provider: Send + Sync {
    /// Where each form of request goes. Made once, when a snapshot is taken.
    fn addresses(&self, base: &str, model: &str) -> Result<Addresses, InvalidUri>;

    /// The header with which a secret opens the upstream. Made once as well; it has to be
    /// marked as sensitive.
    fn authorization(
        &self,
        secret: &SecretString,
    ) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue>;

    /// What to send for `ask`.
    fn request(&self, ask: &Ask, to: &Candidate) -> Result<Request, CannotSay>;

    /// A whole answer, as the client understands it.
    fn answer(&self, asked: &Outline, body: Bytes) -> Result<Whole, NotAnAnswer>;

    /// Reads a stream and says what the client gets of it.
    fn reader(&self, asked: &Outline) -> Box<dyn Reader>;

    /// Whether the vendor stops writing when a stream of its is hung up on, and bills no more.
    /// Others go on, and are heard out. That is so of a stream only: an answer that is sent whole
    /// is finished, whoever waits.
    fn stops_when_cut(&self) -> bool {
        false
    }

    /// What an answer that is no success means.
    fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Refusal, NotAnAnswer>;
}

pub fn provider(dialect: Dialect) -> &'static dyn Provider {
    match dialect {
        Dialect::OpenAi => &openai::OpenAi,
        Dialect::AzureOpenAi => &azure::AzureOpenAi,
        Dialect::Anthropic => &anthropic::Anthropic,
        Dialect::Gemini => &gemini::Gemini,
    }
}

/// Where a model is asked, in the forms that the dialect has.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub chat: Uri,
    /// The same, but where the dialect asks for a stream elsewhere.
    pub stream: Uri,
    pub completions: Option<Uri>,
    pub embeddings: Option<Uri>,
    pub moderations: Option<Uri>,
}

impl Addresses {
    /// Where `ask` goes.
    pub fn of(&self, ask: &Ask) -> Option<&Uri> {
        match ask.form {
            Form::Chat if ask.is_streaming => Some(&self.stream),
            Form::Chat => Some(&self.chat),
            Form::Completions => self.completions.as_ref(),
            Form::Embeddings => self.embeddings.as_ref(),
            Form::Moderations => self.moderations.as_ref(),
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ACCEPT: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("turnpike/", env!("CARGO_PKG_VERSION")));

/// Posts `body` with the candidate's secret. The headers are written here and nowhere
/// else: of the client's own, none goes to an upstream.
fn post(address: &Uri, body: Bytes, to: &Candidate) -> Request {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = address.clone();
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::ACCEPT, ACCEPT);
    headers.insert(header::USER_AGENT, USER_AGENT);
    let (name, value) = to.credential.authorization.clone();
    headers.insert(name, value);
    request
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                segment.push(byte.into());
            }
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}

/// An answer that is not a stream.
#[derive(Debug)]
pub struct Whole {
    pub body: Bytes,
    /// `None` where the upstream did not say.
    pub usage: Option<Usage>,
    /// How fast it says it was.
    pub service_tier: Option<String>,
}

/// A stream on its way through. Where the network cuts the stream makes no difference to
/// what comes out, nor do more than [`MOST_HELD`] bytes stay inside.
pub trait Reader: Send {
    /// Takes what came. What the client gets of it is returned, or appended as events.
    fn read(&mut self, bytes: Bytes) -> Result<Bytes, NotAnAnswer>;

    /// Whether the stream has said that it is complete. One that merely stops is broken.
    fn is_complete(&self) -> bool;

    /// What the stream has said was used, so far.
    fn usage(&self) -> Option<Usage>;

    /// How many tokens of output have gone to the client, as far as one sees.
    fn delivered(&self) -> Output;

    /// Whether a client that leaves may take the upstream with it: what was used so far is
    /// known, and the vendor stops and bills no more when we hang up. Otherwise the stream is
    /// heard out.
    fn may_be_cut(&self) -> bool {
        false
    }

    /// How fast the stream has said that it was.
    fn service_tier(&self) -> Option<String> {
        None
    }
}

/// How many tokens a text has that nobody has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Who writes more than was allowed by this is surely at fault.
    pub at_least: u64,
    /// So many are paid for where the upstream does not say.
    pub at_most: u64,
}

/// The most that a reader keeps of a stream: an event that is longer breaks it.
pub const MOST_HELD: usize = 1024 * 1024;

/// What the client asks for has no words in the upstream's dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{model:?} cannot be asked with `{parameter}`: {why}")]
pub struct CannotSay {
    pub model: String,
    pub parameter: &'static str,
    pub why: &'static str,
}

/// An answer that does not follow its dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAnswer {
    #[error("the answer was not JSON, or was cut")]
    NotJson,
    #[error("the answer lacks what it should have")]
    Incomplete,
    #[error("a line of the stream was too long")]
    TooLong,
    #[error("the stream told of an error of the upstream's")]
    Failed,
}

/// An upstream's own "no".
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub class: Class,
    /// How long it wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The error as the client understands it, without anything of the upstream's own
    /// secrets and account names.
    pub body: Bytes,
}

/// What a refusal means for those who come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The request is at fault, and would be so anywhere.
    Request,
    /// Too long for this model; another may have room.
    TooLong,
    /// This upstream does not know this model, or not any more.
    Model,
    /// Our secret is at fault, or its account's money.
    Credential,
    /// Too many calls with this secret.
    RateLimited,
    /// The upstream is at fault, for now.
    Server,
}
