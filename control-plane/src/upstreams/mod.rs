//! Upstreams: where models are served. Pages call them providers.
//!
//! An organization has its own, opened by its own secrets, and sees the platform's, which
//! it cannot change: `Work` begun for [`PLATFORM`](crate::audit::PLATFORM) acts on those,
//! and only the operators' command line and pages begin it. A secret is sealed for the address it
//! was entered for, so that an upstream which moves loses its secrets. An upstream is
//! archived, never deleted.

mod api;
pub mod books;
pub mod connection;
pub mod credentials;
mod disabled;
mod known;
pub mod models;
mod place;
pub mod prices;
mod published;
pub mod pulses;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod web;
pub(crate) mod words;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::json;
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::{OrganizationId, UpstreamId},
    seal::{CannotOpen, Sealer},
    snapshot::{Assurances, Dialect, Model, Timeouts},
};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

pub use connection::Connection;
pub use credentials::{Credential, NewCredential};
pub use disabled::DisabledBy;
pub use known::{Source, known_models, source_of};
pub use models::OfferedModel;
pub use place::{
    BadPlace, BaseUrl, Draft, Place, Region, SaidTimeouts, Slug, TypedTimeouts, UpstreamName,
};
pub use published::published;

use crate::{
    access::{Doors, Grant, Work},
    audit::{self, Entry},
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
    books::doors(doors);
}

/// A place that serves models, as members see it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Upstream {
    pub id: UpstreamId,
    /// Whether it is the platform's, for every organization to call and none to change.
    pub is_platforms: bool,
    pub vendor: String,
    pub name: String,
    pub dialect: Dialect,
    /// Empty where it is the platform's, whose addresses are its own.
    pub base_url: String,
    pub region: Option<String>,
    pub timeouts: Timeouts,
    pub assurances: Assurances,
    /// Whether the organization's calls may go there.
    pub enabled: bool,
    /// What keeps them from it, where they may not.
    pub disabled_by: Option<DisabledBy>,
    /// How many models can be called there.
    pub models: i64,
    /// How many of its credentials are in use; of the platform's none are told.
    pub credentials: i64,
    /// How the latest test of one of its credentials went.
    pub last_result: Option<Connection>,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_tested_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub archived_at: Option<OffsetDateTime>,
}

impl Upstream {
    pub fn is_archived(&self) -> bool {
        self.archived_at.is_some()
    }

    /// Whether its rows are the organization's to change.
    pub fn is_ours(&self) -> bool {
        !self.is_platforms
    }
}

/// Whose rows `work` acts on, as secrets are sealed for them.
fn owner(work: &Work) -> Option<OrganizationId> {
    Some(work.organization).filter(|it| *it != audit::PLATFORM)
}

/// The organization's, then the platform's.
pub async fn list(work: &mut Work) -> Result<Vec<Upstream>, UpstreamError> {
    let organization = work.organization;
    Ok(store::list(work, organization).await?)
}

pub async fn find(work: &mut Work, upstream: UpstreamId) -> Result<Upstream, UpstreamError> {
    let organization = work.organization;
    store::find(work, organization, upstream).await?.ok_or(UpstreamError::NotFound)
}

/// A model that can be called somewhere, and what is known of that place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// With what the organization pays.
    pub model: Model,
    pub vendor: String,
    pub region: Option<String>,
    pub assurances: Assurances,
}

/// Everything that the organization can call.
pub async fn served(work: &mut Work) -> Result<Vec<Served>, UpstreamError> {
    let enabled = catalogue(work).await?.into_iter().filter(|it| it.offered.enabled);
    let served = enabled.map(|it| Served {
        model: it.offered.model,
        vendor: it.vendor,
        region: it.region,
        assurances: it.assurances,
    });
    Ok(served.collect())
}

/// A model in the catalogue: at one of the places that serve it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CatalogueModel {
    pub provider: UpstreamId,
    pub provider_name: String,
    pub vendor: String,
    pub region: Option<String>,
    pub assurances: Assurances,
    pub is_platforms: bool,
    #[serde(flatten)]
    pub offered: OfferedModel,
    /// What keeps it from being called there, where it is not enabled.
    pub disabled_by: Option<DisabledBy>,
}

/// Every model of an upstream that is in use, by name, the organization's own first.
pub async fn catalogue(work: &mut Work) -> Result<Vec<CatalogueModel>, UpstreamError> {
    let organization = work.organization;
    Ok(store::catalogue(work, organization).await?)
}

/// A model that answers chats and that the organization may call, for examples.
pub async fn first_model(work: &mut Work) -> Result<Option<String>, sqlx::Error> {
    let organization = work.organization;
    store::first_model(work, organization).await
}

