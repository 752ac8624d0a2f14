//! Routing policies in the management API.

use actix_web::{http::Method, web::Path};
use serde::{Deserialize, Serialize};
use shared::{
    failure::Problem,
    ids::PolicyId,
    snapshot::{Choice, Document, StagedBy, Tier},
};
use utoipa::ToSchema;

use super::{
    Draft, How, Policy, PolicyError, PolicyName, Publication, SavedDraft, StrandedKey, Stranding,
    Version, archive, check_document, commit, discard, draft_of, finish, known, publish, raise,
    restore, roll_back, save,
    simulate::{self, Simulation, Trial, USUAL},
    stranding, versions,
    web::policy_in,
    withdraw,
};
use crate::{
    access::{Doors, Grant, Work, may},
    web::{Created, Deleted, Failure, Input, Json, Problems},
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
    let draft = "/api/v1/orgs/{org}/policies/{policy}/draft";
    doors.api(Method::GET, draft, "Show a routing policy's draft", show_draft);
    doors.api(Method::PUT, draft, "Save a routing policy's draft", save_draft);
    doors.api(Method::DELETE, draft, "Discard a routing policy's draft", discard_draft);
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/policies/{policy}/simulate",
        "Decide a routing policy's last calls again, by its draft or another document",
        simulate,
    );
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/policies/{policy}/publish",
        "Publish a routing policy's draft, to all calls or to some",
        publish_draft,
    );
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/policies/{policy}/stage",
        "Give a staged version to more calls, to all or to none",
        change_stage,
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
    /// What it says. This or `tiers`.
    document: Option<Document>,
    /// A document of these alone, tried in this order.
    tiers: Option<Vec<Tier>>,
    note: Option<String>,
}

/// What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PolicyChange {
    name: Option<String>,
    /// What it is to say. This or `tiers`.
    document: Option<Document>,
    /// What holds where no rule does. All else of the document stays.
    tiers: Option<Vec<Tier>>,
    note: Option<String>,
    /// The version that the change is of. Another one by now refuses the change.
    expected_version: Option<i32>,
    archived: Option<bool>,
    /// Whether keys may be left without a model.
    nevertheless: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewDraft {
    /// As it is called now when left out.
    name: Option<String>,
    document: Document,
    note: Option<String>,
    /// The version that it is of. Another one by now refuses it.
    expected_version: Option<i32>,
}

/// A draft, and what its publication would mean.
#[derive(Serialize, ToSchema)]
struct WholeDraft {
    #[serde(flatten)]
    draft: SavedDraft,
    /// The keys that it would leave without a model.
    stranded: Vec<StrandedKey>,
}

