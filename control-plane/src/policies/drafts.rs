//! What somebody wants a policy to say, before it does. There is one draft a policy, which whoever
//! may change policies goes on with.

use serde::Serialize;
use serde_json::json;
use shared::{ids::PolicyId, snapshot::Document};
use time::OffsetDateTime;

use super::{Draft, PolicyError, find, find_to_change, publish, store};
use crate::{
    access::Work,
    audit::{self, Entry},
};

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SavedDraft {
    /// The version that was in force when it was begun. Once another is, it is published no more.
    pub based_on: i32,
    pub name: String,
    pub document: Document,
    pub note: String,
    /// Null for services.
    pub saved_by: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub saved_at: OffsetDateTime,
}

pub async fn draft_of(
    work: &mut Work,
    policy: PolicyId,
) -> Result<Option<SavedDraft>, PolicyError> {
    let organization = work.organization;
    find(work, policy).await?;
    Ok(store::drafts::find(work, organization, policy).await?)
}

/// Keeps it in the place of the draft before, if nothing is wrong with it. `expected` is the version
/// that whoever wrote it has seen, where they have.
pub async fn save(
    work: &mut Work,
    policy: PolicyId,
    draft: &Draft,
    expected: Option<i32>,
) -> Result<(), PolicyError> {
    let before = find_to_change(work, policy).await?;
    if expected.is_some_and(|it| it != before.version) {
        return Err(PolicyError::Outdated);
    }
    publish::check(work, &draft.document).await?;
    let (organization, by) = (work.organization, work.actor.person());
    store::drafts::put(work, organization, policy, before.version, draft, by).await?;
    let entry = Entry::new("policy.draft_saved", policy, &draft.name);
    let after = json!({ "name": draft.name, "document": draft.document, "note": draft.note });
    audit::record(work, entry.after(after)).await?;
    Ok(())
}

pub async fn discard(work: &mut Work, policy: PolicyId) -> Result<(), PolicyError> {
    let before = find_to_change(work, policy).await?;
    let organization = work.organization;
    if !store::drafts::delete(work, organization, policy).await? {
        return Err(PolicyError::NoDraft);
    }
    let entry = Entry::new("policy.draft_discarded", policy, before.name);
    audit::record(work, entry).await?;
    Ok(())
}
