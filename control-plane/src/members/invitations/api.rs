//! Invitations in the management API.

use actix_web::{http::Method, web::Path};
use serde::{Deserialize, Serialize};
use shared::ids::InvitationId;
use utoipa::ToSchema;

use super::{Invitation, InvitationError, Round, invite, resend, revoke};
use crate::{
    access::{Doors, Grant, Role, may},
    identity::EmailAddress,
    web::{Created, Deleted, Failure, Input, Json},
};

pub fn doors(doors: &mut Doors) {
    const ALL: &str = "/api/v1/orgs/{org}/invitations";
    const ONE: &str = "/api/v1/orgs/{org}/invitations/{invitation}";
    const AGAIN: &str = "/api/v1/orgs/{org}/invitations/{invitation}/resend";
    doors.api(Method::GET, ALL, "List open invitations", list);
    doors.api(Method::POST, ALL, "Invite people by e-mail address", create);
    doors.api(Method::GET, ONE, "Show an open invitation", show);
    doors.api(Method::DELETE, ONE, "Revoke an invitation", delete);
    doors.api(Method::POST, AGAIN, "Send an invitation again, with a new link", send_again);
}

#[derive(Serialize, ToSchema)]
struct Invitations {
    data: Vec<Invitation>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewInvitations {
    #[schema(max_items = 50)]
    emails: Vec<String>,
    role: Role,
    /// Whether open invitations that give another role are to be replaced.
    #[serde(default)]
    replace: bool,
}

async fn list(grant: Grant<may::ManageMembers>) -> Result<Json<Invitations>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(Invitations { data: super::list(&mut work).await? }))
}

async fn create(
    grant: Grant<may::ManageMembers>,
    input: Input<NewInvitations>,
) -> Result<Created<Invitations>, Failure> {
    let round = Round { emails: parsed(&input.emails)?, role: input.role, replace: input.replace };
    let mut work = grant.begin().await?;
    let mut data = Vec::new();
    for id in invite(&mut work, &grant.platform, grant.authority, &round).await? {
        data.push(super::find(&mut work, id).await?);
    }
    work.commit().await?;
    grant.platform.nudges.mail.notify_one();
    Ok(Created(Invitations { data }))
}

/// Each address once, in the order given.
fn parsed(texts: &[String]) -> Result<Vec<EmailAddress>, InvitationError> {
    let mut emails: Vec<EmailAddress> = Vec::new();
    for text in texts {
        let email = text.parse().map_err(|_| InvitationError::BadEmails(text.clone()))?;
        if !emails.contains(&email) {
            emails.push(email);
        }
    }
    Ok(emails)
}

async fn show(
    grant: Grant<may::ManageMembers>,
    path: Path<(String, String)>,
) -> Result<Json<Invitation>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(super::find(&mut work, invitation_in(&path.1)?).await?))
}

async fn send_again(
    grant: Grant<may::ManageMembers>,
    path: Path<(String, String)>,
) -> Result<Json<Invitation>, Failure> {
    let id = invitation_in(&path.1)?;
    let mut work = grant.begin().await?;
    let invitation = resend(&mut work, &grant.platform, grant.authority, id).await?;
    work.commit().await?;
    grant.platform.nudges.mail.notify_one();
    Ok(Json(invitation))
}

async fn delete(
    grant: Grant<may::ManageMembers>,
    path: Path<(String, String)>,
) -> Result<Deleted, Failure> {
    let id = invitation_in(&path.1)?;
    let mut work = grant.begin().await?;
    revoke(&mut work, grant.authority, id).await?;
    work.commit().await?;
    Ok(Deleted)
}

/// An id that is none of ours is an invitation that nobody got.
pub(super) fn invitation_in(text: &str) -> Result<InvitationId, InvitationError> {
    text.parse().map_err(|_| InvitationError::NotFound)
}
