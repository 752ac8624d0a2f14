//! A stream of events on its way through, and its end made plain.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::{Paced, Piece, UpstreamFailure, Watch};
use crate::{budgets::Delivered, providers::Reader};

/// A comment: no client takes it for an event, and what is between us and the client sees
/// that the connection lives.
const PING: Bytes = Bytes::from_static(b": ping\n\n");

/// The longest answer that is heard out when nobody waits for it any more,
const MOST_HEARD: usize = 32 * 1024 * 1024;
/// and how much of it a token may take: it comes as an event of its own, with what else might
/// have been written in its place.
const HEARD_PER_TOKEN: usize = 4 * 1024;
/// What stands around them.
const HEARD_BESIDE: usize = 64 * 1024;

/// Gives what the upstream sends, as it comes, and fails unless the stream said that it
/// was complete: one that merely stops looks the same to most clients.
pub struct Relay<B> {
    first: Option<Bytes>,
    rest: Paced<B>,
    reader: Box<dyn Reader>,
    end: End,
    watch: Watch,
    /// How many tokens it may have, where a budget bears the call.
    most: Option<u64>,
    /// How much is heard out of what nobody waits for.
    most_heard: usize,
    is_over: bool,
    /// Whether we stopped listening while the upstream may go on.
    is_left: bool,
}

impl<B> Relay<B> {
    /// `first` is what the reader has made of the beginning.
    pub fn new(first: Bytes, rest: Paced<B>, reader: Box<dyn Reader>, watch: Watch) -> Self {
        Self {
            first: Some(first),
            rest,
            reader,
            end: End::default(),
            watch,
            most: None,
            most_heard: MOST_HEARD,
            is_over: false,
            is_left: false,
        }
    }

    /// Breaks off where the upstream surely writes more tokens than that.
    pub fn within(mut self, most: Option<u64>) -> Self {
        self.most = most;
        self
    }

    /// Is heard out, when nobody waits any more, as far as so many tokens can come.
    pub fn heard_within(mut self, tokens: u64) -> Self {
        let tokens = usize::try_from(tokens).unwrap_or(usize::MAX);
        let bytes = tokens.saturating_mul(HEARD_PER_TOKEN).saturating_add(HEARD_BESIDE);
        self.most_heard = bytes.min(MOST_HEARD);
        self
    }

    /// What is known of what the client got, so far.
    pub fn delivered(&self) -> Delivered {
        let (output, is_complete) = (self.reader.delivered(), self.reader.is_complete());
        let stops = is_complete || self.reader.may_be_cut();
        Delivered {
            usage: self.reader.usage(),
            tokens: output.at_most,
            at_least: output.at_least,
            is_complete,
            goes_on: !stops && (self.is_left || !self.is_over),
            service_tier: self.reader.service_tier(),
        }
    }

    /// How many tokens of output the client got at most.
    pub fn delivered_tokens(&self) -> u64 {
        self.reader.delivered().at_most
    }

    /// Whether there is nothing to be gained by listening on: all is said, or the upstream
    /// stops when we hang up, and bills no more than it has told so far.
    pub fn may_be_cut(&self) -> bool {
        self.is_over || self.reader.is_complete() || self.reader.may_be_cut()
    }

    /// It may fail to be complete in having written too much.
    fn is_too_much(&self) -> bool {
        self.most.is_some_and(|it| self.reader.delivered().at_least > it)
    }
}

impl<B> Relay<B>
where
    Paced<B>: Stream<Item = Result<Piece, UpstreamFailure>> + Unpin,
{
    /// What there is for the client, which is never nothing: no bytes would end its stream.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, UpstreamFailure>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Ok(first));
        }
        loop {
            if self.is_too_much() {
                return Poll::Ready(Err(UpstreamFailure::Overrun));
            }
            let piece = ready!(Pin::new(&mut self.rest).poll_next(cx));
            if self.watch.is_leaving() {
                return Poll::Ready(Err(UpstreamFailure::Leaving));
            }
            match piece.ok_or(UpstreamFailure::Truncated)?? {
                Piece::Bytes(bytes) => {
                    let output = self.reader.read(bytes)?;
                    if self.is_too_much() {
                        return Poll::Ready(Err(UpstreamFailure::Overrun));
                    }
                    if !output.is_empty() {
                        return Poll::Ready(Ok(output));
                    }
                }
                Piece::Silence if self.end.is_between_events() && !self.reader.is_complete() => {
                    return Poll::Ready(Ok(PING));
                }
                Piece::Silence => (),
            }
        }
    }
}

