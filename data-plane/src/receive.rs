//! Taking in a request's body, within limits on its size and on our patience.

use std::time::Duration;

use actix_web::{
    http::header::{self, HeaderMap},
    web::Payload,
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use shared::failure::{Classified, Code, Kind, code};
use tokio::time::{Instant, timeout_at};

/// How much, and how slowly.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes: usize,
    pub patience: Patience,
}

/// A body has to arrive within `grace` and the time it takes at `bytes_per_second`, and
/// within `total` in any case.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub grace: Duration,
    pub bytes_per_second: u32,
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
            bytes_per_second: 1024,
            total: Duration::from_secs(60),
        }
    }
}

impl Patience {
    /// How long after the start the next bytes are awaited, when so many are here.
    fn after(&self, received: usize) -> Duration {
        let earned = u32::try_from(received).unwrap_or(u32::MAX) / self.bytes_per_second.max(1);
        self.total.min(self.grace + Duration::from_secs(earned.into()))
    }
}

/// A body that somebody is about to send, and what they say of it.
pub struct Sending<'a> {
    pub headers: &'a HeaderMap,
    pub payload: Payload,
}

pub async fn receive(limits: &Limits, sending: Sending<'_>) -> Result<Bytes, NotReceived> {
    let Sending { headers, mut payload } = sending;
    let announced = announced(limits, headers)?;
    let start = Instant::now();
    let mut body = BytesMut::with_capacity(announced);
    loop {
        let patience = start + limits.patience.after(body.len());
        match timeout_at(patience, payload.next()).await {
            Ok(Some(Ok(bytes))) if body.len() + bytes.len() > limits.bytes => {
                return Err(NotReceived::TooLarge { limit: limits.bytes });
            }
            Ok(Some(Ok(bytes))) => body.extend_from_slice(&bytes),
            Ok(Some(Err(_))) => return Err(NotReceived::Broken),
            Ok(None) => return Ok(body.freeze()),
            Err(_) => return Err(NotReceived::TooSlow),
        }
    }
}

/// How much room to make, if the body is one that we take at all. An announcement alone
/// is not worth much memory.
fn announced(limits: &Limits, headers: &HeaderMap) -> Result<usize, NotReceived> {
    const MOST: usize = 256 * 1024;
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|it| !it.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(NotReceived::Compressed);
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok());
    let length: usize = length.and_then(|it| it.parse().ok()).unwrap_or(0);
    if length > limits.bytes {
        return Err(NotReceived::TooLarge { limit: limits.bytes });
    }
    Ok(length.min(MOST))
}

#[derive(Debug, thiserror::Error)]
pub enum NotReceived {
    #[error("The body is larger than {limit} bytes, which is the most that is accepted.")]
    TooLarge { limit: usize },
    #[error("The body is compressed. Send it as it is.")]
    Compressed,
    #[error("The body did not arrive in time.")]
    TooSlow,
    #[error("The body ended before it was complete.")]
    Broken,
}

impl Classified for NotReceived {
    fn kind(&self) -> Kind {
        match self {
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Compressed | Self::TooSlow | Self::Broken => Kind::Invalid,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => code::TOO_LARGE,
            Self::Compressed | Self::Broken => code::INVALID_REQUEST,
            Self::TooSlow => code::REQUEST_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(received: usize, seconds: u64) {
        assert_eq!(Patience::default().after(received), Duration::from_secs(seconds));
    }

    #[test]
    fn who_sends_steadily_has_more_time() {
        check(0, 10);
        check(1_000, 10);
        check(20 * 1024, 30);
        check(20_000_000, 60);
        check(usize::MAX, 60);
    }
}
