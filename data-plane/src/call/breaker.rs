//! Sites that fail too often are left alone for a while.
//!
//! A site is an upstream as one credential sees it: that one tenant's secret is refused
//! says nothing of another's. Only a site that has failed lately has a record, so that
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
use shared::{
    ids::CredentialId,
    snapshot::{OpenBreaker, OpenBreakers},
};
use tokio::time::Instant;

use super::window::{Sum, Window};

/// How long a site is left alone at first. Each probe that fails doubles it.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Beyond so many records, those of sites that have recovered are looked for.
const MANY: usize = 1_024;

/// What has become of a call, as far as the site is concerned.
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

/// How a site stands that has failed lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub site: CredentialId,
    pub state: State,
    /// Within the last ten seconds, since the first failure.
    pub calls: u32,
    pub failures: u32,
}

#[derive(Debug)]
pub struct Breakers {
    /// How many calls it takes to judge a site.
    calls: u32,
    sites: Mutex<HashMap<CredentialId, Site>>,
    /// How many sites have a record.
    records: AtomicUsize,
    open: IntGauge,
    openings: IntCounter,
}

#[derive(Debug)]
struct Site {
    window: Window,
    state: State,
    /// Since when it is left alone, where it is,
    since: Instant,
    /// and until when.
    until: Instant,
    /// How often in a row it was found to fail.
    times: u32,
}

/// The right to call a site. A probe that comes to no verdict, since its client has gone
/// away, leaves the next call to be one.
#[derive(Debug)]
pub struct Pass<'a> {
    breakers: &'a Breakers,
    site: CredentialId,
    is_probe: bool,
}

impl Breakers {
    pub fn new(calls: u32, open: IntGauge, openings: IntCounter) -> Self {
        let (sites, records) = (Mutex::default(), AtomicUsize::default());
        Self { calls: calls.max(1), sites, records, open, openings }
    }

    /// The right to call `site`, or how long it is still left alone.
    pub fn admit(&self, site: CredentialId, now: Instant) -> Result<Pass<'_>, Duration> {
        let pass = |is_probe| Pass { breakers: self, site, is_probe };
        if self.records.load(Ordering::Relaxed) == 0 {
            return Ok(pass(false));
        }
        let mut sites = self.lock();
        let Some(record) = sites.get_mut(&site) else { return Ok(pass(false)) };
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

    /// Whether `admit` would let nobody through to `site`.
    pub fn rests(&self, site: CredentialId, now: Instant) -> bool {
        if self.records.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.lock().get(&site).is_some_and(|it| match it.state {
            State::Closed => false,
            State::Open => it.until > now,
            State::Probing => true,
        })
    }

