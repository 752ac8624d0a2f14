//! What callers see of budgets, and what they come to.

use data_plane::catalog::feed::Source;
use serde_json::Value;
use shared::{
    event::UsageSource,
    ids::BudgetId,
    money::{Money, Period, PinnedPrice, Price, Rates, UnitPrice, Zone},
    snapshot::{Budget, BudgetScope, Caps, OnRedisLoss, OnTight, Snapshot, Thresholds},
};

use crate::{
    counting::{source, told},
    feed::redis_url,
    plane::{Plane, open, warm},
    soon,
    upstream::{EVENTS, Event, JSON, LAST_CHUNK, Step, Upstream, answer, chunk},
};

const WHOLE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}"#;
const ASKS: &str = r#"{"model":"auto","max_tokens":100}"#;

/// A dollar for a million tokens of input, and ten for as many of output.
pub fn price() -> PinnedPrice {
    let each = |it| UnitPrice::per_million(it).unwrap();
    let price = Price::flat(Rates::of_text(each("1"), each("10"))).unwrap();
    PinnedPrice { revision: 3, price }
}

/// With a hard budget of so many nano-dollars on everything.
pub fn budgeted(image: &mut Snapshot, nanos: i64) {
    let models = image.upstreams.iter_mut().flat_map(|it| &mut it.models);
    models.for_each(|it| it.price = Some(price()));
    image.budgets = vec![Budget {
        id: BudgetId::generate(),
        organization: image.keys[0].organization,
        name: "Everything".into(),
        scope: BudgetScope::Organization,
        period: Period::Total,
        zone: Zone::UTC,
        caps: Caps { money: Some(Money::from_nanos(nanos)), ..Caps::default() },
        raise: None,
        is_hard: true,
        thresholds: Thresholds::default(),
        on_tight: OnTight::Deny,
        on_redis_loss: OnRedisLoss::Closed,
        version: 1,
        raised_by: "the owner".into(),
    }];
}

/// With budgets that are open.
async fn serve(
    plane: &Plane,
    source: &Source,
    upstream: &Upstream,
    change: impl FnOnce(&mut Snapshot),
) {
    let mut budgets = Vec::new();
    plane.serve_changed(upstream.address, |it| {
        change(it);
        budgets.clone_from(&it.budgets);
    });
    open(source, &budgets).await;
}

