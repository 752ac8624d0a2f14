//! One attempt to have a call answered: sending it, and looking at how the answer begins.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::ResponseFuture;
use shared::ids::OrganizationId;
use tokio::time::Instant;

use super::{Calling, Fate, Pace, Paced, Piece, Relay, Reply, Timer, UpstreamFailure, Watch};
use crate::{
    admit::{Memory, Room},
    ask::{Ask, Form, Outline},
    budgets::{Delivered, Heard, thinks_beside_its_cap},
    catalog::Candidate,
    egress::Client,
    providers::{Class, Provider, Reader, Refusal, Request, Whole},
    route::Terms,
};

/// The longest answer that is not a stream,
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
/// and of embeddings: 2,048 of 3,072 numbers.
const LONGEST_EMBEDDINGS: usize = 96 * 1024 * 1024;
/// What is set aside for an answer on its word that it will be so long.
const MOST_RESERVED: usize = 1024 * 1024;
/// What is gathered of a stream at most before it has begun.
const MOST_COMMENTS: usize = 64 * 1024;
/// The longest refusal.
const LONGEST_REFUSAL: usize = 1024 * 1024;

/// An attempt as headers and the request log tell of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub candidate: Candidate,
    pub fate: Fate,
    /// What the upstream said, if it did.
    pub status: Option<StatusCode>,
    pub started: Instant,
    /// Until the answer began, or it was clear that there would be none.
    pub took: Duration,
}

/// How an attempt ended.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is not kept")]
pub(super) enum Ended {
    Answered(Reply),
    Refused(Refusal),
    Failed(UpstreamFailure),
}

impl Ended {
    /// What an attempt came to of which the client got nothing, or nobody waits any more.
    pub(super) async fn heard_out(self, status: Option<StatusCode>) -> Heard {
        match self {
            Self::Answered(Reply::Whole { usage, service_tier, .. }) => Heard::Answer(Delivered {
                usage,
                is_complete: true,
                service_tier,
                ..Delivered::default()
            }),
            Self::Answered(Reply::Stream { relay, .. }) => Heard::Answer(relay.hear_out().await),
            Self::Refused(_) => Heard::Nothing,
            Self::Failed(why) => why.heard(status),
        }
    }

    pub(super) fn fate(&self, status: Option<StatusCode>) -> Fate {
        match self {
            Self::Answered(_) => Fate::Answered,
            Self::Refused(refusal) => Fate::of_refusal(refusal.class),
            Self::Failed(failure) => Fate::of_failure(failure, status),
        }
    }
}

/// What all attempts of a call have in common.
pub(super) struct Sending<'a> {
    pub client: &'a Client,
    pub calling: &'a Arc<Calling>,
    pub ask: &'a Arc<Ask>,
    pub room: &'a Arc<Room>,
    pub organization: OrganizationId,
    /// When the call has to be over, where its upstream does not say otherwise,
    pub end: Instant,
    /// and how long its policy lets it take.
    pub terms: &'a Terms,
}

/// Who sends a request, or a test that seems to.
pub(super) trait Sends: Sync {
    fn send(&self, candidate: &Candidate, request: Request) -> Asked;
}

/// An attempt under way, until the client can be told something: how it ended, and what the
/// upstream said, also when the rest of its answer is none. It owns all that it needs, since it
/// goes on when its caller leaves: what it comes to has to be paid for.
pub(super) type Asked = BoxFuture<'static, (Option<StatusCode>, Result<Ended, UpstreamFailure>)>;

/// What such an attempt needs: not the body, which an answer that is heard out would keep.
struct Hearing {
    calling: Arc<Calling>,
    asked: Arc<Outline>,
    room: Arc<Room>,
    organization: OrganizationId,
    end: Instant,
    /// Sooner than its upstream lets it, where a policy says so.
    most_end: Option<Instant>,
    most_first_byte: Option<Duration>,
    candidate: Candidate,
}

impl Sends for Sending<'_> {
    fn send(&self, candidate: &Candidate, request: Request) -> Asked {
        let hearing = Hearing {
            calling: self.calling.clone(),
            asked: self.ask.outline(),
            room: self.room.clone(),
            organization: self.organization,
            end: self.end,
            most_end: self.terms.total.map(|_| self.end),
            most_first_byte: self.terms.first_byte,
            candidate: candidate.clone(),
        };
        let response = self.client.request(request);
        Box::pin(async move {
            let mut status = None;
            let ended = hearing.hear(response, &mut status).await;
            (status, ended)
        })
    }
}

