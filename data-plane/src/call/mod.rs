//! Having a call answered by one of its candidates, and looking at how the answer begins.
//!
//! Always holds: an answer is opened only when its first byte is here; an answer that is
//! not a stream is opened only when all of it is here and is JSON, so that half a one is
//! an error and not an answer; until then another candidate may be asked, and after that
//! none; a vendor's complaint about our credential never looks like one about the
//! caller's key; who still waits when we leave is told so, and nobody is asked after that.
//! An attempt owns what it needs: when its caller leaves, its answer is heard out all the same.

mod attempt;
mod breaker;
mod failure;
mod fate;
mod hedges;
mod live;
mod metrics;
mod neighbours;
mod paced;
mod relay;
mod retries;
mod timer;
mod trying;
mod window;

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use hyper::body::Incoming;
use shared::{ids::CredentialId, snapshot::OpenBreakers, usage::Usage};
use tokio::{sync::Notify, time::Instant};

pub use self::{
    attempt::Attempt,
    breaker::{Breakers, Standing, State},
    failure::{CallFailed, UpstreamFailure},
    fate::Fate,
    live::{Flight, Live, LiveMetrics, Pulse},
    metrics::CallMetrics,
    neighbours::Neighbours,
    paced::{Pace, Paced, Piece},
    relay::Relay,
    timer::Timer,
};
use self::{
    attempt::{Ended, Sending},
    hedges::Hedges,
    retries::Retries,
    trying::Trying,
};
use crate::{
    admit::{Memory, Room},
    authenticate::Caller,
    budgets::Tab,
    catalog::Model,
    config::Timeouts,
    egress::Client,
    providers::Refusal,
    route::{Plan, Reason, Sessions},
};

/// The longest time that a client is told to wait, whatever the upstream says.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// What all calls of a proxy share.
#[derive(Debug)]
pub struct Calling {
    pub timeouts: Timeouts,
    pub breakers: Breakers,
    /// How models at upstreams have done lately.
    pub live: Live,
    /// The models that sessions keep.
    pub sessions: Sessions,
    retries: Retries,
    hedges: Hedges,
    metrics: CallMetrics,
    leaving: Leaving,
}

impl Calling {
    /// A site is judged by `breaker_calls` at least.
    pub fn new(timeouts: Timeouts, breaker_calls: u32, metrics: &CallMetrics) -> Self {
        let (open, openings) = (metrics.breakers_open.clone(), metrics.breaker_openings.clone());
        Self {
            timeouts,
            breakers: Breakers::new(breaker_calls, open, openings),
            live: Live::new(&metrics.live),
            sessions: Sessions::new(metrics.sessions.clone()),
            retries: Retries::new(Instant::now()),
            hedges: Hedges::default(),
            metrics: metrics.clone(),
            leaving: Leaving::default(),
        }
    }

    /// The sites that no call goes to at present.
    pub fn left_alone(&self) -> OpenBreakers {
        self.breakers.open(Instant::now())
    }

    /// From now on nobody is asked any more. Calls that wait for an answer fail at once;
    /// streams end with an error event, when they have something to send or at the next
    /// silence.
    pub fn leave(&self) {
        self.leaving.has_begun.store(true, Ordering::SeqCst);
        self.leaving.told.notify_waiters();
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving.has_begun.load(Ordering::SeqCst)
    }

    /// What `work` comes to, if it does so before we leave.
    pub async fn unless_leaving<F: Future>(&self, work: F) -> Option<F::Output> {
        // Listens before it looks, lest it be told in between.
        let mut told = pin!(self.leaving.told.notified());
        if self.is_leaving() {
            return None;
        }
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            told.as_mut().poll(cx).map(|()| None)
        })
        .await
    }
}

/// Whether we are about to stop.
#[derive(Debug, Default)]
struct Leaving {
    has_begun: AtomicBool,
    told: Notify,
}

/// Who answers a call, and what they were asked for.
#[derive(Clone, Debug)]
pub struct Served {
    pub asked: String,
    pub model: Arc<Model>,
    /// Why the first who was asked was the first.
    pub reason: Reason,
    /// All that was tried, in order.
    pub attempts: Vec<Attempt>,
}

