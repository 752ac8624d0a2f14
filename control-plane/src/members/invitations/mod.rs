//! Invitations: an offer to an address to become a member, good for one use and a week.
//!
//! The link in the letter holds a secret and the table its hash. An invitation opens
//! only while who sent it may still give its role: power that is gone invites nobody.
//! There is one open invitation an address; another replaces it, and gives another role
//! only when whoever sends it says so.

mod accept;
mod api;
mod emails;
mod store;
mod web;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::{InvitationId, PersonId},
    keys::KeyHash,
    random,
};
use time::OffsetDateTime;

pub use emails::{MOST as MOST_EMAILS, Pasted};

use super::{MemberError, check_power};
use crate::{
    access::{Actor, Authority, Doors, Permission, Role, Work},
    audit::{self, Entry},
    identity::{EmailAddress, PasswordError, WeakPassword},
    mail::{self, Letter},
    organizations,
    platform::Platform,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    accept::doors(doors);
    api::doors(doors);
}

/// An invitation that is not accepted and not revoked.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Invitation {
    pub id: InvitationId,
    pub email: String,
    pub role: Role,
    /// The address of who sent it.
    pub invited_by: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: OffsetDateTime,
    pub is_expired: bool,
    /// What who sent it is now.
    #[serde(skip)]
    inviter: Option<Role>,
}

impl Invitation {
    /// Whether who sent it may still give its role.
    pub fn is_backed(&self) -> bool {
        is_backed(self.inviter, self.role)
    }
}

fn is_backed(inviter: Option<Role>, role: Role) -> bool {
    inviter.is_some_and(|it| it.may(Permission::ManageMembers) && it.covers(role))
}

/// Whom to invite, and as what.
pub struct Round {
    pub emails: Vec<EmailAddress>,
    pub role: Role,
    /// Whether open invitations to another role are to be replaced.
    pub replace: bool,
}

/// More than are ever open at once, and few enough to be no mail cannon.
const MOST_OPEN: i64 = 200;

pub async fn list(work: &mut Work) -> Result<Vec<Invitation>, sqlx::Error> {
    let organization = work.organization;
    store::list(work, organization, MOST_OPEN).await
}

/// Invites everybody of the round, or nobody. The caller nudges the mail after the
/// commit.
pub async fn invite(
    work: &mut Work,
    platform: &Platform,
    giver: Authority,
    round: &Round,
) -> Result<Vec<InvitationId>, InvitationError> {
    check_size(round)?;
    organizations::hold(work).await?;
    let (organization, emails) = (work.organization, texts(&round.emails));
    let members = store::members_among(work, organization, &emails).await?;
    if !members.is_empty() {
        return Err(InvitationError::Members(members.join(", ")));
    }
    let open = store::open_among(work, organization, &emails).await?;
    let held: Vec<Role> = open.iter().map(|it| it.role).collect();
    check_power(work, giver, &held, &[round.role]).await?;
    check_replaced(round, &open)?;
    let others = store::count_open(work, organization).await? - open.len() as i64;
    if others + round.emails.len() as i64 > MOST_OPEN {
        return Err(InvitationError::TooManyOpen);
    }
    for invitation in &open {
        store::revoke(work, organization, invitation.id).await?;
    }
    let mut ids = Vec::new();
    for email in &round.emails {
        let before = open.iter().find(|it| it.email == email.as_str()).map(|it| it.role);
        ids.push(send(work, platform, email, round.role, before).await?);
    }
    Ok(ids)
}

fn check_size(round: &Round) -> Result<(), InvitationError> {
    match round.emails.len() {
        0 => Err(InvitationError::NoEmails),
        1..=MOST_EMAILS => Ok(()),
        _ => Err(InvitationError::TooManyEmails),
    }
}

/// Nobody's offer becomes another one unsaid.
fn check_replaced(round: &Round, open: &[store::Open]) -> Result<(), InvitationError> {
    let differs = |it: &&store::Open| it.role != round.role;
    let differing: Vec<String> =
        open.iter().filter(differs).map(|it| format!("{} as {}", it.email, it.role)).collect();
    if differing.is_empty() || round.replace {
        Ok(())
    } else {
        Err(InvitationError::OtherRole(differing.join(", ")))
    }
}

fn texts(emails: &[EmailAddress]) -> Vec<String> {
    emails.iter().map(ToString::to_string).collect()
}

async fn send(
    work: &mut Work,
    platform: &Platform,
    email: &EmailAddress,
    role: Role,
    before: Option<Role>,
) -> Result<InvitationId, InvitationError> {
    let (organization, inviter) = (work.organization, inviter(work).await?);
    let (id, token) = (InvitationId::generate(), SecretString::from(random::base62(32)));
    let hash = KeyHash::of(token.expose_secret());
    let row = store::NewInvitation { id, email: email.as_str(), role, hash: &hash.0, inviter };
    store::insert(work, organization, row).await?;
    queue_letter(work, platform, email.as_str(), role, &token).await?;
    let entry = Entry::new("invitation.sent", id, email).after(role);
    let entry = match before {
        Some(before) => entry.before(before),
        None => entry,
    };
    audit::record(work, entry).await?;
    Ok(id)
}

