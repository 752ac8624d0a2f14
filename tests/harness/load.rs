//! A steady load on the proxies of an installation: as many calls at once as there are
//! callers, and each answer looked at.
//!
//! A caller behaves as a load balancer does: it has a proxy that it prefers, and where the
//! connection is refused, or breaks before there is an answer, tries the other one. A
//! stream that breaks once it has begun is lost, for nobody can say the rest of it. What
//! is asked for is said back word for word, so a wrong, mixed or cut answer is noticed.

use std::{
    fmt,
    io::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    processes::Installation,
    wait::{eventually, soon},
};

/// Runs until [`Load::finish`].
pub struct Load {
    callers: Vec<Arc<Caller>>,
    running: JoinSet<()>,
    stop: CancellationToken,
}

/// What became of the calls.
#[derive(Debug, Default)]
pub struct Tally {
    pub calls: u64,
    /// Answered, but not by the proxy that was asked first.
    pub elsewhere: u64,
    /// Streams that broke after they had begun.
    pub lost: Vec<Lost>,
    /// Why, of each call that had no answer, or not the right one.
    pub failed: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// Whose stream it was.
    pub proxy: usize,
    pub begun: Instant,
}

struct Caller {
    client: Client,
    addresses: [String; 2],
    home: usize,
    streams: bool,
    key: String,
    ended: AtomicU64,
    tally: Mutex<Tally>,
}

/// Calls that each caller has to make before a load is said to go on.
const SOME: u64 = 10;

/// How often a call is tried before it counts as failed: more often than there are proxies,
/// for a connection that was kept may break where another would not.
const TRIES: usize = 4;

/// The model that says what was said, at the pace that is set here.
const ECHO: &str = "echo";

impl Load {
    /// At each proxy: JSON and streams, with limits and without.
    pub async fn start(on: &Installation) -> Self {
        on.set_profile(ECHO, json!({ "first_token_ms": 40, "every_ms": 5 })).await;
        let mut callers = Vec::new();
        for home in 0..on.proxies.len() {
            for key in [&on.free_key, &on.limited_key] {
                for streams in [false, true] {
                    callers.push(Arc::new(Caller::new(on, home, streams, key)));
                }
            }
        }
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        for caller in &callers {
            let (caller, stop) = (caller.clone(), stop.clone());
            running.spawn(async move {
                while !stop.is_cancelled() {
                    caller.call().await;
                }
            });
        }
        let load = Self { callers, running, stop };
        load.goes_on().await;
        load
    }

    /// Waits until every caller has begun and ended some calls from now on.
    pub async fn goes_on(&self) {
        self.goes_on_among(|_| true).await;
    }

    /// The same of those who prefer that proxy.
    pub async fn goes_on_at(&self, proxy: usize) {
        self.goes_on_among(|it| it.home == proxy).await;
    }

    async fn goes_on_among(&self, is_meant: impl Fn(&Caller) -> bool) {
        let meant = self.callers.iter().filter(|it| is_meant(it));
        // One more, for the one that is under way.
        let goals: Vec<_> = meant.map(|it| (it, it.ended() + 1 + SOME)).collect();
        eventually("the load to go on", || async {
            goals.iter().all(|(caller, goal)| caller.ended() >= *goal).then_some(())
        })
        .await;
    }

    /// Lets what is under way come to its end, and counts.
    pub async fn finish(mut self) -> Tally {
        self.stop.cancel();
        while let Some(ended) = soon(self.running.join_next()).await {
            ended.expect("no caller panics");
        }
        let mut all = Tally::default();
        for caller in &self.callers {
            let tally = std::mem::take(&mut *caller.tally());
            all.calls += tally.calls;
            all.elsewhere += tally.elsewhere;
            all.lost.extend(tally.lost);
            all.failed.extend(tally.failed);
        }
        all
    }
}

impl Tally {
    /// Says how it went, and that no call failed.
    pub fn none_failed(&self, drill: &str) {
        report(&format!("{drill}: {self}"));
        assert!(self.failed.is_empty(), "{drill}: {:#?}", self.failed);
        assert!(self.calls > 0, "{drill}: nobody called");
    }

    /// The same, and that nobody noticed anything: not a connection broke.
    pub fn nobody_noticed(&self, drill: &str) {
        self.none_failed(drill);
        assert_eq!((self.elsewhere, self.lost.len()), (0, 0), "{drill}: connections broke");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, elsewhere, lost, failed } = self;
        let (lost, failed) = (lost.len(), failed.len());
        write!(
            f,
            "{calls} calls, {failed} failed, {elsewhere} answered by the other proxy, {lost} streams lost"
        )
    }
}

/// Says how a drill went, also where a test's own output is kept back.
pub fn report(what: &str) {
    // Nobody to read it is no reason to fail.
    let _ = writeln!(io::stderr(), "DRILL {what}");
}

/// How one try ended.
enum Tried {
    Answered,
    /// No connection, or it broke before it mattered.
    Broke,
    /// A stream had begun.
    Lost,
    Wrong(String),
}

impl Caller {
    fn new(on: &Installation, home: usize, streams: bool, key: &str) -> Self {
        let client = Client::builder().no_proxy().build();
        Self {
            client: client.expect("a client needs nothing from this machine"),
            addresses: [0, 1].map(|it| on.proxies[it].url(CHAT)),
            home,
            streams,
            key: key.to_owned(),
            ended: AtomicU64::new(0),
            tally: Mutex::default(),
        }
    }

    fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().expect("no caller panics")
    }

    async fn call(&self) {
        let (begun, number) = (Instant::now(), self.ended());
        let words =
            format!("This is call {number}, to be said back: nothing more and nothing less.");
        let mut last = String::from("no connection");
        for at in 0..TRIES {
            let proxy = (self.home + at) % self.addresses.len();
            match self.try_at(proxy, &words).await {
                Tried::Broke => continue,
                Tried::Answered => {
                    self.tally().elsewhere += u64::from(at > 0);
                    last.clear();
                }
                Tried::Lost => {
                    self.tally().lost.push(Lost { proxy, begun });
                    last.clear();
                }
                Tried::Wrong(why) => last = format!("proxy {proxy}: {why}"),
            }
            break;
        }
        let mut tally = self.tally();
        tally.calls += 1;
        if !last.is_empty() {
            tally.failed.push(last);
        }
        drop(tally);
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    async fn try_at(&self, proxy: usize, words: &str) -> Tried {
        let body = ask(ECHO, words, self.streams);
        let call = self.client.post(&self.addresses[proxy]).bearer_auth(&self.key).json(&body);
        let Ok(answer) = call.send().await else { return Tried::Broke };
        let status = answer.status();
        let Ok(text) = answer.text().await else {
            return if self.streams { Tried::Lost } else { Tried::Broke };
        };
        let said = if self.streams { said_in_stream(&text) } else { said_in_json(&text) };
        if status.is_success() && said.as_deref() == Some(words) {
            Tried::Answered
        } else {
            Tried::Wrong(format!("{status} {text}"))
        }
    }
}

const CHAT: &str = "/v1/chat/completions";

fn ask(model: &str, words: &str, streams: bool) -> Value {
    let messages = json!([{ "role": "user", "content": words }]);
    json!({ "model": model, "stream": streams, "messages": messages })
}

/// What a complete answer says; `None` where it is not complete.
fn said_in_json(text: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(text).ok()?;
    let choice = &answer["choices"][0];
    let is_complete = choice["finish_reason"] == "stop" && answer["usage"]["total_tokens"].is_u64();
    choice["message"]["content"].as_str().filter(|_| is_complete).map(ToOwned::to_owned)
}

/// The same for a stream, which ends with its mark and has said why it stops.
fn said_in_stream(text: &str) -> Option<String> {
    let events = text.strip_suffix("data: [DONE]\n\n")?;
    let mut said = String::new();
    let mut is_finished = false;
    for event in events.split_terminator("\n\n") {
        let Some(data) = event.strip_prefix("data: ") else { continue };
        let chunk: Value = serde_json::from_str(data).ok()?;
        let choice = &chunk["choices"][0];
        said += choice["delta"]["content"].as_str().unwrap_or_default();
        is_finished |= choice["finish_reason"] == "stop";
    }
    is_finished.then_some(said)
}

/// A stream that has begun, and is read to its end when a test says so.
pub struct OpenStream {
    answer: Response,
    text: Vec<u8>,
}

impl OpenStream {
    /// Of `tokens` tokens, so many milliseconds from each to the next.
    pub async fn begin(on: &Installation, proxy: usize, tokens: u32, every_ms: u64) -> Self {
        const MODEL: &str = "sim-slow";
        on.set_profile(MODEL, json!({ "every_ms": every_ms, "length": tokens })).await;
        let client = Client::builder().no_proxy().build().expect("a client can be made");
        let call = client.post(on.proxies[proxy].url(CHAT)).bearer_auth(&on.free_key);
        let answer = soon(call.json(&ask(MODEL, "Speak.", true)).send()).await;
        let mut answer = answer.expect("the proxy answers");
        assert!(answer.status().is_success(), "{answer:?}");
        let mut text = Vec::new();
        while text.windows(CONTENT.len()).filter(|it| it == &CONTENT).count() < 2 {
            let piece = soon(answer.chunk()).await.expect("the stream goes on");
            text.extend_from_slice(&piece.expect("the stream goes on"));
        }
        Self { answer, text }
    }

    /// All that it said, if it was complete; `None` if it broke, which nobody can mistake
    /// for an end.
    pub async fn rest(mut self) -> Option<String> {
        loop {
            match soon(self.answer.chunk()).await {
                Ok(Some(piece)) => self.text.extend_from_slice(&piece),
                Ok(None) => break,
                Err(_) => return None,
            }
        }
        let text = String::from_utf8_lossy(&self.text);
        assert!(text.ends_with("data: [DONE]\n\n"), "it was cut, and looks whole: {text}");
        Some(text.into_owned())
    }
}

const CONTENT: &[u8] = b"\"content\":";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_complete_says_nothing() {
        let chunk = |delta: &str, reason: &str| {
            format!("data: {{\"choices\":[{{\"delta\":{delta},\"finish_reason\":{reason}}}]}}\n\n")
        };
        let begun =
            chunk("{\"content\":\"one \"}", "null") + &chunk("{\"content\":\"two\"}", "null");
        let ended = begun.clone() + &chunk("{}", "\"stop\"");
        let done = "data: [DONE]\n\n";
        assert_eq!(said_in_stream(&(ended.clone() + done)).as_deref(), Some("one two"));
        for broken in [begun.clone(), begun + done, ended, String::new()] {
            assert_eq!(said_in_stream(&broken), None, "{broken}");
        }
        let json = json!({
            "choices": [{ "message": { "content": "one" }, "finish_reason": "stop" }],
            "usage": { "total_tokens": 2 },
        });
        assert_eq!(said_in_json(&json.to_string()).as_deref(), Some("one"));
        for field in ["choices", "usage"] {
            let mut broken = json.clone();
            broken[field] = Value::Null;
            assert_eq!(said_in_json(&broken.to_string()), None);
        }
    }
}
