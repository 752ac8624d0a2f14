//! How long a model takes and how much it says.
//!
//! By name, after the last `/`: `sim-slow` (first token after 300 ms, then 50 tokens a second),
//! `sim-wait-<ms>` (first token after so long), `sim-tokens-<n>` (exactly so many tokens, at
//! once), `sim-tokens-<n>-every-<ms>` (one each so many milliseconds; with 0 each in a write of
//! its own). Every other name takes no time, unless `/__control/profiles` says otherwise.

use std::{
    collections::HashMap,
    sync::{
        RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// When the parts of an answer are sent. Without a `gap` all of it goes at once after `first`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Until the first token.
    pub first: Duration,
    /// From each token to the next.
    pub gap: Option<Duration>,
}

/// How a model behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// When it says it.
    pub pace: Pace,
    /// How many tokens its text has, if that is fixed.
    pub length: Option<u32>,
}

impl Profile {
    /// First token after `first`, then `tokens_per_second` (0 for all at once).
    pub fn paced(first: Duration, tokens_per_second: u32) -> Self {
        let gap = (tokens_per_second > 0).then(|| Duration::from_secs(1) / tokens_per_second);
        Self { pace: Pace { first, gap }, length: None }
    }

    fn by_name(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model);
        let Some(name) = name.strip_prefix("sim-") else { return Self::default() };
        if name == "slow" {
            return Self::paced(Duration::from_millis(300), 50);
        }
        if let Some(wait) = name.strip_prefix("wait-").and_then(milliseconds) {
            return Self { pace: Pace { first: wait, gap: None }, length: None };
        }
        let Some(tokens) = name.strip_prefix("tokens-") else { return Self::default() };
        let (length, gap) = match tokens.split_once("-every-") {
            Some((length, gap)) => (length, milliseconds(gap)),
            None => (tokens, None),
        };
        let pace = Pace { first: gap.unwrap_or_default(), gap };
        Self { pace, length: length.parse().ok() }
    }
}

fn milliseconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

/// The profiles set while running, before those that names give.
#[derive(Default)]
pub(super) struct Profiles {
    any: AtomicBool,
    set: RwLock<HashMap<String, Profile>>,
    changes: AtomicU64,
}

impl Profiles {
    pub(super) fn of(&self, model: &str) -> Profile {
        if self.any.load(Ordering::Acquire) {
            let set = self.set.read().expect("no holder of this lock panics");
            if let Some(profile) = set.get(model) {
                return *profile;
            }
        }
        Profile::by_name(model)
    }

    pub(super) fn set(&self, model: String, profile: Profile) {
        let mut set = self.set.write().expect("no holder of this lock panics");
        set.insert(model, profile);
        self.any.store(true, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Grows whenever a model may behave otherwise than before.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn clear(&self) {
        self.set.write().expect("no holder of this lock panics").clear();
        self.any.store(false, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_how_fast_and_how_long() {
        let check = |model: &str, first: u64, gap: Option<u64>, length| {
            let gap = gap.map(Duration::from_millis);
            let pace = Pace { first: Duration::from_millis(first), gap };
            assert_eq!(Profile::by_name(model), Profile { pace, length }, "{model}");
        };
        check("gpt-4o-mini", 0, None, None);
        check("sim-small", 0, None, None);
        check("sim-slow", 300, Some(20), None);
        check("sim-wait-1500", 1500, None, None);
        check("acme/sim-tokens-50", 0, None, Some(50));
        check("sim-tokens-50-every-10", 10, Some(10), Some(50));
        check("sim-tokens-many", 0, None, None);
    }

    #[test]
    fn a_profile_that_was_set_wins_until_it_is_cleared() {
        let profiles = Profiles::default();
        let slow = Profile::paced(Duration::from_secs(1), 10);
        profiles.set("gpt-4o".to_owned(), slow);
        assert_eq!(profiles.of("gpt-4o"), slow);
        profiles.clear();
        assert_eq!(profiles.of("gpt-4o"), Profile::default());
    }
}
