//! All levels at once: a call passes every one of them, or is charged on none.
//!
//! `scripts/admit.lua` decides the same for all proxies; this decides for one proxy alone,
//! and is what the script is tested against.

use super::{
    charge::{Charge, What},
    gcra::Used,
};

/// When to come back to a proxy where too many calls are under way: nobody knows when one
/// of them ends.
const CALLS_WAIT: u64 = 1_000;

/// What is used of the limits of one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    pub requests: Used,
    pub tokens: Used,
    pub under_way: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub refusal: Option<Refusal>,
    /// In milliseconds, by the clock of who decided.
    pub now: u64,
    /// After the decision, in the order of the charges.
    pub levels: Vec<Level>,
}

/// The one that takes longest to go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Among the charges.
    pub index: usize,
    pub what: What,
    /// In milliseconds.
    pub wait: u64,
}

/// `levels` are what is used of each charge's limits at `now`.
pub fn decide(charges: &[Charge], mut levels: Vec<Level>, now: u64) -> Decision {
    let mut refusal: Option<Refusal> = None;
    for (index, (charge, level)) in charges.iter().zip(&levels).enumerate() {
        for what in What::ALL {
            let wait = level.wait(charge, what);
            if wait > refusal.map_or(0, |it| it.wait) {
                refusal = Some(Refusal { index, what, wait });
            }
        }
    }
    if refusal.is_none() {
        for (charge, level) in charges.iter().zip(&mut levels) {
            level.take(charge);
        }
    }
    Decision { refusal, now, levels }
}

impl Level {
    fn wait(&self, charge: &Charge, what: What) -> u64 {
        let Some(limit) = charge.limit(what) else { return 0 };
        match what {
            What::Requests => self.requests.wait(1, limit),
            What::Tokens => self.tokens.wait(charge.tokens, limit),
            What::Concurrent if self.under_way >= limit => CALLS_WAIT,
            What::Concurrent => 0,
        }
    }

    fn take(&mut self, charge: &Charge) {
        let limits = &charge.limits;
        if limits.requests_per_minute.is_some() {
            self.requests = self.requests.with(1);
        }
        if limits.tokens_per_minute.is_some() {
            self.tokens = self.tokens.with(charge.tokens);
        }
        if limits.concurrent.is_some() {
            self.under_way += 1;
        }
    }
}

impl Decision {
    /// What `scripts/admit.lua` answers. `None` if it is not that.
    pub fn read(answer: &[u64]) -> Option<Self> {
        let (&[index, what, wait, now], levels) = answer.split_first_chunk()?;
        let refusal = match index.checked_sub(1) {
            None => None,
            Some(index) => {
                let index = usize::try_from(index).ok()?;
                let what = What::ALL.get(usize::try_from(what).ok()?.checked_sub(1)?)?;
                Some(Refusal { index, what: *what, wait })
            }
        };
        let (levels, []) = levels.as_chunks() else { return None };
        let level = |&[requests, tokens, under_way]: &[u64; 3]| Level {
            requests: Used(requests),
            tokens: Used(tokens),
            under_way,
        };
        Some(Self { refusal, now, levels: levels.iter().map(level).collect() })
    }
}
