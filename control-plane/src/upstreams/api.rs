//! Providers in the management API.

use actix_web::{http::Method, web::Path};
use serde::{Deserialize, Serialize};
use shared::{
    ids::UpstreamId,
    money::Price,
    snapshot::{Assurances, Dialect, Model},
    vendors,
};
use utoipa::ToSchema;

use super::{
    Connection, Credential, Draft, NewCredential, OfferedModel, TypedTimeouts, Upstream,
    UpstreamError, archive, commit, connection, credentials, known_models, models,
    prices::{self, Revision},
    restore, set_enabled,
    web::{credential_in, upstream_in},
};
use crate::{
    access::{Doors, Grant, may},
    web::{Created, Deleted, Failure, Input, Json, Problems, Search, given},
};

pub fn doors(doors: &mut Doors) {
    let all = "/api/v1/orgs/{org}/providers";
    let one = "/api/v1/orgs/{org}/providers/{provider}";
    doors.api(Method::GET, all, "List providers", list);
    doors.api(Method::POST, all, "Add a provider", create);
    doors.api(Method::GET, one, "Show a provider", show);
    doors.api(Method::PATCH, one, "Change, disable or archive a provider", change);
    let credentials = "/api/v1/orgs/{org}/providers/{provider}/credentials";
    let credential = "/api/v1/orgs/{org}/providers/{provider}/credentials/{credential}";
    doors.api(Method::POST, credentials, "Add a credential to a provider", add_credential);
    doors.api(Method::PATCH, credential, "Change or replace a credential", change_credential);
    doors.api(Method::DELETE, credential, "Remove a credential", remove_credential);
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/providers/{provider}/credentials/{credential}/test",
        "Test the connection with a credential",
        test_credential,
    );
    doors.api(
        Method::PUT,
        "/api/v1/orgs/{org}/providers/{provider}/models",
        "Add a model to a provider, or replace it",
        put_model,
    );
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/providers/{provider}/models/enable",
        "Enable or disable a model, also one of the platform's",
        enable_model,
    );
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/providers/{provider}/models/remove",
        "Remove a model from a provider",
        remove_model,
    );
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/providers/{provider}/models/known",
        "Add the models of its vendor that the catalogue knows",
        add_known_models,
    );
    let price = "/api/v1/orgs/{org}/providers/{provider}/models/price";
    doors.api(Method::GET, price, "List the prices that a model had", list_prices);
    doors.api(Method::PUT, price, "Say what a model costs from now on", put_price);
}

#[derive(Serialize, ToSchema)]
struct Upstreams {
    data: Vec<Upstream>,
}

#[derive(Serialize, ToSchema)]
struct WholeUpstream {
    #[serde(flatten)]
    upstream: Upstream,
    credential_list: Vec<Credential>,
    model_list: Vec<OfferedModel>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUpstreamBody {
    /// A vendor that we know, like `openai` or `deepseek`, or another's word for itself.
    vendor: String,
    /// The vendor's own when left out, and so on for what follows.
    name: Option<String>,
    dialect: Option<Dialect>,
    base_url: Option<String>,
    region: Option<String>,
    timeouts: Option<TimeoutsBody>,
    /// What its contract assures. What is left out is not assured.
    assurances: Option<Assurances>,
    /// The vendor's key. Kept sealed, for this address alone, and never told again.
    secret: Option<String>,
    /// Those that we know of the vendor when left out.
    models: Option<Vec<Model>>,
}

/// In seconds, from 1 to 86400. What is left out is what the proxies were configured with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TimeoutsBody {
    /// Until an answer begins.
    first_byte_seconds: Option<i64>,
    /// Between two pieces of an answer.
    idle_seconds: Option<i64>,
    /// For an answer as a whole.
    total_seconds: Option<i64>,
}

impl TimeoutsBody {
    fn typed(&self) -> TypedTimeouts {
        let typed = |it: Option<i64>| it.map(|it| it.to_string()).unwrap_or_default();
        TypedTimeouts {
            first_byte: typed(self.first_byte_seconds),
            idle: typed(self.idle_seconds),
            total: typed(self.total_seconds),
        }
    }
}

/// What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpstreamChange {
    name: Option<String>,
    dialect: Option<Dialect>,
    /// Another address drops the credentials: they were entered for this one.
    base_url: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    region: Option<Option<String>>,
    /// All three at once.
    timeouts: Option<TimeoutsBody>,
    /// Both at once.
    assurances: Option<Assurances>,
    /// Of the platform's provider, for the organization alone.
    enabled: Option<bool>,
    archived: Option<bool>,
}

