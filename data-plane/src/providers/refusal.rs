//! What a vendor's "no" means, and how the client reads it.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use super::{Class, Refusal, scrub::scrub};

/// No wait that is longer is a wait.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What a vendor complains about, in the words of OpenAI's dialect.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Complaint<'a> {
    pub message: Cow<'a, str>,
    #[serde(rename = "type")]
    pub kind: Cow<'a, str>,
    pub param: Option<Cow<'a, str>>,
    pub code: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Complaint<'a>,
}

/// What a status means where the vendor says no more than that.
pub fn class_of(status: StatusCode) -> Class {
    match status.as_u16() {
        401..=403 => Class::Credential,
        404 => Class::Model,
        413 => Class::TooLong,
        429 => Class::RateLimited,
        408 | 409 | 425 | 498 | 499 | 500.. => Class::Server,
        _ => Class::Request,
    }
}

impl Refusal {
    pub fn new(
        status: StatusCode,
        class: Class,
        retry_after: Option<Duration>,
        complaint: Complaint,
    ) -> Self {
        let (status, error) = match class {
            Class::Credential => (StatusCode::BAD_GATEWAY, ours(CREDENTIAL)),
            Class::Server => (StatusCode::BAD_GATEWAY, ours(SERVER)),
            Class::Request | Class::TooLong | Class::Model | Class::RateLimited => {
                let hidden = |it: Cow<str>| Cow::Owned(scrub(&it).into_owned());
                let error = Complaint {
                    message: hidden(complaint.message),
                    kind: hidden(complaint.kind),
                    param: complaint.param.map(hidden),
                    code: complaint.code.map(hidden),
                };
                (status, error)
            }
        };
        let body = serde_json::to_vec(&Body { error }).expect("texts are JSON");
        Self { status, class, retry_after, body: body.into() }
    }

    /// The vendor's words as they came, if the client can read them and there is nothing
    /// to hide in them.
    pub fn as_it_came(self, body: Bytes) -> Self {
        let keeps = match self.class {
            Class::Credential | Class::Server => false,
            Class::Request | Class::TooLong | Class::Model | Class::RateLimited => true,
        };
        let text = std::str::from_utf8(&body).unwrap_or_default();
        let is_clean = !text.is_empty() && matches!(scrub(text), Cow::Borrowed(_));
        if keeps && is_clean { Self { body, ..self } } else { self }
    }
}

const CREDENTIAL: [&str; 2] =
    ["provider_auth_error", "The provider refused the credential that we call it with."];
const SERVER: [&str; 2] = ["upstream_error", "The provider had an error."];

fn ours([code, message]: [&'static str; 2]) -> Complaint<'static> {
    Complaint {
        message: message.into(),
        kind: "api_error".into(),
        param: None,
        code: Some(code.into()),
    }
}

/// How long the headers ask us to wait. A date is measured from the answer's own, so that
/// no clock but the vendor's matters.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let milliseconds = text("retry-after-ms").and_then(|it| it.parse().ok());
    if let Some(milliseconds) = milliseconds {
        return Some(Duration::from_millis(milliseconds).min(LONGEST_WAIT));
    }
    let said = text(header::RETRY_AFTER.as_str())?;
    let wait = seconds(said).or_else(|| {
        let until = OffsetDateTime::parse(said, &Rfc2822).ok()?;
        let now = OffsetDateTime::parse(text(header::DATE.as_str())?, &Rfc2822).ok()?;
        Some((until - now).try_into().unwrap_or_default())
    });
    Some(wait?.min(LONGEST_WAIT))
}

/// A number of seconds, also one with a fraction.
pub fn seconds(said: &str) -> Option<Duration> {
    let (whole, fraction) = said.split_once('.').unwrap_or((said, ""));
    let is_number = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let begins = |it: &str| it.chars().chain("000".chars()).take(3).collect::<String>();
    let whole = Duration::from_secs(whole.parse().unwrap_or(u64::MAX));
    let wait = whole.saturating_add(Duration::from_millis(begins(fraction).parse().ok()?));
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&'static str, &str)], expected: Option<u64>) {
        let headers = headers.iter().map(|(name, it)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_str(it).unwrap())
        });
        let expected = expected.map(Duration::from_millis);
        assert_eq!(retry_after(&headers.collect()), expected);
    }

    #[test]
    fn a_wait_is_read_however_it_is_said() {
        check(&[("retry-after", "7")], Some(7_000));
        check(&[("retry-after", " 0 ")], Some(0));
        check(&[("retry-after", "1.25")], Some(1_250));
        check(&[("retry-after", "20"), ("retry-after-ms", "1500")], Some(1_500));
        check(&[("retry-after", "99999999999999999999999")], Some(86_400_000));
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        check(&[date, ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], Some(30_000));
        check(&[date, ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT")], Some(0));
    }

    #[test]
    fn a_wait_that_is_none_is_none() {
        check(&[], None);
        check(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], None);
        for garbage in ["soon; maybe", "-1", "", ".", "1e3", "1.x"] {
            check(&[("retry-after", garbage)], None);
        }
    }

    #[test]
    fn what_is_our_accounts_business_stays_with_us() {
        let complaint =
            Complaint { message: "key sk-12345 of org-1".into(), ..Complaint::default() };
        for (class, status, has_message) in [
            (Class::Credential, 502, false),
            (Class::Server, 502, false),
            (Class::Request, 418, true),
            (Class::RateLimited, 418, true),
        ] {
            let refusal = Refusal::new(StatusCode::IM_A_TEAPOT, class, None, complaint.clone());
            let refusal = refusal.as_it_came("{\"error\":{\"message\":\"sk-12345\"}}".into());
            let body = std::str::from_utf8(&refusal.body).unwrap();
            assert!(!body.contains("12345") && !body.contains("org-1"), "{body}");
            assert_eq!(refusal.status.as_u16(), status);
            assert_eq!(body.contains("key [hidden]"), has_message, "{body}");
        }
    }
}
