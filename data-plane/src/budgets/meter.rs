//! What counts what calls came to, beside the road.

use std::{
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shared::{
    counters::{Epoch, Hold, Incarnation, Shard},
    event::Event,
    ids::{BudgetId, OrganizationId, ProxyId, RequestId},
    json, random,
    snapshot::Budget,
    tasks::Supervisor,
};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    time::sleep,
};
use tracing::{error, info, warn};

use super::{
    Bearing, Clock, Edges, MeterMetrics,
    allowances::Allowances,
    book::Book,
    gone::Gone,
    hearing::{Hearing, Rest, Unheard},
    tab::Intent,
    used::Used,
};
use crate::{
    journal::{Journal, NotWritten},
    limits::{Limiter, Standing},
};

/// How often what waits is said, if nothing has nudged.
const CARRY: Duration = Duration::from_millis(500);
/// How often we say that we live where we hold something.
const LOOK: Duration = Duration::from_secs(1);
/// How often the journal is tended.
const TEND: Duration = Duration::from_millis(20);
/// More than most intents take.
const USUAL_INTENT: usize = 3 * 1024;
/// How often one who leaves looks whether all answers are heard out.
const HEARD: Duration = Duration::from_millis(50);

pub struct Meter {
    pub proxy: ProxyId,
    pub limiter: Arc<Limiter>,
    pub allowances: Allowances,
    used: Used,
    pub metrics: MeterMetrics,
    hearing: Hearing,
    own: Book,
    /// Of processes before us.
    others: Mutex<Vec<Arc<Book>>>,
    gone: Gone,
    /// Held while Redis is told, so that nothing overtakes anything.
    carrying: AsyncMutex<()>,
    nudge: Arc<Notify>,
    /// The last to go.
    _passing: Option<Passing>,
}

/// A directory that is gone with the process, unless that is killed.
struct Passing(PathBuf);

impl Passing {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("turnpike-journal-{}", RequestId::generate())))
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            warn!(%error, "a journal that was to pass cannot be removed: {error}");
        }
    }
}

impl Meter {
    /// With a journal of its own under `root`, or one that is gone with the process.
    pub fn begin(
        root: Option<&Path>,
        most_bytes: usize,
        limiter: Arc<Limiter>,
        metrics: MeterMetrics,
    ) -> io::Result<Arc<Self>> {
        let passing = root.is_none().then(Passing::new);
        let root = root.or_else(|| passing.as_ref().map(|it| it.0.as_path()));
        let root = root.ok_or(io::ErrorKind::NotFound)?;
        fs::create_dir_all(root)?;
        let others = Journal::left_behind(root, most_bytes)?;
        let epoch = Epoch(u64::from_le_bytes(random::bytes()));
        let mut journal = Journal::create(root, epoch, most_bytes)?;
        journal.is_passing = passing.is_some();
        let meter = Self {
            proxy: ProxyId::generate(),
            limiter,
            allowances: Allowances::default(),
            used: Used::default(),
            hearing: Hearing::new(&metrics),
            metrics,
            own: Book::of(journal),
            others: Mutex::new(others.into_iter().map(take_over).collect()),
            gone: Gone::default(),
            carrying: AsyncMutex::new(()),
            nudge: Arc::default(),
            _passing: passing,
        };
        Ok(Arc::new(meter))
    }

    pub fn epoch(&self) -> Epoch {
        self.own.journal.epoch
    }

    pub fn clock(&self) -> &Clock {
        &self.limiter.clock
    }

    pub fn edges(&self, budget: &Budget) -> Edges {
        self.clock().edges(budget.period, &budget.zone)
    }

    /// How much is used up of the budget that is used up most, as far as we know.
    pub fn used_percent(&self, bearings: &[Bearing]) -> u64 {
        self.used.most(bearings, self.clock().now_ms())
    }

    pub(super) fn hears_of(&self, bearings: &[Bearing], standings: &[Standing]) {
        self.used.note(bearings, standings, self.clock().now_ms());
    }

    pub(super) fn holds(
        &self,
        shard: Shard,
        incarnation: Incarnation,
        call: RequestId,
        holds: Vec<Hold>,
    ) {
        self.own.holds(shard, incarnation, call, holds);
    }

    pub(super) async fn extend(
        &self,
        shard: Shard,
        incarnation: Incarnation,
        call: RequestId,
        more: &[Hold],
    ) -> bool {
        let call = call.uuid().simple().to_string();
        let at = (shard, self.epoch(), incarnation);
        let answer = self.limiter.ask(&self.limiter.counters().extend(at, &call, more)).await;
        answer == Some(0_i64)
    }

    pub(super) fn intends(
        &self,
        call: RequestId,
        shard: Shard,
        intent: &Intent,
    ) -> Result<(), NotWritten> {
        let bytes = json::written(intent, USUAL_INTENT);
        let written = self.own.journal.intend(call, shard, &bytes);
        written.inspect_err(|_| self.metrics.unwritten.inc())
    }

    /// Whether calls are refused, since none can be written down.
    pub fn journal_is_full(&self) -> bool {
        self.own.journal.is_full()
    }

    pub(super) fn progresses(&self, call: RequestId, delivered: u64) {
        self.own.journal.progress(call, delivered);
    }