impl UpstreamChange {
    /// Whether it says anything about the place.
    fn is_of_place(&self) -> bool {
        self.name.is_some()
            || self.dialect.is_some()
            || self.base_url.is_some()
            || self.region.is_some()
            || self.timeouts.is_some()
            || self.assurances.is_some()
    }

    fn draft(&self, before: &Upstream) -> Draft {
        let kept = Draft::of(before);
        Draft {
            name: self.name.clone().unwrap_or(kept.name),
            dialect: self.dialect.or(kept.dialect),
            base_url: self.base_url.clone().unwrap_or(kept.base_url),
            region: self.region.clone().map_or(kept.region, |it| it.unwrap_or_default()),
            timeouts: self.timeouts.as_ref().map_or(kept.timeouts, TimeoutsBody::typed),
            assurances: self.assurances.unwrap_or(kept.assurances),
            vendor: kept.vendor,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCredentialBody {
    label: String,
    /// 1 when left out.
    weight: Option<i64>,
    secret: String,
}

/// What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CredentialChange {
    label: Option<String>,
    weight: Option<i64>,
    enabled: Option<bool>,
    /// Another secret in the place of the one that is there.
    secret: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Tested {
    result: Connection,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NamedModel {
    name: String,
}

/// Of the platform's model, for the organization alone.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ModelSwitch {
    name: String,
    enabled: bool,
}

/// Which model, by the name that callers say.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct ModelName {
    name: String,
}

#[derive(Serialize, ToSchema)]
struct Prices {
    /// The latest first.
    data: Vec<Revision>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPrice {
    name: String,
    /// In pico-dollars: a dollar for a million tokens is 1,000,000 for one. Null says that
    /// nobody knows.
    price: Option<Price>,
}

async fn list(grant: Grant<may::ViewCatalogue>) -> Result<Json<Upstreams>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(Upstreams { data: super::list(&mut work).await? }))
}

async fn create(
    grant: Grant<may::ManageProviders>,
    input: Input<NewUpstreamBody>,
) -> Result<Created<WholeUpstream>, Failure> {
    let body = input.0;
    let draft = Draft {
        vendor: body.vendor.clone(),
        name: body.name.unwrap_or_default(),
        dialect: body.dialect,
        base_url: body.base_url.unwrap_or_default(),
        region: body.region.unwrap_or_default(),
        timeouts: body.timeouts.as_ref().map(TimeoutsBody::typed).unwrap_or_default(),
        assurances: body.assurances.unwrap_or_default(),
    };
    let secret = body.secret.unwrap_or_default();
    let secret = match vendors::find(&body.vendor) {
        Some(vendor) => credentials::first_secret(vendor, &secret),
        None => credentials::secret(&secret),
    };
    let (place, secret) = Problems::both(draft.place(&grant.platform.egress), secret)?;
    let chosen = match body.models {
        Some(models) => models.into_iter().map(models::checked).collect::<Result<_, _>>()?,
        None => known_models(&body.vendor),
    };
    let mut work = grant.begin().await?;
    let upstream = super::add(&mut work, &place, &chosen).await?;
    let sealer = &grant.platform.secrets.credentials;
    credentials::add(&mut work, sealer, upstream, &NewCredential::first(), &secret).await?;
    let whole = whole(&mut work, upstream).await?;
    commit(&grant, work).await?;
    Ok(Created(whole))
}

async fn show(
    grant: Grant<may::ViewCatalogue>,
    path: Path<(String, String)>,
) -> Result<Json<WholeUpstream>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(whole(&mut work, upstream_in(&path.1)?).await?))
}

async fn change(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    input: Input<UpstreamChange>,
) -> Result<Json<WholeUpstream>, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    if input.archived == Some(false) {
        restore(&mut work, upstream).await?;
    }
    if input.is_of_place() {
        let before = super::find(&mut work, upstream).await?;
        let place = input.draft(&before).place(&grant.platform.egress)?;
        super::change(&mut work, upstream, &place).await?;
    }
    if let Some(enabled) = input.enabled {
        set_enabled(&mut work, upstream, enabled).await?;
    }
    if input.archived == Some(true) {
        archive(&mut work, upstream).await?;
    }
    let whole = whole(&mut work, upstream).await?;
    commit(&grant, work).await?;
    Ok(Json(whole))
}

async fn add_credential(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    input: Input<NewCredentialBody>,
) -> Result<Created<Credential>, Failure> {
    let upstream = upstream_in(&path.1)?;
    let (label, weight) = terms(Some(&input.label), Some(input.weight.unwrap_or(1)));
    let ((label, weight), secret) =
        Problems::both(Problems::both(label, weight), credentials::secret(&input.secret))?;
    let new = NewCredential { label: label.unwrap_or_default(), weight: weight.unwrap_or(1) };
    let mut work = grant.begin().await?;
    let sealer = &grant.platform.secrets.credentials;
    let credential = credentials::add(&mut work, sealer, upstream, &new, &secret).await?;
    let credential = credentials::one(&mut work, upstream, credential).await?;
    commit(&grant, work).await?;
    Ok(Created(credential))
}