/// A call whose answer has begun.
pub struct Open {
    pub caller: Caller,
    pub served: Served,
    pub reply: Reply,
}

pub enum Reply {
    /// JSON, with the status the upstream gave it.
    Whole {
        status: StatusCode,
        retry_after: Option<HeaderValue>,
        body: Bytes,
        /// What the body takes until it has gone out.
        memory: Option<Memory>,
        /// `None` where the upstream did not say.
        usage: Option<Usage>,
        /// How fast it says it was, where prices depend on that.
        service_tier: Option<String>,
    },
    /// Server-sent events.
    Stream { content_type: HeaderValue, relay: Relay<Incoming> },
}

pub async fn call(
    client: &Client,
    calling: &Arc<Calling>,
    room: &Arc<Room>,
    plan: Plan,
    tab: &mut Tab,
) -> Result<Open, CallFailed> {
    let Plan { caller, ask, candidates, decision, terms, session } = plan;
    let reason = decision.reason.clone();
    let (asked, ask) = (ask.model.clone(), Arc::new(ask));
    let now = Instant::now();
    calling.retries.note_call(now);
    if let Some((policy, hedge)) = terms.hedge {
        calling.hedges.note_call(policy, hedge.most_percent);
    }
    let total = terms.total.map_or(calling.timeouts.total, |it| it.min(calling.timeouts.total));
    let (organization, end) = (caller.organization(), now + total);
    let sending = Sending { client, calling, ask: &ask, room, organization, end, terms: &terms };
    let mut trying = Trying::new((calling, &sending, &terms), &ask, end, tab);
    let tried = trying.each(&candidates).await;
    let (candidate, ended) = tried.expect("a plan has a candidate");
    if let (Some(session), Ended::Answered(_)) = (session, &ended) {
        calling.sessions.keeps(session, &candidate.model, Instant::now());
    }
    let (cost, attempts) = (trying.tab.cost(), std::mem::take(&mut trying.attempts));
    let served = Served { asked, model: candidate.model.clone(), reason, attempts };
    match ended {
        Ended::Answered(reply) => Ok(Open { caller, served, reply }),
        Ended::Refused(refusal) => Ok(Open { caller, served, reply: refusal.into() }),
        Ended::Failed(why) => Err(CallFailed { served: served.into(), why, cost }),
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, retry_after, body, .. } = refusal;
        let seconds = |it: Duration| {
            let seconds = it.min(LONGEST_RETRY_AFTER).as_millis().div_ceil(1_000);
            u64::try_from(seconds).unwrap_or(u64::MAX)
        };
        Self::Whole {
            status,
            retry_after: retry_after.map(|it| HeaderValue::from(seconds(it))),
            body,
            memory: None,
            usage: None,
            service_tier: None,
        }
    }
}

/// A stream's tie to what all calls share, after the call itself is over.
pub struct Watch {
    calling: Arc<Calling>,
    site: CredentialId,
    /// The call's own, where its model is watched.
    flight: Option<Flight>,
}

impl Watch {
    pub fn new(calling: &Arc<Calling>, site: CredentialId) -> Self {
        Self { calling: calling.clone(), site, flight: None }
    }

    /// Tells of the model, too.
    pub fn of(mut self, flight: Flight) -> Self {
        self.flight = Some(flight);
        self
    }

    fn is_leaving(&self) -> bool {
        self.calling.is_leaving()
    }

    /// All of the answer is here, of so many tokens.
    fn ended(&mut self, tokens: u64) {
        if let Some(flight) = self.flight.take() {
            flight.ends(tokens, Instant::now());
        }
    }

    /// The answer had begun, which spoke for the site; that it broke speaks against it.
    fn broke(&self, failure: &UpstreamFailure) {
        let verdict = Fate::of_failure(failure, None).verdict();
        let now = Instant::now();
        self.calling.breakers.note(self.site, verdict, now);
        if let Some(flight) = self.flight.as_ref().filter(|_| verdict == breaker::Verdict::Bad) {
            flight.fails(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn calling() -> Arc<Calling> {
        let metrics = CallMetrics::new(&prometheus::Registry::new()).unwrap();
        Calling::new(Timeouts::default(), 10, &metrics).into()
    }
}
