//! Limits on requests and tokens per minute, and on calls at once, of keys, projects and
//! organizations, the same on any number of proxies.
//!
//! Always holds: one script in Redis checks every level of a call in one round trip, and
//! charges all of them or none; the clock of Redis is the only one; a refused call uses
//! nothing up; a call is settled once, whichever way it ends ([`Permit`]); a call without
//! limits asks nobody; no key in Redis outlives its use.
//!
//! A Redis that does not answer costs a call at most 100 ms, and after three such failures
//! nothing: until a beat succeeds, each proxy gives out its share of each limit, which is
//! the limit divided by the number of proxies last seen alive ([`Limiter::state`] says so).
//!
//! There is no money here yet. It goes into the same scripts: what a call is charged for
//! passes as a whole.

mod breaker;
mod charge;
mod decision;
mod gcra;
mod leases;
mod local;
mod metrics;
mod permit;
mod scripts;
mod settling;
mod standing;
mod store;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use redis::RedisResult;
use secrecy::SecretString;
use shared::tasks::Supervisor;

use self::{
    charge::Charge,
    decision::Decision,
    leases::{Lease, Leases},
    local::Local,
    scripts::{PLACE_LIFE, Scripts},
    settling::{Settlement, Settling},
    store::Store,
};
pub use self::{
    charge::{Asked, Level, What},
    metrics::LimitMetrics,
    permit::Permit,
    standing::{LimitReached, Standing},
};

const PATIENCE: Duration = Duration::from_millis(100);
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
}

impl Place {
    pub fn standard(redis_url: SecretString, assumed_proxies: u32) -> Self {
        Self { redis_url, fleet: "rl:fleet".into(), assumed_proxies, patience: PATIENCE }
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

pub struct Limiter {
    store: Store,
    fleet: String,
    proxies: AtomicU32,
    local: Local,
    leases: Leases,
    settling: Settling,
    metrics: Arc<LimitMetrics>,
}

impl Limiter {
    /// Only reads the address: until Redis has answered, limits are local.
    pub fn new(place: Place, metrics: Arc<LimitMetrics>) -> RedisResult<Arc<Self>> {
        Self::with(place, metrics, Scripts::new(), Settling::new())
    }

    fn with(
        place: Place,
        metrics: Arc<LimitMetrics>,
        scripts: Scripts,
        settling: Settling,
    ) -> RedisResult<Arc<Self>> {
        Ok(Arc::new(Self {
            store: Store::new(&place, scripts, metrics.clone())?,
            fleet: place.fleet,
            proxies: place.assumed_proxies.into(),
            local: Local::new(),
            leases: Leases::new(),
            settling,
            metrics,
        }))
    }

    /// Lets a call through if every one of its limits does.
    pub async fn admit(self: &Arc<Self>, asked: Asked<'_>) -> Result<Permit, LimitReached> {
        let charges = asked.charges();
        if charges.is_empty() {
            return Ok(Permit::free());
        }
        let lease = self.leases.next(&charges);
        match self.decide(&charges, lease).await {
            Some(decision) => {
                if decision.refusal.is_none() {
                    self.leases.enter(lease, &charges);
                }
                self.tell(State::Shared, (charges, lease), &decision)
            }
            None => self.admit_here(charges),
        }
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
        self.settling.carry(&self.store, &self.leases, &self.metrics).await;
    }

    /// `None` when Redis does not decide.
    async fn decide(&self, charges: &[Charge], lease: Option<Lease>) -> Option<Decision> {
        if !self.store.is_there() {
            return None;
        }
        let unheard = Unheard { limiter: self, charges, lease };
        let question = self.store.scripts.admit(charges, &self.leases.name(lease));
        let answer: Vec<u64> = self.store.ask(&question).await?;
        let decision = Decision::read(&answer)?;
        unheard.was_answered();
        Some(decision)
    }

    fn admit_here(self: &Arc<Self>, charges: Vec<Charge>) -> Result<Permit, LimitReached> {
        let proxies = self.proxies.load(Ordering::Relaxed);
        let charges: Vec<_> = charges.into_iter().map(|it| it.share(proxies)).collect();
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
        let refused = decision.refusal.and_then(|it| Some((it, charges.get(it.index)?)));
        if let Some((refusal, charge)) = refused {
            self.metrics.refused(charge.level, refusal.what);
            let standing = Standing::after(decision, &charges);
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
        if let Some(alive) = self.store.beat(&self.fleet, &self.leases.proxy).await {
            self.proxies.store(alive, Ordering::Relaxed);
            self.metrics.proxies.set(alive.into());
        }
        Ok(())
    }

    async fn carry(self: Arc<Self>) -> Result<(), Infallible> {
        self.leave().await;
        Ok(())
    }

    async fn renew(self: Arc<Self>) -> Result<(), Infallible> {
        self.settling.renew(&self.store, &self.leases).await;
        Ok(())
    }
}

/// A question that Redis may hear though we do not hear the answer: it took too long, or
/// the caller hung up. Then the place is given back, if Redis gave one; what it may have
/// charged stays charged, since nobody knows.
struct Unheard<'a> {
    limiter: &'a Limiter,
    charges: &'a [Charge],
    lease: Option<Lease>,
}

impl Unheard<'_> {
    fn was_answered(mut self) {
        self.lease = None;
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        let Some(lease) = self.lease else { return };
        let charges = self.charges.to_vec();
        let settlement = Settlement { charges, lease: Some(lease), correction: None };
        self.limiter.settling.put(settlement, &self.limiter.metrics);
    }
}
