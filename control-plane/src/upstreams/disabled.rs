//! What an organization does not want of the platform's: a model, or all of a provider.

use serde::Serialize;
use serde_json::json;

use super::{Upstream, UpstreamError, models, store};
use crate::{
    access::Work,
    audit::{self, Entry},
};

/// What keeps a model from being called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledBy {
    /// The platform, which serves it to nobody at present.
    Platform,
    /// The organization, with all that the provider serves.
    Provider,
    /// The organization, by its name.
    Model,
}

/// Lets the organization's calls go to what is the platform's, or no longer: to all that
/// `upstream` serves, or to a model of it.
pub(super) async fn set(
    work: &mut Work,
    upstream: &Upstream,
    model: Option<&str>,
    enabled: bool,
) -> Result<(), UpstreamError> {
    if let Some(name) = model {
        models::one(work, upstream.id, name).await?;
    }
    let organization = work.organization;
    let is_new = match enabled {
        true => store::want(work, organization, upstream.id, model).await?,
        false => store::disable(work, organization, upstream.id, model).await?,
    };
    if !is_new {
        return Ok(());
    }
    let action = match (model, enabled) {
        (None, true) => "provider.enabled",
        (None, false) => "provider.disabled",
        (Some(_), true) => "provider.model_enabled",
        (Some(_), false) => "provider.model_disabled",
    };
    let entry = Entry::new(action, upstream.id, &upstream.name);
    let entry = match model {
        Some(name) => entry.after(json!({ "name": name })),
        None => entry,
    };
    audit::record(work, entry).await?;
    Ok(())
}
