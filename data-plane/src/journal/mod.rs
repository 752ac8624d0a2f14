//! What a proxy must not forget: which calls it is about to send, how far their answers have
//! come, and what they came to, until the database has it.
//!
//! Always holds: a call is written down before it is sent, and none is sent that cannot be;
//! what is settled has its number among those of its shard, without gaps, and is kept until
//! it is told that the database has it; a process that was killed leaves its journal behind,
//! and the next one that finds it settles what was under way. Of calls that were never sent, and
//! hold nothing, it may take the last with it. A disk that is full refuses calls and loses nothing:
//! what must be kept and cannot be written is kept in memory. Where records are damaged or
//! missing, that is known.
//!
//! What an intent and a settlement say is others' business: here they are bytes.

mod record;
mod segments;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use shared::{
    counters::{Epoch, Shard},
    failure::{Classified, Code, Kind as FailureKind, code},
    ids::RequestId,
};
use uuid::Uuid;

pub use self::segments::{Synced, Unsynced};
use self::{
    record::{Damaged, Kind},
    segments::{Contents, Place, Segments, When},
};

/// How large a segment is, where the journal may take enough of the disk, and how small it is
/// otherwise.
pub const SEGMENT: usize = 8 * 1024 * 1024;
const SMALLEST: usize = 1024 * 1024;
/// So many segments are kept for the sake of calls that last long; then those are written
/// down again.
const MOST_PINNED: usize = 8;
/// What is left free for each call under way to be settled in, beside what its intent took.
const ROOM_PER_CALL: usize = 4 * 1024;
/// How many settlements wait in memory at most. Whatever comes beyond is lost, and what it
/// holds stays held.
const MOST_WAITING: usize = 10_000;

/// The journal of one process of a proxy. Others' are read when it is gone.
pub struct Journal {
    pub epoch: Epoch,
    /// Whether all that was written is there. Not where the machine stopped since: the last
    /// that was written may not have come to its disk.
    pub is_whole: bool,
    /// Whether another process wrote it, which is gone.
    pub is_left_behind: bool,
    /// Whether it is gone with its process, so that there is nothing to be flushed for.
    pub is_passing: bool,
    is_full: AtomicBool,
    directory: PathBuf,
    /// Held as long as this is used: who gets it knows that nobody else writes here.
    _lock: File,
    kept: Mutex<Kept>,
}

struct Kept {
    segments: Segments,
    /// Calls that were sent and are not settled: where their intents stand.
    open: HashMap<RequestId, Unsettled>,
    shards: BTreeMap<Shard, Sequence>,
    /// How much of each segment is still needed.
    needed: HashMap<u64, usize>,
    /// What is kept free for calls under way.
    reserved: usize,
    /// Settlements that there was no room for yet.
    waiting: VecDeque<Waiting>,
    /// How many were lost for want of room,
    lost: u64,
    /// and of how many that was told.
    told: u64,
    /// Calls whose settlements were damaged: where they are to be made again.
    damaged: HashMap<RequestId, (Shard, u64)>,
}

/// What a settlement says, once it has its number.
type Body = Box<dyn FnMut(u64) -> Vec<u8> + Send>;

/// A settlement that there was no room for. Where its intent is, that is kept instead.
struct Waiting {
    call: RequestId,
    shard: Shard,
    intent: Option<Place>,
    body: Body,
}

/// A call that was to be sent and was not settled, as far as one knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    pub intent: Vec<u8>,
    pub shard: Shard,
    /// How much of its answer had been delivered, in tokens.
    pub delivered: u64,
    place: Place,
}

/// The settlements of a shard that are kept: the first of them has the number behind
/// `forgotten`.
#[derive(Default)]
struct Sequence {
    forgotten: u64,
    /// Nothing where it was damaged. Its call is settled again under the same number, and no
    /// other is: it may have been counted.
    kept: VecDeque<Option<Place>>,
}

/// A settlement in the journal, to be read by whoever does not have it otherwise.
pub struct Settled {
    pub number: u64,
    place: Place,
    file: Arc<File>,
}

impl Settled {
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = segments::read(&self.file, self.place)?;
        Ok(bytes.split_off(HEAD.min(bytes.len())))
    }
}

/// That a call cannot be written down, and so must not be sent.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    #[error("the journal has no room")]
    NoRoom,
    #[error("the journal could not be written to: {0}")]
    Failed(#[from] io::Error),
}

