//! Members: who is in an organization, in which role, and how they come and go.
//!
//! Nobody gives a role that may do more than their own, nor changes the place of who
//! has one. An organization keeps at least one owner: the database sees to it, so that
//! two who act at once do not both succeed. Whoever goes takes nothing along: their
//! keys are revoked, and their tokens and places in teams are gone.

mod api;
pub mod invitations;
mod store;
mod web;

use serde::Serialize;
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::PersonId,
};
use time::OffsetDateTime;

use crate::{
    access::{AccessError, Authority, Doors, Permission, Role, UnknownRole, Work},
    audit::{self, Entry},
    keys::{self, KeyError},
    organizations,
    web::{Part, Span},
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
    invitations::doors(doors);
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Member {
    pub id: PersonId,
    pub email: String,
    pub role: Role,
    pub has_second_factor: bool,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub joined_at: OffsetDateTime,
    /// None when they are signed in nowhere.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_seen_at: Option<OffsetDateTime>,
    pub teams: Vec<String>,
}

/// Members by address.
pub async fn list(
    work: &mut Work,
    span: Span<PersonId>,
) -> Result<Part<Member, PersonId>, MemberError> {
    let organization = work.organization;
    Ok(span.part(store::list(work, organization, span).await?, |it| it.id))
}

pub async fn find(work: &mut Work, person: PersonId) -> Result<Member, MemberError> {
    let organization = work.organization;
    store::find(work, organization, person).await?.ok_or(MemberError::NotFound)
}

/// Where those of the roles read their mail, by address; of addresses that were shown to be
/// theirs.
pub async fn emails_of(work: &mut Work, roles: &[Role]) -> Result<Vec<String>, sqlx::Error> {
    let organization = work.organization;
    store::emails_of(work, organization, roles).await
}

/// How many keys the member has that open something: they end when the member goes.
pub async fn count_keys(work: &mut Work, person: PersonId) -> Result<i64, MemberError> {
    let organization = work.organization;
    Ok(store::count_keys(work, organization, person).await?)
}

/// Makes the person a member. One who is a member already stays what they are.
pub async fn join(work: &mut Work, person: PersonId, role: Role) -> Result<(), sqlx::Error> {
    let organization = work.organization;
    if !store::insert(work, organization, person, role).await? {
        return Ok(());
    }
    let email = store::find(work, organization, person).await?.map(|it| it.email);
    let entry = Entry::new("member.joined", person, email.unwrap_or_default()).after(role);
    audit::record(work, entry).await
}

pub async fn change_role(
    work: &mut Work,
    giver: Authority,
    person: PersonId,
    role: Role,
) -> Result<(), MemberError> {
    organizations::hold(work).await?;
    let member = find(work, person).await?;
    check_power(work, giver, &[member.role], &[role]).await?;
    if member.role == role {
        return Ok(());
    }
    let organization = work.organization;
    store::set_role(work, organization, person, role).await?;
    let entry = Entry::new("member.role_changed", person, member.email);
    audit::record(work, entry.before(member.role).after(role)).await?;
    Ok(())
}

pub async fn remove(
    work: &mut Work,
    giver: Authority,
    person: PersonId,
) -> Result<(), MemberError> {
    organizations::hold(work).await?;
    let member = find(work, person).await?;
    check_power(work, giver, &[member.role], &[]).await?;
    depart(work, member, "member.removed").await
}

/// Takes whoever acts out of the organization.
pub async fn leave(work: &mut Work) -> Result<(), MemberError> {
    let person = work.actor.person().ok_or(MemberError::Nobody)?;
    organizations::hold(work).await?;
    let member = find(work, person).await?;
    depart(work, member, "member.left").await
}

async fn depart(work: &mut Work, member: Member, action: &'static str) -> Result<(), MemberError> {
    keys::revoke_owned_by(work, member.id).await?;
    let organization = work.organization;
    store::delete(work, organization, member.id).await?;
    let entry = Entry::new(action, member.id, member.email).before(member.role);
    audit::record(work, entry).await?;
    Ok(())
}

/// Refuses to take away the `held` roles or to give the `given` ones, where one of them
/// may do more than the giver, as the giver's own role is now: it may have changed
/// since the request came.
async fn check_power(
    work: &mut Work,
    giver: Authority,
    held: &[Role],
    given: &[Role],
) -> Result<(), MemberError> {
    let organization = work.organization;
    let mut giver = giver;
    if let Some(person) = work.actor.person() {
        let role = store::role(work, organization, person).await?;
        giver.role = role.ok_or(MemberError::NotFound)?;
    }
    let permission = Permission::ManageMembers;
    if !giver.may(permission) {
        return Err(AccessError::Lacks { role: giver.role, permission }.into());
    }
    if let Some(role) = held.iter().find(|it| !giver.covers(**it)) {
        return Err(MemberError::Above(*role));
    }
    match given.iter().find(|it| !giver.covers(**it)) {
        Some(role) => Err(AccessError::Exceeds(*role).into()),
        None => Ok(()),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    #[error("there is no such member")]
    NotFound,
    #[error("choose one of the roles")]
    BadRole(#[from] UnknownRole),
    #[error("an organization keeps at least one owner: make somebody else an owner first")]
    LastOwner,
    #[error("you cannot change what an {0} is: that role may do more than yours")]
    Above(Role),
    #[error("only a person can do this")]
    Nobody,
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("the store of members failed")]
    Store(#[source] sqlx::Error),
}

/// What the database says when an organization would lose its last owner.
const LAST_OWNER: &str = "TP001";

impl From<sqlx::Error> for MemberError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().and_then(|it| it.code()) {
            Some(code) if code == LAST_OWNER => Self::LastOwner,
            _ => Self::Store(error),
        }
    }
}

impl Classified for MemberError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::BadRole(_) => Kind::Invalid,
            Self::LastOwner => Kind::Conflict,
            Self::Above(_) | Self::Nobody => Kind::Forbidden,
            Self::Access(error) => error.kind(),
            Self::Keys(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::LastOwner => code::LAST_OWNER,
            Self::Above(_) => code::GRANT_EXCEEDS_GRANTOR,
            Self::Access(error) => error.code(),
            Self::Keys(error) => error.code(),
            Self::NotFound | Self::BadRole(_) | Self::Nobody | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::BadRole(_) | Self::LastOwner => "role",
            Self::NotFound
            | Self::Above(_)
            | Self::Nobody
            | Self::Access(_)
            | Self::Keys(_)
            | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}

#[cfg(test)]
mod tests;
