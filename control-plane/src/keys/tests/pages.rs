//! Keys through their pages and the management API.

use actix_web::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::testing::http::Answer;

/// The secret on a page, or in an answer of the API.
#[track_caller]
fn secret_in(text: &str) -> SecretString {
    let from = text.find("tpk_").expect("a secret is shown");
    let secret: String =
        text[from..].chars().take_while(|it| it.is_ascii_alphanumeric() || *it == '_').collect();
    Presented::parse(&SecretString::from(secret.clone())).expect("the secret is whole");
    secret.into()
}

async fn scene(root: PgPool) -> (Fixture, ProjectId) {
    let fixture = Fixture::new(root).await;
    let project = project(&fixture, &fixture.ours, "web").await;
    (fixture, project)
}

/// The only key there is.
async fn only_key(fixture: &Fixture) -> ApiKey {
    let mut work = fixture.work(Role::Viewer).await;
    let all = Filter { which: Which::All, project: None, span: Span::page(None) };
    let mut keys = list(&mut work, &all).await.unwrap().items;
    assert_eq!(keys.len(), 1);
    keys.remove(0)
}

#[sqlx::test(migrations = "../migrations")]
async fn a_name_is_enough_for_a_key(root: PgPool) {
    let (fixture, project) = scene(root).await;
    let browser = fixture.browser(Role::Developer).await;
    let page = browser.post("/orgs/ours/keys", &[("name", "First key")]).await;
    page.says(StatusCode::OK, "curl http://127.0.0.1:7401/v1/chat/completions");
    let secret = secret_in(&page.body);

    let key = only_key(&fixture).await;
    let now = OffsetDateTime::now_utc();
    assert_eq!(key.hint, Presented::parse(&secret).unwrap().hint);
    assert_eq!((key.project, key.mode), (project, Mode::Live));
    assert_eq!(key.owner, Some(fixture.ours.person(Role::Developer)));
    assert_eq!(key.terms.scopes, Scope::ALL);
    let days = (key.terms.expires_at.unwrap() - now).whole_days();
    assert!((89..=90).contains(&days), "{days}");

    let page = browser.get(&format!("/orgs/ours/keys/{}", key.id)).await;
    page.says(StatusCode::OK, "First key");
    assert!(!page.body.contains(secret.expose_secret()), "the secret is shown once");
    browser.get("/orgs/ours/keys").await.says(StatusCode::OK, &key.hint);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_refused_form_comes_back_with_what_was_typed(root: PgPool) {
    let (fixture, project) = scene(root).await;
    let browser = fixture.browser(Role::Admin).await;
    let id = project.to_string();
    let page = browser
        .post(
            "/orgs/ours/keys",
            &[
                ("name", ""),
                ("project", &id),
                ("owner", "service"),
                ("scopes_shown", "1"),
                ("models", "two words\n"),
                ("addresses", "10.1.2.3/8"),
                ("tags", "nothing"),
                ("requests_per_minute", "many"),
                ("expiry", "date"),
                ("expires_on", "soon"),
            ],
        )
        .await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "There are 7 problems");
    for kept in ["two words", "10.1.2.3/8", "value=\"many\"", "value=\"soon\"", ">nothing<"] {
        assert!(page.body.contains(kept), "{kept} is not in {}", page.body);
    }
    assert!(page.body.contains(&format!("<option value=\"{id}\" selected>")), "{}", page.body);
    assert!(page.body.contains("<option value=\"service\" selected>"), "{}", page.body);
    assert!(!page.body.contains("checked"), "nothing was chosen: {}", page.body);
}

