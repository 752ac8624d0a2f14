//! The copy on the disk, from which a proxy starts when all else is down.
//!
//! It holds what was published, as it was signed, and is sealed, for there are keys to
//! providers in it. Written beside the last one and moved into its place, which is kept
//! too: whatever instant the power goes at, there is a whole one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use shared::{
    seal::{CannotOpen, MasterKey, Sealer},
    snapshot::{Genuine, NotGenuine, Signed},
};
use tracing::{info, warn};

use super::{Feed, Rejected};

pub(super) struct Kept {
    place: Option<PathBuf>,
    sealer: Sealer,
    copy: Mutex<Option<Held>>,
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
        Self { place, sealer: key.sealer("snapshot on disk"), copy: Mutex::default() }
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
        match self.copy().as_mut() {
            Some(held) if !held.is_written => {
                held.copy.full.write(&mut bytes);
                held.copy.deltas.iter().for_each(|it| it.write(&mut bytes));
                held.is_written = true;
            }
            Some(_) | None => return Ok(()),
        }
        let written = replace(place, &self.sealer.seal(&bytes, PURPOSE));
        if written.is_err()
            && let Some(held) = self.copy().as_mut()
        {
            held.is_written = false;
        }
        written
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

impl Feed {
    /// Serves the copy on the disk, if it is good.
    pub(super) fn recall(&self) {
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

    pub(super) fn keep(&self) -> std::io::Result<()> {
        if self.kept.is_due() { tokio::task::block_in_place(|| self.kept.write()) } else { Ok(()) }
    }
}

/// As its head says, which was verified before it came here.
fn revision_of(full: &Signed) -> i64 {
    full.head.lines().nth(3).and_then(|it| it.parse().ok()).unwrap_or_default()
}

/// Readable by us alone, on the disk before it is in place.
fn replace(place: &Path, bytes: &[u8]) -> Result<(), io::Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(place)?;
    let [current, before] = GENERATIONS.map(|it| place.join(it));
    let new = place.join(NEW);
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    if current.exists() {
        fs::rename(&current, &before)?;
    }
    fs::rename(&new, &current)?;
    File::open(place)?.sync_all()
}
