//! From the stream, and from people, to what proxies are given.

use actix_web::http::{Method, StatusCode};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use routing_engine::Turn;
use serde_json::json;
use shared::{
    event::{Decision, Event, Inputs},
    feedback::{FIELD, Feedback},
    ids::ApiKeyId,
    random,
};
use sqlx::PgPool;
use time::Duration;

use super::*;
use crate::{
    access::Role,
    requests::tests::event,
    testing::{Fixture, Tenant},
};

const CODE: &str = "Write a Python function that reverses a linked list.";

/// A stream of this test alone: the Redis is shared.
struct Desk {
    fixture: Fixture,
    project: ProjectId,
    key: ApiKeyId,
    stream: String,
}

fn kept_features(text: &str) -> String {
    let judged = router().judge(&Turn { text, ..Turn::default() });
    BASE64.encode(judged.features.encode())
}

impl Desk {
    async fn new(root: PgPool) -> Self {
        let fixture = Fixture::new(root).await;
        let stream = format!("test:{{{}}}:feedback", random::base62(12));
        Self { fixture, project: ProjectId::generate(), key: ApiKeyId::generate(), stream }
    }

    /// A request whose prompt was judged.
    fn judged(&self) -> Event {
        let decision = Decision {
            task: Some("code".into()),
            features: Some(kept_features(CODE)),
            ..Decision::default()
        };
        let event = event(self.fixture.ours.id, self.project, self.key);
        Event { decision: Some(Box::new(decision)), ..event }
    }

    async fn log(&self, event: &Event) {
        let mut conn = self.fixture.db.acquire().await.unwrap();
        requests::add(&mut conn, vec![event.clone()]).await.unwrap();
    }

    fn of(&self, request: RequestId, per_mille: u16) -> Feedback {
        Feedback {
            id: FeedbackId::generate(),
            organization: self.fixture.ours.id,
            project: self.project,
            key: self.key,
            request: Some(request),
            model: None,
            task: None,
            features: None,
            per_mille,
            at: OffsetDateTime::now_utc(),
        }
    }

    fn of_prompt(&self, model: &str, per_mille: u16) -> Feedback {
        Feedback {
            request: None,
            model: Some(model.into()),
            task: Some("code".into()),
            features: Some(kept_features(CODE)),
            ..self.of(RequestId::generate(), per_mille)
        }
    }

    async fn tell(&self, said: &[Feedback]) {
        let mut redis = self.fixture.platform.redis.get().await.unwrap();
        let mut telling = redis::pipe();
        for it in said {
            telling.cmd("XADD").arg((&self.stream, "*", FIELD, it.encode())).ignore();
        }
        let () = telling.query_async(&mut redis).await.unwrap();
    }

    /// Says how many are left.
    async fn take(&self) -> usize {
        take(&self.fixture.platform, &self.stream).await.unwrap();
        let mut redis = self.fixture.platform.redis.get().await.unwrap();
        redis::cmd("XLEN").arg(&self.stream).query_async(&mut redis).await.unwrap()
    }

    /// What is kept: of which model, how good, and whether anything can be learned from it.
    async fn kept(&self) -> Vec<(String, i16, bool)> {
        sqlx::query_as(
            "SELECT model, per_mille, task IS NOT NULL AND features IS NOT NULL
               FROM feedback ORDER BY model, per_mille",
        )
        .fetch_all(&self.fixture.root)
        .await
        .unwrap()
    }

    async fn state_of(&self, tenant: &Tenant) -> State {
        let mut work = self.fixture.work_of(tenant, Role::Owner).await;
        state(&mut work).await.unwrap()
    }

