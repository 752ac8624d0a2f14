//! Tokens in the management API.

use std::future::{Ready, ready};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::Method, web::Path};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{
    ToSchema,
    openapi::{ResponseBuilder, security::SecurityRequirement},
};

use super::{
    ApiToken, Named, NewToken, Reach, TokenError, USUAL_DAYS, find, in_days, recognize_opaque,
    revoke, signed,
};
use crate::{
    access::{AccessError, Describe, Doors, Grant, Role, Sheet, Visitor, may},
    web::{Created, Failure, Input, Json, Problems},
};

pub fn doors(doors: &mut Doors) {
    doors.api(Method::GET, "/api/v1/orgs/{org}/tokens", "List API tokens", list);
    doors.api(Method::POST, "/api/v1/orgs/{org}/tokens", "Create an API token", create);
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/tokens/{token}/revoke",
        "Revoke an API token for good",
        close,
    );
    doors.api(Method::POST, "/api/v1/token", "Exchange a token for a short-lived one", exchange);
}

#[derive(Serialize, ToSchema)]
struct Tokens {
    data: Vec<ApiToken>,
}

#[derive(Serialize, ToSchema)]
struct IssuedToken {
    /// Shown this once.
    secret: String,
    #[serde(flatten)]
    token: ApiToken,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TokenOwner {
    Me,
    Service,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTokenBody {
    name: String,
    /// `me` when left out.
    owner: Option<TokenOwner>,
    role: Role,
    /// From 1 to 365; 90 when left out.
    expires_in_days: Option<u16>,
}

async fn list(grant: Grant<may::CreateTokens>) -> Result<Json<Tokens>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(Tokens { data: super::list(&mut work, &Reach::of(&grant)).await? }))
}

async fn create(
    grant: Grant<may::CreateTokens>,
    input: Input<NewTokenBody>,
) -> Result<Created<IssuedToken>, Failure> {
    let mut problems = Problems::none();
    let now = OffsetDateTime::now_utc();
    let name = problems.take("name", input.name.parse());
    let days = input.expires_in_days.unwrap_or(USUAL_DAYS);
    let expires_at = problems.take("expires_in_days", in_days(days, now));
    let (Some(name), Some(expires_at)) = (name, expires_at) else { return Err(problems.into()) };
    let is_service = input.owner == Some(TokenOwner::Service);
    let new = NewToken { name, is_service, role: input.role, expires_at };
    let reach = Reach::of(&grant);
    let mut work = grant.begin().await?;
    let (token, secret) = super::create(&mut work, &reach, &new).await?;
    let token = find(&mut work, &reach, token).await?;
    work.commit().await?;
    Ok(Created(IssuedToken { secret: secret.expose_secret().to_owned(), token }))
}

async fn close(
    grant: Grant<may::CreateTokens>,
    path: Path<(String, String)>,
) -> Result<Json<ApiToken>, Failure> {
    let token = path.1.parse().map_err(|_| TokenError::NotFound)?;
    let reach = Reach::of(&grant);
    let mut work = grant.begin().await?;
    revoke(&mut work, &reach, token).await?;
    let token = find(&mut work, &reach, token).await?;
    work.commit().await?;
    Ok(Json(token))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Exchange {}

#[derive(Serialize, ToSchema)]
struct AccessToken {
    access_token: String,
    #[schema(value_type = String, example = "Bearer")]
    token_type: &'static str,
    /// In seconds.
    expires_in: i64,
}

/// A token sent along, whatever it opens.
struct Sent(Option<SecretString>);

impl FromRequest for Sent {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let value = request.headers().get("authorization").and_then(|it| it.to_str().ok());
        let token = value.and_then(|it| it.split_once(' '));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        ready(Ok(Self(token.map(|(_, token)| token.trim().to_owned().into()))))
    }
}

impl Describe for Sent {
    fn describe(sheet: &mut Sheet) {
        let operation = std::mem::take(&mut sheet.operation);
        let refusal = "No opaque token, or one that no longer opens anything.";
        sheet.operation = operation
            .security(SecurityRequirement::new::<_, [&str; 0], &str>("token", []))
            .response("401", ResponseBuilder::new().description(refusal).build());
    }
}

/// Only for opaque tokens: a signed one would live for ever by being exchanged for
/// another in time.
async fn exchange(
    visitor: Visitor,
    Sent(token): Sent,
    _: Input<Exchange>,
) -> Result<Json<AccessToken>, Failure> {
    let platform = &visitor.platform;
    let token = token.ok_or(AccessError::SignedOut)?;
    let opened = recognize_opaque(platform, &token).await?;
    let (token, bearer) = opened.ok_or(AccessError::SignedOut)?;
    let named = Named { organization: bearer.membership.organization, token };
    let signed = platform.access_tokens.sign(named, OffsetDateTime::now_utc())?;
    Ok(Json(AccessToken {
        access_token: signed.expose_secret().to_owned(),
        token_type: "Bearer",
        expires_in: signed::LIFE.whole_seconds(),
    }))
}
