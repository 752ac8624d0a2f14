//! Proofs: who asks, and that they may.

use std::{future::Future, marker::PhantomData, pin::Pin};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, http::Method, web::Data};
use secrecy::SecretString;
use shared::{
    failure::{Classified, Code, Kind, code},
    ids::OrganizationId,
};
use time::OffsetDateTime;
use utoipa::openapi::{
    ResponseBuilder, extensions::ExtensionsBuilder, security::SecurityRequirement,
};

use super::{
    Actor, Authority, Describe, Needed, Needs, Permission, Role, Work,
    door::{Guarded, Proof, Sheet},
};
use crate::{
    audit::PLATFORM,
    identity::{Session, sessions},
    organizations::{self, Membership},
    platform::Platform,
    tokens,
    web::{Failure, Frame, Section, Visit},
};

/// Anybody; signed in perhaps.
pub struct Visitor {
    pub visit: Visit,
    pub session: Option<Session>,
    pub platform: Data<Platform>,
}

impl Visitor {
    pub fn frame(&self) -> Frame {
        match &self.session {
            Some(session) if !session.awaits_code => session.frame(&self.visit),
            _ => Frame::outside(&self.visit),
        }
    }
}

/// Somebody whose session has everything it needs.
pub struct SignedIn {
    pub visit: Visit,
    pub session: Session,
    pub platform: Data<Platform>,
}

impl SignedIn {
    pub fn frame(&self) -> Frame {
        self.session.frame(&self.visit)
    }

    pub fn actor(&self) -> Actor {
        self.session.actor()
    }
}

/// The platform's staff.
pub struct Operator(pub SignedIn);

impl Operator {
    /// A transaction that acts for the platform, and sees what is the platform's.
    pub async fn begin(&self) -> Result<Work, sqlx::Error> {
        let (staff, origin) = (&self.0, self.0.visit.origin());
        Work::begin(&staff.platform.db, PLATFORM, staff.actor(), origin).await
    }
}

/// A member of the organization in the path who may do `P` there, by session or by
/// token. Brings the only organization in sight.
pub struct Grant<P> {
    pub visit: Visit,
    /// The browser's session; none when a token was shown.
    pub session: Option<Session>,
    pub platform: Data<Platform>,
    pub membership: Membership,
    pub authority: Authority,
    pub actor: Actor,
    /// When the token shown stops, where one was.
    pub until: Option<OffsetDateTime>,
    permission: PhantomData<P>,
}

impl<P> Grant<P> {
    pub fn organization(&self) -> OrganizationId {
        self.membership.organization
    }

    /// A transaction that sees this organization's rows and no others.
    pub async fn begin(&self) -> Result<Work, sqlx::Error> {
        let origin = self.visit.origin();
        Work::begin(&self.platform.db, self.organization(), self.actor.clone(), origin).await
    }

    pub fn may(&self, permission: Permission) -> bool {
        self.authority.may(permission)
    }

    /// Refuses to give a role that the giver does not hold.
    pub fn check_covers(&self, role: Role) -> Result<(), AccessError> {
        if self.authority.covers(role) { Ok(()) } else { Err(AccessError::Exceeds(role)) }
    }

    /// A page of the organization, addressed by what follows its name.
    pub fn path(&self, rest: &str) -> String {
        format!("/orgs/{}{rest}", self.membership.slug)
    }

    pub fn frame(&self, section: Section) -> Frame {
        let frame = match &self.session {
            Some(session) => session.frame(&self.visit),
            None => Frame::outside(&self.visit),
        };
        frame.within(self.membership.frame(self.authority, section))
    }

