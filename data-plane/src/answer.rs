//! What goes back to the client: whole, or as a stream that owns the visit to its end.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::{
    body::{BodySize, MessageBody},
    http::StatusCode,
};
use bytes::Bytes;
use futures::Stream;
use hyper::body::Incoming;
use shared::snapshot::Digest;

use crate::{
    admit::Memory,
    budgets::{Heard, Rest, Tab},
    call::{CallFailed, Open, Relay, Served},
    metrics::Outcome,
    refused::Refused,
    visit::Visit,
};

/// What the pipeline made of a request.
pub enum Answer {
    /// Our own words.
    Json(Vec<u8>),
    /// The same, of something that is still to be done.
    Taken(Vec<u8>),
    /// The same, by which a client can tell whether it knows them.
    Tagged(Tagged),
    /// An upstream's.
    Opened(Box<Open>),
}

/// Our own words, and their fingerprint.
pub struct Tagged {
    pub etag: String,
    /// Nothing where the client has them.
    pub body: Option<Vec<u8>>,
}

impl Tagged {
    /// `known` is the `if-none-match` of the request.
    pub fn new(body: Vec<u8>, known: Option<&str>) -> Self {
        let etag = format!("\"{}\"", Digest::of(&body));
        let is_it = |it: &str| it == "*" || it.strip_prefix("W/").unwrap_or(it) == etag;
        let is_known = known.is_some_and(|it| it.split(',').any(|it| is_it(it.trim())));
        Self { etag, body: (!is_known).then_some(body) }
    }
}

/// So much of an answer at once is waiting for a client that takes it slowly.
const PIECE: usize = 32 * 1024;

/// A whole answer on its way to the client. Until it has gone out the call is under way: it
/// keeps its room and its places.
pub struct Gathered {
    body: Bytes,
    _memory: Option<Memory>,
    _visit: Visit,
}

impl Gathered {
    pub fn new(body: Bytes, memory: Option<Memory>, visit: Visit) -> Self {
        Self { body, _memory: memory, _visit: visit }
    }
}

impl MessageBody for Gathered {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.body.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let length = self.body.len().min(PIECE);
        Poll::Ready((length > 0).then(|| Ok(self.body.split_to(length))))
    }
}

/// A stream on its way to the client. When it breaks, the client is told so in the
/// stream, and the line that says "complete" never comes.
pub struct Streamed {
    /// There until it is over.
    relay: Option<Relay<Incoming>>,
    served: Served,
    visit: Visit,
}

impl Streamed {
    pub fn new(relay: Relay<Incoming>, served: Served, visit: Visit) -> Self {
        Self { relay: Some(relay), served, visit }
    }

    /// No more goes to the client. What it did not wait for is heard out, unless all is said or
    /// the upstream is content with what it has got to.
    fn is_over(&mut self) {
        let Some(relay) = self.relay.take() else { return };
        if relay.may_be_cut() {
            self.visit.story.delivers(&relay.delivered());
        } else {
            let rest = async { Heard::Answer(relay.hear_out().await) };
            self.visit.story.leaves(Rest::of(rest));
        }
    }
}

/// However the stream ended, if only because the client hung up, it has been served.
impl Drop for Streamed {
    fn drop(&mut self) {
        self.is_over();
    }
}

impl MessageBody for Streamed {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = &mut *self;
        let Some(relay) = &mut this.relay else { return Poll::Ready(None) };
        Poll::Ready(match ready!(Pin::new(&mut *relay).poll_next(cx)) {
            Some(Ok(bytes)) => {
                if let Some(tab) = this.visit.story.tab_mut() {
                    tab.progresses(relay.delivered_tokens());
                }
                Some(Ok(bytes))
            }
            Some(Err(why)) => {
                this.is_over();
                let cost = this.visit.story.tab().map(Tab::cost).unwrap_or_default();
                let served = this.served.clone().into();
                let broken = Refused::from(CallFailed { served, why, cost });
                Some(Ok(this.visit.breaks(&broken).into()))
            }
            None => {
                this.visit.ends(Outcome::Success, StatusCode::OK);
                None
            }
        })
    }
}
