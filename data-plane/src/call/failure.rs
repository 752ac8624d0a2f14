//! How an upstream can fail us. What the caller reads of it names no vendor's internals.

use http::StatusCode;
use shared::failure::{Classified, Code, Kind, code};
use tokio::time::error::Elapsed;

use super::Served;
use crate::providers::{CannotSay, NotAnAnswer};

/// A call that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{} did not serve {:?}", served.model.upstream.provider, served.model.upstream_name)]
pub struct CallFailed {
    pub served: Served,
    #[source]
    pub why: UpstreamFailure,
}

#[derive(Debug, thiserror::Error)]
pub enum UpstreamFailure {
    #[error("no connection came about")]
    Connect(#[source] hyper_util::client::legacy::Error),
    #[error("the connection broke before the answer")]
    Lost(#[source] hyper_util::client::legacy::Error),
    #[error("the connection broke within the answer")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    #[error("the answer was the redirect {0}")]
    Redirect(StatusCode),
    #[error(transparent)]
    Answer(#[from] NotAnAnswer),
    #[error(transparent)]
    Unsaid(#[from] CannotSay),
    #[error("the answer was too long")]
    TooLong,
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

    pub fn is_timeout(&self) -> bool {
        match self {
            Self::FirstByte | Self::Idle | Self::Total => true,
            Self::Connect(_)
            | Self::Lost(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::Credential(_)
            | Self::Redirect(_)
            | Self::Answer(_)
            | Self::Unsaid(_)
            | Self::TooLong => false,
        }
    }

    pub fn code(&self) -> Code {
        match self {
            Self::FirstByte | Self::Idle | Self::Total => code::UPSTREAM_TIMEOUT,
            Self::Credential(_) => code::PROVIDER_AUTH_ERROR,
            Self::Connect(_)
            | Self::Lost(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::Redirect(_)
            | Self::Answer(_)
            | Self::Unsaid(_)
            | Self::TooLong => code::UPSTREAM_ERROR,
        }
    }
}

impl From<hyper_util::client::legacy::Error> for UpstreamFailure {
    fn from(error: hyper_util::client::legacy::Error) -> Self {
        if error.is_connect() { Self::Connect(error) } else { Self::Lost(error) }
    }
}

impl From<Elapsed> for UpstreamFailure {
    fn from(_: Elapsed) -> Self {
        Self::FirstByte
    }
}

impl Classified for CallFailed {
    fn kind(&self) -> Kind {
        Kind::Upstream
    }

    fn code(&self) -> Code {
        self.why.code()
    }
}
