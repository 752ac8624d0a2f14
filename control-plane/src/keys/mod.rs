//! API keys of the data plane: what they open, for whom, until when.
//!
//! A key is an id with terms, and has one secret, or after a rotation several for a
//! while. A secret is shown once and kept as a hash. A revoked key stays revoked. A
//! person's key works only while their role may use keys; `app.snapshot_keys` sees to
//! that for the proxies, and this shows such a key as suspended.

mod api;
mod expiry;
mod listing;
mod secrets;
mod status;
mod store;
mod terms;
mod uses;
mod web;

use secrecy::SecretString;
use serde::Serialize;
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::{ApiKeyId, PersonId, ProjectId},
    keys::NewKey,
};
use sqlx::PgPool;
use time::OffsetDateTime;

pub use listing::{Filter, Which, list};
pub use secrets::{Overlap, SecretHint, end_overlap, rotate};
pub use status::{Status, Suspension};
pub use terms::{BadTerm, KeyName, Mode, Terms};
pub use uses::{UsesError, note_uses};

use crate::{
    access::{AccessError, Authority, Doors, Grant, Permission, Work},
    audit::{self, Entry},
    snapshots::{self, Told},
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// The organization's oldest one where none is named.
    pub project: Option<ProjectId>,
    pub mode: Mode,
    /// A service's where nobody's.
    pub owner: Option<PersonId>,
    pub terms: Terms,
}

/// A key just made or rotated, with what is shown this once.
#[derive(Debug)]
pub struct Issued {
    pub key: ApiKeyId,
    pub secret: SecretString,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub mode: Mode,
    /// The beginning and the end of the present secret.
    pub hint: String,
    pub project: ProjectId,
    pub project_name: String,
    /// Whose it is; a service's when null.
    pub owner: Option<PersonId>,
    pub owner_email: Option<String>,
    #[serde(flatten)]
    pub terms: Terms,
    pub status: Status,
    pub suspended_because: Option<Suspension>,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    pub created_by: Option<String>,
    /// To the minute.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<OffsetDateTime>,
    pub revoked_by: Option<String>,
}

/// A project that a key can be for.
#[derive(Clone, Debug)]
pub(crate) struct ProjectChoice {
    id: ProjectId,
    name: String,
}

/// How far somebody reaches among the keys: to their own, or to everybody's.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    authority: Authority,
    person: Option<PersonId>,
}

impl Reach {
    pub fn of<P>(grant: &Grant<P>) -> Self {
        Self { authority: grant.authority, person: grant.actor.person() }
    }

    pub fn covers(self, owner: Option<PersonId>) -> bool {
        let is_own = owner.is_some() && owner == self.person;
        self.authority.may(Permission::ManageKeys)
            || is_own && self.authority.may(Permission::CreateKeys)
    }

    fn check(self, owner: Option<PersonId>) -> Result<(), AccessError> {
        let role = self.authority.role;
        let lacks = AccessError::Lacks { role, permission: Permission::ManageKeys };
        if self.covers(owner) { Ok(()) } else { Err(lacks) }
    }
}

pub async fn find(work: &mut Work, key: ApiKeyId) -> Result<ApiKey, KeyError> {
    let organization = work.organization;
    store::find(work, organization, key).await?.ok_or(KeyError::NotFound)
}

/// The keys that open something now, or would if their owner's role allowed it.
pub async fn count_live(work: &mut Work) -> Result<i64, KeyError> {
    let organization = work.organization;
    Ok(store::count_live(work, organization).await?)
}

/// Makes a key on behalf of whoever `reach` is of.
pub async fn create(work: &mut Work, reach: Reach, new: &NewApiKey) -> Result<Issued, KeyError> {
    reach.check(new.owner)?;
    issue(work, new, None).await
}

/// Makes a key, with the secret chosen beforehand where there is one. Asks nobody's
/// leave: that is [`create`]'s part.
pub async fn issue(
    work: &mut Work,
    new: &NewApiKey,
    secret: Option<NewKey>,
) -> Result<Issued, KeyError> {
    let organization = work.organization;
    let project = match new.project {
        Some(project) => project,
        None => store::first_project(work, organization).await?.ok_or(KeyError::NoProject)?,
    };
    // Locked, so that it is not archived meanwhile.
    match store::lock_project(work, organization, project).await? {
        None => return Err(KeyError::NoSuchProject),
        Some(is_archived) if is_archived => return Err(KeyError::ProjectArchived),
        Some(_) => (),
    }
    let key = ApiKeyId::generate();
    let secret = secret.unwrap_or_else(|| NewKey::generate(new.mode.brand()));
    let creator = work.actor.person();
    store::insert(work, organization, key, project, creator, new).await?;
    secrets::add(work, key, &secret).await?;
    let entry = Entry::new("key.created", key, &new.terms.name).after(serde_json::json!({
        "hint": secret.hint, "mode": new.mode, "project": project, "owner": new.owner,
        "terms": new.terms,
    }));
    audit::record(work, entry).await?;
    Ok(Issued { key, secret: secret.secret })
}

/// Gives the key the terms that `change` makes of those it has.
pub async fn edit(
    work: &mut Work,
    reach: Reach,
    key: ApiKeyId,
    change: impl FnOnce(&Terms) -> Result<Terms, Problems>,
) -> Result<(), KeyError> {
    let before = find_changeable(work, reach, key).await?.terms;
    let terms = change(&before)?;
    if before == terms {
        return Ok(());
    }
    let organization = work.organization;
    store::update(work, organization, key, &terms).await?;
    let entry = Entry::new("key.changed", key, &terms.name).before(before).after(&terms);
    audit::record(work, entry).await?;
    Ok(())
}

