//! OpenAI, and everybody who speaks it: the client's own words, byte for byte, but for the
//! model's name, and for asking a stream what was used.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{self, InvalidHeaderValue},
    uri::InvalidUri,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use shared::{usage::Usage, vendors::Quirks};

use super::{
    Addresses, CannotSay, Class, NotAnAnswer, Provider, Reader, Refusal, Request, Whole,
    chat::Text,
    passing::Passing,
    post,
    refusal::{Complaint, class_of, retry_after},
    usage,
};
use crate::{
    ask::{Ask, Form, Outline, Sent},
    catalog::Candidate,
};

#[derive(Debug)]
pub struct OpenAi;

impl Provider for OpenAi {
    fn addresses(&self, base: &str, _: &str) -> Result<Addresses, InvalidUri> {
        addresses(|path| format!("{base}{path}"))
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
        request(ask, to)
    }

    fn answer(&self, asked: &Outline, body: Bytes) -> Result<Whole, NotAnAnswer> {
        answer(asked, body)
    }

    fn reader(&self, asked: &Outline) -> Box<dyn Reader> {
        Box::new(Passing::new(!asked.wants_usage))
    }

    fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Refusal, NotAnAnswer> {
        refusal(status, headers, body)
    }
}

/// The dialect's paths, made to addresses by `at`.
pub(super) fn addresses(at: impl Fn(&str) -> String) -> Result<Addresses, InvalidUri> {
    let chat: http::Uri = at("/chat/completions").parse()?;
    Ok(Addresses {
        stream: chat.clone(),
        chat,
        completions: Some(at("/completions").parse()?),
        embeddings: Some(at("/embeddings").parse()?),
        moderations: Some(at("/moderations").parse()?),
    })
}

pub(super) fn request(ask: &Ask, to: &Candidate) -> Result<Request, CannotSay> {
    let address = to.model.addresses.of(ask).ok_or_else(|| CannotSay {
        model: to.model.name.clone(),
        parameter: "model",
        why: "it is not served in this form",
    })?;
    let Quirks { takes_stream_options, output_cap, .. } = to.model.upstream.quirks;
    let sent = Sent {
        model: &to.model.upstream_name,
        takes_stream_options,
        most_output: to.most_output,
        output_cap: output_cap.field(),
    };
    Ok(post(address, ask.body_for(&sent), to))
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "told_or_nothing")]
    service_tier: Option<Text<'a>>,
    choices: Option<IgnoredAny>,
    data: Option<IgnoredAny>,
    results: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

/// What is no text says nothing.
pub(super) fn told_or_nothing<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Text<'de>>, D::Error> {
    let raw = <&RawValue>::deserialize(from)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

pub(super) fn answer(asked: &Outline, body: Bytes) -> Result<Whole, NotAnAnswer> {
    let answer: Answer = read(&body)?;
    let said = match asked.form {
        Form::Chat | Form::Completions => answer.choices,
        Form::Embeddings => answer.data,
        Form::Moderations => answer.results,
    };
    match (said, answer.error) {
        (Some(_), _) => (),
        (None, Some(_)) => return Err(NotAnAnswer::Failed),
        (None, None) => return Err(NotAnAnswer::Incomplete),
    }
    let usage: Option<Usage> = answer.usage.and_then(usage::of_openai);
    let service_tier = answer.service_tier.map(|it| it.0.into_owned());
    Ok(Whole { body, usage, service_tier })
}

/// Reads an object; serde would also read one from an array.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, NotAnAnswer> {
    let text = std::str::from_utf8(body).map_err(|_| NotAnAnswer::NotJson)?;
    if text.trim_start().starts_with('[') {
        serde_json::from_str::<IgnoredAny>(text).map_err(|_| NotAnAnswer::NotJson)?;
        return Err(NotAnAnswer::Incomplete);
    }
    serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => NotAnAnswer::Incomplete,
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => NotAnAnswer::NotJson,
    })
}

#[derive(Default, Deserialize)]
struct Error<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    param: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

pub(super) fn refusal(
    status: StatusCode,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Refusal, NotAnAnswer> {
    let wait = retry_after(headers);
    let Ok(error) = read::<Error>(&body) else {
        // What stands before a vendor may answer in its place, and says "not now".
        return match class_of(status) {
            class @ (Class::Server | Class::RateLimited | Class::Credential) => {
                Ok(Refusal::new(status, class, wait, told(&Said::default())))
            }
            Class::Request | Class::TooLong | Class::Model => Err(NotAnAnswer::NotJson),
        };
    };
    let framed = error.error.map(|it| it.get());
    let is_framed = framed.is_some_and(|it| it.starts_with('{'));
    let said = match framed {
        Some(raw) if is_framed => serde_json::from_str(raw).unwrap_or_default(),
        // Some say no more than a text.
        Some(_) => Said { message: error.error, ..Said::default() },
        None => read(&body).unwrap_or_default(),
    };
    let complaint = told(&said);
    let class = classify(status, &complaint);
    let refusal = Refusal::new(status, class, wait, complaint);
    Ok(if is_framed { refusal.as_it_came(body) } else { refusal })
}

fn told<'a>(said: &Said<'a>) -> Complaint<'a> {
    let text = |raw: Option<&'a RawValue>| Some(plain(raw?.get()));
    Complaint {
        message: text(said.message).unwrap_or("The provider refused the request.".into()),
        kind: text(said.kind).unwrap_or("invalid_request_error".into()),
        param: text(said.param),
        code: text(said.code),
    }
}

/// A text without its quotes, or what stands there instead of one.
fn plain(raw: &str) -> std::borrow::Cow<'_, str> {
    serde_json::from_str::<String>(raw).map_or(raw.into(), Into::into)
}