/// Adds an upstream, which serves nothing until it has a credential.
pub async fn add(
    work: &mut Work,
    place: &Place,
    models: &[Model],
) -> Result<UpstreamId, UpstreamError> {
    let organization = work.organization;
    if store::count(work, organization).await? >= MOST_UPSTREAMS {
        return Err(UpstreamError::TooMany);
    }
    let upstream = UpstreamId::generate();
    store::insert(work, organization, upstream, place).await?;
    for model in models {
        store::put_model(work, organization, upstream, model, true).await?;
    }
    let names: Vec<_> = models.iter().map(|it| &it.name).collect();
    let entry = Entry::new("provider.added", upstream, &place.name);
    audit::record(work, entry.after(json!({ "place": place, "models": names }))).await?;
    let added = find(work, upstream).await?;
    for model in models {
        if let Some(price) = &model.price {
            prices::put(work, &added, &model.name, None, Some(&price.price)).await?;
            prices::plan_known(work, &added, &model.name).await?;
        }
    }
    Ok(upstream)
}

/// More than anybody calls.
const MOST_UPSTREAMS: i64 = 100;

/// Changes where it is and what it is called. Says how many credentials it lost: none,
/// unless its address is another.
pub async fn change(
    work: &mut Work,
    upstream: UpstreamId,
    place: &Place,
) -> Result<u64, UpstreamError> {
    let before = find_to_change(work, upstream).await?;
    let told = told(&before);
    if told == json!(place) {
        return Ok(0);
    }
    let organization = work.organization;
    // No secret follows an upstream to another address.
    let dropped = match before.base_url == place.base_url.as_str() {
        true => 0,
        false => store::drop_credentials(work, organization, upstream).await?,
    };
    store::update(work, organization, upstream, place).await?;
    let entry = Entry::new("provider.changed", upstream, &place.name)
        .before(told)
        .after(json!({ "place": place, "credentials_dropped": dropped }));
    audit::record(work, entry).await?;
    Ok(dropped)
}

/// The same words as a [`Place`] has in the audit log.
fn told(upstream: &Upstream) -> serde_json::Value {
    json!({
        "vendor": upstream.vendor, "name": upstream.name, "dialect": upstream.dialect,
        "base_url": upstream.base_url, "region": upstream.region,
        "timeouts": upstream.timeouts, "assurances": upstream.assurances,
    })
}

/// Lets calls go there, or no longer: where it is the platform's, the organization's own.
pub async fn set_enabled(
    work: &mut Work,
    upstream: UpstreamId,
    enabled: bool,
) -> Result<(), UpstreamError> {
    let found = find(work, upstream).await?;
    if is_anothers(work, &found) {
        return disabled::set(work, &found, None, enabled).await;
    }
    let before = find_to_change(work, upstream).await?;
    if before.enabled == enabled {
        return Ok(());
    }
    let organization = work.organization;
    store::set_enabled(work, organization, upstream, enabled).await?;
    let action = if enabled { "provider.enabled" } else { "provider.disabled" };
    audit::record(work, Entry::new(action, upstream, before.name)).await?;
    Ok(())
}

pub async fn archive(work: &mut Work, upstream: UpstreamId) -> Result<(), UpstreamError> {
    set_archived(work, upstream, true, "provider.archived").await
}

pub async fn restore(work: &mut Work, upstream: UpstreamId) -> Result<(), UpstreamError> {
    set_archived(work, upstream, false, "provider.restored").await
}

async fn set_archived(
    work: &mut Work,
    upstream: UpstreamId,
    archived: bool,
    action: &'static str,
) -> Result<(), UpstreamError> {
    let before = lock(work, upstream).await?;
    if before.is_archived() == archived {
        return Ok(());
    }
    let organization = work.organization;
    store::set_archived(work, organization, upstream, archived).await?;
    audit::record(work, Entry::new(action, upstream, before.name)).await?;
    Ok(())
}

/// What an upstream is to be, whatever it was.
#[derive(Clone, Debug)]
pub struct Declared {
    pub place: Place,
    pub secret: SecretString,
    pub models: Vec<Model>,
}

/// The timeouts of the upstream of that name, if there is one.
pub async fn timeouts(work: &mut Work, name: &UpstreamName) -> Result<Timeouts, UpstreamError> {
    let organization = work.organization;
    match store::named(work, organization, name).await? {
        Some(upstream) => Ok(find(work, upstream).await?.timeouts),
        None => Ok(Timeouts::default()),
    }
}

