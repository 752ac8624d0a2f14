//! Projects: what calls are made for, and billed to.
//!
//! A project is archived, never deleted, so that what it cost still has a name. Its keys
//! stop working with the next snapshot and start again when it is restored.

mod api;
mod store;
#[cfg(test)]
mod tests;
mod web;

use serde::Serialize;
use serde_json::json;
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::{ProjectId, TeamId},
};
use time::OffsetDateTime;

use crate::{
    access::{Doors, Work},
    audit::{self, Entry},
    names::{RULE, name},
    teams::{self, TeamError},
    web::{Part, Problems, Span},
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

name!(
    /// What people call a project.
    ProjectName, ProjectError::BadName
);

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Project {
    pub id: ProjectId,
    pub name: String,
    pub team: Option<TeamId>,
    pub team_name: Option<String>,
    /// How many of its keys are neither revoked nor expired.
    pub keys: i64,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub archived_at: Option<OffsetDateTime>,
}

impl Project {
    pub fn is_archived(&self) -> bool {
        self.archived_at.is_some()
    }
}

/// What is to be different about a project; the rest stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub name: Option<ProjectName>,
    /// Another team, or none any more.
    pub team: Option<Option<TeamId>>,
}

/// Projects by name, the archived ones last.
pub async fn list(
    work: &mut Work,
    span: Span<ProjectId>,
) -> Result<Part<Project, ProjectId>, ProjectError> {
    let organization = work.organization;
    Ok(span.part(store::list(work, organization, span).await?, |it| it.id))
}

pub async fn find(work: &mut Work, project: ProjectId) -> Result<Project, ProjectError> {
    let organization = work.organization;
    store::find(work, organization, project).await?.ok_or(ProjectError::NotFound)
}

/// Finds one that may be changed, and keeps other writers away from it until `work` ends.
pub async fn find_to_change(work: &mut Work, project: ProjectId) -> Result<Project, ProjectError> {
    let project = lock(work, project).await?;
    if project.is_archived() { Err(ProjectError::Archived) } else { Ok(project) }
}

pub async fn create(
    work: &mut Work,
    name: &ProjectName,
    team: Option<TeamId>,
) -> Result<ProjectId, ProjectError> {
    if let Some(team) = team {
        check_live(work, team).await?;
    }
    let project = ProjectId::generate();
    let organization = work.organization;
    store::insert(work, organization, project, name, team).await?;
    let entry = Entry::new("project.created", project, name);
    audit::record(work, entry.after(json!({ "name": name, "team": team }))).await?;
    Ok(project)
}

pub async fn change(
    work: &mut Work,
    project: ProjectId,
    change: Change,
) -> Result<(), ProjectError> {
    let before = find_to_change(work, project).await?;
    let name = change.name.unwrap_or_else(|| ProjectName::kept(before.name.clone()));
    let team = change.team.unwrap_or(before.team);
    if name.0 == before.name && team == before.team {
        return Ok(());
    }
    if let Some(team) = team.filter(|_| team != before.team) {
        check_live(work, team).await?;
    }
    let organization = work.organization;
    store::update(work, organization, project, &name, team).await?;
    let entry = Entry::new("project.changed", project, &name)
        .before(json!({ "name": before.name, "team": before.team }))
        .after(json!({ "name": name, "team": team }));
    audit::record(work, entry).await?;
    Ok(())
}

/// Puts it away. Nudge the snapshot after the commit: its keys stop working with it.
pub async fn archive(work: &mut Work, project: ProjectId) -> Result<(), ProjectError> {
    set_archived(work, project, true, "project.archived").await
}

/// Brings it back. Nudge the snapshot after the commit: its keys work again with it.
pub async fn restore(work: &mut Work, project: ProjectId) -> Result<(), ProjectError> {
    set_archived(work, project, false, "project.restored").await
}

async fn set_archived(
    work: &mut Work,
    project: ProjectId,
    archived: bool,
    action: &'static str,
) -> Result<(), ProjectError> {
    let before = lock(work, project).await?;
    if before.is_archived() == archived {
        return Ok(());
    }
    let organization = work.organization;
    store::set_archived(work, organization, project, archived).await?;
    audit::record(work, Entry::new(action, project, before.name)).await?;
    Ok(())
}

async fn lock(work: &mut Work, project: ProjectId) -> Result<Project, ProjectError> {
    let organization = work.organization;
    store::lock(work, organization, project).await?;
    find(work, project).await
}

async fn check_live(work: &mut Work, team: TeamId) -> Result<(), ProjectError> {
    match teams::find(work, team).await {
        Ok(team) if team.is_archived() => Err(ProjectError::NotATeam),
        Ok(_) => Ok(()),
        Err(TeamError::NotFound) => Err(ProjectError::NotATeam),
        Err(error) => Err(error.into()),
    }
}

/// An id that is none of ours is a project that nobody has.
pub(crate) fn project_in(text: &str) -> Result<ProjectId, ProjectError> {
    text.parse().map_err(|_| ProjectError::NotFound)
}

#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    #[error("a project's name {RULE}")]
    BadName,
    #[error("there is already a project of that name")]
    NameTaken,
    #[error("choose a team of the organization that is not archived")]
    NotATeam,
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error("there is no such project")]
    NotFound,
    #[error("the project is archived: restore it first")]
    Archived,
    #[error(transparent)]
    Team(#[from] TeamError),
    #[error("the project store failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for ProjectError {
    fn kind(&self) -> Kind {
        match self {
            Self::BadName | Self::NotATeam | Self::Refused(_) => Kind::Invalid,
            Self::NameTaken | Self::Archived => Kind::Conflict,
            Self::NotFound => Kind::NotFound,
            Self::Team(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NameTaken => code::NAME_TAKEN,
            Self::Archived => code::ARCHIVED,
            Self::Team(error) => error.code(),
            Self::BadName | Self::NotATeam | Self::Refused(_) | Self::NotFound | Self::Store(_) => {
                self.kind().code()
            }
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::BadName | Self::NameTaken => "name",
            Self::NotATeam => "team",
            Self::Refused(problems) => return problems.list().to_vec(),
            Self::NotFound | Self::Archived | Self::Team(_) | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}