impl Classified for NotWritten {
    fn kind(&self) -> FailureKind {
        FailureKind::Unavailable
    }

    fn code(&self) -> Code {
        code::METER_UNAVAILABLE
    }
}

impl Journal {
    /// A new one in a directory of its own under `root`.
    pub fn create(root: &Path, epoch: Epoch, most_bytes: usize) -> io::Result<Self> {
        let directory = root.join(epoch.to_string());
        fs::create_dir_all(&directory)?;
        let mut lock = lock(&directory)?.ok_or(io::ErrorKind::WouldBlock)?;
        let (size, most) = sizes(most_bytes);
        lock.write_all(Begun { boot: boot(), size }.written().as_bytes())?;
        let segments = Segments::create(&directory, size, most)?;
        Ok(Self::over((epoch, true), directory, lock, segments))
    }

    /// Those that processes before us left behind, and nobody else has taken yet.
    pub fn left_behind(root: &Path, most_bytes: usize) -> io::Result<Vec<Self>> {
        let mut journals = Vec::new();
        for entry in fs::read_dir(root)? {
            let directory = entry?.path();
            let name = directory.file_name().and_then(|it| it.to_str());
            let Some(epoch) = name.and_then(|it| it.parse().ok()) else { continue };
            if let Some(mut lock) = lock(&directory)? {
                let mut written = String::new();
                lock.read_to_string(&mut written)?;
                let (usual, most) = sizes(most_bytes);
                let begun = Begun::read(&written);
                let size = begun.as_ref().map_or(usual, |it| it.size);
                let (segments, contents) = Segments::open(&directory, size, most)?;
                let same_boot = begun.is_some_and(|it| !it.boot.is_empty() && it.boot == boot());
                let is_whole = contents.damaged.is_empty() && same_boot;
                let mut journal = Self::over((epoch, is_whole), directory, lock, segments);
                journal.is_left_behind = true;
                journal.kept().remember(contents);
                journals.push(journal);
            }
        }
        Ok(journals)
    }

    fn over(
        (epoch, is_whole): (Epoch, bool),
        directory: PathBuf,
        lock: File,
        segments: Segments,
    ) -> Self {
        let kept = Kept {
            segments,
            open: HashMap::new(),
            shards: BTreeMap::new(),
            needed: HashMap::new(),
            reserved: 0,
            waiting: VecDeque::new(),
            lost: 0,
            told: 0,
            damaged: HashMap::new(),
        };
        Self {
            epoch,
            is_whole,
            is_left_behind: false,
            is_passing: false,
            is_full: AtomicBool::new(false),
            directory,
            _lock: lock,
            kept: Mutex::new(kept),
        }
    }

    /// Writes down that a call is about to be sent, which is going to be settled in `shard`.
    /// Written down once more, it is what was said last: before each attempt that follows.
    pub fn intend(&self, call: RequestId, shard: Shard, intent: &[u8]) -> Result<(), NotWritten> {
        let mut kept = self.kept();
        let length = HEAD + intent.len();
        if !kept.has_room_beside(record::size(length) + room_for(length)) {
            self.notes_full(true);
            return Err(NotWritten::NoRoom);
        }
        let last = kept.last(shard);
        let written = with_head(call, shard, last, intent);
        let appended = kept.append(Kind::Intent, &written, When::Now);
        let place = appended.inspect_err(|_| self.notes_full(true))?;
        // The bytes are on the disk; who settles the call has them as well.
        kept.opens(call, Unsettled { intent: Vec::new(), shard, delivered: 0, place });
        Ok(())
    }

    /// Writes down how far an answer has come. What cannot be written is not worth a failure.
    pub fn progress(&self, call: RequestId, delivered: u64) {
        let mut kept = self.kept();
        if let Some(open) = kept.open.get_mut(&call) {
            open.delivered = delivered;
            let bytes = [call.uuid().as_bytes(), &delivered.to_le_bytes()[..]].concat();
            let _ = kept.segments.append(Kind::Progress, &bytes, When::Now);
        }
    }

