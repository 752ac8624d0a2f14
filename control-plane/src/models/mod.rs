//! The catalogue: every model that an organization can call, wherever it is served, with
//! what it can do. A view on providers and policies; it keeps nothing of its own.

mod api;
#[cfg(test)]
mod tests;
mod web;

use std::collections::BTreeMap;

use serde::Deserialize;
use shared::snapshot::{Capability, Document, Modality};

use crate::{
    access::{Doors, Work},
    policies::{self, PolicyError},
    upstreams::{self, CatalogueModel, words},
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

/// Which models to list, as a form or a query says it. Empty is any.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
pub struct ModelQuery {
    /// A part of the name.
    #[param(required = false)]
    q: String,
    /// A vendor's word, like `openai`.
    #[param(required = false)]
    provider: String,
    /// `streaming`, `tools`, `parallel_tools`, `json_schema`, `reasoning`, `logprobs`,
    /// `prompt_caching`, `embeddings` or `moderation`.
    #[param(required = false)]
    capability: String,
    /// `text`, `image`, `audio`, `video` or `file`.
    #[param(required = false)]
    reads: String,
}

impl ModelQuery {
    fn is_empty(&self) -> bool {
        [&self.q, &self.provider, &self.capability, &self.reads].iter().all(|it| it.is_empty())
    }

    fn filter(&self) -> Result<Filter, Problems> {
        let mut problems = Problems::none();
        let capability = problems.take("capability", of(&words::CAPABILITIES, &self.capability));
        let reads = problems.take("reads", of(&words::MODALITIES, &self.reads));
        problems.check()?;
        let (capability, reads) = (capability.flatten(), reads.flatten());
        let text = self.q.trim().to_lowercase();
        Ok(Filter { text, provider: self.provider.clone(), capability, reads })
    }
}

fn of<T: Copy>(table: &[(T, &str, &str)], name: &str) -> Result<Option<T>, &'static str> {
    match name {
        "" => Ok(None),
        name => words::of_name(table, name).map(Some).ok_or("choose one of the list"),
    }
}

/// A query that can be asked.
struct Filter {
    text: String,
    provider: String,
    capability: Option<Capability>,
    reads: Option<Modality>,
}

impl Filter {
    fn lets(&self, it: &CatalogueModel) -> bool {
        let model = &it.offered.model;
        (self.provider.is_empty() || self.provider == it.vendor)
            && self.capability.is_none_or(|wanted| model.capabilities.contains(&wanted))
            && self.reads.is_none_or(|wanted| model.input.contains(&wanted))
            && (self.text.is_empty()
                || model.name.to_lowercase().contains(&self.text)
                || model.display_name.to_lowercase().contains(&self.text))
    }
}

/// The models that the query lets through, by name; of one name, the organization's own
/// first, for calls go there first.
pub async fn list(work: &mut Work, query: &ModelQuery) -> Result<Vec<CatalogueModel>, PolicyError> {
    let filter = query.filter().map_err(upstreams::UpstreamError::from)?;
    let mut all = upstreams::catalogue(work).await?;
    all.retain(|it| filter.lets(it));
    Ok(all)
}

/// The other names of models: those of the policies that lead to one and nowhere else.
async fn aliases(work: &mut Work) -> Result<BTreeMap<String, Vec<String>>, PolicyError> {
    let mut aliases = BTreeMap::<_, Vec<_>>::new();
    for policy in policies::list(work).await?.into_iter().filter(|it| !it.is_archived()) {
        if policy.document == Document::of_tiers(policy.tiers.clone())
            && let [tier] = policy.tiers.as_slice()
            && let [target] = tier.targets.as_slice()
        {
            aliases.entry(target.model.clone()).or_default().push(policy.name);
        }
    }
    Ok(aliases)
}
