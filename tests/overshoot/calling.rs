//! Callers: each makes one call after the other, at a proxy that it prefers, as JSON or as a
//! stream, and hangs up now and then.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use harness::processes::clocks::now_ms;

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

/// Callers for each proxy.
pub const WORKERS: usize = 64;
/// Of a hundred calls, so many clients hang up.
const HANG_UPS: u32 = 5;
/// When to try again where nobody could let the call through or refuse it, in milliseconds: at
/// different moments, as clients do.
const PAUSE_MS: std::ops::Range<u64> = 200..600;
/// How long a caller takes in that it was refused. Refusals shall not keep this machine from
/// everything else.
const DISMAY: Duration = Duration::from_millis(50);
const TEXT: &str = "Count the spoons in the drawer, and say it in a few words.";

/// The same for every call, so that what is answered whole costs the same.
pub fn ask(model: &str, number: u64, streams: bool) -> Value {
    let messages = json!([{ "role": "user", "content": TEXT }]);
    let user = format!("call-{number}");
    json!({ "model": model, "stream": streams, "max_tokens": 64, "user": user, "messages": messages })
}

/// What became of the calls.
#[derive(Default)]
pub struct Tally {
    /// How many have begun.
    pub begun: AtomicU64,
    /// The answer began.
    pub admitted: AtomicU64,
    /// 402, or what a gateway says instead.
    pub refused: AtomicU64,
    /// Tries that nobody could decide on: no proxy there, or no store,
    pub undecided: AtomicU64,
    /// or a proxy that had no room to write them down.
    pub unwritten: AtomicU64,
    /// The connection broke: the proxy was killed.
    pub killed: AtomicU64,
    pub hung_up: AtomicU64,
    /// Anything else. Should be none.
    pub strange: AtomicU64,
}

pub fn read(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}

fn count(number: &AtomicU64) {
    number.fetch_add(1, Ordering::Relaxed);
}

pub struct Calling {
    pub addresses: Vec<String>,
    pub key: String,
    pub model: String,
    /// At least so many are made,
    pub calls: u64,
    pub tally: Tally,
    /// and more, as long as this holds.
    goes_on: AtomicBool,
    /// What each caller waits between two calls.
    rest_ms: AtomicU64,
    /// How far the clock that counts is ahead of ours.
    ahead_ms: AtomicI64,
    /// Between which moments, by that clock, a call was last tried.
    tried: Mutex<HashMap<u64, (i64, i64)>>,
    client: Client,
}

enum Tried {
    Ended,
    Undecided,
}

impl Calling {
    pub fn new(addresses: Vec<String>, key: &str, model: &str, calls: u64) -> Arc<Self> {
        let client = Client::builder().no_proxy().build().unwrap();
        let (key, model) = (key.to_owned(), model.to_owned());
        Arc::new(Self {
            addresses,
            key,
            model,
            calls,
            tally: Tally::default(),
            goes_on: false.into(),
            rest_ms: 0.into(),
            ahead_ms: 0.into(),
            tried: Mutex::default(),
            client,
        })
    }

    /// Whether more calls are made than were asked for.
    pub fn goes_on(&self, goes_on: bool) {
        self.goes_on.store(goes_on, Ordering::Relaxed);
    }

    /// What each caller waits between two calls from now on.
    pub fn rests(&self, pause: Duration) {
        let ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.rest_ms.store(ms, Ordering::Relaxed);
    }

    pub fn is_ahead(&self, ms: i64) {
        self.ahead_ms.store(ms, Ordering::Relaxed);
    }

    /// What the clock says that counts.
    pub fn now_ms(&self) -> i64 {
        now_ms() + self.ahead_ms.load(Ordering::Relaxed)
    }

    /// Between which moments each call was let through, if it was.
    pub fn tried(&self) -> HashMap<u64, (i64, i64)> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn notes_time(&self, number: u64, from_ms: i64, until_ms: i64) {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.insert(number, (from_ms, until_ms));
    }

    pub fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS * self.addresses.len() {
            let calling = self.clone();
            workers.spawn(async move { calling.work(worker).await });
        }
        workers
    }

    async fn work(&self, worker: usize) {
        loop {
            let number = self.tally.begun.fetch_add(1, Ordering::Relaxed);
            if number >= self.calls && !self.goes_on.load(Ordering::Relaxed) {
                return;
            }
            let mut at = worker;
            while let Tried::Undecided = self.call(at, number).await {
                count(&self.tally.undecided);
                at += 1;
                sleep(Duration::from_millis(fastrand::u64(PAUSE_MS))).await;
            }
            let rest = self.rest_ms.load(Ordering::Relaxed);
            if rest > 0 {
                sleep(Duration::from_millis(fastrand::u64(..2 * rest))).await;
            }
        }
    }

    /// One more call, of which somebody else says what it is; its status.
    pub async fn call_once(&self, at: usize, number: u64, body: &Value) -> StatusCode {
        let address = &self.addresses[at % self.addresses.len()];
        let call = self.client.post(format!("{address}/v1/chat/completions"));
        let call = call.header("x-turnpike-tags", format!("call={number}"));
        let from_ms = self.now_ms();
        let answer = call.bearer_auth(&self.key).json(body).send().await.unwrap();
        self.notes_time(number, from_ms, self.now_ms());
        let status = answer.status();
        answer.bytes().await.unwrap();
        status
    }

    async fn call(&self, at: usize, number: u64) -> Tried {
        let streams = number.is_multiple_of(2);
        let address = &self.addresses[at % self.addresses.len()];
        let call = self
            .client
            .post(format!("{address}/v1/chat/completions"))
            .bearer_auth(&self.key)
            .header("x-turnpike-tags", format!("call={number}"))
            .json(&ask(&self.model, number, streams));
        let from_ms = self.now_ms();
        self.notes_time(number, from_ms, i64::MAX);
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Tried::Undecided,
            Err(_) => {
                count(&self.tally.killed);
                return Tried::Ended;
            }
        };
        self.notes_time(number, from_ms, self.now_ms());
        match answer.status() {
            StatusCode::OK => {
                count(&self.tally.admitted);
                self.hear(answer).await;
            }
            StatusCode::PAYMENT_REQUIRED => {
                count(&self.tally.refused);
                sleep(DISMAY).await;
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                let text = answer.text().await.unwrap_or_default();
                if text.contains("meter_unavailable") {
                    count(&self.tally.unwritten);
                }
                return Tried::Undecided;
            }
            // This machine is too busy to send a call.
            StatusCode::REQUEST_TIMEOUT => return Tried::Undecided,
            status => {
                let text = answer.text().await.unwrap_or_default();
                // What other gateways say of a budget that is used up.
                if text.contains("udget") {
                    count(&self.tally.refused);
                } else {
                    count(&self.tally.strange);
                    super::say(&format!("a strange answer: {status} {text}"));
                }
            }
        }
        Tried::Ended
    }

    async fn hear(&self, mut answer: Response) {
        let hangs_up = fastrand::u32(..100) < HANG_UPS;
        loop {
            match answer.chunk().await {
                Ok(Some(_)) if hangs_up => return count(&self.tally.hung_up),
                Ok(Some(_)) => (),
                Ok(None) => return,
                Err(_) => return count(&self.tally.killed),
            }
        }
    }
}