    /// Says of a call that was let through earlier how it went on.
    pub fn note(&self, site: CredentialId, verdict: Verdict, now: Instant) {
        if verdict != Verdict::Bad && self.records.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut sites = self.lock();
        match verdict {
            Verdict::Alive => return,
            Verdict::Good => {
                let Some(record) = sites.get_mut(&site) else { return };
                if record.state == State::Closed {
                    record.window.count(now, false);
                    if record.window.sum(now).failures == 0 {
                        sites.remove(&site);
                    }
                }
            }
            Verdict::Bad => {
                forget_the_recovered(&mut sites, now);
                let record = sites.entry(site).or_insert_with(|| Site::new(now));
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
        self.records.store(sites.len(), Ordering::Relaxed);
    }

    /// How the sites stand that have failed lately.
    pub fn state(&self, now: Instant) -> Vec<Standing> {
        let sites = self.lock();
        let standing = |(&site, it): (&CredentialId, &Site)| {
            let Sum { calls, failures } = it.window.sum(now);
            Standing { site, state: it.state, calls, failures }
        };
        sites.iter().map(standing).collect()
    }

    /// The sites that are left alone, those that are so for longest first.
    pub fn open(&self, now: Instant) -> OpenBreakers {
        if self.records.load(Ordering::Relaxed) == 0 {
            return OpenBreakers::default();
        }
        let sites = self.lock();
        let mut open: Vec<_> = sites.iter().filter(|(_, it)| it.state != State::Closed).collect();
        open.sort_unstable_by_key(|(site, it)| (it.since, **site));
        let milliseconds = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
        let told = |(site, it): &(&CredentialId, &Site)| OpenBreaker {
            credential: **site,
            open_ms: milliseconds(now.saturating_duration_since(it.since)),
            rest_ms: milliseconds(it.until.saturating_duration_since(now)),
        };
        let listed = open.iter().take(OpenBreakers::MOST).map(told).collect();
        OpenBreakers { count: open.len(), listed }
    }

    /// A call to `site` has failed.
    #[cfg(test)]
    pub fn fails(&self, site: CredentialId) {
        self.note(site, Verdict::Bad, Instant::now());
    }

    fn settle_probe(&self, site: CredentialId, verdict: Option<Verdict>, now: Instant) {
        let mut sites = self.lock();
        match (verdict, sites.get_mut(&site)) {
            (Some(Verdict::Good | Verdict::Alive), Some(_)) => {
                sites.remove(&site);
                self.open.dec();
                self.records.store(sites.len(), Ordering::Relaxed);
            }
            (Some(Verdict::Bad), Some(record)) => record.rest(now),
            (None, Some(record)) => record.state = State::Open,
            (_, None) => (),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CredentialId, Site>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Site {
    fn new(now: Instant) -> Self {
        let window = Window::new(now);
        Self { window, state: State::Closed, since: now, until: now, times: 0 }
    }

    fn rest(&mut self, now: Instant) {
        let rest = FIRST_REST.saturating_mul(1 << self.times.min(16)).min(LONGEST_REST);
        self.state = State::Open;
        if self.times == 0 {
            self.since = now;
        }
        self.until = now + rest;
        self.times += 1;
    }
}

/// There may be as many records as there are sites, but not for ever.
fn forget_the_recovered(sites: &mut HashMap<CredentialId, Site>, now: Instant) {
    if sites.len() >= MANY {
        sites.retain(|_, it| it.state != State::Closed || it.window.sum(now).failures > 0);
    }
}

impl Pass<'_> {
    pub fn judge(mut self, verdict: Verdict, now: Instant) {
        if std::mem::take(&mut self.is_probe) {
            self.breakers.settle_probe(self.site, Some(verdict), now);
        } else {
            self.breakers.note(self.site, verdict, now);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breakers.settle_probe(self.site, None, Instant::now());
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
        site: CredentialId,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            Self { breakers: breakers(), site: CredentialId::generate(), now: Instant::now() }
        }

        fn is_let_through(&self) -> bool {
            self.breakers.admit(self.site, self.now).is_ok()
        }

        /// So many calls that are let through and go like this.
        fn calls(&self, count: u32, verdict: Verdict) {
            for _ in 0..count {
                let pass = self.breakers.admit(self.site, self.now).expect("let through");
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
            let probe = fixture.breakers.admit(fixture.site, fixture.now).unwrap();
            assert!(!fixture.is_let_through(), "one probe is enough");
            probe.judge(Verdict::Bad, fixture.now);
        }
        fixture.later(60_000);
        fixture.calls(1, Verdict::Good);
        fixture.calls(5, Verdict::Bad);
        assert!(fixture.is_let_through(), "it starts anew");
    }

    #[test]
    fn what_is_left_alone_is_told_with_since_when_and_until_when() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.breakers.open(fixture.now), OpenBreakers::default());
        fixture.calls(9, Verdict::Bad);
        assert_eq!(fixture.breakers.open(fixture.now).count, 0);
        fixture.calls(1, Verdict::Bad);
        fixture.later(1_200);
        let told = |open_ms, rest_ms| OpenBreaker { credential: fixture.site, open_ms, rest_ms };
        assert_eq!(fixture.breakers.open(fixture.now).listed, [told(1_200, 0)]);
        let probe = fixture.breakers.admit(fixture.site, fixture.now).unwrap();
        assert_eq!(fixture.breakers.open(fixture.now).listed, [told(1_200, 0)]);
        probe.judge(Verdict::Bad, fixture.now);
        assert_eq!(fixture.breakers.open(fixture.now).listed, [told(1_200, 2_000)]);
        for _ in 0..2 * OpenBreakers::MOST {
            let site = CredentialId::generate();
            (0..10).for_each(|_| fixture.breakers.note(site, Verdict::Bad, fixture.now));
        }
        let open = fixture.breakers.open(fixture.now);
        assert_eq!(
            (open.count, open.listed.len()),
            (2 * OpenBreakers::MOST + 1, OpenBreakers::MOST)
        );
        assert_eq!(open.listed.first().unwrap().credential, fixture.site);
    }

    #[test]
    fn a_probe_whose_client_went_away_decides_nothing() {
        let mut fixture = Fixture::new();
        fixture.calls(10, Verdict::Bad);
        fixture.later(1_000);
        drop(fixture.breakers.admit(fixture.site, fixture.now).unwrap());
        let next = fixture.breakers.admit(fixture.site, fixture.now).unwrap();
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
        let late = fixture.breakers.admit(fixture.site, fixture.now).unwrap();
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
        /// Whatever happens, a site is never left alone for longer than a minute at once,
        /// and never has two probes.
        #[test]
        fn a_place_gets_its_chance(
            steps in prop::collection::vec((0_u64..3_000, 0_u8..4), 0..200),
        ) {
            let mut fixture = Fixture::new();
            for (pause, choice) in steps {
                fixture.later(pause);
                let Ok(pass) = fixture.breakers.admit(fixture.site, fixture.now) else {
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
