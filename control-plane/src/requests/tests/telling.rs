//! What proxies are told of calls.

use redis::AsyncCommands;
use shared::{
    event::{Decision, Weighed},
    generations::{Question, Reply},
    random,
};

use super::*;
use crate::{requests::tell::PATIENCE, testing};

/// Calls of one organization, and a list of this test alone: the Redis is shared.
struct Asking {
    desk: Desk,
    list: String,
}

impl Asking {
    async fn new(root: PgPool) -> Self {
        let list = format!("test:{{{}}}:generations", random::base62(12));
        Self { desk: Desk::new(root).await, list }
    }

    async fn put(&self, question: &Question) {
        let mut redis = self.desk.fixture.platform.redis.get().await.unwrap();
        let () = redis.rpush(&self.list, question.encode()).await.unwrap();
    }

    /// What is asked now is answered before this ends.
    async fn answer(&self) {
        let address = testing::config().stores.redis_address().unwrap();
        let platform = self.desk.fixture.platform.clone();
        let teller = Teller::new(platform, address.clone(), &self.list);
        teller.answer_next(&mut address.connect(PATIENCE).await.unwrap()).await.unwrap();
    }

    async fn told(&self, question: &Question) -> Option<Reply> {
        let mut redis = self.desk.fixture.platform.redis.get().await.unwrap();
        let told: Option<Vec<u8>> = redis.get_del(question.place(&self.list)).await.unwrap();
        told.map(|it| Reply::decode(&it).unwrap())
    }
}

/// One that a policy decided, with all that is kept of that.
fn decided(event: Event) -> Event {
    let weighed = |model: &str, why: Option<&'static str>| Weighed {
        model: model.into(),
        provider: Some("openai".into()),
        upstream: None,
        why: why.map(Into::into),
        quality_ppm: Some(900_000),
        cost: Some(Money::from_nanos(1_200)),
        latency_ms: Some(300),
        pulse: None,
        propensity_ppm: None,
    };
    let decision = Decision {
        strategy: Some("auto".into()),
        reason: "It is good enough.".into(),
        candidates: vec![weighed("gpt-5", None), weighed("small", Some("tools"))],
        features: Some("AQ".into()),
        ..Decision::default()
    };
    let policy = PolicyVersion { name: "auto".into(), version: 3 };
    let cost = Money::from_nanos(1_234);
    Event { decision: Some(Box::new(decision)), policy: Some(policy), cost, ..event }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_is_told_of_its_projects_requests_alone_and_of_those_all(root: PgPool) {
    let it = Asking::new(root).await;
    let (ours, theirs) = (it.desk.fixture.ours.id, it.desk.fixture.theirs.id);
    let (project, event) = (it.desk.project, decided(it.desk.event()));
    it.desk.log(vec![event.clone()]).await;

    let of = |organization, project| Question::new(organization, project, event.request);
    let asked = [
        of(ours, project),
        of(ours, ProjectId::generate()),
        of(theirs, project),
        Question::new(ours, project, RequestId::generate()),
    ];
    for question in &asked {
        it.put(question).await;
    }
    it.answer().await;
    let Some(Reply::Found(record)) = it.told(&asked[0]).await else { panic!("it is ours") };
    for question in &asked[1..] {
        assert!(matches!(it.told(question).await, Some(Reply::NotFound)));
    }

    let mut record: Value = serde_json::from_str(record.get()).unwrap();
    let detail = format!("/orgs/ours/requests/{}", event.request);
    let mut same = it.desk.api(&detail).await;
    assert_eq!(record["decision"]["candidates"][1]["why"], "tools");
    assert_eq!(record["decision"]["features"], Value::Null, "whoever guesses a prompt could tell");
    for (field, value) in [
        ("object", "generation".into()),
        ("id", event.request.to_string()),
        ("cost_usd", "0.000001234".into()),
    ] {
        assert_eq!(record[field].take(), value);
        same[field] = Value::Null;
    }
    assert_eq!(record, same);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_log_that_is_away_is_said_to_be(root: PgPool) {
    let it = Asking::new(root).await;
    let question = Question::new(it.desk.fixture.ours.id, it.desk.project, RequestId::generate());
    let mut redis = it.desk.fixture.platform.redis.get().await.unwrap();
    let () = redis.rpush(&it.list, "nonsense").await.unwrap();
    it.put(&question).await;
    it.desk.fixture.db.close().await;
    it.answer().await;
    assert!(matches!(it.told(&question).await, Some(Reply::Away)));
}

#[sqlx::test(migrations = "../migrations")]
async fn who_tells_stops_with_the_process(root: PgPool) {
    let it = Asking::new(root).await;
    let address = testing::config().stores.redis_address().unwrap();
    let platform = it.desk.fixture.platform.clone();
    let teller = Teller::new(platform.clone(), address, &it.list);
    platform.drain();
    teller.run().await.unwrap();
}
