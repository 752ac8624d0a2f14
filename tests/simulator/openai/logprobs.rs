//! How probable each token is said to have been.

use serde::Serialize;

use crate::simulator::{digest::Digest, tokens};

#[derive(Serialize)]
pub(super) struct Logprobs<'a> {
    content: Vec<Token<'a>>,
    refusal: Option<()>,
}

#[derive(Serialize)]
struct Token<'a> {
    token: &'a str,
    logprob: f64,
    bytes: &'a [u8],
    top_logprobs: Vec<Alternative<'a>>,
}

#[derive(Serialize)]
struct Alternative<'a> {
    token: &'a str,
    logprob: f64,
    bytes: &'a [u8],
}

const OTHERS: [&str; 5] = [" the", " a", " and", " of", " to"];

impl<'a> Logprobs<'a> {
    /// For each token of `text`, with `top` alternatives of which the first is the token itself.
    pub(super) fn of(text: &'a str, top: u8, digest: Digest) -> Self {
        let token = |token: &'a str| {
            let logprob = logprob(token, digest);
            let others = OTHERS.into_iter().cycle().zip(1u8..);
            let alternatives = std::iter::once((token, 0)).chain(others).take(top.into());
            let alternatives = alternatives.map(|(token, nth)| Alternative {
                token,
                logprob: logprob - f64::from(nth),
                bytes: token.as_bytes(),
            });
            Token { token, logprob, bytes: token.as_bytes(), top_logprobs: alternatives.collect() }
        };
        Self { content: tokens::pieces(text).map(token).collect(), refusal: None }
    }
}

/// Between 0 and -1, in steps that print the same everywhere.
pub(super) fn logprob(token: &str, digest: Digest) -> f64 {
    -(digest.with(token.as_bytes()).below(64) as f64) / 64.0
}
