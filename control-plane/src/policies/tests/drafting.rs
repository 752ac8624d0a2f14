//! From a draft to a version that all calls follow.

use shared::snapshot::{Rule, Staged};

use super::*;
use crate::keys::{self, Mode, NewApiKey, Terms, tests::project};

const AT_ONCE: Publication =
    Publication { note: None, how: How::AtOnce, stranding: Stranding::Refuse };

fn by_rule(name: &str, model: &str) -> Draft {
    let mut ruled = draft(name, &[&[target("small", 1)]]);
    let choose = draft(name, &[&[target(model, 1)]]).document.otherwise;
    let when = "task == 'code'".to_owned();
    ruled.document.rules.push(Rule { name: "Code".to_owned(), when, choose });
    ruled
}

async fn version(work: &mut Work, policy: PolicyId) -> i32 {
    find(work, policy).await.unwrap().version
}

async fn told(work: &mut Work) -> snapshot::Policy {
    published(work, None).await.unwrap().remove(0)
}

#[sqlx::test(migrations = "../migrations")]
async fn a_draft_changes_nothing_until_it_is_published(root: PgPool) {
    let fixture = scene(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let live = draft("auto", &[&[target("small", 1)]]);
    let policy = create(&mut work, &live).await.unwrap();
    assert!(matches!(publish(&mut work, policy, &AT_ONCE).await, Err(PolicyError::NoDraft)));
    let next = by_rule("auto", "large");
    save(&mut work, policy, &next, Some(1)).await.unwrap();
    let late = save(&mut work, policy, &next, Some(7)).await;
    assert!(matches!(late, Err(PolicyError::Outdated)));
    let flawed = save(&mut work, policy, &by_rule("auto", "tiny"), None).await.unwrap_err();
    let path = r#"rules[0].choose.tiers[0].targets[0].model: there is no model "tiny""#;
    assert_eq!((flawed.problems()[0].field, flawed.to_string().as_str()), ("document", path));
    assert_eq!(told(&mut work).await.document, live.document);

    publish(&mut work, policy, &AT_ONCE).await.unwrap();
    assert_eq!(told(&mut work).await.document, next.document);
    assert_eq!(version(&mut work, policy).await, 2);
    assert!(draft_of(&mut work, policy).await.unwrap().is_none());
    assert!(matches!(discard(&mut work, policy).await, Err(PolicyError::NoDraft)));

    // What is of a version before is not published over the one that came meanwhile.
    save(&mut work, policy, &live, None).await.unwrap();
    roll_back(&mut work, policy, 1).await.unwrap();
    assert!(matches!(publish(&mut work, policy, &AT_ONCE).await, Err(PolicyError::Outdated)));
    discard(&mut work, policy).await.unwrap();
    let actions = ["policy.draft_saved", "policy.draft_discarded", "policy.changed"];
    for action in actions {
        let there: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM audit_entries WHERE action = $1 AND organization_id = $2)",
        )
        .bind(action)
        .bind(work.organization)
        .fetch_one(&mut *work)
        .await
        .unwrap();
        assert!(there, "{action}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_staged_version_is_some_calls_until_all_follow_it_or_none(root: PgPool) {
    let fixture = scene(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let (one, two) =
        (draft("auto", &[&[target("small", 1)]]), draft("auto", &[&[target("large", 1)]]));
    let policy = create(&mut work, &one).await.unwrap();
    let stage = |percent| Publication { how: How::Staged(percent, StagedBy::Keys), ..AT_ONCE };
    for percent in [0, 100] {
        save(&mut work, policy, &two, None).await.unwrap();
        let refused = publish(&mut work, policy, &stage(percent)).await;
        assert!(matches!(refused, Err(PolicyError::Percent)), "{percent}");
    }
    let renamed = Draft { name: "other".parse().unwrap(), ..two.clone() };
    save(&mut work, policy, &renamed, None).await.unwrap();
    let refused = publish(&mut work, policy, &stage(20)).await;
    assert!(matches!(refused, Err(PolicyError::StagedName)));
    save(&mut work, policy, &two, None).await.unwrap();
    publish(&mut work, policy, &stage(20)).await.unwrap();
    let staged = |percent| {
        let document = two.document.clone();
        Some(Staged { version: 2, document, percent, by: StagedBy::Keys })
    };
    let seen = told(&mut work).await;
    assert_eq!((seen.version, seen.document, seen.staged), (1, one.document.clone(), staged(20)));
    raise(&mut work, policy, 60).await.unwrap();
    assert_eq!(told(&mut work).await.staged, staged(60));

    withdraw(&mut work, policy).await.unwrap();
    assert_eq!(told(&mut work).await.staged, None);
    for refused in [raise(&mut work, policy, 5).await, finish(&mut work, policy).await] {
        assert!(matches!(refused, Err(PolicyError::NoStage)));
    }
    // The number of what was withdrawn is not given again.
    save(&mut work, policy, &two, None).await.unwrap();
    publish(&mut work, policy, &stage(5)).await.unwrap();
    finish(&mut work, policy).await.unwrap();
    let seen = told(&mut work).await;
    assert_eq!((seen.version, seen.document, seen.staged), (3, two.document.clone(), None));
    // Going back ends what is being tried.
    save(&mut work, policy, &one, None).await.unwrap();
    publish(&mut work, policy, &stage(5)).await.unwrap();
    roll_back(&mut work, policy, 1).await.unwrap();
    let seen = told(&mut work).await;
    assert_eq!((seen.version, seen.document, seen.staged), (5, one.document, None));
}

#[sqlx::test(migrations = "../migrations")]
async fn no_key_is_left_without_a_model_unless_somebody_says_so(root: PgPool) {
    let fixture = scene(root).await;
    let project = project(&fixture, &fixture.ours, "web").await;
    let mut work = fixture.work(Role::Admin).await;
    let policy = create(&mut work, &draft("auto", &[&[target("small", 1)]])).await.unwrap();
    let mut terms = Terms::named("ci".parse().unwrap());
    terms.allowed_models = Some(vec!["small".to_owned()]);
    let key = NewApiKey { project: Some(project), mode: Mode::Live, owner: None, terms };
    let key = keys::issue(&mut work, &key, None).await.unwrap().key;
    let large = draft("auto", &[&[target("large", 1)]]);
    let refused = change(&mut work, policy, &large, None, Stranding::Refuse).await.unwrap_err();
    let PolicyError::Strands(stranded) = &refused else { panic!("{refused}") };
    assert_eq!(stranded.0.iter().map(|it| it.key).collect::<Vec<_>>(), [key]);
    assert!(refused.to_string().starts_with("1 key of the project "), "{refused}");
    save(&mut work, policy, &large, None).await.unwrap();
    assert!(matches!(publish(&mut work, policy, &AT_ONCE).await, Err(PolicyError::Strands(_))));
    let nevertheless = Publication { stranding: Stranding::Allow, ..AT_ONCE };
    publish(&mut work, policy, &nevertheless).await.unwrap();
    let after: serde_json::Value = sqlx::query_scalar(
        "SELECT to_jsonb(e) FROM audit_entries e WHERE action = 'policy.changed'
          AND organization_id = $1",
    )
    .bind(work.organization)
    .fetch_one(&mut *work)
    .await
    .unwrap();
    assert!(after.to_string().contains(&key.to_string()), "{after}");
}

#[sqlx::test(migrations = "../migrations")]
async fn another_tenants_draft_is_out_of_reach(root: PgPool) {
    let fixture = scene(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let auto = draft("auto", &[&[target("small", 1)]]);
    let policy = create(&mut work, &auto).await.unwrap();
    save(&mut work, policy, &auto, None).await.unwrap();
    let ours = work.organization;
    work.commit().await.unwrap();
    let mut work = fixture.work_of(&fixture.theirs, Role::Owner).await;
    assert!(matches!(draft_of(&mut work, policy).await, Err(PolicyError::NotFound)));
    // Even where a statement names the wrong organization.
    assert!(store::drafts::find(&mut work, ours, policy).await.unwrap().is_none());
    assert!(!store::drafts::delete(&mut work, ours, policy).await.unwrap());
}

#[sqlx::test(migrations = "../migrations")]
async fn the_api_drafts_stages_and_publishes(root: PgPool) {
    let fixture = scene(root).await;
    let token = fixture.token(Role::Admin, false).await;
    let call = async |method, path: &str, body| {
        fixture.api(Some(&token), method, &format!("/orgs/ours/policies{path}"), body).await
    };
    let tiers = json!([{ "targets": [{ "model": "small" }] }]);
    let both = json!({ "name": "auto", "tiers": tiers, "document": { "otherwise": {} } });
    call(Method::POST, "", Some(both)).await.says(StatusCode::BAD_REQUEST, "one of document");
    let made = call(Method::POST, "", Some(json!({ "name": "auto", "tiers": tiers }))).await.json();
    assert_eq!(made["document"]["otherwise"]["strategy"], "weighted");
    let path = format!("/{}", made["id"].as_str().unwrap());
    let document = json!({
        "rules": [{ "name": "Code", "when": "taks == 'code'", "choose": { "strategy": "best" } }],
        "otherwise": { "tiers": tiers },
    });
    let at = format!("{path}/draft");
    let put = call(Method::PUT, &at, Some(json!({ "document": document }))).await;
    put.says(StatusCode::BAD_REQUEST, "rules[0].when: nothing is called");
    let mut document = document;
    document["rules"][0]["when"] = json!("task == 'code'");
    let put = call(Method::PUT, &at, Some(json!({ "document": document }))).await.json();
    assert_eq!((&put["based_on"], &put["stranded"]), (&json!(1), &json!([])));
    let staged = Some(json!({ "percent": 10, "by": "calls" }));
    let staged = call(Method::POST, &format!("{path}/publish"), staged).await.json();
    assert_eq!((&staged["version"], &staged["staged"]["percent"]), (&json!(1), &json!(10)));
    let all = call(Method::POST, &format!("{path}/stage"), Some(json!({ "percent": 100 }))).await;
    assert_eq!(all.json()["version"], 2);
    // Tiers alone leave the rules where they are.
    let large = json!({ "tiers": [{ "targets": [{ "model": "large" }] }] });
    let changed = call(Method::PATCH, &path, Some(large)).await.json();
    assert_eq!(changed["document"]["rules"][0]["name"], "Code");
    let none = call(Method::GET, &format!("{path}/draft"), None).await;
    assert_eq!(none.status, StatusCode::CONFLICT, "{}", none.body);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_draft_is_written_published_to_some_and_given_to_all_on_pages(root: PgPool) {
    let fixture = scene(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let policy = create(&mut work, &draft("auto", &[&[target("small", 1)]])).await.unwrap();
    work.commit().await.unwrap();
    let admin = fixture.browser(Role::Admin).await;
    let path = format!("/orgs/ours/policies/{policy}");
    let page = admin.get(&format!("{path}/edit?view=document")).await;
    page.says(StatusCode::OK, "name=\"view\" value=\"document\"");
    let typed = |text: &'static str| {
        vec![("name", "auto"), ("seen", "1"), ("view", "document"), ("document", text)]
    };
    let strange = admin.post(&path, &typed(r#"{"otherwise": {"shadow": 1}}"#)).await;
    strange.says(StatusCode::UNPROCESSABLE_ENTITY, "otherwise.shadow: unknown field");
    let text = r#"{
        "rules": [{"name": "Code", "when": "task == 'code'",
                   "choose": {"tiers": [{"targets": [{"model": "large"}]}]}}],
        "otherwise": {"tiers": [{"targets": [{"model": "small"}]}]}
    }"#;
    let saved = admin.post(&path, &typed(text)).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    let page = admin.get(&path).await;
    page.says(StatusCode::OK, "When task is code: large. Otherwise: small");
    page.says(StatusCode::OK, "What changes, line by line");
    // The form keeps the rules that it does not show.
    admin.get(&format!("{path}/edit")).await.says(StatusCode::OK, "When task is code: large");
    let some = admin.post(&format!("{path}/publish"), &[("percent", "25"), ("by", "keys")]).await;
    assert_eq!(some.status, StatusCode::SEE_OTHER, "{}", some.body);
    let page = admin.get(&path).await;
    page.says(StatusCode::OK, "25 % of the keys follow it");
    let all = admin.post(&format!("{path}/stage"), &[("percent", "100")]).await;
    assert_eq!(all.status, StatusCode::SEE_OTHER, "{}", all.body);
    let page = fixture.browser(Role::Viewer).await.get(&path).await;
    page.says(StatusCode::OK, "Version 2");
    page.says(StatusCode::OK, "When task is code: large");
    assert!(!page.body.contains("Publish draft"));
}
