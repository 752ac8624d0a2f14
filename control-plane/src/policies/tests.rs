//! Policies as the application sees them, and through their pages and the API.

mod drafting;
mod editing;
mod platform;

use actix_web::http::{Method, StatusCode};
use serde_json::json;
use shared::{
    failure::{Classified, Kind},
    snapshot::{Document, Target},
};
use sqlx::PgPool;

use super::*;
use crate::{
    access::{Actor, Origin, Role},
    testing::Fixture,
    upstreams::{self, tests::declared},
};

fn target(model: &str, weight: u16) -> Target {
    Target { model: model.to_owned(), provider: None, weight }
}

fn draft(name: &str, tiers: &[&[Target]]) -> Draft {
    let tier = |it: &&[Target]| Tier { targets: it.to_vec() };
    Draft {
        name: name.parse().unwrap(),
        document: Document::of_tiers(tiers.iter().map(tier).collect()),
        note: String::new(),
    }
}

/// Where the models `small` and `large` are served to us.
async fn scene(root: PgPool) -> Fixture {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let sealer = &fixture.platform.secrets.credentials;
    let acme = declared("Acme", "https://llm.example.com/v1", "sk-1");
    upstreams::put(&mut work, sealer, &acme).await.unwrap();
    work.commit().await.unwrap();
    fixture
}

