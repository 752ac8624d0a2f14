//! What of one journal has been counted: our own, or one that a process before us left.
//!
//! Settlements of a shard are said in their order, many at once, until Redis has counted
//! them, and none before a power failure would leave it. How far they are counted is said in every
//! answer, so that a store that went back is told again what it forgot, and one that is another one
//! is told again what is held.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use redis::Pipeline;
use shared::{
    counters::{Hold, Incarnation, LATEST, Looked, Settled, Shard, State, Sweeping, Swept},
    event::{Event, SettlementId},
    ids::{BudgetId, RequestId},
};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{
    MeterMetrics,
    newest::{Newest, Said},
    tab::Intent,
};
use crate::{
    journal::{Journal, Unsettled},
    limits::Limiter,
};

/// What is settled at once.
const BATCH: usize = 64;
/// How often what is settled is flushed to the disk, so as to be said, at most.
const FLUSH: Duration = Duration::from_millis(20);
/// How often we look at a shard in which we hold nothing.
const IDLE_LOOK: Duration = Duration::from_secs(5);

pub struct Book {
    pub journal: Journal,
    newest: Arc<Newest>,
    shards: Mutex<BTreeMap<Shard, Page>>,
    flushed: Mutex<Option<Instant>>,
    /// Whether what was under way is settled, where this is of a process that died.
    is_taken_over: AtomicBool,
    /// Whether what was held for calls that were never sent is let go of.
    is_let_go: AtomicBool,
}

/// Settlements with their numbers, behind the number of the first of them.
type Batch = (u64, Vec<(u64, Arc<Said>)>);

/// What is known of a shard.
#[derive(Default)]
struct Page {
    incarnation: Option<Incarnation>,
    /// The last settlement that is counted.
    counted: u64,
    /// Settlements that are counted, and gone from the journal.
    gone: u64,
    /// What calls under way hold.
    open: HashMap<RequestId, Vec<Hold>>,
    /// Whether the store is another one, that has not heard what is held.
    is_unheard: bool,
    /// To which store all is said that was held when it became the one, and up to which number
    /// what was settled before has to be counted there for it to know all.
    said: Option<(Incarnation, u64)>,
    looked: Option<Instant>,
}

impl Book {
    pub fn of(journal: Journal) -> Self {
        Self {
            journal,
            newest: Arc::default(),
            shards: Mutex::default(),
            flushed: Mutex::default(),
            is_taken_over: AtomicBool::new(true),
            is_let_go: AtomicBool::new(false),
        }
    }

    /// Of a process that died, and had calls under way.
    pub fn left_behind(journal: Journal) -> Self {
        let book = Self::of(journal);
        book.is_taken_over.store(false, Ordering::Relaxed);
        book
    }

    pub fn holds(&self, shard: Shard, incarnation: Incarnation, call: RequestId, holds: Vec<Hold>) {
        let last = self.journal.last(shard);
        let mut shards = self.shards();
        let page = shards.entry(shard).or_default();
        page.open.insert(call, holds);
        if page.meets(incarnation, last) {
            look_everywhere(&mut shards);
        }
    }

    /// Keeps what a call came to, until it is counted and in the database. Before that nobody
    /// says any more that the call is under way, lest it be held after it was counted.
    pub fn settle(&self, shard: Shard, mut event: Box<Event>, held: &[BudgetId]) {
        let (call, epoch) = (event.request, self.journal.epoch);
        if let Some(page) = self.shards().get_mut(&shard) {
            page.open.remove(&call);
        }
        let (held, newest) = (held.to_vec(), self.newest.clone());
        self.journal.settle((call, shard), !held.is_empty(), move |number| {
            event.settlement = Some(SettlementId { epoch, number });
            let said = Said::new(&event, held.clone());
            let written = Body { held: &said.held, event: &said.event }.written();
            newest.put((shard, number), said);
            written
        });
    }

