//! What a proxy says of itself.

use serde::{Deserialize, Serialize};

/// A proxy's answer to a revision, and a sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What it serves; 0 before there was anything.
    pub revision: i64,
    /// The reason for which it refuses something newer, where it does.
    pub refuses: Option<String>,
    /// When the revision it serves was published, in microseconds since 1970.
    pub published_at: i64,
    /// From the publishing of that revision until it was served, by two clocks.
    pub lag_ms: i64,
    /// Records that it leaves out.
    pub quarantined: usize,
    pub version: String,
    /// Where it listens.
    pub address: String,
}
