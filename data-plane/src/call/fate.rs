//! What an attempt has come to, and what follows from it: for the next candidate, for the
//! site, and for asking there again. One table, so that no cell of it is forgotten.

use http::StatusCode;
use shared::snapshot::Failed;

use super::{UpstreamFailure, breaker::Verdict};
use crate::providers::Class;

/// How an attempt ended, as metrics, headers and the request log name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Answered,
    /// The request is at fault, and would be so anywhere.
    Request,
    TooLong,
    Model,
    /// It does not know our credential.
    Credential,
    /// It said no for another reason than the request's form: it may dislike what was asked,
    /// or that we ask it.
    Refused,
    RateLimited,
    Server,
    Unreachable,
    Lost,
    TimedOut,
    NotAnAnswer,
    /// It answered with more than we have room for.
    TooMuch,
    /// Nothing was sent: the dialect has no words for it.
    Unsaid,
    /// Nothing was sent: the site has failed too often, or we are about to stop.
    LeftAlone,
    /// Nothing was sent: it could not have been paid for, or not been written down.
    NotCovered,
    /// Another that was asked as well began sooner.
    Outrun,
}

impl Fate {
    pub const ALL: [Self; 17] = [
        Self::Answered,
        Self::Request,
        Self::TooLong,
        Self::Model,
        Self::Credential,
        Self::Refused,
        Self::RateLimited,
        Self::Server,
        Self::Unreachable,
        Self::Lost,
        Self::TimedOut,
        Self::NotAnAnswer,
        Self::TooMuch,
        Self::Unsaid,
        Self::LeftAlone,
        Self::NotCovered,
        Self::Outrun,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Request => "request",
            Self::TooLong => "too_long",
            Self::Model => "model",
            Self::Credential => "credential",
            Self::Refused => "refused",
            Self::RateLimited => "rate_limited",
            Self::Server => "server",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::TimedOut => "timed_out",
            Self::NotAnAnswer => "not_an_answer",
            Self::TooMuch => "too_much",
            Self::Unsaid => "unsaid",
            Self::LeftAlone => "left_alone",
            Self::NotCovered => "not_covered",
            Self::Outrun => "outrun",
        }
    }

    /// What an upstream did, in words for the caller.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Request => "refused the request",
            Self::TooLong => "found it too long",
            Self::Model => "has no such model",
            Self::Credential => "refused our credential",
            Self::Refused => "refused it",
            Self::RateLimited => "has reached a limit",
            Self::Server => "failed",
            Self::Unreachable => "could not be reached",
            Self::Lost => "broke off",
            Self::TimedOut => "took too long",
            Self::NotAnAnswer => "sent no answer",
            Self::TooMuch => "sent too much",
            Self::Unsaid => "cannot be asked so",
            Self::LeftAlone => "left alone, as too many calls have failed there",
            Self::NotCovered => "could not be paid for",
            Self::Outrun => "was slower than another",
        }
    }

    pub(super) fn of_refusal(class: Class) -> Self {
        match class {
            Class::Request => Self::Request,
            Class::TooLong => Self::TooLong,
            Class::Model => Self::Model,
            Class::Credential => Self::Credential,
            Class::RateLimited => Self::RateLimited,
            Class::Server => Self::Server,
        }
    }

    /// A page of HTML is no answer, but its status still tells what happened.
    pub(super) fn of_failure(failure: &UpstreamFailure, status: Option<StatusCode>) -> Self {
        match failure {
            UpstreamFailure::Answer(_) | UpstreamFailure::Compressed => {
                match status.map(|it| it.as_u16()) {
                    Some(429) => Self::RateLimited,
                    Some(408 | 500..) => Self::Server,
                    Some(400..) => Self::Refused,
                    Some(_) | None => Self::NotAnAnswer,
                }
            }
            UpstreamFailure::Connect(_) => Self::Unreachable,
            UpstreamFailure::NotSent(_)
            | UpstreamFailure::Lost(_)
            | UpstreamFailure::Broken(_)
            | UpstreamFailure::Truncated => Self::Lost,
            UpstreamFailure::ConnectTimeout(_)
            | UpstreamFailure::FirstByte
            | UpstreamFailure::Idle
            | UpstreamFailure::Total => Self::TimedOut,
            UpstreamFailure::Credential(StatusCode::UNAUTHORIZED) => Self::Credential,
            // Some answer so where they do not like a prompt.
            UpstreamFailure::Credential(_) => Self::Refused,
            UpstreamFailure::Server { .. } => Self::Server,
            UpstreamFailure::Redirect(_) => Self::NotAnAnswer,
            UpstreamFailure::TooLong | UpstreamFailure::Overrun | UpstreamFailure::NoRoom(_) => {
                Self::TooMuch
            }
            UpstreamFailure::Unsaid(_) => Self::Unsaid,
            UpstreamFailure::NotCovered(_) | UpstreamFailure::NotWritten(_) => Self::NotCovered,
            UpstreamFailure::LeftAlone(_) | UpstreamFailure::Leaving => Self::LeftAlone,
        }
    }

    /// Whether no other candidate could do better.
    pub(super) const fn is_final(self) -> bool {
        matches!(self, Self::Answered | Self::Request | Self::NotCovered)
    }

    /// As policies name it that say after which failures another is asked. What they do not name
    /// is none, or holds for everybody.
    pub(super) const fn failed(self) -> Option<Failed> {
        match self {
            Self::Answered | Self::Request | Self::NotCovered | Self::Outrun => None,
            Self::TooLong => Some(Failed::TooLong),
            Self::Model => Some(Failed::Model),
            Self::Credential => Some(Failed::Credential),
            Self::Refused => Some(Failed::Refused),
            Self::RateLimited => Some(Failed::RateLimited),
            Self::Server => Some(Failed::Server),
            Self::Unreachable => Some(Failed::Unreachable),
            Self::Lost => Some(Failed::Lost),
            Self::TimedOut => Some(Failed::TimedOut),
            Self::NotAnAnswer => Some(Failed::NotAnAnswer),
            Self::TooMuch => Some(Failed::TooMuch),
            Self::Unsaid => Some(Failed::Unsaid),
            Self::LeftAlone => Some(Failed::LeftAlone),
        }
    }

    /// Whether anything was sent.
    pub(super) const fn was_sent(self) -> bool {
        !matches!(self, Self::Unsaid | Self::LeftAlone | Self::NotCovered)
    }

    /// Whether the same site may do better in a moment, and asking twice is safe.
    pub(super) const fn may_pass(self) -> bool {
        matches!(self, Self::RateLimited | Self::Server | Self::Unreachable | Self::Lost)
    }

    /// Whether it speaks of the upstream rather than of the credential, so that another
    /// credential is not likely to do better.
    pub(super) const fn is_the_upstreams(self) -> bool {
        match self {
            Self::Server
            | Self::Unreachable
            | Self::Lost
            | Self::TimedOut
            | Self::NotAnAnswer
            | Self::TooMuch => true,
            Self::Answered
            | Self::Request
            | Self::TooLong
            | Self::Model
            | Self::Credential
            | Self::Refused
            | Self::RateLimited
            | Self::Unsaid
            | Self::LeftAlone
            | Self::NotCovered
            | Self::Outrun => false,
        }
    }

    /// What is told to the caller when everything failed: rather what an upstream did than
    /// that nobody asked it.
    pub(super) const fn weight(self) -> u8 {
        match self {
            Self::Unsaid | Self::NotCovered => 0,
            Self::LeftAlone => 1,
            Self::Answered
            | Self::Request
            | Self::TooLong
            | Self::Model
            | Self::Credential
            | Self::Refused
            | Self::RateLimited
            | Self::Server
            | Self::Unreachable
            | Self::Lost
            | Self::TimedOut
            | Self::NotAnAnswer
            | Self::TooMuch
            | Self::Outrun => 2,
        }
    }

    /// What it says of the site. What one caller's request can bring about says nothing: of a
    /// 4xx only that our credential is not known.
    pub(super) const fn verdict(self) -> Verdict {
        match self {
            Self::Answered => Verdict::Good,
            Self::Request
            | Self::TooLong
            | Self::Model
            | Self::Refused
            | Self::RateLimited
            | Self::TooMuch
            | Self::Unsaid
            | Self::LeftAlone
            | Self::NotCovered
            | Self::Outrun => Verdict::Alive,
            Self::Credential
            | Self::Server
            | Self::Unreachable
            | Self::Lost
            | Self::TimedOut
            | Self::NotAnAnswer => Verdict::Bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_name_failures_as_everything_else_does() {
        for it in Fate::ALL {
            assert!(it.failed().is_none_or(|failed| failed.name() == it.name()), "{it:?}");
            assert!(!it.is_final() || it.failed().is_none(), "{it:?}");
        }
        let named: Vec<_> = Fate::ALL.into_iter().filter_map(Fate::failed).collect();
        assert_eq!(named, Failed::ALL.map(|it| it.0));
    }
}
