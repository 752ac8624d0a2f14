//! The configuration that proxies run, as the control plane publishes it.
//!
//! This is the simple form: one whole image in Redis under [`IMAGE`], replaced at each
//! change and announced on [`HINT`], which carries no content, so that a lost hint
//! costs one polling period and never a change.

mod key;
mod policy;
mod scope;
mod tenant;
mod upstream;

use serde::{Deserialize, Serialize};

pub use self::{
    key::{Key, Limits, Secret},
    policy::{Policy, Target, Tier},
    scope::{Scope, UnknownScope},
    tenant::{Project, Tenant},
    upstream::{Capability, Credential, Dialect, Modality, Model, Upstream},
};

/// The Redis key that holds the current image as JSON.
pub const IMAGE: &str = "cfg:main:image";
/// The Redis hash in which proxies say when keys were last used: seconds since 1970, by id.
pub const LAST_USED: &str = "keys:main:last_used";
/// The Redis channel that says an image of some revision is there.
pub const HINT: &str = "cfg:main:hint";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// Grows with every image. A proxy never goes back.
    pub revision: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub taken_at: time::OffsetDateTime,
    pub upstreams: Vec<Upstream>,
    pub keys: Vec<Key>,
    #[serde(default)]
    pub policies: Vec<Policy>,
    #[serde(default)]
    pub tenants: Vec<Tenant>,
    #[serde(default)]
    pub projects: Vec<Project>,
}

mod base64_bytes {
    use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}
