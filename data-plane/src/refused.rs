//! Why a request was not served, and how its sender is told.
//!
//! Always holds: each code has a page in the docs, which the answer links; what is not
//! the caller's business stays in our logs, under the request id.

use actix_web::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    failure::{Classified, Code, Kind},
    ids::{ApiKeyId, RequestId},
};
use url::Url;

use crate::{
    admit::Overloaded, ask::NotAnAsk, authenticate::NotLetIn, budgets::NotAdmitted,
    call::CallFailed, endpoints::NotAnEndpoint, feedback::NotFeedback, generations::NotTold,
    journal::NotWritten, panics::Panicked, receive::NotReceived, route::NoRoute,
};

/// Everything that ends a request early: one variant for each stage.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Endpoint(#[from] NotAnEndpoint),
    #[error(transparent)]
    Key(#[from] NotLetIn),
    #[error(transparent)]
    Room(#[from] Overloaded),
    #[error(transparent)]
    Admission(#[from] NotAdmitted),
    #[error(transparent)]
    Body(#[from] NotReceived),
    #[error(transparent)]
    Ask(#[from] NotAnAsk),
    #[error(transparent)]
    Route(#[from] NoRoute),
    #[error(transparent)]
    Feedback(#[from] NotFeedback),
    #[error(transparent)]
    Generation(#[from] NotTold),
    #[error(transparent)]
    Journal(#[from] NotWritten),
    #[error(transparent)]
    Call(#[from] CallFailed),
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

impl Refused {
    fn stage(&self) -> &dyn Classified {
        match self {
            Self::Endpoint(it) => it,
            Self::Key(it) => it,
            Self::Room(it) => it,
            Self::Admission(it) => it,
            Self::Body(it) => it,
            Self::Ask(it) => it,
            Self::Route(it) => it,
            Self::Feedback(it) => it,
            Self::Generation(it) => it,
            Self::Journal(it) => it,
            Self::Call(it) => it,
            Self::Panicked(it) => it,
        }
    }

    pub fn kind(&self) -> Kind {
        self.stage().kind()
    }

    pub fn code(&self) -> Code {
        self.stage().code()
    }

    /// The kind decides, but for three cases where HTTP has a more exact word.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Call(it) if it.why.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
            Self::Body(NotReceived::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Self::Endpoint(NotAnEndpoint::Method { .. }) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Call(_)
            | Self::Body(_)
            | Self::Endpoint(_)
            | Self::Key(_)
            | Self::Room(_)
            | Self::Admission(_)
            | Self::Journal(_)
            | Self::Ask(_)
            | Self::Route(_)
            | Self::Feedback(_)
            | Self::Generation(_)
            | Self::Panicked(_) => status(self.kind()),
        }
    }

    /// What the caller may read of it.
    fn message(&self, pages: &Pages) -> String {
        match (self, self.key()) {
            (Self::Call(it), _) => it.message(),
            // Their own names and models, whoever has to act.
            (Self::Route(it), None) => it.to_string(),
            (_, Some(key)) => format!("{self} See {}", pages.key(key)),
            (_, None) if self.kind().is_for_caller() => self.to_string(),
            (_, None) => {
                let Code { what, fix, .. } = self.code();
                format!("{what} {fix}")
            }
        }
    }

    /// The key that is at fault, which its holder can look up in the dashboard.
    fn key(&self) -> Option<ApiKeyId> {
        match self {
            Self::Key(it) => it.key(),
            Self::Route(it) => it.key(),
            Self::Endpoint(_)
            | Self::Room(_)
            | Self::Admission(_)
            | Self::Body(_)
            | Self::Ask(_)
            | Self::Feedback(_)
            | Self::Generation(_)
            | Self::Journal(_)
            | Self::Call(_)
            | Self::Panicked(_) => None,
        }
    }

    /// What an answer's head says of it beside its status.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Admission(it) => it.headers(),
            Self::Call(it) => it.headers(),
            Self::Generation(it) => it.headers(),
            Self::Endpoint(_)
            | Self::Key(_)
            | Self::Room(_)
            | Self::Body(_)
            | Self::Ask(_)
            | Self::Route(_)
            | Self::Feedback(_)
            | Self::Journal(_)
            | Self::Panicked(_) => vec![],
        }
    }

    /// The same for programs, where there is more to say.
    fn details(&self, pages: &Pages) -> Option<Value> {
        match self {
            Self::Admission(NotAdmitted::Exceeded(it)) => Some(it.details()),
            Self::Key(it) => {
                let key = it.key()?;
                Some(json!({ "key": key, "page": pages.key(key) }))
            }
            Self::Route(it) => it.details(),
            Self::Call(it) => Some(it.details()),
            Self::Admission(_)
            | Self::Endpoint(_)
            | Self::Room(_)
            | Self::Body(_)
            | Self::Ask(_)
            | Self::Feedback(_)
            | Self::Generation(_)
            | Self::Journal(_)
            | Self::Panicked(_) => None,
        }
    }

    fn param(&self) -> Option<&'static str> {
        self.stage().problems().first().map(|it| it.field)
    }
}

/// The pages of the dashboard that errors lead to.
#[derive(Clone, Debug)]
pub struct Pages {
    /// Ends without a slash.
    dashboard: String,
}

impl Pages {
    pub fn of(dashboard: &Url) -> Self {
        Self { dashboard: dashboard.as_str().trim_end_matches('/').to_owned() }
    }

    fn about(&self, code: Code) -> String {
        format!("{}/docs/errors/{}", self.dashboard, code.name)
    }

    /// Leads to the key's page in whichever organization it is in, if the reader is in it too.
    fn key(&self, key: ApiKeyId) -> String {
        format!("{}/keys/{key}", self.dashboard)
    }
}

/// Which API's clients are to understand an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Anthropic,
}

impl Dialect {
    pub fn of(path: &str) -> Self {
        let is_messages = path
            .strip_prefix("/v1/messages")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_messages { Self::Anthropic } else { Self::OpenAi }
    }

    /// The body of an error.
    pub fn error(self, refused: &Refused, id: RequestId, pages: &Pages) -> String {
        let (code, message) = (refused.code().name, refused.message(pages));
        let docs_url = pages.about(refused.code());
        let (kind, param, details) = (refused.kind(), refused.param(), refused.details(pages));
        let told = match self {
            Self::OpenAi => {
                let r#type = openai_type(kind);
                let error =
                    OpenAiError { message, r#type, code, param, request_id: id, docs_url, details };
                serde_json::to_string(&OpenAi { error })
            }
            Self::Anthropic => {
                let error = AnthropicError {
                    message,
                    r#type: anthropic_type(kind),
                    code,
                    docs_url,
                    details,
                };
                serde_json::to_string(&Anthropic { r#type: "error", error, request_id: id })
            }
        };
        told.expect("texts can be written as JSON")
    }

    /// The same as the last event of a stream that broke.
    pub fn error_event(self, refused: &Refused, id: RequestId, pages: &Pages) -> String {
        let error = self.error(refused, id, pages);
        // The stream may have broken within a line, or within an event.
        match self {
            Self::OpenAi => format!("\n\ndata: {error}\n\n"),
            Self::Anthropic => format!("\n\nevent: error\ndata: {error}\n\n"),
        }
    }
}

#[derive(Serialize)]
struct OpenAi {
    error: OpenAiError,
}

#[derive(Serialize)]
struct OpenAiError {
    message: String,
    r#type: &'static str,
    code: &'static str,
    param: Option<&'static str>,
    request_id: RequestId,
    docs_url: String,
    /// What a program needs of it, where there is more than words.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}

#[derive(Serialize)]
struct Anthropic {
    r#type: &'static str,
    error: AnthropicError,
    request_id: RequestId,
}

#[derive(Serialize)]
struct AnthropicError {
    r#type: &'static str,
    message: String,
    code: &'static str,
    docs_url: String,
    /// What a program needs of it, where there is more than words.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}

fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::OutOfCredit => StatusCode::PAYMENT_REQUIRED,
        Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::Upstream => StatusCode::BAD_GATEWAY,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Clients retry what they should not; on these a retry can only give the same.
pub fn is_final(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400..=404)
}

fn openai_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid | Kind::NotFound | Kind::Conflict | Kind::TooLarge => "invalid_request_error",
        Kind::Unauthenticated => "authentication_error",
        Kind::Forbidden => "permission_error",
        Kind::OutOfCredit => "insufficient_quota",
        Kind::RateLimited => "rate_limit_error",
        Kind::Upstream => "upstream_error",
        Kind::Unavailable => "service_unavailable",
        Kind::Internal => "server_error",
    }
}

fn anthropic_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid | Kind::Conflict => "invalid_request_error",
        Kind::Unauthenticated => "authentication_error",
        Kind::Forbidden => "permission_error",
        Kind::NotFound => "not_found_error",
        Kind::TooLarge => "request_too_large",
        Kind::OutOfCredit => "billing_error",
        Kind::RateLimited => "rate_limit_error",
        Kind::Upstream | Kind::Internal => "api_error",
        Kind::Unavailable => "overloaded_error",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::{Level, LimitReached, LimitStanding, What};

    fn pages() -> Pages {
        Pages::of(&"https://dashboard".parse().unwrap())
    }

    #[track_caller]
    fn check(refused: impl Into<Refused>, status: u16, dialect: Dialect, expected: Value) {
        let (refused, id) = (refused.into(), RequestId::generate());
        assert_eq!(refused.status().as_u16(), status);
        let error = dialect.error(&refused, id, &pages());
        let mut error: Value = serde_json::from_str(&error).unwrap();
        let told = error.pointer_mut("/error/request_id").map(Value::take);
        let told = told.or_else(|| error.get_mut("request_id").map(Value::take));
        assert_eq!(told, Some(json!(id)));
        assert_eq!(error, expected);
    }

    #[test]
    fn an_openai_client_reads_its_shape() {
        let expected = json!({ "error": {
            "message": "The body names no model. Say which one: {\"model\": \"auto\", …}.",
            "type": "invalid_request_error",
            "code": "invalid_request",
            "param": "model",
            "request_id": null,
            "docs_url": "https://dashboard/docs/errors/invalid_request",
        }});
        check(NoRoute::NoModel, 400, Dialect::OpenAi, expected);
    }

    #[test]
    fn an_anthropic_client_reads_its_own() {
        let expected = json!({
            "type": "error",
            "error": {
                "type": "authentication_error",
                "message": "Send your key as `Authorization: Bearer …`. You sent none.",
                "code": "missing_api_key",
                "docs_url": "https://dashboard/docs/errors/missing_api_key",
            },
            "request_id": null,
        });
        check(NotLetIn::Missing, 401, Dialect::Anthropic, expected);
        for path in ["/v1/messages", "/v1/messages/count_tokens"] {
            assert_eq!(Dialect::of(path), Dialect::Anthropic);
        }
        assert_eq!(Dialect::of("/v1/messagesque"), Dialect::OpenAi);
    }

    #[test]
    fn a_limit_is_told_with_its_number() {
        let reached = LimitReached {
            which: Level::Project,
            what: What::Tokens,
            limit: 10_000,
            retry_after: Duration::from_millis(1_700),
            standing: LimitStanding::default(),
        };
        let refused = Refused::from(NotAdmitted::from(reached.clone()));
        assert_eq!(refused.headers(), reached.headers());
        let expected = json!({ "error": {
            "message": "The project's limit of 10000 tokens per minute is reached. Try again in 1.7 s.",
            "type": "rate_limit_error",
            "code": "rate_limited",
            "param": null,
            "request_id": null,
            "docs_url": "https://dashboard/docs/errors/rate_limited",
        }});
        check(NotAdmitted::from(reached), 429, Dialect::OpenAi, expected);
    }

    #[test]
    fn whoever_holds_a_revoked_key_reads_when_it_was_and_where_to_go() {
        let (hint, key) = ("tpk_live_…9f3c".to_owned(), ApiKeyId::generate());
        let at = time::macros::datetime!(2026-11-20 11:00 UTC);
        let page = format!("https://dashboard/keys/{key}");
        let expected = json!({ "error": {
            "message": format!(
                "The key tpk_live_…9f3c was revoked on 20 Nov 2026 11:00 UTC by its owner. \
                 Create another. See {page}"
            ),
            "type": "authentication_error",
            "code": "invalid_api_key",
            "param": null,
            "request_id": null,
            "docs_url": "https://dashboard/docs/errors/invalid_api_key",
            "details": { "key": key, "page": page },
        }});
        let by = shared::snapshot::RevokedBy::Owner;
        check(NotLetIn::Revoked { hint, key, at, by }, 401, Dialect::OpenAi, expected);
    }

    #[test]
    fn a_full_room_is_no_limit_of_the_callers() {
        let refused = Refused::from(Overloaded::Full { seats: 20_000 });
        assert_eq!((refused.status().as_u16(), refused.code().name), (503, "overloaded"));
        let message = refused.message(&pages());
        assert!(!message.contains("20000"), "{message}");
    }

    #[test]
    fn what_is_ours_is_told_in_general() {
        let refused = Refused::from(Panicked);
        let told = Dialect::OpenAi.error(&refused, RequestId::generate(), &pages());
        assert!(told.contains("The fault is ours") && !told.contains("panic"), "{told}");
        assert_eq!(refused.status().as_u16(), 500);
    }

    #[test]
    fn a_missing_snapshot_is_never_a_wrong_key() {
        assert_eq!(Refused::from(NotLetIn::NotReady).status().as_u16(), 503);
    }
}