/// Closes the key for good.
pub async fn revoke(work: &mut Work, reach: Reach, key: ApiKeyId) -> Result<(), KeyError> {
    let before = find_locked(work, reach, key).await?;
    if before.revoked_at.is_some() {
        return Ok(());
    }
    let (organization, by) = (work.organization, work.actor.person());
    store::revoke(work, organization, key, by).await?;
    let entry = Entry::new("key.revoked", key, before.terms.name).before(before.hint);
    audit::record(work, entry).await?;
    Ok(())
}

/// Closes every key of a person, who is leaving the organization. Says how many.
pub async fn revoke_owned_by(work: &mut Work, person: PersonId) -> Result<u64, KeyError> {
    let (organization, by) = (work.organization, work.actor.person());
    let revoked = store::revoke_owned_by(work, organization, person, by).await?;
    let count = revoked.len() as u64;
    for (key, name) in revoked {
        audit::record(work, Entry::new("key.revoked", key, name).before(person)).await?;
    }
    Ok(count)
}

/// A key in use that may ask for some models only.
#[derive(Clone, Debug)]
pub struct Restricted {
    pub id: ApiKeyId,
    pub name: String,
    pub project: String,
    /// Of models and policies.
    pub models: Vec<String>,
}

/// By project and name.
pub async fn restricted(work: &mut Work) -> Result<Vec<Restricted>, KeyError> {
    let organization = work.organization;
    Ok(store::restricted(work, organization).await?)
}

/// Projects that a key can be for.
pub(crate) async fn projects(work: &mut Work) -> Result<Vec<ProjectChoice>, KeyError> {
    let organization = work.organization;
    Ok(store::projects(work, organization).await?)
}

/// An id that is none of ours is a key that nobody has.
pub fn key_in(text: &str) -> Result<ApiKeyId, KeyError> {
    text.parse().map_err(|_| KeyError::NotFound)
}

/// Finds one that may be changed by whoever sees to all keys, and keeps other writers away from it
/// until `work` ends.
pub async fn find_to_change(work: &mut Work, key: ApiKeyId) -> Result<ApiKey, KeyError> {
    let organization = work.organization;
    store::lock(work, organization, key).await?;
    let found = find(work, key).await?;
    if found.revoked_at.is_some() { Err(KeyError::Revoked) } else { Ok(found) }
}

/// The key, which nobody else changes until `work` ends.
async fn find_locked(work: &mut Work, reach: Reach, key: ApiKeyId) -> Result<ApiKey, KeyError> {
    let organization = work.organization;
    store::lock(work, organization, key).await?;
    let found = find(work, key).await?;
    reach.check(found.owner)?;
    Ok(found)
}

async fn find_changeable(work: &mut Work, reach: Reach, key: ApiKeyId) -> Result<ApiKey, KeyError> {
    let found = find_locked(work, reach, key).await?;
    if found.revoked_at.is_some() {
        return Err(KeyError::Revoked);
    }
    let organization = work.organization;
    match store::lock_project(work, organization, found.project).await? {
        Some(false) => Ok(found),
        Some(true) | None => Err(KeyError::Archived),
    }
}

/// Ends `work`, has the proxies told, and says how far that has come.
async fn commit<P>(grant: &Grant<P>, work: Work) -> Result<Told, sqlx::Error> {
    work.commit().await?;
    Ok(snapshots::tell(&grant.platform).await)
}

/// The organization that a key is in, by its name in addresses, if the person is in it too.
async fn place(
    db: &PgPool,
    key: ApiKeyId,
    person: PersonId,
) -> Result<Option<String>, sqlx::Error> {
    store::place(&mut *db.acquire().await?, key, person).await
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Terms(#[from] Problems),
    #[error("create a project first")]
    NoProject,
    #[error("choose a project")]
    NoSuchProject,
    #[error("the project is archived: choose another")]
    ProjectArchived,
    #[error("a service has no keys of its own: make the key a service's")]
    NobodysOwn,
    #[error("there is no such key")]
    NotFound,
    #[error("the key is revoked, and stays so")]
    Revoked,
    #[error("the key's project is archived: restore it first")]
    Archived,
    #[error("the key has {} working secrets: end the overlap first", secrets::MOST)]
    TooManySecrets,
    #[error("no earlier secret of the key works any more")]
    NoOverlap,
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("the key store failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for KeyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Terms(_) | Self::NoSuchProject | Self::NobodysOwn => Kind::Invalid,
            Self::NoProject
            | Self::ProjectArchived
            | Self::Revoked
            | Self::Archived
            | Self::TooManySecrets
            | Self::NoOverlap => Kind::Conflict,
            Self::NotFound => Kind::NotFound,
            Self::Access(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::ProjectArchived | Self::Archived => code::ARCHIVED,
            Self::Access(error) => error.code(),
            Self::Terms(_)
            | Self::NoProject
            | Self::NoSuchProject
            | Self::NobodysOwn
            | Self::NotFound
            | Self::Revoked
            | Self::TooManySecrets
            | Self::NoOverlap
            | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::Terms(problems) => return problems.list().to_vec(),
            Self::NoProject | Self::NoSuchProject | Self::ProjectArchived => "project",
            Self::NobodysOwn => "owner",
            Self::NotFound
            | Self::Revoked
            | Self::Archived
            | Self::TooManySecrets
            | Self::NoOverlap
            | Self::Access(_)
            | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}

#[cfg(test)]
pub(crate) mod tests;
