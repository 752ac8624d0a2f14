//! The configuration that proxies run, as the control plane publishes it.
//!
//! This is the simple form: one whole image in Redis under [`IMAGE`], replaced at each
//! change and announced on [`HINT`], which carries no content, so that a lost hint
//! costs one polling period and never a change.

use std::time::SystemTime;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::ids::{ApiKeyId, CredentialId, OrganizationId, ProjectId};

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
}

/// One place that serves models.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upstream {
    pub credential: CredentialId,
    /// Whose calls may go there; everybody's when `None`.
    pub organization: Option<OrganizationId>,
    pub provider: String,
    /// Ends without a slash; `/chat/completions` is appended.
    pub base_url: String,
    /// The provider's secret, sealed for [`Upstream::purpose`] with the credential key.
    #[serde(with = "base64_bytes")]
    pub sealed_secret: Vec<u8>,
    pub models: Vec<Model>,
}

impl Upstream {
    /// What the secret is sealed for: this credential of this owner, at this address. A
    /// row moved to another host or organization cannot be opened.
    pub fn purpose(
        credential: CredentialId,
        organization: Option<OrganizationId>,
        base_url: &str,
    ) -> String {
        let owner = organization.map_or("platform".to_owned(), |it| it.to_string());
        format!("v1|{owner}|{credential}|provider|{base_url}")
    }
}

/// A model that callers can ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Model {
    /// What callers say.
    pub name: String,
    /// What the upstream is told.
    pub upstream_name: String,
    pub display_name: String,
    pub context_length: u32,
    pub max_output_tokens: u32,
}

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

/// An endpoint of the data plane that a key may be for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Chat,
    Completions,
    Responses,
    Messages,
    Embeddings,
    Moderations,
    Models,
}

impl Scope {
    pub const ALL: [Self; 7] = [
        Self::Chat,
        Self::Completions,
        Self::Responses,
        Self::Messages,
        Self::Embeddings,
        Self::Moderations,
        Self::Models,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::Models => "models",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|it| it.name() == text).ok_or(UnknownScope)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a scope is one of chat, completions, responses, messages, embeddings, moderations, models"
)]
pub struct UnknownScope;

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