    /// Keeps what a call came to, whether it was written down before or is told only now.
    /// `body` gets the settlement's number. Answers that, where there was room. Where there is
    /// none, what was not sent is kept if it `is_needed` all the same; if it is not, it is written
    /// with what comes next, and gone with a process that is killed before.
    pub fn settle(
        &self,
        (call, shard): (RequestId, Shard),
        is_needed: bool,
        mut body: impl FnMut(u64) -> Vec<u8> + Send + 'static,
    ) -> Option<u64> {
        let mut kept = self.kept();
        let intent = kept.closes(call);
        let reserved = if intent.is_some() { 0 } else { kept.reserved };
        let when = if intent.is_some() || is_needed { When::Now } else { When::Next };
        match kept.write((call, shard), (reserved, when), &mut body) {
            Ok(number) => {
                intent.into_iter().for_each(|it| kept.release(it.segment));
                return Some(number);
            }
            Err(_) if intent.is_none() && !is_needed => kept.lost += 1,
            Err(_) if kept.waiting.len() >= MOST_WAITING => {
                intent.into_iter().for_each(|it| kept.release(it.segment));
                kept.lost += 1;
            }
            // In memory, of which the journal's being full says enough.
            Err(_) => {
                self.notes_full(true);
                kept.waiting.push_back(Waiting { call, shard, intent, body: Box::new(body) });
            }
        }
        None
    }

    /// The settlements of a shard behind a number, in their order, as many as `most`, that a
    /// power failure would leave. Who comes behind one that was damaged waits until it is
    /// settled again, or is counted.
    pub fn safe_since(&self, shard: Shard, number: u64, most: usize) -> io::Result<Vec<Settled>> {
        self.find_since(shard, number, most, |kept, it| {
            self.is_passing || kept.segments.is_safe(it)
        })
    }

    /// Those that are not safe yet among them.
    #[cfg(test)]
    pub fn since(&self, shard: Shard, number: u64, most: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let found = self.find_since(shard, number, most, |_, _| true)?;
        found.into_iter().map(|it| Ok((it.number, it.read()?))).collect()
    }

    fn find_since(
        &self,
        shard: Shard,
        number: u64,
        most: usize,
        may_be_read: impl Fn(&Kept, Place) -> bool,
    ) -> io::Result<Vec<Settled>> {
        let mut kept = self.kept();
        kept.segments.write()?;
        let Some(sequence) = kept.shards.get(&shard) else { return Ok(Vec::new()) };
        let skipped = number.saturating_sub(sequence.forgotten);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let first = sequence.forgotten + 1;
        // Going through those that are skipped would take as long as there are many.
        let places =
            (first.saturating_add(skipped as u64)..).zip(sequence.kept.iter().skip(skipped));
        places
            .take(most)
            .map_while(|(number, place)| Some((number, (*place)?)))
            .take_while(|(_, place)| may_be_read(&kept, *place))
            .map(|(number, place)| Ok(Settled { number, place, file: kept.segments.file(place)? }))
            .collect()
    }

    /// That the database has all settlements of a shard up to a number.
    pub fn forget(&self, shard: Shard, number: u64) -> io::Result<()> {
        let mut kept = self.kept();
        while let Some(sequence) = kept.shards.get_mut(&shard)
            && sequence.forgotten < number
            && let Some(place) = sequence.kept.pop_front()
        {
            sequence.forgotten += 1;
            place.into_iter().for_each(|it| kept.release(it.segment));
        }
        kept.drop_unneeded()
    }

    /// The last number given in a shard.
    pub fn last(&self, shard: Shard) -> u64 {
        self.kept().last(shard)
    }

    /// The shards of which something is kept.
    pub fn shards(&self) -> Vec<Shard> {
        let kept = self.kept();
        let some = kept.shards.iter().filter(|(_, it)| !it.kept.is_empty());
        some.map(|(shard, _)| *shard).collect()
    }

    /// Of a journal that was left behind: the calls that were under way.
    pub fn unsettled(&self) -> Vec<(RequestId, Unsettled)> {
        let kept = self.kept();
        let mut calls: Vec<_> = kept.open.iter().map(|(call, it)| (*call, it.clone())).collect();
        calls.sort_by_key(|it| it.0);
        calls
    }

    /// Of a journal that lacks records: that settlements of a shard were counted up to a
    /// number. Those of them that are not here are gone, and nobody else gets their numbers.
    /// Answers how many are gone.
    pub fn notes_counted(&self, shard: Shard, number: u64) -> u64 {
        let mut kept = self.kept();
        let last = kept.last(shard);
        let sequence = kept.shards.entry(shard).or_default();
        let numbers = sequence.forgotten + 1..=number;
        let gone = numbers.zip(&sequence.kept).filter(|(_, place)| place.is_none()).count() as u64;
        let beyond = number.saturating_sub(last);
        if sequence.kept.is_empty() {
            sequence.forgotten += beyond;
        } else {
            sequence.kept.extend((0..beyond).map(|_| None));
        }
        gone + beyond
    }