impl Hearing {
    async fn hear(
        self,
        response: ResponseFuture,
        status: &mut Option<StatusCode>,
    ) -> Result<Ended, UpstreamFailure> {
        let Self { calling, asked, candidate, .. } = &self;
        let own = candidate.model.upstream.timeouts;
        let (timeouts, now) = (calling.timeouts.at(own), Instant::now());
        let mut flight = calling.live.flow(&candidate.model, now).sends(now);
        // An upstream that says how long it takes may take longer than others, or less.
        let end = own.total_seconds.map_or(self.end, |_| now + timeouts.total);
        let end = self.most_end.map_or(end, |most| end.min(most));
        let first_byte =
            self.most_first_byte.map_or(timeouts.first_byte, |most| most.min(timeouts.first_byte));
        let first_byte = end.min(now + first_byte);
        let pace = Pace { first_byte, idle: timeouts.idle, end, silence: timeouts.ping };
        let mut timer = Timer::new(first_byte);
        let response = timer.limit(first_byte, response).await;
        let late =
            if first_byte == end { UpstreamFailure::Total } else { UpstreamFailure::FirstByte };
        let (head, body) = response.ok_or(late)??.into_parts();
        *status = Some(head.status);
        if let Some(failure) = UpstreamFailure::of(head.status) {
            return Err(failure);
        }
        if is_compressed(&head.headers) {
            return Err(UpstreamFailure::Compressed);
        }
        let provider = candidate.model.upstream.speaks();
        if let Some(content_type) = events(head.status, &head.headers) {
            let mut body = Paced::new(body, timer, pace);
            let mut reader = provider.reader(asked);
            let first = first_output(&mut body, reader.as_mut()).await?;
            flight.begins(Instant::now());
            let watch = Watch::new(calling, candidate.credential.id).of(flight);
            let can_write = u64::from(candidate.model.max_output_tokens) * u64::from(asked.choices);
            let relay = Relay::new(first, body, reader, watch)
                .within(self.most_output())
                .heard_within(can_write);
            return Ok(Ended::Answered(Reply::Stream { content_type, relay }));
        }
        let mut memory = self.room.memory(self.organization);
        if !head.status.is_success() {
            let body = whole(body, timer, pace, LONGEST_REFUSAL, &mut memory).await?;
            return refused(provider, head.status, &head.headers, body);
        }
        let body = whole(body, timer, pace, longest_answer(asked.form), &mut memory).await?;
        let Whole { body, usage, service_tier } = provider.answer(asked, body)?;
        flight.ends(usage.map_or(0, |it| it.total_output()), Instant::now());
        Ok(Ended::Answered(Reply::Whole {
            status: head.status,
            retry_after: None,
            body,
            memory: Some(memory),
            usage,
            service_tier,
        }))
    }

    /// How many tokens all choices may have together, where a budget bears the call and its cap
    /// is for all that is written.
    fn most_output(&self) -> Option<u64> {
        let is_hard = self.asked.form.writes() && !thinks_beside_its_cap(&self.candidate.model);
        let each = self.candidate.most_output.filter(|_| is_hard);
        each.map(|it| it.saturating_mul(self.asked.choices.into()))
    }
}

const fn longest_answer(form: Form) -> usize {
    match form {
        Form::Embeddings => LONGEST_EMBEDDINGS,
        Form::Chat | Form::Completions | Form::Moderations => LONGEST_ANSWER,
    }
}

/// What is our own or the upstream's trouble is never told in its words.
fn refused(
    provider: &dyn Provider,
    status: StatusCode,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Ended, UpstreamFailure> {
    let refusal = provider.refusal(status, headers, body)?;
    match refusal.class {
        Class::Credential => Err(UpstreamFailure::Credential(status)),
        Class::Server => Err(UpstreamFailure::Server { status, retry_after: refusal.retry_after }),
        Class::Request | Class::TooLong | Class::Model | Class::RateLimited => {
            Ok(Ended::Refused(refusal))
        }
    }
}

/// We ask for none, and what we cannot read we cannot meter.
fn is_compressed(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_ENCODING).is_some_and(|it| it != "identity")
}

/// The content type of an answer that is a stream of events.
fn events(status: StatusCode, headers: &HeaderMap) -> Option<HeaderValue> {
    const EVENTS: &[u8] = b"text/event-stream";
    let content_type = headers.get(header::CONTENT_TYPE)?;
    let begins = content_type.as_bytes().get(..EVENTS.len());
    let is_events = status.is_success() && begins.is_some_and(|it| it.eq_ignore_ascii_case(EVENTS));
    is_events.then(|| content_type.clone())
}