    /// The zone in which this reader sees times.
    pub fn zone(&self) -> &str {
        self.session.as_ref().map_or("UTC", |it| &it.time_zone)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("sign in first")]
    SignedOut,
    #[error("there is nothing here by that name")]
    NotFound,
    #[error(
        "your role, {role}, may not {}. Ask a member who is {}",
        .permission.about(),
        list(.permission.roles())
    )]
    Lacks { role: Role, permission: Permission },
    #[error("your role may {}, but not this token: use one of a wider role", .0.about())]
    TokenLacks(Permission),
    #[error("you cannot make somebody {0}: that role may do more than yours")]
    Exceeds(Role),
    #[error("{0} asks its members for a second factor: set one up under Account, Security")]
    NeedsSecondFactor(String),
    #[error("the organization is archived: it can be read, not changed")]
    Archived,
    #[error("only the platform's operators may see this")]
    NotOperator,
    #[error("the store of sessions and members failed")]
    Store(#[from] sqlx::Error),
}

fn list(roles: &[Role]) -> String {
    let names: Vec<_> = roles.iter().map(|it| it.title()).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

impl Classified for AccessError {
    fn kind(&self) -> Kind {
        match self {
            Self::SignedOut => Kind::Unauthenticated,
            Self::NotFound => Kind::NotFound,
            Self::Lacks { .. }
            | Self::TokenLacks(_)
            | Self::Exceeds(_)
            | Self::NeedsSecondFactor(_)
            | Self::NotOperator => Kind::Forbidden,
            Self::Archived => Kind::Conflict,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Exceeds(_) => code::GRANT_EXCEEDS_GRANTOR,
            Self::NeedsSecondFactor(_) => code::MFA_REQUIRED,
            Self::Archived => code::ARCHIVED,
            Self::SignedOut
            | Self::NotFound
            | Self::Lacks { .. }
            | Self::TokenLacks(_)
            | Self::NotOperator
            | Self::Store(_) => self.kind().code(),
        }
    }
}

/// What is known of a request before its proof: the visit, and its session if any.
async fn visitor(request: HttpRequest) -> Result<Visitor, AccessError> {
    let visit = request.extensions().get::<Visit>().cloned();
    let visit = visit.expect("floor puts a visit into every request");
    let platform = request.app_data::<Data<Platform>>().expect("the app has its platform").clone();
    let session = match &visit.session {
        // The API takes tokens only, so that no page of another site can use a session.
        Some(token) if !visit.is_api => sessions::find(&platform.db, token).await?,
        _ => None,
    };
    Ok(Visitor { visit, session, platform })
}

impl Visitor {
    fn signed_in(self) -> Result<SignedIn, AccessError> {
        let session = self.session.filter(|it| !it.awaits_code).ok_or(AccessError::SignedOut)?;
        Ok(SignedIn { visit: self.visit, session, platform: self.platform })
    }
}

/// Who holds the power to act in the organization of the path, and how much of it.
struct Holder {
    visit: Visit,
    session: Option<Session>,
    platform: Data<Platform>,
    membership: Membership,
    authority: Authority,
    actor: Actor,
    until: Option<OffsetDateTime>,
}

async fn holder(request: &HttpRequest, permission: Permission) -> Result<Holder, AccessError> {
    let visitor = visitor(request.clone()).await?;
    let slug = request.match_info().get("org").unwrap_or_default();
    let holder = if visitor.visit.is_api {
        by_token(visitor, bearer(request).ok_or(AccessError::SignedOut)?, slug).await?
    } else {
        by_session(visitor.signed_in()?, slug).await?
    };
    let is_archived = holder.membership.is_archived;
    if is_archived && changes(request.method()) && permission != Permission::ArchiveOrganization {
        return Err(AccessError::Archived);
    }
    if !holder.authority.may(permission) {
        let role = holder.authority.role;
        return Err(if role.may(permission) {
            AccessError::TokenLacks(permission)
        } else {
            AccessError::Lacks { role, permission }
        });
    }
    Ok(holder)
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

async fn by_session(signed_in: SignedIn, slug: &str) -> Result<Holder, AccessError> {
    let SignedIn { visit, session, platform } = signed_in;
    let found = organizations::membership(&platform.db, slug, session.person).await?;
    let membership = found.ok_or(AccessError::NotFound)?;
    if membership.requires_second_factor && !session.has_second_factor {
        return Err(AccessError::NeedsSecondFactor(membership.name));
    }
    let authority = Authority::of(membership.role);
    let actor = session.actor();
    let session = Some(session);
    Ok(Holder { visit, session, platform, membership, authority, actor, until: None })
}

async fn by_token(
    visitor: Visitor,
    bearer: SecretString,
    slug: &str,
) -> Result<Holder, AccessError> {
    let Visitor { visit, platform, .. } = visitor;
    let bearer = tokens::recognize(&platform, &bearer).await?.ok_or(AccessError::SignedOut)?;
    let membership = bearer.membership;
    // A token says nothing of organizations other than its own.
    if membership.slug != slug && membership.organization.to_string() != slug {
        return Err(AccessError::NotFound);
    }
    let (authority, actor, until) = (bearer.authority, bearer.actor, Some(bearer.until));
    Ok(Holder { visit, session: None, platform, membership, authority, actor, until })
}

fn bearer(request: &HttpRequest) -> Option<SecretString> {
    let value = request.headers().get("authorization")?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned().into())
}

type Checking<T> = Pin<Box<dyn Future<Output = Result<T, Failure>>>>;

impl FromRequest for Visitor {
    type Error = Failure;
    type Future = Checking<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { Ok(visitor(request).await?) })
    }
}

