use shared::{
    counters::{Amounts, Counted},
    event::{Decision, Weighed},
    ids::BudgetId,
    snapshot::BudgetScope,
};

use super::*;
use crate::budgets;

#[sqlx::test(migrations = "../migrations")]
async fn before_the_first_call_the_page_says_how_to_make_one(root: PgPool) {
    let desk = Desk::new(root).await;
    let browser = desk.fixture.browser(Role::Developer).await;
    let page = browser.get("/orgs/ours/requests").await;
    page.says(StatusCode::OK, "No calls yet");
    page.says(StatusCode::OK, "curl http://127.0.0.1:7401/v1/chat/completions");
    desk.log(vec![desk.event()]).await;
    let page = browser.get("/orgs/ours/requests").await;
    page.says(StatusCode::OK, "gpt-5-2025");
    page.says(StatusCode::OK, "1,038 / 134");
    page.says(StatusCode::OK, "web-prod");
    let page = browser.get("/orgs/ours/requests?outcome=gone").await;
    page.says(StatusCode::OK, "No requests match");
}

#[sqlx::test(migrations = "../migrations")]
async fn the_address_is_the_filter_on_page_and_in_the_file(root: PgPool) {
    let desk = Desk::new(root).await;
    let failed = Event {
        outcome: Outcome::ServerError,
        status: 502,
        error: Some("upstream_error".into()),
        asked: "=evil()".into(),
        ..desk.event()
    };
    desk.log(vec![desk.event(), failed.clone()]).await;
    let browser = desk.fixture.browser(Role::Viewer).await;
    let page = browser.get("/orgs/ours/requests?outcome=unserved&status=502").await;
    page.says(StatusCode::OK, "502 Failed");
    assert_eq!(page.body.matches("<tr id=").count(), 1, "{}", page.body);
    page.says(StatusCode::OK, "/orgs/ours/requests.csv?outcome=unserved&#38;status=502");

    let file = browser.get("/orgs/ours/requests.csv?outcome=unserved&status=502").await;
    assert_eq!(file.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(file.body.lines().count(), 2);
    file.says(StatusCode::OK, &failed.request.to_string());
    file.says(StatusCode::OK, "\"'=evil()\"");

    let wrong = browser.get("/orgs/ours/requests?status=fine&range=ever").await;
    wrong.says(StatusCode::UNPROCESSABLE_ENTITY, "There are 2 problems");
    let billing = desk.fixture.browser(Role::Billing).await;
    assert_eq!(billing.get("/orgs/ours/requests").await.status, StatusCode::FORBIDDEN);
    assert!(!billing.get("/orgs/ours").await.body.contains("/orgs/ours/requests"));
}

#[sqlx::test(migrations = "../migrations")]
async fn older_ones_are_a_page_further(root: PgPool) {
    let desk = Desk::new(root).await;
    desk.log((0..60).map(|_| desk.event()).collect()).await;
    let browser = desk.fixture.browser(Role::Viewer).await;
    let first = browser.get("/orgs/ours/requests?range=day").await;
    assert_eq!(first.body.matches("<tr id=").count(), 50);
    assert!(first.body.contains("data-tail=") && !first.body.contains("First page"));
    let older = first.body.split("href=\"").find(|it| it.contains("rel=\"next\"")).unwrap();
    let older = older.split('"').next().unwrap().replace("&#38;", "&");
    assert!(older.starts_with("/orgs/ours/requests?range=day&after=req_"), "{older}");
    let second = browser.get(&older).await;
    assert_eq!(second.body.matches("<tr id=").count(), 10);
    assert!(!second.body.contains("data-tail=") && second.body.contains("First page"));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_requests_page_tells_what_happened_and_why(root: PgPool) {
    let desk = Desk::new(root).await;
    let mut work = desk.fixture.work(Role::Admin).await;
    let wanted = budgets::tests::new("<Bot>", BudgetScope::Organization, 5);
    let budget = budgets::create(&mut work, &wanted).await.unwrap();
    work.commit().await.unwrap();
    let gone = BudgetId::generate();
    let counted = |budget| Counted { budget, window: 0, amounts: Amounts::default() };
    let mut event = Event {
        asked: "<auto>".into(),
        policy: Some(PolicyVersion { name: "auto".into(), version: 7 }),
        reason: Some("policy".into()),
        decision: Some(Box::new(Decision {
            reason: "Policy auto@7: gpt-5 at openai is expected to cost least.".into(),
            candidates: vec![
                Weighed {
                    model: "gpt-5".into(),
                    provider: Some("openai".into()),
                    why: None,
                    upstream: None,
                    quality_ppm: Some(834_000),
                    cost: Some(Money::from_nanos(1_500_000)),
                    latency_ms: Some(640),
                    propensity_ppm: None,
                    pulse: None,
                },
                Weighed {
                    model: "<sonar>".into(),
                    provider: None,
                    why: Some("policy_region".into()),
                    upstream: None,
                    quality_ppm: None,
                    cost: None,
                    latency_ms: None,
                    propensity_ppm: None,
                    pulse: None,
                },
            ],
            ..Decision::default()
        })),
        outcome: Outcome::Broken,
        error: Some("upstream_error".into()),
        tags: [("team".to_owned(), "<search>".to_owned())].into(),
        settlement: None,
        billed_at_ms: 0,
        lines: Vec::new(),
        cost: Money::ZERO,
        counted: [budget, gone].map(counted).into(),
        overrun: Money::ZERO,
        ..desk.event()
    };
    let busy = Attempt {
        provider: "mistral".into(),
        outcome: "rate_limited".into(),
        status: Some(429),
        took_ms: 31,
        model: "large".into(),
    };
    event.attempts.insert(0, busy);
    desk.log(vec![event.clone()]).await;
    let browser = desk.fixture.browser(Role::Viewer).await;
    let page = browser.get(&format!("/orgs/ours/requests/{}", event.request)).await;
    for words in [
        "Why this request went to gpt-5-2025",
        "&#60;auto&#62;",
        "version 7",
        "Asked mistral for large",
        "Failed with 429: rate limited.",
        "after 1 that failed",
        "The answer broke off",
        "/docs/errors/upstream_error",
        "team=&#60;search&#62;",
        "is expected to cost least.",
        "83.4 %",
        "$0.0015",
        "Not asked: policy region",
        "&#60;sonar&#62;",
        "web-prod",
        &format!(r#"/budgets/{budget}">&#60;Bot&#62;</a>"#),
        &format!("<code>{gone}</code>"),
        &event.request.to_string(),
    ] {
        page.says(StatusCode::OK, words);
    }
    let gone = browser.get(&format!("/orgs/ours/requests/{}", RequestId::generate())).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
}

/// Whatever is missing: a call may have ended anywhere.
#[sqlx::test(migrations = "../migrations")]
async fn a_call_that_got_nowhere_has_a_page_too(root: PgPool) {
    let desk = Desk::new(root).await;
    let browser = desk.fixture.browser(Role::Viewer).await;
    for outcome in Outcome::ALL {
        let event = Event {
            asked: String::new(),
            reason: None,
            served: None,
            attempts: vec![],
            outcome,
            status: 0,
            first_byte_ms: None,
            usage_source: UsageSource::None,
            client: None,
            ..desk.event()
        };
        desk.log(vec![event.clone()]).await;
        let page = browser.get(&format!("/orgs/ours/requests/{}", event.request)).await;
        page.says(StatusCode::OK, "before we read which model it asked for");
        page.says(StatusCode::OK, outcome.title());
    }
    browser.get("/orgs/ours/requests").await.says(StatusCode::OK, "not said");
}

#[sqlx::test(migrations = "../migrations")]
async fn who_follows_is_sent_what_comes_and_what_they_asked_for(root: PgPool) {
    let desk = Desk::new(root).await;
    desk.log(vec![desk.event()]).await;
    let browser = desk.fixture.browser(Role::Viewer).await;
    let slow = Event { total_ms: 90_000, ..desk.event() };
    let later = async {
        desk.log(vec![desk.event(), slow.clone()]).await;
    };
    let path = "/orgs/ours/requests.live?min_ms=60000&since=1";
    let (pieces, ()) = tokio::join!(browser.begin(path, 2), later);
    assert_eq!(pieces[0], "retry: 1000\n\n");
    let event = &pieces[1];
    assert!(event.starts_with("id: 3\nevent: rows\ndata: ") && event.ends_with("\n\n"), "{event}");
    assert!(event.contains(&slow.request.to_string()), "{event}");
    assert_eq!(event.matches("<tr id=").count(), 1, "{event}");
    assert!(event.trim_end().lines().skip(2).all(|it| it.starts_with("data: ")), "{event}");
}
