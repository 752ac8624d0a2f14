//! Defaults as the application sees them, and through their pages and the API.

use actix_web::http::{Method, StatusCode};
use serde_json::json;
use shared::snapshot::{Document, Target, Tier};
use sqlx::PgPool;

use super::*;
use crate::{
    access::Role,
    keys::tests::{new_key, project},
    limits,
    policies::{Draft, Stranding},
    testing::Fixture,
    upstreams::{self, tests::declared},
};

/// Where the models `small` and `large` are served to us, and `auto` leads to one of them; with a
/// project and a key.
struct Scene {
    fixture: Fixture,
    policy: PolicyId,
    project: ProjectId,
    key: ApiKeyId,
}

fn draft(name: &str) -> Draft {
    let target = Target { model: "small".to_owned(), provider: None, weight: 1 };
    let document = Document::of_tiers(vec![Tier { targets: vec![target] }]);
    Draft { name: name.parse().unwrap(), document, note: String::new() }
}

impl Scene {
    async fn new(root: PgPool) -> Self {
        let fixture = Fixture::new(root).await;
        let project = project(&fixture, &fixture.ours, "web").await;
        let mut work = fixture.work(Role::Admin).await;
        let sealer = &fixture.platform.secrets.credentials;
        let acme = declared("Acme", "https://llm.example.com/v1", "sk-1");
        upstreams::put(&mut work, sealer, &acme).await.unwrap();
        let policy = policies::create(&mut work, &draft("auto")).await.unwrap();
        let new = new_key(project, fixture.ours.person(Role::Developer));
        let key = keys::issue(&mut work, &new, None).await.unwrap().key;
        work.commit().await.unwrap();
        Self { fixture, policy, project, key }
    }

    fn all(&self) -> [Of; 3] {
        [Of::Organization, Of::Project(self.project), Of::Key(self.key)]
    }
}

