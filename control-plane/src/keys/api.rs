//! Keys in the management API.

use std::collections::BTreeMap;

use actix_web::{http::Method, web::Path};
use secrecy::ExposeSecret;
use serde::{Deserialize, Deserializer, Serialize};
use shared::{
    ids::{ApiKeyId, ProjectId},
    snapshot::Scope,
};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiKey, BadTerm, Filter, Issued, KeyError, KeyName, Mode, NewApiKey, Overlap, Reach,
    SecretHint, Terms, commit, edit, end_overlap, expiry, find, key_in, revoke, rotate, secrets,
    terms,
};
use crate::{
    access::{Doors, Grant, Work, may},
    web::{Created, Failure, Input, Json, Problems, Search, Span, Stopped, given, optional},
};

pub fn doors(doors: &mut Doors) {
    let key = "/api/v1/orgs/{org}/keys/{key}";
    doors.api(Method::GET, "/api/v1/orgs/{org}/keys", "List API keys", list);
    doors.api(Method::POST, "/api/v1/orgs/{org}/keys", "Create an API key", create);
    doors.api(Method::GET, key, "Show an API key", show);
    doors.api(Method::PATCH, key, "Change an API key", change);
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/keys/{key}/rotate",
        "Give an API key a new secret",
        renew,
    );
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/keys/{key}/end-overlap",
        "Stop an API key's earlier secrets",
        end_old,
    );
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/keys/{key}/revoke",
        "Revoke an API key for good",
        close,
    );
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct KeyQuery {
    /// `active`, `expiring`, `suspended`, `expired`, `revoked` or `all`; all but the
    /// revoked ones when left out.
    #[serde(default)]
    #[param(required = false)]
    status: String,
    /// The id of a project.
    #[serde(default)]
    #[param(required = false)]
    project: String,
    /// `next` of the page before.
    #[serde(default)]
    #[param(required = false)]
    after: String,
}

#[derive(Serialize, ToSchema)]
struct Keys {
    data: Vec<ApiKey>,
    /// Where the next page begins; null on the last one.
    next: Option<ApiKeyId>,
}

#[derive(Serialize, ToSchema)]
struct KeyWithSecrets {
    #[serde(flatten)]
    key: ApiKey,
    /// Those that still open something, by their ends.
    secrets: Vec<SecretHint>,
}