/// Makes the upstream of that name what is declared. Does nothing where nothing is
/// different, and removes no model nor assurance, nor changes what a model costs: somebody may
/// have said so by hand.
pub async fn put(
    work: &mut Work,
    sealer: &Sealer,
    declared: &Declared,
) -> Result<UpstreamId, UpstreamError> {
    let Declared { place, secret, models } = declared;
    let organization = work.organization;
    let there = store::named(work, organization, &place.name).await?;
    let upstream = match there {
        None => add(work, place, models).await?,
        Some(upstream) => {
            let kept = find(work, upstream).await?.assurances;
            let assurances = Assurances {
                zero_retention: kept.zero_retention || place.assurances.zero_retention,
                no_training: kept.no_training || place.assurances.no_training,
            };
            change(work, upstream, &Place { assurances, ..place.clone() }).await?;
            for model in models {
                models::add_missing(work, upstream, model).await?;
                models::price_unpriced(work, upstream, model).await?;
            }
            upstream
        }
    };
    let kept = store::sealed(work, organization, upstream, credentials::FIRST).await?;
    match kept {
        Some((credential, sealed)) => {
            let purpose = credentials::purpose(work, credential, place.base_url.as_str());
            let open = sealer.open(&sealed, &purpose).unwrap_or_default();
            let is_same: bool = open.ct_eq(secret.expose_secret().as_bytes()).into();
            if !is_same {
                credentials::rotate(work, sealer, upstream, credential, secret).await?;
            }
        }
        None => {
            let first = NewCredential::first();
            credentials::add(work, sealer, upstream, &first, secret).await?;
        }
    }
    Ok(upstream)
}

async fn lock(work: &mut Work, upstream: UpstreamId) -> Result<Upstream, UpstreamError> {
    let organization = work.organization;
    store::lock(work, organization, upstream).await?;
    let found = find(work, upstream).await?;
    if is_anothers(work, &found) { Err(UpstreamError::Platforms) } else { Ok(found) }
}

/// Whether it is the platform's, and `work` does not act for the platform.
fn is_anothers(work: &Work, upstream: &Upstream) -> bool {
    upstream.is_platforms && owner(work).is_some()
}

/// Finds one that may be changed, and keeps other writers away from it until `work` ends.
async fn find_to_change(work: &mut Work, upstream: UpstreamId) -> Result<Upstream, UpstreamError> {
    let found = lock(work, upstream).await?;
    if found.is_archived() { Err(UpstreamError::Archived) } else { Ok(found) }
}

/// Ends `work` and has the proxies told.
async fn commit<P>(grant: &Grant<P>, work: Work) -> Result<(), sqlx::Error> {
    work.commit().await?;
    grant.platform.nudges.snapshot.notify_one();
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error("there is already a provider of that name")]
    NameTaken,
    #[error("there is already a credential of that name")]
    LabelTaken,
    #[error("you have {MOST_UPSTREAMS} providers, which is the most")]
    TooMany,
    #[error("a provider has at most {} credentials", credentials::MOST)]
    TooManyCredentials,
    #[error("a provider has at most {} models", models::MOST)]
    TooManyModels,
    #[error("the platform's providers are changed by its operators")]
    Platforms,
    #[error("there is no such provider")]
    NotFound,
    #[error("there is no such credential")]
    NoCredential,
    #[error("there is no such model")]
    NoModel,
    #[error("the provider is archived: restore it first")]
    Archived,
    #[error("connections were tested too often: wait a minute, then try again")]
    TooManyTrials,
    #[error("the secret cannot be opened any more: enter it again")]
    Sealed(#[from] CannotOpen),
    #[error("the store of providers failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for UpstreamError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused(_) | Self::NoModel => Kind::Invalid,
            Self::NameTaken
            | Self::LabelTaken
            | Self::TooMany
            | Self::TooManyCredentials
            | Self::TooManyModels
            | Self::Archived
            | Self::Sealed(_) => Kind::Conflict,
            Self::Platforms => Kind::Forbidden,
            Self::NotFound | Self::NoCredential => Kind::NotFound,
            Self::TooManyTrials => Kind::RateLimited,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NameTaken | Self::LabelTaken => code::NAME_TAKEN,
            Self::Archived => code::ARCHIVED,
            Self::Refused(_)
            | Self::TooMany
            | Self::TooManyCredentials
            | Self::TooManyModels
            | Self::Platforms
            | Self::NotFound
            | Self::NoCredential
            | Self::NoModel
            | Self::TooManyTrials
            | Self::Sealed(_)
            | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::Refused(problems) => return problems.list().to_vec(),
            Self::NameTaken | Self::TooMany | Self::TooManyModels | Self::NoModel => "name",
            Self::LabelTaken | Self::TooManyCredentials => "label",
            Self::Platforms
            | Self::NotFound
            | Self::NoCredential
            | Self::Archived
            | Self::TooManyTrials
            | Self::Sealed(_)
            | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}
