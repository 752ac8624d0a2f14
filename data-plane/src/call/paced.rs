//! A body that may not keep us waiting.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;
use hyper::body::Body;
use tokio::time::{Instant, Sleep, sleep_until};

use super::UpstreamFailure;

/// Gives the body's bytes as they come, and fails when none come for `idle`, or when it
/// lasts past `end`. Only our waiting counts: while the client is slow to take what we
/// have, the upstream is not to blame.
pub struct Paced<B> {
    body: B,
    idle: Duration,
    end: Instant,
    timer: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<B> Paced<B> {
    pub fn new(body: B, idle: Duration, end: Instant) -> Self {
        Self { body, idle, end, timer: Box::pin(sleep_until(end)), is_waiting: false }
    }
}

impl<B> Stream for Paced<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    type Item = Result<Bytes, UpstreamFailure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.is_waiting = false;
            let Some(frame) = frame else { return Poll::Ready(None) };
            let frame = frame.map_err(|it| UpstreamFailure::Broken(it.into()))?;
            if Instant::now() >= this.end {
                return Poll::Ready(Some(Err(UpstreamFailure::Total)));
            }
            // Anything else is a trailer, which nobody awaits.
            if let Ok(bytes) = frame.into_data() {
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
        if !this.is_waiting {
            this.is_waiting = true;
            this.timer.as_mut().reset(this.end.min(Instant::now() + this.idle));
        }
        ready!(this.timer.as_mut().poll(cx));
        let is_end = Instant::now() >= this.end;
        Poll::Ready(Some(Err(if is_end { UpstreamFailure::Total } else { UpstreamFailure::Idle })))
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
        Paced::new(body, Duration::from_secs(60), Instant::now() + Duration::from_secs(900))
    }

    async fn check(pauses: &'static [u64], pieces: usize, failure: Option<&str>) {
        let items: Vec<_> = paced(body(pauses)).take(pieces + 1).collect().await;
        assert_eq!(items.iter().filter(|it| it.is_ok()).count(), pieces);
        let failed = items.last().and_then(|it| it.as_ref().err().map(ToString::to_string));
        assert_eq!(failed.as_deref().map(|it| it.split(' ').next().unwrap()), failure);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_are_measured_one_by_one() {
        check(&[50, 50, 50], 3, None).await;
        check(&[50, 61, 50], 1, Some("nothing")).await;
        check(&[61], 0, Some("nothing")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn all_of_it_has_an_end() {
        check(&[59; 20], 15, Some("the")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_not_the_upstreams_fault() {
        let mut paced = paced(body(&[1, 50]));
        assert!(paced.next().await.unwrap().is_ok());
        advance(Duration::from_secs(300)).await;
        assert!(paced.next().await.unwrap().is_ok());
    }
}
