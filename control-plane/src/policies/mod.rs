//! Routing policies: names that callers ask for instead of a model, and where they lead.
//!
//! One target is an alias; several in a tier share the calls by their weights; a tier is
//! left for the next when all its targets have failed. Each change is a version of its
//! own, which stays: going back is a new version that says what an old one said. A policy
//! leads to models, never to another policy.

mod api;
mod check;
mod store;
#[cfg(test)]
mod tests;
mod web;

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use serde_json::json;
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::PolicyId,
    snapshot::{self, Tier},
};
use sqlx::PgConnection;
use time::OffsetDateTime;

pub use check::{Flaw, Known};

use crate::{
    access::{Doors, Grant, Work},
    audit::{self, Entry},
    upstreams,
};

pub fn doors(doors: &mut Doors) {
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
    /// Grows by one with each change.
    pub version: i32,
    pub tiers: Vec<Tier>,
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

/// What a policy was from some moment on.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Version {
    pub version: i32,
    pub name: String,
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
    pub tiers: Vec<Tier>,
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

pub async fn create(work: &mut Work, draft: &Draft) -> Result<PolicyId, PolicyError> {
    let organization = work.organization;
    if store::count(work, organization).await? >= MOST {
        return Err(PolicyError::TooMany);
    }
    check_tiers(work, &draft.tiers).await?;
    let policy = PolicyId::generate();
    store::insert(work, organization, policy, &draft.name).await?;
    put_version(work, policy, 1, draft).await?;
    let entry = Entry::new("policy.created", policy, &draft.name);
    audit::record(work, entry.after(json!({ "version": 1, "tiers": draft.tiers }))).await?;
    Ok(policy)
}

/// More than anybody keeps apart.
const MOST: i64 = 200;

/// Makes the next version, if it differs. `expected` is the version that whoever changes
/// it has seen, where they have.
pub async fn change(
    work: &mut Work,
    policy: PolicyId,
    draft: &Draft,
    expected: Option<i32>,
) -> Result<(), PolicyError> {
    let before = find_to_change(work, policy).await?;
    if expected.is_some_and(|it| it != before.version) {
        return Err(PolicyError::Outdated);
    }
    if before.name == draft.name.0 && before.tiers == draft.tiers {
        return Ok(());
    }
    check_tiers(work, &draft.tiers).await?;
    let version = before.version + 1;
    let organization = work.organization;
    store::update(work, organization, policy, &draft.name, version).await?;
    put_version(work, policy, version, draft).await?;
    let entry = Entry::new("policy.changed", policy, &draft.name)
        .before(json!({
            "name": before.name, "version": before.version, "tiers": before.tiers,
        }))
        .after(json!({ "name": draft.name, "version": version, "tiers": draft.tiers }));
    audit::record(work, entry).await?;
    Ok(())
}

/// Makes a new version that says what an old one said.
pub async fn roll_back(work: &mut Work, policy: PolicyId, to: i32) -> Result<(), PolicyError> {
    let all = versions(work, policy).await?;
    let old = all.into_iter().find(|it| it.version == to).ok_or(PolicyError::NoVersion)?;
    let note = format!("Back to version {to}");
    let draft = Draft { name: old.name.parse()?, tiers: old.tiers, note };
    change(work, policy, &draft, None).await
}

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
    let organization = work.organization;
    store::set_archived(work, organization, policy, archived).await?;
    audit::record(work, Entry::new(action, policy, before.name)).await?;
    Ok(())
}

/// Makes the policy, unless there is one of that name.
pub async fn ensure(work: &mut Work, draft: &Draft) -> Result<PolicyId, PolicyError> {
    let organization = work.organization;
    match store::named(work, organization, &draft.name).await? {
        Some(there) => Ok(there),
        None => create(work, draft).await,
    }
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

async fn put_version(
    work: &mut Work,
    policy: PolicyId,
    version: i32,
    draft: &Draft,
) -> Result<(), sqlx::Error> {
    let (organization, by) = (work.organization, work.actor.person());
    store::insert_version(work, organization, policy, version, draft, by).await
}

async fn check_tiers(work: &mut Work, tiers: &[Tier]) -> Result<(), PolicyError> {
    let flaws = check::flaws(tiers, &known(work).await?);
    if flaws.is_empty() { Ok(()) } else { Err(PolicyError::Flawed(flaws)) }
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

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("a policy's name has 1 to 128 letters, digits and signs, and no spaces or commas")]
    BadName,
    #[error("there is already a policy of that name")]
    NameTaken,
    #[error("you have {MOST} policies, which is the most")]
    TooMany,
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Flawed(Vec<Flaw>),
    #[error("somebody changed the policy meanwhile: look at it again")]
    Outdated,
    #[error("the platform's policies are changed by its operators")]
    Platforms,
    #[error("there is no such policy")]
    NotFound,
    #[error("the policy has no such version")]
    NoVersion,
    #[error("the policy is archived: restore it first")]
    Archived,
    #[error(transparent)]
    Upstream(#[from] upstreams::UpstreamError),
    #[error("the store of policies failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for PolicyError {
    fn kind(&self) -> Kind {
        match self {
            Self::BadName | Self::Flawed(_) | Self::NoVersion => Kind::Invalid,
            Self::NameTaken | Self::TooMany | Self::Outdated | Self::Archived => Kind::Conflict,
            Self::Platforms => Kind::Forbidden,
            Self::NotFound => Kind::NotFound,
            Self::Upstream(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NameTaken => code::NAME_TAKEN,
            Self::Archived => code::ARCHIVED,
            Self::Upstream(error) => error.code(),
            Self::BadName
            | Self::TooMany
            | Self::Flawed(_)
            | Self::Outdated
            | Self::Platforms
            | Self::NotFound
            | Self::NoVersion
            | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::BadName | Self::NameTaken | Self::TooMany => "name",
            Self::Flawed(flaws) => {
                let problem = |it: &Flaw| Problem { field: "tiers", message: it.to_string() };
                return flaws.iter().map(problem).collect();
            }
            Self::NoVersion => "version",
            Self::Outdated
            | Self::Platforms
            | Self::NotFound
            | Self::Archived
            | Self::Upstream(_)
            | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}
