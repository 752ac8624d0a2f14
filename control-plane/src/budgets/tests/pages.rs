//! Budgets through their pages and the API.

use actix_web::http::{Method, StatusCode};
use serde_json::json;

use super::*;

#[sqlx::test(migrations = "../migrations")]
async fn a_budget_is_made_and_changed_in_forms(root: PgPool) {
    let scene = Scene::new(root).await;
    let billing = scene.fixture.browser(Role::Billing).await;
    let scope = scope::written(BudgetScope::Project(scene.project));
    let page = billing.get(&format!("/orgs/ours/budgets/new?scope={scope}")).await;
    page.says(StatusCode::OK, &format!("<option value=\"{scope}\" selected>bot</option>"));
    let mut form = vec![
        ("name", "Weekly"),
        ("scope", scope.as_str()),
        ("period", "week"),
        ("time_zone", "Europe/Berlin"),
        ("usd", "ten"),
        ("hard", "true"),
        ("thresholds", "50 100"),
        ("alert_roles", "owner"),
    ];
    let page = billing.post("/orgs/ours/budgets", &form).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "write an amount like 12.50");
    form[4] = ("usd", "");
    let page = billing.post("/orgs/ours/budgets", &form).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "cap something: money, requests or tokens");
    form[4] = ("usd", "1,250.50");
    let answer = billing.post("/orgs/ours/budgets", &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    let listed = billing.get("/orgs/ours/budgets").await;
    listed.says(StatusCode::OK, "Weekly");
    listed.says(StatusCode::OK, "$1,250.50");
    billing
        .get(&format!("/orgs/ours/projects/{}", scene.project))
        .await
        .says(StatusCode::OK, "Weekly");
    let path = format!("/orgs/ours/budgets/{}", scene.budget);
    billing
        .get(&format!("{path}/edit"))
        .await
        .says(StatusCode::OK, "renewed every month (Europe/Berlin)");
    let change = [("name", "Bot"), ("usd", "750"), ("requests", "1,000"), ("hard", "true")];
    let answer = billing.post(&path, &change).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    let until = (OffsetDateTime::now_utc() + Duration::days(3)).date();
    let until = format!("{until}T12:00");
    let mut raise =
        vec![("raised_usd", "700"), ("until", until.as_str()), ("reason", "launch week")];
    let page = billing.post(&format!("{path}/raise"), &raise).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "a raise is above a cap, and below none of them");
    raise[0] = ("raised_usd", "900");
    let answer = billing.post(&format!("{path}/raise"), &raise).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    let viewer = scene.fixture.browser(Role::Viewer).await;
    let page = viewer.get(&path).await;
    page.says(StatusCode::OK, "Raised to $900.00 and 1,000 requests");
    page.says(StatusCode::OK, "launch week");
    assert!(!page.body.contains("Raise caps") && !page.body.contains("End the raise now"));
    let answer = billing.post(&format!("{path}/archive"), &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    billing.get(&path).await.says(StatusCode::OK, "Archived");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_program_says_budgets_exactly(root: PgPool) {
    let scene = Scene::new(root).await;
    let token = scene.fixture.token(Role::Billing, false).await;
    let call =
        async |method, path: &str, body| scene.fixture.api(Some(&token), method, path, body).await;
    let body = json!({
        "name": "Exact", "scope": { "kind": "organization" }, "period": "day",
        "caps": { "usd": "0.000000001", "tokens": 5 }, "time_zone": "America/New_York",
    });
    let made = call(Method::POST, "/orgs/ours/budgets", Some(body.clone())).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let made = made.json();
    assert_eq!(made["caps"], json!({ "usd": "0.000000001", "requests": null, "tokens": 5 }));
    assert_eq!((&made["hard"], &made["thresholds"]), (&json!(true), &json!([80, 100])));
    let taken = call(Method::POST, "/orgs/ours/budgets", Some(body)).await;
    assert_eq!(taken.status, StatusCode::CONFLICT, "{}", taken.body);
    let path = format!("/orgs/ours/budgets/{}", made["id"].as_str().unwrap());
    let change = json!({ "hard": false, "allowance_usd": "2.5", "thresholds": [90] });
    let changed = call(Method::PATCH, &path, Some(change)).await.json();
    assert_eq!(
        (&changed["hard"], &changed["allowance_usd"]),
        (&json!(false), &json!("2.500000000"))
    );
    assert_eq!(changed["caps"], made["caps"]);
    let until = OffsetDateTime::now_utc() + Duration::hours(1);
    let until = until.format(&time::format_description::well_known::Rfc3339).unwrap();
    let raise = json!({ "caps": { "usd": "1", "tokens": 5 }, "until": until, "reason": "test" });
    let raised = call(Method::PUT, &format!("{path}/raise"), Some(raise)).await;
    assert_eq!(raised.json()["raise"]["caps"]["usd"], json!("1.000000000"), "{}", raised.body);
    let lowered = call(Method::DELETE, &format!("{path}/raise"), None).await;
    assert_eq!(lowered.json()["raise"], json!(null));
    let versions = call(Method::GET, &format!("{path}/versions"), None).await.json();
    assert_eq!(versions["data"].as_array().unwrap().len(), 4);
    let usage = call(Method::GET, &format!("{path}/usage"), None).await;
    if std::env::var("TURNPIKE_TEST_REDIS_URL").is_ok() {
        assert_eq!(usage.json()["spent"]["usd"], json!("0.000000000"), "{}", usage.body);
    } else {
        assert_eq!(usage.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let gone = call(Method::PATCH, &path, Some(json!({ "archived": true }))).await.json();
    assert!(gone["archived_at"].is_string());
    let bad = json!({ "caps": { "usd": "1.0000000001" } });
    let other = format!("/orgs/ours/budgets/{}", scene.budget);
    let refused = call(Method::PATCH, &other, Some(bad)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
}
