//! Providers through their pages and the management API.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

use actix_web::http::{Method, StatusCode};
use serde_json::json;

use super::*;
use crate::testing::http::Answer;

#[sqlx::test(migrations = "../migrations")]
async fn a_vendor_and_a_key_are_enough(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let admin = fixture.browser(Role::Admin).await;
    admin.get("/orgs/ours/providers").await.says(StatusCode::OK, "No providers of your own yet");
    admin.get("/orgs/ours/providers/new").await.says(StatusCode::OK, "DeepSeek");
    let page = admin.get("/orgs/ours/providers/new?vendor=deepseek").await;
    page.says(StatusCode::OK, "deepseek-v4-pro");
    let form = [("vendor", "deepseek"), ("secret", SECRET), ("models", "deepseek-v4-flash")];
    let answer = admin.post("/orgs/ours/providers", &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    let page = admin.get(&answer.location.unwrap()).await;
    page.says(StatusCode::OK, "deepseek-v4-flash");
    page.says(StatusCode::OK, "…WXYZ");
    assert!(!page.body.contains("edit?name=deepseek-v4-pro"), "only what was chosen");
    assert!(!page.body.contains("0123456789"), "the key is never shown again");
    // The rest is a click away.
    let form = page.body.split("action=\"").find(|it| it.contains("/models/known")).unwrap();
    let answer = admin.post(form.split('"').next().unwrap(), &[]).await;
    let page = admin.get(answer.location.unwrap().split('?').next().unwrap()).await;
    page.says(StatusCode::OK, "edit?name=deepseek-v4-pro");
}

#[sqlx::test(migrations = "../migrations")]
async fn an_address_in_a_private_network_is_refused(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let admin = fixture.browser(Role::Admin).await;
    for (address, told) in [
        ("http://llm.example.com/v1", "has to begin with https://"),
        ("https://169.254.169.254/", "private network"),
        ("https://a:b@llm.example.com", "holds a name"),
    ] {
        let form = [("vendor", "vllm"), ("secret", SECRET), ("base_url", address)];
        let page = admin.post("/orgs/ours/providers", &form).await;
        page.says(StatusCode::UNPROCESSABLE_ENTITY, told);
        assert!(!page.body.contains(SECRET), "a refused form holds no key");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn whoever_may_not_change_a_provider_sees_it(root: PgPool) {
    let scene = Scene::new(root).await;
    let platforms = of_the_platform(&scene.fixture, "one").await;
    let viewer = scene.fixture.browser(Role::Viewer).await;
    let path = format!("/orgs/ours/providers/{}", scene.upstream);
    let page = viewer.get(&path).await;
    page.says(StatusCode::OK, "small");
    assert!(!page.body.contains("Test connection"));
    assert!(!page.body.contains("Archive provider"));
    // Nor does an admin change the platform's.
    let admin = scene.fixture.browser(Role::Admin).await;
    let path = format!("/orgs/ours/providers/{platforms}");
    let page = admin.get(&path).await;
    page.says(StatusCode::OK, "The platform’s operators");
    assert!(!page.body.contains("Archive provider"));
    assert_eq!(admin.get(&format!("{path}/edit")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(admin.post(&format!("{path}/archive"), &[]).await.status, StatusCode::FORBIDDEN);
}

/// Answers `times` requests like a provider that knows one key, or points elsewhere.
fn provider(times: usize, answer: impl Fn(&str) -> &'static str + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().take(times) {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<_> =
                lines.map_while(Result::ok).take_while(|it| !it.is_empty()).collect();
            let head = head.join("\n").to_lowercase();
            write!(stream, "{}content-length: 0\r\nconnection: close\r\n\r\n", answer(&head))
                .unwrap();
        }
    });
    port
}

async fn tested(fixture: &Fixture, name: &str, port: u16, secret: &str) -> Answer {
    let mut work = fixture.work(Role::Admin).await;
    let sealer = &fixture.platform.secrets.credentials;
    let declared = declared(name, &format!("http://127.0.0.1:{port}/v1"), secret);
    let upstream = put(&mut work, sealer, &declared).await.unwrap();
    let credential = credentials::list(&mut work, upstream).await.unwrap().remove(0).id;
    work.commit().await.unwrap();
    let admin = fixture.browser(Role::Admin).await;
    let path = format!("/orgs/ours/providers/{upstream}");
    let answer = admin.post(&format!("{path}/credentials/{credential}/test"), &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    admin.get(&path).await
}

#[sqlx::test(migrations = "../migrations")]
async fn a_test_tells_one_of_three_things(root: PgPool) {
    let fixture = Fixture::allowing_private(root).await;
    let knows = |head: &str| {
        assert!(head.starts_with("get /v1/models "), "{head}");
        let is_known = head.contains("authorization: bearer sk-known");
        if is_known { "HTTP/1.1 200 OK\r\n" } else { "HTTP/1.1 401 Unauthorized\r\n" }
    };
    let port = provider(2, knows);
    tested(&fixture, "Good", port, "sk-known").await.says(StatusCode::OK, "Works");
    tested(&fixture, "Bad", port, "sk-wrong").await.says(StatusCode::OK, "Key refused");
    // Nobody is there any more.
    tested(&fixture, "Gone", port, "sk-known").await.says(StatusCode::OK, "Unreachable");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_redirect_is_not_followed(root: PgPool) {
    let fixture = Fixture::allowing_private(root).await;
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let location = format!("location: http://{}/\r\n", canary.local_addr().unwrap());
    let answer: &'static str = format!("HTTP/1.1 307 Temporary Redirect\r\n{location}").leak();
    let port = provider(1, move |_| answer);
    tested(&fixture, "Elsewhere", port, "sk-known").await.says(StatusCode::OK, "Unreachable");
    assert!(canary.accept().is_err(), "nobody came");
}

#[sqlx::test(migrations = "../migrations")]
async fn the_api_does_what_the_pages_do(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let token = fixture.token(Role::Admin, false).await;
    let call = async |method, path: &str, body| {
        let path = format!("/orgs/ours/providers{path}");
        fixture.api(Some(&token), method, &path, body).await
    };
    let body = json!({ "vendor": "openai", "secret": SECRET, "region": "eu" });
    let made = call(Method::POST, "", Some(body)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let made = made.json();
    let path = format!("/{}", made["id"].as_str().unwrap());
    assert_eq!(made["base_url"], "https://api.openai.com/v1");
    assert_eq!(made["credential_list"][0]["hint"], "WXYZ");
    assert!(!made.to_string().contains(SECRET) && !made.to_string().contains("sealed"));

    let body = json!({ "label": "second", "secret": SECRET, "weight": 1001 });
    let refused = call(Method::POST, &format!("{path}/credentials"), Some(body)).await;
    refused.says(StatusCode::BAD_REQUEST, "a weight is a whole number");
    let body = json!({ "label": "second", "secret": SECRET, "weight": 3 });
    let second = call(Method::POST, &format!("{path}/credentials"), Some(body)).await.json();
    let credential = format!("{path}/credentials/{}", second["id"].as_str().unwrap());
    let changed = call(Method::PATCH, &credential, Some(json!({ "enabled": false }))).await.json();
    assert_eq!((&changed["enabled"], &changed["weight"]), (&json!(false), &json!(3)));
    assert_eq!(call(Method::DELETE, &credential, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(call(Method::DELETE, &credential, None).await.status, StatusCode::NOT_FOUND);

    let model = json!({
        "name": "my-model", "upstream_name": "my-model-2", "display_name": "Mine",
        "context_length": 1000, "max_output_tokens": 100, "capabilities": ["tools"],
        "input": ["text"], "output": ["text"], "deprecated_on": "2027-01-31", "successor": null,
    });
    let put = call(Method::PUT, &format!("{path}/models"), Some(model)).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.body);
    let body = json!({ "region": null, "base_url": "https://proxy.example.com/v1" });
    let moved = call(Method::PATCH, &path, Some(body)).await.json();
    assert_eq!((&moved["region"], &moved["credential_list"]), (&json!(null), &json!([])));
    let names = moved["model_list"].as_array().unwrap();
    assert!(names.iter().any(|it| it["name"] == "my-model"));
    let archived = call(Method::PATCH, &path, Some(json!({ "archived": true }))).await;
    assert!(archived.json()["archived_at"].is_string());
}

#[sqlx::test(migrations = "../migrations")]
async fn how_long_a_provider_may_take_is_its_own(root: PgPool) {
    let scene = Scene::new(root).await;
    let timeouts = async |first_byte, idle, total| {
        let mut work = scene.work().await;
        let seen = scene.published(&mut work).await.unwrap().timeouts;
        let expected =
            Timeouts { first_byte_seconds: first_byte, idle_seconds: idle, total_seconds: total };
        assert_eq!(seen, expected);
    };
    timeouts(None, None, None).await;
    let admin = scene.fixture.browser(Role::Admin).await;
    let path = format!("/orgs/ours/providers/{}", scene.upstream);
    let mut form = vec![
        ("name", "Acme"),
        ("base_url", BASE),
        ("first_byte_seconds", "0"),
        ("total_seconds", "3600"),
    ];
    let page = admin.post(&path, &form).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "from 1 to 86400");
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "value=\"3600\"");
    form[2] = ("first_byte_seconds", "600");
    let answer = admin.post(&path, &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    admin.get(&path).await.says(StatusCode::OK, "600 s");
    admin.get(&format!("{path}/edit")).await.says(StatusCode::OK, "value=\"600\"");
    timeouts(Some(600), None, Some(3_600)).await;

    let token = scene.fixture.token(Role::Admin, false).await;
    let change =
        async |body| scene.fixture.api(Some(&token), Method::PATCH, &path, Some(body)).await;
    let kept = change(json!({ "region": "eu" })).await.json();
    assert_eq!(kept["timeouts"]["total_seconds"], 3_600);
    let refused = change(json!({ "timeouts": { "idle_seconds": 86_401 } })).await;
    refused.says(StatusCode::BAD_REQUEST, "from 1 to 86400");
    let changed = change(json!({ "timeouts": { "idle_seconds": 30 } })).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    timeouts(None, Some(30), None).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_model_is_described_in_a_form(root: PgPool) {
    let scene = Scene::new(root).await;
    let admin = scene.fixture.browser(Role::Admin).await;
    let path = format!("/orgs/ours/providers/{}", scene.upstream);
    let page = admin.get(&format!("{path}/models/edit?name=small")).await;
    page.says(StatusCode::OK, "value=\"small-1\"");
    let mut form = vec![
        ("name", "tiny"),
        ("context_length", "8,000"),
        ("max_output_tokens", "9000"),
        ("input", "text"),
        ("output", "text"),
        ("enabled", "true"),
    ];
    let page = admin.post(&format!("{path}/models"), &form).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "no answer is longer than the context");
    form[2] = ("max_output_tokens", "900");
    let answer = admin.post(&format!("{path}/models"), &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    let mut work = scene.work().await;
    let tiny = models::one(&mut work, scene.upstream, "tiny").await.unwrap();
    assert_eq!((tiny.model.upstream_name.as_str(), tiny.model.max_output_tokens), ("tiny", 900));
    drop(work);
    let off = admin.post(&format!("{path}/models/enable"), &[("name", "tiny")]).await;
    assert_eq!(off.status, StatusCode::SEE_OTHER);
    let gone = admin.post(&format!("{path}/models/remove"), &[("name", "tiny")]).await;
    assert_eq!(gone.status, StatusCode::SEE_OTHER);
    let gone = admin.get(&format!("{path}/models/edit?name=tiny")).await;
    gone.says(StatusCode::UNPROCESSABLE_ENTITY, "there is no such model");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_price_is_said_in_a_form(root: PgPool) {
    let scene = Scene::new(root).await;
    let admin = scene.fixture.browser(Role::Admin).await;
    let path = format!("/orgs/ours/providers/{}/models/price", scene.upstream);
    admin.get(&format!("{path}?name=small")).await.says(StatusCode::OK, "No price yet");
    let mut form = vec![("name", "small"), ("input", "0.15"), ("output", "0.1234567")];
    let page = admin.post(&path, &form).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "write at most 6 decimals");
    form[2] = ("output", "");
    let page = admin.post(&path, &form).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "enter a price, or 0 where it is free");
    form[2] = ("output", "0.60");
    form.push(("search", "0.01"));
    let answer = admin.post(&path, &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    let page = admin.get(&format!("{path}?name=small")).await;
    page.says(StatusCode::OK, "Input $0.15, Output $0.60, A search $0.01");
    page.says(StatusCode::OK, "value=\"0.60\"");
    admin.get("/orgs/ours/models").await.says(StatusCode::OK, "$0.15 in, $0.60 out");
    let viewer = scene.fixture.browser(Role::Viewer).await;
    let seen = viewer.get(&format!("{path}?name=small")).await;
    seen.says(StatusCode::OK, "Input $0.15");
    assert!(!seen.body.contains("Save price"));
    let answer = admin.post(&path, &[("name", "small")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    admin.get("/orgs/ours/models").await.says(StatusCode::OK, "Not priced");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_program_says_what_a_model_costs(root: PgPool) {
    let scene = Scene::new(root).await;
    let token = scene.fixture.token(Role::Admin, false).await;
    let path = format!("/orgs/ours/providers/{}/models/price", scene.upstream);
    let call =
        async |method, path: &str, body| scene.fixture.api(Some(&token), method, path, body).await;
    let rates = json!({ "input": 150_000, "output": 600_000 });
    let tier = json!({ "above_tokens": 4_000, "rates": { "input": 300_000, "output": 600_000 } });
    let price = json!({ "rates": rates, "context_tiers": [tier] });
    let put = call(Method::PUT, &path, Some(json!({ "name": "small", "price": price }))).await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.body);
    assert_eq!(put.json()["price"], json!({ "revision": 1, "price": price }));
    let dear = json!({ "rates": { "input": 3_000_000_000_i64, "output": 0 } });
    let put = call(Method::PUT, &path, Some(json!({ "name": "small", "price": dear }))).await;
    assert_eq!(put.status, StatusCode::BAD_REQUEST, "{}", put.body);
    let listed = call(Method::GET, &format!("{path}?name=small"), None).await.json();
    assert_eq!(listed["data"][0]["price"], price);
    // The form keeps the tiers that it does not show.
    let admin = scene.fixture.browser(Role::Admin).await;
    let form = [("name", "small"), ("input", "0.10"), ("output", "0.60")];
    assert_eq!(admin.post(&path, &form).await.status, StatusCode::SEE_OTHER);
    let listed = call(Method::GET, &format!("{path}?name=small"), None).await.json();
    assert_eq!(listed["data"][0]["price"]["context_tiers"], json!([tier]));
}
