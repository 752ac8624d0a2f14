//! Limits on requests and tokens per minute, and on calls at once, of keys, projects and
//! organizations, the same on any number of proxies.
//!
//! Always holds: one script in Redis checks every level of a call in one round trip, and
//! charges all of them or none; the clock of Redis is the only one; a refused call uses
//! nothing up; a call is settled once, whichever way it ends ([`Permit`]); a call without
//! limits asks nobody; no key in Redis outlives its use.
//!
//! A Redis that answers nobody costs a call at most 100 ms, and after three such failures
//! nothing: until a beat succeeds, each proxy gives out its share of each limit, which is
//! the limit divided by the number of proxies last seen alive ([`Limiter::state`] says so).
//!
//! What a call may cost is asked in the same question, by `budgets`: what a call is charged
//! for and what it holds passes as a whole. Calls that ask at the same time ask together
//! (`rounds`), each as if it asked alone; who was refused and asks the same again at once is
//! refused without being asked for (`repeats`).

mod breaker;
mod charge;
mod decision;
mod gcra;
mod leases;
mod local;
mod metrics;
mod near;
mod patience;
mod permit;
mod question;
mod repeats;
mod rounds;
mod scripts;
mod settling;
mod standing;
mod store;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, FromRedisValue, Pipeline};
use secrecy::SecretString;
use shared::{
    counters::{self, Places},
    tasks::Supervisor,
    wire::BadAddress,
};

use self::{
    charge::Charge,
    leases::{Lease, Leases},
    local::Local,
    question::Asking,
    repeats::Repeats,
    rounds::Rounds,
    scripts::PLACE_LIFE,
    settling::{Settlement, Settling},
    store::Store,
};
pub use self::{
    charge::{Asked, Level, What},
    decision::{Decision, Kind, Standing, Verdict},
    metrics::LimitMetrics,
    permit::Permit,
    question::{Question, Wanted},
    scripts::Scripts,
    standing::{LimitReached, LimitStanding},
};
use crate::budgets::Clock;

const PATIENCE: Duration = Duration::from_millis(100);
/// How long a refusal is repeated at most.
const REPEAT: Duration = Duration::from_millis(100);
/// How often we say that we live, which is also how soon a Redis that is back is noticed.
const BEAT: Duration = Duration::from_millis(500);
/// How long the end of a call may wait for Redis to come back before it is tried again.
const SETTLE: Duration = Duration::from_secs(1);

/// Where limits are shared.
#[derive(Clone, Debug)]
pub struct Place {
    pub redis_url: SecretString,
    /// The Redis key under which proxies say that they live.
    pub fleet: String,
    /// How many proxies to count on until Redis has told.
    pub assumed_proxies: u32,
    /// How long to wait for an answer of Redis.
    pub patience: Duration,
    /// How long a refusal may be repeated without asking.
    pub repeat: Duration,
    /// Where what is spent of budgets is counted.
    pub counters: Places,
}

impl Place {
    pub fn standard(redis_url: SecretString, assumed_proxies: u32) -> Self {
        let (fleet, counters) = ("rl:fleet".into(), Places::default());
        Self { redis_url, fleet, assumed_proxies, patience: PATIENCE, repeat: REPEAT, counters }
    }
}

/// Who decides at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Redis: limits hold over all proxies together.
    Shared,
    /// This proxy alone, on its share of each limit.
    Local,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Local => "local",
        }
    }
}

/// What became of a question.
pub enum Let {
    /// Redis let the call through, and says how it stands.
    Through(Permit, Decision),
    /// This proxy did: there was nothing to ask, or nobody to be asked. Budgets are not
    /// counted then.
    Alone(Permit),
    /// Something else than a limit stands against the call.
    Not(Decision),
}

pub struct Limiter {
    /// Of Redis, as far as we know.
    pub clock: Clock,
    store: Store,
    fleet: String,
    proxies: AtomicU32,
    local: Local,
    leases: Leases,
    rounds: Rounds,
    repeats: Repeats,
    settling: Settling,
    metrics: Arc<LimitMetrics>,
}

