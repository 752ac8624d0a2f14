//! Organizations in the management API.

use actix_web::http::Method;
use serde::{Deserialize, Serialize};
use shared::money::Zone;
use utoipa::ToSchema;

use super::{
    Organization, OrganizationError, OrganizationName, archive, rename, require_second_factor,
    restore, set_zone,
};
use crate::{
    access::{Doors, Grant, Permission, Role, may},
    web::{Failure, Input, Json},
};

pub fn doors(doors: &mut Doors) {
    doors.api(Method::GET, "/api/v1/orgs/{org}", "Show the organization", show);
    doors.api(Method::PATCH, "/api/v1/orgs/{org}", "Change the organization", change);
    doors.api(Method::POST, "/api/v1/orgs/{org}/archive", "Archive the organization", put_away);
    doors.api(Method::POST, "/api/v1/orgs/{org}/restore", "Restore the organization", bring_back);
    doors.api(Method::GET, "/api/v1/orgs/{org}/roles", "List roles and what they may", roles);
}

/// What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OrganizationChange {
    name: Option<String>,
    time_zone: Option<String>,
    /// A token shows no second factor, so it can end the rule and not begin it.
    requires_second_factor: Option<bool>,
}

#[derive(Serialize, ToSchema)]
struct Roles {
    data: Vec<RoleRow>,
}

#[derive(Serialize, ToSchema)]
struct RoleRow {
    role: Role,
    title: &'static str,
    about: &'static str,
    permissions: Vec<&'static str>,
}

async fn show(grant: Grant<may::ViewOrganization>) -> Result<Json<Organization>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(super::find(&mut work).await?))
}

async fn change(
    grant: Grant<may::EditOrganization>,
    input: Input<OrganizationChange>,
) -> Result<Json<Organization>, Failure> {
    let name: Option<OrganizationName> = input.name.as_deref().map(str::parse).transpose()?;
    let zone = input.time_zone.as_deref().map(str::parse::<Zone>).transpose();
    let zone = zone.map_err(OrganizationError::from)?;
    let is_shown = grant.session.as_ref().is_some_and(|it| it.has_second_factor);
    let mut work = grant.begin().await?;
    if let Some(name) = name {
        rename(&mut work, &name).await?;
    }
    if let Some(zone) = zone {
        set_zone(&mut work, &zone).await?;
    }
    if let Some(required) = input.requires_second_factor {
        require_second_factor(&mut work, required, is_shown).await?;
    }
    let organization = super::find(&mut work).await?;
    work.commit().await?;
    Ok(Json(organization))
}

async fn put_away(grant: Grant<may::ArchiveOrganization>) -> Result<Json<Organization>, Failure> {
    let mut work = grant.begin().await?;
    archive(&mut work).await?;
    let organization = super::find(&mut work).await?;
    work.commit().await?;
    Ok(Json(organization))
}

async fn bring_back(grant: Grant<may::ArchiveOrganization>) -> Result<Json<Organization>, Failure> {
    let mut work = grant.begin().await?;
    restore(&mut work).await?;
    let organization = super::find(&mut work).await?;
    work.commit().await?;
    Ok(Json(organization))
}

async fn roles(_: Grant<may::ViewOrganization>) -> Json<Roles> {
    let row = |role: Role| RoleRow {
        role,
        title: role.title(),
        about: role.about(),
        permissions: Permission::ALL
            .iter()
            .filter(|it| role.may(**it))
            .map(|it| it.name())
            .collect(),
    };
    Json(Roles { data: Role::ALL.into_iter().map(row).collect() })
}