impl<B> Relay<B>
where
    Paced<B>: Stream<Item = Result<Piece, UpstreamFailure>> + Unpin,
{
    /// What it comes to, when its client has left.
    pub async fn hear_out(mut self) -> Delivered {
        let mut heard = 0;
        while heard <= self.most_heard
            && let Some(Ok(output)) = self.next().await
        {
            heard += output.len();
        }
        self.delivered()
    }
}

impl<B> Stream for Relay<B>
where
    Paced<B>: Stream<Item = Result<Piece, UpstreamFailure>> + Unpin,
{
    type Item = Result<Bytes, UpstreamFailure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let failure = match ready!(self.poll_output(cx)) {
            Ok(output) => {
                self.end.note(&output);
                return Poll::Ready(Some(Ok(output)));
            }
            Err(failure) => failure,
        };
        self.is_over = true;
        self.is_left = failure.is_our_impatience();
        if self.reader.is_complete() {
            let said = self.reader.usage().map(|it| it.total_output());
            let tokens = said.unwrap_or_else(|| self.reader.delivered().at_least);
            self.watch.ended(tokens);
            return Poll::Ready(None);
        }
        self.watch.broke(&failure);
        Poll::Ready(Some(Err(failure)))
    }
}

/// How what the client has been sent ends.
#[derive(Default)]
struct End([u8; 3]);

impl End {
    fn note(&mut self, output: &[u8]) {
        for &byte in output.last_chunk::<3>().map_or(output, |it| &it[..]) {
            let [_, second, third] = self.0;
            self.0 = [second, third, byte];
        }
    }

