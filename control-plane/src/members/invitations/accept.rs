//! Accepting an invitation: what its link shows, and joining.

use actix_web::{HttpResponse, cookie::Cookie, http::StatusCode, web::Path};
use askama::Template;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use shared::{
    ids::{InvitationId, OrganizationId, PersonId},
    keys::KeyHash,
};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::{InvitationError, is_backed, store};
use crate::{
    access::{Actor, Doors, Role, Visitor, Work, scope},
    audit::{self, Entry},
    identity::{EmailAddress, Password, Session, people, sessions},
    members, organizations,
    platform::Platform,
    web::{Failure, Form, Frame, Page, Problems, Visit, or_problems, see_other, see_other_saying},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/invites/{token}", show);
    doors.post("/invites/{token}", accept);
}

/// What an invitation offers to whoever holds its link.
#[derive(Clone, Debug)]
pub struct Offer {
    pub id: InvitationId,
    pub organization: OrganizationId,
    pub slug: String,
    pub name: String,
    pub email: String,
    pub role: Role,
    pub inviter: String,
    pub inviter_role: Option<Role>,
}

/// Who holds the link, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// Signed in as who is invited.
    Expected(PersonId),
    /// Signed in as somebody else.
    Other,
    /// Not signed in, and the address has an account.
    SignedOut,
    /// Not signed in, and the address has none.
    Newcomer,
}

/// Whoever joined: where to go, and the cookie of one who came new.
pub struct Joined {
    pub slug: String,
    pub name: String,
    pub cookie: Option<Cookie<'static>>,
}

/// What the link offers now. Looking does not use it up: mail scanners look.
pub async fn look(db: &PgPool, token: &SecretString) -> Result<Offer, InvitationError> {
    let mut tx = db.begin().await?;
    find(&mut tx, token).await
}

/// Finds the offer, and leaves `conn` within its organization.
async fn find(conn: &mut PgConnection, token: &SecretString) -> Result<Offer, InvitationError> {
    let hash = KeyHash::of(token.expose_secret());
    let organization = store::organization_of(conn, &hash.0).await?;
    let organization = organization.ok_or(InvitationError::Gone)?;
    scope(conn, Some(organization), None).await?;
    let offer = store::offer(conn, organization, &hash.0).await?;
    offer.filter(|it| is_backed(it.inviter_role, it.role)).ok_or(InvitationError::Gone)
}

/// An address may be claimed by several and belongs to the one who has shown that it is
/// theirs; where nobody has, holding the link shows it.
pub async fn guest(
    conn: &mut PgConnection,
    offer: &Offer,
    session: Option<&Session>,
) -> Result<Guest, InvitationError> {
    let email: EmailAddress = offer.email.parse().map_err(|_| InvitationError::Gone)?;
    let holder = people::verified(conn, &email).await?;
    Ok(match (session.filter(|it| !it.awaits_code), holder) {
        (Some(session), _) if session.email != offer.email => Guest::Other,
        (Some(session), Some(holder)) if session.person != holder => Guest::Other,
        (Some(session), _) => Guest::Expected(session.person),
        (None, Some(_)) => Guest::SignedOut,
        (None, None) => Guest::Newcomer,
    })
}

/// Makes the guest a member, in the role offered; one who is a member already stays
/// what they are. A newcomer brings a password and is signed in.
pub async fn join(
    platform: &Platform,
    visit: &Visit,
    session: Option<&Session>,
    token: &SecretString,
    password: SecretString,
) -> Result<Joined, InvitationError> {
    let offer = look(&platform.db, token).await?;
    let mut conn = platform.db.acquire().await?;
    let guest = guest(&mut conn, &offer, session).await?;
    drop(conn);
    match guest {
        Guest::Expected(person) => {
            let tx = platform.db.begin().await?;
            let mut work = enter(tx, visit, token, person).await?;
            if !people::verify(&mut work, person).await? {
                return Err(InvitationError::OtherAddress);
            }
            work.commit().await?;
            Ok(Joined { slug: offer.slug, name: offer.name, cookie: None })
        }
        Guest::Newcomer => {
            let context = [offer.email.as_str(), offer.name.as_str(), "turnpike"];
            let hash = platform.passwords.hash(Password::new(password, &context)?).await?;
            let email: EmailAddress = offer.email.parse().map_err(|_| InvitationError::Gone)?;
            let mut tx = platform.db.begin().await?;
            let person = sign_up(&mut tx, &email, &hash).await?;
            let mut work = enter(tx, visit, token, person).await?;
            let entry = Entry::new("person.signed_up", person, &email);
            let actor = work.actor.clone();
            audit::record_platform(&mut work, &actor, visit.origin(), entry).await?;
            let cookie = sessions::start(&mut work, visit, person, false).await?;
            work.commit().await?;
            Ok(Joined { slug: offer.slug, name: offer.name, cookie: Some(cookie) })
        }
        Guest::Other => Err(InvitationError::OtherAddress),
        Guest::SignedOut => Err(InvitationError::SignInFirst),
    }
}

