//! Tokens of the management API: opaque ones of people and services, and the
//! short-lived signed ones they are exchanged for.
//!
//! A person's token does at most what its own role and the person's role now both
//! allow. A signed token names an opaque one and is worth nothing without it: each use
//! looks at the opaque token's row again, so that revoking ends both at once.

mod api;
mod signed;
mod store;
mod web;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::{ApiTokenId, OrganizationId, PersonId},
    keys::{Brand, NewKey, Presented},
};
use sqlx::Connection;
use time::{Duration, OffsetDateTime};

pub use signed::{AccessTokens, generate_signing_key};

use crate::{
    access::{AccessError, Actor, Authority, Doors, Grant, Permission, Role, Work, scope},
    audit::{self, Entry},
    names::{RULE, name},
    organizations::Membership,
    platform::Platform,
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

/// What a token opens.
pub struct Bearer {
    pub membership: Membership,
    pub authority: Authority,
    pub actor: Actor,
    /// When it stops. Nothing it makes outlives it.
    pub until: OffsetDateTime,
}

/// Whose token that is, if it opens anything now.
pub async fn recognize(
    platform: &Platform,
    token: &SecretString,
) -> Result<Option<Bearer>, sqlx::Error> {
    if let Some(named) = platform.access_tokens.read(token.expose_secret()) {
        return open(platform, named).await;
    }
    let opened = recognize_opaque(platform, token).await?;
    Ok(opened.map(|(_, bearer)| bearer))
}

/// The same for an opaque token only, and says which it is.
async fn recognize_opaque(
    platform: &Platform,
    token: &SecretString,
) -> Result<Option<(ApiTokenId, Bearer)>, sqlx::Error> {
    // No store is asked about what cannot be a token of ours.
    let Ok(presented) = Presented::parse(token) else { return Ok(None) };
    match presented.brand {
        Brand::Management | Brand::Service => (),
        Brand::Live | Brand::Test => return Ok(None),
    }
    let mut conn = platform.db.acquire().await?;
    let Some(named) = store::by_hash(&mut conn, &presented.hash).await? else { return Ok(None) };
    drop(conn);
    let bearer = open(platform, named).await?;
    Ok(bearer.map(|it| (named.token, it)))
}

/// Which token of which organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named {
    organization: OrganizationId,
    token: ApiTokenId,
}

/// What the token opens now. Notes that it was used, once a minute at most.
async fn open(platform: &Platform, named: Named) -> Result<Option<Bearer>, sqlx::Error> {
    let mut conn = platform.db.acquire().await?;
    let mut tx = conn.begin().await?;
    scope(&mut tx, Some(named.organization), None).await?;
    let Some(found) = store::open(&mut tx, named).await? else { return Ok(None) };
    if found.is_stale {
        store::note_use(&mut tx, named).await?;
    }
    tx.commit().await?;
    Ok(Some(found.into_bearer(named)))
}

/// A row that opens something.
struct Found {
    membership: Membership,
    name: String,
    role: Role,
    person: Option<(PersonId, String)>,
    expires_at: OffsetDateTime,
    is_stale: bool,
}

impl Found {
    fn into_bearer(self, named: Named) -> Bearer {
        let (authority, actor) = match self.person {
            Some((id, email)) => {
                let now = Authority::of(self.membership.role);
                (now.at_most(self.role), Actor::Person { id, email })
            }
            None => {
                let actor = Actor::Service { token: named.token, name: self.name };
                (Authority::of(self.role), actor)
            }
        };
        Bearer { membership: self.membership, authority, actor, until: self.expires_at }
    }
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ApiToken {
    pub id: ApiTokenId,
    pub name: String,
    pub hint: String,
    /// Whose it is; a service's when null.
    pub owner: Option<PersonId>,
    pub owner_email: Option<String>,
    /// It does at most what this role may.
    pub role: Role,
    pub status: TokenStatus,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    pub created_by: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<OffsetDateTime>,
    /// To the minute.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<OffsetDateTime>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum TokenStatus {
    Active,
    Expired,
    Revoked,
}

impl TokenStatus {
    pub const fn title(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Expired => "Expired",
            Self::Revoked => "Revoked",
        }
    }
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub name: TokenName,
    /// Whoever makes it, or a service.
    pub is_service: bool,
    pub role: Role,
    pub expires_at: OffsetDateTime,
}

name!(
    /// What people call a token of theirs.
    TokenName, BadTerm::Name
);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTerm {
    #[error("a token's name {RULE}")]
    Name,
    #[error("a token lives for 1 to 365 days")]
    Days,
}

/// How long a token lives where nothing else is asked for.
const USUAL_DAYS: u16 = 90;

/// A token always expires, within a year.
fn in_days(days: u16, now: OffsetDateTime) -> Result<OffsetDateTime, BadTerm> {
    match days {
        1..=365 => Ok(now + Duration::days(days.into())),
        _ => Err(BadTerm::Days),
    }
}

