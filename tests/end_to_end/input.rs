//! Wrong input: told what is wrong with it, and nothing that was typed is lost.

use harness::{Answer, Browser, Request, Stack, secret_on};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{markup::faults, site::furnish};

/// The form again, which says at its top and beside the field what is wrong, and holds
/// what was typed, but for passwords.
fn check_again(answer: &Answer, action: &str, field: &str, typed: &[(&str, &str)]) {
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
    let page = answer.page();
    assert_eq!(faults(&page), [""; 0], "{action}");
    assert!(page.title().starts_with("Error: "), "{}", page.title());
    let summary = page.elements().find(|it| it.attribute("role") == Some("alert"));
    assert!(summary.is_some(), "{action} has no summary");
    assert!(page.links().any(|it| it == format!("#field-{field}")), "{action}: no way to {field}");
    let control = page.by_id(&format!("field-{field}"));
    let control = control.unwrap_or_else(|| panic!("{action} has no field {field}"));
    assert_eq!(control.attribute("aria-invalid"), Some("true"), "{action} {field}");
    let described = control.attribute("aria-describedby").unwrap_or_default();
    assert!(described.contains(&format!("problem-{field}")), "{action} {field}: {described}");
    let form = page.form(action);
    for (name, value) in typed {
        let kept = form.fields.iter().find(|it| it.0 == *name).map(|it| it.1.as_str());
        if name.contains("password") {
            assert_eq!(kept, Some(""), "{action} sends a password back");
        } else {
            assert_eq!(kept, Some(*value), "{action} lost {name}");
        }
    }
}

async fn wrong(
    browser: &mut Browser,
    path: &str,
    action: &str,
    field: &str,
    typed: &[(&str, &str)],
) {
    let answer = browser.fill(path, action, typed).await;
    check_again(&answer, action, field, typed);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_wrong_form_comes_back_as_it_was_typed(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    furnish(&mut ada, "Platform").await;
    let nobody = &mut stack.browser();
    let good = "violet anvil teaspoon orbit";
    for (field, typed) in [
        ("email", [("email", "no address"), ("password", good), ("organization", "Acme & Co")]),
        ("password", [("email", "b@c.test"), ("password", "short"), ("organization", "Acme & Co")]),
        ("organization", [("email", "b@c.test"), ("password", good), ("organization", "")]),
    ] {
        wrong(nobody, "/signup", "/signup", field, &typed).await;
    }
    let typed = [("email", "\"ada\"<x>@acme.test"), ("password", "wrong")];
    wrong(nobody, "/login", "/login", "email", &typed).await;
    wrong(nobody, "/password/reset", "/password/reset", "email", &[("email", "no address")]).await;

    let of = |rest: &str| ada.path(rest);
    let long = "x".repeat(300);
    let browser = &mut ada.browser.clone();
    let zone = [("time_zone", "Mars/Olympus"), ("theme", "dark")];
    wrong(browser, "/account", "/account", "time_zone", &zone).await;
    wrong(browser, "/orgs/new", "/orgs", "name", &[("name", &long)]).await;
    wrong(browser, &of("/teams/new"), "/teams", "name", &[("name", "")]).await;
    wrong(browser, &of("/teams/new"), "/teams", "name", &[("name", "Platform")]).await;
    wrong(browser, &of("/projects/new"), "/projects", "name", &[("name", &long)]).await;
    let typed = [("code", "no good code!"), ("name", "R & D")];
    wrong(browser, &of("/cost-centers/new"), "/cost-centers", "code", &typed).await;
    let typed = [("name", "Acme 2"), ("time_zone", "Mars/Olympus")];
    wrong(browser, &of("/settings"), "/settings", "time_zone", &typed).await;
    let typed = [
        ("name", "<batch>"),
        ("addresses", "10.0.0.0/8\nnowhere"),
        ("tags", "env=test"),
        ("models", "auto"),
        ("requests_per_minute", "12"),
    ];
    wrong(browser, &of("/keys/new"), "/keys", "addresses", &typed).await;
    let typed = [("emails", "bob@acme.test, no address"), ("role", "viewer")];
    wrong(browser, &of("/members/invite"), "/members/invite", "emails", &typed).await;
    let typed = [("current_password", "wrong"), ("new_password", good)];
    wrong(browser, "/account/security", "/account/password", "current_password", &typed).await;
}

/// A form that holds what ours does not is not ours.
#[sqlx::test(migrations = "../migrations")]
async fn a_form_with_fields_of_its_own_is_refused(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let path = ada.path("/teams/new");
    for (name, value) in [("organization_id", "x"), ("role", "owner"), ("name", "Twice")] {
        let mut form = ada.browser.page(&path).await.form("/teams");
        form.fields.retain(|it| it.0 != "name");
        form.fields.extend([("name".into(), "Fine".into()), (name.to_owned(), value.to_owned())]);
        let answer = ada.browser.send(Request::form(&form.action, &form.fields)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}: {answer:?}");
    }
    let mut form = ada.browser.page("/account").await.form("/account");
    form.fields.push(("is_operator".into(), "true".into()));
    let answer = ada.browser.send(Request::form("/account", &form.fields)).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
}

fn check_problem(answer: &Answer, status: StatusCode, named: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["status"], status.as_u16());
    let code = problem["code"].as_str().unwrap();
    assert!(problem["type"].as_str().unwrap().ends_with(&format!("/docs/errors/{code}")));
    assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"));
    assert!(problem.to_string().contains(named), "{problem} does not name {named}");
}