async fn versions_of(work: &mut Work, policy: PolicyId) -> Vec<(i32, Document)> {
    let all = versions(work, policy).await.unwrap();
    all.into_iter().map(|it| (it.version, it.document)).collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn each_change_is_a_version_and_going_back_is_one_too(root: PgPool) {
    let fixture = scene(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let one = draft("auto", &[&[target("small", 1)]]);
    let two = draft("auto", &[&[target("small", 3), target("large", 1)]]);
    let policy = create(&mut work, &one).await.unwrap();
    change(&mut work, policy, &one, None, Stranding::Refuse).await.unwrap();
    change(&mut work, policy, &two, Some(1), Stranding::Refuse).await.unwrap();
    let late = change(&mut work, policy, &one, Some(1), Stranding::Refuse).await.unwrap_err();
    assert!(matches!(late, PolicyError::Outdated));
    roll_back(&mut work, policy, 1).await.unwrap();
    assert!(matches!(roll_back(&mut work, policy, 9).await, Err(PolicyError::NoVersion)));

    let (first, second) = (one.document, two.document);
    let expected = [(3, first.clone()), (2, second), (1, first.clone())];
    assert_eq!(versions_of(&mut work, policy).await, expected);
    let told = published(&mut work, None).await.unwrap();
    let expected = snapshot::Policy {
        id: policy,
        organization: Some(work.organization),
        name: "auto".to_owned(),
        version: 3,
        document: first,
        staged: None,
    };
    assert_eq!(told, [expected]);
    assert!(published(&mut work, Some(&[PolicyId::generate()])).await.unwrap().is_empty());
    // What was, stays: the application may not rewrite it.
    let rewritten = sqlx::query("UPDATE policy_versions SET document = '{}'").execute(&mut *work);
    assert!(rewritten.await.is_err());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_policy_leads_to_models_that_there_are(root: PgPool) {
    let fixture = scene(root).await;
    let mut work = fixture.work(Role::Admin).await;
    assert_eq!(example(&mut work).await.unwrap().as_deref(), Some("small"));
    create(&mut work, &draft("auto", &[&[target("small", 1)]])).await.unwrap();
    assert_eq!(example(&mut work).await.unwrap().as_deref(), Some("auto"));
    let refused = create(&mut work, &draft("x", &[&[target("auto", 1)]])).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid);
    let told = refused.problems().remove(0);
    assert_eq!(told.field, "tiers");
    assert!(told.message.starts_with("tiers[0].targets[0].model: "), "{}", told.message);
    // A model's own name is allowed, and leads to the model.
    let small = create(&mut work, &draft("small", &[&[target("small", 1)]])).await.unwrap();
    assert!(known(&mut work).await.unwrap().is_model("small"));
    archive(&mut work, small).await.unwrap();
    assert_eq!(published(&mut work, None).await.unwrap().len(), 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn an_archived_name_is_free(root: PgPool) {
    let fixture = scene(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let auto = draft("auto", &[&[target("small", 1)]]);
    let first = create(&mut work, &auto).await.unwrap();
    archive(&mut work, first).await.unwrap();
    create(&mut work, &auto).await.unwrap();
    work.commit().await.unwrap();
    let mut work = fixture.work(Role::Admin).await;
    assert!(matches!(restore(&mut work, first).await, Err(PolicyError::NameTaken)));
    let mut work = fixture.work(Role::Admin).await;
    assert!(matches!(create(&mut work, &auto).await, Err(PolicyError::NameTaken)));
}

#[sqlx::test(migrations = "../migrations")]
async fn another_tenants_policy_is_out_of_reach(root: PgPool) {
    let fixture = scene(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let policy = create(&mut work, &draft("auto", &[&[target("small", 1)]])).await.unwrap();
    let ours = work.organization;
    work.commit().await.unwrap();
    let mut work = fixture.work_of(&fixture.theirs, Role::Owner).await;
    assert!(matches!(find(&mut work, policy).await, Err(PolicyError::NotFound)));
    assert!(list(&mut work).await.unwrap().is_empty());
    assert!(versions(&mut work, policy).await.is_err());
    // Even where a statement names the wrong organization.
    assert!(store::find(&mut work, ours, policy).await.unwrap().is_none());
    assert!(store::versions(&mut work, ours, policy).await.unwrap().is_empty());
    store::set_archived(&mut work, ours, policy, true).await.unwrap();
    work.commit().await.unwrap();
    let mut work = fixture.work(Role::Admin).await;
    assert!(!find(&mut work, policy).await.unwrap().is_archived());
}

#[sqlx::test(migrations = "../migrations")]
async fn the_platforms_policy_is_everybodys_and_nobodys_to_change(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let (db, platform) = (&fixture.db, audit::PLATFORM);
    let mut work = Work::begin(db, platform, Actor::System, Origin::internal()).await.unwrap();
    let sealer = &fixture.platform.secrets.credentials;
    let simulator = declared("Simulator", "http://127.0.0.1:9/v1", "sk-1");
    upstreams::put(&mut work, sealer, &simulator).await.unwrap();
    let auto = draft("auto", &[&[target("small", 1)], &[target("large", 1)]]);
    let policy = ensure(&mut work, &auto).await.unwrap();
    assert_eq!(ensure(&mut work, &auto).await.unwrap(), policy);
    work.commit().await.unwrap();

    let mut work = fixture.work(Role::Owner).await;
    let seen = find(&mut work, policy).await.unwrap();
    assert_eq!((seen.is_platforms, seen.version), (true, 1));
    let refused = archive(&mut work, policy).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden);
    // One's own of the same name stands beside it.
    let own = ensure(&mut work, &draft("auto", &[&[target("large", 1)]])).await.unwrap();
    assert_ne!(own, policy);
    let told = published(&mut work, Some(&[policy])).await.unwrap().remove(0);
    assert_eq!(told.organization, None);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_policy_is_made_and_changed_in_a_form(root: PgPool) {
    let fixture = scene(root).await;
    let admin = fixture.browser(Role::Admin).await;
    let page = admin.get("/orgs/ours/policies").await;
    page.says(StatusCode::OK, "No policies of your own yet");
    let page = admin.get("/orgs/ours/policies/new?model=small").await;
    page.says(StatusCode::OK, "value=\"small\"");
    let row = |tier, model, weight| {
        [("tier", tier), ("model", model), ("provider", ""), ("weight", weight)]
    };
    let form = |rows: [[(&'static str, &'static str); 4]; 2]| {
        let mut form = vec![("name", "auto"), ("note", "cheap first")];
        form.extend(rows.into_iter().flatten());
        form
    };
    let wrong = form([row("1", "small", "1"), row("2", "tiny", "1")]);
    let page = admin.post("/orgs/ours/policies", &wrong).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "Row 2: tiers[1].targets[0].model: there is no");
    let right = form([row("1", "small", "1"), row("2", "large", "1")]);
    let answer = admin.post("/orgs/ours/policies", &right).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    let path = answer.location.unwrap();
    admin.get(&path).await.says(StatusCode::OK, "small; then large");
    admin.get(&format!("{path}/edit")).await.says(StatusCode::OK, "Save draft");
    let mut changed = form([row("1", "large", "1"), row("1", "", "1")]);
    changed.push(("seen", "1"));
    let answer = admin.post(&path, &changed).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    // Nothing took effect yet.
    let page = admin.get(&path).await;
    page.says(StatusCode::OK, "small; then large");
    page.says(StatusCode::OK, "Not in force");
    let published = admin.post(&format!("{path}/publish"), &[("note", "large now")]).await;
    assert_eq!(published.status, StatusCode::SEE_OTHER, "{}", published.body);
    let late = admin.post(&path, &changed).await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{}", late.body);
    let back = admin.post(&format!("{path}/roll-back"), &[("version", "1")]).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER);
    admin.get(&path).await.says(StatusCode::OK, "Version 3");
    let page = fixture.browser(Role::Viewer).await.get(&path).await;
    page.says(StatusCode::OK, "Back to version 1");
    assert!(!page.body.contains("Go back</button>"));
}

#[sqlx::test(migrations = "../migrations")]
async fn the_api_names_the_path_of_what_is_wrong(root: PgPool) {
    let fixture = scene(root).await;
    let token = fixture.token(Role::Admin, false).await;
    let call = async |method, path: &str, body| {
        fixture.api(Some(&token), method, &format!("/orgs/ours/policies{path}"), body).await
    };
    let body = json!({ "name": "small", "tiers": [{ "targets": [
        { "model": "small", "provider": "nobody", "weight": 1 },
    ] }] });
    let refused = call(Method::POST, "", Some(body)).await;
    refused.says(StatusCode::BAD_REQUEST, "tiers[0].targets[0].provider");
    let body = json!({ "name": "small", "tiers": [{ "targets": [
        { "model": "small", "provider": "acme", "weight": 1 },
    ] }] });
    let made = call(Method::POST, "", Some(body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let made = made.json();
    assert_eq!((&made["hides_model"], &made["version"]), (&json!(true), &json!(1)));
    let path = format!("/{}", made["id"].as_str().unwrap());
    let late = json!({ "name": "tiny", "expected_version": 7 });
    assert_eq!(call(Method::PATCH, &path, Some(late)).await.status, StatusCode::CONFLICT);
    let changed = call(Method::PATCH, &path, Some(json!({ "name": "tiny" }))).await.json();
    assert_eq!((&changed["hides_model"], &changed["version"]), (&json!(false), &json!(2)));
    let to = Some(json!({ "version": 1 }));
    let back = call(Method::POST, &format!("{path}/roll-back"), to).await;
    assert_eq!(back.json()["name"], "small");
    let versions = call(Method::GET, &format!("{path}/versions"), None).await.json();
    assert_eq!(versions["data"].as_array().unwrap().len(), 3);
}
