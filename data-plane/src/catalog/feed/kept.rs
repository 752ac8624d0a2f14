//! The copy on the disk, from which a proxy starts when all else is down.
//!
//! It holds what was published, as it was signed, and is sealed, for there are keys to
//! providers in it. Written beside the last one and moved into its place, which is kept
//! too: whatever instant the power goes at, there is a whole one.
//!
//! Beside it is what the fast lane told that not every copy has seen. It is written before
//! it is said that we heard: who is told so is told of a proxy that starts anew, too.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use shared::{
    keys::KeyHash,
    seal::{CannotOpen, MasterKey, Sealer},
    snapshot::{Genuine, NotGenuine, Signed},
};
use tracing::{error, info, warn};

use super::{Feed, Rejected};

pub(super) struct Kept {
    place: Option<PathBuf>,
    sealer: Sealer,
    copy: Mutex<Option<Held>>,
    stopped: Mutex<Stopped>,
}

/// Secrets that open nothing any more, each until a revision that has seen why.
#[derive(Default)]
struct Stopped {
    secrets: HashMap<KeyHash, i64>,
    /// The revisions of the newest copy on the disk and of the one before it, as far as we
    /// know: 0 where we do not.
    newest: i64,
    before: i64,
}

/// Everything at some revision, and what followed it.
#[derive(Clone)]
pub(super) struct Copy {
    pub full: Signed,
    pub deltas: Vec<Signed>,
}

struct Held {
    copy: Copy,
    /// Of the full one; the deltas follow without a gap.
    revision: i64,
    is_written: bool,
}

/// After so many deltas a copy had better begin anew.
const LONG: usize = 1_000;
/// What a copy is sealed for.
const PURPOSE: &str = "v1|snapshot|disk";
const NEW: &str = "snapshot.new";
/// What the secrets that stopped are sealed for.
const STOPPED_PURPOSE: &str = "v1|stopped|disk";
const STOPPED: [&str; 2] = ["stopped.new", "stopped"];
const GENERATIONS: [&str; 2] = ["snapshot", "snapshot.before"];

