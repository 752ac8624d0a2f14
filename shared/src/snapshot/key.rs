//! An API key, as far as a proxy needs to know it.

use std::time::SystemTime;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Routing, Scope, base64_bytes};
use crate::ids::{ApiKeyId, OrganizationId, ProjectId};

/// An API key with everything that decides what it may do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Key {
    pub id: ApiKeyId,
    pub organization: OrganizationId,
    pub project: ProjectId,
    pub secrets: Vec<Secret>,
    pub scopes: Vec<Scope>,
    /// Every model when `None`.
    pub allowed_models: Option<Vec<String>>,
    /// Every address when empty.
    pub allowed_addresses: Vec<IpNet>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<time::OffsetDateTime>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "Routing::is_silent")]
    pub routing: Routing,
}

/// How much of something is let through, on all proxies together. What is `None` is not
/// limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub requests_per_minute: Option<u32>,
    /// Input and output together.
    pub tokens_per_minute: Option<u64>,
    /// Calls under way at once.
    pub concurrent: Option<u32>,
}

impl Limits {
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// A key that was revoked not long ago, so that whoever still sends it is told so. It opens
/// nothing. It is a record of its own, for a proxy that did not know a mark on a [`Key`] would go
/// on letting it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    pub id: ApiKeyId,
    /// Of the secrets that opened it until then.
    pub hashes: Vec<SecretHash>,
    /// In seconds since 1970.
    pub at: i64,
    pub by: RevokedBy,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(#[serde(with = "base64_bytes")] pub Vec<u8>);

/// Who revoked a key, without a name: whoever finds a secret somewhere may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokedBy {
    /// Whose key it was.
    Owner,
    /// Another of the organization.
    Member,
    /// A service's token, or the platform.
    Program,
}

/// One of a key's secrets: the present one, and for a while the one before it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Secret {
    #[serde(with = "base64_bytes")]
    pub hash: Vec<u8>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub valid_until: Option<time::OffsetDateTime>,
}

impl Secret {
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        self.valid_until.is_none_or(|until| now < until)
    }
}
