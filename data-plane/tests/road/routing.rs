//! How calls are routed, as callers see it.

use http::Request;
use serde_json::Value;
use shared::{
    ids::{PolicyId, UpstreamId},
    money::{PinnedPrice, Price, Rates, UnitPrice},
    snapshot::{Choice, Document, Policy, Snapshot, Strategy},
};

use crate::{
    plane::{Answer, Plane, send},
    upstream::{EVENTS, Event, JSON, LAST_CHUNK, Step, Upstream, answer, chunk},
};

const REPLY: &str = r#"{"id":"1","choices":[]}"#;

async fn post(plane: &Plane, path: &str, heads: &[(&str, &str)], body: &str) -> Answer {
    let request = Request::post(format!("http://{}{path}", plane.address));
    let request = request.header("authorization", plane.bearer());
    let request = heads.iter().fold(request, |it, (name, value)| it.header(*name, *value));
    send(request, body).await
}

/// Each model has a price, and the policy `any` is the cheapest of them.
fn priced(image: &mut Snapshot) {
    let price = |output| {
        let [input, output] = ["1000", output].map(|it| UnitPrice::per_million(it).unwrap());
        let price = Price::flat(Rates::of_text(input, output)).unwrap();
        Some(PinnedPrice { revision: 1, price })
    };
    for model in image.upstreams.iter_mut().flat_map(|it| &mut it.models) {
        model.price = price(if model.name == "auto" { "10" } else { "20" });
    }
    let otherwise = Choice { strategy: Strategy::Cheapest, ..Choice::default() };
    let (id, name) = (PolicyId::generate(), "any".to_owned());
    let document = Document { rules: vec![], otherwise };
    image.policies.push(Policy {
        id,
        organization: None,
        name,
        version: 4,
        document,
        staged: None,
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_told_and_nobody_is_called() {
    let mut upstream = Upstream::start([answer("200 OK", JSON, REPLY)]).await;
    let plane = Plane::bare(|_| ()).await;
    plane.serve_changed(upstream.address, priced);
    let body = r#"{"model":"any","messages":[{"role":"user","content":"Hi"}]}"#;
    let told = post(&plane, "/v1/route", &[], body).await.json();
    assert_eq!((&told["object"], &told["policy"]), (&"route".into(), &"any@4".into()));
    assert_eq!(told["chosen"]["model"], "auto");
    assert_eq!(
        (&told["strategy"], &told["candidates"][1]["eligible"]),
        (&"cheapest".into(), &true.into())
    );
    let words = "Policy any@4: auto at scripted is expected to cost least";
    assert!(told["reason"].as_str().unwrap().starts_with(words), "{told}");
    let refused =
        post(&plane, "/v1/route", &[], r#"{"model":"any","provider":{"zdr":true}}"#).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, "no_eligible_model".into()));
    let odd = post(&plane, "/v1/route/completions", &[], r#"{"model":"any","provider":{"x":1}}"#);
    assert_eq!(odd.await.json()["error"]["param"], "provider");
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_why_when_it_is_asked() {
    let mut upstream = Upstream::start([answer("200 OK", JSON, REPLY)]).await;
    let plane = Plane::bare(|_| ()).await;
    plane.serve_changed(upstream.address, priced);
    let (body, full) = (r#"{"model":"any","provider":{}}"#, [("x-turnpike-explain", "full")]);
    let path = "/v1/chat/completions";
    let plain = post(&plane, path, &[], body).await;
    assert_eq!(plain.body, REPLY);
    assert_eq!(plain.headers["x-turnpike-reason"], "cheapest");
    assert_eq!(plain.headers["x-turnpike-policy"], "any@4");
    let explained = post(&plane, path, &full, body).await.json();
    assert_eq!(explained["id"], "1");
    assert_eq!(explained["turnpike"]["chosen"]["model"], "auto");
    let Event::Request { body: sent, .. } = upstream.event().await else { panic!() };
    assert!(!sent.contains("provider"), "{sent}");

    let done = chunk("data: {\"choices\":[]}\n\ndata: [DONE]\n\n");
    let stream = [EVENTS.as_bytes(), &done, LAST_CHUNK].concat();
    let upstream = Upstream::start([vec![Step::Send(stream)]]).await;
    plane.serve_changed(upstream.address, |image| {
        image.revision = 2;
        priced(image);
    });
    let streamed = post(&plane, path, &full, r#"{"model":"any","stream":true}"#).await;
    let told = streamed.headers["x-turnpike-decision"].to_str().unwrap();
    let told: Value = serde_json::from_str(told).unwrap();
    assert_eq!((streamed.status.as_u16(), &told["policy"]), (200, &"any@4".into()));
}

/// What an attempt came to that nobody heard the end of is what it may have, and no other fits in
/// beside it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_may_cost_is_for_all_its_attempts() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    let cut = [vec![Step::Send(cut.into())]];
    let (mut first, mut second) =
        (Upstream::start(cut).await, Upstream::start([answer("200 OK", JSON, REPLY)]).await);
    let plane = Plane::bare(|_| ()).await;
    plane.serve_changed(first.address, |image| {
        let mut other = image.upstreams[0].clone();
        (other.id, other.provider) = (UpstreamId::generate(), "other".into());
        other.base_url = format!("http://{}/v1", second.address);
        other.credentials = vec![plane.credential(&other)];
        image.upstreams.push(other);
        priced(image);
    });
    // A thousand tokens of output are a cent, and the body's a dime.
    let body = r#"{"model":"auto"}"#;
    let asked = |most| {
        let plane = &plane;
        async move {
            let heads = [("x-turnpike-max-cost-usd", most)];
            let answer = post(plane, "/v1/chat/completions", &heads, body).await;
            (answer.status.as_u16(), answer.code_if_any())
        }
    };
    assert_eq!(asked("0.01").await, (400, Some("no_eligible_model".into())));
    assert_eq!((first.requests(), second.requests()), (0, 0));
    assert_eq!(asked("0.15").await.0, 502);
    assert_eq!((first.requests(), second.requests()), (1, 0));
    assert_eq!(asked("1").await, (200, None));
    assert_eq!(asked("a dollar").await, (400, Some("invalid_request".into())));
}
