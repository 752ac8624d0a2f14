//! What was received, and how each call ended.
//!
//! Bounded: the oldest calls are forgotten beyond `MOST_CALLS` or `MOST_BYTES`, and of a body only
//! its beginning is kept. Switched off it costs nothing.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::Notify;

const MOST_CALLS: usize = 10_000;
const MOST_BYTES: usize = 64 << 20;
const MOST_OF_A_BODY: usize = 64 << 10;

/// One request as it came in, and what became of it.
#[derive(Debug)]
pub struct Call {
    /// Counts from 1 and never repeats in a run; also in the answer's request id.
    pub number: u64,
    pub at: SystemTime,
    /// The length of the whole body, of which `body` may be the beginning.
    pub body_length: usize,
    /// The request's head and the kept part of its body.
    received: Vec<u8>,
    head: usize,
    begun: Instant,
    outcome: OnceLock<Outcome>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What was or would have been answered.
    pub status: u16,
    /// Bytes handed to the connection, the head included.
    pub bytes_sent: u64,
    pub ending: Ending,
    pub took: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All was sent.
    Complete,
    /// A fault ended it before its time.
    CutByFault,
    /// The client closed its side before all was sent.
    ClientHungUp,
}

impl Call {
    pub fn method(&self) -> &str {
        self.words().next().unwrap_or_default()
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.words().nth(1).unwrap_or_default()
    }

    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// In the order and the case they came in.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.head_text().split("\r\n").skip(1);
        lines.filter_map(|line| line.split_once(':').map(|(name, value)| (name, value.trim())))
    }

    /// The first header of that name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1)
    }

    /// The beginning of the body.
    pub fn body(&self) -> &[u8] {
        &self.received[self.head..]
    }

    /// How it ended; `None` while it has not.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome.get().copied()
    }

    pub fn client_hung_up(&self) -> bool {
        self.outcome().is_some_and(|it| it.ending == Ending::ClientHungUp)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.head_text().split("\r\n").next().unwrap_or_default().split(' ')
    }

    fn head_text(&self) -> &str {
        std::str::from_utf8(&self.received[..self.head]).unwrap_or_default()
    }
}

pub(super) struct Recordings {
    on: bool,
    calls: Mutex<Ring>,
    changed: Notify,
}

#[derive(Default)]
struct Ring {
    calls: VecDeque<Arc<Call>>,
    bytes: usize,
}

impl Recordings {
    pub(super) fn new(on: bool) -> Self {
        Self { on, calls: Mutex::default(), changed: Notify::new() }
    }

    pub(super) fn begin(&self, number: u64, head: &[u8], body: &[u8]) -> Option<Arc<Call>> {
        if !self.on {
            return None;
        }
        // Headers may hold any bytes; those that are no text are shown as replacements.
        let head = String::from_utf8_lossy(head);
        let kept = &body[..body.len().min(MOST_OF_A_BODY)];
        let mut received = Vec::with_capacity(head.len() + kept.len());
        received.extend_from_slice(head.as_bytes());
        received.extend_from_slice(kept);
        let call = Arc::new(Call {
            number,
            at: SystemTime::now(),
            body_length: body.len(),
            head: head.len(),
            received,
            begun: Instant::now(),
            outcome: OnceLock::new(),
        });
        self.ring().push(call.clone());
        self.changed.notify_waiters();
        Some(call)
    }

    pub(super) fn finish(&self, call: &Call, status: u16, bytes_sent: u64, ending: Ending) {
        let outcome = Outcome { status, bytes_sent, ending, took: call.begun.elapsed() };
        if call.outcome.set(outcome).is_ok() {
            self.changed.notify_waiters();
        }
    }

    /// The calls numbered above `number`, oldest first.
    pub(super) fn after(&self, number: u64) -> Vec<Arc<Call>> {
        let ring = self.ring();
        let first = ring.calls.partition_point(|it| it.number <= number);
        ring.calls.range(first..).cloned().collect()
    }

    pub(super) fn forget(&self) {
        *self.ring() = Ring::default();
    }

    /// Waits until `found` finds what it looks for in the calls, looking again at each change.
    pub(super) async fn wait_until<T>(&self, found: impl Fn(&[Arc<Call>]) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = found(&self.after(0)) {
                return found;
            }
            changed.await;
        }
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.calls.lock().expect("no holder of this lock panics")
    }
}

impl Ring {
    fn push(&mut self, call: Arc<Call>) {
        self.bytes += call.received.len();
        // Two workers may come here in the other order than they took their numbers.
        let place =
            self.calls.iter().rposition(|it| it.number < call.number).map_or(0, |it| it + 1);
        self.calls.insert(place, call);
        while self.calls.len() > MOST_CALLS || self.bytes > MOST_BYTES {
            let Some(oldest) = self.calls.pop_front() else { break };
            self.bytes -= oldest.received.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] =
        b"POST /v1/models?x=1 HTTP/1.1\r\nHost: a\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\n";

    #[test]
    fn a_call_tells_what_it_was() {
        let recordings = Recordings::new(true);
        let call = recordings.begin(1, HEAD, b"hello").unwrap();
        assert_eq!((call.method(), call.path()), ("POST", "/v1/models"));
        assert_eq!(call.target(), "/v1/models?x=1");
        let headers = [("Host", "a"), ("X-Twice", "1"), ("X-Twice", "2")];
        assert_eq!(call.headers().collect::<Vec<_>>(), headers);
        assert_eq!(call.header("host"), Some("a"));
        assert_eq!(call.body(), b"hello");
        assert_eq!(call.outcome(), None);
        recordings.finish(&call, 200, 7, Ending::ClientHungUp);
        assert!(call.client_hung_up());
        let strange = recordings.begin(2, b"GET / HTTP/1.1\r\nx-odd: \xff\r\n\r\n", b"").unwrap();
        assert_eq!(strange.header("x-odd"), Some("\u{FFFD}"));
    }

    #[test]
    fn the_oldest_are_forgotten_and_long_bodies_cut() {
        let recordings = Recordings::new(true);
        let long = vec![b'x'; MOST_OF_A_BODY + 1];
        let most = MOST_BYTES / MOST_OF_A_BODY;
        for number in 1..=most as u64 + 10 {
            recordings.begin(number, HEAD, &long);
        }
        let kept = recordings.after(0);
        assert!(kept.len() < most && kept[0].number > 10);
        assert_eq!(kept[0].body().len(), MOST_OF_A_BODY);
        assert_eq!(kept[0].body_length, MOST_OF_A_BODY + 1);
    }

    #[test]
    fn calls_are_in_the_order_of_their_numbers() {
        let recordings = Recordings::new(true);
        for number in [2, 1, 3] {
            recordings.begin(number, HEAD, b"");
        }
        let numbers =
            |after| recordings.after(after).iter().map(|it| it.number).collect::<Vec<_>>();
        assert_eq!(numbers(0), [1, 2, 3]);
        assert_eq!(numbers(1), [2, 3]);
        recordings.forget();
        assert!(numbers(0).is_empty());
    }

    #[test]
    fn switched_off_nothing_is_kept() {
        let recordings = Recordings::new(false);
        assert!(recordings.begin(1, HEAD, b"").is_none());
        assert!(recordings.after(0).is_empty());
    }
}