/// How far somebody reaches among the tokens: to their own, or to everybody's.
#[derive(Clone, Debug)]
pub struct Reach {
    authority: Authority,
    actor: Actor,
    until: Option<OffsetDateTime>,
}

impl Reach {
    pub fn of<P>(grant: &Grant<P>) -> Self {
        Self { authority: grant.authority, actor: grant.actor.clone(), until: grant.until }
    }

    fn is_everywhere(&self) -> bool {
        self.authority.may(Permission::ManageTokens)
    }

    fn check(&self, new: &NewToken) -> Result<(), TokenError> {
        if new.is_service && !self.is_everywhere() {
            let role = self.authority.role;
            let permission = Permission::ManageTokens;
            return Err(AccessError::Lacks { role, permission }.into());
        }
        if !self.authority.covers(new.role) {
            return Err(TokenError::Exceeds(new.role));
        }
        if self.until.is_some_and(|until| new.expires_at > until) {
            return Err(TokenError::Outlives);
        }
        Ok(())
    }
}

/// The tokens that `reach` covers, newest first.
pub async fn list(work: &mut Work, reach: &Reach) -> Result<Vec<ApiToken>, TokenError> {
    let organization = work.organization;
    Ok(store::list(work, organization, None, &mine(reach)).await?)
}

pub async fn find(
    work: &mut Work,
    reach: &Reach,
    token: ApiTokenId,
) -> Result<ApiToken, TokenError> {
    let organization = work.organization;
    let found = store::list(work, organization, Some(token), &mine(reach)).await?;
    found.into_iter().next().ok_or(TokenError::NotFound)
}

/// Whose tokens to look among.
enum Whose {
    Everybodys,
    Persons(PersonId),
    Only(ApiTokenId),
    Nobodys,
}

fn mine(reach: &Reach) -> Whose {
    match &reach.actor {
        _ if reach.is_everywhere() => Whose::Everybodys,
        Actor::Person { id, .. } => Whose::Persons(*id),
        Actor::Service { token, .. } => Whose::Only(*token),
        Actor::System => Whose::Nobodys,
    }
}

/// Makes a token, on behalf of whoever `reach` is of. What it returns is shown once.
pub async fn create(
    work: &mut Work,
    reach: &Reach,
    new: &NewToken,
) -> Result<(ApiTokenId, SecretString), TokenError> {
    reach.check(new)?;
    let creator = work.actor.person().ok_or(TokenError::NotAPerson)?;
    let owner = (!new.is_service).then_some(creator);
    let brand = if new.is_service { Brand::Service } else { Brand::Management };
    let (token, secret) = (ApiTokenId::generate(), NewKey::generate(brand));
    let organization = work.organization;
    store::insert(work, Named { organization, token }, creator, owner, new, &secret).await?;
    let entry = Entry::new("token.created", token, &new.name.0).after(serde_json::json!({
        "hint": secret.hint, "owner": owner, "role": new.role,
        "expires_at": new.expires_at.unix_timestamp(),
    }));
    audit::record(work, entry).await?;
    Ok((token, secret.secret))
}

/// Closes the token for good.
pub async fn revoke(work: &mut Work, reach: &Reach, token: ApiTokenId) -> Result<(), TokenError> {
    let before = find(work, reach, token).await?;
    let organization = work.organization;
    if store::revoke(work, Named { organization, token }).await? {
        let entry = Entry::new("token.revoked", token, before.name).before(before.hint);
        audit::record(work, entry).await?;
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the signing key is not an Ed25519 private key in PKCS #8, base64")]
    BadKey,
    #[error("a signed token could not be made")]
    Unsigned(#[source] jsonwebtoken::errors::Error),
    #[error(transparent)]
    Terms(#[from] Problems),
    #[error("you cannot give the role {0}: it may do more than yours")]
    Exceeds(Role),
    #[error("a token made with a token ends no later than that")]
    Outlives,
    #[error("tokens are made by people: a service's token makes none")]
    NotAPerson,
    #[error("there is no such token")]
    NotFound,
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("the token store failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for TokenError {
    fn kind(&self) -> Kind {
        match self {
            Self::BadKey | Self::Unsigned(_) => Kind::Internal,
            Self::Terms(_) => Kind::Invalid,
            Self::Exceeds(_) | Self::Outlives | Self::NotAPerson => Kind::Forbidden,
            Self::NotFound => Kind::NotFound,
            Self::Access(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Exceeds(_) | Self::Outlives => code::GRANT_EXCEEDS_GRANTOR,
            Self::Access(error) => error.code(),
            Self::BadKey
            | Self::Unsigned(_)
            | Self::Terms(_)
            | Self::NotAPerson
            | Self::NotFound
            | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Terms(problems) => problems.list().to_vec(),
            Self::BadKey
            | Self::Unsigned(_)
            | Self::Exceeds(_)
            | Self::Outlives
            | Self::NotAPerson
            | Self::NotFound
            | Self::Access(_)
            | Self::Store(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
