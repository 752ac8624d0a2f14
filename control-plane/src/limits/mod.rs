//! How much an organization may call in all, and a project of it: requests and tokens a
//! minute, and calls at once, on all proxies together. What is not said is not limited.
//! A call has to pass its key's limits, its project's and its organization's.

mod api;
mod store;
#[cfg(test)]
mod tests;
mod web;

use serde::{Deserialize, Serialize};
use shared::{
    failure::{Classified, Code, Kind, Problem},
    ids::{OrganizationId, ProjectId},
    snapshot,
};
use sqlx::PgConnection;

use crate::{
    access::{Doors, Grant, Work},
    audit::{self, Entry},
    cost_centers::splits,
    organizations,
    projects::{self, ProjectError},
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

/// Null where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub requests_per_minute: Option<i32>,
    /// Input and output together.
    pub tokens_per_minute: Option<i64>,
    pub concurrent_requests: Option<i32>,
}

impl Limits {
    /// Refuses what limits nothing, or everything.
    pub fn checked(self) -> Result<Self, Problems> {
        let mut problems = Problems::none();
        let mut check = |field, value: Option<i64>, most: i64| {
            if value.is_some_and(|it| !(1..=most).contains(&it)) {
                problems.add(field, format!("a limit is a whole number from 1 to {most}"));
            }
        };
        let most = i64::from(i32::MAX);
        check("requests_per_minute", self.requests_per_minute.map(i64::from), most);
        check("tokens_per_minute", self.tokens_per_minute, i64::MAX);
        check("concurrent_requests", self.concurrent_requests.map(i64::from), most);
        problems.check()?;
        Ok(self)
    }
}

impl From<Limits> for snapshot::Limits {
    fn from(limits: Limits) -> Self {
        let small = |it: i32| u32::try_from(it).ok();
        Self {
            requests_per_minute: limits.requests_per_minute.and_then(small),
            tokens_per_minute: limits.tokens_per_minute.and_then(|it| it.try_into().ok()),
            concurrent: limits.concurrent_requests.and_then(small),
        }
    }
}

pub async fn of_organization(work: &mut Work) -> Result<Limits, LimitError> {
    let organization = work.organization;
    Ok(store::of_organization(work, organization).await?)
}

pub async fn of_project(work: &mut Work, project: ProjectId) -> Result<Limits, LimitError> {
    let organization = work.organization;
    let found = store::of_project(work, organization, project).await?;
    found.ok_or(LimitError::Project(ProjectError::NotFound))
}

pub async fn set_of_organization(work: &mut Work, limits: Limits) -> Result<(), LimitError> {
    organizations::hold(work).await?;
    let before = of_organization(work).await?;
    if before == limits {
        return Ok(());
    }
    let organization = work.organization;
    store::set_of_organization(work, organization, limits).await?;
    let name = organizations::find(work).await?.name;
    let entry = Entry::new("organization.limits_changed", organization, name);
    audit::record(work, entry.before(before).after(limits)).await?;
    Ok(())
}

pub async fn set_of_project(
    work: &mut Work,
    project: ProjectId,
    limits: Limits,
) -> Result<(), LimitError> {
    let name = projects::find_to_change(work, project).await?.name;
    let before = of_project(work, project).await?;
    if before == limits {
        return Ok(());
    }
    let organization = work.organization;
    store::set_of_project(work, organization, project, limits).await?;
    let entry = Entry::new("project.limits_changed", project, name);
    audit::record(work, entry.before(before).after(limits)).await?;
    Ok(())
}

/// The organizations that have limits, or have disabled what is the platform's; or those
/// of `only` that do: as proxies are given them.
pub async fn published_organizations(
    conn: &mut PgConnection,
    only: Option<&[OrganizationId]>,
) -> Result<Vec<snapshot::Tenant>, sqlx::Error> {
    store::published_organizations(conn, only).await
}

/// The projects that have limits, a team or a split, or those of `only` that do.
pub async fn published_projects(
    conn: &mut PgConnection,
    only: Option<&[ProjectId]>,
) -> Result<Vec<snapshot::Project>, sqlx::Error> {
    let mut projects = store::published_projects(conn, only).await?;
    let ids: Vec<_> = projects.iter().map(|it| it.id).collect();
    let mut splits = splits::published(conn, &ids).await?;
    for project in &mut projects {
        project.splits = splits.remove(&project.id).unwrap_or_default();
    }
    Ok(projects)
}

/// Ends `work` and has the proxies told.
async fn commit<P>(grant: &Grant<P>, work: Work) -> Result<(), sqlx::Error> {
    work.commit().await?;
    grant.platform.nudges.snapshot.notify_one();
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("the store of limits failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for LimitError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused(_) => Kind::Invalid,
            Self::Project(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Project(error) => error.code(),
            Self::Refused(_) | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Refused(problems) => problems.list().to_vec(),
            Self::Project(_) | Self::Store(_) => Vec::new(),
        }
    }
}
