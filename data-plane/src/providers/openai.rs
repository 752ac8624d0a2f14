//! OpenAI, and everybody who speaks it: the client's own words, byte for byte, but for the
//! model's name.
//!
//! The request's headers are written here and nowhere else: of the client's own, none
//! goes to an upstream.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{self, InvalidHeaderValue},
    uri::InvalidUri,
};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};
use serde::de::IgnoredAny;
use shared::usage::Usage;

use super::{Addresses, CannotSay, Class, NotAnAnswer, Provider, Reader, Refusal, Request, Whole};
use crate::{
    ask::{Ask, Form, Sent},
    catalog::Candidate,
    sse::Ending,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ACCEPT: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("turnpike/", env!("CARGO_PKG_VERSION")));

#[derive(Debug)]
pub struct OpenAi;

impl Provider for OpenAi {
    fn addresses(&self, base: &str, _: &str) -> Result<Addresses, InvalidUri> {
        let at = |path: &str| format!("{base}{path}").parse();
        Ok(Addresses {
            chat: at("/chat/completions")?,
            stream: at("/chat/completions")?,
            completions: at("/completions")?,
            embeddings: at("/embeddings")?,
            moderations: at("/moderations")?,
        })
    }

    fn authorization(
        &self,
        secret: &SecretString,
    ) -> Result<(HeaderName, HeaderValue), InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", secret.expose_secret()))?;
        value.set_sensitive(true);
        Ok((header::AUTHORIZATION, value))
    }

    fn request(&self, ask: &Ask, to: &Candidate) -> Result<Request, CannotSay> {
        let sent = Sent {
            model: &to.model.upstream_name,
            takes_stream_options: true,
            output_cap: "max_completion_tokens",
        };
        let mut request = Request::new(Full::new(ask.body_for(&sent)));
        *request.method_mut() = Method::POST;
        let addresses = &to.model.addresses;
        *request.uri_mut() = match ask.form {
            Form::Chat => addresses.chat.clone(),
            Form::Completions => addresses.completions.clone(),
            Form::Embeddings => addresses.embeddings.clone(),
            Form::Moderations => addresses.moderations.clone(),
        };
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, ACCEPT);
        headers.insert(header::USER_AGENT, USER_AGENT);
        let (name, value) = to.credential.authorization.clone();
        headers.insert(name, value);
        Ok(request)
    }

    fn answer(&self, _: &Ask, body: Bytes) -> Result<Whole, NotAnAnswer> {
        is_json(&body)?;
        Ok(Whole { body, usage: None })
    }

    fn reader(&self, _: &Ask) -> Box<dyn Reader> {
        Box::new(Untouched::default())
    }

    fn refusal(
        &self,
        status: StatusCode,
        _: &HeaderMap,
        body: Bytes,
    ) -> Result<Refusal, NotAnAnswer> {
        is_json(&body)?;
        let class = match status.as_u16() {
            401 | 403 => Class::Credential,
            404 => Class::Model,
            429 => Class::RateLimited,
            500.. => Class::Server,
            _ => Class::Request,
        };
        Ok(Refusal { status, class, retry_after: None, body })
    }
}

fn is_json(body: &[u8]) -> Result<(), NotAnAnswer> {
    let text = std::str::from_utf8(body).map_err(|_| NotAnAnswer::NotJson)?;
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|_| NotAnAnswer::NotJson)
}

/// Lets everything through as it came, and watches for the end.
#[derive(Default)]
struct Untouched {
    ending: Ending,
}

impl Reader for Untouched {
    fn read(&mut self, bytes: Bytes) -> Result<Bytes, NotAnAnswer> {
        self.ending.push(&bytes);
        Ok(bytes)
    }

    fn is_complete(&self) -> bool {
        self.ending.is_complete()
    }

    fn usage(&self) -> Option<Usage> {
        None
    }
}