    /// That a call which seems to be under way was settled, by a record that is gone.
    pub fn was_settled(&self, call: RequestId) {
        let mut kept = self.kept();
        kept.damaged.remove(&call);
        if let Some(intent) = kept.closes(call) {
            kept.release(intent.segment);
        }
    }

    /// Whether no call can be written down.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    fn notes_full(&self, is_full: bool) {
        match (self.is_full.swap(is_full, Ordering::Relaxed), is_full) {
            (false, true) => tracing::error!(
                directory = ?self.directory,
                "the journal has no room: calls are refused, and what they came to is kept in memory"
            ),
            (true, false) => tracing::info!("the journal has room again, and calls go on"),
            (true, true) | (false, false) => (),
        }
    }

    /// Whether nothing in it is needed any more.
    pub fn is_done(&self) -> bool {
        let kept = self.kept();
        kept.open.is_empty()
            && kept.waiting.is_empty()
            && kept.shards.values().all(|it| it.kept.is_empty())
    }

    /// How many settlements wait for room.
    pub fn waiting(&self) -> u64 {
        self.kept().waiting.len() as u64
    }

    /// Removes a journal of which nothing is needed any more.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.directory)
    }

    /// What has to be flushed to the disk for everything to be safe, if anything has.
    pub fn unsynced(&self) -> Option<Unsynced> {
        let mut kept = self.kept();
        if let Err(error) = kept.segments.write() {
            tracing::error!(%error, "the journal cannot be written to: {error}");
        }
        kept.segments.unsynced().filter(|_| !self.is_passing)
    }

    pub fn is_synced(&self, synced: Synced) {
        self.kept().segments.is_synced(synced);
    }

    /// Finds room for what waits for it.
    pub fn write_what_waits(&self) {
        self.kept().write_what_waits();
    }

    /// What has to be done beside the road every few milliseconds: flushes what was written to
    /// the disk, and makes room. Both take long, and keep nobody waiting.
    pub fn tend(&self) -> io::Result<()> {
        if let Some(unsynced) = self.unsynced() {
            self.is_synced(unsynced.sync()?);
        }
        let draft = {
            let kept = self.kept();
            kept.segments.lacks_spare(kept.reserved)
        };
        let made = draft.map(|it| it.make());
        let mut kept = self.kept();
        // What is not needed makes room, so that it goes first; and a step that fails keeps
        // none behind it from being done.
        let dropped = kept.drop_unneeded();
        let spared = made.map_or(Ok(()), |made| kept.segments.takes(made));
        kept.write_what_waits();
        let written = kept.write_long_calls_again();
        self.notes_full(!kept.has_room_beside(record::size(ROOM_PER_CALL)));
        dropped.and(spared).and(written)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn append(&mut self, kind: Kind, bytes: &[u8], when: When) -> io::Result<Place> {
        let place = self.segments.append(kind, bytes, when)?;
        *self.needed.entry(place.segment).or_default() += 1;
        Ok(place)
    }

    fn release(&mut self, segment: u64) {
        release(&mut self.needed, segment);
    }

    /// Whether there is room for so many bytes beside what is kept free.
    fn has_room_beside(&self, bytes: usize) -> bool {
        self.segments.has_room(bytes + self.reserved)
    }

    fn opens(&mut self, call: RequestId, unsettled: Unsettled) {
        self.reserved += room_for(unsettled.place.length);
        if let Some(again) = self.open.insert(call, unsettled) {
            self.reserved -= room_for(again.place.length);
            self.release(again.place.segment);
        }
    }

    /// Answers where the intent stands, which is still needed.
    fn closes(&mut self, call: RequestId) -> Option<Place> {
        let place = self.open.remove(&call)?.place;
        self.reserved -= room_for(place.length);
        Some(place)
    }

    fn last(&self, shard: Shard) -> u64 {
        self.shards.get(&shard).map_or(0, |it| it.forgotten + it.kept.len() as u64)
    }

    /// Writes a settlement down, if there is room for it beside what is reserved.
    fn write(
        &mut self,
        (call, shard): (RequestId, Shard),
        (reserved, when): (usize, When),
        body: &mut dyn FnMut(u64) -> Vec<u8>,
    ) -> io::Result<u64> {
        let damaged = self.damaged.get(&call).filter(|it| it.0 == shard).map(|it| it.1);
        let number = damaged.unwrap_or_else(|| self.last(shard) + 1);
        let bytes = with_head(call, shard, number, &body(number));
        if reserved > 0 && !self.segments.has_room(record::size(bytes.len()) + reserved) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let place = self.append(Kind::Final, &bytes, when)?;
        self.damaged.remove(&call);
        let sequence = self.shards.entry(shard).or_default();
        // One that was forgotten meanwhile is in the database.
        match number.checked_sub(sequence.forgotten + 1).map(usize::try_from) {
            Some(at) => match at.ok().and_then(|it| sequence.kept.get_mut(it)) {
                Some(damaged) => *damaged = Some(place),
                None => sequence.kept.push_back(Some(place)),
            },
            None => self.release(place.segment),
        }
        Ok(number)
    }

    /// The oldest first and none before those older than it: where a settlement is gone, the
    /// intent that it ended must be gone too, or the call would be settled again.
    fn drop_unneeded(&mut self) -> io::Result<()> {
        let closed: Vec<_> = self.segments.closed().collect();
        let unneeded = closed.into_iter().take_while(|it| !self.needed.contains_key(it));
        unneeded.collect::<Vec<_>>().into_iter().try_for_each(|it| self.segments.remove(it))
    }

    fn write_what_waits(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some(mut it) = self.waiting.pop_front() else { return };
            let reserved = if it.intent.is_some() { 0 } else { self.reserved };
            match self.write((it.call, it.shard), (reserved, When::Now), &mut it.body) {
                Ok(_) => it.intent.into_iter().for_each(|it| self.release(it.segment)),
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    it.intent.into_iter().for_each(|it| self.release(it.segment));
                    self.lost += 1;
                }
                Err(_) => self.waiting.push_back(it),
            }
        }
        if self.lost > self.told {
            self.told = self.lost;
            let lost = self.lost;
            tracing::error!(lost, "the journal had no room for {lost} events of calls");
        }
    }

    /// A call that lasts keeps everything since it began. When that becomes much, it is as
    /// if it began now.
    fn write_long_calls_again(&mut self) -> io::Result<()> {
        let closed: Vec<_> = self.segments.closed().collect();
        let Some(old) = closed.len().checked_sub(MOST_PINNED).and_then(|it| closed.get(it)) else {
            return Ok(());
        };
        let lasts: BTreeMap<_, _> = self.shards.keys().map(|it| (*it, self.last(*it))).collect();
        let Self { segments, open, needed, .. } = self;
        for (call, it) in open.iter_mut().filter(|(_, it)| it.place.segment <= *old) {
            let bytes = segments.read(it.place)?;
            let intent = bytes.get(HEAD..).unwrap_or_default();
            let last = lasts.get(&it.shard).copied().unwrap_or_default();
            let again = with_head(*call, it.shard, last, intent);
            let place = segments.append(Kind::Intent, &again, When::Now)?;
            *needed.entry(place.segment).or_default() += 1;
            let told = [call.uuid().as_bytes(), &it.delivered.to_le_bytes()[..]].concat();
            segments.append(Kind::Progress, &told, When::Now)?;
            release(needed, it.place.segment);
            it.place = place;
        }
        Ok(())
    }

    /// Takes in what another process wrote. Settlements begin behind those it forgot.
    fn remember(&mut self, contents: Contents) {
        let damaged = contents.damaged;
        if !damaged.is_empty() {
            tracing::error!(records = damaged.len(), "a journal has damaged records");
        }
        let mut settled: BTreeMap<(Shard, u64), Option<Place>> = BTreeMap::new();
        let mut given: BTreeMap<Shard, u64> = BTreeMap::new();
        for (kind, place, bytes) in contents.records {
            let Some((call, rest)) = call_of(&bytes) else { continue };
            match kind {
                Kind::Intent => {
                    let Some((shard, last, intent)) = numbered(rest) else { continue };
                    given.entry(shard).and_modify(|it| *it = last.max(*it)).or_insert(last);
                    *self.needed.entry(place.segment).or_default() += 1;
                    let intent = intent.to_vec();
                    self.opens(call, Unsettled { intent, shard, delivered: 0, place });
                }
                Kind::Progress => {
                    let told = rest.first_chunk().map(|it| u64::from_le_bytes(*it));
                    if let (Some(it), Some(told)) = (self.open.get_mut(&call), told) {
                        it.delivered = it.delivered.max(told);
                    }
                }
                Kind::Final => {
                    if let Some(intent) = self.closes(call) {
                        self.release(intent.segment);
                    }
                    if let Some((shard, number, _)) = numbered(rest).filter(|it| it.1 > 0) {
                        settled.insert((shard, number), Some(place));
                    }
                }
            }
        }
        for (call, shard, number) in damaged.iter().filter_map(settlement_of) {
            let is_open = self.open.get(&call).is_some_and(|it| it.shard == shard);
            // What says so is not checked: no number is far from those that are.
            let others = settled.range((shard, 0)..=(shard, u64::MAX));
            let last = others.map(|it| it.0.1).chain(given.get(&shard).copied()).max().unwrap_or(0);
            let is_near = number <= last + damaged.len() as u64;
            if is_open && is_near && !settled.contains_key(&(shard, number)) {
                settled.insert((shard, number), None);
                self.damaged.insert(call, (shard, number));
            }
        }
        for ((shard, number), place) in settled {
            let sequence = self
                .shards
                .entry(shard)
                .or_insert_with(|| Sequence { forgotten: number - 1, kept: VecDeque::new() });
            if let Some(place) = place {
                *self.needed.entry(place.segment).or_default() += 1;
            }
            let missing = number - 1 - sequence.forgotten - sequence.kept.len() as u64;
            sequence.kept.extend((0..missing).map(|_| None));
            sequence.kept.push_back(place);
        }
        // An intent knows what had been given when it was written, also where all of that is
        // gone since.
        for (shard, last) in given {
            let sequence = self.shards.entry(shard).or_default();
            if sequence.kept.is_empty() {
                sequence.forgotten = sequence.forgotten.max(last);
            }
        }
    }
}