fn said(default_model: Option<&str>, policy: Option<PolicyId>) -> Defaults {
    Defaults { default_model: default_model.map(str::to_owned), policy }
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_said_is_there_and_is_published(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.fixture.work(Role::Admin).await;
    for of in scene.all() {
        assert_eq!(show(&mut work, of).await.unwrap(), Defaults::default());
        let unknown = set(&mut work, of, &said(Some("tiny"), Some(PolicyId::generate()))).await;
        let DefaultError::Refused(problems) = unknown.unwrap_err() else { panic!("{of:?}") };
        assert!(problems.of("default_model").is_some() && problems.of("policy").is_some());
        let both = said(Some("auto"), Some(scene.policy));
        set(&mut work, of, &both).await.unwrap();
        set(&mut work, of, &said(Some("large"), both.policy)).await.unwrap();
        assert_eq!(show(&mut work, of).await.unwrap(), said(Some("large"), both.policy));
    }
    let organizations = limits::published_organizations(&mut work, None).await.unwrap();
    let projects = limits::published_projects(&mut work, None).await.unwrap();
    let told = snapshot::Routing::from(said(Some("large"), Some(scene.policy)));
    assert_eq!(organizations.iter().map(|it| &it.routing).collect::<Vec<_>>(), [&told]);
    assert_eq!(projects.iter().map(|it| &it.routing).collect::<Vec<_>>(), [&told]);
    let mut noted: Vec<String> = sqlx::query_scalar("SELECT DISTINCT entity FROM config_outbox")
        .fetch_all(&mut *work)
        .await
        .unwrap();
    noted.retain(|it| ["organization", "project", "key"].contains(&it.as_str()));
    assert_eq!(noted.len(), 3, "{noted:?}");
    for of in scene.all() {
        set(&mut work, of, &Defaults::default()).await.unwrap();
    }
    assert!(limits::published_organizations(&mut work, None).await.unwrap().is_empty());
    assert!(limits::published_projects(&mut work, None).await.unwrap().is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_policy_that_somebody_goes_by_stays(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.fixture.work(Role::Admin).await;
    set(&mut work, Of::Key(scene.key), &said(None, Some(scene.policy))).await.unwrap();
    set(&mut work, Of::Project(scene.project), &said(Some("auto"), None)).await.unwrap();
    let refused = policies::archive(&mut work, scene.policy).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict);
    assert_eq!(
        refused.to_string(),
        "it is in use: the project \"web\", the key \"ci\" go by it. Let them go by another first"
    );
    let rename = async |work: &mut Work| {
        policies::change(work, scene.policy, &draft("other"), None, Stranding::Refuse).await
    };
    let refused = rename(&mut work).await.unwrap_err().to_string();
    assert!(refused.contains("the project \"web\" goes by it"), "{refused}");
    set(&mut work, Of::Project(scene.project), &Defaults::default()).await.unwrap();
    // The key goes by it whatever it is called.
    rename(&mut work).await.unwrap();
    assert!(policies::archive(&mut work, scene.policy).await.is_err());
    set(&mut work, Of::Key(scene.key), &Defaults::default()).await.unwrap();
    policies::archive(&mut work, scene.policy).await.unwrap();
    let archived = set(&mut work, Of::Organization, &said(None, Some(scene.policy))).await;
    assert!(archived.unwrap_err().problems()[0].message.contains("restore it first"));
}

#[sqlx::test(migrations = "../migrations")]
async fn defaults_of_others_are_out_of_reach(root: PgPool) {
    let scene = Scene::new(root).await;
    let (ours, theirs) = (scene.fixture.ours.id, &scene.fixture.theirs);
    let mut work = scene.fixture.work_of(theirs, Role::Owner).await;
    for of in [Of::Project(scene.project), Of::Key(scene.key)] {
        assert_eq!(show(&mut work, of).await.unwrap_err().kind(), Kind::NotFound);
        let set = set(&mut work, of, &Defaults::default()).await;
        assert_eq!(set.unwrap_err().kind(), Kind::NotFound);
    }
    let own = set(&mut work, Of::Organization, &said(None, Some(scene.policy))).await;
    assert!(own.unwrap_err().problems()[0].message.contains("no such policy"));
    // Even where a statement names the wrong organization.
    let ids = Of::Organization.ids();
    assert!(store::put(&mut work, ours, ids, &said(Some("auto"), None)).await.is_err());
    let mut work = scene.fixture.work(Role::Admin).await;
    set(&mut work, Of::Organization, &said(Some("auto"), None)).await.unwrap();
    work.commit().await.unwrap();
    let mut work = scene.fixture.work_of(theirs, Role::Owner).await;
    assert_eq!(store::find(&mut work, ours, ids).await.unwrap(), None);
}

#[sqlx::test(migrations = "../migrations")]
async fn each_has_a_page_and_a_form(root: PgPool) {
    let scene = Scene::new(root).await;
    let admin = scene.fixture.browser(Role::Admin).await;
    let viewer = scene.fixture.browser(Role::Viewer).await;
    let policy = scene.policy.to_string();
    for path in [
        "/orgs/ours/settings/routing".to_owned(),
        format!("/orgs/ours/projects/{}/routing", scene.project),
        format!("/orgs/ours/keys/{}/routing", scene.key),
    ] {
        let form = [("default_model", " tiny "), ("policy", policy.as_str())];
        let page = admin.post(&path, &form).await;
        page.says(StatusCode::UNPROCESSABLE_ENTITY, "there is no model or policy");
        assert!(page.body.contains("value=\" tiny \""));
        let form = [("default_model", "large"), ("policy", policy.as_str())];
        assert_eq!(admin.post(&path, &form).await.status, StatusCode::SEE_OTHER);
        admin.get(&path).await.says(StatusCode::OK, "value=\"large\"");
        let page = viewer.get(&path).await;
        page.says(StatusCode::OK, "large");
        assert!(page.body.contains("auto") && !page.body.contains("Save routing"));
        assert_eq!(viewer.post(&path, &form).await.status, StatusCode::FORBIDDEN);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn the_api_sets_and_shows_them(root: PgPool) {
    let scene = Scene::new(root).await;
    let token = scene.fixture.token(Role::Admin, false).await;
    for path in [
        "/orgs/ours/routing".to_owned(),
        format!("/orgs/ours/projects/{}/routing", scene.project),
        format!("/orgs/ours/keys/{}/routing", scene.key),
    ] {
        let call = async |method, body| scene.fixture.api(Some(&token), method, &path, body).await;
        let body = json!({ "default_model": "auto", "policy": scene.policy });
        assert_eq!(call(Method::PUT, Some(body.clone())).await.json(), body);
        assert_eq!(call(Method::GET, None).await.json(), body);
        let wrong = json!({ "default_model": "tiny", "policy": null });
        let refused = call(Method::PUT, Some(wrong)).await;
        refused.says(StatusCode::BAD_REQUEST, "there is no model or policy");
    }
}