async fn plane(source: &Source, upstream: &Upstream, change: impl FnOnce(&mut Snapshot)) -> Plane {
    warm(source).await;
    let plane = Plane::bare_from(source.clone(), |it| it.redis_url = redis_url()).await;
    serve(&plane, source, upstream, change).await;
    // The store is first looked for beside the road.
    soon(async { while plane.get("/readyz").await.json()["limits"] != "shared" {} }).await;
    plane
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_let_through_within_its_budget_and_then_refused() {
    let (mut upstream, source) = (Upstream::start([answer("200 OK", JSON, WHOLE)]).await, source());
    // Once the worst case, and what the first will have come to.
    let plane = plane(&source, &upstream, |it| budgeted(it, 1_160_000)).await;
    let first = plane.chat(ASKS).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.headers["x-turnpike-cost-usd"], "0.000049000");
    assert!(first.headers.contains_key("x-turnpike-budget-remaining"));
    let Event::Request { body, .. } = upstream.event().await else { panic!() };
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["max_tokens"], 100);
    // What the budget is not known to allow is written down.
    let uncapped = plane.chat(r#"{"model":"auto"}"#).await;
    assert_eq!((uncapped.status.as_u16(), uncapped.code().as_str()), (402, "budget_exceeded"));
    assert_eq!(uncapped.headers["x-should-retry"], "false");
    let error = &uncapped.json()["error"];
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("Everything") && message.ends_with("Ask the owner to raise it."));
    assert_eq!(error["type"], "insufficient_quota");
    assert_eq!(error["details"]["cap"], 1_160_000);
    assert_eq!(upstream.requests(), 0);
    soon(plane.running.drain()).await;
    let events = told(&source).await;
    let costs: Vec<_> = events.iter().map(|it| (it.status, it.cost.nanos())).collect();
    assert_eq!(costs, [(200, 49_000), (402, 0)]);
    assert_eq!(events[0].counted[0].amounts.money, 49_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_costs_the_same_whether_its_usage_was_asked_for_or_not() {
    let begun = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    let counted =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n";
    let stream = [begun, counted, "data: [DONE]\n\n"].concat();
    let script = vec![Step::Send([EVENTS.as_bytes(), &chunk(&stream), LAST_CHUNK].concat())];
    let broken = vec![Step::Send([EVENTS.as_bytes(), &chunk(begun)].concat())];
    let (upstream, source) = (Upstream::start([script.clone(), script, broken]).await, source());
    let plane = plane(&source, &upstream, |it| budgeted(it, 100_000_000)).await;
    let asks = r#"{"model":"auto","stream":true,"stream_options":{"include_usage":false}}"#;
    plane.chat(r#"{"model":"auto","stream":true,"stream_options":{"include_usage":true}}"#).await;
    plane.chat(asks).await;
    // What breaks is paid for as far as it came, at the most that this may have been.
    plane.chat(asks).await;
    soon(plane.running.drain()).await;
    let events = told(&source).await;
    let costs: Vec<_> = events.iter().map(|it| (it.cost.nanos(), it.usage_source)).collect();
    let [first, second, (cost, source)] = costs[..] else { panic!("{costs:?}") };
    assert_eq!((first, second), ((49_000, UsageSource::Upstream), first));
    assert_eq!(source, UsageSource::Interrupted);
    assert_eq!(cost % 10_000, i64::try_from(events[2].usage.input).unwrap() * 1_000 % 10_000);
    assert_eq!(events[2].usage.output, 2);
}

/// Whoever leaves at the last moment, again and again, pays what a provider bills.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_before_the_answer_pays_what_it_comes_to() {
    let signal = std::sync::Arc::new(tokio::sync::Notify::new());
    let mut script = answer("200 OK", JSON, WHOLE);
    script.insert(0, Step::Await(signal.clone()));
    let (mut upstream, source) = (Upstream::start([script]).await, source());
    // Once the worst case.
    let plane = plane(&source, &upstream, |it| budgeted(it, 1_160_000)).await;
    let client = plane.open(ASKS).await;
    assert!(matches!(upstream.event().await, Event::Request { .. }));
    drop(client);
    soon(plane.is_idle()).await;
    // It is held until then.
    assert_eq!(plane.chat(ASKS).await.code(), "budget_exceeded");
    signal.notify_one();
    soon(plane.running.drain()).await;
    let events = told(&source).await;
    let costs: Vec<_> = events.iter().map(|it| (it.status, it.cost.nanos())).collect();
    assert_eq!(costs, [(402, 0), (0, 49_000)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_we_did_not_wait_for_costs_as_much_as_it_may() {
    let (upstream, source) = (Upstream::start([vec![Step::Hang]]).await, source());
    warm(&source).await;
    let plane = Plane::bare_from(source.clone(), |it| {
        it.redis_url = redis_url();
        it.timeouts.first_byte = std::time::Duration::from_millis(100);
    });
    let plane = plane.await;
    serve(&plane, &source, &upstream, |it| budgeted(it, 100_000_000)).await;
    soon(async { while plane.get("/readyz").await.json()["limits"] != "shared" {} }).await;
    assert_eq!(plane.chat(ASKS).await.status, 504);
    soon(plane.running.drain()).await;
    let events = told(&source).await;
    assert_eq!((events[0].cost.nanos(), events[0].overrun), (1_097_000, Money::ZERO));
    assert_eq!(events[0].usage_source, UsageSource::Estimated);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_beyond_the_cap_is_broken_off_and_paid_for_what_came() {
    let word = "data: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n";
    let stream = [EVENTS.as_bytes(), &chunk(&word.repeat(400))].concat();
    let (mut upstream, source) =
        (Upstream::start([vec![Step::Send(stream), Step::Hang]]).await, source());
    let plane = plane(&source, &upstream, |it| budgeted(it, 100_000_000)).await;
    let told_client = plane.chat(r#"{"model":"auto","max_tokens":100,"stream":true}"#).await;
    let text = String::from_utf8(told_client.body.to_vec()).unwrap();
    assert!(text.contains("upstream_error") && !text.contains("[DONE]"), "{text}");
    assert!(matches!(upstream.event().await, Event::Request { .. }));
    assert_eq!(upstream.event().await, Event::HungUp);
    soon(plane.running.drain()).await;
    let event = told(&source).await.remove(0);
    // As soon as there are surely more than a hundred: every other piece is a token at least.
    assert!((101..=136).contains(&event.usage.output), "{event:?}");
    assert_eq!(event.usage_source, UsageSource::Interrupted);
    assert!(event.overrun > Money::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_price_is_refused_where_a_budget_has_to_hold() {
    let (mut upstream, source) = (Upstream::start([answer("200 OK", JSON, WHOLE)]).await, source());
    let plane = plane(&source, &upstream, |it| {
        budgeted(it, 1_000_000_000);
        it.upstreams[0].models[0].price = None;
    });
    let plane = plane.await;
    let refused = plane.chat(ASKS).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "model_not_priced"));
    assert_eq!(upstream.requests(), 0);
    assert_eq!(plane.chat(r#"{"model":"same"}"#).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_a_hard_budget_refuses_and_the_rest_goes_on() {
    let upstream = Upstream::start([answer("200 OK", JSON, WHOLE)]).await;
    let plane = Plane::bare(|_| ()).await;
    plane.serve_changed(upstream.address, |it| budgeted(it, 1_000_000_000));
    let refused = plane.chat(ASKS).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (503, "budget_backend_unavailable")
    );
    assert!(refused.headers.contains_key("retry-after"));
    plane.serve_changed(upstream.address, |it| {
        budgeted(it, 1_000_000_000);
        it.budgets[0].is_hard = false;
        it.revision = 2;
    });
    assert_eq!(plane.chat(ASKS).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_says_what_a_call_would_cost_and_holds_nothing() {
    let (mut upstream, source) = (Upstream::start([answer("200 OK", JSON, WHOLE)]).await, source());
    let plane = plane(&source, &upstream, |it| budgeted(it, 1_160_000)).await;
    let request = || {
        http::Request::post(format!("http://{}/v1/quote", plane.address))
            .header("authorization", plane.bearer())
    };
    let quote = crate::plane::send(request(), ASKS).await;
    assert_eq!(quote.status, 200, "{quote:?}");
    let quote = quote.json();
    // 33 bytes and the frame, and a hundred tokens.
    assert_eq!(quote["worst_case_usd"], "0.001097000");
    let candidate = &quote["candidates"][0];
    assert_eq!(candidate["most_output_tokens"], 100);
    assert_eq!(candidate["price"]["revision"], 3);
    assert_eq!(quote["is_counted"], true);
    assert_eq!(quote["binds"]["is_enough"], true);
    assert_eq!(quote["binds"]["room_usd"], "0.001160000");
    assert_eq!(quote["budgets"][0]["room"]["usd"], "0.001160000");
    assert_eq!(quote["budgets"][0]["would_hold"]["usd"], "0.001097000");
    let large = crate::plane::send(request(), r#"{"model":"auto"}"#).await.json();
    assert_eq!(large["binds"]["is_enough"], false);
    assert_eq!(upstream.requests(), 0);
    assert_eq!(plane.chat(ASKS).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_says_whether_a_hard_budget_is_counted() {
    let (upstream, source) = (Upstream::start([answer("200 OK", JSON, WHOLE)]).await, source());
    let plane = Plane::bare_from(source.clone(), |it| it.redis_url = redis_url()).await;
    let mut budgets = Vec::new();
    plane.serve_changed(upstream.address, |it| {
        budgeted(it, 1_160_000);
        budgets.clone_from(&it.budgets);
    });
    soon(async { while plane.get("/readyz").await.json()["limits"] != "shared" {} }).await;
    let is_counted = async || {
        let request = http::Request::post(format!("http://{}/v1/quote", plane.address));
        let quote = crate::plane::send(request.header("authorization", plane.bearer()), ASKS);
        let quote = quote.await.json();
        let is_counted = quote["is_counted"].as_bool().unwrap();
        assert_eq!(quote["binds"].is_null(), !is_counted, "{quote}");
        assert_eq!(quote["budgets"][0]["room"]["usd"].is_null(), !is_counted, "{quote}");
        assert_eq!(plane.chat(ASKS).await.status, if is_counted { 200 } else { 503 });
        is_counted
    };
    assert!(!is_counted().await, "the store is not healed");
    warm(&source).await;
    assert!(!is_counted().await, "nobody has said what was spent before");
    open(&source, &budgets).await;
    assert!(is_counted().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_is_what_the_call_itself_would_be_let_through_with() {
    let (mut upstream, source) = (Upstream::start([answer("200 OK", JSON, WHOLE)]).await, source());
    let plane = plane(&source, &upstream, |it| {
        budgeted(it, 5_000_000);
        it.budgets[0].on_tight = OnTight::Clamp;
        it.upstreams[0].models[1].price = None;
        it.keys[0].limits.requests_per_minute = Some(3);
    });
    let plane = plane.await;
    let quote = async |body: &str| {
        let request = http::Request::post(format!("http://{}/v1/quote", plane.address));
        crate::plane::send(request.header("authorization", plane.bearer()), body).await
    };
    // It would be made shorter, and let through.
    let told = quote(r#"{"model":"auto"}"#).await.json();
    assert_eq!(told["binds"]["is_enough"], true, "{told}");
    let clamped_to = told["binds"]["output_clamped_to"].as_u64().unwrap();
    let called = plane.chat(r#"{"model":"auto"}"#).await;
    assert_eq!(called.headers["x-turnpike-output-clamped"], clamped_to.to_string());
    upstream.requests();
    // Nobody may use what has no price here.
    let told = quote(r#"{"model":"same"}"#).await.json();
    assert!(told["worst_case_usd"].is_null() && told["binds"].is_null(), "{told}");
    assert_eq!(told["candidates"][0]["not_usable"], "it has no price");
    // Each was a request.
    assert_eq!(quote(ASKS).await.status, 429);
}
