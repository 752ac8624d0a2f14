//! What the calls of an organization, a project or a key get that name no model, and the policy
//! that all of them have to keep to. The nearest default counts; of the policies all do, so that
//! who has less to say undoes nothing.
//!
//! Always holds: what is said is there, for whoever it is for; a policy that somebody goes by is
//! neither archived nor called otherwise before they are told.

mod api;
mod store;
#[cfg(test)]
mod tests;
mod web;

use serde::{Deserialize, Serialize};
use shared::{
    failure::{Classified, Code, Kind, Problem},
    ids::{ApiKeyId, PolicyId, ProjectId},
    snapshot,
};

use crate::{
    access::{Doors, Grant, Work},
    audit::{self, Entry},
    keys::{self, KeyError},
    organizations,
    policies::{self, Policy, PolicyError},
    projects::{self, ProjectError},
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

/// Whose calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Organization,
    Project(ProjectId),
    Key(ApiKeyId),
}

impl Of {
    fn ids(self) -> (Option<ProjectId>, Option<ApiKeyId>) {
        match self {
            Self::Organization => (None, None),
            Self::Project(it) => (Some(it), None),
            Self::Key(it) => (None, Some(it)),
        }
    }
}

/// Null where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// The model or policy, by its name, of calls that name none or `default`.
    pub default_model: Option<String>,
    /// The policy that all calls have to keep to, whatever they ask for.
    pub policy: Option<PolicyId>,
}

impl From<Defaults> for snapshot::Routing {
    fn from(it: Defaults) -> Self {
        Self { default_model: it.default_model, policy: it.policy }
    }
}

pub async fn show(work: &mut Work, of: Of) -> Result<Defaults, DefaultError> {
    let organization = work.organization;
    match of {
        Of::Organization => (),
        Of::Project(it) => drop(projects::find(work, it).await?),
        Of::Key(it) => drop(keys::find(work, it).await?),
    }
    Ok(store::find(work, organization, of.ids()).await?.unwrap_or_default())
}

pub async fn set(work: &mut Work, of: Of, defaults: &Defaults) -> Result<(), DefaultError> {
    let organization = work.organization;
    let entry = match of {
        Of::Organization => {
            organizations::hold(work).await?;
            let name = organizations::find(work).await?.name;
            Entry::new("organization.routing_changed", organization, name)
        }
        Of::Project(it) => {
            let name = projects::find_to_change(work, it).await?.name;
            Entry::new("project.routing_changed", it, name)
        }
        Of::Key(it) => {
            let name = keys::find_to_change(work, it).await?.terms.name;
            Entry::new("key.routing_changed", it, name)
        }
    };
    let before = store::find(work, organization, of.ids()).await?.unwrap_or_default();
    if before == *defaults {
        return Ok(());
    }
    check(work, &before, defaults).await?;
    store::put(work, organization, of.ids(), defaults).await?;
    audit::record(work, entry.before(&before).after(defaults)).await?;
    Ok(())
}

/// What stays as it was is not looked at again: a model may have gone meanwhile.
async fn check(work: &mut Work, before: &Defaults, after: &Defaults) -> Result<(), DefaultError> {
    let mut problems = Problems::none();
    if let Some(name) = after.default_model.as_ref().filter(|_| before != after)
        && before.default_model != after.default_model
    {
        let known = policies::known(work).await?;
        if !known.is_model(name) && !known.policies.contains(name) {
            let name: String = name.chars().take(100).collect();
            problems.add("default_model", format!("there is no model or policy {name:?}"));
        }
    }
    if let Some(policy) = after.policy.filter(|_| before.policy != after.policy) {
        match policies::find(work, policy).await {
            Ok(policy) if !policy.is_archived() => (),
            Ok(_) => problems.add("policy", "the policy is archived: restore it first"),
            Err(PolicyError::NotFound) => problems.add("policy", "there is no such policy"),
            Err(error) => return Err(error.into()),
        }
    }
    problems.check()?;
    Ok(())
}

/// Who goes by a policy, in words: by itself, or by a name that it has.
pub async fn going_by(
    work: &mut Work,
    policy: &Policy,
    by_itself: bool,
) -> Result<Vec<String>, sqlx::Error> {
    let organization = work.organization;
    let id = by_itself.then_some(policy.id);
    if organization != audit::PLATFORM {
        return store::going_by(work, organization, id, &policy.name).await;
    }
    let count = store::organizations_going_by(work, id, &policy.name).await?;
    Ok(match count {
        0 => Vec::new(),
        1 => vec!["an organization".to_owned()],
        count => vec![format!("{count} organizations")],
    })
}

/// Ends `work` and has the proxies told.
async fn commit<P>(grant: &Grant<P>, work: Work) -> Result<(), sqlx::Error> {
    work.commit().await?;
    grant.platform.nudges.snapshot.notify_one();
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum DefaultError {
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("the store of defaults failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for DefaultError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused(_) => Kind::Invalid,
            Self::Project(error) => error.kind(),
            Self::Key(error) => error.kind(),
            Self::Policy(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Project(error) => error.code(),
            Self::Key(error) => error.code(),
            Self::Policy(error) => error.code(),
            Self::Refused(_) | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Refused(problems) => problems.list().to_vec(),
            Self::Project(_) | Self::Key(_) | Self::Policy(_) | Self::Store(_) => Vec::new(),
        }
    }
}
