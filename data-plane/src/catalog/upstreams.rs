//! Upstreams made ready to be called: address checked, secret opened.

use std::sync::Arc;

use http::{HeaderValue, Uri};
use secrecy::{ExposeSecret, SecretString};
use shared::{
    ids::{CredentialId, OrganizationId},
    seal::CannotOpen,
    snapshot as published,
};
use url::Url;

use super::Opener;
use crate::egress::NotPermitted;

/// One place that serves models.
#[derive(Debug)]
pub struct Upstream {
    pub credential: CredentialId,
    /// Whose calls may go there; everybody's when `None`.
    pub organization: Option<OrganizationId>,
    pub provider: String,
    pub chat: Uri,
    /// Marked as sensitive, so that it does not print.
    pub authorization: HeaderValue,
}

impl Upstream {
    pub fn serves(&self, organization: OrganizationId) -> bool {
        self.organization.is_none_or(|it| it == organization)
    }
}

/// A model that callers can ask for, at one upstream.
#[derive(Debug)]
pub struct Model {
    pub name: String,
    pub upstream_name: String,
    pub display_name: String,
    pub context_length: u32,
    pub max_output_tokens: u32,
    pub upstream: Arc<Upstream>,
}

/// Why a record is left out.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("it cannot be read: {0}")]
    Unreadable(serde_json::Error),
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
    #[error("its secret, provider or name does not fit into a header")]
    BadText,
}

type Named = (String, Unusable);

/// The models of an upstream, and those of them that are unusable.
pub(super) fn open(
    published: published::Upstream,
    opener: &Opener,
) -> Result<(Vec<Arc<Model>>, Vec<Named>), Unusable> {
    let published::Upstream { credential, organization, provider, base_url, .. } = published;
    let address: Url = base_url.parse().map_err(|_| Unusable::BadAddress)?;
    opener.egress.permits(&address)?;
    let chat = format!("{base_url}/chat/completions").parse().map_err(|_| Unusable::BadAddress)?;
    let purpose = published::Upstream::purpose(credential, organization, &base_url);
    let secret = opener.sealer.open_text(&published.sealed_secret, &purpose)?;
    let authorization = bearer(&secret)?;
    fits_a_header(&provider)?;

    let upstream = Upstream { credential, organization, provider, chat, authorization };
    let upstream = Arc::new(upstream);
    let (mut models, mut unusable) = (Vec::new(), Vec::new());
    for it in published.models {
        match fits_a_header(&it.name).and_then(|()| fits_a_header(&it.upstream_name)) {
            Ok(()) => models.push(Arc::new(model(it, upstream.clone()))),
            Err(why) => unusable.push((format!("model {:?} of {credential}", it.name), why)),
        }
    }
    Ok((models, unusable))
}

fn model(published: published::Model, upstream: Arc<Upstream>) -> Model {
    let published::Model { name, upstream_name, display_name, context_length, max_output_tokens } =
        published;
    Model { name, upstream_name, display_name, context_length, max_output_tokens, upstream }
}

fn bearer(secret: &SecretString) -> Result<HeaderValue, Unusable> {
    let text = format!("Bearer {}", secret.expose_secret());
    let mut value = HeaderValue::try_from(text).map_err(|_| Unusable::BadText)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Answers name the provider and the model in headers.
fn fits_a_header(text: &str) -> Result<(), Unusable> {
    let fits = !text.is_empty() && HeaderValue::from_str(text).is_ok();
    if fits { Ok(()) } else { Err(Unusable::BadText) }
}