    /// Whether the last line was empty, which is where an event ends, and where a comment
    /// disturbs nobody.
    fn is_between_events(&self) -> bool {
        matches!(self.0, [_, b'\n', b'\n'] | [_, b'\r', b'\r'] | [b'\n', b'\r', b'\n'])
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use futures::{StreamExt, stream};
    use http_body_util::StreamBody;
    use hyper::body::{Body, Frame};
    use shared::{ids::CredentialId, usage::Usage};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{
        call::{Pace, Timer, tests::calling},
        providers::{NotAnAnswer, Output},
    };

    /// Lets through what is not a full stop, and takes an exclamation mark for the end.
    #[derive(Default)]
    struct Plain {
        is_complete: bool,
        tokens: u64,
    }

    impl Reader for Plain {
        fn read(&mut self, bytes: Bytes) -> Result<Bytes, NotAnAnswer> {
            self.tokens += 1;
            self.is_complete |= bytes.contains(&b'!');
            Ok(if &bytes[..] == b"." { Bytes::new() } else { bytes })
        }

        fn is_complete(&self) -> bool {
            self.is_complete
        }

        fn usage(&self) -> Option<Usage> {
            None
        }

        fn delivered(&self) -> Output {
            Output { at_least: self.tokens, at_most: self.tokens }
        }
    }

    /// A body whose pieces come after so many seconds each.
    fn body(
        pieces: &'static [(u64, &'static str)],
    ) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        StreamBody::new(Box::pin(stream::iter(pieces).then(|(seconds, text)| async move {
            sleep(Duration::from_secs(*seconds)).await;
            Ok(Frame::data(Bytes::from_static(text.as_bytes())))
        })))
    }

    async fn check(pieces: &'static [(u64, &'static str)], expected: &[&str]) {
        let told = relay(pieces).map(|it| match it {
            Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Err(failure) => failure.to_string(),
        });
        assert_eq!(told.collect::<Vec<_>>().await, expected);
    }

    fn relay(
        pieces: &'static [(u64, &'static str)],
    ) -> Relay<impl Body<Data = Bytes, Error = Infallible> + Unpin> {
        let now = Instant::now();
        let pace = Pace {
            first_byte: now + Duration::from_secs(120),
            idle: Duration::from_secs(60),
            end: now + Duration::from_secs(900),
            silence: Duration::from_secs(15),
        };
        let rest = Paced::new(body(pieces), Timer::new(pace.end), pace);
        let reader = Box::new(Plain::default());
        let watch = Watch::new(&calling(), CredentialId::generate());
        Relay::new("a\n\n".into(), rest, reader, watch)
    }

    const CUT: &str = "the stream ended before it was complete";

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_well_only_when_it_says_so() {
        check(&[(1, "b\n\n!")], &["a\n\n", "b\n\n!"]).await;
        check(&[(1, "b\n\n")], &["a\n\n", "b\n\n", CUT]).await;
        check(&[], &["a\n\n", CUT]).await;
    }

    /// Each piece is a token here.
    #[tokio::test(start_paused = true)]
    async fn who_writes_more_than_was_asked_for_is_broken_off() {
        let mut relay = relay(&[(1, "b"), (1, "c"), (1, "d"), (1, "!")]).within(Some(2));
        let mut told = Vec::new();
        while let Some(piece) = relay.next().await {
            told.push(piece.map_err(|it| it.to_string()));
        }
        let pieces: Vec<_> = told.iter().filter_map(|it| it.as_ref().ok()).collect();
        assert_eq!(pieces, ["a\n\n", "b", "c"]);
        let why = "it wrote more than it was asked for at most";
        assert_eq!(told.last().unwrap().as_ref().unwrap_err(), why);
        // It is hung up on, and what came is what has to be paid for.
        let delivered = relay.delivered();
        assert_eq!((delivered.at_least, delivered.goes_on), (3, false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_heard_out() {
        let heard = relay(&[(1, "b"), (30, "!")]).hear_out().await;
        assert_eq!((heard.is_complete, heard.goes_on, heard.tokens), (true, false, 2));
        // Its upstream broke off, or we had no more patience.
        let heard = relay(&[(1, "b")]).hear_out().await;
        assert_eq!((heard.is_complete, heard.goes_on), (false, false));
        let heard = relay(&[(1, "b"), (61, "!")]).hear_out().await;
        assert_eq!((heard.is_complete, heard.goes_on), (false, true));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_client_is_not_to_see_does_not_end_its_stream() {
        check(&[(1, "."), (1, "."), (1, "b!")], &["a\n\n", "b!"]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_between_events_only() {
        // The first byte's time is longer than a silence.
        check(&[(1, "\n\n"), (40, "b!")], &["a\n\n", "\n\n", ": ping\n\n", ": ping\n\n", "b!"])
            .await;
        check(&[(1, "data: "), (40, "b"), (40, "!")], &["a\n\n", "data: ", "b", "!"]).await;
        check(&[(1, "b\n"), (40, "\n!")], &["a\n\n", "b\n", "\n!"]).await;
        check(
            &[(1, "b\r\n"), (20, "\r\n"), (20, "!")],
            &["a\n\n", "b\r\n", "\r\n", ": ping\n\n", "!"],
        )
        .await;
        let held = &[(1, "b\r\r"), (10, "."), (10, "."), (20, ".!")];
        check(held, &["a\n\n", "b\r\r", ": ping\n\n", ".!"]).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_complete_is_left_alone() {
        check(&[(1, "!\n\n"), (40, "\n\n")], &["a\n\n", "!\n\n", "\n\n"]).await;
        // It need not say goodbye.
        check(&[(1, "!\n\n"), (70, "x")], &["a\n\n", "!\n\n"]).await;
    }

    #[test]
    fn an_event_ends_with_an_empty_line_however_lines_end() {
        for (text, expected) in [
            ("x\n\n", true),
            ("x\r\n\r\n", true),
            ("x\r\r", true),
            ("x\n\r\n", true),
            ("x\n", false),
            ("x\r\n", false),
            ("\r\n\r", false),
            ("", false),
        ] {
            let (mut whole, mut single) = (End::default(), End::default());
            whole.note(text.as_bytes());
            text.as_bytes().chunks(1).for_each(|it| single.note(it));
            assert_eq!(whole.is_between_events(), expected, "{text:?}");
            assert_eq!(single.is_between_events(), expected, "{text:?} byte by byte");
        }
    }
}
