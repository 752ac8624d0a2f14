//! Google's Gemini API, for clients that speak OpenAI's dialect.

mod answer;
mod embeddings;
mod request;
mod stream;

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, header::InvalidHeaderValue, uri::InvalidUri,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{
    Addresses, CannotSay, Class, NotAnAnswer, Provider, Reader, Refusal, Request, Whole,
    chat::{Listener, Text},
    openai::read,
    post,
    refusal::{Complaint, class_of, retry_after, seconds},
    segment,
    translating::Translating,
};
use crate::{
    ask::{Ask, Form, Outline},
    catalog::Candidate,
};

const API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

#[derive(Debug)]
pub struct Gemini;

impl Provider for Gemini {
    fn addresses(&self, base: &str, model: &str) -> Result<Addresses, InvalidUri> {
        let model = segment(bare(model));
        let at = |action: &str| format!("{base}/models/{model}:{action}").parse();
        Ok(Addresses {
            chat: at("generateContent")?,
            stream: at("streamGenerateContent?alt=sse")?,
            completions: None,
            embeddings: Some(at("batchEmbedContents")?),
            moderations: None,
        })
    }

    fn authorization(
        &self,
        secret: &SecretString,
    ) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(secret.expose_secret())?;
        value.set_sensitive(true);
        Ok((API_KEY, value))
    }

    fn request(&self, ask: &Ask, to: &Candidate) -> Result<Request, CannotSay> {
        let listener = Listener::of(to);
        let why = "its provider serves chats and embeddings only";
        let address = to.model.addresses.of(ask).ok_or_else(|| listener.cannot("model", why))?;
        let body = match ask.form {
            Form::Embeddings => embeddings::body(ask, bare(&to.model.upstream_name), listener)?,
            Form::Chat | Form::Completions | Form::Moderations => {
                request::body(ask, to.most_output, listener)?
            }
        };
        Ok(post(address, body, to))
    }

    fn answer(&self, asked: &Outline, body: Bytes) -> Result<Whole, NotAnAnswer> {
        match asked.form {
            Form::Embeddings => embeddings::whole(asked, &body),
            Form::Chat | Form::Completions | Form::Moderations => answer::whole(asked, &body),
        }
    }

    fn reader(&self, asked: &Outline) -> Box<dyn Reader> {
        let stream = stream::Stream::new(asked.wants_usage, asked.choices);
        Box::new(Translating::new(asked.asked_at, stream))
    }

    fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Refusal, NotAnAnswer> {
        refusal(status, headers, &body)
    }
}

/// A model's name without what Google puts before it in lists.
fn bare(model: &str) -> &str {
    model.strip_prefix("models/").unwrap_or(model)
}

#[derive(Deserialize)]
struct Error<'a> {
    #[serde(borrow)]
    error: Said<'a>,
}

#[derive(Default, Deserialize)]
struct Said<'a> {
    #[serde(borrow, default)]
    message: Text<'a>,
    #[serde(borrow, default)]
    status: Text<'a>,
    #[serde(borrow, default)]
    details: Vec<Detail<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    #[serde(borrow)]
    retry_delay: Option<Text<'a>>,
}

impl Said<'_> {
    /// The details say it as a number with an "s".
    fn wait(&self) -> Option<Duration> {
        let mut delays = self.details.iter().filter_map(|it| it.retry_delay.as_deref());
        seconds(delays.next()?.strip_suffix('s')?)
    }
}

fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Refusal, NotAnAnswer> {
    let said = match (read::<Error>(body), class_of(status)) {
        (Ok(error), _) => error.error,
        (Err(_), Class::Server | Class::RateLimited | Class::Credential) => Said::default(),
        (Err(error), Class::Request | Class::TooLong | Class::Model) => return Err(error),
    };
    let class = classify(status, &said);
    let wait = said.wait().or_else(|| retry_after(headers));
    let code = match class {
        Class::TooLong => Some("context_length_exceeded"),
        Class::Model => Some("model_not_found"),
        Class::RateLimited => Some("rate_limit_exceeded"),
        Class::Request | Class::Credential | Class::Server => None,
    };
    let kind = match class {
        Class::RateLimited => "rate_limit_error",
        Class::Request | Class::TooLong | Class::Model | Class::Credential | Class::Server => {
            "invalid_request_error"
        }
    };
    let (message, code) = (said.message.0, code.map(Into::into));
    let complaint = Complaint { message, kind: kind.into(), param: None, code };
    Ok(Refusal::new(status, class, wait, complaint))
}

/// A bad key is a bad request here, and only the details tell.
fn classify(status: StatusCode, said: &Said) -> Class {
    let mut reasons = said.details.iter().filter_map(|it| it.reason.as_deref());
    let message = said.message.to_ascii_lowercase();
    if reasons.any(|it| it.starts_with("API_KEY_") || it == "SERVICE_DISABLED") {
        return Class::Credential;
    }
    match &*said.status {
        "UNAUTHENTICATED" | "PERMISSION_DENIED" => Class::Credential,
        // The key's region or account is not served.
        "FAILED_PRECONDITION" => Class::Credential,
        "NOT_FOUND" => Class::Model,
        "RESOURCE_EXHAUSTED" => Class::RateLimited,
        "INVALID_ARGUMENT" if message.contains("token count") && message.contains("exceeds") => {
            Class::TooLong
        }
        _ => class_of(status),
    }
}