    /// Settles what was under way when the process died, as soon as Redis has said what it
    /// counted. Some of that may be gone here: a record was damaged, or there was no room for it.
    /// Whose settlement was counted and is gone holds nothing any more, and must not be settled
    /// again; and whoever is settled now must not get its number, or would be taken for counted.
    /// Answers whether it is done.
    pub async fn takes_over(&self, limiter: &Limiter) -> bool {
        self.is_taken_over.load(Ordering::Relaxed) || self.take_over(limiter).await.is_some()
    }

    async fn take_over(&self, limiter: &Limiter) -> Option<()> {
        let (epoch, unsettled) = (self.journal.epoch, self.journal.unsettled());
        let mut shards: BTreeSet<_> = self.journal.shards().into_iter().collect();
        shards.extend(unsettled.iter().map(|(_, it)| it.shard));
        for shard in shards {
            let ask = limiter.counters().look((shard, epoch), false, None);
            let looked = Looked::read(limiter.ask(&ask).await?)?;
            if looked.state == State::Cold {
                return None;
            }
            self.notes(shard, looked.incarnation, looked.state, looked.settled);
            let gone = self.journal.notes_counted(shard, looked.settled.max(looked.durable));
            self.shards().entry(shard).or_default().gone = gone;
        }
        let mut counted = 0;
        for (call, it) in unsettled {
            let Some(intent) = intent_of(call, &it) else { continue };
            let gone = self.shards().get(&it.shard).map_or(0, |it| it.gone);
            if gone > 0 && intent.is_held && !self.is_held(limiter, it.shard, call).await? {
                self.journal.was_settled(call);
                counted += 1;
            } else {
                let (event, held) = intent.settled(it.delivered);
                self.settle(it.shard, event, &held);
            }
        }
        self.is_taken_over.store(true, Ordering::Relaxed);
        if counted > 0 || !self.journal.is_whole {
            warn!(
                %epoch,
                counted,
                "a journal lacks records: {counted} calls in it were counted already, and what it does not \
                 know of stays held"
            );
        }
        Some(())
    }

