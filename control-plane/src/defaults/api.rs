//! Defaults in the management API.

use actix_web::{http::Method, web::Path};

use super::{Defaults, Of, commit, set, show};
use crate::{
    access::{Doors, Grant, may},
    keys::key_in,
    projects::project_in,
    web::{Failure, Input, Json},
};

pub fn doors(doors: &mut Doors) {
    let organization = "/api/v1/orgs/{org}/routing";
    let project = "/api/v1/orgs/{org}/projects/{project}/routing";
    let key = "/api/v1/orgs/{org}/keys/{key}/routing";
    doors.api(Method::GET, organization, "Show the organization's default model and policy", get);
    doors.api(Method::PUT, organization, "Set the organization's default model and policy", put);
    doors.api(Method::GET, project, "Show a project's default model and policy", get_of_project);
    doors.api(Method::PUT, project, "Set a project's default model and policy", put_of_project);
    doors.api(Method::GET, key, "Show a key's default model and policy", get_of_key);
    doors.api(Method::PUT, key, "Set a key's default model and policy", put_of_key);
}

async fn get(grant: Grant<may::ViewCatalogue>) -> Result<Json<Defaults>, Failure> {
    shown(&grant, Of::Organization).await
}

async fn put(
    grant: Grant<may::ManagePolicies>,
    input: Input<Defaults>,
) -> Result<Json<Defaults>, Failure> {
    saved(&grant, Of::Organization, input.0).await
}

async fn get_of_project(
    grant: Grant<may::ViewCatalogue>,
    path: Path<(String, String)>,
) -> Result<Json<Defaults>, Failure> {
    shown(&grant, Of::Project(project_in(&path.1)?)).await
}

async fn put_of_project(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    input: Input<Defaults>,
) -> Result<Json<Defaults>, Failure> {
    saved(&grant, Of::Project(project_in(&path.1)?), input.0).await
}

async fn get_of_key(
    grant: Grant<may::ViewKeys>,
    path: Path<(String, String)>,
) -> Result<Json<Defaults>, Failure> {
    shown(&grant, Of::Key(key_in(&path.1)?)).await
}

async fn put_of_key(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    input: Input<Defaults>,
) -> Result<Json<Defaults>, Failure> {
    saved(&grant, Of::Key(key_in(&path.1)?), input.0).await
}

async fn shown<P>(grant: &Grant<P>, of: Of) -> Result<Json<Defaults>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(show(&mut work, of).await?))
}

async fn saved<P>(grant: &Grant<P>, of: Of, defaults: Defaults) -> Result<Json<Defaults>, Failure> {
    let mut work = grant.begin().await?;
    set(&mut work, of, &defaults).await?;
    commit(grant, work).await?;
    Ok(Json(defaults))
}
