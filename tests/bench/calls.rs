//! The calls that are measured, and the models of the simulator that answer them.

use serde_json::{Value, json};

/// A model that the demo serves, with the behaviour that it is given here, in the words of the
/// simulator's `/__control/profiles`.
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
/// Fifty tokens, one every ten milliseconds.
const PACED: Behaviour =
    Behaviour { model: "sim-slow", length: STREAM_CHUNKS, first_token_ms: 10, every_ms: 10 };
/// The first token at once, and then nothing for a while that could get in its way.
const PROMPT: Behaviour =
    Behaviour { model: "sim-reasoning", length: 2, first_token_ms: 0, every_ms: 5 };
/// Streams that are open for ten seconds.
const LASTING: Behaviour =
    Behaviour { model: "echo", length: STREAM_CHUNKS, first_token_ms: 0, every_ms: 200 };

pub const BEHAVIOURS: [Behaviour; 4] = [FAST, PACED, PROMPT, LASTING];

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
}

const SYSTEM: &str = "You are a careful assistant who answers questions about invoices, budgets \
     and cost centers in short, friendly sentences, and who says so when the figures at hand do \
     not settle a question.";
const QUESTION: &str = "Our project spent 412 dollars last month and its cap is 500. Which of \
     the two teams used more of it, and how much is left until the month ends?";

/// About half a kilobyte.
pub fn small() -> Call {
    asking("small", "sim-small", QUESTION, false)
}

/// A prompt of a hundred kilobytes.
pub fn long() -> Call {
    let document = "The quarterly report lists each project with what it spent. ".repeat(1_700);
    asking("100kb", "sim-small", &document, false)
}

pub fn fast_stream() -> Call {
    asking("stream", FAST.model, QUESTION, true)
}

pub fn paced_stream() -> Call {
    asking("paced-stream", PACED.model, QUESTION, true)
}

pub fn prompt_stream() -> Call {
    asking("prompt-stream", PROMPT.model, QUESTION, true)
}

pub fn lasting_stream() -> Call {
    asking("lasting-stream", LASTING.model, QUESTION, true)
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

fn asking(name: &'static str, model: &str, question: &str, streams: bool) -> Call {
    let mut body = json!({
        "model": model,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": question},
        ],
        "max_tokens": 256,
        "temperature": 0.2,
        "user": "bench",
    });
    if streams {
        body["stream"] = true.into();
    }
    Call { name, body: body.to_string(), streams }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_sizes_that_figures_are_told_for() {
        assert!((400..700).contains(&small().body.len()), "{}", small().body.len());
        assert!((100_000..110_000).contains(&long().body.len()), "{}", long().body.len());
        let streams = mixed().iter().filter(|it| it.streams).count();
        assert_eq!((mixed().len(), streams), (20, 4));
    }
}
