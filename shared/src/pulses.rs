//! How models at upstreams did lately, as proxies tell each other and the control plane: each its
//! own, now and then, in a field of one hash in Redis. Nobody waits for it and nothing is counted
//! by it, so what is missing or old is done without.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{event::Pulse, ids::UpstreamId};

/// The hash, by proxies' names.
pub const PLACE: &str = "pulses:main";
/// So many flows are told of, those that were seen last.
pub const MOST: usize = 500;
/// What was told so long ago says nothing of now, in milliseconds,
pub const STALE_MS: i64 = 120_000;
/// and so long ago is thrown away.
pub const GONE_MS: i64 = 600_000;

/// A model, by what callers call it, at an upstream.
pub type At = (UpstreamId, String);

/// What one proxy saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// In milliseconds since 1970.
    pub at_ms: i64,
    pub flows: Vec<Flow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    pub upstream: UpstreamId,
    pub model: String,
    #[serde(flatten)]
    pub pulse: Pulse,
}

impl Told {
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("names and numbers are JSON")
    }

    /// Nothing of what is nonsense, too much, or not of about now.
    pub fn read(text: &str, now_ms: i64) -> Option<Self> {
        let told: Self = serde_json::from_str(text).ok()?;
        (told.flows.len() <= MOST && now_ms.abs_diff(told.at_ms) <= STALE_MS.unsigned_abs())
            .then_some(told)
    }

    /// Whether its proxy is likely to be no more.
    pub fn is_gone(text: &str, now_ms: i64) -> bool {
        let told: Option<Self> = serde_json::from_str(text).ok();
        told.is_none_or(|it| now_ms.abs_diff(it.at_ms) > GONE_MS.unsigned_abs())
    }
}

/// What several saw together: the worst of what each says, and all the calls that are with it.
pub fn together<'a>(all: impl IntoIterator<Item = &'a Told>) -> HashMap<At, Pulse> {
    let mut together: HashMap<At, Pulse> = HashMap::new();
    for it in all.into_iter().flat_map(|it| &it.flows) {
        let sum = together.entry((it.upstream, it.model.clone())).or_default();
        *sum = joined(*sum, it.pulse);
    }
    together
}

fn joined(one: Pulse, other: Pulse) -> Pulse {
    let slowest = |one: Option<u32>, other: Option<u32>| one.max(other);
    let fewest = match (one.tokens_per_second, other.tokens_per_second) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    Pulse {
        first_ms: slowest(one.first_ms, other.first_ms),
        total_ms: slowest(one.total_ms, other.total_ms),
        tokens_per_second: fewest,
        failures_per_mille: one.failures_per_mille.max(other.failures_per_mille),
        in_flight: one.in_flight.saturating_add(other.in_flight),
    }
}

/// What one saw itself, or where it saw nothing what others say. Calls of others are with it as
/// well.
pub fn beside(own: Pulse, others: Pulse) -> Pulse {
    let is_known = own.first_ms.or(own.total_ms).is_some() || own.failures_per_mille > 0;
    let known = if is_known { own } else { others };
    Pulse { in_flight: own.in_flight.saturating_add(others.in_flight), ..known }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pulse(first_ms: u32, tokens: u32, failures_per_mille: u32, in_flight: u32) -> Pulse {
        Pulse {
            first_ms: Some(first_ms),
            total_ms: Some(first_ms * 3),
            tokens_per_second: Some(tokens),
            failures_per_mille,
            in_flight,
        }
    }

    fn told(upstream: UpstreamId, at_ms: i64, pulse: Pulse) -> Told {
        Told { at_ms, flows: vec![Flow { upstream, model: "a".into(), pulse }] }
    }

    #[test]
    fn together_the_worst_counts_and_all_calls_do() {
        let upstream = UpstreamId::generate();
        let all = [
            told(upstream, 1, pulse(100, 50, 0, 2)),
            told(upstream, 1, pulse(900, 80, 10, 3)),
            told(upstream, 1, Pulse { in_flight: 1, ..Pulse::default() }),
        ];
        let expected = HashMap::from([((upstream, "a".to_owned()), pulse(900, 50, 10, 6))]);
        assert_eq!(together(&all), expected);
    }

    #[test]
    fn what_one_saw_itself_comes_first() {
        let (own, others) = (pulse(100, 50, 3, 2), pulse(900, 80, 10, 3));
        assert_eq!(beside(own, others), Pulse { in_flight: 5, ..own });
        assert_eq!(beside(Pulse::default(), others), others);
        let asked = Pulse { in_flight: 1, ..Pulse::default() };
        let seen = beside(asked, others);
        assert_eq!((seen.first_ms, seen.in_flight), (Some(900), 4));
        assert_eq!(beside(own, Pulse::default()), own);
    }

    #[test]
    fn what_is_old_is_not_read() {
        let it = told(UpstreamId::generate(), 1_000_000, Pulse::default());
        let text = it.encode();
        assert_eq!(Told::read(&text, 1_000_000 + STALE_MS), Some(it));
        assert_eq!(Told::read(&text, 1_000_001 + STALE_MS), None);
        assert!(!Told::is_gone(&text, 1_000_000 + GONE_MS));
        assert!(Told::is_gone(&text, 1_000_001 + GONE_MS) && Told::is_gone("?", 0));
    }

    proptest! {
        #[test]
        fn nonsense_is_nothing(text in ".{0,60}", now: i64) {
            prop_assert_eq!(Told::read(&text, now), None);
        }
    }
}
