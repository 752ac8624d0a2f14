//! How an upstream can fail us. What the caller reads of it names no vendor's internals.

use std::{error::Error, io, time::Duration};

use http::StatusCode;
use hyper_util::client::legacy;
use serde_json::{Value, json};
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    money::Money,
};

use super::{Attempt, Served};
use crate::{
    admit::Overloaded,
    budgets::{Heard, NotCovered},
    journal::NotWritten,
    providers::{CannotSay, NotAnAnswer},
};

/// A call that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{}", told(.served, .why))]
pub struct CallFailed {
    pub served: Box<Served>,
    #[source]
    pub why: UpstreamFailure,
    /// What it has come to nevertheless: an upstream that had begun to answer may want to be paid.
    pub cost: Money,
}

/// So many attempts are told of.
const MOST_TOLD: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum UpstreamFailure {
    #[error("no connection came about")]
    Connect(#[source] legacy::Error),
    #[error("no connection came about in time")]
    ConnectTimeout(#[source] legacy::Error),
    #[error("the connection was gone before anything was sent")]
    NotSent(#[source] legacy::Error),
    #[error("the connection broke before the answer")]
    Lost(#[source] legacy::Error),
    #[error("the connection broke within the answer")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
    #[error("the stream ended before it was complete")]
    Truncated,
    #[error("the first byte did not come in time")]
    FirstByte,
    #[error("nothing came for too long")]
    Idle,
    #[error("the answer took too long as a whole")]
    Total,
    #[error("our credential was refused with {0}")]
    Credential(StatusCode),
    #[error("it has said that it failed, with {status}")]
    Server { status: StatusCode, retry_after: Option<Duration> },
    #[error("the answer was the redirect {0}")]
    Redirect(StatusCode),
    #[error("the answer was compressed, which we did not ask for")]
    Compressed,
    #[error(transparent)]
    Answer(#[from] NotAnAnswer),
    #[error(transparent)]
    Unsaid(#[from] CannotSay),
    #[error("the answer was too long")]
    TooLong,
    #[error("it wrote more than it was asked for at most")]
    Overrun,
    #[error(transparent)]
    NoRoom(#[from] Overloaded),
    #[error(transparent)]
    NotCovered(#[from] NotCovered),
    #[error(transparent)]
    NotWritten(#[from] NotWritten),
    #[error("it has failed too often, and is left alone for {0:?} more")]
    LeftAlone(Duration),
    #[error("this proxy is about to stop")]
    Leaving,
}

impl UpstreamFailure {
    /// The statuses that are never passed on.
    pub(super) fn of(status: StatusCode) -> Option<Self> {
        match status.as_u16() {
            401 | 403 => Some(Self::Credential(status)),
            300..=399 => Some(Self::Redirect(status)),
            _ => None,
        }
    }

    /// What an attempt has come to that failed so before the client got anything. Where nobody
    /// can say what its upstream wants for it, that is as much as it may; one that said no wants
    /// nothing, however it went on.
    pub(super) fn heard(&self, status: Option<StatusCode>) -> Heard {
        match self {
            _ if status.is_some_and(|it| !it.is_success()) => Heard::Nothing,
            Self::Connect(_)
            | Self::ConnectTimeout(_)
            | Self::NotSent(_)
            | Self::Credential(_)
            | Self::Server { .. }
            | Self::Redirect(_)
            | Self::Unsaid(_)
            | Self::NotCovered(_)
            | Self::NotWritten(_)
            | Self::LeftAlone(_) => Heard::Nothing,
            Self::Answer(NotAnAnswer::Failed) => Heard::Failure,
            Self::Lost(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::FirstByte
            | Self::Idle
            | Self::Total
            | Self::Compressed
            | Self::Answer(_)
            | Self::TooLong
            | Self::Overrun
            | Self::NoRoom(_)
            | Self::Leaving => Heard::Lost,
        }
    }

    /// Whether its upstream may go on writing what we do not wait for any longer.
    pub(super) fn is_our_impatience(&self) -> bool {
        match self {
            Self::FirstByte | Self::Idle | Self::Total | Self::NoRoom(_) | Self::Leaving => true,
            Self::Connect(_)
            | Self::ConnectTimeout(_)
            | Self::NotSent(_)
            | Self::Lost(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::Credential(_)
            | Self::Server { .. }
            | Self::Redirect(_)
            | Self::Compressed
            | Self::Answer(_)
            | Self::Unsaid(_)
            | Self::NotCovered(_)
            | Self::NotWritten(_)
            | Self::TooLong
            | Self::Overrun
            | Self::LeftAlone(_) => false,
        }
    }

    pub fn is_timeout(&self) -> bool {
        match self {
            Self::ConnectTimeout(_) | Self::FirstByte | Self::Idle | Self::Total => true,
            Self::Connect(_)
            | Self::NotSent(_)
            | Self::Lost(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::Credential(_)
            | Self::Server { .. }
            | Self::Redirect(_)
            | Self::Compressed
            | Self::Answer(_)
            | Self::Unsaid(_)
            | Self::NotCovered(_)
            | Self::NotWritten(_)
            | Self::TooLong
            | Self::Overrun
            | Self::NoRoom(_)
            | Self::LeftAlone(_)
            | Self::Leaving => false,
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Unsaid(_) => Kind::Invalid,
            Self::NotCovered(_) => Kind::OutOfCredit,
            Self::NoRoom(_) | Self::NotWritten(_) | Self::LeftAlone(_) | Self::Leaving => {
                Kind::Unavailable
            }
            Self::Connect(_)
            | Self::ConnectTimeout(_)
            | Self::NotSent(_)
            | Self::Lost(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::FirstByte
            | Self::Idle
            | Self::Total
            | Self::Credential(_)
            | Self::Server { .. }
            | Self::Redirect(_)
            | Self::Compressed
            | Self::Answer(_)
            | Self::TooLong
            | Self::Overrun => Kind::Upstream,
        }
    }

    pub fn code(&self) -> Code {
        match self {
            Self::ConnectTimeout(_) | Self::FirstByte | Self::Idle | Self::Total => {
                code::UPSTREAM_TIMEOUT
            }
            Self::Credential(_) => code::PROVIDER_AUTH_ERROR,
            Self::Unsaid(_) => code::UNSUPPORTED_PARAMETER,
            Self::NotCovered(_) => code::BUDGET_EXCEEDED,
            Self::NotWritten(it) => it.code(),
            Self::LeftAlone(_) => code::UPSTREAM_OVERLOADED,
            Self::NoRoom(it) => it.code(),
            Self::Leaving => code::UNAVAILABLE,
            Self::Connect(_)
            | Self::NotSent(_)
            | Self::Lost(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::Server { .. }
            | Self::Redirect(_)
            | Self::Compressed
            | Self::Answer(_)
            | Self::TooLong
            | Self::Overrun => code::UPSTREAM_ERROR,
        }
    }
}

impl From<legacy::Error> for UpstreamFailure {
    fn from(error: legacy::Error) -> Self {
        match (error.is_connect(), is_timeout(&error)) {
            (true, true) => Self::ConnectTimeout(error),
            (true, false) => Self::Connect(error),
            (false, _) if is_unsent(&error) => Self::NotSent(error),
            (false, _) => Self::Lost(error),
        }
    }
}

/// Whether the connection took nothing of the request.
fn is_unsent(error: &legacy::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(present) = cause {
        if present.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        cause = present.source();
    }
    false
}

fn is_timeout(error: &legacy::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(present) = cause {
        let io = present.downcast_ref::<io::Error>();
        if io.is_some_and(|it| it.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = present.source();
    }
    false
}

/// What the caller can mend is told in its own words.
fn told(served: &Served, why: &UpstreamFailure) -> String {
    if why.kind().is_for_caller() {
        return why.to_string();
    }
    let model = &served.model;
    format!("{} did not serve {:?}", model.upstream.provider, model.upstream_name)
}

impl CallFailed {
    /// What happened, who was asked, and whether it was charged, in words for the caller. How an
    /// upstream failed us in detail is for our logs.
    pub fn message(&self) -> String {
        let what = match self.kind().is_for_caller() {
            true => format!("{}.", capitalized(&self.why.to_string())),
            false => self.code().what.to_owned(),
        };
        format!("{what}{} {}", asked(&self.served.attempts), charged(self.cost))
    }

    /// The same for programs.
    pub fn details(&self) -> Value {
        let attempt = |it: &Attempt| {
            json!({
                "provider": it.candidate.model.upstream.provider,
                "model": it.candidate.model.name,
                "outcome": it.fate.name(),
                "status": it.status.map(|it| it.as_u16()),
            })
        };
        let attempts: Vec<_> = self.served.attempts.iter().map(attempt).collect();
        json!({ "attempts": attempts, "cost_usd": self.cost.exact() })
    }

    /// When to come back, where we know; and that there is no use in coming back at once where
    /// all who may answer were asked already.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        if let UpstreamFailure::LeftAlone(rest) = &self.why {
            return retry_after(*rest);
        }
        match self.kind() {
            Kind::Upstream => vec![("x-should-retry", "false".to_owned())],
            Kind::Invalid
            | Kind::Unauthenticated
            | Kind::Forbidden
            | Kind::NotFound
            | Kind::Conflict
            | Kind::TooLarge
            | Kind::OutOfCredit
            | Kind::RateLimited
            | Kind::Unavailable
            | Kind::Internal => vec![],
        }
    }
}

/// ` Asked: openai for "gpt-5" (failed), azure for "gpt-5" (took too long).`
fn asked(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return String::new();
    }
    let told = |it: &Attempt| {
        let model = &it.candidate.model;
        format!("{} for {:?} ({})", model.upstream.provider, model.name, it.fate.about())
    };
    let first: Vec<_> = attempts.iter().take(MOST_TOLD).map(told).collect();
    let more = match attempts.len().saturating_sub(MOST_TOLD) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!(" Asked: {}{more}.", first.join(", "))
}

fn charged(cost: Money) -> String {
    match cost {
        Money::ZERO => "You were not charged.".to_owned(),
        cost => format!("You were charged {cost}, since an answer had begun."),
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}

/// In seconds for all clients, never none, and in milliseconds for those that know it.
fn retry_after(wait: Duration) -> Vec<(&'static str, String)> {
    let milliseconds = wait.as_millis().max(1);
    let seconds = milliseconds.div_ceil(1_000);
    vec![("retry-after", seconds.to_string()), ("retry-after-ms", milliseconds.to_string())]
}

impl Classified for CallFailed {
    fn kind(&self) -> Kind {
        self.why.kind()
    }

    fn code(&self) -> Code {
        self.why.code()
    }

    fn problems(&self) -> Vec<Problem> {
        match &self.why {
            UpstreamFailure::Unsaid(it) => {
                vec![Problem { field: it.parameter, message: it.to_string() }]
            }
            UpstreamFailure::Connect(_)
            | UpstreamFailure::ConnectTimeout(_)
            | UpstreamFailure::NotSent(_)
            | UpstreamFailure::Lost(_)
            | UpstreamFailure::Broken(_)
            | UpstreamFailure::Truncated
            | UpstreamFailure::FirstByte
            | UpstreamFailure::Idle
            | UpstreamFailure::Total
            | UpstreamFailure::Credential(_)
            | UpstreamFailure::Server { .. }
            | UpstreamFailure::Redirect(_)
            | UpstreamFailure::Compressed
            | UpstreamFailure::Answer(_)
            | UpstreamFailure::TooLong
            | UpstreamFailure::Overrun
            | UpstreamFailure::NotWritten(_)
            | UpstreamFailure::NotCovered(_)
            | UpstreamFailure::NoRoom(_)
            | UpstreamFailure::LeftAlone(_)
            | UpstreamFailure::Leaving => vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::ids::OrganizationId;

    use super::*;
    use crate::{
        call::Fate,
        catalog::{
            Candidate,
            tests::{Fixture, snapshot},
        },
        refused::Refused,
        route::Reason,
    };

    fn refused(why: UpstreamFailure) -> Refused {
        let mut fixture = Fixture::default();
        fixture.upstream(None, &["claude"]);
        let snapshot = snapshot(&fixture);
        let model = snapshot.serving(OrganizationId::generate(), "claude").next().unwrap().clone();
        let (asked, reason) = ("claude".into(), Reason::Asked);
        let credential = model.upstream.credentials[0].clone();
        let candidate = Candidate::new(model.clone(), credential, None);
        let (started, took) = (tokio::time::Instant::now(), Duration::ZERO);
        let (fate, status) = (Fate::of_failure(&why, None), None);
        let attempts = vec![Attempt { candidate, fate, status, started, took }];
        let served = Served { asked, model, reason, attempts };
        CallFailed { served: served.into(), why, cost: Money::ZERO }.into()
    }

    #[track_caller]
    fn check(why: UpstreamFailure, status: u16, code: &str) {
        let refused = refused(why);
        assert_eq!((refused.status().as_u16(), refused.code().name), (status, code));
    }

    #[test]
    fn each_failure_has_its_status_and_code() {
        let (auth, moved) = (StatusCode::UNAUTHORIZED, StatusCode::FOUND);
        check(UpstreamFailure::Truncated, 502, "upstream_error");
        check(UpstreamFailure::Redirect(moved), 502, "upstream_error");
        check(UpstreamFailure::Credential(auth), 502, "provider_auth_error");
        let server = UpstreamFailure::Server { status: StatusCode::BAD_GATEWAY, retry_after: None };
        check(server, 502, "upstream_error");
        check(UpstreamFailure::FirstByte, 504, "upstream_timeout");
        check(UpstreamFailure::Total, 504, "upstream_timeout");
        check(UpstreamFailure::LeftAlone(Duration::ZERO), 503, "upstream_overloaded");
        check(UpstreamFailure::Leaving, 503, "unavailable");
    }

    #[test]
    fn a_failed_call_says_who_was_asked_and_whether_it_was_charged() {
        let Refused::Call(mut failed) = refused(UpstreamFailure::FirstByte) else {
            panic!("not of a call")
        };
        let what = "The model's provider did not answer, or stopped answering, within our limits.";
        let asked = "Asked: example for \"claude\" (took too long).";
        assert_eq!(failed.message(), format!("{what} {asked} You were not charged."));
        failed.cost = Money::from_nanos(1_250_000);
        let charged = "You were charged $0.00125, since an answer had begun.";
        assert_eq!(failed.message(), format!("{what} {asked} {charged}"));
        let expected = serde_json::json!({
            "attempts": [{
                "provider": "example", "model": "claude", "outcome": "timed_out", "status": null,
            }],
            "cost_usd": "0.001250000",
        });
        assert_eq!(failed.details(), expected);
        failed.served.attempts = vec![failed.served.attempts[0].clone(); 7];
        assert!(failed.message().contains(", and 3 more."), "{}", failed.message());
    }

    #[test]
    fn what_cannot_be_said_is_told_to_the_caller() {
        let (model, parameter, why) = ("claude".to_owned(), "logprobs", "it tells none");
        let unsaid = || CannotSay { model: model.clone(), parameter, why }.into();
        check(unsaid(), 400, "unsupported_parameter");
        let Refused::Call(failed) = refused(unsaid()) else { panic!("not of a call") };
        assert_eq!(failed.to_string(), "\"claude\" cannot be asked with `logprobs`: it tells none");
        assert_eq!(failed.problems().first().map(|it| it.field), Some("logprobs"));
    }
}
