//! Upstreams made ready to be called: address checked, secret opened.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use routing_engine::{NotLearned, Standing};
use shared::{
    condition::BadCondition,
    ids::{CredentialId, OrganizationId, UpstreamId},
    money::PinnedPrice,
    seal::CannotOpen,
    snapshot::{self as published, Capability, Dialect, Modality},
    vendors::Quirks,
};
use url::Url;

use super::{Opener, Prices};
use crate::{
    egress::NotPermitted,
    providers::{Addresses, Provider, provider},
};

/// One place that serves models.
#[derive(Debug)]
pub struct Upstream {
    pub id: UpstreamId,
    /// Whose calls may go there; everybody's when `None`.
    pub organization: Option<OrganizationId>,
    pub provider: String,
    pub dialect: Dialect,
    pub region: Option<String>,
    pub quirks: Quirks,
    /// Where they are not this proxy's.
    pub timeouts: published::Timeouts,
    pub assurances: published::Assurances,
    /// At least one.
    pub credentials: Vec<Arc<Credential>>,
}

/// A secret that opens an upstream, as the header that shows it.
#[derive(Debug)]
pub struct Credential {
    pub id: CredentialId,
    pub weight: u16,
    /// Marked as sensitive, so that it does not print.
    pub authorization: (HeaderName, HeaderValue),
}

impl Upstream {
    pub fn serves(&self, organization: OrganizationId) -> bool {
        self.organization.is_none_or(|it| it == organization)
    }

    pub fn speaks(&self) -> &'static dyn Provider {
        provider(self.dialect)
    }
}

/// A model that callers can ask for, at one upstream.
#[derive(Debug)]
pub struct Model {
    /// Without its prices.
    pub published: published::Model,
    /// What it costs whom no book says otherwise of.
    pub prices: Prices,
    pub addresses: Addresses,
    /// What is expected of its answers, by what they are asked for.
    pub standing: Standing,
    pub upstream: Arc<Upstream>,
}

impl Model {
    pub fn can(&self, what: Capability) -> bool {
        self.capabilities.contains(&what)
    }

    pub fn reads(&self, what: Modality) -> bool {
        self.input.contains(&what)
    }

    /// Whether somebody wrote down what it can do. One of which nothing is said but that it
    /// streams may be able to do anything.
    pub fn is_described(&self) -> bool {
        let is_telling = |it: &Capability| *it != Capability::Streaming;
        self.capabilities.iter().any(is_telling)
            || self.input.iter().any(|it| *it != Modality::Text)
    }

    /// Whether it surely does not write, but does something else.
    pub fn only_reads(&self) -> bool {
        let reads = self.can(Capability::Embeddings) || self.can(Capability::Moderation);
        reads && self.max_output_tokens == 0
    }
}

impl std::ops::Deref for Model {
    type Target = published::Model;

    fn deref(&self) -> &published::Model {
        &self.published
    }
}

/// One way to have a call answered: a model, where it is served, and the secret to show.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub model: Arc<Model>,
    pub credential: Arc<Credential>,
    /// What it costs the caller, whatever becomes of the price meanwhile.
    pub price: Option<Arc<PinnedPrice>>,
    /// How many tokens a choice may have there, where a budget has to hold.
    pub most_output: Option<u64>,
    /// Whether that is less than it would be if there were more left of the budget.
    pub is_clamped: bool,
}

impl Candidate {
    pub fn new(
        model: Arc<Model>,
        credential: Arc<Credential>,
        price: Option<Arc<PinnedPrice>>,
    ) -> Self {
        Self { model, credential, price, most_output: None, is_clamped: false }
    }

    /// Whether both lead to the same model at the same place with the same secret.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.model, &other.model) && self.credential.id == other.credential.id
    }
}