/// Why a copy is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    Sealed(#[from] CannotOpen),
    #[error("it was cut")]
    Cut,
    #[error(transparent)]
    NotGenuine(#[from] NotGenuine),
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

impl Kept {
    pub fn new(place: Option<PathBuf>, key: &MasterKey) -> Self {
        Self {
            place,
            sealer: key.sealer("snapshot on disk"),
            copy: Mutex::default(),
            stopped: Mutex::default(),
        }
    }

    /// From now on the copy is this.
    pub fn begin(&self, full: Signed, deltas: Vec<Signed>) {
        self.hold(full, deltas, false);
    }

    /// It was read from the disk, and need not be written there.
    pub fn recall(&self, full: Signed, deltas: Vec<Signed>) {
        self.hold(full, deltas, true);
    }

    fn hold(&self, full: Signed, deltas: Vec<Signed>, is_written: bool) {
        if self.place.is_some() {
            let revision = revision_of(&full);
            let copy = Copy { full, deltas };
            *self.copy() = Some(Held { copy, revision, is_written });
        }
    }

    pub fn follow(&self, delta: Signed) {
        if let Some(held) = self.copy().as_mut() {
            held.copy.deltas.push(delta);
            held.is_written = false;
        }
    }

    /// Whether the copy is long, and would be shorter if it began at `revision`.
    pub fn is_long_since(&self, revision: i64) -> bool {
        let copy = self.copy();
        copy.as_ref().is_some_and(|it| it.copy.deltas.len() > LONG && revision > it.revision)
    }

    /// Begins at `full`, where the copy reaches that far.
    pub fn rebase(&self, full: Genuine) {
        if let Some(held) = self.copy().as_mut() {
            let skipped = usize::try_from(full.head.revision - held.revision).unwrap_or_default();
            if skipped <= held.copy.deltas.len() {
                held.copy.deltas.drain(..skipped);
                held.copy.full = full.signed;
                held.revision = full.head.revision;
                held.is_written = false;
            }
        }
    }

    pub fn is_due(&self) -> bool {
        self.copy().as_ref().is_some_and(|it| !it.is_written)
    }

    /// Writes the copy, where it is not written yet.
    pub fn write(&self) -> Result<(), io::Error> {
        let Some(place) = &self.place else { return Ok(()) };
        let mut bytes = Vec::new();
        let revision = match self.copy().as_mut() {
            Some(held) if !held.is_written => {
                held.copy.full.write(&mut bytes);
                held.copy.deltas.iter().for_each(|it| it.write(&mut bytes));
                held.is_written = true;
                held.end()
            }
            Some(_) | None => return Ok(()),
        };
        let written = replace(place, &self.sealer.seal(&bytes, PURPOSE));
        if written.is_err()
            && let Some(held) = self.copy().as_mut()
        {
            held.is_written = false;
        }
        written?;
        self.forget_stopped(place, revision)
    }

    /// Keeps what has stopped, unless each copy on the disk has seen why.
    pub fn stop(&self, secrets: &[(KeyHash, i64)]) -> Result<(), io::Error> {
        let Some(place) = &self.place else { return Ok(()) };
        let mut stopped = self.stopped();
        let before = stopped.before;
        let mut is_new = false;
        for (hash, until) in secrets.iter().filter(|it| it.1 > before) {
            let there = stopped.secrets.entry(*hash).or_insert(0);
            is_new |= *there < *until;
            *there = (*there).max(*until);
        }
        if is_new { self.write_stopped(place, &stopped) } else { Ok(()) }
    }

    /// A copy of `revision` is on the disk, and the newest one became the one before it.
    fn forget_stopped(&self, place: &Path, revision: i64) -> Result<(), io::Error> {
        let mut stopped = self.stopped();
        let before = std::mem::replace(&mut stopped.newest, revision);
        stopped.before = before;
        let there = stopped.secrets.len();
        stopped.secrets.retain(|_, until| *until > before);
        if stopped.secrets.len() < there { self.write_stopped(place, &stopped) } else { Ok(()) }
    }

    fn write_stopped(&self, place: &Path, stopped: &Stopped) -> Result<(), io::Error> {
        let mut bytes = Vec::with_capacity(stopped.secrets.len() * 40);
        for (hash, until) in &stopped.secrets {
            bytes.extend_from_slice(&hash.0);
            bytes.extend_from_slice(&until.to_be_bytes());
        }
        let [new, current] = STOPPED.map(|it| place.join(it));
        write_new(place, &new, &self.sealer.seal(&bytes, STOPPED_PURPOSE))?;
        fs::rename(new, current)?;
        File::open(place)?.sync_all()
    }

    /// What had stopped when we were here last. `revision` is of the copy that we serve.
    fn recall_stopped(&self, revision: i64) -> Result<Vec<(KeyHash, i64)>, Unusable> {
        let mut stopped = self.stopped();
        stopped.newest = revision;
        let Some(path) = self.place.as_ref().map(|it| it.join(STOPPED[1])) else {
            return Ok(Vec::new());
        };
        if !path.exists() {
            return Ok(Vec::new());
        }
        let bytes = self.sealer.open(&fs::read(path)?, STOPPED_PURPOSE)?;
        let (entries, []) = bytes.as_chunks::<40>() else { return Err(Unusable::Cut) };
        for entry in entries {
            let (Some(hash), Some(until)) = (entry.first_chunk(), entry.last_chunk()) else {
                continue;
            };
            stopped.secrets.insert(KeyHash(*hash), i64::from_be_bytes(*until));
        }
        Ok(stopped.secrets.iter().map(|(hash, until)| (*hash, *until)).collect())
    }

    fn stopped(&self) -> MutexGuard<'_, Stopped> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copies that there are, the newest first.
    pub fn copies(&self) -> impl Iterator<Item = Result<Copy, Unusable>> {
        let paths = self.place.iter().flat_map(|it| GENERATIONS.map(|name| it.join(name)));
        paths.filter(|it| it.exists()).map(|it| self.read(&it))
    }

    fn read(&self, path: &Path) -> Result<Copy, Unusable> {
        let bytes = self.sealer.open(&fs::read(path)?, PURPOSE)?;
        let mut rest = bytes.as_slice();
        let full = Signed::read(&mut rest).ok_or(Unusable::Cut)?;
        let mut deltas = Vec::new();
        while !rest.is_empty() {
            deltas.push(Signed::read(&mut rest).ok_or(Unusable::Cut)?);
        }
        Ok(Copy { full, deltas })
    }

    fn copy(&self) -> MutexGuard<'_, Option<Held>> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The revision that it ends with.
    fn end(&self) -> i64 {
        let deltas = i64::try_from(self.copy.deltas.len()).unwrap_or_default();
        self.revision.saturating_add(deltas)
    }
}

impl Feed {
    /// Serves the copy on the disk, if it is good, but for what has stopped since.
    pub(super) fn recall(&self) {
        self.recall_copy();
        match self.kept.recall_stopped(self.revision()) {
            Ok(secrets) => self.catalog.stop(&secrets),
            Err(why) => error!(%why, "what had stopped cannot be read from the disk: {why}"),
        }
    }

    fn recall_copy(&self) {
        let began = Instant::now();
        for copy in self.kept.copies() {
            match self.serve_copy(copy) {
                Ok(revision) => {
                    let took_ms = began.elapsed().as_millis();
                    info!(revision, "serving revision {revision} from the disk after {took_ms} ms");
                    return;
                }
                Err(why) => warn!(%why, "a copy on the disk is of no use: {why}"),
            }
        }
    }

    fn serve_copy(&self, copy: Result<Copy, Unusable>) -> Result<i64, Unusable> {
        let Copy { full, deltas } = copy?;
        let full = self.verifier.verify(full)?;
        let deltas: Result<Vec<_>, _> =
            deltas.into_iter().map(|it| self.verifier.verify(it)).collect();
        let deltas = deltas?;
        self.catalog.replace(&full, &deltas)?;
        let revision = self.revision();
        self.kept.recall(full.signed, deltas.into_iter().map(|it| it.signed).collect());
        Ok(revision)
    }

    /// That it is refused now does not depend on the disk.
    pub(super) fn keep_stopped(&self, secrets: &[(KeyHash, i64)]) {
        if let Err(error) = tokio::task::block_in_place(|| self.kept.stop(secrets)) {
            error!(%error, "what has stopped could not be kept on the disk: {error}");
        }
    }

    pub(super) fn keep(&self) -> std::io::Result<()> {
        if self.kept.is_due() { tokio::task::block_in_place(|| self.kept.write()) } else { Ok(()) }
    }
}

/// As its head says, which was verified before it came here.
fn revision_of(full: &Signed) -> i64 {
    full.head.lines().nth(3).and_then(|it| it.parse().ok()).unwrap_or_default()
}

fn write_new(place: &Path, new: &Path, bytes: &[u8]) -> Result<(), io::Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(place)?;
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Readable by us alone, on the disk before it is in place.
fn replace(place: &Path, bytes: &[u8]) -> Result<(), io::Error> {
    let [current, before] = GENERATIONS.map(|it| place.join(it));
    let new = place.join(NEW);
    write_new(place, &new, bytes)?;
    if current.exists() {
        fs::rename(&current, &before)?;
    }
    fs::rename(&new, &current)?;
    File::open(place)?.sync_all()
}
