//! A stream of events on its way through, and its end made plain.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;

use super::{Paced, UpstreamFailure};
use crate::providers::Reader;

/// Gives what the upstream sends, as it comes, and fails unless the stream said that it
/// was complete: one that merely stops looks the same to most clients.
pub struct Relay<B> {
    first: Option<Bytes>,
    rest: Paced<B>,
    reader: Box<dyn Reader>,
    is_over: bool,
}

impl<B> Relay<B> {
    pub fn new(first: Option<Bytes>, rest: Paced<B>, reader: Box<dyn Reader>) -> Self {
        Self { first, rest, reader, is_over: false }
    }
}

impl<B> Stream for Relay<B>
where
    Paced<B>: Stream<Item = Result<Bytes, UpstreamFailure>> + Unpin,
{
    type Item = Result<Bytes, UpstreamFailure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(Pin::new(&mut self.rest).poll_next(cx)),
        };
        let failure = match next {
            Some(Ok(bytes)) => match self.reader.read(bytes) {
                Ok(bytes) => return Poll::Ready(Some(Ok(bytes))),
                Err(failure) => failure.into(),
            },
            Some(Err(failure)) => failure,
            None => UpstreamFailure::Truncated,
        };
        self.is_over = true;
        Poll::Ready((!self.reader.is_complete()).then_some(Err(failure)))
    }
}