#[derive(Serialize, ToSchema)]
struct IssuedKey {
    /// Shown this once.
    secret: String,
    #[serde(flatten)]
    key: ApiKey,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum KeyOwner {
    Me,
    Service,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKeyBody {
    name: String,
    /// The organization's oldest one when left out.
    project: Option<ProjectId>,
    /// `live` when left out.
    mode: Option<Mode>,
    /// Whoever the token acts for when left out.
    owner: Option<KeyOwner>,
    /// All when left out.
    scopes: Option<Vec<Scope>>,
    /// Every model when null or left out.
    allowed_models: Option<Vec<String>>,
    /// Everywhere when left out.
    allowed_addresses: Option<Vec<String>>,
    tags: Option<BTreeMap<String, String>>,
    requests_per_minute: Option<i32>,
    tokens_per_minute: Option<i64>,
    concurrent_requests: Option<i32>,
    /// In 90 days when left out; never when null.
    #[serde(default, deserialize_with = "moment")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<OffsetDateTime>>,
}

/// What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyChange {
    name: Option<String>,
    scopes: Option<Vec<Scope>>,
    /// Every model when null.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_models: Option<Option<Vec<String>>>,
    allowed_addresses: Option<Vec<String>>,
    tags: Option<BTreeMap<String, String>>,
    /// No limit when null.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i32>)]
    requests_per_minute: Option<Option<i32>>,
    /// No limit when null.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>)]
    tokens_per_minute: Option<Option<i64>>,
    /// No limit when null.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i32>)]
    concurrent_requests: Option<Option<i32>>,
    /// Never when null.
    #[serde(default, deserialize_with = "moment")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<OffsetDateTime>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// For how long the earlier secrets go on working, from 0 to 168; 24 when left out.
    overlap_hours: Option<u16>,
}

fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<OffsetDateTime>>, D::Error> {
    time::serde::rfc3339::option::deserialize(from).map(Some)
}

impl KeyChange {
    /// The terms that `kept` become.
    fn applied_to(self, kept: Terms, now: OffsetDateTime) -> Result<Terms, Problems> {
        let mut problems = Problems::none();
        let mut terms = kept;
        // Each field is put in place where it is there and right.
        macro_rules! put {
            ($field:ident, $checked:expr) => {
                if let Some(value) = self.$field {
                    let checked: Result<_, BadTerm> = $checked(value);
                    if let Some(value) = problems.take(stringify!($field), checked) {
                        terms.$field = value;
                    }
                }
            };
        }
        put!(name, |it: String| it.parse::<KeyName>());
        put!(scopes, terms::distinct);
        put!(allowed_models, |it: Option<Vec<String>>| {
            it.map(|it| terms::models(it.iter().map(String::as_str))).transpose()
        });
        put!(allowed_addresses, |it: Vec<String>| {
            terms::addresses(it.iter().map(String::as_str))
        });
        put!(tags, |it: BTreeMap<String, String>| {
            terms::tags(it.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        });
        put!(requests_per_minute, |it: Option<i32>| it.map(terms::checked_limit).transpose());
        put!(tokens_per_minute, |it: Option<i64>| it.map(terms::checked_limit).transpose());
        put!(concurrent_requests, |it: Option<i32>| it.map(terms::checked_limit).transpose());
        put!(expires_at, |it: Option<OffsetDateTime>| {
            it.map(|at| expiry::checked(at, now)).transpose()
        });
        problems.check()?;
        Ok(terms)
    }
}

impl NewKeyBody {
    fn new_key<P>(self, grant: &Grant<P>, now: OffsetDateTime) -> Result<NewApiKey, KeyError> {
        let name = self.name.parse().map_err(|error: BadTerm| Problems::one("name", error))?;
        let person = grant.actor.person();
        let owner = match (self.owner, person) {
            (Some(KeyOwner::Me), None) => return Err(KeyError::NobodysOwn),
            (Some(KeyOwner::Me) | None, person) => person,
            (Some(KeyOwner::Service), _) => None,
        };
        let usual = Terms { expires_at: Some(now + expiry::USUAL_LIFE), ..Terms::named(name) };
        let terms = KeyChange {
            name: None,
            scopes: self.scopes,
            allowed_models: self.allowed_models.map(Some),
            allowed_addresses: self.allowed_addresses,
            tags: self.tags,
            requests_per_minute: Some(self.requests_per_minute),
            tokens_per_minute: Some(self.tokens_per_minute),
            concurrent_requests: Some(self.concurrent_requests),
            expires_at: self.expires_at,
        }
        .applied_to(usual, now)?;
        let mode = self.mode.unwrap_or(Mode::Live);
        Ok(NewApiKey { project: self.project, mode, owner, terms })
    }
}

async fn list(grant: Grant<may::ViewKeys>, query: Search<KeyQuery>) -> Result<Json<Keys>, Failure> {
    let mut problems = Problems::none();
    let which = problems.take("status", query.status.parse());
    let project = problems.take("project", optional(&query.project));
    let after = problems.take("after", optional(&query.after));
    let (Some(which), Some(project), Some(after)) = (which, project, after) else {
        return Err(problems.into());
    };
    let mut work = grant.begin().await?;
    let filter = Filter { which, project, span: Span::long(after) };
    let listing = super::list(&mut work, &filter).await?;
    Ok(Json(Keys { data: listing.items, next: listing.next }))
}

async fn create(
    grant: Grant<may::CreateKeys>,
    input: Input<NewKeyBody>,
) -> Result<Created<IssuedKey>, Failure> {
    let new = input.0.new_key(&grant, OffsetDateTime::now_utc())?;
    let mut work = grant.begin().await?;
    let issued = super::create(&mut work, Reach::of(&grant), &new).await?;
    let issued = shown(&mut work, issued).await?;
    commit(&grant, work).await?;
    Ok(Created(issued))
}

async fn show(
    grant: Grant<may::ViewKeys>,
    path: Path<(String, String)>,
) -> Result<Json<KeyWithSecrets>, Failure> {
    let mut work = grant.begin().await?;
    let key = find(&mut work, key_in(&path.1)?).await?;
    let secrets = secrets::working(&mut work, key.id).await?;
    Ok(Json(KeyWithSecrets { key, secrets }))
}

async fn change(
    grant: Grant<may::CreateKeys>,
    path: Path<(String, String)>,
    input: Input<KeyChange>,
) -> Result<Json<ApiKey>, Failure> {
    let key = key_in(&path.1)?;
    let mut work = grant.begin().await?;
    let now = OffsetDateTime::now_utc();
    let change = |kept: &Terms| input.0.applied_to(kept.clone(), now);
    edit(&mut work, Reach::of(&grant), key, change).await?;
    let key = find(&mut work, key).await?;
    commit(&grant, work).await?;
    Ok(Json(key))
}

async fn renew(
    grant: Grant<may::CreateKeys>,
    path: Path<(String, String)>,
    input: Input<Rotation>,
) -> Result<Stopped<IssuedKey>, Failure> {
    let key = key_in(&path.1)?;
    let overlap = input.overlap_hours.map_or(Ok(Overlap::USUAL), Overlap::of_hours);
    let overlap = overlap.map_err(|error| Problems::one("overlap_hours", error))?;
    let mut work = grant.begin().await?;
    let issued = rotate(&mut work, Reach::of(&grant), key, overlap).await?;
    let issued = shown(&mut work, issued).await?;
    let told = commit(&grant, work).await?;
    Ok(Stopped(issued, told))
}

async fn end_old(
    grant: Grant<may::CreateKeys>,
    path: Path<(String, String)>,
) -> Result<Stopped<ApiKey>, Failure> {
    let key = key_in(&path.1)?;
    let mut work = grant.begin().await?;
    end_overlap(&mut work, Reach::of(&grant), key).await?;
    let key = find(&mut work, key).await?;
    let told = commit(&grant, work).await?;
    Ok(Stopped(key, told))
}

async fn close(
    grant: Grant<may::CreateKeys>,
    path: Path<(String, String)>,
) -> Result<Stopped<ApiKey>, Failure> {
    let key = key_in(&path.1)?;
    let mut work = grant.begin().await?;
    revoke(&mut work, Reach::of(&grant), key).await?;
    let key = find(&mut work, key).await?;
    let told = commit(&grant, work).await?;
    Ok(Stopped(key, told))
}

async fn shown(work: &mut Work, issued: Issued) -> Result<IssuedKey, KeyError> {
    let key = find(work, issued.key).await?;
    Ok(IssuedKey { secret: issued.secret.expose_secret().to_owned(), key })
}