    /// Never waits: it is called from `drop`.
    pub fn settle(&self, shard: Shard, event: Box<Event>, held: &[BudgetId]) {
        self.own.settle(shard, event, held);
        self.nudge.notify_one();
    }

    /// Settles a call when the rest of its answer is heard. Never waits either.
    pub(super) fn hears_out(&self, unheard: Unheard) {
        self.hearing.take(unheard);
    }

    /// Hears out what a call does not wait for while it goes on. What comes of it is there when
    /// the call is over, or later.
    pub(super) fn hears_aside(
        &self,
        call: RequestId,
        organization: OrganizationId,
        rest: Rest,
    ) -> Rest {
        self.hearing.take_aside(call, organization, rest)
    }

    /// Waits until no answer is being heard out.
    pub async fn has_heard_all(&self) {
        while self.metrics.hearing.get() > 0 {
            sleep(HEARD).await;
        }
    }

    /// What has not been heard out by now is settled without.
    pub fn ends_hearing(&self) {
        self.hearing.end();
    }

    pub fn start(self: Arc<Self>, supervisor: &Supervisor) {
        self.hearing.start(supervisor);
        let (meter, nudge) = (self.clone(), self.nudge.clone());
        supervisor.every("count calls", CARRY, nudge, move || meter.clone().carry());
        let meter = self.clone();
        supervisor.every("look after holds", LOOK, Arc::default(), move || meter.clone().look());
        supervisor.every("tend the journal", TEND, Arc::default(), move || self.clone().tend());
    }

    /// Says what has not been said yet, when no more calls come.
    pub async fn leave(&self) {
        let _alone = self.carrying.lock().await;
        self.own.carry(&self.limiter, &self.metrics).await;
        for book in self.all_others() {
            if book.takes_over(&self.limiter).await
                && book.carry(&self.limiter, &self.metrics).await
            {
                book.lets_go_of_unsent(&self.limiter).await;
            }
        }
        self.metrics.unsettled.set(i64::try_from(self.own.waiting()).unwrap_or(i64::MAX));
    }

    /// The same, and that we hold nothing any more, if so: no store waits for us that is lost.
    pub async fn departs(&self) {
        self.leave().await;
        self.own.ends(&self.limiter).await;
    }

    async fn carry(self: Arc<Self>) -> Result<(), Infallible> {
        self.leave().await;
        Ok(())
    }

    async fn look(self: Arc<Self>) -> Result<(), Infallible> {
        let _alone = self.carrying.lock().await;
        if let Some(now_ms) = self.own.look(&self.limiter, &self.metrics).await {
            self.clock().told(now_ms);
        }
        for book in self.all_others() {
            book.look(&self.limiter, &self.metrics).await;
        }
        self.drop_done();
        self.gone.look(&self.limiter).await;
        Ok(())
    }

    async fn tend(self: Arc<Self>) -> Result<(), Infallible> {
        // It waits for the disk, which workers must not.
        let meter = self.clone();
        let tended = tokio::task::spawn_blocking(move || meter.own.journal.tend()).await;
        self.metrics.journal_full.set(self.journal_is_full().into());
        if let Ok(Err(error)) = tended {
            error!(%error, "the journal cannot be tended: {error}");
        }
        Ok(())
    }

    /// Journals of the dead of which the database has everything.
    fn drop_done(&self) {
        let mut others = self.others();
        for book in std::mem::take(&mut *others) {
            if !book.is_done() {
                others.push(book);
            } else if let Some(book) = Arc::into_inner(book) {
                let epoch = book.journal.epoch;
                self.gone.add(epoch);
                match book.journal.remove() {
                    Ok(()) => info!(%epoch, "all of a journal that was left behind is kept"),
                    Err(error) => error!(%error, "a journal cannot be removed: {error}"),
                }
            }
        }
    }

    fn all_others(&self) -> Vec<Arc<Book>> {
        self.others().clone()
    }

    fn others(&self) -> MutexGuard<'_, Vec<Arc<Book>>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With a Redis that nobody has, and a journal that nobody reads.
    #[cfg(test)]
    pub fn nowhere() -> Arc<Self> {
        let metrics = crate::metrics::Metrics::new().unwrap();
        let place = crate::limits::Place::standard("redis://127.0.0.1:1".into(), 1);
        let limiter = Limiter::new(place, metrics.limits.clone()).unwrap();
        Self::begin(None, 64 << 20, limiter, metrics.meter).unwrap()
    }

    /// Without all else that is done beside the road.
    #[cfg(test)]
    pub fn begins_hearing(&self, supervisor: &Supervisor) {
        self.hearing.start(supervisor);
    }

    #[cfg(test)]
    pub async fn look_now(self: &Arc<Self>) {
        let Ok(()) = self.clone().look().await;
    }

    /// All events that are kept, for tests to see.
    #[cfg(test)]
    pub fn told(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for shard in self.own.journal.shards() {
            for (_, body) in self.own.journal.since(shard, 0, usize::MAX).unwrap() {
                let (_, event) = super::book::parts(&body).unwrap();
                events.push(Event::decode(event).unwrap());
            }
        }
        events
    }
}

fn take_over(journal: Journal) -> Arc<Book> {
    let (epoch, count) = (journal.epoch, journal.unsettled().len());
    info!(%epoch, count, "a journal was left behind, with {count} calls under way");
    Arc::new(Book::left_behind(journal))
}
