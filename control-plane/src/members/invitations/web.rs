//! The pages for inviting. The list of invitations stands on the members' page.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;

use super::{InvitationError, Pasted, Round, api::invitation_in, resend, revoke};
use crate::{
    access::{Doors, Grant, Role, may},
    members::web::role_options,
    web::{Failure, Form, Frame, Nothing, Page, Problems, Section, or_problems, see_other_saying},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/members/invite", new);
    doors.post("/orgs/{org}/members/invite", create);
    doors.post("/orgs/{org}/members/invitations/{invitation}/resend", send_again);
    doors.post("/orgs/{org}/members/invitations/{invitation}/revoke", take_back);
}

#[derive(Template)]
#[template(path = "members/invite.html")]
struct InvitePage {
    frame: Frame,
    emails: String,
    role: String,
    roles: Vec<(&'static str, String)>,
    problems: Problems,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InviteForm {
    #[serde(default)]
    emails: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    replace: bool,
}

async fn new(grant: Grant<may::ManageMembers>) -> Page<InvitePage> {
    let form = InviteForm {
        emails: String::new(),
        role: Role::Developer.name().to_owned(),
        replace: false,
    };
    Page(page(&grant, form, Problems::none()))
}

async fn create(
    grant: Grant<may::ManageMembers>,
    form: Form<InviteForm>,
) -> Result<HttpResponse, Failure> {
    let round = match read(&form) {
        Ok(round) => round,
        Err(problems) => return Ok(Page(page(&grant, form.0, problems)).again()),
    };
    let mut work = grant.begin().await?;
    let outcome = super::invite(&mut work, &grant.platform, grant.authority, &round).await;
    match or_problems(outcome)? {
        Ok(sent) => {
            work.commit().await?;
            grant.platform.nudges.mail.notify_one();
            let notice = match sent.len() {
                1 => "Invitation sent".to_owned(),
                several => format!("{several} invitations sent"),
            };
            Ok(see_other_saying(&grant.path("/members"), &notice))
        }
        Err(problems) => Ok(Page(page(&grant, form.0, problems)).again()),
    }
}

fn read(form: &InviteForm) -> Result<Round, Problems> {
    let Pasted { emails, not_emails } = Pasted::read(&form.emails);
    let mut problems = Problems::none();
    if !not_emails.is_empty() {
        problems.add("emails", InvitationError::BadEmails(not_emails.join(", ")));
    } else if emails.is_empty() {
        problems.add("emails", InvitationError::NoEmails);
    }
    let role = problems.take("role", form.role.parse::<Role>());
    problems.check()?;
    let role = role.ok_or(problems)?;
    Ok(Round { emails, role, replace: form.replace })
}

async fn send_again(
    grant: Grant<may::ManageMembers>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let id = invitation_in(&path.1)?;
    let mut work = grant.begin().await?;
    resend(&mut work, &grant.platform, grant.authority, id).await?;
    work.commit().await?;
    grant.platform.nudges.mail.notify_one();
    let notice = "Invitation sent again: the link sent before opens nothing now";
    Ok(see_other_saying(&grant.path("/members"), notice))
}

async fn take_back(
    grant: Grant<may::ManageMembers>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let id = invitation_in(&path.1)?;
    let mut work = grant.begin().await?;
    revoke(&mut work, grant.authority, id).await?;
    work.commit().await?;
    Ok(see_other_saying(&grant.path("/members"), "Invitation revoked"))
}

fn page<P>(grant: &Grant<P>, form: InviteForm, problems: Problems) -> InvitePage {
    InvitePage {
        frame: grant.frame(Section::Members),
        emails: form.emails,
        role: form.role,
        roles: role_options(grant),
        problems,
    }
}
