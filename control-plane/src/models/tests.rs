//! The catalogue, through its page and the API.

use actix_web::http::{Method, StatusCode};
use sqlx::PgPool;

use super::*;
use crate::{
    access::Role,
    testing::Fixture,
    upstreams::{put, tests::declared},
};

async fn scene(root: PgPool) -> Fixture {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let sealer = &fixture.platform.secrets.credentials;
    let mut acme = declared("Acme", "https://llm.example.com/v1", "sk-1");
    acme.models[0].capabilities.push(Capability::Tools);
    acme.models[1].input.push(Modality::Image);
    acme.models[1].deprecated_on = Some("2027-01-31".to_owned());
    acme.models[1].successor = Some("small".to_owned());
    put(&mut work, sealer, &acme).await.unwrap();
    let alias = policies::Draft {
        name: "fast".parse().unwrap(),
        document: serde_json::from_str(
            r#"{"otherwise": {"tiers": [{"targets": [{"model": "small"}]}]}}"#,
        )
        .unwrap(),
        note: String::new(),
    };
    policies::create(&mut work, &alias).await.unwrap();
    work.commit().await.unwrap();
    fixture
}

async fn names(fixture: &Fixture, change: impl FnOnce(&mut ModelQuery)) -> Vec<String> {
    let mut query = ModelQuery::default();
    change(&mut query);
    let mut work = fixture.work(Role::Viewer).await;
    let found = list(&mut work, &query).await.unwrap();
    found.into_iter().map(|it| it.offered.model.name).collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn models_are_found_by_what_they_can_do(root: PgPool) {
    let fixture = scene(root).await;
    assert_eq!(names(&fixture, |_| ()).await, ["large", "small"]);
    assert_eq!(names(&fixture, |it| it.q = " LAR".to_owned()).await, ["large"]);
    assert_eq!(names(&fixture, |it| it.capability = "tools".to_owned()).await, ["small"]);
    assert_eq!(names(&fixture, |it| it.reads = "image".to_owned()).await, ["large"]);
    assert_eq!(names(&fixture, |it| it.provider = "nobody".to_owned()).await, [""; 0]);
    let mut work = fixture.work_of(&fixture.theirs, Role::Owner).await;
    assert!(list(&mut work, &ModelQuery::default()).await.unwrap().is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn the_page_tells_aliases_and_ends(root: PgPool) {
    let fixture = scene(root).await;
    let admin = fixture.browser(Role::Admin).await;
    let page = admin.get("/orgs/ours/models").await;
    for words in ["also fast", "Ends 2027-01-31", "then small"] {
        page.says(StatusCode::OK, words);
    }
    admin.get("/orgs/ours/models?q=none").await.says(StatusCode::OK, "No models match");
    let page = admin.get("/orgs/ours/models?capability=flying").await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    let theirs = fixture.token(Role::Viewer, false).await;
    let path = "/orgs/ours/models?reads=image";
    let told = fixture.api(Some(&theirs), Method::GET, path, None).await.json();
    assert_eq!(told["data"][0]["name"], "large");
    assert_eq!(told["data"][0]["vendor"], "acme");
}

#[sqlx::test(migrations = "../migrations")]
async fn an_own_model_is_switched_off_where_it_is_listed(root: PgPool) {
    let fixture = scene(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let upstream = upstreams::list(&mut work).await.unwrap().remove(0).id.to_string();
    drop(work);
    let admin = fixture.browser(Role::Admin).await;
    let form = [("disable", format!("{upstream} small"))];
    let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = admin.post("/orgs/ours/models/enable?q=all", &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    assert_eq!(answer.location.as_deref(), Some("/orgs/ours/models?q=all"));
    admin.get("/orgs/ours/models").await.says(StatusCode::OK, "Enable small");
    let mut work = fixture.work(Role::Admin).await;
    let served = upstreams::served(&mut work).await.unwrap();
    assert_eq!(served.iter().map(|it| it.model.name.as_str()).collect::<Vec<_>>(), ["large"]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_long_catalogue_is_read_a_page_at_a_time(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let mut acme = declared("Acme", "https://llm.example.com/v1", "sk-1");
    acme.models = (10..55)
        .map(|number| {
            let mut model = acme.models[0].clone();
            (model.name, model.upstream_name) = (format!("m{number}"), format!("m{number}"));
            model
        })
        .collect();
    put(&mut work, &fixture.platform.secrets.credentials, &acme).await.unwrap();
    work.commit().await.unwrap();
    let viewer = fixture.browser(Role::Viewer).await;
    let provider = {
        let mut work = fixture.work(Role::Viewer).await;
        upstreams::list(&mut work).await.unwrap().remove(0).id
    };
    let shown = |body: &str| {
        let is_shown = |it: &i32| body.contains(&format!(">m{it}<"));
        (10..55).filter(is_shown).collect::<Vec<_>>()
    };
    let first = viewer.get("/orgs/ours/models?q=m").await;
    assert_eq!(shown(&first.body), Vec::from_iter(10..30));
    first.says(StatusCode::OK, &format!("?q=m&#38;after={provider}+m29"));
    let second = viewer.get(&format!("/orgs/ours/models?q=m&after={provider}+m29")).await;
    assert_eq!(shown(&second.body), Vec::from_iter(30..50));
    let last = viewer.get(&format!("/orgs/ours/providers/{provider}?after=m49")).await;
    assert_eq!(shown(&last.body), Vec::from_iter(50..55));
    assert!(!last.body.contains("Next page"));
}