impl FromRequest for SignedIn {
    type Error = Failure;
    type Future = Checking<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { Ok(visitor(request).await?.signed_in()?) })
    }
}

impl FromRequest for Operator {
    type Error = Failure;
    type Future = Checking<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let signed_in = visitor(request).await?.signed_in()?;
            if !signed_in.session.is_operator {
                return Err(AccessError::NotOperator.into());
            }
            Ok(Self(signed_in))
        })
    }
}

impl<P: Needed> FromRequest for Grant<P> {
    type Error = Failure;
    type Future = Checking<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let Holder { visit, session, platform, membership, authority, actor, until } =
                holder(&request, P::PERMISSION).await?;
            let permission = PhantomData;
            Ok(Self { visit, session, platform, membership, authority, actor, until, permission })
        })
    }
}

/// Not even asked who they are: nothing of theirs is looked up.
impl Proof for Visit {
    const NEEDS: Needs = Needs::Nothing;
}
impl Proof for Visitor {
    const NEEDS: Needs = Needs::Nothing;
}
impl Proof for SignedIn {
    const NEEDS: Needs = Needs::SignedIn;
}
impl Proof for Operator {
    const NEEDS: Needs = Needs::Operator;
}
impl<P: Needed> Proof for Grant<P> {
    const NEEDS: Needs = Needs::Permission(P::PERMISSION);
}

impl Describe for Visitor {}

impl<P: Needed> Describe for Grant<P> {
    fn describe(sheet: &mut Sheet) {
        let permission = P::PERMISSION;
        let operation = std::mem::take(&mut sheet.operation);
        let refusal = |about: &str| ResponseBuilder::new().description(about).build();
        sheet.operation = operation
            .description(Some(format!("For tokens that may {}.", permission.about())))
            .security(SecurityRequirement::new::<_, [&str; 0], &str>("token", []))
            .extensions(Some(
                ExtensionsBuilder::new().add("x-permission", permission.name()).build(),
            ))
            .response("401", refusal("No token, or one that no longer opens anything."))
            .response("403", refusal("The token's role may not do this."))
            .response("404", refusal("No such thing, or not yours to know of."))
            .response("503", refusal("A store is away. Try again after Retry-After."));
    }
}

/// A lone proof is a list of arguments too.
const _: () = {
    const fn is_guarded<T: Guarded>() {}
    is_guarded::<(Visitor,)>();
};
