//! What every answer tells browsers, whatever it answers.

use harness::{Answer, Request, Stack};
use http::{Method, StatusCode};
use sqlx::PgPool;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'none'; object-src 'none'";

fn check(answer: &Answer) {
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("strict-transport-security", "max-age=63072000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name} of {answer:?}");
    }
    assert!(answer.header("permissions-policy").is_some(), "{answer:?}");
    assert!(answer.header("x-request-id").is_some_and(|it| it.starts_with("req_")), "{answer:?}");
    assert_eq!(answer.header("server"), None);
    assert_eq!(answer.header("x-powered-by"), None);
    let cache = answer.header("cache-control").unwrap_or_default();
    if answer.path.starts_with("/assets/") && answer.status == StatusCode::OK {
        assert!(cache.contains("immutable"), "{cache}");
    } else {
        assert!(cache.contains("no-store"), "{} has {cache:?}", answer.path);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn every_kind_of_answer_has_them(root: PgPool) {
    let stack = Stack::start(root).await;
    let mut ada = stack.signed_up("ada@acme.test", "Acme").await;
    let api = format!("/api/v1/orgs/{}/teams", ada.slug);
    let big = Request::form("/login", &[("email", "x".repeat(300_000))]);
    let script = ada.browser.page("/account").await;
    let script = script.all("script").next().unwrap().attribute("src").unwrap().to_owned();
    let wanted = [
        (Request::get("/account"), StatusCode::OK),
        (Request::get(&script), StatusCode::OK),
        (Request::get("/assets/0/app.js"), StatusCode::NOT_FOUND),
        (Request::get("/healthz"), StatusCode::OK),
        (Request::get("/login"), StatusCode::SEE_OTHER),
        (Request::get("/nothing/here"), StatusCode::NOT_FOUND),
        (Request::get("/orgs/nobodys"), StatusCode::NOT_FOUND),
        (Request::get("/operator"), StatusCode::FORBIDDEN),
        (Request::get(&ada.path("/keys?status=%00")), StatusCode::UNPROCESSABLE_ENTITY),
        (Request::new(Method::PUT, "/account"), StatusCode::NOT_FOUND),
        (Request::new(Method::OPTIONS, "/account"), StatusCode::NOT_FOUND),
        (Request::form("/login", &[("a", "b")]), StatusCode::FORBIDDEN),
        (big, StatusCode::PAYLOAD_TOO_LARGE),
        (Request::get(&api), StatusCode::UNAUTHORIZED),
        (Request::get("/api/v1/nothing"), StatusCode::NOT_FOUND),
    ];
    for (request, status) in wanted {
        let answer = ada.browser.send(request).await;
        assert_eq!(answer.status, status, "{answer:?}");
        check(&answer);
    }
    let nobody = stack.browser().get(&ada.path("/keys")).await;
    assert_eq!(nobody.status, StatusCode::SEE_OTHER);
    check(&nobody);
}

/// A fault of ours is told without what it was, and does not take the process with it.
#[sqlx::test(migrations = "../migrations")]
async fn a_fault_of_ours_tells_nothing_of_our_insides(root: PgPool) {
    let stack = Stack::start(root).await;
    let ada = stack.signed_up("ada@acme.test", "Acme").await;
    let mut browser = ada.browser.clone().that_expects_failures();
    let rename =
        |from: &str, to: &str| sqlx::AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"));
    sqlx::query(rename("teams", "teams_away")).execute(&stack.root).await.unwrap();
    for path in [ada.path("/teams"), format!("/api/v1/orgs/{}/teams", ada.slug)] {
        let answer = browser.get(&path).await;
        if path.starts_with("/api") {
            // Nobody without a token gets far enough to meet the fault.
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            continue;
        }
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR, "{answer:?}");
        check(&answer);
        let text = answer.text().to_lowercase();
        for inside in ["teams_away", "relation", "sqlx", "postgres", ".rs", "panicked", "select "] {
            assert!(!text.contains(inside), "{inside} in {answer:?}");
        }
        let id = answer.header("x-request-id").unwrap();
        assert!(answer.text().contains(id), "the reader can quote the request");
    }
    sqlx::query(rename("teams_away", "teams")).execute(&stack.root).await.unwrap();
    assert_eq!(browser.get(&ada.path("/teams")).await.status, StatusCode::OK);
}

/// What only the data plane knows of is not kept by anybody either.
#[sqlx::test(migrations = "../migrations")]
async fn the_data_plane_lets_nobody_keep_its_answers(root: PgPool) {
    let stack = Stack::start(root).await;
    stack.published().await;
    for path in ["/v1/models", "/v1/nothing", "/v1/chat/completions"] {
        let answer = stack.program("nonsense").get(path).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
        let cache = answer.header("cache-control").unwrap_or_default();
        assert!(cache.contains("no-store"), "{path} has {cache:?}");
    }
}