    async fn published(&self) -> Vec<snapshot::Learned> {
        published(&mut self.fixture.db.acquire().await.unwrap(), None).await.unwrap()
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_speaks_of_its_projects_requests_alone_and_says_one_thing_of_each(root: PgPool) {
    let desk = Desk::new(root).await;
    let request = desk.judged();
    desk.log(&request).await;
    let id = request.request;
    let said = desk.of(id, 200);
    let another = Feedback { project: ProjectId::generate(), ..desk.of(id, 0) };
    let elsewhere = Feedback { organization: desk.fixture.theirs.id, ..desk.of(id, 0) };
    let of_other = Feedback { model: Some("other".into()), ..desk.of(id, 700) };
    desk.tell(&[said.clone(), another, elsewhere, of_other]).await;
    // The request is not in the other organization's log: it may still come there.
    assert_eq!(desk.take().await, 1);
    let expected = [("gpt-5".to_owned(), 200, true), ("other".to_owned(), 700, true)];
    assert_eq!(desk.kept().await, expected);

    let later = Feedback { at: said.at + Duration::seconds(1), ..desk.of(id, 900) };
    let earlier = Feedback { at: said.at - Duration::seconds(9), ..desk.of(id, 100) };
    desk.tell(&[said.clone(), later, earlier, said]).await;
    desk.take().await;
    let expected = [("gpt-5".to_owned(), 900, true), ("other".to_owned(), 700, true)];
    assert_eq!(desk.kept().await, expected);
    let mut work = desk.fixture.work(Role::Viewer).await;
    let all = verdicts(&mut work, id, "gpt-5").await.unwrap();
    assert_eq!(all, Verdicts { count: 1, good: 1, own: None });
    drop(work);
    let mut theirs = desk.fixture.work_of(&desk.fixture.theirs, Role::Owner).await;
    assert_eq!(verdicts(&mut theirs, id, "gpt-5").await.unwrap(), Verdicts::default());
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_said_of_a_request_waits_for_it_a_while(root: PgPool) {
    let desk = Desk::new(root).await;
    let (request, never) = (desk.judged(), RequestId::generate());
    let old = OffsetDateTime::now_utc() - Duration::minutes(11);
    desk.tell(&[desk.of(request.request, 800), Feedback { at: old, ..desk.of(never, 0) }]).await;
    let prompt = desk.of_prompt("gpt-5", 300);
    desk.tell(&[prompt.clone(), prompt]).await;
    let mut redis = desk.fixture.platform.redis.get().await.unwrap();
    let () = redis::cmd("XADD")
        .arg((&desk.stream, "*", FIELD, "nonsense"))
        .query_async(&mut redis)
        .await
        .unwrap();
    assert_eq!(desk.take().await, 1);
    assert_eq!(desk.kept().await, [("gpt-5".to_owned(), 300, true)]);
    desk.log(&request).await;
    assert_eq!(desk.take().await, 0);
    let both = [("gpt-5".to_owned(), 300, true), ("gpt-5".to_owned(), 800, true)];
    assert_eq!(desk.kept().await, both);
}

#[sqlx::test(migrations = "../migrations")]
async fn whoever_sees_a_request_says_how_good_its_answer_was(root: PgPool) {
    let desk = Desk::new(root).await;
    let (request, refused) = (desk.judged(), Event { served: None, ..desk.judged() });
    desk.log(&request).await;
    desk.log(&refused).await;
    let browser = desk.fixture.browser(Role::Viewer).await;
    let path = format!("/orgs/ours/requests/{}", request.request);
    browser.get(&path).await.says(StatusCode::OK, "Nobody has said yet how good the answer was.");
    let there = format!("{path}/feedback");
    assert_eq!(browser.post(&there, &[("label", "good")]).await.location, Some(path.clone()));
    browser.get(&path).await.says(StatusCode::OK, "One said that it was good. You said good.");
    browser.post(&there, &[("label", "bad")]).await;
    browser.get(&path).await.says(StatusCode::OK, "One said that it was bad. You said bad.");
    let odd = browser.post(&there, &[("label", "fine")]).await;
    assert_eq!(odd.status, StatusCode::UNPROCESSABLE_ENTITY);

    let token = desk.fixture.token(Role::Developer, false).await;
    let of = |it: &Event| format!("/orgs/ours/requests/{}/feedback", it.request);
    for (at, body, status, words) in [
        (of(&request), json!({ "score": 0.75 }), StatusCode::NO_CONTENT, ""),
        (of(&request), json!({ "score": 1.5 }), StatusCode::BAD_REQUEST, "from 0 to 1"),
        (of(&request), json!({ "score": 1, "label": "good" }), StatusCode::BAD_REQUEST, "not both"),
        (
            of(&request),
            json!({ "label": "good", "model": "x" }),
            StatusCode::BAD_REQUEST,
            "no such",
        ),
        (of(&refused), json!({ "label": "good" }), StatusCode::CONFLICT, "nobody answered"),
        (
            format!("/orgs/ours/requests/{}/feedback", RequestId::generate()),
            json!({ "label": "good" }),
            StatusCode::NOT_FOUND,
            "no such request",
        ),
    ] {
        desk.fixture.api(Some(&token), Method::POST, &at, Some(body)).await.says(status, words);
    }
    let kept = desk.kept().await;
    assert_eq!(kept, [("gpt-5".to_owned(), 0, true), ("gpt-5".to_owned(), 750, true)]);
    let page = browser.get(&path).await;
    page.says(StatusCode::OK, "1 of 2 said that it was good. You said bad.");
    // Whoever guesses a prompt could tell by what it is like.
    let (at, hidden) = (format!("/orgs/ours/requests/{}", request.request), kept_features(CODE));
    let shown = desk.fixture.api(Some(&token), Method::GET, &at, None).await;
    shown.says(StatusCode::OK, "\"task\":\"code\"");
    assert!(!shown.body.contains(&hidden) && !page.body.contains(&hidden));
    browser
        .get(&format!("/orgs/ours/requests/{}", refused.request))
        .await
        .says(StatusCode::OK, "Why this request was not served");
}

#[sqlx::test(migrations = "../migrations")]
async fn outcomes_become_tables_of_their_organization_alone(root: PgPool) {
    let desk = Desk::new(root).await;
    let owner = desk.fixture.browser(Role::Owner).await;
    owner.get("/orgs/ours/learning").await.says(StatusCode::OK, "Nothing learned yet");
    let said: Vec<_> = (0..30)
        .flat_map(|_| [desk.of_prompt("good-one", 1_000), desk.of_prompt("bad-one", 0)])
        .collect();
    desk.tell(&said).await;
    assert_eq!(desk.take().await, 0);
    learn_due(&desk.fixture.platform).await.unwrap();
    let state = desk.state_of(&desk.fixture.ours).await;
    assert_eq!((state.labels, state.fresh), (60, 0));
    assert_eq!(desk.state_of(&desk.fixture.theirs).await.labels, 0);
    let [learned] = &desk.published().await[..] else { panic!() };
    assert_eq!(learned.organization, desk.fixture.ours.id);
    assert_eq!(Some(&learned.version), state.version.as_ref());
    let tables = Tables::decode(&learned.tables).unwrap();
    let judged = router().judge(&Turn { text: CODE, ..Turn::default() });
    let quality =
        |model| router().quality(&judged, model, &router().standing(model, None), Some(&tables));
    assert!(quality("good-one") > 0.7 && quality("bad-one") < 0.4);
    let page = owner.get("/orgs/ours/learning").await;
    page.says(StatusCode::OK, &learned.version);
    page.says(StatusCode::OK, "good-one");

    // Nothing is due until something is said, and little has to wait.
    learn_due(&desk.fixture.platform).await.unwrap();
    desk.tell(&[desk.of_prompt("good-one", 0)]).await;
    desk.take().await;
    learn_due(&desk.fixture.platform).await.unwrap();
    assert_eq!(desk.state_of(&desk.fixture.ours).await.fresh, 1);
    sqlx::query("UPDATE learned SET learned_at = now() - interval '6 minutes'")
        .execute(&desk.fixture.root)
        .await
        .unwrap();
    learn_due(&desk.fixture.platform).await.unwrap();
    assert_eq!(desk.state_of(&desk.fixture.ours).await.labels, 61);

    let viewer = desk.fixture.browser(Role::Developer).await;
    let refused = viewer.post("/orgs/ours/learning", &[("is_on", "false")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    owner.post("/orgs/ours/learning", &[("is_on", "false")]).await;
    assert!(desk.published().await.is_empty());
    owner.get("/orgs/ours/learning").await.says(StatusCode::OK, "Left aside");
    let token = desk.fixture.token(Role::Admin, false).await;
    let on = Some(json!({ "is_on": true }));
    let answer = desk.fixture.api(Some(&token), Method::PUT, "/orgs/ours/learning", on).await;
    assert_eq!((answer.status, &answer.json()["outcomes"]), (StatusCode::OK, &61.into()));
    assert_eq!(answer.json()["lessons"][0]["model"], "bad-one");
    assert_eq!(desk.published().await.len(), 1);
}

/// What is noted in the outbox is what has changed, so that proxies are told.
#[sqlx::test(migrations = "../migrations")]
async fn what_was_learned_is_noted_for_the_proxies(root: PgPool) {
    let desk = Desk::new(root).await;
    let noted = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM config_outbox WHERE entity = 'learned'")
            .fetch_one(&desk.fixture.root)
            .await
            .unwrap()
    };
    desk.tell(&[desk.of_prompt("gpt-5", 500)]).await;
    desk.take().await;
    assert_eq!(noted().await, 0);
    learn_due(&desk.fixture.platform).await.unwrap();
    assert_eq!(noted().await, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn how_many_are_explored_reaches_the_proxies(root: PgPool) {
    let desk = Desk::new(root).await;
    let published = async || {
        let mut conn = desk.fixture.db.acquire().await.unwrap();
        let all = crate::limits::published_organizations(&mut conn, None).await.unwrap();
        all.iter().map(|it| (it.organization, it.explore_per_mille)).collect::<Vec<_>>()
    };
    let owner = desk.fixture.browser(Role::Owner).await;
    let (here, ours) = ("/orgs/ours/learning/exploration", desk.fixture.ours.id);
    assert!(published().await.is_empty());
    for (per_mille, words) in [("101", "from 0 to 100"), ("2.5", "from 0 to 100"), ("", "from 0")] {
        let odd = owner.post(here, &[("per_mille", per_mille), ("baseline", "")]).await;
        odd.says(StatusCode::UNPROCESSABLE_ENTITY, words);
    }
    let odd = owner.post(here, &[("per_mille", "5"), ("baseline", "gone")]).await;
    odd.says(StatusCode::UNPROCESSABLE_ENTITY, "there is no such model");
    owner.post(here, &[("per_mille", "50"), ("baseline", "")]).await;
    assert_eq!(published().await, [(ours, 50)]);
    let noted: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM config_outbox WHERE entity = 'organization' AND record = $1",
    )
    .bind(ours.uuid())
    .fetch_one(&desk.fixture.root)
    .await
    .unwrap();
    assert!(noted > 0);
    let viewer = desk.fixture.browser(Role::Developer).await;
    let refused = viewer.post(here, &[("per_mille", "0"), ("baseline", "")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);

    let token = desk.fixture.token(Role::Admin, false).await;
    let put = async |body| desk.fixture.api(Some(&token), Method::PUT, here, Some(body)).await;
    put(json!({ "per_mille": 1_000 })).await.says(StatusCode::BAD_REQUEST, "from 0 to 100");
    put(json!({ "per_mille": 1, "share": 2 })).await.says(StatusCode::BAD_REQUEST, "share");
    let done = put(json!({ "per_mille": 7 })).await.json();
    assert_eq!(done["exploration"], json!({ "per_mille": 7, "baseline": null }));
    assert_eq!(published().await, [(ours, 7)]);
    put(json!({ "per_mille": 0, "baseline": null })).await;
    assert!(published().await.is_empty());
    // Whether feedback is used is another matter.
    assert!(desk.state_of(&desk.fixture.ours).await.is_on);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_asked_again_counts_for_less_than_a_word(root: PgPool) {
    let desk = Desk::new(root).await;
    let at = OffsetDateTime::now_utc() - Duration::minutes(20);
    let inputs = || Box::new(Inputs { input: 700, turns: 2, ..Inputs::default() });
    let call = |seconds| {
        let (mut event, at) = (desk.judged(), at + Duration::seconds(seconds));
        event.request = crate::requests::first_at(at);
        (event.started_at, event.total_ms) = (at, 900);
        event.decision.as_mut().unwrap().inputs = Some(inputs());
        event
    };
    let (first, again) = (call(0), call(60));
    desk.log(&first).await;
    desk.log(&again).await;
    notice_due(&desk.fixture.platform).await.unwrap();
    assert_eq!(desk.kept().await, [("gpt-5".to_owned(), 200, true)]);
    // Once it was looked for, it is not found again.
    notice_due(&desk.fixture.platform).await.unwrap();
    let since = at - Duration::minutes(30);
    signals::notice(&desk.fixture.platform, desk.fixture.ours.id, since).await.unwrap();
    assert_eq!(desk.kept().await.len(), 1);
    learn_due(&desk.fixture.platform).await.unwrap();
    let [learned] = &desk.published().await[..] else { panic!() };
    let counts = |it: &snapshot::Learned| {
        let tables = Tables::decode(&it.tables).unwrap();
        let (_, _, counts) = tables.counts().next().unwrap();
        (counts.seen, counts.good)
    };
    let (seen, good) = counts(learned);
    assert!((seen - 0.25).abs() < 1e-3 && (good - 0.05).abs() < 1e-3, "{seen} {good}");
    // It is nobody's word.
    let mut work = desk.fixture.work(Role::Viewer).await;
    let said = verdicts(&mut work, first.request, "gpt-5").await.unwrap();
    assert_eq!(said, Verdicts::default());
    assert_eq!(sources(&mut work).await.unwrap(), Sources { asked_again: 1, ..Sources::default() });
    drop(work);
    // And whoever says something is heard instead.
    desk.tell(&[desk.of(first.request, 1_000)]).await;
    desk.take().await;
    sqlx::query("UPDATE learned SET learned_at = now() - interval '6 minutes'")
        .execute(&desk.fixture.root)
        .await
        .unwrap();
    learn_due(&desk.fixture.platform).await.unwrap();
    let [learned] = &desk.published().await[..] else { panic!() };
    assert_eq!(counts(learned), (1.0, 1.0));
    let owner = desk.fixture.browser(Role::Owner).await;
    owner.get("/orgs/ours/learning").await.says(StatusCode::OK, "As calls show");
}

#[sqlx::test(migrations = "../migrations")]
async fn tools_that_nobody_can_call_count_for_less_than_a_word(root: PgPool) {
    let desk = Desk::new(root).await;
    let at = OffsetDateTime::now_utc() - Duration::minutes(20);
    let call = |seconds, input, spoilt_before| {
        let (mut event, at) = (desk.judged(), at + Duration::seconds(seconds));
        event.request = crate::requests::first_at(at);
        (event.started_at, event.total_ms) = (at, 900);
        let inputs = Inputs { input, turns: 1, spoilt_before, ..Inputs::default() };
        event.decision.as_mut().unwrap().inputs = Some(Box::new(inputs));
        event
    };
    for it in [call(0, 700, false), call(4, 740, true), call(9, 780, false)] {
        desk.log(&it).await;
    }
    notice_due(&desk.fixture.platform).await.unwrap();
    assert_eq!(desk.kept().await, [("gpt-5".to_owned(), 200, true)]);
    let mut work = desk.fixture.work(Role::Viewer).await;
    assert_eq!(sources(&mut work).await.unwrap(), Sources { tool_failed: 1, ..Sources::default() });
    drop(work);
    learn_due(&desk.fixture.platform).await.unwrap();
    let [learned] = &desk.published().await[..] else { panic!() };
    let tables = Tables::decode(&learned.tables).unwrap();
    let (_, _, counts) = tables.counts().next().unwrap();
    assert!((counts.seen - 0.25).abs() < 1e-3, "{counts:?}");
}

/// The demo's month tells it, proxies are given it, and people see it.
#[sqlx::test(migrations = "../migrations")]
async fn calls_tell_what_quality_may_cost(root: PgPool) {
    let fixture = Fixture::new(root).await;
    crate::demo::month(&fixture).await;
    let published = async || {
        let mut conn = fixture.db.acquire().await.unwrap();
        let all = crate::limits::published_organizations(&mut conn, None).await.unwrap();
        let worths = all
            .into_iter()
            .flat_map(|it| it.worths.into_iter().map(move |of| (it.organization, of)));
        worths.collect::<Vec<_>>()
    };
    assert_eq!(published().await, []);
    weigh_due(&fixture.platform).await.unwrap();
    let told = published().await;
    let [(organization, worth)] = told[..] else { panic!("{told:?}") };
    assert_eq!((organization, worth.goal), (fixture.ours.id, snapshot::Goal::QualityPercent(90)));
    assert!(worth.of_a_dollar.is_some_and(|it| it > 0), "{worth:?}");
    let noted = async || -> i64 {
        let noted =
            "SELECT count(*) FROM config_outbox WHERE entity = 'organization' AND record = $1";
        sqlx::query_scalar(noted).bind(organization.uuid()).fetch_one(&fixture.root).await.unwrap()
    };
    let before = noted().await;
    assert!(before > 0);
    // Not again so soon; and what is found again is no news.
    let again = async |earlier: &str| {
        let moved = "UPDATE learned SET worths_at = worths_at - $1::interval";
        sqlx::query(moved).bind(earlier).execute(&fixture.root).await.unwrap();
        weigh_due(&fixture.platform).await.unwrap();
        let fresh = "SELECT worths_at > now() - interval '1 minute' FROM learned";
        sqlx::query_scalar::<_, bool>(fresh).fetch_one(&fixture.root).await.unwrap()
    };
    assert!(!again("50 minutes").await);
    assert!(again("30 days").await);
    assert_eq!((published().await, noted().await), (told.clone(), before));

    let viewer = fixture.browser(Role::Viewer).await;
    let page = viewer.get("/orgs/ours/learning").await;
    page.says(StatusCode::OK, "Answers 90 % as good as the best");
    let token = fixture.token(Role::Viewer, false).await;
    let learning = fixture.api(Some(&token), Method::GET, "/orgs/ours/learning", None).await.json();
    assert_eq!(learning["worths"][0]["name"], "auto");
    assert_eq!(learning["worths"][0]["of_a_dollar"], worth.of_a_dollar.unwrap());
    assert!(learning["worths"][0]["calls"].as_u64().unwrap() >= 50);
}