#[sqlx::test(migrations = "../migrations")]
async fn wrong_json_is_told_which_field(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let token = furnish(&mut ada, "Platform").await.token;
    let mut program = stack.management(&token);
    let (teams, keys) =
        (format!("/api/v1/orgs/{}/teams", ada.slug), format!("/api/v1/orgs/{}/keys", ada.slug));
    let wrong: [(&str, Value, &str); 9] = [
        (&teams, json!({}), "name"),
        (&teams, json!({ "name": 1 }), "name"),
        (&teams, json!({ "name": "" }), "name"),
        (&teams, json!({ "name": "A", "role": "owner" }), "role"),
        (&teams, json!({ "name": "A", "organization_id": "org_1" }), "organization_id"),
        (&teams, json!({ "name": "a\u{0}b" }), "U+0000"),
        (&keys, json!({ "name": "A", "scopes": ["*"] }), "scopes"),
        (&keys, json!({ "name": "A", "allowed_addresses": ["nowhere"] }), "allowed_addresses"),
        (&keys, json!({ "name": "A", "hash": "00" }), "hash"),
    ];
    for (path, body, named) in wrong {
        let answer = program.call(Method::POST, path, &body).await;
        check_problem(&answer, StatusCode::BAD_REQUEST, named);
    }
    // A token that may less than its owner says that it is the token.
    let tokens = ada.path("/settings/tokens");
    let typed = [("name", "narrow"), ("role", "viewer")];
    let narrow = ada.browser.fill(&tokens, "/settings/tokens", &typed).await;
    let mut narrow = stack.management(&secret_on(&narrow));
    let answer = narrow.call(Method::POST, &teams, &json!({ "name": "A" })).await;
    check_problem(&answer, StatusCode::FORBIDDEN, "not this token");
    let change = json!({ "slug": "stolen" });
    let path = format!("/api/v1/orgs/{}", ada.slug);
    let answer = program.call(Method::PATCH, &path, &change).await;
    check_problem(&answer, StatusCode::BAD_REQUEST, "slug");

    for body in ["{", "[]", "nonsense", "{\"name\":\"A\"}{}", "\u{feff}{}", ""] {
        let request = Request::new(Method::POST, &teams).header("content-type", "application/json");
        let answer = program.send(request.body(body)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {answer:?}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "text/json"] {
        let request = Request::new(Method::POST, &teams).header("content-type", kind);
        let answer = program.send(request.body(r#"{"name":"A"}"#)).await;
        check_problem(&answer, StatusCode::BAD_REQUEST, "application/json");
    }
    let request = Request::json(Method::POST, &teams, &json!({ "name": "x".repeat(300_000) }));
    check_problem(&program.send(request).await, StatusCode::PAYLOAD_TOO_LARGE, "too_large");
    let seen: i64 =
        sqlx::query_scalar("SELECT count(*) FROM teams").fetch_one(&stack.root).await.unwrap();
    assert_eq!(seen, 1, "the one that there was before");
}

/// Someone else's thing, a thing that never was, and an id that is none look the same.
#[sqlx::test(migrations = "../migrations")]
async fn things_of_others_are_not_there(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    furnish(&mut ada, "Platform").await;
    let mut eve = stack.signed_up("eve@evil.test", "Evil").await;
    furnish(&mut eve, "Evil").await;
    let listed = |page: harness::html::Document, part: &str| {
        page.links().find(|it| it.contains(part)).unwrap().to_owned()
    };
    let team = listed(ada.browser.page(&ada.path("/teams")).await, "/teams/team_");
    let key = listed(ada.browser.page(&ada.path("/keys")).await, "/keys/key_");
    for path in [team, key] {
        let mut bodies = Vec::new();
        let (within, id) = path.rsplit_once('/').unwrap();
        let own = within.replace(&ada.slug, &eve.slug);
        let never = format!("{}{}", &id[..id.len() - 8], "00000000");
        let nobodys = path.replace(&ada.slug, "nobodys");
        for path in [format!("{own}/{id}"), format!("{own}/{never}"), path.clone(), nobodys] {
            let answer = eve.browser.get(&path).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
            let words = answer.page().words();
            bodies.push(words.split(" Request req_").next().unwrap().to_owned());
        }
        assert_eq!(bodies[0], bodies[1], "in one's own organization");
        assert_eq!(bodies[2], bodies[3], "in an organization of others, and in none");
        assert_eq!(eve.browser.get(&format!("{own}/nonsense")).await.status, StatusCode::NOT_FOUND);
    }
}

/// What decides is the route that was found, not how the address was spelled.
#[sqlx::test(migrations = "../migrations")]
async fn a_strange_address_opens_nothing(root: PgPool) {
    let stack = Stack::start(root).await;
    let ada = stack.signed_up("ada@acme.test", "Acme").await;
    let slug = &ada.slug;
    let mut eve = stack.signed_up("eve@evil.test", "Evil").await;
    for path in [
        format!("//orgs/{slug}"),
        format!("/orgs//{slug}"),
        format!("/orgs/{slug}/"),
        format!("/orgs/evil/%2e%2e/{slug}/keys"),
        format!("/orgs/evil%2f..%2f{slug}/keys"),
        format!("/orgs/{slug};x/keys"),
        format!("/ORGS/{slug}/keys"),
        format!("/orgs/{slug}%00/keys"),
        format!("/orgs/{slug}/keys%20"),
        "/operator/".to_owned(),
        "//operator".to_owned(),
        "/%6fperator".to_owned(),
        "/healthz/../operator".to_owned(),
    ] {
        let answer = eve.browser.get(&path).await;
        assert!(answer.status.is_client_error(), "{path}: {answer:?}");
        let answer = eve.browser.send(Request::get(&path).header("host", "x/healthz?")).await;
        assert!(answer.status.is_client_error(), "{path}: {answer:?}");
    }
}
