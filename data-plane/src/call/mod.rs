//! Sending a call to its upstream and looking at how the answer begins.
//!
//! Always holds: an answer is opened only when its first byte is here; an answer that is
//! not a stream is opened only when all of it is here and is JSON, so that half a one is
//! an error and not an answer; a vendor's complaint about our credential never looks
//! like one about the caller's key. Dropping any of this hangs up on the upstream.

mod failure;
mod paced;
mod relay;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

pub use self::{
    failure::{CallFailed, UpstreamFailure},
    paced::Paced,
    relay::Relay,
};
use crate::{
    ask::Ask,
    authenticate::Caller,
    catalog::{Candidate, Model},
    config::Timeouts,
    egress::Client,
    route::Plan,
};

/// The longest answer that is not a stream.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;

/// Who answers a call, and what they were asked for.
#[derive(Clone, Debug)]
pub struct Served {
    pub asked: String,
    pub model: Arc<Model>,
}

/// A call whose answer has begun.
pub struct Open {
    pub caller: Caller,
    pub served: Served,
    pub reply: Reply,
}

pub enum Reply {
    /// JSON, with the status the upstream gave it.
    Whole { status: StatusCode, retry_after: Option<HeaderValue>, body: Bytes },
    /// Server-sent events.
    Stream { content_type: HeaderValue, relay: Relay<Incoming> },
}

pub async fn call(client: &Client, timeouts: &Timeouts, plan: Plan) -> Result<Open, CallFailed> {
    let Plan { caller, ask, candidates, .. } = plan;
    let candidate = candidates.into_iter().next().expect("a plan has a candidate");
    let outcome = send(client, timeouts, &ask, &candidate).await;
    let served = Served { asked: ask.model, model: candidate.model };
    match outcome {
        Ok(reply) => Ok(Open { caller, served, reply }),
        Err(why) => Err(CallFailed { served, why }),
    }
}

async fn send(
    client: &Client,
    timeouts: &Timeouts,
    ask: &Ask,
    candidate: &Candidate,
) -> Result<Reply, UpstreamFailure> {
    let provider = candidate.model.upstream.speaks();
    let request = provider.request(ask, candidate)?;
    let now = Instant::now();
    let (first_byte, total) = (now + timeouts.first_byte, now + timeouts.total);
    let response = timeout_at(first_byte, client.request(request)).await??;
    let (head, body) = response.into_parts();
    if let Some(failure) = UpstreamFailure::of(head.status) {
        return Err(failure);
    }
    let mut body = Paced::new(body, timeouts.idle, total);
    let first = timeout_at(first_byte, body.next()).await?.transpose()?;
    if let Some(content_type) = events(head.status, &head.headers) {
        let relay = Relay::new(first, body, provider.reader(ask));
        return Ok(Reply::Stream { content_type, relay });
    }
    let body = whole(first, body).await?;
    let body = if head.status.is_success() {
        provider.answer(ask, body)?.body
    } else {
        provider.refusal(head.status, &head.headers, body)?.body
    };
    let retry_after = head.headers.get(header::RETRY_AFTER).cloned();
    Ok(Reply::Whole { status: head.status, retry_after, body })
}

/// The content type of an answer that is a stream of events.
fn events(status: StatusCode, headers: &HeaderMap) -> Option<HeaderValue> {
    const EVENTS: &[u8] = b"text/event-stream";
    let content_type = headers.get(header::CONTENT_TYPE)?;
    let begins = content_type.as_bytes().get(..EVENTS.len());
    let is_events = status.is_success() && begins.is_some_and(|it| it.eq_ignore_ascii_case(EVENTS));
    is_events.then(|| content_type.clone())
}

/// Reading it through also finds an answer that was cut where nothing else shows it: one
/// that ends with its connection.
async fn whole(first: Option<Bytes>, mut rest: Paced<Incoming>) -> Result<Bytes, UpstreamFailure> {
    let first = first.unwrap_or_default();
    let Some(second) = rest.next().await.transpose()? else { return Ok(first) };
    let mut body = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(bytes) = next {
        if body.len() + bytes.len() > LONGEST_ANSWER {
            return Err(UpstreamFailure::TooLong);
        }
        body.extend_from_slice(&bytes);
        next = rest.next().await.transpose()?;
    }
    Ok(body.freeze())
}
