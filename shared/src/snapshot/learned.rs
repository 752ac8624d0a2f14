//! What an organization's feedback taught, as proxies are given it.

use serde::{Deserialize, Serialize};

use super::base64_bytes;
use crate::ids::OrganizationId;

/// One of which nothing was learned has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    pub organization: OrganizationId,
    /// What answers and decisions call it: a digest of the tables.
    pub version: String,
    /// As the routing engine writes them: some 110 KB at most.
    #[serde(with = "base64_bytes")]
    pub tables: Vec<u8>,
}
