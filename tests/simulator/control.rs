//! The simulator's own interface, under `/__control`.
//!
//! * `GET /__control/health`, and `GET /healthz` and `GET /readyz` as our other processes have
//!   them
//! * `GET /__control/calls?after=<number>&finished=<n>&wait_ms=<ms>`: the recorded calls numbered
//!   above `after`; with `finished`, waits until so many of them have ended, at most `wait_ms`.
//! * `DELETE /__control/calls`
//! * `POST /__control/faults` `{"fault": "429-retry-7", "next": 3, "model": …, "path": …, "key": …}`
//!   (spellings in `faults`; all but `fault` may be left out), `DELETE /__control/faults`
//! * `POST /__control/profiles` `{"model": …, "first_token_ms": 300, "tokens_per_second": 50,
//!   "length": 40}`, with `"every_ms": 20` for the pace instead (0: at once, but each token in a
//!   write of its own), `DELETE /__control/profiles`

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    State,
    answer::{Answer, to_json},
    faults::Scope,
    profile::Profile,
    recording::{Call, Ending},
    serve::Request,
};

const PREFIX: &str = "/__control/";

pub(super) fn is_meant(request: &Request) -> bool {
    request.path.starts_with(PREFIX) || is_health(request.path)
}

/// Where each of our processes says that it lives and is ready.
fn is_health(path: &str) -> bool {
    path == "/healthz" || path == "/readyz"
}

pub(super) async fn answer(state: &State, request: &Request<'_>) -> Answer {
    let done = || Ok(json!({"ok": true}));
    let result = match (request.method, request.path.strip_prefix(PREFIX).unwrap_or_default()) {
        ("GET", "health") => done(),
        ("GET", _) if is_health(request.path) => done(),
        ("GET", "calls") => Ok(calls(state, request).await),
        ("DELETE", "calls") => {
            state.recordings.forget();
            done()
        }
        ("POST", "faults") => arm(state, request.body).and_then(|()| done()),
        ("DELETE", "faults") => {
            state.faults.disarm();
            done()
        }
        ("POST", "profiles") => set_profile(state, request.body).and_then(|()| done()),
        ("DELETE", "profiles") => {
            state.profiles.clear();
            done()
        }
        _ => {
            return Answer::json(
                404,
                to_json(&json!({"error": "the simulator has no such control"})),
            );
        }
    };
    match result {
        Ok(value) => Answer::json(200, to_json(&value)),
        Err(message) => Answer::json(400, to_json(&json!({"error": message}))),
    }
}

async fn calls(state: &State, request: &Request<'_>) -> Value {
    let number = |name| request.query_field(name).and_then(|it| it.parse::<u64>().ok());
    let after = number("after").unwrap_or(0);
    if let Some(finished) = number("finished") {
        let enough = |calls: &[Arc<Call>]| {
            let ended = calls.iter().filter(|it| it.number > after && it.outcome().is_some());
            (ended.count() as u64 >= finished).then_some(())
        };
        let limit = Duration::from_millis(number("wait_ms").unwrap_or(10_000));
        // Too few in time is no failure here: the caller sees how many there are.
        let _ = tokio::time::timeout(limit, state.recordings.wait_until(enough)).await;
    }
    let calls = state.recordings.after(after);
    let last = calls.last().map_or(after, |it| it.number);
    json!({"calls": calls.iter().map(|it| told(it)).collect::<Vec<_>>(), "last": last})
}

fn told(call: &Call) -> Value {
    let since_1970 = call.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let outcome = call.outcome();
    json!({
        "number": call.number,
        "method": call.method(),
        "target": call.target(),
        "path": call.path(),
        "headers": call.headers().collect::<Vec<_>>(),
        "body": String::from_utf8_lossy(call.body()),
        "body_length": call.body_length,
        "started_at_ms": since_1970.as_millis() as u64,
        "finished": outcome.is_some(),
        "took_us": outcome.map(|it| it.took.as_micros() as u64),
        "status": outcome.map(|it| it.status),
        "bytes_sent": outcome.map(|it| it.bytes_sent),
        "ending": outcome.map(|it| match it.ending {
            Ending::Complete => "complete",
            Ending::CutByFault => "cut_by_fault",
            Ending::ClientHungUp => "client_hung_up",
        }),
        "client_hung_up": call.client_hung_up(),
    })
}

fn arm(state: &State, body: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Arm {
        fault: String,
        next: Option<u64>,
        model: Option<String>,
        path: Option<String>,
        key: Option<String>,
    }
    let Arm { fault, next, model, path, key } =
        serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let fault = fault.parse().map_err(|_| format!("no fault is spelled {fault}"))?;
    state.faults.arm(fault, Scope { next, model, path, key });
    Ok(())
}

fn set_profile(state: &State, body: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Set {
        model: String,
        #[serde(default)]
        first_token_ms: u64,
        #[serde(default)]
        tokens_per_second: u32,
        every_ms: Option<u64>,
        length: Option<u32>,
    }
    let set: Set = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let first = Duration::from_millis(set.first_token_ms);
    let mut profile = Profile::paced(first, set.tokens_per_second);
    profile.length = set.length;
    profile.pace.gap = set.every_ms.map(Duration::from_millis).or(profile.pace.gap);
    state.profiles.set(set.model, profile);
    Ok(())
}
