//! What the clock of Redis says, as far as a proxy knows.
//!
//! Redis decides by its own clock alone which window a call is in. We follow it, so that we
//! know between which moments windows are that it may be in, and which it is in while Redis
//! is away. Our own clock is used to measure how much time has passed, and never trusted with
//! what time it is once Redis has told.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Instant, SystemTime},
};

use shared::{
    counters::LATEST,
    money::{Period, Span, Zone},
};

pub struct Clock {
    start: Instant,
    /// What Redis' clock said when ours started.
    began_ms: AtomicI64,
    /// By zone.
    edges: Mutex<HashMap<String, Vec<(Period, Edges)>>>,
}

/// The moments between which three windows are: the one before, the present one, the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edges(pub [i64; 4]);

impl Edges {
    pub fn around(period: Period, zone: &Zone, now_ms: i64) -> Self {
        if period == Period::Total {
            let Span { start_ms, .. } = Span::ALWAYS;
            return Self([start_ms - 1, start_ms, LATEST, LATEST]);
        }
        let present = period.span_at(zone, now_ms);
        let before = period.span_at(zone, present.start_ms - 1);
        let next = period.span_at(zone, present.end_ms);
        Self([before.start_ms, present.start_ms, present.end_ms, next.end_ms])
    }

    /// When the present window began.
    pub const fn window(&self) -> i64 {
        let [_, start, ..] = self.0;
        start
    }

    const fn is_around(&self, now_ms: i64) -> bool {
        let [_, start, end, _] = self.0;
        start <= now_ms && now_ms < end
    }
}

impl Default for Clock {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_ms = since.map_or(0, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX));
        Self { start: Instant::now(), began_ms: now_ms.into(), edges: Mutex::default() }
    }
}

impl Clock {
    /// In milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.began_ms.load(Ordering::Relaxed).saturating_add(self.passed())
    }

    /// Redis has just told.
    pub fn told(&self, now_ms: i64) {
        self.began_ms.store(now_ms.saturating_sub(self.passed()), Ordering::Relaxed);
    }

    /// Where windows are, of which the present one is the one that it is now.
    pub fn edges(&self, period: Period, zone: &Zone) -> Edges {
        let now_ms = self.now_ms();
        let mut all = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        let of_zone = all.get(zone.as_str()).into_iter().flatten();
        let known =
            of_zone.filter(|it| it.0 == period).map(|it| it.1).find(|it| it.is_around(now_ms));
        known.unwrap_or_else(|| {
            let edges = Edges::around(period, zone, now_ms);
            let of_zone = all.entry(zone.as_str().to_owned()).or_default();
            of_zone.retain(|it| it.0 != period);
            of_zone.push((period, edges));
            edges
        })
    }

    fn passed(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    #[test]
    fn what_redis_tells_counts_from_then_on() {
        let clock = Clock::default();
        clock.told(5 * DAY);
        assert!((5 * DAY..5 * DAY + 10_000).contains(&clock.now_ms()));
        let edges = clock.edges(Period::Day, &Zone::UTC);
        assert_eq!(edges.0, [4 * DAY, 5 * DAY, 6 * DAY, 7 * DAY]);
        clock.told(6 * DAY);
        assert_eq!(clock.edges(Period::Day, &Zone::UTC).window(), 6 * DAY);
        assert_eq!(clock.edges(Period::Total, &Zone::UTC).window(), 0);
    }
}
