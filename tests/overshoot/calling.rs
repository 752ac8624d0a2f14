//! Callers: each makes one call after the other, at a proxy that it prefers, as JSON or as a
//! stream, and hangs up now and then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

/// Callers for each proxy.
const WORKERS: usize = 64;
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
    /// Tries that nobody could decide on: no proxy there, or no store.
    pub undecided: AtomicU64,
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
    pub calls: u64,
    pub tally: Tally,
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
        Arc::new(Self { addresses, key, model, calls, tally: Tally::default(), client })
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
            if number >= self.calls {
                return;
            }
            let mut at = worker;
            while let Tried::Undecided = self.call(at, number).await {
                count(&self.tally.undecided);
                at += 1;
                sleep(Duration::from_millis(fastrand::u64(PAUSE_MS))).await;
            }
        }
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
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Tried::Undecided,
            Err(_) => {
                count(&self.tally.killed);
                return Tried::Ended;
            }
        };
        match answer.status() {
            StatusCode::OK => {
                count(&self.tally.admitted);
                self.hear(answer).await;
            }
            StatusCode::PAYMENT_REQUIRED => {
                count(&self.tally.refused);
                sleep(DISMAY).await;
            }
            // The latter where this machine is too busy to send a call.
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => {
                return Tried::Undecided;
            }
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
