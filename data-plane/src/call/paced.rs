//! A body that may not keep us waiting.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;
use hyper::body::Body;
use tokio::time::Instant;

use super::{Timer, UpstreamFailure};

/// How long a body may take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub first_byte: Instant,
    /// Between two pieces.
    pub idle: Duration,
    /// All of it.
    pub end: Instant,
    /// How long nothing comes until that is said.
    pub silence: Duration,
}

/// What has come of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Bytes),
    /// Nothing for a while, though not for too long.
    Silence,
}

/// Gives the body's bytes as they come, and fails when they do not come in time. Only our
/// waiting counts: while the client is slow to take what we have, the upstream is not to
/// blame.
pub struct Paced<B> {
    body: B,
    timer: Timer,
    pace: Pace,
    has_begun: bool,
    waiting: Option<Waiting>,
}

struct Waiting {
    give_up: Instant,
    silence: Instant,
}

impl<B> Paced<B> {
    pub fn new(body: B, timer: Timer, pace: Pace) -> Self {
        let mut paced = Self { body, timer, pace, has_begun: false, waiting: None };
        paced.has_not_begun();
        paced
    }

    /// What has come was not what the first byte's time is for.
    pub fn has_not_begun(&mut self) {
        self.has_begun = false;
        let give_up = self.pace.first_byte.min(self.pace.end);
        self.waiting = Some(Waiting { give_up, silence: give_up });
    }

    fn late(&self) -> UpstreamFailure {
        match (Instant::now() >= self.pace.end, self.has_begun) {
            (true, _) => UpstreamFailure::Total,
            (false, false) => UpstreamFailure::FirstByte,
            (false, true) => UpstreamFailure::Idle,
        }
    }
}

impl Pace {
    fn wait(&self) -> Waiting {
        let now = Instant::now();
        Waiting { give_up: self.end.min(now + self.idle), silence: now + self.silence }
    }
}

impl<B> Stream for Paced<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    type Item = Result<Piece, UpstreamFailure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            let Some(frame) = frame else { return Poll::Ready(None) };
            let frame = frame.map_err(|it| UpstreamFailure::Broken(it.into()))?;
            this.waiting = None;
            // Anything else is a trailer, which nobody awaits.
            let Ok(bytes) = frame.into_data() else { continue };
            this.has_begun = true;
            if Instant::now() >= this.pace.end {
                return Poll::Ready(Some(Err(UpstreamFailure::Total)));
            }
            return Poll::Ready(Some(Ok(Piece::Bytes(bytes))));
        }
        let waiting = this.waiting.get_or_insert_with(|| this.pace.wait());
        ready!(this.timer.poll_until(waiting.give_up.min(waiting.silence), cx));
        if waiting.silence < waiting.give_up {
            waiting.silence += this.pace.silence;
            return Poll::Ready(Some(Ok(Piece::Silence)));
        }
        Poll::Ready(Some(Err(this.late())))
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::time::{advance, sleep};

    use super::*;

    /// A body whose pieces come after so many seconds each.
    fn body(pauses: &'static [u64]) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        StreamBody::new(Box::pin(stream::iter(pauses).then(|seconds| async move {
            sleep(Duration::from_secs(*seconds)).await;
            Ok(Frame::data(Bytes::from_static(b"x")))
        })))
    }

    fn paced<B>(body: B) -> Paced<B> {
        let now = Instant::now();
        let first_byte = now + Duration::from_secs(120);
        let end = now + Duration::from_secs(900);
        let pace = Pace {
            first_byte,
            end,
            idle: Duration::from_secs(60),
            silence: Duration::from_secs(15),
        };
        Paced::new(body, Timer::new(first_byte), pace)
    }

    /// What comes of a body: bytes as `x`, silences as `.`, a failure as its first word.
    async fn check(pauses: &'static [u64], expected: &str) {
        let mut paced = paced(body(pauses));
        let mut told = String::new();
        while let Some(item) = paced.next().await {
            match item {
                Ok(Piece::Bytes(_)) => told.push('x'),
                Ok(Piece::Silence) => told.push('.'),
                Err(failure) => {
                    told.push_str(failure.to_string().split(' ').nth(1).unwrap());
                    break;
                }
            }
        }
        assert_eq!(told, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_are_measured_one_by_one() {
        check(&[50, 50, 14, 50], "x...xx...x").await;
        check(&[50, 61, 50], "x...came").await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_byte_has_a_time_of_its_own() {
        check(&[119, 1], "xx").await;
        check(&[121], "first").await;
    }

    #[tokio::test(start_paused = true)]
    async fn all_of_it_has_an_end() {
        check(&[14; 100], &format!("{}answer", "x".repeat(64))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_not_the_upstreams_fault() {
        let mut paced = paced(body(&[1, 50]));
        assert!(paced.next().await.unwrap().is_ok());
        advance(Duration::from_secs(300)).await;
        assert_eq!(paced.next().await.unwrap().unwrap(), Piece::Silence);
    }
}
