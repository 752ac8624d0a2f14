//! Counts of the last few seconds.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// How far back a window looks.
const SECONDS: u64 = 10;

/// A second and how many of what was counted fell into it.
#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    second: u64,
    calls: u32,
    failures: u32,
}

/// Calls and failures, second by second.
#[derive(Clone, Debug)]
pub struct Window {
    start: Instant,
    slices: [Slice; SECONDS as usize],
}

/// What a window adds up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub calls: u32,
    pub failures: u32,
}

impl Window {
    pub fn new(start: Instant) -> Self {
        Self { start, slices: Default::default() }
    }

    pub fn count(&mut self, now: Instant, is_failure: bool) {
        let second = second(self.start, now);
        if self.slices.last().is_some_and(|it| it.second < second) {
            self.slices.rotate_left(1);
            if let Some(last) = self.slices.last_mut() {
                *last = Slice { second, ..Slice::default() };
            }
        }
        if let Some(last) = self.slices.last_mut() {
            last.calls = last.calls.saturating_add(1);
            last.failures = last.failures.saturating_add(is_failure.into());
        }
    }

    pub fn sum(&self, now: Instant) -> Sum {
        let second = second(self.start, now);
        let present = self.slices.iter().filter(|it| it.second + SECONDS > second);
        present.fold(Sum::default(), |sum, it| Sum {
            calls: sum.calls.saturating_add(it.calls),
            failures: sum.failures.saturating_add(it.failures),
        })
    }
}

/// Seconds are counted from one, so that none is the first by chance.
fn second(start: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(start).as_secs() + SECONDS
}

/// The same for something that every call counts: without a lock. Each slice is a second
/// and a count in one word.
#[derive(Debug)]
pub struct Tally {
    start: Instant,
    slices: [AtomicU64; SECONDS as usize],
}

/// As many bits of a slice count.
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

impl Tally {
    pub fn new(start: Instant) -> Self {
        Self { start, slices: Default::default() }
    }

    pub fn count(&self, now: Instant) {
        let second = second(self.start, now);
        let at = usize::try_from(second % SECONDS).unwrap_or(0);
        let Some(slice) = self.slices.get(at) else { return };
        let _ = slice.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| {
            match (it >> COUNT_BITS == second, it & COUNT == COUNT) {
                (true, true) => None,
                (true, false) => Some(it + 1),
                (false, _) => Some((second << COUNT_BITS) | 1),
            }
        });
    }

    pub fn sum(&self, now: Instant) -> u64 {
        let second = second(self.start, now);
        let slices = self.slices.iter().map(|it| it.load(Ordering::Relaxed));
        let present = slices.filter(|it| (it >> COUNT_BITS) + SECONDS > second);
        present.map(|it| it & COUNT).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(SECONDS);

    proptest! {
        /// Both count what a list of everything would.
        #[test]
        fn what_is_older_than_the_window_is_forgotten(
            steps in prop::collection::vec((0_u64..5_000, any::<bool>()), 0..100),
        ) {
            let start = Instant::now();
            let (mut window, tally, mut all) = (Window::new(start), Tally::new(start), vec![]);
            let mut now = start;
            for (pause, is_failure) in steps {
                now += Duration::from_millis(pause);
                window.count(now, is_failure);
                tally.count(now);
                all.push(((now - start).as_secs(), is_failure));
                let second = (now - start).as_secs();
                let present: Vec<_> = all.iter().filter(|it| it.0 + SECONDS > second).collect();
                let failures = present.iter().filter(|it| it.1).count();
                let expected = (present.len(), failures);
                let sum = window.sum(now);
                prop_assert_eq!((sum.calls as usize, sum.failures as usize), expected);
                prop_assert_eq!(tally.sum(now), present.len() as u64);
            }
            prop_assert_eq!(window.sum(now + WINDOW), Sum::default());
            prop_assert_eq!(tally.sum(now + WINDOW), 0);
        }
    }
}
