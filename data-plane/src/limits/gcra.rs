//! The arithmetic of rate limits, in whole numbers: GCRA in its form as a leaky bucket.
//!
//! A minute's worth may be used at once, and comes back evenly: of 60 a minute one each
//! second. So no minute sees more than two minutes' worth, no hour more than 61.
//!
//! What is used is counted in 60,000ths of a request or token. Then a limit of n a minute
//! gives back n of them each millisecond, and nothing is ever rounded: not when asked
//! often, nor when the limit changes. `scripts/bucket.lua` does the same in Redis, where
//! numbers are exact up to 2^53; hence [`CEILING`] and [`MOST`].

/// A minute in milliseconds, and one request or token in what is counted.
pub const MINUTE: u64 = 60_000;
/// The highest limit there is, and the most tokens of one call: 50 billion. What is above
/// counts as this.
pub const CEILING: u64 = 50_000_000_000;
/// The most that a bucket shows as used: two minutes' worth at [`CEILING`].
const MOST: u64 = 2 * CEILING * MINUTE;

/// What was used lately and has not come back yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used(pub u64);

impl Used {
    pub fn drained(self, limit: u64, milliseconds: u64) -> Self {
        if limit == 0 {
            return Self(0);
        }
        Self(self.0.saturating_sub(limit.saturating_mul(milliseconds)))
    }

    /// In how many milliseconds there is room for `cost`; 0 for now.
    pub fn wait(self, cost: u64, limit: u64) -> u64 {
        if limit == 0 {
            return MINUTE;
        }
        let (wanted, room) = (self.with(cost).0, limit.saturating_mul(MINUTE));
        wanted.saturating_sub(room).div_ceil(limit)
    }

    pub fn with(self, cost: u64) -> Self {
        Self(self.0.saturating_add(cost.saturating_mul(MINUTE)))
    }

    /// After a call that was charged `charged` came to `real`. `left` is how much of the
    /// charge cannot have drained yet: no more than that is given back, so that a minute
    /// never sees more than if the real number had been known from the start.
    pub fn corrected(self, charged: u64, real: u64, left: Self) -> Self {
        if real > charged {
            return Self(self.with(real - charged).0.min(MOST));
        }
        let back = (charged - real).saturating_mul(MINUTE).min(left.0);
        Self(self.0.saturating_sub(back))
    }

    /// How many more there is room for.
    pub fn remaining(self, limit: u64) -> u64 {
        limit.saturating_mul(MINUTE).saturating_sub(self.0) / MINUTE
    }

    /// In how many milliseconds all has come back.
    pub fn empty_in(self, limit: u64) -> u64 {
        if limit == 0 { MINUTE } else { self.0.div_ceil(limit) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Asks for `cost` after each pause, and says when how much was let through.
    fn through(limit: u64, asked: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let (mut used, mut now, mut passed) = (Used::default(), 0, vec![]);
        for &(pause, cost) in asked {
            now += pause;
            used = used.drained(limit, pause);
            if used.wait(cost, limit) == 0 {
                used = used.with(cost);
                passed.push((now, cost));
            }
        }
        passed
    }

    #[test]
    fn a_minutes_worth_passes_at_once_and_then_one_each_second() {
        let asked: Vec<_> = (0..200).map(|_| (0, 1)).chain((0..600).map(|_| (100, 1))).collect();
        let passed = through(60, &asked);
        assert_eq!(passed.iter().filter(|(at, _)| *at == 0).count(), 60);
        assert_eq!(passed.len(), 60 + 60);
        assert!(passed.iter().skip(60).all(|(at, _)| at % 1_000 == 0));
    }

    #[test]
    fn nothing_passes_a_limit_of_zero() {
        assert_eq!(Used::default().wait(0, 0), MINUTE);
    }

    proptest! {
        /// Between any two moments no more passes than a minute's worth and what comes
        /// back meanwhile.
        #[test]
        fn no_window_sees_more_than_its_worth(
            limit in 1..1_000u64,
            asked in prop::collection::vec((0..5_000u64, 1..50u64), 1..200),
        ) {
            let passed = through(limit, &asked);
            for (first, &(from, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for &(until, cost) in &passed[first..] {
                    sum += cost * MINUTE;
                    prop_assert!(sum <= limit * (MINUTE + until - from));
                }
            }
        }

        /// The wait that is told is long enough, and not a millisecond too long.
        #[test]
        fn the_wait_is_exact(limit in 1..CEILING, used in 0..MOST / 2, cost in 0..CEILING) {
            let (used, cost) = (Used(used.min(limit * MINUTE)), cost.min(limit));
            let wait = used.wait(cost, limit);
            prop_assert_eq!(used.drained(limit, wait).wait(cost, limit), 0);
            if wait > 0 {
                prop_assert!(used.drained(limit, wait - 1).wait(cost, limit) > 0);
            }
        }

        /// Charging an estimate and correcting it later never leaves less used than
        /// charging the real number at once; and just as much if nobody came between.
        #[test]
        fn settling_late_lets_no_more_through(
            limit in 1..100_000u64,
            before in 0..6_000_000_000u64,
            charged in 0..200_000u64,
            real in 0..200_000u64,
            others in prop::collection::vec((0..20_000u64, 0..50_000u64), 0..6),
            pause in 0..100_000u64,
        ) {
            let real = real.min(charged);
            let (mut estimated, mut known) = (Used(before).with(charged), Used(before).with(real));
            let (after, mut passed) = (estimated, 0);
            for &(pause, cost) in &others {
                estimated = estimated.drained(limit, pause).with(cost);
                known = known.drained(limit, pause).with(cost);
                passed += pause;
            }
            (estimated, known) = (estimated.drained(limit, pause), known.drained(limit, pause));
            let corrected = estimated.corrected(charged, real, after.drained(limit, passed + pause));
            prop_assert!(corrected.0 >= known.0);
            if others.is_empty() {
                prop_assert_eq!(corrected, known);
            }
        }

        #[test]
        fn whole_numbers_stay_exact_in_redis(
            limit in 0..=CEILING, used in 0..=MOST, cost in 0..=CEILING, real in 0..=CEILING,
        ) {
            let exact = 1u64 << 53;
            prop_assert!(Used(used).with(cost).0 <= exact);
            prop_assert!(Used(used).corrected(cost, real, Used(used)).0 <= MOST);
            prop_assert!(limit * MINUTE <= exact);
        }
    }
}
