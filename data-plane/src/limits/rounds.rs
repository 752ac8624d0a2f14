//! What calls ask together: while a question of a shard is under way, those that come are
//! gathered, and go out as one when it is answered. So a lone call waits for nobody, and the more
//! there are, the less each costs.
//!
//! Always holds: each is decided as if it were asked alone, in its turn; whoever leaves before
//! their question was put asks nothing; whoever leaves afterwards is undone when the answer is
//! there, or when there is none.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use redis::Pipeline;
use shared::counters::{Epoch, Shard, Sweeping, Swept, written};
use tokio::{sync::oneshot, time::Instant};

use super::{Limiter, charge::Charge, decision::Decision, question::Asking, settling::Settlement};

/// How many calls ask together at most, and how many keys they name, unless one alone names more.
const MOST: usize = 32;
const MOST_KEYS: usize = 1_000;
/// Enough for each worker to have one of its own.
const DESKS: usize = 64;

/// Whose questions may be put as one: those of one process in one shard.
pub type Target = (Shard, Epoch);

/// Each thread gathers at a desk of its own, so that nobody has to be woken on another.
pub struct Rounds([Mutex<Desk>; DESKS]);

/// Who waits, by the targets that a question to is under way.
type Desk = HashMap<Target, Vec<Waiting>>;

struct Waiting {
    since: Instant,
    unheard: Unheard,
    answer: oneshot::Sender<Heard>,
}

/// An answer that is on its way to whoever asked.
struct Heard {
    decision: Decision,
    unheard: Unheard,
}

/// A question that Redis may hear though nobody hears the answer: it took too long, or the
/// caller hung up. Then the place is given back, if Redis gave one; what it may have charged
/// stays charged, since nobody knows.
struct Unheard {
    limiter: Arc<Limiter>,
    asking: Asking,
    /// Before that it can be forgotten.
    is_put: bool,
}

impl Rounds {
    pub fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }

    /// Waits to be asked. Answers whether nobody asks there, so that somebody has to begin.
    fn joins(&self, desk: usize, target: Target, waiting: Waiting) -> bool {
        let mut desk = self.desk(desk);
        match desk.get_mut(&target) {
            Some(queue) => {
                queue.push(waiting);
                false
            }
            None => {
                desk.insert(target, vec![waiting]);
                true
            }
        }
    }

    /// Who asks next together. Where nobody waits, that is over.
    fn next(&self, desk: usize, target: Target) -> Option<Vec<Waiting>> {
        let mut desk = self.desk(desk);
        let queue = desk.get_mut(&target)?;
        if queue.is_empty() {
            desk.remove(&target);
            return None;
        }
        let rest = queue.split_off(as_one(queue));
        Some(std::mem::replace(queue, rest))
    }

    fn close(&self, desk: usize, target: Target) -> Option<Vec<Waiting>> {
        self.desk(desk).remove(&target)
    }

    #[cfg(test)]
    pub(super) fn is_asked(&self) -> bool {
        (0..DESKS).any(|it| !self.desk(it).is_empty())
    }

    fn desk(&self, number: usize) -> MutexGuard<'_, Desk> {
        self.0[number % DESKS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of those who wait go together.
fn as_one(queue: &[Waiting]) -> usize {
    let mut keys = 0;
    let fits = |it: &&Waiting| {
        keys += it.unheard.asking.size();
        keys <= MOST_KEYS
    };
    queue.iter().take(MOST).take_while(fits).count().max(1)
}

/// Where this thread gathers.
fn own_desk() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    let own = OWN.get().unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
    OWN.set(Some(own));
    own
}

/// Puts to a store what is asked of a target, until nobody waits there.
struct Asker {
    limiter: Arc<Limiter>,
    desk: usize,
    target: Target,
    is_done: bool,
}

impl Asker {
    async fn asks(mut self) {
        let (limiter, mut is_answered) = (self.limiter.clone(), true);
        while let Some(mut round) = limiter.rounds.next(self.desk, self.target) {
            // Where it was us who stood still, Redis may answer yet.
            if !is_answered {
                round.retain(|it| !limiter.store.patience.is_over(it.since));
            }
            is_answered = self.puts(round).await;
        }
        self.is_done = true;
    }