fn release(needed: &mut HashMap<u64, usize>, segment: u64) {
    if let Some(count) = needed.get_mut(&segment) {
        *count -= 1;
        if *count == 0 {
            needed.remove(&segment);
        }
    }
}

/// What intents and settlements begin with: the call, the shard, and a number in it, which
/// is a settlement's own, and of an intent the last that had been given.
const HEAD: usize = 16 + 1 + 8;

fn with_head(call: RequestId, shard: Shard, number: u64, body: &[u8]) -> Vec<u8> {
    let (call, number) = (call.uuid(), number.to_le_bytes());
    [call.as_bytes(), &[shard.number()][..], &number, body].concat()
}

/// What is kept free for a call whose intent is so long.
const fn room_for(intent: usize) -> usize {
    ROOM_PER_CALL + intent
}

/// Whose settlement it was that was damaged, and its number, if that can be read.
fn settlement_of(damaged: &Damaged) -> Option<(RequestId, Shard, u64)> {
    let (call, rest) = call_of(damaged.settlement()?)?;
    let (shard, number, _) = numbered(rest)?;
    (number > 0).then_some((call, shard, number))
}

fn call_of(bytes: &[u8]) -> Option<(RequestId, &[u8])> {
    let (call, rest) = bytes.split_first_chunk()?;
    Some((RequestId::from_uuid(Uuid::from_bytes(*call)), rest))
}

fn numbered(rest: &[u8]) -> Option<(Shard, u64, &[u8])> {
    let (shard, rest) = rest.split_first()?;
    let (number, rest) = rest.split_first_chunk()?;
    Some((Shard::from(*shard), u64::from_le_bytes(*number), rest))
}

/// How large each segment is, and how many there are at most: eight where there is little
/// room, so that what is not needed any more is let go of soon.
fn sizes(most_bytes: usize) -> (usize, usize) {
    let size = (most_bytes / 8).clamp(SMALLEST, SEGMENT);
    (size, (most_bytes / size).max(2))
}

/// What a journal says of how it was begun.
struct Begun {
    /// In which run of this machine's system: what was written since is there.
    boot: String,
    /// Of each segment: one that is smaller was cut.
    size: usize,
}

impl Begun {
    fn written(&self) -> String {
        format!("{} {}", self.boot, self.size)
    }

    fn read(text: &str) -> Option<Self> {
        let (boot, size) = text.split_once(' ')?;
        Some(Self { boot: boot.to_owned(), size: size.parse().ok()? })
    }
}

/// Which run of this machine's system it is; nothing where it does not say.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// `None` where somebody else has it.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let path = directory.join("lock");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
