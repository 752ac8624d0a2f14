//! Alerts as they come from Redis and leave by mail and webhooks.

use std::{
    io::{Read, Write},
    net::TcpListener,
};

use actix_web::http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::{
    counters::{Places, Shard},
    snapshot::BudgetScope,
};
use sqlx::PgPool;

use super::*;
use crate::{access::Role, budgets::tests::new, testing::Fixture};

struct Scene {
    fixture: Fixture,
    budget: BudgetId,
    places: Places,
}

impl Scene {
    async fn new(root: PgPool) -> Self {
        let fixture = Fixture::allowing_private(root).await;
        let mut work = fixture.work(Role::Admin).await;
        let wanted = new("Everything", BudgetScope::Organization, 500);
        let budget = budgets::create(&mut work, &wanted).await.unwrap();
        work.commit().await.unwrap();
        let places = Places::with_prefix(&format!("alerts-{}:", BudgetId::generate()));
        Self { fixture, budget, places }
    }

    /// As a settlement tells of it.
    async fn pass(&self, percent: i16) {
        self.pass_of(percent, 1, ("money", 400_000_000_001, 500_000_000_000)).await;
    }

    async fn pass_of(&self, percent: i16, version: i64, of: (&str, i64, i64)) {
        let (kind, amount, cap) = of;
        let mut redis = self.fixture.platform.redis.get().await.unwrap();
        let stream = self.places.alerts(Shard::of(self.fixture.ours.id));
        let mut ask = redis::cmd("XADD");
        ask.arg(stream).arg("*").arg("budget").arg(self.budget.uuid().simple().to_string());
        ask.arg("window").arg(1_793_487_600_000_i64).arg("percent").arg(percent);
        ask.arg("spent").arg(400_000_000_001_i64);
        ask.arg("kind").arg(kind).arg("amount").arg(amount).arg("cap").arg(cap);
        ask.arg("version").arg(version);
        let _: String = ask.query_async(&mut redis).await.unwrap();
    }

    async fn take(&self) {
        take(&self.fixture.platform, &self.places).await.unwrap();
    }

    async fn letters(&self) -> Vec<(String, String)> {
        sqlx::query_as("SELECT recipient, subject FROM mail_outbox ORDER BY recipient, id")
            .fetch_all(&self.fixture.root)
            .await
            .unwrap()
    }

    async fn add(&self, url: &str) -> (WebhookId, SecretString) {
        let mut work = self.fixture.work(Role::Admin).await;
        let platform = &self.fixture.platform;
        let sealer = &platform.secrets.webhooks;
        let added = add(&mut work, &platform.egress, sealer, url, None).await.unwrap();
        work.commit().await.unwrap();
        added
    }
}

fn has_redis() -> bool {
    std::env::var("TURNPIKE_TEST_REDIS_URL").is_ok()
}

/// Answers one request with a status, and returns what it was.
fn answering(status: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&request);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
            if length.is_some_and(|it| body.len() >= it.parse::<usize>().unwrap()) {
                break;
            }
        }
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (url, answering)
}

