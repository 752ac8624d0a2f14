//! What a proxy must not forget: which calls it is about to send, how far their answers have
//! come, and what they came to, until the database has it.
//!
//! Always holds: a call is written down before it is sent, and none is sent that cannot be;
//! what is settled has its number among those of its shard, without gaps, and is kept until
//! it is told that the database has it; a process that was killed leaves its journal behind,
//! and the next one that finds it settles what was under way. A disk that is full refuses
//! calls and loses nothing: what must be kept and cannot be written is kept in memory. Where
//! records are damaged or missing, that is known.
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
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use shared::{
    counters::{Epoch, Shard},
    failure::{Classified, Code, Kind as FailureKind, code},
    ids::RequestId,
};
use uuid::Uuid;

use self::{
    record::Kind,
    segments::{Contents, Place, Segments},
};

/// How large a segment is, where the journal may take enough of the disk, and how small it is
/// otherwise.
pub const SEGMENT: usize = 8 * 1024 * 1024;
const SMALLEST: usize = 1024 * 1024;
/// So many segments are kept for the sake of calls that last long; then those are written
/// down again.
const MOST_PINNED: usize = 8;
/// What is left free for each call under way to be settled in.
const ROOM_PER_CALL: usize = 4 * 1024;

/// The journal of one process of a proxy. Others' are read when it is gone.
pub struct Journal {
    pub epoch: Epoch,
    /// Whether all that was written is there. Not where the machine stopped since: the last
    /// that was written may not have come to its disk.
    pub is_whole: bool,
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
    kept: VecDeque<Body>,
}

