//! Places that fail too often are left alone for a while.
//!
//! A place is an upstream as one credential sees it: that one tenant's secret is refused
//! says nothing of another's. Only a place that has failed lately has a record, so that
//! where all is well a call costs the look at one number.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus::{IntCounter, IntGauge};
use shared::ids::CredentialId;
use tokio::time::Instant;

use super::window::{Sum, Window};

/// How long a place is left alone at first. Each probe that fails doubles it.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Beyond so many records, those of places that have recovered are looked for.
const MANY: usize = 1_024;

/// What has become of a call, as far as the place is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    Bad,
    /// It lives, and did not like the request.
    Alive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    /// Nobody is let through.
    Open,
    /// One call is on its way to see how things stand.
    Probing,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

/// How a place stands that has failed lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub place: CredentialId,
    pub state: State,
    /// Within the last ten seconds, since the first failure.
    pub calls: u32,
    pub failures: u32,
}

#[derive(Debug)]
pub struct Breakers {
    /// How many calls it takes to judge a place.
    calls: u32,
    places: Mutex<HashMap<CredentialId, Place>>,
    /// How many places have a record.
    records: AtomicUsize,
    open: IntGauge,
    openings: IntCounter,
}

#[derive(Debug)]
struct Place {
    window: Window,
    state: State,
    until: Instant,
    /// How often in a row it was found to fail.
    times: u32,
}

/// The right to call a place. A probe that comes to no verdict, since its client has gone
/// away, leaves the next call to be one.
#[derive(Debug)]
pub struct Pass<'a> {
    breakers: &'a Breakers,
    place: CredentialId,
    is_probe: bool,
}

impl Breakers {
    pub fn new(calls: u32, open: IntGauge, openings: IntCounter) -> Self {
        let (places, records) = (Mutex::default(), AtomicUsize::default());
        Self { calls: calls.max(1), places, records, open, openings }
    }

