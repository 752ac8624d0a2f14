//! Files that records are appended to, one after the other.
//!
//! A segment is made whole before it is written to, so that a disk that is full shows when
//! a segment is made, and not when a record is written that must not be lost. There is
//! always a spare one, as long as there is room for it. What is written is safe from a
//! process that is killed at once, and from a machine that loses its power after a
//! [`Segments::sync`].

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::record::{self, Found, Kind, size};

/// When a disk that had no room for a segment is asked again: making one writes all of it.
const REST: Duration = Duration::from_secs(1);

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
    files: BTreeMap<u64, File>,
    /// The one that is written to, and where.
    current: u64,
    at: usize,
    is_dirty: bool,
    /// When the disk had no room for another one.
    had_no_room: Option<Instant>,
    buffer: Vec<u8>,
}

/// What was found when segments were read: their records in order, and how many were damaged.
pub struct Contents {
    pub records: Vec<(Kind, Place, Vec<u8>)>,
    pub damaged: usize,
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
        let mut contents = Contents { records: Vec::new(), damaged: 0 };
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if let Some(number) = number(&path) {
                let file = File::options().read(true).write(true).open(path)?;
                segments.files.insert(number, file);
            }
        }
        for (number, file) in &segments.files {
            let bytes = whole(file)?;
            // Each was made whole.
            contents.damaged += usize::from(bytes.len() < size);
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
            is_dirty: false,
            had_no_room: None,
            buffer: Vec::new(),
        }
    }

    /// Whether there is room for so many bytes without another segment being made.
    pub fn has_room(&self, bytes: usize) -> bool {
        let spare = self.files.range(self.current + 1..).count();
        self.size - self.at + spare * self.size >= bytes
    }

    /// Makes the spare segment where there is none and may be one. To be called beside the
    /// road: it writes a whole segment. Where the disk has no room, that is said once a second.
    pub fn make_spare(&mut self) -> io::Result<()> {
        let has_spare = self.files.range(self.current + 1..).next().is_some();
        let rests = self.had_no_room.is_some_and(|it| it.elapsed() < REST);
        if has_spare || rests || self.files.len() >= self.most {
            return Ok(());
        }
        self.add(self.current + 1)
    }

    /// Appends a record: all of it, or nothing.
    pub fn append(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<Place> {
        let size = size(bytes.len());
        if size > self.size || bytes.len() >= record::LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the record is too long"));
        }
        if self.at + size > self.size {
            self.turn()?;
        }
        self.buffer.clear();
        record::write(kind, bytes, &mut self.buffer);
        let file = self.files.get(&self.current).ok_or(io::ErrorKind::NotFound)?;
        file.write_all_at(&self.buffer, self.at as u64)?;
        let place = Place { segment: self.current, at: self.at, length: bytes.len() };
        self.at += size;
        self.is_dirty = true;
        Ok(place)
    }

    pub fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let file = self.files.get(&place.segment).ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; size(place.length)];
        file.read_exact_at(&mut bytes, place.at as u64)?;
        match record::read(&bytes) {
            Found::Record { bytes, .. } => Ok(bytes.to_vec()),
            Found::Damaged { .. } | Found::Torn | Found::End => {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    /// What has to be flushed for all that was appended to survive a power failure. The
    /// flushing itself takes long, and is not to be done while others wait for us.
    pub fn unsynced(&mut self) -> io::Result<Option<File>> {
        if !std::mem::take(&mut self.is_dirty) {
            return Ok(None);
        }
        self.files.get(&self.current).map(File::try_clone).transpose()
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

    fn turn(&mut self) -> io::Result<()> {
        let next = self.current + 1;
        if !self.files.contains_key(&next) {
            if self.files.len() >= self.most {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            self.add(next)?;
        }
        if self.is_dirty
            && let Some(file) = self.files.get(&self.current)
        {
            file.sync_data()?;
        }
        (self.current, self.at) = (next, 0);
        Ok(())
    }

    /// Under another name until it is whole, so that half a segment is none.
    fn add(&mut self, number: u64) -> io::Result<()> {
        if self.had_no_room.is_some_and(|it| it.elapsed() < REST) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (path, draft) = (path(&self.directory, number), self.directory.join("draft"));
        let made = fill(&draft, self.size).and_then(|file| {
            fs::rename(&draft, &path)?;
            Ok(file)
        });
        self.had_no_room = None;
        if made.is_err() {
            self.had_no_room = Some(Instant::now());
            // It may hold the room that others need.
            let _ = fs::remove_file(&draft);
        }
        self.files.insert(number, made?);
        Ok(())
    }
}

impl Contents {
    fn take(&mut self, segment: u64, bytes: &[u8]) {
        let mut at = 0;
        loop {
            match record::read(bytes.get(at..).unwrap_or_default()) {
                Found::Record { kind, bytes, size } => {
                    let place = Place { segment, at, length: bytes.len() };
                    self.records.push((kind, place, bytes.to_vec()));
                    at += size;
                }
                Found::Damaged { size } => {
                    self.damaged += 1;
                    at += size;
                }
                Found::Torn => {
                    self.damaged += 1;
                    return;
                }
                Found::End => return,
            }
        }
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
