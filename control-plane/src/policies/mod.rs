//! Routing policies: names that callers ask for instead of a model, and where they lead.
//!
//! What a policy says is a document: rules, each with a condition and a choice of models, and what
//! is chosen where none holds. A choice of one target is an alias; several in a tier share the
//! calls by their weights; a tier is left for the next when all its targets have failed.
//!
//! Nothing takes effect silently: a document is drafted, checked and published, at once or to some
//! calls first. Each that is published is a version of its own, which stays: going back is a new
//! version that says what an old one said. A policy leads to models, never to another policy.

mod api;
mod check;
mod drafts;
mod error;
mod everywhere;
mod publish;
mod schema;
pub mod simulate;
mod stages;
mod store;
#[cfg(test)]
mod tests;
mod web;

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use shared::{
    ids::PolicyId,
    snapshot::{self, Document, StagedBy, Tier},
};
use sqlx::PgConnection;
use time::OffsetDateTime;

pub use self::{
    check::{Flaw, Flaws, Known, Stranded, StrandedKey},
    drafts::{SavedDraft, discard, draft_of, save},
    error::PolicyError,
    everywhere::{StrandedTenant, StrandedTenants, stranded},
    publish::{
        How, Publication, Stranding, change, check as check_document, create, publish, roll_back,
        stranding,
    },
    stages::{finish, raise, withdraw},
};
use crate::{
    access::{Doors, Grant, Work},
    audit::{self, Entry},
    defaults, upstreams,
};

pub fn doors(doors: &mut Doors) {
    schema::doors(doors);
    web::doors(doors);
    api::doors(doors);
}

/// What callers ask for: as a model's name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyName(String);

impl FromStr for PolicyName {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let text = text.trim();
        if upstreams::models::is_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PolicyError::BadName)
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for PolicyName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

/// A policy as it is now.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Policy {
    pub id: PolicyId,
    /// Whether it is the platform's, for everybody to use and no organization to change.
    pub is_platforms: bool,
    pub name: String,
    /// Grows with each change.
    pub version: i32,
    pub document: Document,
    /// What of the document holds where none of its rules does.
    pub tiers: Vec<Tier>,
    /// The version that some of the calls get, where one is tried.
    pub staged: Option<Stage>,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub archived_at: Option<OffsetDateTime>,
}

impl Policy {
    pub fn is_archived(&self) -> bool {
        self.archived_at.is_some()
    }
}

/// A version that some of the calls get before all do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Stage {
    pub version: i32,
    pub percent: u8,
    pub by: StagedBy,
    pub document: Document,
}

/// What a policy was from some moment on.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Version {
    pub version: i32,
    pub name: String,
    pub document: Document,
    /// What of the document holds where none of its rules does.
    pub tiers: Vec<Tier>,
    /// Why it was made, if whoever made it said so.
    pub note: String,
    /// Null for the platform and for services.
    pub created_by: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
}

/// What a policy is to be.
#[derive(Clone, Debug)]
pub struct Draft {
    pub name: PolicyName,
    pub document: Document,
    pub note: String,
}

/// The organization's, then the platform's.
pub async fn list(work: &mut Work) -> Result<Vec<Policy>, PolicyError> {
    let organization = work.organization;
    Ok(store::list(work, organization).await?)
}

pub async fn find(work: &mut Work, policy: PolicyId) -> Result<Policy, PolicyError> {
    let organization = work.organization;
    store::find(work, organization, policy).await?.ok_or(PolicyError::NotFound)
}

/// Newest first.
pub async fn versions(work: &mut Work, policy: PolicyId) -> Result<Vec<Version>, PolicyError> {
    let organization = work.organization;
    find(work, policy).await?;
    Ok(store::versions(work, organization, policy).await?)
}

/// What a policy may lead to, and what its name may be confused with.
pub async fn known(work: &mut Work) -> Result<Known, PolicyError> {
    let models = upstreams::served(work).await?;
    let policies = list(work).await?;
    let live = policies.into_iter().filter(|it| !it.is_archived());
    Ok(Known { models, policies: live.map(|it| it.name).collect() })
}

/// More than anybody keeps apart.
const MOST: i64 = 200;

pub async fn archive(work: &mut Work, policy: PolicyId) -> Result<(), PolicyError> {
    set_archived(work, policy, true, "policy.archived").await
}

pub async fn restore(work: &mut Work, policy: PolicyId) -> Result<(), PolicyError> {
    set_archived(work, policy, false, "policy.restored").await
}

async fn set_archived(
    work: &mut Work,
    policy: PolicyId,
    archived: bool,
    action: &'static str,
) -> Result<(), PolicyError> {
    let before = lock(work, policy).await?;
    if before.is_archived() == archived {
        return Ok(());
    }
    if archived {
        in_use(defaults::going_by(work, &before, true).await?)?;
    }
    let organization = work.organization;
    store::set_archived(work, organization, policy, archived).await?;
    audit::record(work, Entry::new(action, policy, before.name)).await?;
    Ok(())
}

fn in_use(by: Vec<String>) -> Result<(), PolicyError> {
    if by.is_empty() { Ok(()) } else { Err(PolicyError::InUse(by)) }
}

/// Makes the policy, unless there is one of that name.
pub async fn ensure(work: &mut Work, draft: &Draft) -> Result<PolicyId, PolicyError> {
    let organization = work.organization;
    match store::named(work, organization, &draft.name).await? {
        Some(there) => Ok(there),
        None => create(work, draft).await,
    }
}

/// The organization's own policy of a name.
pub async fn named(work: &mut Work, name: &str) -> Result<Option<PolicyId>, PolicyError> {
    let organization = work.organization;
    Ok(store::named(work, organization, &name.parse()?).await?)
}

/// A name to ask for in examples: the one that our docs use, or a model's.
pub async fn example(work: &mut Work) -> Result<Option<String>, PolicyError> {
    const USUAL: &str = "auto";
    let policies = list(work).await?;
    if policies.iter().any(|it| it.name == USUAL && !it.is_archived()) {
        return Ok(Some(USUAL.to_owned()));
    }
    Ok(upstreams::first_model(work).await?)
}

/// Every policy that leads somewhere, or those of `only` that do, as proxies are given them.
pub async fn published(
    conn: &mut PgConnection,
    only: Option<&[PolicyId]>,
) -> Result<Vec<snapshot::Policy>, sqlx::Error> {
    store::published(conn, only).await
}

async fn lock(work: &mut Work, policy: PolicyId) -> Result<Policy, PolicyError> {
    let organization = work.organization;
    store::lock(work, organization, policy).await?;
    let found = find(work, policy).await?;
    let is_theirs = found.is_platforms && organization != audit::PLATFORM;
    if is_theirs { Err(PolicyError::Platforms) } else { Ok(found) }
}

/// Finds one that may be changed, and keeps other writers away from it until `work` ends.
async fn find_to_change(work: &mut Work, policy: PolicyId) -> Result<Policy, PolicyError> {
    let found = lock(work, policy).await?;
    if found.is_archived() { Err(PolicyError::Archived) } else { Ok(found) }
}

/// Ends `work` and has the proxies told.
async fn commit<P>(grant: &Grant<P>, work: Work) -> Result<(), sqlx::Error> {
    work.commit().await?;
    grant.platform.nudges.snapshot.notify_one();
    Ok(())
}
