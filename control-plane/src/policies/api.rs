//! Routing policies in the management API.

use actix_web::{http::Method, web::Path};
use serde::{Deserialize, Serialize};
use shared::{ids::PolicyId, snapshot::Tier};
use utoipa::ToSchema;

use super::{
    Draft, Policy, PolicyError, PolicyName, Version, archive, commit, known, restore, roll_back,
    versions, web::policy_in,
};
use crate::{
    access::{Doors, Grant, Work, may},
    web::{Created, Failure, Input, Json},
};

pub fn doors(doors: &mut Doors) {
    let all = "/api/v1/orgs/{org}/policies";
    let one = "/api/v1/orgs/{org}/policies/{policy}";
    doors.api(Method::GET, all, "List routing policies", list);
    doors.api(Method::POST, all, "Create a routing policy", create);
    doors.api(Method::GET, one, "Show a routing policy", show);
    doors.api(Method::PATCH, one, "Change or archive a routing policy", change);
    doors.api(
        Method::GET,
        "/api/v1/orgs/{org}/policies/{policy}/versions",
        "List what a routing policy was",
        list_versions,
    );
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/policies/{policy}/roll-back",
        "Make a new version that says what an old one said",
        go_back,
    );
}

#[derive(Serialize, ToSchema)]
struct Policies {
    data: Vec<Policy>,
}

#[derive(Serialize, ToSchema)]
struct Versions {
    data: Vec<Version>,
}

#[derive(Serialize, ToSchema)]
struct WholePolicy {
    #[serde(flatten)]
    policy: Policy,
    /// Whether a model has the same name: callers who say it get the policy.
    hides_model: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPolicy {
    /// What callers say instead of a model.
    name: String,
    /// Tried in this order.
    tiers: Vec<Tier>,
    note: Option<String>,
}

/// What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PolicyChange {
    name: Option<String>,
    tiers: Option<Vec<Tier>>,
    note: Option<String>,
    /// The version that the change is of. Another one by now refuses the change.
    expected_version: Option<i32>,
    archived: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RollBack {
    version: i32,
}

async fn list(grant: Grant<may::ViewCatalogue>) -> Result<Json<Policies>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(Policies { data: super::list(&mut work).await? }))
}

async fn create(
    grant: Grant<may::ManagePolicies>,
    input: Input<NewPolicy>,
) -> Result<Created<WholePolicy>, Failure> {
    let NewPolicy { name, tiers, note } = input.0;
    let draft = Draft { name: name.parse()?, tiers, note: shortened(note) };
    let mut work = grant.begin().await?;
    let policy = super::create(&mut work, &draft).await?;
    let whole = whole(&mut work, policy).await?;
    commit(&grant, work).await?;
    Ok(Created(whole))
}

async fn show(
    grant: Grant<may::ViewCatalogue>,
    path: Path<(String, String)>,
) -> Result<Json<WholePolicy>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(whole(&mut work, policy_in(&path.1)?).await?))
}

async fn change(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    input: Input<PolicyChange>,
) -> Result<Json<WholePolicy>, Failure> {
    let policy = policy_in(&path.1)?;
    let PolicyChange { name, tiers, note, expected_version, archived } = input.0;
    let name: Option<PolicyName> = name.as_deref().map(str::parse).transpose()?;
    let mut work = grant.begin().await?;
    if archived == Some(false) {
        restore(&mut work, policy).await?;
    }
    if name.is_some() || tiers.is_some() {
        let before = super::find(&mut work, policy).await?;
        let draft = Draft {
            name: name.map_or_else(|| before.name.parse(), Ok)?,
            tiers: tiers.unwrap_or(before.tiers),
            note: shortened(note),
        };
        super::change(&mut work, policy, &draft, expected_version).await?;
    }
    if archived == Some(true) {
        archive(&mut work, policy).await?;
    }
    let whole = whole(&mut work, policy).await?;
    commit(&grant, work).await?;
    Ok(Json(whole))
}

async fn list_versions(
    grant: Grant<may::ViewCatalogue>,
    path: Path<(String, String)>,
) -> Result<Json<Versions>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(Versions { data: versions(&mut work, policy_in(&path.1)?).await? }))
}

async fn go_back(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    input: Input<RollBack>,
) -> Result<Json<WholePolicy>, Failure> {
    let policy = policy_in(&path.1)?;
    let mut work = grant.begin().await?;
    roll_back(&mut work, policy, input.version).await?;
    let whole = whole(&mut work, policy).await?;
    commit(&grant, work).await?;
    Ok(Json(whole))
}

async fn whole(work: &mut Work, policy: PolicyId) -> Result<WholePolicy, PolicyError> {
    let policy = super::find(work, policy).await?;
    let hides_model = known(work).await?.is_model(&policy.name);
    Ok(WholePolicy { policy, hides_model })
}

fn shortened(note: Option<String>) -> String {
    note.unwrap_or_default().chars().filter(|it| !it.is_control()).take(200).collect()
}
