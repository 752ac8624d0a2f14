//! How many calls may be sent once more to an upstream that has failed.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::window::{Tally, Window};

/// One call in so many.
const SHARE: u64 = 5;
/// As many in any case, for a proxy with little to do.
const AT_LEAST: u64 = 3;

/// The longest that we let an upstream make us wait before we ask again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause where the upstream did not say.
const USUAL_PAUSE: Duration = Duration::from_millis(400);

/// What is left of the right to ask again. A fifth of the calls of the last ten seconds,
/// so that an outage is not made worse by those who try to get around it, with another secret or
/// for another model. Other upstreams are not counted: each has breakers that end it.
#[derive(Debug)]
pub struct Retries {
    calls: Tally,
    granted: Mutex<Window>,
}

impl Retries {
    pub fn new(now: Instant) -> Self {
        Self { calls: Tally::new(now), granted: Window::new(now).into() }
    }

    pub fn note_call(&self, now: Instant) {
        self.calls.count(now);
    }

    /// Whether one more may be sent, which is counted if so.
    pub fn grant(&self, now: Instant) -> bool {
        let allowed = (self.calls.sum(now) / SHARE).max(AT_LEAST);
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_granted = u64::from(granted.sum(now).calls) < allowed;
        if is_granted {
            granted.count(now, false);
        }
        is_granted
    }
}

/// How long to wait before asking again: as long as the upstream wishes, or anything up to
/// the usual, so that those who failed together do not come back together. `None` where
/// that is longer than a caller should wait.
pub fn pause(wished: Option<Duration>, chance: f64) -> Option<Duration> {
    match wished {
        Some(wished) if wished > LONGEST_PAUSE => None,
        Some(wished) => Some(wished + USUAL_PAUSE.mul_f64(chance / 4.0)),
        None => Some(USUAL_PAUSE.mul_f64(chance)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the storm: no more than a fifth, or three, in any ten seconds.
        #[test]
        fn a_storm_is_not_made_much_worse(
            pauses in prop::collection::vec(0_u64..2_000, 1..200), each in 1_usize..30,
        ) {
            let start = Instant::now();
            let (retries, mut now, mut seen) = (Retries::new(start), start, vec![]);
            for pause in pauses {
                now += Duration::from_millis(pause);
                let mut granted = 0;
                for _ in 0..each {
                    retries.note_call(now);
                    granted += u64::from(retries.grant(now));
                }
                seen.push(((now - start).as_secs(), granted));
                let second = (now - start).as_secs();
                let present = || seen.iter().filter(|it| it.0 + 10 > second);
                let calls = u64::try_from(present().count() * each).unwrap();
                let sum: u64 = present().map(|it| it.1).sum();
                prop_assert!(granted == 0 || sum <= (calls / SHARE).max(AT_LEAST));
            }
        }
    }

    #[test]
    fn a_fifth_of_the_calls_may_be_sent_again() {
        let now = Instant::now();
        let retries = Retries::new(now);
        (0..1_000).for_each(|_| retries.note_call(now));
        assert_eq!((0..1_000).filter(|_| retries.grant(now)).count(), 200);
        let later = now + Duration::from_secs(11);
        assert_eq!((0..1_000).filter(|_| retries.grant(later)).count(), 3);
    }

    #[test]
    fn an_upstream_is_given_the_time_it_wants_up_to_a_point() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(Some(seconds(86_400)), 0.5), None);
        assert_eq!(pause(Some(seconds(2)), 0.0), Some(seconds(2)));
        assert_eq!(pause(None, 0.0), Some(Duration::ZERO));
        assert!(pause(None, 1.0).unwrap() <= USUAL_PAUSE);
        assert!(pause(Some(seconds(1)), 1.0).unwrap() > seconds(1));
    }
}