    /// Whether budgets hold something for a call of this process.
    async fn is_held(&self, limiter: &Limiter, shard: Shard, call: RequestId) -> Option<bool> {
        let (epoch, places) = (self.journal.epoch, &limiter.counters().places);
        let call = call.uuid().simple().to_string();
        let buried = format!("{epoch} {call}");
        for (place, name) in
            [(places.holds(shard, epoch), call), (places.dead_holds(shard), buried)]
        {
            let mut ask = redis::cmd("HEXISTS");
            ask.arg(place).arg(name);
            if limiter.ask::<bool>(&ask).await? {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Says all that is not counted. Answers whether Redis heard all of it.
    pub async fn carry(&self, limiter: &Limiter, metrics: &MeterMetrics) -> bool {
        self.flush().await;
        let mut heard = true;
        for shard in self.journal.shards() {
            heard &= self.carry_shard(shard, limiter, metrics).await;
        }
        // What the disk does not have for certain was not said.
        heard && self.waiting() == 0
    }

    /// Sees to it that a power failure leaves what is settled. A number that Redis has counted
    /// would else be another call's afterwards.
    async fn flush(&self) {
        self.journal.write_what_waits();
        let last = *self.flushed();
        let Some(unsynced) = self.journal.unsynced() else { return };
        if let Some(rest) = last.and_then(|it| FLUSH.checked_sub(it.elapsed())) {
            tokio::time::sleep(rest).await;
        }
        // It waits for the disk, which workers must not.
        let synced = tokio::task::spawn_blocking(move || unsynced.sync()).await;
        *self.flushed() = Some(Instant::now());
        match synced {
            Ok(Ok(synced)) => self.journal.is_synced(synced),
            Ok(Err(error)) => tracing::error!(%error, "the journal cannot be flushed: {error}"),
            Err(error) => tracing::error!(%error, "the journal was not flushed: {error}"),
        }
    }

    fn flushed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.flushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn carry_shard(&self, shard: Shard, limiter: &Limiter, metrics: &MeterMetrics) -> bool {
        loop {
            if !self.say_what_is_held(shard, limiter, metrics).await {
                return false;
            }
            let counted = self.shards().entry(shard).or_default().counted;
            let (first, batch) = match self.said_since(shard, counted) {
                Ok(Some(batch)) => batch,
                Ok(None) => return true,
                Err(error) => {
                    error!(%error, "the journal cannot be read: {error}");
                    return false;
                }
            };
            let said: Vec<_> = batch.iter().map(|(number, it)| it.settlement(*number)).collect();
            let ask = limiter.counters().settle(shard, self.journal.epoch, &said);
            let Some(answer) = limiter.ask(&ask).await else { return false };
            let Some(settled) = Settled::read(answer) else { return false };
            self.notes(shard, settled.incarnation, settled.state, settled.last);
            if settled.state == State::Cold {
                return false;
            }
            self.newest.forget(shard, settled.last);
            metrics.settled.inc_by(settled.last.saturating_sub(counted));
            if settled.last <= counted && settled.last + 1 < first {
                // What it lacks is not here any more: the database has it, and whoever heals
                // the store will say so.
                warn!(%shard, "Redis has forgotten settlements that are in the database");
                return false;
            }
        }
    }

    /// What there is behind a number to be said at once: the number of the first, and all of
    /// those that can be read.
    fn said_since(&self, shard: Shard, number: u64) -> io::Result<Option<Batch>> {
        let found = self.journal.safe_since(shard, number, BATCH)?;
        let Some(first) = found.first().map(|it| it.number) else { return Ok(None) };
        let mut batch = Vec::with_capacity(found.len());
        for it in found {
            let said = match self.newest.get((shard, it.number)) {
                Some(said) => Some(said),
                None => Said::read(&it.read()?).map(Arc::new),
            };
            batch.extend(said.map(|said| (it.number, said)));
        }
        Ok(Some((first, batch)))
    }

    async fn say_what_is_held(
        &self,
        shard: Shard,
        limiter: &Limiter,
        metrics: &MeterMetrics,
    ) -> bool {
        let (incarnation, open): (_, Vec<_>) = match self.shards().get(&shard) {
            Some(page) if page.is_unheard => {
                let open = page.open.iter().map(|(call, holds)| (*call, holds.clone()));
                (page.incarnation, open.collect())
            }
            Some(_) | None => return true,
        };
        // What has ended since is held by what was said now.
        let last = self.journal.last(shard);
        let mut telling = Pipeline::new();
        for (call, holds) in &open {
            let call = call.uuid().simple().to_string();
            let ask = limiter.counters().register(shard, self.journal.epoch, &call, holds);
            telling.add_command(ask).ignore();
        }
        if !open.is_empty() && !limiter.tell_all(&telling).await {
            return false;
        }
        metrics.registered.inc_by(open.len() as u64);
        if let Some(page) = self.shards().get_mut(&shard)
            && page.incarnation == incarnation
        {
            page.is_unheard = false;
            page.said = incarnation.map(|it| (it, last));
        }
        true
    }

    /// Of a process that died, and of which all else is counted: lets go of what it held for
    /// calls that it had not sent, of which nobody would ever say what they came to. It wrote
    /// down each before it sent it, so that is what its journal does not know, if nothing is
    /// missing there. Otherwise it stays held.
    pub async fn lets_go_of_unsent(&self, limiter: &Limiter) -> Option<()> {
        if self.is_let_go() {
            return Some(());
        }
        let (epoch, places) = (self.journal.epoch, &limiter.counters().places);
        let buried = format!("{epoch} ");
        let mut count = 0;
        for shard in Shard::all() {
            for (place, why) in [
                (places.holds(shard, epoch), Swept::Settled),
                (places.dead_holds(shard), Swept::Buried),
            ] {
                let mut ask = redis::cmd("HGETALL");
                ask.arg(place);
                let mut held: Vec<(String, Vec<u8>)> = limiter.ask(&ask).await?;
                held.retain(|(call, _)| why == Swept::Settled || call.starts_with(&buried));
                for (call, written) in &held {
                    let sweeping = Sweeping { epoch, call, written, why };
                    let ask = limiter.counters().sweep(shard, sweeping);
                    count += limiter.ask::<u64>(&ask).await?;
                }
            }
        }
        self.is_let_go.store(true, Ordering::Relaxed);
        if count > 0 {
            info!(%epoch, count, "{count} calls of a process that died had not been sent");
        }
        Some(())
    }

    fn is_let_go(&self) -> bool {
        !self.journal.is_whole || self.is_let_go.load(Ordering::Relaxed)
    }

    /// Whether nothing of it is needed any more.
    pub fn is_done(&self) -> bool {
        self.journal.is_done() && self.is_let_go()
    }

    /// Says that we live where we hold something, and hears what the database has, which we
    /// then forget. Answers what the time is.
    pub async fn look(&self, limiter: &Limiter, metrics: &MeterMetrics) -> Option<i64> {
        let mut now_ms = None;
        for (shard, holds_something) in self.to_look_at() {
            let place = (shard, self.journal.epoch);
            let mut has_said = self.has_said(shard);
            let looked = loop {
                let ask = limiter.counters().look(place, holds_something, has_said);
                let Some(looked) = limiter.ask(&ask).await.and_then(Looked::read) else {
                    return now_ms;
                };
                now_ms = Some(looked.now_ms);
                self.notes(shard, looked.incarnation, looked.state, looked.settled);
                if looked.state != State::Cold {
                    self.say_what_is_held(shard, limiter, metrics).await;
                }
                // A shard that learns waits to hear that this was all.
                let said = self.has_said(shard).filter(|it| *it == looked.incarnation);
                if looked.state != State::Learning || said.is_none() || said == has_said {
                    break looked;
                }
                has_said = said;
            };
            if let Err(error) = self.journal.forget(shard, looked.durable) {
                error!(%error, "the journal cannot be shortened: {error}");
            }
        }
        if self.journal.is_left_behind && self.is_done() {
            self.ends(limiter).await;
        }
        now_ms
    }

    /// That a process that is gone holds nothing any more: a store that is lost later need not
    /// wait for it. Unheard, the sweeper finds out.
    pub async fn ends(&self, limiter: &Limiter) {
        for shard in Shard::all() {
            let ask = limiter.counters().forget(shard, self.journal.epoch, LATEST);
            let forgotten: Option<i64> = limiter.ask(&ask).await;
            if forgotten.is_none() {
                return;
            }
        }
    }

    /// To which store all is said that is held in a shard, and counted all that was.
    fn has_said(&self, shard: Shard) -> Option<Incarnation> {
        let waits = self.journal.waiting() > 0;
        let shards = self.shards();
        let page = shards.get(&shard)?;
        let (incarnation, last) = page.said?;
        (page.counted >= last && !page.is_unheard && !waits).then_some(incarnation)
    }

    /// How many settlements wait to be counted.
    pub fn waiting(&self) -> u64 {
        let shards = self.shards();
        let of = |shard: &Shard| shards.get(shard).map_or(0, |it| it.counted);
        let waits = |it: Shard| self.journal.last(it).saturating_sub(of(&it));
        let numbered: u64 = self.journal.shards().into_iter().map(waits).sum();
        numbered + self.journal.waiting()
    }

    fn to_look_at(&self) -> Vec<(Shard, bool)> {
        // Nobody knows where a process that is gone held something, and is waited for.
        let kept = match self.journal.is_left_behind {
            true => Shard::all().collect(),
            false => self.journal.shards(),
        };
        let mut shards = self.shards();
        for shard in kept {
            shards.entry(shard).or_default();
        }
        let now = Instant::now();
        let mut all = Vec::new();
        for (shard, page) in shards.iter_mut() {
            let holds_something = !page.open.is_empty();
            let is_due = page.looked.is_none_or(|it| now.duration_since(it) >= IDLE_LOOK);
            if holds_something || is_due {
                page.looked = Some(now);
                all.push((*shard, holds_something));
            }
        }
        all
    }

    fn notes(&self, shard: Shard, incarnation: Incarnation, state: State, counted: u64) {
        let last = self.journal.last(shard);
        let mut shards = self.shards();
        let page = shards.entry(shard).or_default();
        if state != State::Cold {
            page.counted = counted;
            if page.meets(incarnation, last) {
                look_everywhere(&mut shards);
            }
        }
    }

    fn shards(&self) -> MutexGuard<'_, BTreeMap<Shard, Page>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    /// Says whether it is another store than before. To the first that it meets nobody has to
    /// say anything but what is settled, up to `last`.
    fn meets(&mut self, incarnation: Incarnation, last: u64) -> bool {
        let before = self.incarnation.replace(incarnation);
        let is_another = before.is_some_and(|it| it != incarnation);
        if is_another {
            (self.is_unheard, self.said) = (true, None);
        } else if before.is_none() {
            self.said = Some((incarnation, last));
        }
        is_another
    }
}

/// What one shard has lost others may have, too, and wait to hear what we hold.
fn look_everywhere(pages: &mut BTreeMap<Shard, Page>) {
    pages.values_mut().for_each(|it| it.looked = None);
}

fn intent_of(call: RequestId, of: &Unsettled) -> Option<Intent> {
    let read = serde_json::from_slice(&of.intent);
    read.inspect_err(|error| error!(%call, %error, "a call in a journal cannot be read: {error}"))
        .ok()
}

/// A settlement as the journal keeps it: of which budgets the call may hold something, and
/// its event. How many those are is one byte; where that is `MANY`, four more say it.
struct Body<'a> {
    held: &'a [BudgetId],
    event: &'a [u8],
}

const MANY: u8 = u8::MAX;

impl Body<'_> {
    fn written(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(5 + 16 * self.held.len() + self.event.len());
        match u8::try_from(self.held.len()) {
            Ok(few) if few < MANY => bytes.push(few),
            Ok(_) | Err(_) => {
                bytes.push(MANY);
                let many = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
                bytes.extend_from_slice(&many.to_le_bytes());
            }
        }
        for budget in self.held {
            bytes.extend_from_slice(budget.uuid().as_bytes());
        }
        bytes.extend_from_slice(self.event);
        bytes
    }
}

/// Of which budgets a settlement may hold something, and its event.
pub(super) fn parts(bytes: &[u8]) -> Option<(Vec<BudgetId>, &[u8])> {
    let (few, rest) = bytes.split_first()?;
    let (count, rest) = match *few {
        MANY => {
            let (many, rest) = rest.split_first_chunk()?;
            (usize::try_from(u32::from_le_bytes(*many)).ok()?, rest)
        }
        few => (usize::from(few), rest),
    };
    let (held, event) = rest.split_at_checked(count.checked_mul(16)?)?;
    let (held, _) = held.as_chunks::<16>();
    let held = held.iter().map(|it| BudgetId::from_uuid(Uuid::from_bytes(*it))).collect();
    Some((held, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settlement_names_every_budget_however_many_there_are() {
        let request = RequestId::generate();
        let event = format!(r#"{{"request":"{request}"}}"#);
        for count in [0, 1, 254, 255, 256, 1_000] {
            let held: Vec<_> = (0..count).map(|_| BudgetId::generate()).collect();
            let written = Body { held: &held, event: event.as_bytes() }.written();
            let read = Said::read(&written).unwrap();
            assert_eq!((read.held, &*read.event), (held, event.as_bytes()), "{count}");
        }
    }
}
