//! Whether Redis is worth asking. A few failures in a row open the breaker, and only a
//! beat that succeeds closes it: callers never try out whether Redis is back.

use std::sync::atomic::{AtomicU32, Ordering};

const FAILURES: u32 = 3;

/// Failures in a row.
pub struct Breaker(AtomicU32);

impl Breaker {
    /// Nobody has heard of Redis yet.
    pub fn open() -> Self {
        Self(AtomicU32::new(FAILURES))
    }

    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed) < FAILURES
    }

    /// Answers whether this is the failure that opens it.
    pub fn failed(&self) -> bool {
        let more = |it: u32| (it < FAILURES).then(|| it + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) == Ok(FAILURES - 1)
    }

    /// A late answer closes nothing.
    pub fn succeeded(&self) {
        if self.0.load(Ordering::Relaxed) == 0 {
            return;
        }
        let none = |it: u32| (it < FAILURES).then_some(0);
        let _still_open = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, none);
    }

    /// Answers whether it was open.
    pub fn close(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) >= FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_failures_in_a_row_open_it_and_a_beat_alone_closes_it() {
        let breaker = Breaker::open();
        assert!(!breaker.is_closed());
        assert!(breaker.close());
        assert!(!breaker.close());

        assert!(!breaker.failed() && !breaker.failed());
        breaker.succeeded();
        assert!(!breaker.failed() && !breaker.failed());
        assert!(breaker.is_closed());
        assert!(breaker.failed());
        assert!(!breaker.is_closed() && !breaker.failed());
        breaker.succeeded();
        assert!(!breaker.is_closed());
        assert!(breaker.close() && breaker.is_closed());
    }
}