/// Codes say more than statuses where there are any, and every vendor has its own.
fn classify(status: StatusCode, complaint: &Complaint) -> Class {
    let by_status = class_of(status);
    if by_status == Class::Server || by_status == Class::Credential {
        return by_status;
    }
    let code = complaint.code.as_deref().unwrap_or_default().to_ascii_lowercase();
    let kind = complaint.kind.to_ascii_lowercase();
    let message = complaint.message.to_ascii_lowercase();
    let names = |it: &[&str]| it.iter().any(|it| code == *it || kind == *it);
    let tells = |it: &[&str]| it.iter().any(|it| message.contains(it));
    if names(&["insufficient_quota", "billing_hard_limit_reached", "billing_not_active"])
        || names(&["access_terminated", "account_deactivated", "invalid_api_key"])
        || names(&["insufficient_balance", "arrearage", "accessdenied"])
    {
        Class::Credential
    } else if names(&["context_length_exceeded", "string_above_max_length", "request_too_large"])
        || tells(&["maximum context length", "context window", "range of input length"])
    {
        Class::TooLong
    } else if names(&["model_not_found", "deploymentnotfound", "invalid_model", "model_not_exist"])
        || names(&["model_decommissioned", "model_not_active", "1500"])
    {
        Class::Model
    } else {
        by_status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, class: Class, told: Option<&str>) {
        let status = StatusCode::from_u16(status).unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let refusal = refusal(status, &HeaderMap::new(), body.clone()).unwrap();
        assert_eq!(refusal.class, class, "{body:?}");
        assert_eq!(refusal.body, told.map_or(body, |it| Bytes::copy_from_slice(it.as_bytes())));
    }

    const SERVER: &str = r#"{"error":{"message":"The provider had an error.","type":"api_error","param":null,"code":"upstream_error"}}"#;
    const CREDENTIAL: &str = r#"{"error":{"message":"The provider refused the credential that we call it with.","type":"api_error","param":null,"code":"provider_auth_error"}}"#;

    #[test]
    fn refusals_are_told_apart() {
        let long = r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;
        check(400, long, Class::TooLong, None);
        let unknown = r#"{"error":{"message":"The model `x` does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#;
        check(404, unknown, Class::Model, None);
        let quota = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
        check(429, quota, Class::Credential, Some(CREDENTIAL));
        let key = r#"{"error":{"message":"Incorrect API key provided: sk-1***9","type":"invalid_request_error","code":"invalid_api_key"}}"#;
        check(401, key, Class::Credential, Some(CREDENTIAL));
        check(400, r#"{"error":{"message":"n is too large"}}"#, Class::Request, None);
        check(429, r#"{"error":{"message":"slow down"}}"#, Class::RateLimited, None);
        check(503, "<html>", Class::Server, Some(SERVER));
        check(500, r#"{"error":{"message":"boom at 10.0.0.7"}}"#, Class::Server, Some(SERVER));
        check(
            400,
            r#"{"object":"error","message":"Extra inputs are not permitted","code":3051}"#,
            Class::Request,
            Some(
                r#"{"error":{"message":"Extra inputs are not permitted","type":"invalid_request_error","param":null,"code":"3051"}}"#,
            ),
        );
        check(
            400,
            r#"{"object":"error","message":"Invalid model: x","type":"invalid_model","code":"1500"}"#,
            Class::Model,
            Some(
                r#"{"error":{"message":"Invalid model: x","type":"invalid_model","param":null,"code":"1500"}}"#,
            ),
        );
        check(
            400,
            r#"{"error":"model is required"}"#,
            Class::Request,
            Some(
                r#"{"error":{"message":"model is required","type":"invalid_request_error","param":null,"code":null}}"#,
            ),
        );
        check(
            429,
            r#"{"error":{"message":"Rate limit reached in organization org-a1b2"}}"#,
            Class::RateLimited,
            Some(
                r#"{"error":{"message":"Rate limit reached in organization [hidden]","type":"invalid_request_error","param":null,"code":null}}"#,
            ),
        );
    }

    #[test]
    fn a_no_in_no_dialect_is_no_refusal() {
        let refused = refusal(StatusCode::NOT_FOUND, &HeaderMap::new(), "<html>".into());
        assert!(matches!(refused, Err(NotAnAnswer::NotJson)));
    }

    fn ask(form: Form) -> Ask {
        Ask::parse(form, Bytes::from_static(br#"{"model":"a"}"#)).unwrap()
    }

    #[test]
    fn an_answer_is_passed_as_it_came_and_its_usage_read() {
        let body = Bytes::from_static(
            br#"{ "choices":[], "usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
        );
        let whole = answer(&ask(Form::Chat), body.clone()).unwrap();
        assert_eq!(whole.body.as_ptr(), body.as_ptr());
        assert_eq!(whole.usage.map(|it| it.total()), Some(5));
        assert!(answer(&ask(Form::Embeddings), "{\"data\":[]}".into()).unwrap().usage.is_none());
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for bad in [
            "",
            "<html>",
            "{",
            "[]",
            "7",
            "{}",
            r#"{"status":"ok"}"#,
            r#"{"choices":null}"#,
            r#"{"error":{"message":"x"}}"#,
            "{\"choices\":[]} {}",
        ] {
            assert!(
                answer(&ask(Form::Chat), Bytes::copy_from_slice(bad.as_bytes())).is_err(),
                "{bad}"
            );
        }
        assert!(answer(&ask(Form::Chat), Bytes::from_static(b"{\"choices\":\"\xff\"}")).is_err());
    }
}
