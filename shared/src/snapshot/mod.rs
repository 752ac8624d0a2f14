//! The configuration that proxies run, as the control plane publishes it.
//!
//! It is made of records. A change to some of them is a revision: the next link of a
//! chain of deltas, signed, kept in Redis under [`Places`] beside everything at once for
//! those who have missed some. What announces a revision carries none of it, so that a
//! lost hint costs one polling period and never a change.

mod body;
mod budget;
mod key;
mod learned;
mod places;
mod policy;
mod prices;
mod record;
mod report;
mod routing;
mod scope;
mod signed;
mod sum;
mod tenant;
mod upstream;

use serde::{Deserialize, Serialize};

pub use self::{
    body::{BadLine, pack, unpack},
    budget::{
        BadThresholds, Budget, Caps, OnRedisLoss, OnTight, Raise, Scope as BudgetScope, Thresholds,
    },
    key::{Key, Limits, Revoked, RevokedBy, Secret, SecretHash},
    learned::Learned,
    places::{PIECE, Places},
    policy::{
        After, Choice, Constraints, Document, Failed, Fallback, Goal, Hedge, Policy, Retry, Rule,
        Staged, StagedBy, Stick, Strategy, Target, Tier, Usual,
    },
    prices::{BookPrices, DatedPrice, HeldBook, PriceBook, in_force},
    record::{Change, Entity, Record, RecordId},
    report::{OpenBreaker, OpenBreakers, Report},
    routing::Routing,
    scope::{Scope, UnknownScope},
    signed::{
        BadSnapshotKey, Digest, Form, Genuine, Head, NotGenuine, PublicKey, SCHEMA, Signed, Signer,
        SnapshotKey, Verifier,
    },
    sum::SetSum,
    tenant::{Disabled, MOST_EXPLORED, Project, Share, Split, Tenant, Worth},
    upstream::{Assurances, Capability, Credential, Dialect, Modality, Model, Timeouts, Upstream},
};

/// The Redis hash in which proxies say when keys were last used: seconds since 1970, by id.
pub const LAST_USED: &str = "keys:main:last_used";

/// Every record at one revision, as one text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// Grows with every change. A proxy never goes back.
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
    #[serde(default)]
    pub budgets: Vec<Budget>,
    #[serde(default)]
    pub books: Vec<PriceBook>,
    #[serde(default)]
    pub revoked: Vec<Revoked>,
    #[serde(default)]
    pub learned: Vec<Learned>,
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
