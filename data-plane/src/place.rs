//! A proxy's own place on the disk, which no other process has at the same time.
//!
//! Two that kept a copy in one directory would each write over the other's. What they count
//! never mixes: a process has an epoch of its own, whatever it is called and wherever it keeps
//! its journal.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Ours until this is dropped, or the process is gone.
pub struct OwnPlace {
    _lock: File,
}

impl OwnPlace {
    /// `None` where another process has it.
    pub fn take(directory: &Path) -> io::Result<Option<Self>> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(directory.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
