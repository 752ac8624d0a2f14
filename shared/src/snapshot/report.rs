//! What a proxy says of itself.

use serde::{Deserialize, Serialize};

use crate::ids::CredentialId;

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
    #[serde(default)]
    pub breakers: OpenBreakers,
}

/// The sites that a proxy leaves alone at present.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenBreakers {
    /// How many there are.
    pub count: usize,
    /// Those that it has left alone for longest, [`OpenBreakers::MOST`] at most.
    pub listed: Vec<OpenBreaker>,
}

impl OpenBreakers {
    /// So many are listed, that a report stays one that can be read at a glance.
    pub const MOST: usize = 100;
}

/// A site that is left alone, since it failed too often. Its times are lengths, for the
/// clocks of proxies differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenBreaker {
    pub credential: CredentialId,
    /// How long it has been left alone.
    pub open_ms: u64,
    /// How long until a call tries it again; 0 where the next one does, or one is at it.
    pub rest_ms: u64,
}
