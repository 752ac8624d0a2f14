//! Clocks of processes that a test moves: what time it is for them, and not how time passes.
//!
//! A library that each of them loads before any other (`overshoot/clock.c`) reads by how much
//! from a file, so that the clocks of all who share it move at one moment.

use std::{
    fs::{self, OpenOptions, Permissions},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

pub struct Clocks {
    directory: PathBuf,
    /// How far all are ahead to begin with, in milliseconds.
    begins_ms: i64,
}

/// The clock of everything that has no other.
const COMMON: &str = "common";
const LIBRARY: &str = "clock.so";

impl Clocks {
    /// Under `home`, where whoever runs a server can read it.
    pub(super) fn new(home: &Path, library: &Path, begins_ms: i64) -> Self {
        let directory = home.join("clocks");
        fs::create_dir(&directory).expect("temporary files can be made");
        let copy = directory.join(LIBRARY);
        fs::copy(library, &copy).expect("the library is built");
        let readable = Permissions::from_mode(0o644);
        fs::set_permissions(copy, readable).expect("it is ours");
        Self { directory, begins_ms }
    }

    /// What a process with a clock of that name is started with.
    pub(super) fn environment(&self, name: &str) -> [(String, String); 2] {
        let path = |name: &str| self.directory.join(name).to_string_lossy().into_owned();
        self.moves(name, self.begins_ms);
        [("LD_PRELOAD".to_owned(), path(LIBRARY)), ("TURNPIKE_CLOCK".to_owned(), path(name))]
    }

    pub(super) fn of_all(&self) -> [(String, String); 2] {
        self.environment(COMMON)
    }

    /// Makes the clock of that name so many milliseconds ahead of this machine's.
    pub fn moves(&self, name: &str, ms: i64) {
        let path = self.directory.join(name);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let file = file.expect("temporary files can be written");
        file.write_all_at(&(ms * 1_000_000).to_ne_bytes(), 0).expect("it is eight bytes");
    }

    pub fn moves_all(&self, ms: i64) {
        self.moves(COMMON, ms);
    }
}

/// What this machine's clock says, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
