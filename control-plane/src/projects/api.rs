//! Projects in the management API.

use actix_web::{http::Method, web::Path};
use serde::{Deserialize, Serialize};
use shared::ids::{ProjectId, TeamId};
use utoipa::ToSchema;

use super::{Change, Project, archive, project_in, restore};
use crate::{
    access::{Doors, Grant, may},
    snapshots::{self, Told},
    web::{After, Created, Failure, Input, Json, Search, Span, Stopped, given},
};

pub fn doors(doors: &mut Doors) {
    doors.api(Method::GET, "/api/v1/orgs/{org}/projects", "List projects", list);
    doors.api(Method::POST, "/api/v1/orgs/{org}/projects", "Create a project", create);
    doors.api(Method::GET, "/api/v1/orgs/{org}/projects/{project}", "Show a project", show);
    doors.api(
        Method::PATCH,
        "/api/v1/orgs/{org}/projects/{project}",
        "Rename, move or archive a project",
        change,
    );
}

#[derive(Serialize, ToSchema)]
struct Projects {
    data: Vec<Project>,
    /// What to give as `after` for the next page; null on the last.
    next: Option<ProjectId>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewProject {
    name: String,
    team: Option<TeamId>,
}

/// What is left out stays as it is. A team of `null` takes the project out of its team.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProjectChange {
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<TeamId>)]
    team: Option<Option<TeamId>>,
    archived: Option<bool>,
}

async fn list(
    grant: Grant<may::ViewOrganization>,
    query: Search<After<ProjectId>>,
) -> Result<Json<Projects>, Failure> {
    let mut work = grant.begin().await?;
    let part = super::list(&mut work, Span::long(query.after)).await?;
    Ok(Json(Projects { data: part.items, next: part.next }))
}

async fn create(
    grant: Grant<may::ManageProjects>,
    input: Input<NewProject>,
) -> Result<Created<Project>, Failure> {
    let name = input.name.parse()?;
    let mut work = grant.begin().await?;
    let project = super::create(&mut work, &name, input.team).await?;
    let project = super::find(&mut work, project).await?;
    work.commit().await?;
    Ok(Created(project))
}

async fn show(
    grant: Grant<may::ViewOrganization>,
    path: Path<(String, String)>,
) -> Result<Json<Project>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(super::find(&mut work, project_in(&path.1)?).await?))
}

async fn change(
    grant: Grant<may::ManageProjects>,
    path: Path<(String, String)>,
    input: Input<ProjectChange>,
) -> Result<Stopped<Project>, Failure> {
    let project = project_in(&path.1)?;
    let name = input.name.as_deref().map(str::parse).transpose()?;
    let mut work = grant.begin().await?;
    if input.archived == Some(false) {
        restore(&mut work, project).await?;
    }
    if name.is_some() || input.team.is_some() {
        super::change(&mut work, project, Change { name, team: input.team }).await?;
    }
    if input.archived == Some(true) {
        archive(&mut work, project).await?;
    }
    let project = super::find(&mut work, project).await?;
    work.commit().await?;
    let told = match input.archived {
        Some(_) => snapshots::tell(&grant.platform).await,
        None => Told::Nothing,
    };
    Ok(Stopped(project, told))
}