    /// Answers whether Redis did.
    async fn puts(&self, mut round: Vec<Waiting>) -> bool {
        let (store, target) = (&self.limiter.store, self.target);
        round.retain(Waiting::is_waiting);
        let Some(since) = round.first().map(|it| it.since) else { return true };
        if !store.is_there() {
            return false;
        }
        round.iter_mut().for_each(|it| it.unheard.is_put = true);
        self.limiter.metrics.questions.inc();
        let question = || {
            // Where it has to be put again, nobody did anything yet.
            round.retain(Waiting::is_waiting);
            let all: Vec<_> = round.iter().map(|it| &it.unheard.asking).collect();
            store.scripts.admit(target, &all)
        };
        let answers: Option<Vec<Vec<u8>>> = store.ask_since(since, question).await;
        let is_answered = answers.is_some();
        let answers = answers.filter(|it| it.len() == round.len()).unwrap_or_default();
        let all = round.into_iter().zip(answers);
        let left: Vec<_> = all.filter_map(|(waiting, answer)| waiting.hears(&answer)).collect();
        if !left.is_empty() {
            self.lets_go(&left).await;
        }
        is_answered
    }

    /// Of calls whose callers left: their settlements may have been heard before the question.
    async fn lets_go(&self, left: &[Heard]) {
        let ((shard, epoch), store) = (self.target, &self.limiter.store);
        let mut telling = Pipeline::new();
        for Heard { decision, unheard } in left {
            let holds = unheard.asking.holds(decision);
            if holds.is_empty() {
                continue;
            }
            let call = unheard.asking.call.uuid().simple().to_string();
            let written = written(&holds);
            let sweeping = Sweeping { epoch, call: &call, written: &written, why: Swept::Settled };
            telling.add_command(store.scripts.counters.sweep(shard, sweeping)).ignore();
        }
        if !telling.is_empty() {
            store.tell(&telling).await;
        }
    }
}

/// It ended before its time: who waits is told so.
impl Drop for Asker {
    fn drop(&mut self) {
        if !self.is_done {
            drop(self.limiter.rounds.close(self.desk, self.target));
        }
    }
}

impl Waiting {
    fn is_waiting(&self) -> bool {
        !self.answer.is_closed()
    }

    /// Tells whoever asked. Answers what nobody hears any more.
    fn hears(self, answer: &[u8]) -> Option<Heard> {
        let Self { unheard, answer: to, .. } = self;
        let decision = Decision::read(answer, unheard.asking.charges.len())?;
        to.send(Heard { decision, unheard }).err()
    }
}

impl Unheard {
    fn was_answered(mut self) -> Vec<Charge> {
        self.is_put = false;
        std::mem::take(&mut self.asking.charges)
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let lease = self.asking.lease.filter(|_| self.is_put);
        if lease.is_none() {
            return;
        }
        let charges = std::mem::take(&mut self.asking.charges);
        let settlement = Settlement { charges, lease, correction: None, is_urgent: true };
        self.limiter.settling.put(settlement, &self.limiter.metrics);
    }
}

impl Limiter {
    /// Asks with those who ask at the same time. `None` when Redis does not decide.
    pub(super) async fn asks(
        self: &Arc<Self>,
        target: Target,
        asking: Asking,
    ) -> Option<(Decision, Vec<Charge>)> {
        let (answer, answered) = oneshot::channel();
        let unheard = Unheard { limiter: self.clone(), asking, is_put: false };
        let (waiting, desk) = (Waiting { since: Instant::now(), unheard, answer }, own_desk());
        if self.rounds.joins(desk, target, waiting) {
            let asker = Asker { limiter: self.clone(), desk, target, is_done: false };
            #[expect(clippy::disallowed_methods, reason = "it ends when all are answered")]
            tokio::spawn(asker.asks());
        }
        let Heard { decision, unheard } = answered.await.ok()?;
        Some((decision, unheard.was_answered()))
    }
}