/// Why a record is left out.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("it cannot be read: {0}")]
    Unreadable(serde_json::Error),
    #[error("a condition of it: {0}")]
    Condition(#[from] BadCondition),
    #[error(transparent)]
    NotLearned(#[from] NotLearned),
    #[error("it says that it is another one")]
    OtherId,
    #[error("a secret's hash has 32 bytes")]
    BadHash,
    #[error("another key has the same secret")]
    SharedSecret,
    #[error("its address is not a URL that we can call")]
    BadAddress,
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    #[error(transparent)]
    Sealed(#[from] CannotOpen),
    #[error("a timeout is 1 to 86400 seconds")]
    BadTimeouts,
    #[error("it has no secret that opens it")]
    NoCredential,
    #[error("its secret, provider or name does not fit into a header")]
    BadText,
}

type Named = (String, Unusable);

/// The models of an upstream, and what of it is unusable.
pub(super) fn open(
    published: published::Upstream,
    opener: &Opener,
) -> Result<(Vec<Arc<Model>>, Vec<Named>), Unusable> {
    let address: Url = published.base_url.parse().map_err(|_| Unusable::BadAddress)?;
    opener.permits(&address)?;
    fits_a_header(&published.provider)?;
    if !published.timeouts.are_in_range() {
        return Err(Unusable::BadTimeouts);
    }
    let mut unusable = Vec::new();
    let mut credentials = Vec::with_capacity(published.credentials.len());
    for it in &published.credentials {
        match credential(&published, it, opener) {
            Ok(opened) => credentials.push(Arc::new(opened)),
            Err(why) => unusable.push((it.id.to_string(), why)),
        }
    }
    if credentials.is_empty() {
        return Err(unusable.pop().map_or(Unusable::NoCredential, |(_, why)| why));
    }

    let published::Upstream {
        id,
        organization,
        provider,
        dialect,
        base_url,
        region,
        timeouts,
        assurances,
        ..
    } = published;
    let quirks = Quirks::of(&provider);
    let upstream = Arc::new(Upstream {
        id,
        organization,
        provider,
        dialect,
        region,
        quirks,
        timeouts,
        assurances,
        credentials,
    });
    let mut models = Vec::with_capacity(published.models.len());
    for it in published.models {
        let name = it.name.clone();
        match model(it, &base_url, &upstream) {
            Ok(model) => models.push(Arc::new(model)),
            Err(why) => unusable.push((format!("model {name:?} of {id}"), why)),
        }
    }
    Ok((models, unusable))
}

fn credential(
    upstream: &published::Upstream,
    published: &published::Credential,
    opener: &Opener,
) -> Result<Credential, Unusable> {
    let published::Credential { id, weight, sealed_secret } = published;
    let purpose = published::Upstream::purpose(*id, upstream.organization, &upstream.base_url);
    let secret = opener.open(sealed_secret, &purpose)?;
    let authorization = provider(upstream.dialect).authorization(&secret);
    let authorization = authorization.map_err(|_| Unusable::BadText)?;
    Ok(Credential { id: *id, weight: *weight, authorization })
}

fn model(
    mut published: published::Model,
    base_url: &str,
    upstream: &Arc<Upstream>,
) -> Result<Model, Unusable> {
    fits_a_header(&published.name)?;
    fits_a_header(&published.upstream_name)?;
    let addresses = upstream.speaks().addresses(base_url, &published.upstream_name);
    let addresses = addresses.map_err(|_| Unusable::BadAddress)?;
    let standing = standing(&published);
    let prices = Prices::of(published.price.take(), std::mem::take(&mut published.planned));
    Ok(Model { published, prices, addresses, standing, upstream: upstream.clone() })
}

/// Worked out here, once, and not for each call.
fn standing(published: &published::Model) -> Standing {
    let price = published.price.as_ref().map(|it| it.price.standard().rates.output.picos());
    // A pico-dollar for one is a millionth of a dollar for a million.
    let price = price.and_then(|it| u64::try_from(it).ok());
    routing_engine::router().standing_of(&published.name, &published.upstream_name, price)
}

/// Answers name the provider and the model in headers.
fn fits_a_header(text: &str) -> Result<(), Unusable> {
    let fits = !text.is_empty() && HeaderValue::from_str(text).is_ok();
    if fits { Ok(()) } else { Err(Unusable::BadText) }
}