/// The beginning of a stream as the client gets it. Until it is there, another upstream
/// may still be asked and nobody notices. Comments do not begin anything: with them an
/// upstream says that it has got nothing yet.
async fn first_output<B>(
    body: &mut Paced<B>,
    reader: &mut dyn Reader,
) -> Result<Bytes, UpstreamFailure>
where
    Paced<B>: Stream<Item = Result<Piece, UpstreamFailure>> + Unpin,
{
    let mut comments = BytesMut::new();
    while let Some(piece) = body.next().await {
        let Piece::Bytes(bytes) = piece? else { continue };
        let output = reader.read(bytes)?;
        if comments.is_empty() && has_begun(&output) {
            return Ok(output);
        }
        comments.extend_from_slice(&output);
        if has_begun(&comments) || comments.len() > MOST_COMMENTS {
            return Ok(comments.freeze());
        }
        body.has_not_begun();
    }
    Err(UpstreamFailure::Truncated)
}

/// Whether there is a line that is neither empty nor a comment.
fn has_begun(output: &[u8]) -> bool {
    let mut lines = output.split(|it| matches!(it, b'\n' | b'\r'));
    lines.any(|line| line.first().is_some_and(|it| *it != b':'))
}

/// Reading it through also finds an answer that was cut where nothing else shows it: one
/// that ends with its connection.
async fn whole(
    body: Incoming,
    timer: Timer,
    pace: Pace,
    longest: usize,
    memory: &mut Memory,
) -> Result<Bytes, UpstreamFailure> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > longest {
        return Err(UpstreamFailure::TooLong);
    }
    let mut body = Paced::new(body, timer, pace);
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    while let Some(piece) = body.next().await.transpose()? {
        let Piece::Bytes(bytes) = piece else { continue };
        if first.len() + rest.len() + bytes.len() > longest {
            return Err(UpstreamFailure::TooLong);
        }
        memory.grow(bytes.len())?;
        if first.is_empty() && rest.is_empty() {
            // Most answers come as one piece, which nobody has to copy.
            first = bytes;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(declared.clamp(first.len() + bytes.len(), MOST_RESERVED));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&bytes);
    }
    Ok(if first.is_empty() { rest.freeze() } else { first })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use shared::usage::Usage;
    use tokio::time::sleep;

    use super::*;
    use crate::providers::{NotAnAnswer, Output};

    /// Lets everything through.
    struct Plain;

    impl Reader for Plain {
        fn read(&mut self, bytes: Bytes) -> Result<Bytes, NotAnAnswer> {
            Ok(bytes)
        }

        fn is_complete(&self) -> bool {
            false
        }

        fn usage(&self) -> Option<Usage> {
            None
        }

        fn delivered(&self) -> Output {
            Output::default()
        }
    }

    /// What the beginning is of a stream whose pieces come after ten seconds each, where the
    /// first byte has 25 of them.
    async fn check(pieces: Vec<String>, expected: Result<&str, &str>) {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        let first_byte = now + seconds(25);
        let (end, idle) = (now + seconds(900), seconds(60));
        let pace = Pace { first_byte, idle, end, silence: seconds(15) };
        let pieces = stream::iter(pieces).then(|it| async move {
            sleep(Duration::from_secs(10)).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from(it)))
        });
        let body = StreamBody::new(Box::pin(pieces));
        let mut body = Paced::new(body, Timer::new(first_byte), pace);
        let first = first_output(&mut body, &mut Plain).await;
        let first = first.map_err(|it| it.to_string());
        let told = first.as_ref().map(|it| std::str::from_utf8(it).unwrap());
        assert_eq!(told.map_err(String::as_str), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn comments_begin_no_stream_and_none_is_lost() {
        let piece = |text: &str| text.to_owned();
        let late = Err("the first byte did not come in time");
        check(vec![piece(": WAIT\n\n"); 5], late).await;
        check(vec![piece("\r\n: WAIT\r\n"); 5], late).await;
        let begins = vec![piece(": WAIT\n\n"), piece("data: 1\n\n"), piece("data: 2\n\n")];
        check(begins, Ok(": WAIT\n\ndata: 1\n\n")).await;
        check(vec![piece(": WAIT\n\nevent: a")], Ok(": WAIT\n\nevent: a")).await;
        // A comment may be cut anywhere.
        check(vec![piece(": W"), piece("AIT\nd")], Ok(": WAIT\nd")).await;
        check(vec![piece(": WAIT")], Err("the stream ended before it was complete")).await;
        let long = format!(":{}", "x".repeat(MOST_COMMENTS));
        check(vec![long.clone()], Ok(&long)).await;
    }
}
