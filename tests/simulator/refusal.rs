//! The errors of each vendor, in its own shape.

use serde_json::{Value, json};

use super::answer::{Answer, to_json};

/// Whose wire format is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
}

/// A request that is not served, and why.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: u16,
    pub message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// What the vendor says with `status` when it says nothing particular.
    pub(super) fn usual(status: u16) -> Self {
        let message = match status {
            400 => "The request was malformed.",
            401 => "Incorrect API key provided.",
            402 => "Insufficient balance.",
            403 => "You are not allowed to use this resource.",
            404 => "The model does not exist or you do not have access to it.",
            408 => "The request timed out.",
            409 => "The resource was changed by another request.",
            413 => "The request is too large.",
            422 => "The request could not be processed.",
            429 => "Rate limit reached. Please slow down and try again later.",
            503 => "The server is overloaded or not ready yet.",
            504 => "The server did not answer in time.",
            529 => "Overloaded",
            _ => "The server had an error while processing your request.",
        };
        Self::new(status, message)
    }

    /// What the vendor says to a key it does not know.
    pub(super) fn bad_key(dialect: Dialect) -> Answer {
        match dialect {
            Dialect::OpenAi => Self::usual(401).answer(dialect),
            Dialect::Anthropic => Self::new(401, "invalid x-api-key").answer(dialect),
            // Google says 400, and tells by the details.
            Dialect::Gemini => Answer::json(
                400,
                to_json(&json!({"error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                    "details": [{
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": "API_KEY_INVALID",
                        "domain": "googleapis.com",
                    }],
                }})),
            ),
        }
    }

    pub(super) fn answer(&self, dialect: Dialect) -> Answer {
        let answer = Answer::json(self.status, to_json(&self.body(dialect)));
        match (dialect, self.status) {
            (Dialect::OpenAi, 429) => answer
                .with_header("x-ratelimit-limit-requests", "60")
                .with_header("x-ratelimit-remaining-requests", "0")
                .with_header("x-ratelimit-reset-requests", "1s"),
            (Dialect::Anthropic, 429) => answer
                .with_header("anthropic-ratelimit-requests-limit", "60")
                .with_header("anthropic-ratelimit-requests-remaining", "0"),
            (Dialect::OpenAi | Dialect::Anthropic | Dialect::Gemini, _) => answer,
        }
    }

    pub(super) fn body(&self, dialect: Dialect) -> Value {
        let Self { status, message } = self;
        match dialect {
            Dialect::OpenAi => {
                let (kind, code) = open_ai_kind(*status);
                json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
            }
            Dialect::Anthropic => json!({
                "type": "error",
                "error": {"type": anthropic_kind(*status), "message": message},
                "request_id": "req_sim",
            }),
            Dialect::Gemini => json!({"error": {
                "code": status,
                "message": message,
                "status": gemini_kind(*status),
            }}),
        }
    }
}

fn open_ai_kind(status: u16) -> (&'static str, Option<&'static str>) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        402 => ("insufficient_quota", Some("insufficient_quota")),
        403 => ("invalid_request_error", Some("unsupported_country_region_territory")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        400..=499 => ("invalid_request_error", None),
        503 => ("service_unavailable_error", None),
        _ => ("server_error", None),
    }
}

fn anthropic_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
}

fn gemini_kind(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        400..=499 => "INVALID_ARGUMENT",
        501 => "UNIMPLEMENTED",
        503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Self::invalid(format!("We could not parse the JSON body of your request: {error}"))
    }
}
