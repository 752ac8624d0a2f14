//! Limits without Redis: each proxy gives out an equal share of every limit.
//!
//! What was used of the shared limits before is not known here, nor afterwards there what
//! was used of these. So each change-over lets at most one more minute's worth through;
//! calls under way are not forgotten either way.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    charge::Charge,
    decision::{Decision, Level, decide},
    gcra::Used,
    leases::{Lease, Leases},
    settling::Correction,
};

pub struct Local {
    start: Instant,
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// What was used of one level, as of a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    at: u64,
    requests: Used,
    tokens: Used,
    /// When nothing is used any more.
    empty_at: u64,
}

impl Local {
    pub fn new() -> Self {
        Self { start: Instant::now(), buckets: Mutex::default() }
    }

    /// In milliseconds, by a clock that never goes back.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes the call's places with it, so that two calls cannot take the last one.
    pub fn admit(
        &self,
        charges: &[Charge],
        (lease, leases): (Option<Lease>, &Leases),
        now: u64,
    ) -> Decision {
        let mut buckets = self.buckets();
        let levels = charges.iter().map(|charge| {
            let bucket = buckets.get(&charge.bucket).copied().unwrap_or_default();
            Level { under_way: leases.under_way(&charge.calls), ..bucket.at(now, charge) }
        });
        let decision = decide(charges, levels.collect(), now);
        if decision.is_passed() {
            leases.enter(lease, charges);
            for (charge, level) in charges.iter().zip(&decision.levels) {
                if charge.has_bucket() {
                    buckets.insert(charge.bucket.clone(), Bucket::new(level, charge, now));
                }
            }
        }
        decision
    }

    pub fn correct<'a>(
        &self,
        corrections: impl Iterator<Item = (&'a Charge, &'a Correction, Used)>,
        now: u64,
    ) {
        let mut buckets = self.buckets();
        for (charge, correction, after) in corrections {
            // Without a bucket all has come back already.
            let bucket = buckets.get(&charge.bucket).copied().unwrap_or_default();
            let level = bucket.at(now, charge).corrected(charge, correction, after, now);
            buckets.insert(charge.bucket.clone(), Bucket::new(&level, charge, now));
        }
    }

    /// Forgets what has come back.
    pub fn sweep(&self, now: u64) {
        self.buckets().retain(|_, bucket| bucket.empty_at > now);
    }

    fn buckets(&self) -> MutexGuard<'_, HashMap<String, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    pub fn new(level: &Level, charge: &Charge, now: u64) -> Self {
        let limits = &charge.limits;
        let requests = limits.requests_per_minute.map(|it| level.requests.empty_in(it.into()));
        let tokens = limits.tokens_per_minute.map(|it| level.tokens.empty_in(it));
        let empty_at = now.saturating_add(requests.max(tokens).unwrap_or(0));
        Self { at: now, requests: level.requests, tokens: level.tokens, empty_at }
    }

    /// What of it is left at `now`. A clock that went back drains nothing.
    pub fn at(&self, now: u64, charge: &Charge) -> Level {
        let (limits, passed) = (&charge.limits, now.saturating_sub(self.at));
        Level {
            requests: self.requests.drained(limits.requests_per_minute.unwrap_or(0).into(), passed),
            tokens: self.tokens.drained(limits.tokens_per_minute.unwrap_or(0), passed),
            under_way: 0,
        }
    }
}

impl Level {
    pub fn corrected(
        self,
        charge: &Charge,
        correction: &Correction,
        after: Used,
        now: u64,
    ) -> Self {
        let limit = charge.limits.tokens_per_minute.unwrap_or(0);
        let left = after.drained(limit, now.saturating_sub(correction.at));
        Self { tokens: self.tokens.corrected(charge.tokens, correction.tokens, left), ..self }
    }
}
