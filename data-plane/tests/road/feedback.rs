//! What callers say of answers, from their call to the stream, and what calls are routed by then.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use http::Request;
use redis::aio::MultiplexedConnection;
use routing_engine::{Features, Label, Task, Tenant};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use shared::{
    feedback::{FIELD, Feedback, MOST_WAITING},
    ids::PolicyId,
    money::{PinnedPrice, Price, Rates, UnitPrice},
    snapshot::{Choice, Document, Learned, Policy, Snapshot, Strategy},
};

use crate::{
    counting::source,
    feed::redis_url,
    plane::{Answer, Plane, send, warm},
    upstream::Upstream,
};

const QUESTION: &str = "Write a Python function that sorts a list of numbers.";

async fn post(plane: &Plane, path: &str, body: &Value) -> Answer {
    let request = Request::post(format!("http://{}{path}", plane.address));
    send(request.header("authorization", plane.bearer()), &body.to_string()).await
}

async fn redis() -> MultiplexedConnection {
    let client = redis::Client::open(redis_url().expose_secret()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// What waits for the control plane.
async fn waiting(stream: &str) -> Vec<Feedback> {
    type Entry = (String, Vec<(String, Vec<u8>)>);
    let mut range = redis::cmd("XRANGE");
    range.arg(stream).arg("-").arg("+");
    let entries: Vec<Entry> = range.query_async(&mut redis().await).await.unwrap();
    let fields = entries.into_iter().flat_map(|(_, fields)| fields);
    let said = fields.inspect(|(name, _)| assert_eq!(name, FIELD));
    said.map(|(_, bytes)| Feedback::decode(&bytes).unwrap()).collect()
}

/// Both models cost the same, and `best` leads to the better one.
fn compared(image: &mut Snapshot) {
    let one = || UnitPrice::per_million("1").unwrap();
    for model in image.upstreams.iter_mut().flat_map(|it| &mut it.models) {
        let price = Price::flat(Rates::of_text(one(), one())).unwrap();
        model.price = Some(PinnedPrice { revision: 1, price });
    }
    let otherwise = Choice { strategy: Strategy::Auto, ..Choice::default() };
    image.policies.push(Policy {
        id: PolicyId::generate(),
        organization: None,
        name: "best".into(),
        version: 1,
        document: Document { rules: vec![], otherwise },
        staged: None,
    });
}

/// As the control plane learns from it.
fn learned(said: &[Feedback]) -> Learned {
    let mut tenant = Tenant::default();
    for it in said {
        let features = BASE64.decode(it.features.as_ref().unwrap()).unwrap();
        tenant.learn(Label {
            features: Arc::new(Features::decode(&features).unwrap()),
            task: Task::named(it.task.as_ref().unwrap()).unwrap(),
            model: it.model.clone().unwrap(),
            expected: 0.5,
            score: f32::from(it.per_mille) / 1_000.0,
        });
    }
    tenant.refit();
    let tables = tenant.learned().encode();
    let version = routing_engine::Learned::version(&tables);
    Learned { organization: said[0].organization, version, tables }
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_of_two_models_change_where_a_call_goes() {
    let (upstream, source) = (Upstream::start([]).await, source());
    warm(&source).await;
    let plane = Plane::bare_from(source.clone(), |it| it.redis_url = redis_url()).await;
    plane.serve_changed(upstream.address, compared);
    let asked = json!({ "model": "best", "messages": [{ "role": "user", "content": QUESTION }] });
    let before = post(&plane, "/v1/route", &asked).await.json();
    assert_eq!(before["learned"], Value::Null);
    let [first, second] = [0, 1].map(|at| before["candidates"][at]["model"].as_str().unwrap());
    assert_ne!(first, second);

    let item = |model, score| json!({ "prompt": QUESTION, "model": model, "score": score });
    let items: Vec<_> = (0..40).flat_map(|_| [item(first, 0.0), item(second, 1.0)]).collect();
    let answer = post(&plane, "/v1/feedback", &json!({ "items": items })).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["taken"]), (202, &80.into()));
    let said = waiting(&source.feedback).await;
    assert_eq!(said.len(), 80);
    assert!(said.iter().all(|it| it.request.is_none() && it.task.as_deref() == Some("code")));
    assert!(!String::from_utf8_lossy(&said[0].encode()).contains("Python"));

    let mut learned = learned(&said);
    let version = learned.version.clone();
    plane.serve_changed(upstream.address, |image| {
        image.revision = 2;
        compared(image);
        learned.organization = image.keys[0].organization;
        image.learned.push(learned);
    });
    let after = post(&plane, "/v1/route", &asked).await.json();
    assert_eq!((&after["chosen"]["model"], &after["learned"]), (&second.into(), &version.into()));
    let quality = |at: usize| after["candidates"][at]["quality"].as_f64().unwrap();
    assert!(quality(0) > 0.8 && quality(1) < 0.5, "{after}");
    // Nobody had to judge a call for a model by its own name.
    let pinned = post(&plane, "/v1/route", &json!({ "model": first })).await.json();
    assert_eq!(pinned["learned"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_judged_is_refused_and_nothing_of_it_is_taken() {
    let (upstream, source) = (Upstream::start([]).await, source());
    warm(&source).await;
    let plane = Plane::bare_from(source.clone(), |it| it.redis_url = redis_url()).await;
    plane.serve(upstream.address);
    let good = json!({ "prompt": "Hi", "model": "auto", "label": "good" });
    for (bad, status, param) in [
        (json!({ "prompt": "Hi", "model": "nobody", "score": 1 }), 404, "model"),
        (json!({ "prompt": "Hi", "model": "auto", "score": 2 }), 400, "score"),
        (json!({ "messages": [[]], "model": "auto", "stars": 2 }), 400, ""),
        (json!({ "score": 1 }), 400, "request_id"),
    ] {
        let answer = post(&plane, "/v1/feedback", &json!({ "items": [good, bad] })).await;
        let told = answer.json();
        assert_eq!(answer.status.as_u16(), status, "{told}");
        assert_eq!(told["error"]["param"].as_str().unwrap_or_default(), param);
        assert!(told["error"]["message"].as_str().unwrap().starts_with("items[1]: "), "{told}");
    }
    assert!(waiting(&source.feedback).await.is_empty());

    let mut filling = redis::pipe();
    for _ in 0..MOST_WAITING {
        filling.cmd("XADD").arg((&source.feedback, "*", FIELD, "{}")).ignore();
    }
    let () = filling.query_async(&mut redis().await).await.unwrap();
    let full = post(&plane, "/v1/feedback", &good).await;
    assert_eq!((full.status.as_u16(), full.code()), (503, "unavailable".into()));
    let () = redis::cmd("DEL").arg(&source.feedback).query_async(&mut redis().await).await.unwrap();
    assert_eq!(post(&plane, "/v1/feedback", &good).await.status.as_u16(), 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_nothing_is_said_to_be_taken() {
    let upstream = Upstream::start([]).await;
    let plane = Plane::bare(|_| ()).await;
    plane.serve(upstream.address);
    let said = json!({ "prompt": "Hi", "model": "auto", "label": "good" });
    let answer = post(&plane, "/v1/feedback", &said).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (503, "unavailable".into()));
    assert!(answer.headers.contains_key("retry-after"));
}