async fn change_credential(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String, String)>,
    input: Input<CredentialChange>,
) -> Result<Json<Credential>, Failure> {
    let (upstream, credential) = (upstream_in(&path.1)?, credential_in(&path.2)?);
    let (label, weight) = terms(input.label.as_deref(), input.weight);
    let secret = input.secret.as_deref().map(credentials::secret).transpose();
    let ((label, weight), secret) = Problems::both(Problems::both(label, weight), secret)?;
    let mut work = grant.begin().await?;
    let change = credentials::Change { label, weight, enabled: input.enabled };
    credentials::change(&mut work, upstream, credential, change).await?;
    if let Some(secret) = secret {
        let sealer = &grant.platform.secrets.credentials;
        credentials::rotate(&mut work, sealer, upstream, credential, &secret).await?;
    }
    let credential = credentials::one(&mut work, upstream, credential).await?;
    commit(&grant, work).await?;
    Ok(Json(credential))
}

type Checked<T> = Result<Option<T>, Problems>;

/// What was given, checked.
fn terms(label: Option<&str>, weight: Option<i64>) -> (Checked<String>, Checked<i16>) {
    let label = label.map(credentials::label).transpose();
    let weight = weight.map(credentials::weight).transpose();
    (
        label.map_err(|error| Problems::one("label", error)),
        weight.map_err(|error| Problems::one("weight", error)),
    )
}

async fn remove_credential(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String, String)>,
) -> Result<Deleted, Failure> {
    let (upstream, credential) = (upstream_in(&path.1)?, credential_in(&path.2)?);
    let mut work = grant.begin().await?;
    credentials::remove(&mut work, upstream, credential).await?;
    commit(&grant, work).await?;
    Ok(Deleted)
}

async fn test_credential(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String, String)>,
) -> Result<Json<Tested>, Failure> {
    let (upstream, credential) = (upstream_in(&path.1)?, credential_in(&path.2)?);
    Ok(Json(Tested { result: connection::test(&grant, upstream, credential).await? }))
}

async fn put_model(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    input: Input<OfferedModel>,
) -> Result<Json<OfferedModel>, Failure> {
    let upstream = upstream_in(&path.1)?;
    let OfferedModel { model, enabled } = input.0;
    let offered = OfferedModel { model: models::checked(model)?, enabled };
    let mut work = grant.begin().await?;
    models::put(&mut work, upstream, &offered).await?;
    let kept = models::one(&mut work, upstream, &offered.model.name).await?;
    commit(&grant, work).await?;
    Ok(Json(kept))
}

async fn add_known_models(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
) -> Result<Json<WholeUpstream>, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    models::add_known(&mut work, upstream).await?;
    let whole = whole(&mut work, upstream).await?;
    commit(&grant, work).await?;
    Ok(Json(whole))
}

async fn list_prices(
    grant: Grant<may::ViewCatalogue>,
    path: Path<(String, String)>,
    query: Search<ModelName>,
) -> Result<Json<Prices>, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    Ok(Json(Prices { data: prices::history(&mut work, upstream, &query.name).await? }))
}

async fn put_price(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    input: Input<NewPrice>,
) -> Result<Json<OfferedModel>, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    prices::set(&mut work, upstream, &input.name, input.price.as_ref()).await?;
    let model = models::one(&mut work, upstream, &input.name).await?;
    commit(&grant, work).await?;
    Ok(Json(model))
}

async fn enable_model(
    grant: Grant<may::ManageModels>,
    path: Path<(String, String)>,
    input: Input<ModelSwitch>,
) -> Result<Json<OfferedModel>, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    models::set_enabled(&mut work, upstream, &input.name, input.enabled).await?;
    let offered = models::one(&mut work, upstream, &input.name).await?;
    commit(&grant, work).await?;
    Ok(Json(offered))
}

async fn remove_model(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    input: Input<NamedModel>,
) -> Result<Deleted, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    models::remove(&mut work, upstream, &input.name).await?;
    commit(&grant, work).await?;
    Ok(Deleted)
}

async fn whole(
    work: &mut crate::access::Work,
    upstream: UpstreamId,
) -> Result<WholeUpstream, UpstreamError> {
    Ok(WholeUpstream {
        upstream: super::find(work, upstream).await?,
        credential_list: credentials::list(work, upstream).await?,
        model_list: models::list(work, upstream).await?,
    })
}
