//! Hearing out answers whose callers have left: their provider goes on and wants to be paid, so
//! what they come to has to be known. What is held for them stays held until then.
//!
//! It is bounded: so many at once, an organization alone no more than half of them; each for so
//! long, and its bytes as everywhere in `call`. What is not heard out costs as much as it may
//! come to.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, join},
    stream::FuturesUnordered,
};
use prometheus::IntCounter;
use shared::{
    event::Event,
    ids::{OrganizationId, RequestId},
    tasks::Supervisor,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{Delivered, MeterMetrics, Tab};
use crate::{
    admit::{Room, Seat},
    panics::contained,
};

/// How many answers are heard out at once.
const MOST: u32 = 1_024;
/// How long each may take: as long as a call.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// What an attempt came to of which the client got nothing, or that nobody waits for any more.
#[derive(Debug)]
pub enum Heard {
    /// It never left, or its upstream said no: there is nothing to pay.
    Nothing,
    /// Its upstream began to answer, and said that it failed.
    Failure,
    /// It was heard to its end, or as far as it came.
    Answer(Delivered),
    /// Nobody knows. Its upstream may have written all that it was allowed to.
    Lost,
}

/// What is still to come of an attempt.
pub struct Rest(Mutex<BoxFuture<'static, Heard>>);

impl Rest {
    pub fn of(rest: impl Future<Output = Heard> + Send + 'static) -> Self {
        // Nobody else has it: this is so that a tab can be looked at from anywhere.
        Self(Mutex::new(Box::pin(rest)))
    }

    /// What it came to, if that is known by now. Asked once more, it has nothing more to say.
    pub(super) fn if_heard(&mut self) -> Option<Heard> {
        let rest = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        rest.now_or_never()
    }

    fn into_inner(self) -> BoxFuture<'static, Heard> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call whose client has left, and the rest of its last attempt, or of the one that was slower.
/// It is settled when this is dropped, whichever way that comes about.
pub(super) struct Unheard {
    open: Option<(Tab, Box<Event>)>,
    rest: Option<Rest>,
    beside: Option<Rest>,
    not_heard: IntCounter,
}

impl Unheard {
    pub fn new(tab: Tab, event: Box<Event>, rest: Option<Rest>, beside: Option<Rest>) -> Self {
        let not_heard = tab.meter().metrics.not_heard.clone();
        Self { open: Some((tab, event)), rest, beside, not_heard }
    }

    fn organization(&self) -> Option<OrganizationId> {
        self.open.as_ref().map(|(_, event)| event.organization)
    }

    async fn hear(mut self) {
        let Some((tab, _)) = &self.open else { return };
        let call = tab.call();
        let both = join(heard(call, self.rest.take()), heard(call, self.beside.take()));
        let (heard, beside) = both.await;
        // What is not heard of one is dropped with what is: it costs as much as it may come to.
        let is_lost = heard.is_err() || beside.is_err();
        if let Some((tab, _)) = &mut self.open {
            if let Ok(Some(beside)) = beside {
                tab.hears_beside(beside);
            }
            if let Ok(Some(heard)) = heard {
                tab.hears(heard);
            }
        }
        if is_lost {
            return;
        }
        if let Some((tab, event)) = self.open.take() {
            let metrics = tab.meter().metrics.clone();
            tab.settle(event);
            metrics.heard_out.inc();
        }
    }
}

/// Nothing of what there is not, and not in time, or after a panic, nobody knows.
async fn heard(call: RequestId, rest: Option<Rest>) -> Result<Option<Heard>, NotHeard> {
    let Some(rest) = rest else { return Ok(None) };
    match timeout(LONGEST, contained(call, rest.into_inner())).await {
        Ok(Ok(heard)) => Ok(Some(heard)),
        Ok(Err(_)) | Err(_) => Err(NotHeard),
    }
}

struct NotHeard;

impl Drop for Unheard {
    fn drop(&mut self) {
        if let Some((tab, event)) = self.open.take() {
            tab.settle(event);
            self.not_heard.inc();
        }
    }
}

type Queue = mpsc::UnboundedSender<(BoxFuture<'static, ()>, Seat)>;

pub(super) struct Hearing {
    room: Arc<Room>,
    /// Nothing before we listen, and when we do no longer.
    queue: Mutex<Option<Queue>>,
    metrics: MeterMetrics,
}

impl Hearing {
    pub fn new(metrics: &MeterMetrics) -> Self {
        Self { room: Room::new(MOST, 0), queue: Mutex::default(), metrics: metrics.clone() }
    }

    /// Never waits: it is called from `drop`. What is not taken is settled at once.
    pub fn take(&self, unheard: Unheard) {
        if let Some(organization) = unheard.organization() {
            self.put(organization, Box::pin(unheard.hear()));
        }
    }

    /// Hears something out of a call that goes on. What is not taken is lost.
    pub fn take_aside(&self, call: RequestId, organization: OrganizationId, rest: Rest) -> Rest {
        let (sender, receiver) = oneshot::channel();
        self.put(
            organization,
            Box::pin(async move {
                if let Ok(Some(heard)) = heard(call, Some(rest)).await {
                    // Who is gone has settled without.
                    let _ = sender.send(heard);
                }
            }),
        );
        Rest::of(async { receiver.await.unwrap_or(Heard::Lost) })
    }

    fn put(&self, organization: OrganizationId, hearing: BoxFuture<'static, ()>) {
        let (seat, queue) = (self.room.seat(organization).ok(), self.queue().clone());
        if let (Some(seat), Some(queue)) = (seat, queue) {
            self.metrics.hearing.inc();
            if queue.send((hearing, seat)).is_err() {
                self.metrics.hearing.dec();
            }
        }
    }

    pub fn start(&self, supervisor: &Supervisor) {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.queue() = Some(sender);
        supervisor.run("hear answers out", listen(receiver, self.metrics.clone()));
    }

    /// From now on nothing is heard out any more.
    pub fn end(&self) {
        self.queue().take();
    }

    fn queue(&self) -> MutexGuard<'_, Option<Queue>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until the queue is closed. What is not heard out then is settled as it is dropped.
async fn listen(
    mut queue: mpsc::UnboundedReceiver<(BoxFuture<'static, ()>, Seat)>,
    metrics: MeterMetrics,
) -> Result<(), Infallible> {
    let mut all = FuturesUnordered::new();
    loop {
        tokio::select! {
            next = queue.recv() => match next {
                Some((hearing, seat)) => all.push(async move {
                    hearing.await;
                    drop(seat);
                }),
                None => break,
            },
            Some(()) = all.next() => metrics.hearing.dec(),
        }
    }
    metrics.hearing.set(0);
    Ok(())
}
