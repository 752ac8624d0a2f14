//! What callers are told of their limits: in headers of every answer, and when refused.

use std::time::Duration;

use shared::failure::{Classified, Kind};

use super::{
    charge::{Charge, Level, What},
    decision::{Decision, Refusal},
    gcra::Used,
};

/// How a caller stands with their limits: on each kind of limit the level that is nearest
/// to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitStanding {
    requests: Option<Window>,
    tokens: Option<Window>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    limit: u64,
    remaining: u64,
    /// In how many milliseconds everything is there again.
    reset: u64,
}

/// A limit that has no room for the call at present.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct LimitReached {
    pub which: Level,
    pub what: What,
    pub limit: u64,
    pub retry_after: Duration,
    pub standing: LimitStanding,
}

impl LimitStanding {
    pub(super) fn after(decision: &Decision, charges: &[Charge]) -> Self {
        let mut standing = Self::default();
        for (charge, level) in charges.iter().zip(&decision.levels) {
            nearer(&mut standing.requests, charge.limit(What::Requests), level.requests);
            nearer(&mut standing.tokens, charge.limit(What::Tokens), level.tokens);
        }
        standing
    }

    /// As OpenAI's clients know them. None where there is no such limit.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if let Some(Window { limit, remaining, reset }) = self.requests {
            headers.push(("x-ratelimit-limit-requests", limit.to_string()));
            headers.push(("x-ratelimit-remaining-requests", remaining.to_string()));
            headers.push(("x-ratelimit-reset-requests", spelled(reset)));
        }
        if let Some(Window { limit, remaining, reset }) = self.tokens {
            headers.push(("x-ratelimit-limit-tokens", limit.to_string()));
            headers.push(("x-ratelimit-remaining-tokens", remaining.to_string()));
            headers.push(("x-ratelimit-reset-tokens", spelled(reset)));
        }
        headers
    }
}

fn nearer(present: &mut Option<Window>, limit: Option<u64>, used: Used) {
    let Some(limit) = limit else { return };
    let window = Window { limit, remaining: used.remaining(limit), reset: used.empty_in(limit) };
    if present.is_none_or(|it| window.remaining < it.remaining) {
        *present = Some(window);
    }
}

impl LimitReached {
    pub(super) fn new(refusal: Refusal, charge: &Charge, standing: LimitStanding) -> Self {
        Self {
            which: charge.level,
            what: refusal.what,
            limit: charge.limit(refusal.what).unwrap_or(0),
            retry_after: Duration::from_millis(refusal.wait),
            standing,
        }
    }

    /// When to come back, in seconds for all clients and in milliseconds for those that
    /// know it; and how they stand.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let milliseconds = self.retry_after.as_millis();
        let mut headers = self.standing.headers();
        headers.push(("retry-after", milliseconds.div_ceil(1_000).to_string()));
        headers.push(("retry-after-ms", milliseconds.to_string()));
        headers
    }

    fn message(&self) -> String {
        let (which, limit) = (self.which.name(), self.limit);
        let of = match self.what {
            What::Requests => "requests per minute",
            What::Tokens => "tokens per minute",
            What::Concurrent => "calls at once",
        };
        let tenths = self.retry_after.as_millis().div_ceil(100);
        let (seconds, tenths) = (tenths / 10, tenths % 10);
        format!(
            "The {which}'s limit of {limit} {of} is reached. Try again in {seconds}.{tenths} s."
        )
    }
}

impl Classified for LimitReached {
    fn kind(&self) -> Kind {
        Kind::RateLimited
    }
}

/// `6m0s`, `1.2s`, `17ms`: the spelling of durations in OpenAI's headers.
fn spelled(milliseconds: u64) -> String {
    let (minutes, rest) = (milliseconds / 60_000, milliseconds % 60_000);
    let (seconds, thousandths) = (rest / 1_000, rest % 1_000);
    if minutes == 0 && seconds == 0 {
        return format!("{thousandths}ms");
    }
    let fraction = format!("{thousandths:03}");
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let minutes = if minutes == 0 { String::new() } else { format!("{minutes}m") };
    format!("{minutes}{seconds}{point}{fraction}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spelled_as_openai_does() {
        for (milliseconds, spelling) in [
            (0, "0ms"),
            (17, "17ms"),
            (1_000, "1s"),
            (1_200, "1.2s"),
            (8_640, "8.64s"),
            (59_001, "59.001s"),
            (360_000, "6m0s"),
            (60_500, "1m0.5s"),
        ] {
            assert_eq!(spelled(milliseconds), spelling);
        }
    }

    #[test]
    fn a_refusal_says_which_limit_and_when_to_come_back() {
        let window = Window { limit: 60, remaining: 0, reset: 60_000 };
        let reached = LimitReached {
            which: Level::Key,
            what: What::Requests,
            limit: 60,
            retry_after: Duration::from_millis(1_150),
            standing: LimitStanding { requests: Some(window), tokens: None },
        };
        assert_eq!(
            reached.to_string(),
            "The key's limit of 60 requests per minute is reached. Try again in 1.2 s."
        );
        let headers: Vec<_> =
            reached.headers().into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            headers,
            [
                "x-ratelimit-limit-requests: 60",
                "x-ratelimit-remaining-requests: 0",
                "x-ratelimit-reset-requests: 1m0s",
                "retry-after: 2",
                "retry-after-ms: 1150",
            ]
        );
    }
}