impl Limiter {
    /// Only reads the address: until Redis has answered, limits are local.
    pub fn new(place: Place, metrics: Arc<LimitMetrics>) -> Result<Arc<Self>, BadAddress> {
        let scripts = Scripts::new(place.counters.clone());
        Self::with(place, metrics, scripts, Settling::new())
    }

    pub(crate) fn with(
        place: Place,
        metrics: Arc<LimitMetrics>,
        scripts: Scripts,
        settling: Settling,
    ) -> Result<Arc<Self>, BadAddress> {
        Ok(Arc::new(Self {
            clock: Clock::default(),
            store: Store::new(&place, scripts, metrics.clone())?,
            fleet: place.fleet,
            proxies: place.assumed_proxies.into(),
            local: Local::new(),
            leases: Leases::new(),
            rounds: Rounds::new(),
            repeats: Repeats::new(place.repeat),
            settling,
            metrics,
        }))
    }

    /// Lets a call through if every one of its limits does, and every budget.
    pub async fn admit(
        self: &Arc<Self>,
        asked: Asked<'_>,
        question: &Question<'_>,
    ) -> Result<Let, LimitReached> {
        let charges = asked.charges();
        if charges.is_empty() && question.budgets.is_empty() {
            return Ok(Let::Alone(Permit::free()));
        }
        if let Some(decision) = self.repeats.of(&charges, question) {
            self.metrics.repeated.inc();
            return self.told(decision, (charges, None));
        }
        let lease = self.leases.next(&charges);
        let Some((decision, charges)) = self.decide(charges, lease, question).await else {
            return self.admit_here(asked.charges()).map(Let::Alone);
        };
        self.clock.told(i64::try_from(decision.now).unwrap_or(i64::MAX));
        self.repeats.note(&decision, &charges, question);
        self.told(decision, (charges, lease))
    }

    /// What comes of a decision of Redis.
    fn told(
        self: &Arc<Self>,
        decision: Decision,
        (charges, lease): (Vec<Charge>, Option<Lease>),
    ) -> Result<Let, LimitReached> {
        match decision.verdict {
            Verdict::Passed => self.leases.enter(lease, &charges),
            Verdict::Limit(_) => (),
            Verdict::Stopped
            | Verdict::NotCounted
            | Verdict::OldTerms
            | Verdict::OtherWindow
            | Verdict::Spent(..) => return Ok(Let::Not(decision)),
        }
        let permit = self.tell(State::Shared, (charges, lease), &decision)?;
        Ok(Let::Through(permit, decision))
    }

    /// `None` when Redis is not worth asking, or did not answer.
    pub async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> Option<T> {
        self.store.ask(question).await
    }

    /// Says several things at once. Answers whether all were heard, as far as one knows.
    pub async fn tell_all(&self, what: &Pipeline) -> bool {
        self.store.tell(what).await
    }

    pub fn counters(&self) -> &counters::Scripts {
        &self.store.scripts.counters
    }

    #[cfg(test)]
    pub(crate) async fn for_tests(
        place: Place,
        metrics: Arc<LimitMetrics>,
        scripts: Scripts,
    ) -> Result<Arc<Self>, BadAddress> {
        let limiter = Self::with(place, metrics, scripts, Settling::new())?;
        Ok(tests::connected(limiter).await)
    }

    /// How many were put to Redis, and how many refusals were repeated instead.
    #[cfg(test)]
    pub(crate) fn asked_and_repeated(&self) -> (u64, u64) {
        (self.metrics.questions.get(), self.metrics.repeated.get())
    }

    #[cfg(test)]
    pub(crate) fn set_proxies(&self, proxies: u32) {
        self.proxies.store(proxies, Ordering::Relaxed);
    }

    /// How many were last seen alive.
    pub fn proxies(&self) -> u32 {
        self.proxies.load(Ordering::Relaxed)
    }

