//! Teams in the management API.

use actix_web::{http::Method, web::Path};
use serde::{Deserialize, Serialize};
use shared::ids::{PersonId, TeamId};
use utoipa::ToSchema;

use super::{
    Team, TeamError, TeamMember, TeamName, add, archive, remove, rename, restore, team_in,
};
use crate::{
    access::{Doors, Grant, may},
    web::{After, Created, Deleted, Failure, Input, Json, Search, Span},
};

pub fn doors(doors: &mut Doors) {
    doors.api(Method::GET, "/api/v1/orgs/{org}/teams", "List teams", list);
    doors.api(Method::POST, "/api/v1/orgs/{org}/teams", "Create a team", create);
    doors.api(Method::GET, "/api/v1/orgs/{org}/teams/{team}", "Show a team", show);
    doors.api(Method::PATCH, "/api/v1/orgs/{org}/teams/{team}", "Rename or archive a team", change);
    doors.api(
        Method::GET,
        "/api/v1/orgs/{org}/teams/{team}/members",
        "List a team's members",
        members,
    );
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/teams/{team}/members",
        "Add a member to a team",
        add_member,
    );
    doors.api(
        Method::DELETE,
        "/api/v1/orgs/{org}/teams/{team}/members/{person}",
        "Remove a member from a team",
        remove_member,
    );
}

#[derive(Serialize, ToSchema)]
struct Teams {
    data: Vec<Team>,
    /// What to give as `after` for the next page; null on the last.
    next: Option<TeamId>,
}

#[derive(Serialize, ToSchema)]
struct TeamMembers {
    data: Vec<TeamMember>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTeam {
    name: String,
}

/// What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TeamChange {
    name: Option<String>,
    archived: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTeamMember {
    person: PersonId,
}

async fn list(
    grant: Grant<may::ViewOrganization>,
    query: Search<After<TeamId>>,
) -> Result<Json<Teams>, Failure> {
    let mut work = grant.begin().await?;
    let part = super::list(&mut work, Span::long(query.after)).await?;
    Ok(Json(Teams { data: part.items, next: part.next }))
}

async fn create(
    grant: Grant<may::ManageTeams>,
    input: Input<NewTeam>,
) -> Result<Created<Team>, Failure> {
    let name: TeamName = input.name.parse()?;
    let mut work = grant.begin().await?;
    let team = super::create(&mut work, &name).await?;
    let team = super::find(&mut work, team).await?;
    work.commit().await?;
    Ok(Created(team))
}

async fn show(
    grant: Grant<may::ViewOrganization>,
    path: Path<(String, String)>,
) -> Result<Json<Team>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(super::find(&mut work, team_in(&path.1)?).await?))
}

async fn change(
    grant: Grant<may::ManageTeams>,
    path: Path<(String, String)>,
    input: Input<TeamChange>,
) -> Result<Json<Team>, Failure> {
    let team = team_in(&path.1)?;
    let name: Option<TeamName> = input.name.as_deref().map(str::parse).transpose()?;
    let mut work = grant.begin().await?;
    if input.archived == Some(false) {
        restore(&mut work, team).await?;
    }
    if let Some(name) = name {
        rename(&mut work, team, &name).await?;
    }
    if input.archived == Some(true) {
        archive(&mut work, team).await?;
    }
    let team = super::find(&mut work, team).await?;
    work.commit().await?;
    Ok(Json(team))
}

async fn members(
    grant: Grant<may::ViewOrganization>,
    path: Path<(String, String)>,
) -> Result<Json<TeamMembers>, Failure> {
    let mut work = grant.begin().await?;
    let team = super::find(&mut work, team_in(&path.1)?).await?;
    Ok(Json(TeamMembers { data: super::members(&mut work, team.id).await? }))
}

async fn add_member(
    grant: Grant<may::ManageTeams>,
    path: Path<(String, String)>,
    input: Input<NewTeamMember>,
) -> Result<Created<TeamMembers>, Failure> {
    let team = team_in(&path.1)?;
    let mut work = grant.begin().await?;
    add(&mut work, team, input.person).await?;
    let data = super::members(&mut work, team).await?;
    work.commit().await?;
    Ok(Created(TeamMembers { data }))
}

async fn remove_member(
    grant: Grant<may::ManageTeams>,
    path: Path<(String, String, String)>,
) -> Result<Deleted, Failure> {
    let team = team_in(&path.1)?;
    let person = path.2.parse().map_err(|_| TeamError::NotFound)?;
    let mut work = grant.begin().await?;
    remove(&mut work, team, person).await?;
    work.commit().await?;
    Ok(Deleted)
}