enum Body {
    On(Place),
    /// There was no room for it on the disk, where its intent is kept instead.
    In {
        bytes: Vec<u8>,
        intent: Option<u64>,
    },
    /// It was damaged. The call is settled again, under the same number.
    Lost,
    /// It is not here any more, and was counted before.
    Counted,
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
                let is_whole = contents.damaged == 0 && same_boot;
                let journal = Self::over((epoch, is_whole), directory, lock, segments);
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
        };
        let is_full = AtomicBool::new(false);
        Self { epoch, is_whole, is_full, directory, _lock: lock, kept: Mutex::new(kept) }
    }

    /// Writes down that a call is about to be sent, which is going to be settled in `shard`.
    pub fn intend(&self, call: RequestId, shard: Shard, intent: &[u8]) -> Result<(), NotWritten> {
        let mut kept = self.kept();
        if !kept.has_room_for(record::size(HEAD + intent.len())) {
            self.notes_full(true);
            return Err(NotWritten::NoRoom);
        }
        let last = kept.last(shard);
        let appended = kept.append(Kind::Intent, &with_head(call, shard, last, intent));
        let place = appended.inspect_err(|_| self.notes_full(true))?;
        // The bytes are on the disk; who settles the call has them as well.
        let unsettled = Unsettled { intent: Vec::new(), shard, delivered: 0, place };
        kept.open.insert(call, unsettled);
        Ok(())
    }

    /// Writes down how far an answer has come. What cannot be written is not worth a failure.
    pub fn progress(&self, call: RequestId, delivered: u64) {
        let mut kept = self.kept();
        if let Some(open) = kept.open.get_mut(&call) {
            open.delivered = delivered;
            let bytes = [call.uuid().as_bytes(), &delivered.to_le_bytes()[..]].concat();
            let _ = kept.segments.append(Kind::Progress, &bytes);
        }
    }

    /// Keeps what a call came to, whether it was written down before or is told only now.
    /// `body` gets the settlement's number. Answers that.
    pub fn settle(&self, call: RequestId, shard: Shard, body: impl FnOnce(u64) -> Vec<u8>) -> u64 {
        let mut kept = self.kept();
        let number = kept.next(shard);
        let bytes = with_head(call, shard, number, &body(number));
        let intent = kept.open.remove(&call).map(|it| it.place.segment);
        let body = match kept.append(Kind::Final, &bytes) {
            Ok(place) => {
                intent.into_iter().for_each(|it| kept.release(it));
                Body::On(place)
            }
            // In memory, of which the journal's being full says enough.
            Err(_) => {
                self.notes_full(true);
                Body::In { bytes, intent }
            }
        };
        kept.put(shard, number, body);
        number
    }

    /// The settlements of a shard behind a number, in their order, as many as `most`.
    pub fn since(&self, shard: Shard, number: u64, most: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let kept = self.kept();
        let Some(sequence) = kept.shards.get(&shard) else { return Ok(Vec::new()) };
        let skipped =
            usize::try_from(number.saturating_sub(sequence.forgotten)).unwrap_or(usize::MAX);
        let bodies = sequence.kept.iter().enumerate().skip(skipped).take(most);
        // Who comes behind one that was lost waits until it is settled again.
        let bodies = bodies.take_while(|(_, body)| !matches!(body, Body::Lost | Body::Counted));
        let read = bodies.map(|(at, body)| {
            let mut bytes = match body {
                Body::On(place) => kept.segments.read(*place)?,
                Body::In { bytes, .. } => bytes.clone(),
                Body::Lost | Body::Counted => Vec::new(),
            };
            Ok((sequence.forgotten + 1 + at as u64, bytes.split_off(HEAD.min(bytes.len()))))
        });
        read.collect()
    }

    /// That the database has all settlements of a shard up to a number.
    pub fn forget(&self, shard: Shard, number: u64) -> io::Result<()> {
        let mut kept = self.kept();
        while let Some(sequence) = kept.shards.get_mut(&shard)
            && sequence.forgotten < number
            && let Some(body) = sequence.kept.pop_front()
        {
            sequence.forgotten += 1;
            match body {
                Body::On(place) => kept.release(place.segment),
                Body::In { intent: Some(segment), .. } => kept.release(segment),
                Body::In { intent: None, .. } | Body::Lost | Body::Counted => (),
            }
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
    /// Answers how many were found gone.
    pub fn notes_counted(&self, shard: Shard, number: u64) -> u64 {
        let mut kept = self.kept();
        let last = kept.last(shard);
        let sequence = kept.shards.entry(shard).or_default();
        let numbers = sequence.forgotten + 1..=number;
        let mut gone = 0;
        for (_, body) in numbers.zip(&mut sequence.kept) {
            if matches!(body, Body::Lost) {
                *body = Body::Counted;
                gone += 1;
            }
        }
        let beyond = number.saturating_sub(last);
        if sequence.kept.is_empty() {
            sequence.forgotten += beyond;
        } else {
            sequence.kept.extend((0..beyond).map(|_| Body::Counted));
        }
        gone + beyond
    }

    /// That a call which seems to be under way was settled, by a record that is gone.
    pub fn was_settled(&self, call: RequestId) {
        let mut kept = self.kept();
        if let Some(open) = kept.open.remove(&call) {
            kept.release(open.place.segment);
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
        kept.open.is_empty() && kept.shards.values().all(|it| it.kept.is_empty())
    }

    /// Removes a journal of which nothing is needed any more.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.directory)
    }

    /// What has to be done beside the road every few milliseconds: makes room, and flushes
    /// what was written to the disk.
    pub fn tend(&self) -> io::Result<()> {
        let unsynced = self.kept().segments.unsynced()?;
        if let Some(file) = unsynced {
            file.sync_data()?;
        }
        let mut kept = self.kept();
        // What is not needed makes room, so that it goes first; and a step that fails keeps
        // none behind it from being done.
        let dropped = kept.drop_unneeded();
        let spared = kept.segments.make_spare();
        kept.write_what_had_no_room();
        let written = kept.write_long_calls_again();
        self.notes_full(!kept.has_room_for(ROOM_PER_CALL));
        dropped.and(spared).and(written)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Whether another call can be written down so that there is room to settle all that are
    /// under way.
    fn has_room_for(&self, bytes: usize) -> bool {
        self.segments.has_room(bytes + (self.open.len() + 1) * ROOM_PER_CALL)
    }

    fn append(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<Place> {
        let place = self.segments.append(kind, bytes)?;
        *self.needed.entry(place.segment).or_default() += 1;
        Ok(place)
    }

    fn release(&mut self, segment: u64) {
        release(&mut self.needed, segment);
    }

    fn last(&self, shard: Shard) -> u64 {
        self.shards.get(&shard).map_or(0, |it| it.forgotten + it.kept.len() as u64)
    }

    /// The number that a shard's next settlement gets: that of one that was lost, or the next.
    fn next(&self, shard: Shard) -> u64 {
        let Some(sequence) = self.shards.get(&shard) else { return 1 };
        let lost = sequence.kept.iter().position(|it| matches!(it, Body::Lost));
        sequence.forgotten + 1 + lost.unwrap_or(sequence.kept.len()) as u64
    }

    fn put(&mut self, shard: Shard, number: u64, body: Body) {
        let sequence = self.shards.entry(shard).or_default();
        let at = usize::try_from(number - sequence.forgotten - 1).unwrap_or(usize::MAX);
        match sequence.kept.get_mut(at) {
            Some(lost) => *lost = body,
            None => sequence.kept.push_back(body),
        }
    }

    /// The oldest first and none before those older than it: where a settlement is gone, the
    /// intent that it ended must be gone too, or the call would be settled again.
    fn drop_unneeded(&mut self) -> io::Result<()> {
        let closed: Vec<_> = self.segments.closed().collect();
        let unneeded = closed.into_iter().take_while(|it| !self.needed.contains_key(it));
        unneeded.collect::<Vec<_>>().into_iter().try_for_each(|it| self.segments.remove(it))
    }

    fn write_what_had_no_room(&mut self) {
        let Self { segments, shards, needed, .. } = self;
        for body in shards.values_mut().flat_map(|it| &mut it.kept) {
            let Body::In { bytes, intent } = body else { continue };
            let Ok(place) = segments.append(Kind::Final, bytes) else { return };
            *needed.entry(place.segment).or_default() += 1;
            intent.iter().for_each(|it| release(needed, *it));
            *body = Body::On(place);
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
            let place = segments.append(Kind::Intent, &again)?;
            *needed.entry(place.segment).or_default() += 1;
            let told = [call.uuid().as_bytes(), &it.delivered.to_le_bytes()[..]].concat();
            segments.append(Kind::Progress, &told)?;
            release(needed, it.place.segment);
            it.place = place;
        }
        Ok(())
    }

    /// Takes in what another process wrote. Settlements begin behind those it forgot.
    fn remember(&mut self, contents: Contents) {
        if contents.damaged > 0 {
            tracing::error!(records = contents.damaged, "a journal has damaged records");
        }
        let mut settled: BTreeMap<(Shard, u64), Place> = BTreeMap::new();
        let mut given: BTreeMap<Shard, u64> = BTreeMap::new();
        for (kind, place, bytes) in contents.records {
            let Some((call, rest)) = call_of(&bytes) else { continue };
            match kind {
                Kind::Intent => {
                    let Some((shard, last, intent)) = numbered(rest) else { continue };
                    given.entry(shard).and_modify(|it| *it = last.max(*it)).or_insert(last);
                    let unsettled =
                        Unsettled { intent: intent.to_vec(), shard, delivered: 0, place };
                    *self.needed.entry(place.segment).or_default() += 1;
                    if let Some(again) = self.open.insert(call, unsettled) {
                        self.release(again.place.segment);
                    }
                }
                Kind::Progress => {
                    let told = rest.first_chunk().map(|it| u64::from_le_bytes(*it));
                    if let (Some(it), Some(told)) = (self.open.get_mut(&call), told) {
                        it.delivered = it.delivered.max(told);
                    }
                }
                Kind::Final => {
                    if let Some(intent) = self.open.remove(&call) {
                        self.release(intent.place.segment);
                    }
                    if let Some((shard, number, _)) = numbered(rest).filter(|it| it.1 > 0) {
                        settled.insert((shard, number), place);
                    }
                }
            }
        }
        for ((shard, number), place) in settled {
            let sequence = self
                .shards
                .entry(shard)
                .or_insert_with(|| Sequence { forgotten: number - 1, kept: VecDeque::new() });
            *self.needed.entry(place.segment).or_default() += 1;
            let missing = number - 1 - sequence.forgotten - sequence.kept.len() as u64;
            sequence.kept.extend((0..missing).map(|_| Body::Lost));
            sequence.kept.push_back(Body::On(place));
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
