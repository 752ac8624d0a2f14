//! Files that records are appended to, one after the other.
//!
//! A segment is made whole before it is written to, so that a disk that is full shows when
//! a segment is made, and not when a record is written that must not be lost. There is
//! always a spare one, as long as there is room for it. What is written is safe from a
//! process that is killed at once, unless it may be written with what comes next ([`When`]), and
//! from a machine that loses its power when [`Unsynced::sync`] has said so.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::record::{self, Damaged, Found, Kind, Record, size};

/// How many more there may be for settlements that find no room: else what is kept for the sake
/// of their intents could leave none for ever.
const MORE_FOR_FINALS: usize = 8;

/// When a disk that had no room for a segment is asked again: making one writes all of it.
const REST: Duration = Duration::from_secs(1);

/// How much is kept to be written with what comes next.
const MOST_UNWRITTEN: usize = 64 * 1024;

/// When a record is to be in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Now,
    /// With what comes next, or before all is flushed: a process that is killed before that takes
    /// it with it. Writing costs more than making a record.
    Next,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub segment: u64,
    pub at: usize,
    /// Of its bytes, without head and kind.
    pub length: usize,
}

pub struct Segments {
    directory: PathBuf,
    /// Of each segment.
    size: usize,
    /// How many there are at most.
    most: usize,
    files: BTreeMap<u64, Arc<File>>,
    /// The one that is appended to, and where.
    current: u64,
    at: usize,
    /// What was appended there last and is not written yet.
    unwritten: Vec<u8>,
    /// What was written before this is safe.
    safe: (u64, usize),
    /// How many segments were made, and of how many the directory was flushed.
    made: u64,
    listed: u64,
    /// When the disk had no room for another one.
    had_no_room: Option<Instant>,
}

/// What was found when segments were read: their records in order, and what was in their way.
pub struct Contents {
    pub records: Vec<(Kind, Place, Vec<u8>)>,
    pub damaged: Vec<Damaged>,
}

/// What has to be flushed for all that was appended to survive a power failure. That takes long,
/// and is not to be done while others wait for us.
pub struct Unsynced {
    files: Vec<Arc<File>>,
    directory: Option<PathBuf>,
    synced: Synced,
}

/// That a power failure takes away nothing that was written before.
pub struct Synced {
    upto: (u64, usize),
    listed: u64,
}

impl Unsynced {
    pub fn sync(self) -> io::Result<Synced> {
        if let Some(directory) = &self.directory {
            File::open(directory)?.sync_all()?;
        }
        self.files.iter().try_for_each(|it| it.sync_data())?;
        Ok(self.synced)
    }
}

/// A segment to be made, which takes long too.
pub struct Draft {
    path: PathBuf,
    size: usize,
}

pub struct Made {
    path: PathBuf,
    file: File,
}

impl Draft {
    pub fn make(self) -> io::Result<Made> {
        let Self { path, size } = self;
        let made = fill(&path, size).and_then(|file| file.sync_all().map(|()| file));
        match made {
            Ok(file) => Ok(Made { path, file }),
            Err(error) => {
                // It may hold the room that others need.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }
}

impl Segments {
    /// In a directory that has none yet.
    pub fn create(directory: &Path, size: usize, most: usize) -> io::Result<Self> {
        let mut segments = Self::over(directory, size, most);
        segments.add(1)?;
        segments.current = 1;
        Ok(segments)
    }

    /// What a process left behind. What is appended goes into a segment of its own.
    pub fn open(directory: &Path, size: usize, most: usize) -> io::Result<(Self, Contents)> {
        let mut segments = Self::over(directory, size, most);
        let mut contents = Contents { records: Vec::new(), damaged: Vec::new() };
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if let Some(number) = number(&path) {
                let file = File::options().read(true).write(true).open(path)?;
                segments.files.insert(number, Arc::new(file));
            }
        }
        for (number, file) in &segments.files {
            let bytes = whole(file)?;
            // Each was made whole.
            if bytes.len() < size {
                contents.damaged.push(Damaged::cut());
            }
            contents.take(*number, &bytes);
        }
        let last = segments.files.last_key_value().map_or(0, |(number, _)| *number);
        segments.add(last + 1)?;
        segments.current = last + 1;
        Ok((segments, contents))
    }

    fn over(directory: &Path, size: usize, most: usize) -> Self {
        Self {
            directory: directory.to_owned(),
            size,
            most,
            files: BTreeMap::new(),
            current: 0,
            at: 0,
            unwritten: Vec::new(),
            safe: (0, 0),
            // Those that are found count as one.
            made: 1,
            listed: 0,
            had_no_room: None,
        }
    }

    /// Whether there is room for so many bytes without another segment being made.
    pub fn has_room(&self, bytes: usize) -> bool {
        let spare = self.files.range(self.current + 1..).count();
        self.size - self.at + spare * self.size >= bytes
    }

    /// A spare segment, where there is none, or less room than a whole one beside what is
    /// `reserved`: calls come faster than segments are made. A disk that had no room is not asked
    /// again at once.
    pub fn lacks_spare(&self, reserved: usize) -> Option<Draft> {
        let has_spare = self.files.range(self.current + 1..).next().is_some();
        let has_enough = has_spare && self.has_room(reserved + self.size);
        let may_be = !has_enough && !self.rests() && self.files.len() < self.most;
        may_be.then(|| Draft { path: self.directory.join("spare.draft"), size: self.size })
    }

    fn rests(&self) -> bool {
        self.had_no_room.is_some_and(|it| it.elapsed() < REST)
    }

    /// Takes what was made meanwhile, if it could be.
    pub fn takes(&mut self, made: io::Result<Made>) -> io::Result<()> {
        let last = self.files.last_key_value().map_or(0, |(number, _)| *number);
        self.enter(last + 1, made)
    }

    /// Appends a record: all of it, or nothing.
    pub fn append(&mut self, kind: Kind, bytes: &[u8], when: When) -> io::Result<Place> {
        let size = size(bytes.len());
        if size > self.size || bytes.len() >= record::LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the record is too long"));
        }
        if self.at + size > self.size {
            self.write()?;
            self.turn(kind)?;
        }
        let before = self.unwritten.len();
        record::write(kind, bytes, &mut self.unwritten);
        let place = Place { segment: self.current, at: self.at, length: bytes.len() };
        self.at += size;
        if when == When::Now || self.unwritten.len() > MOST_UNWRITTEN {
            self.write().inspect_err(|_| {
                self.unwritten.truncate(before);
                self.at -= size;
            })?;
        }
        Ok(place)
    }

    /// Writes what is not written yet.
    pub fn write(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let file = self.files.get(&self.current).ok_or(io::ErrorKind::NotFound)?;
        file.write_all_at(&self.unwritten, self.written() as u64)?;
        self.unwritten.clear();
        self.unwritten.shrink_to(MOST_UNWRITTEN);
        Ok(())
    }

    /// Up to where the segment that is appended to has everything.
    fn written(&self) -> usize {
        self.at - self.unwritten.len()
    }

    pub fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let file = self.file(place)?;
        read(&file, place)
    }