    /// The right to call `place`, or how long it is still left alone.
    pub fn admit(&self, place: CredentialId, now: Instant) -> Result<Pass<'_>, Duration> {
        let pass = |is_probe| Pass { breakers: self, place, is_probe };
        if self.records.load(Ordering::Relaxed) == 0 {
            return Ok(pass(false));
        }
        let mut places = self.lock();
        let Some(record) = places.get_mut(&place) else { return Ok(pass(false)) };
        match record.state {
            State::Closed => Ok(pass(false)),
            State::Open if record.until <= now => {
                record.state = State::Probing;
                Ok(pass(true))
            }
            State::Open => Err(record.until - now),
            State::Probing => Err(FIRST_REST),
        }
    }

    /// Says of a call that was let through earlier how it went on.
    pub fn note(&self, place: CredentialId, verdict: Verdict, now: Instant) {
        if verdict != Verdict::Bad && self.records.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut places = self.lock();
        match verdict {
            Verdict::Alive => return,
            Verdict::Good => {
                let Some(record) = places.get_mut(&place) else { return };
                if record.state == State::Closed {
                    record.window.count(now, false);
                    if record.window.sum(now).failures == 0 {
                        places.remove(&place);
                    }
                }
            }
            Verdict::Bad => {
                forget_the_recovered(&mut places, now);
                let record = places.entry(place).or_insert_with(|| Place::new(now));
                if record.state == State::Closed {
                    record.window.count(now, true);
                    let Sum { calls, failures } = record.window.sum(now);
                    if calls >= self.calls && failures.saturating_mul(2) >= calls {
                        record.rest(now);
                        self.open.inc();
                        self.openings.inc();
                    }
                }
            }
        }
        self.records.store(places.len(), Ordering::Relaxed);
    }

    /// How the places stand that have failed lately.
    pub fn state(&self, now: Instant) -> Vec<Standing> {
        let places = self.lock();
        let standing = |(&place, it): (&CredentialId, &Place)| {
            let Sum { calls, failures } = it.window.sum(now);
            Standing { place, state: it.state, calls, failures }
        };
        places.iter().map(standing).collect()
    }

    fn settle_probe(&self, place: CredentialId, verdict: Option<Verdict>, now: Instant) {
        let mut places = self.lock();
        match (verdict, places.get_mut(&place)) {
            (Some(Verdict::Good | Verdict::Alive), Some(_)) => {
                places.remove(&place);
                self.open.dec();
                self.records.store(places.len(), Ordering::Relaxed);
            }
            (Some(Verdict::Bad), Some(record)) => record.rest(now),
            (None, Some(record)) => record.state = State::Open,
            (_, None) => (),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CredentialId, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn new(now: Instant) -> Self {
        Self { window: Window::new(now), state: State::Closed, until: now, times: 0 }
    }

    fn rest(&mut self, now: Instant) {
        let rest = FIRST_REST.saturating_mul(1 << self.times.min(16)).min(LONGEST_REST);
        self.state = State::Open;
        self.until = now + rest;
        self.times += 1;
    }
}

/// There may be as many records as there are places, but not for ever.
fn forget_the_recovered(places: &mut HashMap<CredentialId, Place>, now: Instant) {
    if places.len() >= MANY {
        places.retain(|_, it| it.state != State::Closed || it.window.sum(now).failures > 0);
    }
}

impl Pass<'_> {
    pub fn judge(mut self, verdict: Verdict, now: Instant) {
        if std::mem::take(&mut self.is_probe) {
            self.breakers.settle_probe(self.place, Some(verdict), now);
        } else {
            self.breakers.note(self.place, verdict, now);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breakers.settle_probe(self.place, None, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn breakers() -> Breakers {
        let open = IntGauge::new("open", "open").unwrap();
        Breakers::new(10, open, IntCounter::new("openings", "openings").unwrap())
    }

    struct Fixture {
        breakers: Breakers,
        place: CredentialId,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            Self { breakers: breakers(), place: CredentialId::generate(), now: Instant::now() }
        }

        fn is_let_through(&self) -> bool {
            self.breakers.admit(self.place, self.now).is_ok()
        }

        /// So many calls that are let through and go like this.
        fn calls(&self, count: u32, verdict: Verdict) {
            for _ in 0..count {
                let pass = self.breakers.admit(self.place, self.now).expect("let through");
                pass.judge(verdict, self.now);
            }
        }

        fn later(&mut self, milliseconds: u64) {
            self.now += Duration::from_millis(milliseconds);
        }
    }

    #[test]
    fn half_of_enough_failures_is_too_much() {
        let fixture = Fixture::new();
        fixture.calls(9, Verdict::Bad);
        assert!(fixture.is_let_through(), "nine calls say nothing yet");
        fixture.calls(1, Verdict::Bad);
        assert!(!fixture.is_let_through());
        assert_eq!((fixture.breakers.open.get(), fixture.breakers.openings.get()), (1, 1));

        let fixture = Fixture::new();
        for _ in 0..100 {
            fixture.calls(1, Verdict::Bad);
            fixture.calls(2, Verdict::Good);
        }
        assert!(fixture.is_let_through(), "a third may fail");
    }

    #[test]
    fn requests_that_were_not_liked_say_nothing_of_the_place() {
        let fixture = Fixture::new();
        fixture.calls(1_000, Verdict::Alive);
        assert_eq!(fixture.breakers.state(fixture.now), []);
        fixture.calls(1, Verdict::Bad);
        fixture.calls(1_000, Verdict::Alive);
        fixture.calls(8, Verdict::Bad);
        assert!(fixture.is_let_through());
    }

    #[test]
    fn failures_that_are_long_ago_are_forgotten() {
        let mut fixture = Fixture::new();
        for _ in 0..20 {
            fixture.calls(1, Verdict::Bad);
            fixture.later(1_500);
        }
        assert!(fixture.is_let_through());
        fixture.later(10_000);
        fixture.calls(1, Verdict::Good);
        assert_eq!(fixture.breakers.records.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn one_probe_decides_and_failing_makes_the_rest_longer() {
        let mut fixture = Fixture::new();
        fixture.calls(10, Verdict::Bad);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            fixture.later(seconds * 1_000 - 1);
            assert!(!fixture.is_let_through(), "{seconds} s are not over");
            fixture.later(1);
            let probe = fixture.breakers.admit(fixture.place, fixture.now).unwrap();
            assert!(!fixture.is_let_through(), "one probe is enough");
            probe.judge(Verdict::Bad, fixture.now);
        }
        fixture.later(60_000);
        fixture.calls(1, Verdict::Good);
        fixture.calls(5, Verdict::Bad);
        assert!(fixture.is_let_through(), "it starts anew");
    }

    #[test]
    fn a_probe_whose_client_went_away_decides_nothing() {
        let mut fixture = Fixture::new();
        fixture.calls(10, Verdict::Bad);
        fixture.later(1_000);
        drop(fixture.breakers.admit(fixture.place, fixture.now).unwrap());
        let next = fixture.breakers.admit(fixture.place, fixture.now).unwrap();
        assert!(!fixture.is_let_through());
        next.judge(Verdict::Alive, fixture.now);
        assert!(fixture.is_let_through());
        assert_eq!(fixture.breakers.open.get(), 0);
    }

    #[test]
    fn another_credential_is_another_place() {
        let fixture = Fixture::new();
        fixture.calls(10, Verdict::Bad);
        assert!(!fixture.is_let_through());
        assert!(fixture.breakers.admit(CredentialId::generate(), fixture.now).is_ok());
    }

    #[test]
    fn a_late_answer_does_not_close_what_is_open() {
        let fixture = Fixture::new();
        let late = fixture.breakers.admit(fixture.place, fixture.now).unwrap();
        fixture.calls(10, Verdict::Bad);
        late.judge(Verdict::Good, fixture.now);
        assert!(!fixture.is_let_through());
    }

    #[test]
    fn records_do_not_pile_up() {
        let mut fixture = Fixture::new();
        for _ in 0..10 * MANY {
            fixture.breakers.note(CredentialId::generate(), Verdict::Bad, fixture.now);
            fixture.later(20);
        }
        assert!(fixture.breakers.state(fixture.now).len() <= MANY + 1);
    }

    proptest! {
        /// Whatever happens, a place is never left alone for longer than a minute at once,
        /// and never has two probes.
        #[test]
        fn a_place_gets_its_chance(
            steps in prop::collection::vec((0_u64..3_000, 0_u8..4), 0..200),
        ) {
            let mut fixture = Fixture::new();
            for (pause, choice) in steps {
                fixture.later(pause);
                let Ok(pass) = fixture.breakers.admit(fixture.place, fixture.now) else {
                    continue;
                };
                if pass.is_probe {
                    prop_assert!(!fixture.is_let_through());
                }
                match choice {
                    0 => pass.judge(Verdict::Good, fixture.now),
                    1 => pass.judge(Verdict::Alive, fixture.now),
                    2 => pass.judge(Verdict::Bad, fixture.now),
                    _ => drop(pass),
                }
            }
            fixture.later(60_000);
            prop_assert!(fixture.is_let_through());
        }
    }
}
