//! Where drills break a process off: between what must not come apart.
//!
//! Only in programs that are built to be debugged: no release has it. `TURNPIKE_FAILPOINT` names
//! the place at which the process dies, without cleaning anything up.

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// Entries of streams were read, and nothing is written yet.
    IngestRead,
    /// Events are written, and not how far they have come; nothing is committed.
    IngestAdded,
    /// Everything is written, and not committed.
    IngestInserted,
    /// It is committed, and nobody was told.
    IngestCommitted,
    /// Proxies were told, and the entries are still there.
    IngestPublished,
    /// The entries are gone.
    IngestRemoved,
}

impl Failpoint {
    /// In the order in which they are passed.
    pub const ALL: [Self; 6] = [
        Self::IngestRead,
        Self::IngestAdded,
        Self::IngestInserted,
        Self::IngestCommitted,
        Self::IngestPublished,
        Self::IngestRemoved,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::IngestRead => "ingest_read",
            Self::IngestAdded => "ingest_added",
            Self::IngestInserted => "ingest_inserted",
            Self::IngestCommitted => "ingest_committed",
            Self::IngestPublished => "ingest_published",
            Self::IngestRemoved => "ingest_removed",
        }
    }

    /// Ends the process if it is this one that was named.
    #[cfg(debug_assertions)]
    pub fn reach(self) {
        if std::env::var("TURNPIKE_FAILPOINT").is_ok_and(|it| it == self.name()) {
            tracing::warn!("dying at {}, as TURNPIKE_FAILPOINT asks", self.name());
            std::process::abort();
        }
    }

    #[cfg(not(debug_assertions))]
    pub const fn reach(self) {}
}
