//! Taking in a request's body, within limits on its size and on our patience.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    dev::Payload,
    http::header::{self, HeaderMap},
};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use shared::failure::{Classified, Code, Kind, code};
use tokio::time::{Instant, timeout, timeout_at};

use crate::admit::{Memory, Overloaded};

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
pub struct Sending<'a, P = &'a mut Payload> {
    pub headers: &'a HeaderMap,
    pub payload: P,
}

/// The body, which takes `memory` for as long as anybody has it.
pub async fn receive<P, E>(
    limits: &Limits,
    mut memory: Memory,
    sending: Sending<'_, P>,
) -> Result<Bytes, NotReceived>
where
    P: Stream<Item = Result<Bytes, E>> + Unpin,
{
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
            Ok(Some(Ok(bytes))) => {
                memory.grow(bytes.len())?;
                body.extend_from_slice(&bytes);
            }
            Ok(Some(Err(_))) => return Err(NotReceived::Broken),
            Ok(None) => return Ok(memory.holding(body.freeze())),
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
    let length = length(headers).unwrap_or(0);
    if length > limits.bytes {
        return Err(NotReceived::TooLarge { limit: limits.bytes });
    }
    Ok(length.min(MOST))
}

/// The longest body that is read only to be thrown away, and how long that may take. Both
/// are more than it takes to open another connection, and too little to keep us busy with.
const MOST_DISCARDED: usize = 64 * 1024;
const DISCARDING: Duration = Duration::from_secs(1);

/// Reads a body that nobody wants, if it is short and comes at once. Says whether it has
/// come to its end.
pub async fn discard<P, E>(headers: &HeaderMap, mut payload: P) -> bool
where
    P: Stream<Item = Result<Bytes, E>> + Unpin,
{
    if length(headers).is_some_and(|it| it > MOST_DISCARDED) {
        return false;
    }
    let to_the_end = async {
        let mut read = 0;
        loop {
            match payload.next().await {
                Some(Ok(bytes)) => read += bytes.len(),
                Some(Err(_)) => return false,
                None => return true,
            }
            if read > MOST_DISCARDED {
                return false;
            }
        }
    };
    timeout(DISCARDING, to_the_end).await.unwrap_or(false)
}

/// As the request says.
fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The answer to a request whose body was not read to its end. Where we drop such a
/// body, actix reads on and throws away what comes, for as long as it comes; where we
/// hold it until the answer is sent, the connection is closed.
pub struct Unread {
    pub answer: BoxBody,
    pub payload: Payload,
}

impl MessageBody for Unread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(cx)
    }
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
    #[error("this proxy is about to stop")]
    Leaving,
    #[error(transparent)]
    NoRoom(#[from] Overloaded),
}

impl Classified for NotReceived {
    fn kind(&self) -> Kind {
        match self {
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Compressed | Self::TooSlow | Self::Broken => Kind::Invalid,
            Self::Leaving | Self::NoRoom(_) => Kind::Unavailable,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } => code::TOO_LARGE,
            Self::Compressed | Self::Broken => code::INVALID_REQUEST,
            Self::TooSlow => code::REQUEST_TIMEOUT,
            Self::Leaving => code::UNAVAILABLE,
            Self::NoRoom(it) => it.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use futures::stream;
    use shared::ids::OrganizationId;
    use tokio::time::sleep;

    use super::*;
    use crate::admit::Room;

    /// Of pieces, each of so many bytes and so many seconds after the last one.
    fn body(pieces: &[(u64, usize)]) -> impl Stream<Item = Result<Bytes, &'static str>> + use<> {
        stream::iter(pieces.to_vec()).then(|(seconds, bytes)| async move {
            sleep(Duration::from_secs(seconds)).await;
            if bytes > 0 { Ok(Bytes::from(vec![b'x'; bytes])) } else { Err("cut") }
        })
    }

    async fn check(headers: &[(&'static str, &'static str)], pieces: &[(u64, usize)], told: &str) {
        let payload = body(pieces);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let limits = Limits { bytes: 100_000, patience: Patience::default() };
        let sending = Sending { headers: &map, payload: Box::pin(payload) };
        let memory = Room::new(1, 300_000).memory(OrganizationId::generate());
        let outcome = match receive(&limits, memory, sending).await {
            Ok(body) => format!("{} bytes", body.len()),
            Err(why) => why.to_string(),
        };
        assert!(outcome.contains(told), "{outcome}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_steadily_has_more_time() {
        check(&[], &[(9, 100), (0, 200)], "300 bytes").await;
        check(&[], &[(9, 100), (2, 200)], "not arrive in time").await;
        check(&[], &[(9, 20_480), (20, 100)], "20580 bytes").await;
        check(&[], &[(9, 20_480), (22, 100)], "not arrive in time").await;
        check(&[], &[(9, 90_000), (50, 1), (2, 1)], "not arrive in time").await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_large_is_noticed_as_soon_as_it_shows() {
        check(&[], &[(0, 60_000), (0, 40_000)], "100000 bytes").await;
        check(&[], &[(0, 60_000), (0, 40_001), (900, 1)], "larger than 100000").await;
        check(&[("content-length", "100001")], &[(900, 1)], "larger than 100000").await;
        check(&[("content-length", "9999999999")], &[(900, 1)], "larger than 100000").await;
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_short_and_comes_at_once_is_thrown_away() {
        for (announced, pieces, is_gone) in [
            (None, &[][..], true),
            (Some(30), &[(0, 10), (0, 20)], true),
            (None, &[(0, 30_000), (0, 35_536)], true),
            (None, &[(0, 30_000), (0, 35_537), (900, 1)], false),
            (Some(65_537), &[(0, 65_537)], false),
            (Some(20), &[(0, 10), (2, 10)], false),
            (Some(20), &[(0, 10), (0, 0)], false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(announced) = announced {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(announced));
            }
            let begun = Instant::now();
            assert_eq!(discard(&headers, Box::pin(body(pieces))).await, is_gone, "{pieces:?}");
            assert!(begun.elapsed() <= DISCARDING);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_cut_or_compressed_is_refused() {
        check(&[], &[(0, 10), (0, 0)], "ended before").await;
        check(&[("content-encoding", "gzip")], &[(0, 10)], "compressed").await;
        check(&[("content-encoding", "identity")], &[(0, 10)], "10 bytes").await;
    }
}
