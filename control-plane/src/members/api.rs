//! Members in the management API.

use actix_web::{http::Method, web::Path};
use serde::{Deserialize, Serialize};
use shared::ids::PersonId;
use utoipa::ToSchema;

use super::{Member, MemberError, change_role, remove};
use crate::{
    access::{Doors, Grant, Role, may},
    snapshots,
    web::{After, Failure, Input, Json, Removed, Search, Span, Stopped},
};

pub fn doors(doors: &mut Doors) {
    const ONE: &str = "/api/v1/orgs/{org}/members/{person}";
    doors.api(Method::GET, "/api/v1/orgs/{org}/members", "List members", list);
    doors.api(Method::GET, ONE, "Show a member", show);
    doors.api(Method::PATCH, ONE, "Change a member's role", change);
    doors.api(Method::DELETE, ONE, "Remove a member, and revoke their keys and tokens", delete);
}

#[derive(Serialize, ToSchema)]
struct Members {
    data: Vec<Member>,
    /// What to give as `after` for the next page; none on the last.
    next: Option<PersonId>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MemberChange {
    role: Role,
}

async fn list(
    grant: Grant<may::ViewOrganization>,
    query: Search<After<PersonId>>,
) -> Result<Json<Members>, Failure> {
    let mut work = grant.begin().await?;
    let part = super::list(&mut work, Span::page(query.after)).await?;
    Ok(Json(Members { data: part.items, next: part.next }))
}

async fn show(
    grant: Grant<may::ViewOrganization>,
    path: Path<(String, String)>,
) -> Result<Json<Member>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(super::find(&mut work, person_in(&path.1)?).await?))
}

async fn change(
    grant: Grant<may::ManageMembers>,
    path: Path<(String, String)>,
    input: Input<MemberChange>,
) -> Result<Stopped<Member>, Failure> {
    let person = person_in(&path.1)?;
    let mut work = grant.begin().await?;
    change_role(&mut work, grant.authority, person, input.role).await?;
    let member = super::find(&mut work, person).await?;
    work.commit().await?;
    Ok(Stopped(member, snapshots::tell(&grant.platform).await))
}

async fn delete(
    grant: Grant<may::ManageMembers>,
    path: Path<(String, String)>,
) -> Result<Removed, Failure> {
    let mut work = grant.begin().await?;
    remove(&mut work, grant.authority, person_in(&path.1)?).await?;
    work.commit().await?;
    Ok(Removed(snapshots::tell(&grant.platform).await))
}

/// An id that is none of ours is a person whom nobody knows.
pub(super) fn person_in(text: &str) -> Result<PersonId, MemberError> {
    text.parse().map_err(|_| MemberError::NotFound)
}