#[sqlx::test(migrations = "../migrations")]
async fn somebody_elses_project_is_like_one_that_never_was(root: PgPool) {
    let (fixture, _) = scene(root).await;
    let foreign = project(&fixture, &fixture.theirs, "web").await;
    let browser = fixture.browser(Role::Developer).await;
    for id in [foreign.to_string(), ProjectId::generate().to_string(), "x".to_owned()] {
        let fields = [("name", "ci"), ("project", id.as_str())];
        let page = browser.post("/orgs/ours/keys", &fields).await;
        page.says(StatusCode::UNPROCESSABLE_ENTITY, "choose a project");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn forms_hold_what_they_hold(root: PgPool) {
    let (fixture, _) = scene(root).await;
    let browser = fixture.browser(Role::Admin).await;
    let fields = [("name", "ci"), ("organization_id", "x")];
    let page = browser.post("/orgs/ours/keys", &fields).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);

    browser.post("/orgs/ours/keys", &[("name", "ci")]).await;
    let path = format!("/orgs/ours/keys/{}", only_key(&fixture).await.id);
    let fields = [("name", "ci"), ("scopes", "chat"), ("owner", "service")];
    browser
        .post(&path, &fields)
        .await
        .says(StatusCode::UNPROCESSABLE_ENTITY, "this cannot be changed");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_goes_through_its_life_in_a_browser(root: PgPool) {
    let (fixture, _) = scene(root).await;
    let browser = fixture.browser(Role::Developer).await;
    browser.post("/orgs/ours/keys", &[("name", "ci")]).await;
    let before = only_key(&fixture).await;
    let path = format!("/orgs/ours/keys/{}", before.id);

    let fields = [("name", "worker"), ("scopes", "chat"), ("expiry", "keep")];
    let page = browser.post(&path, &fields).await;
    assert_eq!(page.location.as_deref(), Some(path.as_str()), "{}", page.body);
    let key = only_key(&fixture).await;
    assert_eq!(
        (key.terms.scopes, key.terms.expires_at),
        (vec![Scope::Chat], before.terms.expires_at)
    );

    let rotate = format!("{path}/rotate");
    let page = browser.post(&rotate, &[("overlap_hours", "169")]).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "value=\"169\"");
    let page = browser.post(&rotate, &[("overlap_hours", "1")]).await;
    page.says(StatusCode::OK, "1 more hour");
    secret_in(&page.body);
    browser.get(&path).await.says(StatusCode::OK, "End overlap now");
    let page = browser.post(&format!("{path}/end-overlap"), &[]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    assert!(!browser.get(&path).await.body.contains("End overlap now"));

    let page = browser.post(&format!("{path}/revoke"), &[]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let page = browser.get(&path).await;
    page.says(StatusCode::OK, "Revoked");
    assert!(!page.body.contains("Rotate"), "a revoked key is only to look at");
    let listed = browser.get("/orgs/ours/keys").await;
    assert!(!listed.body.contains("worker"));
    browser.get("/orgs/ours/keys?status=revoked").await.says(StatusCode::OK, "worker");
}

/// Whoever revokes a key relies on the answer.
#[sqlx::test(migrations = "../migrations")]
async fn a_revocation_that_proxies_cannot_be_told_of_says_so(root: PgPool) {
    let fixture = Fixture::without_redis(root).await;
    project(&fixture, &fixture.ours, "web").await;
    let browser = fixture.browser(Role::Developer).await;
    let program = Program { fixture: &fixture, token: fixture.token(Role::Admin, false).await };
    browser.post("/orgs/ours/keys", &[("name", "first")]).await;
    let first = only_key(&fixture).await.id;
    let second = program.post("", json!({ "name": "second" })).await;
    assert_eq!(second.status, StatusCode::CREATED, "a new key stops nothing");
    let second = second.json()["id"].as_str().unwrap().to_owned();
    // Sealed in the database, and nowhere else.
    assert!(fixture.platform.publisher.publish().await.is_err());

    let closed = program.send(Method::POST, &format!("/{second}/revoke"), None).await;
    assert_eq!(closed.status, StatusCode::ACCEPTED, "{}", closed.body);
    let told = closed.json();
    assert_eq!((&told["status"], &told["effective"]), (&"revoked".into(), &false.into()));
    assert!(told["note"].as_str().unwrap().contains("could not be told"), "{told}");

    let path = format!("/orgs/ours/keys/{first}");
    let answer = browser.post(&format!("{path}/revoke"), &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    browser.get(&path).await.says(StatusCode::OK, "does not answer. A proxy that has not heard");
    let rotated = program.post("", json!({ "name": "third" })).await.json();
    assert!(fixture.platform.publisher.publish().await.is_err());
    let path = format!("/{}/rotate", rotated["id"].as_str().unwrap());
    let rotated = program.post(&path, json!({ "overlap_hours": 0 })).await;
    assert_eq!(
        (rotated.status, &rotated.json()["effective"]),
        (StatusCode::ACCEPTED, &false.into())
    );
    let person = fixture.ours.person(Role::Developer);
    let path = format!("/orgs/ours/members/{person}");
    let removed = fixture.api(Some(&program.token), Method::DELETE, &path, None).await;
    assert_eq!(removed.status, StatusCode::ACCEPTED, "what stopped before is not told either");
    assert_eq!(removed.json()["effective"], false);
}

/// Errors of the data plane link to it, where nobody knows what the organization is called.
#[sqlx::test(migrations = "../migrations")]
async fn a_key_is_found_by_its_id_alone_by_those_who_are_there_too(root: PgPool) {
    let (fixture, _) = scene(root).await;
    let developer = fixture.browser(Role::Developer).await;
    developer.post("/orgs/ours/keys", &[("name", "ci")]).await;
    let key = only_key(&fixture).await.id;
    let found = developer.get(&format!("/keys/{key}")).await;
    assert_eq!(found.status, StatusCode::SEE_OTHER);
    assert_eq!(found.location, Some(format!("/orgs/ours/keys/{key}")));
    let theirs = project(&fixture, &fixture.theirs, "web").await;
    let mut work = fixture.work_of(&fixture.theirs, Role::Owner).await;
    let new = new_key(theirs, fixture.theirs.person(Role::Owner));
    let anothers = issue(&mut work, &new, None).await.unwrap().key;
    work.commit().await.unwrap();
    for other in [anothers.to_string(), ApiKeyId::generate().to_string(), "key_1".to_owned()] {
        let status = developer.get(&format!("/keys/{other}")).await.status;
        assert_eq!(status, StatusCode::NOT_FOUND, "{other}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn viewers_look_and_billing_does_not(root: PgPool) {
    let (fixture, _) = scene(root).await;
    let developer = fixture.browser(Role::Developer).await;
    developer.post("/orgs/ours/keys", &[("name", "ci")]).await;
    let path = format!("/orgs/ours/keys/{}", only_key(&fixture).await.id);
    let viewer = fixture.browser(Role::Viewer).await;
    let page = viewer.get(&path).await;
    page.says(StatusCode::OK, "/v1/embeddings");
    assert!(!page.body.contains("Rotate"), "{}", page.body);
    let billing = fixture.browser(Role::Billing).await;
    assert_eq!(billing.get(&path).await.status, StatusCode::FORBIDDEN);
    let service = [("name", "ci"), ("owner", "service")];
    let page = developer.post("/orgs/ours/keys", &service).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
}

struct Program<'a> {
    fixture: &'a Fixture,
    token: SecretString,
}

impl Program<'_> {
    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let path = format!("/orgs/ours/keys{path}");
        self.fixture.api(Some(&self.token), method, &path, body).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_goes_through_its_life_in_the_api(root: PgPool) {
    let (fixture, project) = scene(root).await;
    let program = Program { fixture: &fixture, token: fixture.token(Role::Admin, false).await };
    let made = program
        .post(
            "",
            json!({
                "name": "worker", "project": project, "mode": "test", "owner": "service",
                "scopes": ["models", "chat"], "allowed_models": ["small"],
                "allowed_addresses": ["10.0.0.0/8", "192.0.2.1"], "tags": { "team": "search" },
                "requests_per_minute": 60, "tokens_per_minute": 1000, "concurrent_requests": 2,
                "expires_at": null,
            }),
        )
        .await;
    made.says(StatusCode::CREATED, "\"scopes\":[\"chat\",\"models\"]");
    let made = made.json();
    assert_eq!(made["allowed_addresses"], json!(["10.0.0.0/8", "192.0.2.1/32"]));
    assert_eq!((&made["owner"], &made["expires_at"]), (&Value::Null, &Value::Null));
    assert_eq!(made["status"], "active");
    let secret = secret_in(made["secret"].as_str().unwrap());
    let path = format!("/{}", made["id"].as_str().unwrap());

    let change = json!({ "name": "batch", "allowed_models": null, "requests_per_minute": null });
    let changed = program.patch(&path, change).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    let changed = changed.json();
    assert_eq!((&changed["name"], &changed["allowed_models"]), (&json!("batch"), &Value::Null));
    assert_eq!(changed["requests_per_minute"], Value::Null);
    assert_eq!(changed["tokens_per_minute"], 1000, "what is left out stays");

    let rotated = program.post(&format!("{path}/rotate"), json!({ "overlap_hours": 2 })).await;
    assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.body);
    let shown = program.send(Method::GET, &path, None).await;
    assert_eq!(shown.json()["secrets"].as_array().unwrap().len(), 2);
    assert!(!shown.body.contains(&secret.expose_secret()[18..50]));
    let ended = program.send(Method::POST, &format!("{path}/end-overlap"), None).await;
    assert_eq!(ended.status, StatusCode::OK, "{}", ended.body);
    let again = program.send(Method::POST, &format!("{path}/end-overlap"), None).await;
    assert_eq!(again.status, StatusCode::CONFLICT);

    let closed = program.send(Method::POST, &format!("{path}/revoke"), None).await;
    assert_eq!(closed.json()["status"], "revoked");
    assert_eq!((&closed.json()["effective"], &closed.json()["note"]), (&true.into(), &Value::Null));
    let listed = program.send(Method::GET, "", None).await;
    assert_eq!(listed.json()["data"], json!([]));
    let listed = program.send(Method::GET, "?status=all", None).await;
    assert_eq!(listed.json()["data"].as_array().unwrap().len(), 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_wrong_body_is_refused_with_its_field(root: PgPool) {
    let (fixture, _) = scene(root).await;
    let program = Program { fixture: &fixture, token: fixture.token(Role::Admin, false).await };
    for (body, words) in [
        (json!({}), "missing field `name`"),
        (json!({ "name": "" }), "\"field\":\"name\""),
        (json!({ "name": "a", "role": "owner" }), "unknown field `role`"),
        (json!({ "name": "a", "scopes": ["*"] }), "scopes[0]"),
        (json!({ "name": "a", "scopes": [] }), "\"field\":\"scopes\""),
        (json!({ "name": "a", "allowed_models": [] }), "\"field\":\"allowed_models\""),
        (json!({ "name": "a", "allowed_addresses": ["x"] }), "\"field\":\"allowed_addresses\""),
        (json!({ "name": "a", "tags": { "": "x" } }), "\"field\":\"tags\""),
        (json!({ "name": "a", "tags": { "a": 1 } }), "tags.a"),
        (json!({ "name": "a", "requests_per_minute": 0 }), "\"field\":\"requests_per_minute\""),
        (json!({ "name": "a", "expires_at": "2020-01-01T00:00:00Z" }), "\"field\":\"expires_at\""),
        (json!({ "name": "a", "expires_at": "tomorrow" }), "expires_at"),
        (json!({ "name": "a", "project": ApiKeyId::generate() }), "project"),
        (json!({ "name": "a", "project": ProjectId::generate() }), "choose a project"),
    ] {
        let answer = program.post("", body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body} {}", answer.body);
        assert!(answer.body.contains(words), "{body} {}", answer.body);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_service_makes_service_keys(root: PgPool) {
    let (fixture, _) = scene(root).await;
    let program = Program { fixture: &fixture, token: fixture.token(Role::Admin, true).await };
    let made = program.post("", json!({ "name": "ci" })).await;
    assert_eq!((made.status, &made.json()["owner"]), (StatusCode::CREATED, &Value::Null));
    let own = program.post("", json!({ "name": "ci", "owner": "me" })).await;
    own.says(StatusCode::BAD_REQUEST, "\"field\":\"owner\"");
    let token = fixture.token(Role::Developer, true).await;
    let program = Program { fixture: &fixture, token };
    let answer = program.post("", json!({ "name": "ci" })).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.body);
}