async fn sign_up(
    conn: &mut PgConnection,
    email: &EmailAddress,
    hash: &str,
) -> Result<PersonId, InvitationError> {
    let inserted = people::insert(conn, email, hash, true).await;
    inserted.map_err(|error| match error.as_database_error() {
        // Somebody has shown meanwhile that the address is theirs.
        Some(it) if it.is_unique_violation() => InvitationError::SignInFirst,
        _ => InvitationError::Store(error),
    })
}

/// Uses the invitation up and makes `person` a member. Looks again whether it opens:
/// now nobody's place in the organization changes before this is done.
async fn enter(
    mut tx: Transaction<'static, Postgres>,
    visit: &Visit,
    token: &SecretString,
    person: PersonId,
) -> Result<Work, InvitationError> {
    let offer = find(&mut tx, token).await?;
    let organization = offer.organization;
    let actor = Actor::Person { id: person, email: offer.email };
    let mut work = Work::within(tx, organization, actor, visit.origin()).await?;
    organizations::hold(&mut work).await?;
    let offer = find(&mut work, token).await?;
    scope(&mut work, Some(organization), Some(person)).await?;
    if !store::consume(&mut work, organization, offer.id).await? {
        return Err(InvitationError::Gone);
    }
    members::join(&mut work, person, offer.role).await?;
    Ok(work)
}

#[derive(Template)]
#[template(path = "identity/invite.html")]
struct OfferPage {
    frame: Frame,
    problems: Problems,
    token: String,
    organization: String,
    role: Role,
    inviter: String,
    email: String,
    guest: Guest,
    /// Where to sign in and come back.
    sign_in: String,
}

#[derive(Template)]
#[template(path = "identity/invite_gone.html")]
struct GonePage {
    frame: Frame,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptForm {
    #[serde(default)]
    password: SecretString,
}

async fn show(visitor: Visitor, path: Path<String>) -> Result<HttpResponse, Failure> {
    page(&visitor, path.into_inner(), Problems::none()).await
}

async fn accept(
    visitor: Visitor,
    path: Path<String>,
    form: Form<AcceptForm>,
) -> Result<HttpResponse, Failure> {
    let token = path.into_inner();
    let Visitor { visit, session, platform } = &visitor;
    let secret = SecretString::from(token.clone());
    let joined = join(platform, visit, session.as_ref(), &secret, form.0.password).await;
    match joined {
        Err(InvitationError::Gone | InvitationError::OtherAddress) => {
            page(&visitor, token, Problems::none()).await
        }
        Err(InvitationError::SignInFirst) => Ok(see_other(&sign_in(&token))),
        other => match or_problems(other)? {
            Ok(joined) => {
                let notice = format!("You are a member of {} now", joined.name);
                let mut response = see_other_saying(&format!("/orgs/{}", joined.slug), &notice);
                if let Some(cookie) = joined.cookie {
                    let _ = response.add_cookie(&cookie);
                }
                Ok(response)
            }
            Err(problems) => page(&visitor, token, problems).await,
        },
    }
}

/// The invitation, or that there is none any more.
async fn page(
    visitor: &Visitor,
    token: String,
    problems: Problems,
) -> Result<HttpResponse, Failure> {
    let db = &visitor.platform.db;
    let offer = match look(db, &token.clone().into()).await {
        Ok(offer) => offer,
        Err(InvitationError::Gone) => {
            return Ok(Page(GonePage { frame: visitor.frame() }).with(StatusCode::NOT_FOUND));
        }
        Err(error) => return Err(error.into()),
    };
    let mut conn = db.acquire().await?;
    let guest = guest(&mut conn, &offer, visitor.session.as_ref()).await?;
    let status = match guest {
        _ if !problems.is_empty() => StatusCode::UNPROCESSABLE_ENTITY,
        Guest::Other => StatusCode::FORBIDDEN,
        Guest::Expected(_) | Guest::SignedOut | Guest::Newcomer => StatusCode::OK,
    };
    let page = OfferPage {
        frame: visitor.frame(),
        problems,
        sign_in: sign_in(&token),
        token,
        organization: offer.name,
        role: offer.role,
        inviter: offer.inviter,
        email: offer.email,
        guest,
    };
    Ok(Page(page).with(status))
}

fn sign_in(token: &str) -> String {
    let next = format!("/invites/{token}");
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    format!("/login?next={next}")
}
