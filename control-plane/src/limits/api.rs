//! Limits in the management API.

use actix_web::{http::Method, web::Path};

use super::{Limits, commit, of_organization, of_project, set_of_organization, set_of_project};
use crate::{
    access::{Doors, Grant, may},
    projects::project_in,
    web::{Failure, Input, Json},
};

pub fn doors(doors: &mut Doors) {
    let organization = "/api/v1/orgs/{org}/limits";
    let project = "/api/v1/orgs/{org}/projects/{project}/limits";
    doors.api(Method::GET, organization, "Show the organization's limits", show);
    doors.api(Method::PUT, organization, "Set the organization's limits", put);
    doors.api(Method::GET, project, "Show a project's limits", show_project);
    doors.api(Method::PUT, project, "Set a project's limits", put_project);
}

async fn show(grant: Grant<may::ViewCatalogue>) -> Result<Json<Limits>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(of_organization(&mut work).await?))
}

async fn put(
    grant: Grant<may::ManageLimits>,
    input: Input<Limits>,
) -> Result<Json<Limits>, Failure> {
    let limits = input.checked()?;
    let mut work = grant.begin().await?;
    set_of_organization(&mut work, limits).await?;
    commit(&grant, work).await?;
    Ok(Json(limits))
}

async fn show_project(
    grant: Grant<may::ViewCatalogue>,
    path: Path<(String, String)>,
) -> Result<Json<Limits>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(of_project(&mut work, project_in(&path.1)?).await?))
}

async fn put_project(
    grant: Grant<may::ManageLimits>,
    path: Path<(String, String)>,
    input: Input<Limits>,
) -> Result<Json<Limits>, Failure> {
    let project = project_in(&path.1)?;
    let limits = input.checked()?;
    let mut work = grant.begin().await?;
    set_of_project(&mut work, project, limits).await?;
    commit(&grant, work).await?;
    Ok(Json(limits))
}
