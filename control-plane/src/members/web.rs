//! The pages of members.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::ids::PersonId;

use super::{
    Member, MemberError,
    api::person_in,
    change_role,
    invitations::{self, Invitation},
    remove,
};
use crate::{
    access::{Doors, Grant, Permission, Role, may},
    snapshots,
    web::{
        After, Failure, Form, Frame, Moment, Nothing, Page, Pager, Problems, Search, Section, Span,
        or_problems, see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/members", list);
    doors.post("/orgs/{org}/members/leave", leave);
    doors.get("/orgs/{org}/members/{person}", show);
    doors.post("/orgs/{org}/members/{person}/role", change);
    doors.post("/orgs/{org}/members/{person}/remove", take_out);
}

#[derive(Template)]
#[template(path = "members/list.html")]
struct MembersPage {
    frame: Frame,
    members: Vec<MemberView>,
    invitations: Vec<InvitationView>,
    pager: Pager,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "members/show.html")]
struct MemberPage {
    frame: Frame,
    member: MemberView,
    keys: i64,
    /// Whether the reader may change the member's place.
    is_within_reach: bool,
    roles: Vec<(&'static str, String)>,
    form_role: String,
    problems: Problems,
}

struct MemberView {
    id: PersonId,
    email: String,
    role: Role,
    has_second_factor: bool,
    joined: Moment,
    seen: Option<Moment>,
    teams: Vec<String>,
    is_reader: bool,
}

struct InvitationView {
    id: String,
    email: String,
    role: Role,
    inviter: String,
    sent: Moment,
    expires: Moment,
    is_expired: bool,
    /// Whether who sent it may still give the role.
    is_backed: bool,
    is_within_reach: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleForm {
    #[serde(default)]
    role: String,
}

async fn list(
    grant: Grant<may::ViewOrganization>,
    query: Search<After<PersonId>>,
) -> Result<Page<MembersPage>, Failure> {
    Ok(Page(members_page(&grant, query.after, Problems::none()).await?))
}

async fn show(
    grant: Grant<may::ViewOrganization>,
    path: Path<(String, String)>,
) -> Result<Page<MemberPage>, Failure> {
    Ok(Page(member_page(&grant, person_in(&path.1)?, None, Problems::none()).await?))
}

async fn change(
    grant: Grant<may::ManageMembers>,
    path: Path<(String, String)>,
    form: Form<RoleForm>,
) -> Result<HttpResponse, Failure> {
    let person = person_in(&path.1)?;
    let mut work = grant.begin().await?;
    let outcome = async {
        // Whether there is such a member comes before what is wrong with the form.
        super::find(&mut work, person).await?;
        change_role(&mut work, grant.authority, person, form.role.parse()?).await
    };
    match or_problems(outcome.await)? {
        Ok(()) => {
            work.commit().await?;
            let told = snapshots::tell(&grant.platform).await;
            let notice = told.beside("Role changed");
            Ok(see_other_saying(&grant.path(&format!("/members/{person}")), &notice))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(member_page(&grant, person, Some(form.0.role), problems).await?).again())
        }
    }
}

async fn take_out(
    grant: Grant<may::ManageMembers>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let person = person_in(&path.1)?;
    let mut work = grant.begin().await?;
    match or_problems(remove(&mut work, grant.authority, person).await)? {
        Ok(()) => {
            work.commit().await?;
            let told = snapshots::tell(&grant.platform).await;
            let notice = told.beside("Member removed, and their keys and tokens revoked");
            Ok(see_other_saying(&grant.path("/members"), &notice))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(member_page(&grant, person, None, problems).await?).again())
        }
    }
}

async fn leave(
    grant: Grant<may::LeaveOrganization>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    match or_problems(super::leave(&mut work).await)? {
        Ok(()) => {
            work.commit().await?;
            let told = snapshots::tell(&grant.platform).await;
            let notice = told.beside(&format!("You left {}", grant.membership.name));
            Ok(see_other_saying("/orgs", &notice))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(members_page(&grant, None, problems).await?).again())
        }
    }
}

async fn members_page<P>(
    grant: &Grant<P>,
    after: Option<PersonId>,
    problems: Problems,
) -> Result<MembersPage, Failure> {
    let mut work = grant.begin().await?;
    let part = super::list(&mut work, Span::page(after)).await?;
    let invitations = if grant.may(Permission::ManageMembers) {
        invitations::list(&mut work).await?
    } else {
        Vec::new()
    };
    Ok(MembersPage {
        frame: grant.frame(Section::Members),
        pager: Pager::new(&grant.path("/members"), after, part.next),
        members: part.items.into_iter().map(|it| member_view(it, grant)).collect(),
        invitations: invitations.into_iter().map(|it| invitation_view(it, grant)).collect(),
        problems,
    })
}

/// A member's page, with the role that was chosen where that was refused.
async fn member_page<P>(
    grant: &Grant<P>,
    person: PersonId,
    typed: Option<String>,
    problems: Problems,
) -> Result<MemberPage, MemberError> {
    let mut work = grant.begin().await?;
    let member = super::find(&mut work, person).await?;
    let keys = super::count_keys(&mut work, person).await?;
    Ok(MemberPage {
        frame: grant.frame(Section::Members),
        keys,
        is_within_reach: grant.may(Permission::ManageMembers)
            && grant.authority.covers(member.role),
        roles: role_options(grant),
        form_role: typed.unwrap_or_else(|| member.role.name().to_owned()),
        member: member_view(member, grant),
        problems,
    })
}

/// The roles that the reader may give, each with what it is for.
pub(super) fn role_options<P>(grant: &Grant<P>) -> Vec<(&'static str, String)> {
    let option = |it: Role| (it.name(), format!("{it}: {}", it.about()));
    grant.authority.grantable().into_iter().map(option).collect()
}

fn member_view<P>(member: Member, grant: &Grant<P>) -> MemberView {
    MemberView {
        is_reader: grant.actor.person() == Some(member.id),
        id: member.id,
        email: member.email,
        role: member.role,
        has_second_factor: member.has_second_factor,
        joined: Moment::new(member.joined_at, grant.zone()),
        seen: member.last_seen_at.map(|it| Moment::new(it, grant.zone())),
        teams: member.teams,
    }
}

fn invitation_view<P>(invitation: Invitation, grant: &Grant<P>) -> InvitationView {
    InvitationView {
        id: invitation.id.to_string(),
        is_within_reach: grant.authority.covers(invitation.role),
        is_backed: invitation.is_backed(),
        email: invitation.email,
        role: invitation.role,
        inviter: invitation.invited_by,
        sent: Moment::new(invitation.created_at, grant.zone()),
        expires: Moment::new(invitation.expires_at, grant.zone()),
        is_expired: invitation.is_expired,
    }
}
