//! Correcting charges and giving places back, without the call waiting for it.
//!
//! A call that ends, however it ends, leaves a settlement in a queue, and a task carries
//! the queue to Redis in batches. Where a limit is far from its end it waits a moment for more
//! to come: what many calls came to is told at the price of one. Nothing is told twice: a batch that
//! Redis may have heard is not sent again. What is lost that way, or finds the queue full, is counted;
//! its tokens stay charged as estimated, which a minute heals, and its places come back when
//! their time is over. So a loss never lets more through.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use redis::Pipeline;
use tokio::{
    sync::{Mutex, Notify, mpsc},
    time::timeout,
};

use super::{
    charge::Charge,
    gcra::Used,
    leases::{Lease, Leases, limited},
    metrics::LimitMetrics,
    store::Store,
};

/// Enough for every call under way to end at once.
const QUEUE: usize = 65_536;
/// What is told in one breath.
const BATCH: usize = 256;
/// How long what nobody waits for is gathered.
const GATHERING: Duration = Duration::from_millis(5);

/// What is left to do after a call.
#[derive(Clone, Debug)]
pub struct Settlement {
    pub(super) charges: Vec<Charge>,
    pub lease: Option<Lease>,
    /// Where the tokens are to be corrected.
    pub correction: Option<Correction>,
    /// Whether others may wait for what is given back.
    pub is_urgent: bool,
}

#[derive(Clone, Debug)]
pub struct Correction {
    /// What the call came to.
    pub tokens: u64,
    /// When it was charged, by the clock of who charged it.
    pub at: u64,
    /// How many tokens were used just after the charge, on each level.
    pub after: Vec<Used>,
}

impl Settlement {
    /// Only where tokens are limited.
    pub(super) fn corrections(&self) -> impl Iterator<Item = (&Charge, &Correction, Used)> {
        self.correction.iter().flat_map(|correction| {
            let charges = self.charges.iter().zip(&correction.after);
            charges
                .filter(|(charge, _)| charge.limits.tokens_per_minute.is_some())
                .map(move |(charge, after)| (charge, correction, *after))
        })
    }

    pub fn places(&self) -> impl Iterator<Item = &String> {
        self.lease.iter().flat_map(|_| limited(&self.charges))
    }

    fn is_nothing(&self) -> bool {
        let mut corrections = self.corrections();
        self.lease.is_none() && corrections.all(|(charge, it, _)| charge.tokens == it.tokens)
    }
}

pub struct Settling {
    queue: mpsc::Sender<Settlement>,
    /// Held while Redis is told, so that a renewal cannot overtake the end of its call.
    queued: Mutex<mpsc::Receiver<Settlement>>,
    pub nudge: Arc<Notify>,
    /// Told when there is no time to gather more.
    urgent: Notify,
}

impl Settling {
    pub fn new() -> Self {
        Self::with(QUEUE)
    }

    pub(super) fn with(size: usize) -> Self {
        let (queue, queued) = mpsc::channel(size);
        Self { queue, queued: Mutex::new(queued), nudge: Arc::default(), urgent: Notify::new() }
    }

    /// Never waits: it is called from `drop`.
    pub fn put(&self, settlement: Settlement, metrics: &LimitMetrics) {
        if settlement.is_nothing() {
            return;
        }
        let is_urgent = settlement.is_urgent;
        match self.queue.try_send(settlement) {
            Ok(()) => {
                if is_urgent {
                    self.urgent.notify_one();
                }
                self.nudge.notify_one();
            }
            Err(_) => metrics.settlements_lost.inc(),
        }
    }

    /// Waits for more to come, where there is time.
    pub async fn gather(&self) {
        let _ = timeout(GATHERING, self.urgent.notified()).await;
    }

    /// Tells Redis until the queue is empty. While Redis is given up the queue is kept.
    pub async fn carry(&self, store: &Store, leases: &Leases, metrics: &LimitMetrics) {
        let mut queued = self.queued.lock().await;
        while store.is_there() {
            let batch: Vec<_> = std::iter::from_fn(|| queued.try_recv().ok()).take(BATCH).collect();
            if batch.is_empty() {
                return;
            }
            let mut shards = BTreeMap::<_, Vec<_>>::new();
            for it in &batch {
                shards.entry(it.charges.first().map(|it| it.shard)).or_default().push(it);
            }
            let mut telling = Pipeline::new();
            for settlements in shards.values() {
                telling.add_command(store.scripts.settle(settlements, leases)).ignore();
            }
            if !store.tell(&telling).await {
                metrics.settlements_lost.inc_by(batch.len() as u64);
            }
        }
    }

    /// Says of every call under way that it still is.
    pub async fn renew(&self, store: &Store, leases: &Leases) {
        let _alone = self.queued.lock().await;
        let mut telling = Pipeline::new();
        for (calls, names) in leases.living() {
            for names in names.chunks(BATCH) {
                telling.add_command(store.scripts.renew(&calls, names)).ignore();
            }
        }
        if !telling.is_empty() {
            store.tell(&telling).await;
        }
    }
}