/// Sends it once more: with a new link, for another week, in the name of who sends it
/// now. The old link opens nothing any more.
pub async fn resend(
    work: &mut Work,
    platform: &Platform,
    giver: Authority,
    id: InvitationId,
) -> Result<Invitation, InvitationError> {
    organizations::hold(work).await?;
    let invitation = find(work, id).await?;
    check_power(work, giver, &[], &[invitation.role]).await?;
    let (organization, inviter) = (work.organization, inviter(work).await?);
    let token = SecretString::from(random::base62(32));
    let hash = KeyHash::of(token.expose_secret());
    store::renew(work, organization, id, &hash.0, inviter).await?;
    queue_letter(work, platform, &invitation.email, invitation.role, &token).await?;
    let entry = Entry::new("invitation.resent", id, &invitation.email).after(invitation.role);
    audit::record(work, entry).await?;
    find(work, id).await
}

pub async fn revoke(
    work: &mut Work,
    giver: Authority,
    id: InvitationId,
) -> Result<(), InvitationError> {
    organizations::hold(work).await?;
    let invitation = find(work, id).await?;
    check_power(work, giver, &[invitation.role], &[]).await?;
    let organization = work.organization;
    store::revoke(work, organization, id).await?;
    let entry = Entry::new("invitation.revoked", id, &invitation.email).before(invitation.role);
    audit::record(work, entry).await?;
    Ok(())
}

pub async fn find(work: &mut Work, id: InvitationId) -> Result<Invitation, InvitationError> {
    let organization = work.organization;
    store::find(work, organization, id).await?.ok_or(InvitationError::NotFound)
}

/// In whose name the invitation is: a service invites for whoever made its token.
async fn inviter(work: &mut Work) -> Result<PersonId, InvitationError> {
    let organization = work.organization;
    let inviter = match work.actor {
        Actor::Person { id, .. } => Some(id),
        Actor::Service { token, .. } => store::maker_of(work, organization, token).await?,
        Actor::System => None,
    };
    inviter.ok_or(InvitationError::Member(MemberError::Nobody))
}

async fn queue_letter(
    work: &mut Work,
    platform: &Platform,
    email: &str,
    role: Role,
    token: &SecretString,
) -> Result<(), sqlx::Error> {
    let organization = organizations::find(work).await?.name;
    let inviter = match &work.actor {
        Actor::Person { email, .. } => email.clone(),
        Actor::Service { name, .. } => name.clone(),
        Actor::System => "Turnpike".to_owned(),
    };
    let link = platform.link(&format!("/invites/{}", token.expose_secret()));
    let letter = Letter {
        to: email.to_owned(),
        subject: format!("Join {organization} on Turnpike"),
        text: format!(
            "{inviter} invites you to join {organization} on Turnpike, as {role}: {}\n\n\
             To see the invitation and accept it, open this link within a week:\n\n{link}\n\n\
             It is for {email} only, and good for one use. If you do not know who sent it, \
             there is nothing to do.\n",
            role.about()
        ),
    };
    mail::queue(work, &platform.secrets.mail, &letter).await
}

#[derive(Debug, thiserror::Error)]
pub enum InvitationError {
    #[error("enter at least one e-mail address")]
    NoEmails,
    #[error("invite at most {MOST_EMAILS} people at once")]
    TooManyEmails,
    #[error("not an e-mail address: {0}")]
    BadEmails(String),
    #[error("already a member: {0}")]
    Members(String),
    #[error("an open invitation gives another role: {0}. Say that it is to be replaced")]
    OtherRole(String),
    #[error("{MOST_OPEN} invitations are open, which is the most: revoke some first")]
    TooManyOpen,
    #[error("there is no such open invitation")]
    NotFound,
    #[error("the invitation has expired, was used, or was taken back: ask for a new one")]
    Gone,
    #[error("the invitation is for another address: sign out, and open it again")]
    OtherAddress,
    #[error("the address has an account: sign in to it, and open the invitation again")]
    SignInFirst,
    #[error("{0}")]
    Weak(#[from] WeakPassword),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error("the store of invitations failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for InvitationError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoEmails | Self::TooManyEmails | Self::BadEmails(_) | Self::Weak(_) => {
                Kind::Invalid
            }
            Self::Members(_) | Self::OtherRole(_) | Self::TooManyOpen | Self::SignInFirst => {
                Kind::Conflict
            }
            Self::NotFound | Self::Gone => Kind::NotFound,
            Self::OtherAddress => Kind::Forbidden,
            Self::Password(error) => error.kind(),
            Self::Member(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Password(error) => error.code(),
            Self::Member(error) => error.code(),
            Self::OtherAddress => code::FORBIDDEN,
            Self::NoEmails
            | Self::TooManyEmails
            | Self::BadEmails(_)
            | Self::Members(_)
            | Self::OtherRole(_)
            | Self::TooManyOpen
            | Self::NotFound
            | Self::Gone
            | Self::SignInFirst
            | Self::Weak(_)
            | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::NoEmails
            | Self::TooManyEmails
            | Self::BadEmails(_)
            | Self::Members(_)
            | Self::TooManyOpen => "emails",
            Self::OtherRole(_) => "replace",
            Self::Weak(_) => "password",
            Self::Member(error) => return error.problems(),
            Self::NotFound
            | Self::Gone
            | Self::OtherAddress
            | Self::SignInFirst
            | Self::Password(_)
            | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}

#[cfg(test)]
mod tests;