    pub fn state(&self) -> State {
        if self.store.is_there() { State::Shared } else { State::Local }
    }

    /// Looks after Redis, tells it of calls that end, and renews the places of those that
    /// do not.
    pub fn start(self: Arc<Self>, supervisor: &Supervisor) {
        let (trouble, ended) = (self.store.trouble.clone(), self.settling.nudge.clone());
        trouble.notify_one();
        let limiter = self.clone();
        supervisor.every("look after limits", BEAT, trouble, move || limiter.clone().beat());
        let limiter = self.clone();
        supervisor.every("settle calls", SETTLE, ended, move || limiter.clone().carry());
        let unasked = Arc::default();
        supervisor.every("renew places", PLACE_LIFE / 3, unasked, move || self.clone().renew());
    }

    /// Tells Redis what has not been told yet, when no more calls come.
    pub async fn leave(&self) {
        if !self.store.is_there() {
            self.store.beat(&self.fleet, &self.leases.proxy).await;
        }
        self.settling.carry(&self.store, &self.leases, &self.metrics).await;
    }

    /// `None` when Redis does not decide.
    async fn decide(
        self: &Arc<Self>,
        charges: Vec<Charge>,
        lease: Option<Lease>,
        question: &Question<'_>,
    ) -> Option<(Decision, Vec<Charge>)> {
        if !self.store.is_there() {
            return None;
        }
        let asking = Asking::new(question, (charges, lease), &self.leases);
        self.asks((question.shard, question.epoch), asking).await
    }

    fn admit_here(self: &Arc<Self>, charges: Vec<Charge>) -> Result<Permit, LimitReached> {
        let charges: Vec<_> = charges.into_iter().map(|it| it.share(self.proxies())).collect();
        // Another than Redis was asked for: it may have that one.
        let lease = self.leases.next(&charges);
        let decision = self.local.admit(&charges, (lease, &self.leases), self.local.now());
        self.tell(State::Local, (charges, lease), &decision)
    }

    fn tell(
        self: &Arc<Self>,
        by: State,
        (charges, lease): (Vec<Charge>, Option<Lease>),
        decision: &Decision,
    ) -> Result<Permit, LimitReached> {
        let refused = decision.refusal().and_then(|it| Some((it, charges.get(it.index)?)));
        if let Some((refusal, charge)) = refused {
            self.metrics.refused(charge.level, refusal.what);
            let standing = LimitStanding::after(decision, &charges);
            return Err(LimitReached::new(refusal, charge, standing));
        }
        self.metrics.admitted(by);
        Ok(Permit::new(self.clone(), by, (charges, lease), decision))
    }

    /// What is left of a call goes to whoever let it through. A place is always Redis's
    /// business: it was renewed there if Redis came back meanwhile.
    fn end(&self, by: State, mut settlement: Settlement) {
        self.leases.leave(settlement.lease, &settlement.charges);
        if by == State::Local {
            self.local.correct(settlement.corrections(), self.local.now());
            settlement.correction = None;
        }
        self.settling.put(settlement, &self.metrics);
    }

    async fn beat(self: Arc<Self>) -> Result<(), Infallible> {
        self.local.sweep(self.local.now());
        self.repeats.sweep();
        if let Some((alive, now_ms)) = self.store.beat(&self.fleet, &self.leases.proxy).await {
            self.clock.told(now_ms);
            self.proxies.store(alive, Ordering::Relaxed);
            self.metrics.proxies.set(alive.into());
        }
        Ok(())
    }

    async fn carry(self: Arc<Self>) -> Result<(), Infallible> {
        self.settling.gather().await;
        self.settling.carry(&self.store, &self.leases, &self.metrics).await;
        Ok(())
    }

    async fn renew(self: Arc<Self>) -> Result<(), Infallible> {
        self.settling.renew(&self.store, &self.leases).await;
        Ok(())
    }
}