/// By what the calls are decided again: the draft, where nothing is said.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Try {
    /// What another version said.
    version: Option<i32>,
    /// What the policy might say. Nothing of it is kept.
    document: Option<Document>,
    /// How many of the last calls, at most 5000; 1000 when left out.
    calls: Option<u32>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Publish {
    /// The draft's own when left out.
    note: Option<String>,
    /// To so many percent, from 1 to 99; to all when left out.
    percent: Option<u8>,
    /// Of what. Of keys when left out.
    by: Option<StagedBy>,
    /// Whether keys may be left without a model.
    nevertheless: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StageChange {
    /// 100 has all calls follow the version, and 0 none.
    percent: u8,
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
    let NewPolicy { name, document, tiers, note } = input.0;
    let document = match (document, tiers) {
        (Some(document), None) => document,
        (None, Some(tiers)) => Document::of_tiers(tiers),
        (None, None) | (Some(_), Some(_)) => return Err(either().into()),
    };
    let draft = Draft { name: name.parse()?, document, note: shortened(note) };
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
    let PolicyChange { name, document, tiers, note, expected_version, archived, nevertheless } =
        input.0;
    let name: Option<PolicyName> = name.as_deref().map(str::parse).transpose()?;
    let mut work = grant.begin().await?;
    if archived == Some(false) {
        restore(&mut work, policy).await?;
    }
    if name.is_some() || tiers.is_some() || document.is_some() {
        let before = super::find(&mut work, policy).await?;
        let document = match (document, tiers) {
            (Some(_), Some(_)) => return Err(either().into()),
            (Some(document), None) => document,
            (None, Some(tiers)) => Document {
                otherwise: Choice { tiers, ..before.document.otherwise },
                ..before.document
            },
            (None, None) => before.document,
        };
        let name = name.map_or_else(|| before.name.parse(), Ok)?;
        let draft = Draft { name, document, note: shortened(note) };
        let stranding = stranding_of(nevertheless);
        super::change(&mut work, policy, &draft, expected_version, stranding).await?;
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

async fn show_draft(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
) -> Result<Json<WholeDraft>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(whole_draft(&mut work, policy_in(&path.1)?).await?))
}

async fn save_draft(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    input: Input<NewDraft>,
) -> Result<Json<WholeDraft>, Failure> {
    let policy = policy_in(&path.1)?;
    let NewDraft { name, document, note, expected_version } = input.0;
    let mut work = grant.begin().await?;
    let name = match name {
        Some(name) => name,
        None => super::find(&mut work, policy).await?.name,
    };
    let draft = Draft { name: name.parse()?, document, note: shortened(note) };
    save(&mut work, policy, &draft, expected_version).await?;
    let whole = whole_draft(&mut work, policy).await?;
    work.commit().await?;
    Ok(Json(whole))
}

async fn discard_draft(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
) -> Result<Deleted, Failure> {
    let policy = policy_in(&path.1)?;
    let mut work = grant.begin().await?;
    discard(&mut work, policy).await?;
    work.commit().await?;
    Ok(Deleted)
}

async fn simulate(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    input: Input<Try>,
) -> Result<Json<Simulation>, Failure> {
    let policy = policy_in(&path.1)?;
    let Try { version, document, calls } = input.0;
    let mut work = grant.begin().await?;
    let trial = match (version, document) {
        (None, None) => Trial::Draft,
        (Some(version), None) => Trial::Version(version),
        (None, Some(document)) => {
            check_document(&mut work, &document).await?;
            Trial::Document(document.into())
        }
        (Some(_), Some(_)) => {
            let message = "say one of document and version".to_owned();
            return Err(Problems::from(vec![Problem { field: "version", message }]).into());
        }
    };
    Ok(Json(simulate::simulate(&mut work, policy, trial, calls.unwrap_or(USUAL)).await?))
}

async fn publish_draft(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    input: Input<Publish>,
) -> Result<Json<WholePolicy>, Failure> {
    let policy = policy_in(&path.1)?;
    let Publish { note, percent, by, nevertheless } = input.0;
    let publication = Publication {
        note: note.map(|it| shortened(Some(it))),
        how: percent.map_or(How::AtOnce, |it| How::Staged(it, by.unwrap_or(StagedBy::Keys))),
        stranding: stranding_of(nevertheless),
    };
    let mut work = grant.begin().await?;
    publish(&mut work, policy, &publication).await?;
    let whole = whole(&mut work, policy).await?;
    commit(&grant, work).await?;
    Ok(Json(whole))
}

async fn change_stage(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    input: Input<StageChange>,
) -> Result<Json<WholePolicy>, Failure> {
    let policy = policy_in(&path.1)?;
    let mut work = grant.begin().await?;
    match input.percent {
        0 => withdraw(&mut work, policy).await?,
        100 => finish(&mut work, policy).await?,
        percent => raise(&mut work, policy, percent).await?,
    }
    let whole = whole(&mut work, policy).await?;
    commit(&grant, work).await?;
    Ok(Json(whole))
}

async fn whole_draft(work: &mut Work, policy: PolicyId) -> Result<WholeDraft, PolicyError> {
    let draft = draft_of(work, policy).await?.ok_or(PolicyError::NoDraft)?;
    let before = super::find(work, policy).await?;
    let stranded = stranding(work, &before, &draft.name.parse()?, &draft.document).await?;
    Ok(WholeDraft { draft, stranded: stranded.0 })
}

fn either() -> Problems {
    let message = "say one of document and tiers".to_owned();
    vec![Problem { field: "document", message }].into()
}

fn stranding_of(nevertheless: Option<bool>) -> Stranding {
    if nevertheless == Some(true) { Stranding::Allow } else { Stranding::Refuse }
}

async fn whole(work: &mut Work, policy: PolicyId) -> Result<WholePolicy, PolicyError> {
    let policy = super::find(work, policy).await?;
    let hides_model = known(work).await?.is_model(&policy.name);
    Ok(WholePolicy { policy, hides_model })
}

fn shortened(note: Option<String>) -> String {
    note.unwrap_or_default().chars().filter(|it| !it.is_control()).take(200).collect()
}
