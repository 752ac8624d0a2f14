//! The log's lines of what is refused: each of them where there are few, and where there
//! are many the first few and their number.
//!
//! A line costs more than all else of a refusal, and the ten-thousandth says nothing that
//! the first did not. Metrics count each.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use shared::{ids::ApiKeyId, tasks::Supervisor};
use tokio::sync::Notify;
use tracing::info;

use crate::endpoints::Endpoint;

/// How often what was not told is summed up.
const PERIOD: Duration = Duration::from_secs(1);
/// So many of a kind are told each by itself in a period.
const FEW: u64 = 3;
/// So many kinds are told apart in a period; of the rest it is not said whose they are.
const MOST_KINDS: usize = 1_000;

/// Refusals that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub code: &'static str,
    pub endpoint: Endpoint,
    /// Whose calls they are, if anybody's.
    pub key: Option<ApiKeyId>,
}

/// What was refused since it was summed up last.
#[derive(Default)]
pub struct Refusals(Mutex<Period>);

struct Period {
    began: Instant,
    counts: HashMap<Kind, u64>,
}

impl Default for Period {
    fn default() -> Self {
        Self { began: Instant::now(), counts: HashMap::new() }
    }
}

impl Refusals {
    /// Counts a refusal, and says whether it is to have a line of its own.
    pub fn note(&self, kind: Kind) -> bool {
        let mut period = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = period.counts.len() < MOST_KINDS || period.counts.contains_key(&kind);
        let kind = if is_known { kind } else { Kind { key: None, ..kind } };
        let count = period.counts.entry(kind).or_insert(0);
        *count += 1;
        *count <= FEW
    }

    /// Tells how many had no line of their own.
    pub fn sum_up(&self) {
        let past = self.take();
        let within_ms = past.began.elapsed().as_millis();
        for (kind, count) in untold(past) {
            let Kind { code, endpoint, key } = kind;
            let endpoint = endpoint.name();
            let key = key.map(tracing::field::display);
            info!(
                code,
                endpoint, key, count, within_ms, "refused {endpoint}: {code}, {count} times more"
            );
        }
    }

    fn take(&self) -> Period {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn start(self: Arc<Self>, supervisor: &Supervisor) {
        supervisor.every("sum up refusals", PERIOD, Arc::<Notify>::default(), move || {
            self.sum_up();
            std::future::ready(Ok::<_, Infallible>(()))
        });
    }
}

fn untold(past: Period) -> impl Iterator<Item = (Kind, u64)> {
    let more = past.counts.into_iter().map(|(kind, count)| (kind, count.saturating_sub(FEW)));
    more.filter(|it| it.1 > 0)
}

#[cfg(test)]
mod tests {
    use shared::failure::code;

    use super::*;

    fn kind(key: Option<ApiKeyId>) -> Kind {
        Kind { code: code::RATE_LIMITED.name, endpoint: Endpoint::Models, key }
    }

    fn taken(refusals: &Refusals) -> Vec<(Kind, u64)> {
        untold(refusals.take()).collect()
    }

    #[test]
    fn a_few_are_told_and_the_rest_is_counted() {
        let (refusals, other) = (Refusals::default(), kind(Some(ApiKeyId::generate())));
        let told = (0..1_000).filter(|_| refusals.note(kind(None))).count();
        assert_eq!(told, 3);
        assert!((0..3).all(|_| refusals.note(other)), "somebody else's have lines of their own");
        assert_eq!(taken(&refusals), [(kind(None), 997)]);
        assert!(refusals.note(kind(None)), "a new period begins");
        assert_eq!(taken(&refusals), []);
    }

    #[test]
    fn a_flood_of_keys_takes_no_memory_and_loses_no_count() {
        let refusals = Refusals::default();
        let all = 50_000;
        let told = (0..all).filter(|_| refusals.note(kind(Some(ApiKeyId::generate())))).count();
        assert_eq!(told, MOST_KINDS + 3);
        let rest: u64 = taken(&refusals).iter().map(|it| it.1).sum();
        assert_eq!(told as u64 + rest, all);
    }
}