    /// Where a record is read from.
    pub fn file(&self, place: Place) -> io::Result<Arc<File>> {
        Ok(self.files.get(&place.segment).ok_or(io::ErrorKind::NotFound)?.clone())
    }

    /// Whether a power failure would leave the record where it is.
    pub fn is_safe(&self, place: Place) -> bool {
        (place.segment, place.at) < self.safe
    }

    pub fn unsynced(&self) -> Option<Unsynced> {
        let upto = (self.current, self.written());
        (self.safe < upto).then(|| Unsynced {
            files: self.files.range(self.safe.0..=self.current).map(|it| it.1.clone()).collect(),
            directory: (self.listed < self.made).then(|| self.directory.clone()),
            synced: Synced { upto, listed: self.made },
        })
    }

    pub fn is_synced(&mut self, Synced { upto, listed }: Synced) {
        self.safe = self.safe.max(upto);
        self.listed = self.listed.max(listed);
    }

    /// Removes a segment that nobody needs any more, unless it is written to.
    pub fn remove(&mut self, segment: u64) -> io::Result<()> {
        if segment < self.current && self.files.remove(&segment).is_some() {
            fs::remove_file(path(&self.directory, segment))?;
        }
        Ok(())
    }

    /// Those that are not written to any more.
    pub fn closed(&self) -> impl Iterator<Item = u64> {
        self.files.range(..self.current).map(|(number, _)| *number)
    }

    fn turn(&mut self, kind: Kind) -> io::Result<()> {
        let next = self.current + 1;
        if !self.files.contains_key(&next) {
            let more = if kind == Kind::Final { MORE_FOR_FINALS } else { 0 };
            if self.files.len() >= self.most + more {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            self.add(next)?;
        }
        (self.current, self.at) = (next, 0);
        Ok(())
    }

    fn add(&mut self, number: u64) -> io::Result<()> {
        if self.rests() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let draft = Draft { path: self.directory.join("next.draft"), size: self.size };
        self.enter(number, draft.make())
    }

    /// Under another name until it is whole, so that half a segment is none.
    fn enter(&mut self, number: u64, made: io::Result<Made>) -> io::Result<()> {
        self.had_no_room = made.is_err().then(Instant::now);
        let made = made?;
        fs::rename(&made.path, path(&self.directory, number))?;
        self.files.insert(number, Arc::new(made.file));
        self.made += 1;
        Ok(())
    }
}

impl Contents {
    fn take(&mut self, segment: u64, bytes: &[u8]) {
        let mut at = 0;
        loop {
            match record::find(bytes, at) {
                Found::Record(Record { kind, bytes, size }) => {
                    let place = Place { segment, at, length: bytes.len() };
                    self.records.push((kind, place, bytes.to_vec()));
                    at += size;
                }
                Found::Damaged(damaged, next) => {
                    self.damaged.push(damaged);
                    let Some(next) = next else { return };
                    at = next;
                }
                Found::End => return,
            }
        }
    }
}

/// A record where it stands.
pub fn read(file: &File, place: Place) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size(place.length)];
    file.read_exact_at(&mut bytes, place.at as u64)?;
    match record::read(&bytes) {
        Some(record) => Ok(record.bytes.to_vec()),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn fill(path: &Path, size: usize) -> io::Result<File> {
    static PIECE: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let mut left = size;
    while left > 0 {
        let piece = left.min(PIECE.len());
        file.write_all(&PIECE[..piece])?;
        left -= piece;
    }
    Ok(file)
}

fn whole(file: &File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

const ENDING: &str = "journal";

fn path(directory: &Path, segment: u64) -> PathBuf {
    directory.join(format!("{segment:08}.{ENDING}"))
}

fn number(path: &Path) -> Option<u64> {
    let is_one = path.extension().is_some_and(|it| it == ENDING);
    path.file_stem().filter(|_| is_one)?.to_str()?.parse().ok()
}
