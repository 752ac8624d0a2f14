//! Where models are served.

use serde::{Deserialize, Serialize};

use super::{DatedPrice, base64_bytes};
use crate::{
    ids::{CredentialId, OrganizationId, UpstreamId},
    money::PinnedPrice,
};

/// One place that serves models: a vendor's API, or a region of it, or a server of one's
/// own, with the secrets that open it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upstream {
    pub id: UpstreamId,
    /// Whose calls may go there; everybody's when `None`.
    pub organization: Option<OrganizationId>,
    /// The vendor, as answers and logs name it.
    pub provider: String,
    pub dialect: Dialect,
    /// Ends without a slash; the dialect's paths are appended.
    pub base_url: String,
    pub region: Option<String>,
    pub credentials: Vec<Credential>,
    pub models: Vec<Model>,
    #[serde(default, skip_serializing_if = "Timeouts::are_the_proxys")]
    pub timeouts: Timeouts,
    #[serde(default, skip_serializing_if = "Assurances::are_none")]
    pub assurances: Assurances,
}

/// What its owner knows that the vendor does with what is sent there. What nobody said is not so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Assurances {
    /// Nothing of a call is kept.
    pub zero_retention: bool,
    /// Nothing is learned from it.
    pub no_training: bool,
}

impl Assurances {
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How long its answers may take, in seconds. What is not said is what each proxy was
/// configured with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Timeouts {
    /// Until an answer begins.
    #[serde(default)]
    pub first_byte_seconds: Option<u32>,
    /// Between two pieces of one.
    #[serde(default)]
    pub idle_seconds: Option<u32>,
    /// All of it.
    #[serde(default)]
    pub total_seconds: Option<u32>,
}

impl Timeouts {
    /// A second to a day.
    pub const RANGE: std::ops::RangeInclusive<u32> = 1..=86_400;

    pub fn are_the_proxys(&self) -> bool {
        *self == Self::default()
    }

    pub fn are_in_range(&self) -> bool {
        let all = [self.first_byte_seconds, self.idle_seconds, self.total_seconds];
        all.iter().flatten().all(|it| Self::RANGE.contains(it))
    }
}

/// A secret that opens an upstream. Several share its calls by their weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Credential {
    pub id: CredentialId,
    pub weight: u16,
    /// The provider's secret, sealed for [`Upstream::purpose`] with the credential key.
    #[serde(with = "base64_bytes")]
    pub sealed_secret: Vec<u8>,
}

impl Upstream {
    /// What a secret is sealed for: this credential of this owner, at this address. A
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

/// What is spoken at an upstream.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI, and everybody who speaks it.
    #[default]
    OpenAi,
    /// OpenAI's, with deployments in the path and another header for the secret.
    AzureOpenAi,
    Anthropic,
    Gemini,
}

/// A model that callers can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Model {
    /// What callers say.
    pub name: String,
    /// What the upstream is told.
    pub upstream_name: String,
    pub display_name: String,
    pub context_length: u32,
    /// None for a model that does not write, such as one for embeddings.
    pub max_output_tokens: u32,
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    #[serde(default = "text_only")]
    pub input: Vec<Modality>,
    #[serde(default = "text_only")]
    pub output: Vec<Modality>,
    /// The day after which the vendor stops serving it.
    #[serde(default)]
    pub deprecated_on: Option<String>,
    #[serde(default)]
    pub successor: Option<String>,
    /// Since when it is served there, in seconds since 1970, where somebody wrote that down. It is
    /// told and never taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
    /// How its weights were made smaller, such as `fp8`, where somebody wrote that down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// What it costs. A model without a price is not served where a hard budget is to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PinnedPrice>,
    /// What it will cost, and from when on, in the order in which it was written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<DatedPrice>,
}

impl Model {
    /// A model that reads and writes text, of which no more is known.
    pub fn of_text(
        name: &str,
        upstream_name: &str,
        context_length: u32,
        max_output_tokens: u32,
    ) -> Self {
        Self {
            name: name.to_owned(),
            upstream_name: upstream_name.to_owned(),
            display_name: name.to_owned(),
            context_length,
            max_output_tokens,
            capabilities: vec![Capability::Streaming],
            input: text_only(),
            output: text_only(),
            deprecated_on: None,
            successor: None,
            created: None,
            quantization: None,
            price: None,
            planned: Vec::new(),
        }
    }
}

fn text_only() -> Vec<Modality> {
    vec![Modality::Text]
}

/// What a model can do beyond answering.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    Streaming,
    Tools,
    ParallelTools,
    JsonSchema,
    Reasoning,
    Logprobs,
    PromptCaching,
    Embeddings,
    Moderation,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    Text,
    Image,
    Audio,
    Video,
    File,
    Embedding,
}
