//! Anthropic's Messages API, for clients that speak OpenAI's dialect.

mod answer;
mod request;
mod stream;

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
    refusal::{Complaint, class_of, retry_after},
    translating::Translating,
};
use crate::{
    ask::{Ask, Form, Outline},
    catalog::Candidate,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));

#[derive(Debug)]
pub struct Anthropic;

impl Provider for Anthropic {
    fn addresses(&self, base: &str, _: &str) -> Result<Addresses, InvalidUri> {
        let chat: http::Uri = format!("{base}/messages").parse()?;
        let stream = chat.clone();
        Ok(Addresses { chat, stream, completions: None, embeddings: None, moderations: None })
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
        if ask.form != Form::Chat {
            return Err(listener.cannot("model", "its provider serves chats only"));
        }
        let names = request::Names {
            model: &to.model.upstream_name,
            most_output: u64::from(to.model.max_output_tokens),
            allowed: to.most_output,
        };
        let body = request::body(ask, names, listener)?;
        let mut request = post(&to.model.addresses.chat, body, to);
        let (name, value) = VERSION;
        request.headers_mut().insert(name, value);
        Ok(request)
    }

    fn answer(&self, asked: &Outline, body: Bytes) -> Result<Whole, NotAnAnswer> {
        answer::whole(asked, &body)
    }

    fn reader(&self, asked: &Outline) -> Box<dyn Reader> {
        Box::new(Translating::new(asked.asked_at, stream::Stream::new(asked.wants_usage)))
    }

    fn stops_when_cut(&self) -> bool {
        true
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

#[derive(Deserialize)]
struct Error<'a> {
    #[serde(borrow)]
    error: Said<'a>,
}

#[derive(Default, Deserialize)]
struct Said<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
}

fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Refusal, NotAnAnswer> {
    let said = match (read::<Error>(body), class_of(status)) {
        (Ok(error), _) => error.error,
        (Err(_), Class::Server | Class::RateLimited | Class::Credential) => Said::default(),
        (Err(error), Class::Request | Class::TooLong | Class::Model) => return Err(error),
    };
    let class = classify(status, &said);
    let code = match class {
        Class::TooLong => Some("context_length_exceeded"),
        Class::Model => Some("model_not_found"),
        Class::RateLimited => Some("rate_limit_exceeded"),
        Class::Request | Class::Credential | Class::Server => None,
    };
    let complaint = Complaint {
        message: said.message.0,
        kind: if class == Class::RateLimited {
            "rate_limit_error"
        } else {
            "invalid_request_error"
        }
        .into(),
        param: None,
        code: code.map(Into::into),
    };
    Ok(Refusal::new(status, class, retry_after(headers), complaint))
}

fn classify(status: StatusCode, said: &Said) -> Class {
    let message = said.message.to_ascii_lowercase();
    let tells = |it: &[&str]| it.iter().any(|it| message.contains(it));
    match &*said.kind {
        "authentication_error" | "permission_error" | "billing_error" => Class::Credential,
        "rate_limit_error" => Class::RateLimited,
        "overloaded_error" | "api_error" | "timeout_error" => Class::Server,
        "not_found_error" => Class::Model,
        "request_too_large" => Class::TooLong,
        "invalid_request_error" if tells(&["credit balance", "usage limits"]) => Class::Credential,
        "invalid_request_error" if tells(&["prompt is too long", "context limit"]) => {
            Class::TooLong
        }
        _ => class_of(status),
    }
}