#[sqlx::test(migrations = "../migrations")]
async fn an_alert_is_told_once_to_whom_it_is_for(root: PgPool) {
    if !has_redis() {
        return;
    }
    let scene = Scene::new(root).await;
    scene.add("http://127.0.0.1:9/hook").await;
    scene.pass(80).await;
    scene.take().await;
    let subject = "Budget “Everything” has reached 80 %".to_owned();
    let to = |role: &str| (format!("{role}@ours.test"), subject.clone());
    assert_eq!(scene.letters().await, [to("admin"), to("billing"), to("owner")]);
    // Told again, after a crash say, it is told to nobody.
    scene.pass(80).await;
    scene.take().await;
    assert_eq!(scene.letters().await.len(), 3);
    scene.pass(100).await;
    scene.take().await;
    assert_eq!(scene.letters().await.len(), 6);
    // Of another kind, and by other terms: the cap was raised.
    scene.pass_of(100, 2, ("tokens", 2_000, 2_000)).await;
    scene.take().await;
    assert_eq!(scene.letters().await.len(), 9);
    let mut work = scene.fixture.work(Role::Viewer).await;
    let told = latest(&mut work, Some(scene.budget)).await.unwrap();
    let told: Vec<_> = told.iter().map(|it| (it.percent, it.how.as_str())).collect();
    let money = "$400.00 of $500.00";
    assert_eq!(told, [(100, "2,000 tokens of 2,000 tokens"), (100, money), (80, money)]);
    let hook = webhooks(&mut work).await.unwrap().remove(0);
    assert_eq!(deliveries(&mut work, hook.id).await.unwrap().len(), 3);
    let mut theirs = scene.fixture.work_of(&scene.fixture.theirs, Role::Owner).await;
    assert!(latest(&mut theirs, None).await.unwrap().is_empty());
    assert!(webhooks(&mut theirs).await.unwrap().is_empty());
    assert!(matches!(remove(&mut theirs, hook.id).await, Err(AlertError::NoWebhook)));
    let ours = scene.fixture.ours.id;
    assert!(store::latest(&mut theirs, ours, None).await.unwrap().is_empty());
    assert!(store::deliveries(&mut theirs, ours, hook.id).await.unwrap().is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn what_cannot_be_read_or_is_nobodys_stops_no_other(root: PgPool) {
    if !has_redis() {
        return;
    }
    let scene = Scene::new(root).await;
    {
        let mut redis = scene.fixture.platform.redis.get().await.unwrap();
        let stream = scene.places.alerts(Shard::of(scene.fixture.ours.id));
        let stray = BudgetId::generate().uuid().simple().to_string();
        for budget in ["nonsense", &stray] {
            let mut ask = redis::cmd("XADD");
            ask.arg(&stream).arg("*").arg("budget").arg(budget).arg("window").arg(1);
            ask.arg("percent").arg(80).arg("spent").arg(1);
            let _: String = ask.query_async(&mut redis).await.unwrap();
        }
    }
    scene.pass(80).await;
    scene.take().await;
    assert_eq!(scene.letters().await.len(), 3);
    let mut redis = scene.fixture.platform.redis.get().await.unwrap();
    let left: usize = redis::cmd("XLEN")
        .arg(scene.places.alerts(Shard::of(scene.fixture.ours.id)))
        .query_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_message_is_signed_and_delivered_once(root: PgPool) {
    let scene = Scene::new(root).await;
    let (url, answering) = answering("204 No Content");
    let (id, secret) = scene.add(&url).await;
    let mut work = scene.fixture.work(Role::Admin).await;
    let delivery = try_webhook(&mut work, id).await.unwrap();
    work.commit().await.unwrap();
    let (platform, ours) = (&scene.fixture.platform, scene.fixture.ours.id);
    deliver_due(platform).await.unwrap();
    assert_eq!(send(platform, ours, delivery).await.unwrap(), Outcome::NotDue);
    let request = answering.join().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        head.lines().find_map(|it| it.strip_prefix(&format!("{name}: "))).expect("it is sent")
    };
    assert_eq!(header("webhook-id"), delivery.to_string());
    let key = BASE64.decode(secret.expose_secret().strip_prefix("whsec_").unwrap()).unwrap();
    let timestamp = header("webhook-timestamp").parse().unwrap();
    assert_eq!(header("webhook-signature"), signature(&key, delivery, timestamp, body));
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["type"], json!("test"));
    let mut work = scene.fixture.work(Role::Viewer).await;
    let told = deliveries(&mut work, id).await.unwrap().remove(0);
    assert_eq!((told.attempts, told.last_status), (1, Some(204)));
    assert!(told.delivered_at.is_some() && told.next_attempt_at.is_none());
}

#[sqlx::test(migrations = "../migrations")]
async fn what_was_not_taken_is_tried_again_later(root: PgPool) {
    let scene = Scene::new(root).await;
    let (url, answering) = answering("500 Internal Server Error");
    let (id, _) = scene.add(&url).await;
    let mut work = scene.fixture.work(Role::Admin).await;
    let delivery = try_webhook(&mut work, id).await.unwrap();
    work.commit().await.unwrap();
    let (platform, ours) = (&scene.fixture.platform, scene.fixture.ours.id);
    let outcome = send(platform, ours, delivery).await.unwrap();
    assert_eq!(outcome, Outcome::Refused(500, true));
    drop(answering.join());
    let mut work = scene.fixture.work(Role::Viewer).await;
    let told = deliveries(&mut work, id).await.unwrap().remove(0);
    assert!(told.delivered_at.is_none() && told.next_attempt_at > Some(OffsetDateTime::now_utc()));
    drop(work);
    assert_eq!(send(platform, ours, delivery).await.unwrap(), Outcome::NotDue);
    // The last attempt of all.
    sqlx::query("UPDATE webhook_deliveries SET attempts = 7, next_attempt_at = now()")
        .execute(&scene.fixture.root)
        .await
        .unwrap();
    assert_eq!(send(platform, ours, delivery).await.unwrap(), Outcome::Unanswered(false));
    let mut work = scene.fixture.work(Role::Viewer).await;
    let told = deliveries(&mut work, id).await.unwrap().remove(0);
    assert_eq!((told.attempts, told.next_attempt_at), (8, None));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_webhook_is_no_way_into_a_private_network(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let admin = fixture.browser(Role::Admin).await;
    for url in ["http://127.0.0.1:1/", "https://10.0.0.1/", "https://a:b@hooks.example.com/", "x"] {
        let page = admin.post("/orgs/ours/budgets/alerts/webhooks", &[("url", url)]).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{url}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_secret_is_shown_once(root: PgPool) {
    let scene = Scene::new(root).await;
    let billing = scene.fixture.browser(Role::Billing).await;
    let budget = scene.budget.to_string();
    let form = [("url", "https://hooks.example.com/turnpike"), ("budget", budget.as_str())];
    let page = billing.post("/orgs/ours/budgets/alerts/webhooks", &form).await;
    page.says(StatusCode::OK, "whsec_");
    let page = billing.get("/orgs/ours/budgets/alerts").await;
    page.says(StatusCode::OK, "hooks.example.com/turnpike");
    assert!(!page.body.contains("whsec_"));
    let token = scene.fixture.token(Role::Billing, false).await;
    let call =
        async |method, path: &str, body| scene.fixture.api(Some(&token), method, path, body).await;
    let listed = call(Method::GET, "/orgs/ours/webhooks", None).await.json();
    let hook = &listed["data"][0];
    assert_eq!((&hook["budget"], &hook["secret"]), (&json!(budget), &Value::Null));
    let path = format!("/orgs/ours/webhooks/{}", hook["id"].as_str().unwrap());
    let seen = call(Method::GET, &format!("{path}/deliveries"), None).await.json();
    assert_eq!(seen["data"], json!([]));
    assert_eq!(call(Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(call(Method::DELETE, &path, None).await.status, StatusCode::NOT_FOUND);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_test_goes_to_everybody_who_would_be_told_and_not_all_the_time(root: PgPool) {
    let scene = Scene::new(root).await;
    let billing = scene.fixture.browser(Role::Billing).await;
    let path = format!("/orgs/ours/budgets/{}/test-alert", scene.budget);
    assert_eq!(billing.post(&path, &[]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(scene.letters().await.len(), 3);
    assert_eq!(billing.post(&path, &[]).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(scene.letters().await.len(), 3);
}
