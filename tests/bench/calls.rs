//! The calls that are measured, and how the simulator answers them.

use std::time::Duration;

use serde_json::{Value, json};

/// How a model that the demo serves is to behave, in the words of the simulator's
/// `/__control/profiles`.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    model: &'static str,
    length: u32,
    first_token_ms: u32,
    every_ms: u32,
}

pub const STREAM_CHUNKS: u32 = 50;

/// Fifty tokens, each in a write of its own, as fast as they are taken.
const FAST: Behaviour =
    Behaviour { model: "sim-large", length: STREAM_CHUNKS, first_token_ms: 0, every_ms: 0 };
/// The same in other dialects than the client's.
const ANTHROPIC: Behaviour = Behaviour { model: "claude-haiku-4-5", ..FAST };
const GEMINI: Behaviour = Behaviour { model: "gemini-2.5-flash", ..FAST };
/// Fifty tokens, one every ten milliseconds.
const PACED: Behaviour =
    Behaviour { model: "sim-slow", length: STREAM_CHUNKS, first_token_ms: 10, every_ms: 10 };
/// The first token at once, and then nothing for a while that could get in its way.
const PROMPT: Behaviour =
    Behaviour { model: "sim-reasoning", length: 2, first_token_ms: 0, every_ms: 5 };
/// Streams that are open for ten seconds.
const LASTING: Behaviour =
    Behaviour { model: "echo", length: STREAM_CHUNKS, first_token_ms: 0, every_ms: 200 };
/// An answer that takes so long that a machine has time left beside many of them.
const UNHURRIED: Behaviour =
    Behaviour { model: "echo", length: 1, first_token_ms: 200, every_ms: 0 };
pub const UNHURRIED_ANSWER: Duration = Duration::from_millis(UNHURRIED.first_token_ms as u64);
/// An answer that nobody waits for.
const HOLDING: Behaviour =
    Behaviour { model: "echo", length: 1, first_token_ms: 60_000, every_ms: 0 };

impl Behaviour {
    pub fn profile(&self) -> Value {
        json!({
            "model": self.model,
            "length": self.length,
            "every_ms": self.every_ms,
            "first_token_ms": self.first_token_ms,
        })
    }
}

/// One request to `/v1/chat/completions`.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: &'static str,
    pub body: String,
    pub streams: bool,
    /// How its model is to behave; as it does by itself where nothing is said.
    pub behaviour: Option<Behaviour>,
}

const SYSTEM: &str = "You are a careful assistant who answers questions about invoices, budgets \
     and cost centers in short, friendly sentences, and who says so when the figures at hand do \
     not settle a question.";
const QUESTION: &str = "Our project spent 412 dollars last month and its cap is 500. Which of \
     the two teams used more of it, and how much is left until the month ends?";

/// About half a kilobyte.
pub fn small() -> Call {
    whole("small", QUESTION)
}

/// A prompt of a hundred kilobytes.
pub fn long() -> Call {
    whole("100kb", &document(100))
}

/// A body of a hundred and fifty kilobytes, whose answer is long in coming.
pub fn held() -> Call {
    asking("held", HOLDING.model, &document(150), 256, Some((false, HOLDING)))
}

/// A small call whose answer takes its time.
pub fn unhurried() -> Call {
    asking("unhurried", UNHURRIED.model, QUESTION, 256, Some((false, UNHURRIED)))
}

pub fn fast_stream() -> Call {
    stream("stream", FAST)
}

/// Asked in OpenAI's dialect, answered in Anthropic's and in Gemini's.
pub fn translated_streams() -> [Call; 2] {
    [stream("stream-anthropic", ANTHROPIC), stream("stream-gemini", GEMINI)]
}

pub fn paced_stream() -> Call {
    stream("paced-stream", PACED)
}

pub fn prompt_stream() -> Call {
    stream("prompt-stream", PROMPT)
}

pub fn lasting_stream() -> Call {
    stream("lasting-stream", LASTING)
}

/// A stream of `tokens` tokens with `every_ms` between them.
pub fn steady_stream(tokens: u32, every_ms: u32) -> Call {
    let steady = Behaviour { length: tokens, every_ms, ..LASTING };
    asking("steady-stream", steady.model, QUESTION, tokens, Some((true, steady)))
}

/// Of twenty calls, fifteen are small, four stream and one is long.
pub fn mixed() -> Vec<Call> {
    (0..20)
        .map(|nth| match nth {
            7 => long(),
            2 | 6 | 11 | 16 => fast_stream(),
            _ => small(),
        })
        .collect()
}

fn whole(name: &'static str, question: &str) -> Call {
    asking(name, "sim-small", question, 256, None)
}

fn stream(name: &'static str, behaviour: Behaviour) -> Call {
    asking(name, behaviour.model, QUESTION, 256, Some((true, behaviour)))
}

fn document(kilobytes: usize) -> String {
    "The quarterly report lists each project with what it spent. ".repeat(kilobytes * 17)
}

fn asking(
    name: &'static str,
    model: &str,
    question: &str,
    most_tokens: u32,
    manner: Option<(bool, Behaviour)>,
) -> Call {
    let streams = manner.is_some_and(|it| it.0);
    let mut body = json!({
        "model": model,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": question},
        ],
        "max_tokens": most_tokens,
        "temperature": 0.2,
        "user": "bench",
    });
    if streams {
        body["stream"] = true.into();
    }
    Call { name, body: body.to_string(), streams, behaviour: manner.map(|it| it.1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_sizes_that_figures_are_told_for() {
        assert!((400..700).contains(&small().body.len()), "{}", small().body.len());
        assert!((100_000..110_000).contains(&long().body.len()), "{}", long().body.len());
        assert!((150_000..160_000).contains(&held().body.len()), "{}", held().body.len());
        let streams = mixed().iter().filter(|it| it.streams).count();
        assert_eq!((mixed().len(), streams), (20, 4));
    }

    #[test]
    fn a_steady_stream_asks_for_as_many_tokens_as_it_gets() {
        let call = steady_stream(4_000, 2);
        let body: Value = serde_json::from_str(&call.body).unwrap();
        let profile = call.behaviour.unwrap().profile();
        assert_eq!((&body["max_tokens"], &body["model"]), (&json!(4_000), &profile["model"]));
        assert_eq!(profile["length"], 4_000);
    }
}
