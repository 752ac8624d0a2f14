//! Where drills break a process off: between what must not come apart.
//!
//! Only with the feature `failpoints`, which no release has. `TURNPIKE_FAILPOINT` names the
//! place at which the process dies, without cleaning anything up.

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// Entries of streams were read, and nothing is written yet.
    IngestRead,
    /// Everything is written, and not committed.
    IngestInserted,
    /// It is committed, and nobody was told.
    IngestCommitted,
    /// Proxies were told, and the entries are still there.
    IngestPublished,
}

impl Failpoint {
    pub const ALL: [Self; 4] =
        [Self::IngestRead, Self::IngestInserted, Self::IngestCommitted, Self::IngestPublished];

    pub const fn name(self) -> &'static str {
        match self {
            Self::IngestRead => "ingest_read",
            Self::IngestInserted => "ingest_inserted",
            Self::IngestCommitted => "ingest_committed",
            Self::IngestPublished => "ingest_published",
        }
    }

    /// Ends the process if it is this one that was named.
    #[cfg(feature = "failpoints")]
    pub fn reach(self) {
        if std::env::var("TURNPIKE_FAILPOINT").is_ok_and(|it| it == self.name()) {
            tracing::warn!("dying at {}, as TURNPIKE_FAILPOINT asks", self.name());
            std::process::abort();
        }
    }

    #[cfg(not(feature = "failpoints"))]
    pub const fn reach(self) {}
}
