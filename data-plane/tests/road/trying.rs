//! How a policy says that calls are tried: when another is asked, how often, who is asked as well
//! where one is silent, and which session keeps its model.

use std::sync::Arc;

use data_plane::catalog::feed::Source;
use http::Request;
use shared::{
    event::{self, UsageSource},
    ids::{PolicyId, UpstreamId},
    snapshot::{Choice, Dialect, Document, Policy, Snapshot},
};
use tokio::sync::Notify;

use crate::{
    budgets::{budgeted, price},
    counting::{source, told},
    feed::redis_url,
    plane::{Answer, Plane, open, send, warm},
    soon,
    upstream::{EVENTS, Event, JSON, LAST_CHUNK, Step, Upstream, answer, chunk},
};

const CALL: &str = r#"{"model":"p","max_tokens":100,"messages":[{"role":"user","content":"Hi"}]}"#;
const STREAM: &str =
    r#"{"model":"p","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
const WHOLE: &str = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}"#;
const REFUSAL: &str = r#"{"error":{"message":"no"}}"#;
const WRITTEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n\
     data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\n\
     data: [DONE]\n\n";

fn good() -> Vec<Step> {
    answer("200 OK", JSON, WHOLE)
}

fn refusal(status: &str) -> Vec<Step> {
    answer(status, JSON, REFUSAL)
}

fn stream() -> Vec<Step> {
    vec![Step::Send([EVENTS.as_bytes(), &chunk(WRITTEN), LAST_CHUNK].concat())]
}

/// Does nothing before the test says so.
fn awaiting(signal: &Arc<Notify>, mut script: Vec<Step>) -> Vec<Step> {
    script.insert(0, Step::Await(signal.clone()));
    script
}

/// A second upstream that serves the same, and the policy `p`: the first, then the second, with
/// what `how` adds to it.
fn two(plane: &Plane, image: &mut Snapshot, second: &Upstream, how: &str) {
    let mut other = image.upstreams[0].clone();
    (other.id, other.provider) = (UpstreamId::generate(), "other".into());
    other.base_url = format!("http://{}/v1", second.address);
    other.credentials = vec![plane.credential(&other)];
    image.upstreams.push(other);
    let target = |it: &str| serde_json::json!({ "targets": [{ "model": "auto", "provider": it }] });
    let mut choice: serde_json::Value = serde_json::from_str(how).unwrap();
    choice["strategy"] = "priority".into();
    choice["tiers"] = serde_json::json!([target("scripted"), target("other")]);
    let otherwise: Choice = serde_json::from_value(choice).unwrap();
    image.policies.push(Policy {
        id: PolicyId::generate(),
        organization: None,
        name: "p".into(),
        version: 1,
        document: Document { rules: vec![], otherwise },
        staged: None,
    });
}

async fn plane(first: &Upstream, second: &Upstream, how: &str) -> Plane {
    let plane = Plane::bare(|_| ()).await;
    plane.serve_changed(first.address, |it| two(&plane, it, second, how));
    plane
}

#[track_caller]
fn check(answer: &Answer, status: u16, provider: &str, attempts: usize) {
    let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    let told = (answer.status.as_u16(), header("x-turnpike-provider"));
    assert_eq!(told, (status, provider.to_owned()), "{answer:?}");
    assert_eq!(header("x-turnpike-attempts"), attempts.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_is_asked_after_the_failures_that_a_policy_names() {
    for (how, script, status, provider, attempts) in [
        (r#"{"fallback":{"on":["rate_limited"]}}"#, refusal("404 No"), 404, "scripted", 1),
        (r#"{"fallback":{"on":["model"]}}"#, refusal("404 No"), 200, "other", 2),
        (r#"{"fallback":{"on":[]}}"#, refusal("401 No"), 502, "scripted", 1),
        (r#"{"retry":{"attempts":1}}"#, refusal("500 Oops"), 502, "scripted", 1),
        (r#"{"retry":{"attempts":2}}"#, refusal("500 Oops"), 200, "other", 2),
        (r#"{"retry":{"first_byte_seconds":1}}"#, vec![Step::Hang], 200, "other", 2),
        (r#"{"retry":{"total_seconds":1}}"#, vec![Step::Hang], 504, "scripted", 1),
    ] {
        let (first, second) = (Upstream::start([script]).await, Upstream::start([good()]).await);
        let plane = plane(&first, &second, how).await;
        check(&plane.chat(CALL).await, status, provider, attempts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_place_may_be_asked_again_where_no_other_is() {
    let (first, mut second) =
        (Upstream::start([refusal("500 Oops"), good()]).await, Upstream::start([good()]).await);
    let plane = plane(&first, &second, r#"{"fallback":{"on":[]}}"#).await;
    check(&plane.chat(CALL).await, 200, "scripted", 2);
    assert_eq!(second.requests(), 0);
}

const HEDGED: &str = r#"{"hedge":{"after":50,"most_percent":20}}"#;

/// As many good answers as it takes until a second may be asked, and then that.
fn earning(then: Vec<Step>) -> Vec<Vec<Step>> {
    [vec![good(); 4], vec![then]].concat()
}

/// With a store of counters.
async fn counted(
    source: &Source,
    (first, second): (&Upstream, &Upstream),
    how: &str,
    change: impl FnOnce(&mut Snapshot),
) -> Plane {
    warm(source).await;
    let plane = Plane::bare_from(source.clone(), |it| it.redis_url = redis_url()).await;
    let mut budgets = Vec::new();
    plane.serve_changed(first.address, |it| {
        two(&plane, it, second, how);
        change(it);
        budgets.clone_from(&it.budgets);
    });
    open(source, &budgets).await;
    soon(async { while plane.get("/readyz").await.json()["limits"] != "shared" {} }).await;
    for settled in 1..=4 {
        assert_eq!(plane.chat(CALL).await.status, 200);
        // What one holds is not there for the next.
        soon(async { while told(source).await.len() < settled {} }).await;
    }
    plane
}

/// The last call's, after all was heard.
async fn last_event(plane: Plane, source: &Source) -> event::Event {
    soon(plane.running.drain()).await;
    let mut events = told(source).await;
    assert_eq!(events.len(), 5);
    events.sort_by_key(|it| it.settlement.map(|it| it.number));
    events.pop().unwrap()
}

fn fates(event: &event::Event) -> Vec<&str> {
    event.attempts.iter().map(|it| &*it.outcome).collect()
}

fn priced(image: &mut Snapshot) {
    let models = image.upstreams.iter_mut().flat_map(|it| &mut it.models);
    models.for_each(|it| it.price = Some(price()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_one_is_hung_up_on_where_that_ends_the_bill() {
    let refused = refusal("429 Too Many");
    let mut first = Upstream::start([vec![refused; 4], vec![vec![Step::Hang]]].concat()).await;
    let (good, source) = (good(), source());
    let second = Upstream::start([vec![good; 4], vec![stream()]].concat()).await;
    let plane = counted(&source, (&first, &second), HEDGED, |it| {
        it.upstreams[0].dialect = Dialect::Anthropic;
        priced(it);
    })
    .await;
    check(&plane.chat(STREAM).await, 200, "other", 2);
    while first.event().await != Event::HungUp {}
    let event = last_event(plane, &source).await;
    assert_eq!(fates(&event), ["outrun", "answered"]);
    let [slower, faster] = &event.lines[..] else { panic!("{event:?}") };
    // All that it may have read, and nothing of what nobody saw.
    assert_eq!((slower.source, slower.usage.output), (UsageSource::Interrupted, 0));
    assert!(slower.usage.input > 0 && slower.cost.picos() > 0, "{slower:?}");
    assert_eq!((faster.provider.as_str(), faster.source), ("other", UsageSource::Upstream));
    assert_eq!(event.served.map(|it| it.provider).as_deref(), Some("other"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slower_is_heard_out_and_paid_for() {
    let signal = Arc::new(Notify::new());
    let mut first = Upstream::start(earning(awaiting(&signal, stream()))).await;
    let (second, source) = (Upstream::start([stream()]).await, source());
    let plane = counted(&source, (&first, &second), HEDGED, priced).await;
    let answer = plane.chat(STREAM).await;
    check(&answer, 200, "other", 2);
    assert!(answer.body.ends_with(b"data: [DONE]\n\n"), "{answer:?}");
    assert_eq!(first.requests(), 5);
    let metrics = plane.get_privately("/metrics").await;
    let metrics = std::str::from_utf8(&metrics.body).unwrap();
    assert!(metrics.contains("turnpike_hedges_total 1"), "{metrics}");
    assert!(metrics.contains("turnpike_hedges_won_total 1"), "{metrics}");
    signal.notify_one();
    let event = last_event(plane, &source).await;
    assert_eq!(fates(&event), ["outrun", "answered"]);
    let lines: Vec<_> = event.lines.iter().map(|it| (it.provider.as_str(), it.source)).collect();
    let told = UsageSource::Upstream;
    assert_eq!(lines, [("scripted", told), ("other", told)]);
    assert_eq!(event.cost.nanos(), 2 * 49_000);
    assert_eq!((event.usage.output, event.overrun.nanos()), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_may_still_win() {
    let (early, late) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut first = Upstream::start(earning(awaiting(&early, stream()))).await;
    let mut second = Upstream::start([awaiting(&late, stream())]).await;
    let source = source();
    let plane = counted(&source, (&first, &second), HEDGED, priced).await;
    let (answer, ()) = tokio::join!(plane.chat(STREAM), async {
        assert!(matches!(second.event().await, Event::Request { .. }));
        early.notify_one();
    });
    check(&answer, 200, "scripted", 2);
    late.notify_one();
    assert_eq!(first.requests(), 5);
    let event = last_event(plane, &source).await;
    assert_eq!(fates(&event), ["outrun", "answered"]);
    assert_eq!(event.served.map(|it| it.provider).as_deref(), Some("scripted"));
    assert_eq!((event.lines.len(), event.cost.nanos()), (2, 2 * 49_000));
    // Who answered stands last.
    assert_eq!(event.lines[1].provider, "scripted");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_leaves_it_to_the_other() {
    let (early, late) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let first = Upstream::start(earning(awaiting(&early, refusal("500 Oops")))).await;
    let mut second = Upstream::start([awaiting(&late, stream())]).await;
    let source = source();
    let plane = counted(&source, (&first, &second), HEDGED, priced).await;
    let (answer, ()) = tokio::join!(plane.chat(STREAM), async {
        assert!(matches!(second.event().await, Event::Request { .. }));
        early.notify_one();
        late.notify_one();
    });
    check(&answer, 200, "other", 2);
    let event = last_event(plane, &source).await;
    let fates = fates(&event);
    // Whichever is there first.
    assert!(fates == ["server", "answered"] || fates == ["outrun", "answered"], "{fates:?}");
    assert_eq!(event.cost.nanos(), 49_000);
}

/// The worst case of the call at either of the two.
const WORST: i64 = 1_000_000 + 300_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_no_budget_covers_is_not_sent_twice() {
    for (cap, provider) in [(WORST + 4 * 49_000, "scripted"), (4 * WORST, "other")] {
        let signal = Arc::new(Notify::new());
        let first = Upstream::start(earning(awaiting(&signal, stream()))).await;
        let (mut second, source) = (Upstream::start([stream()]).await, source());
        let plane = counted(&source, (&first, &second), HEDGED, |it| budgeted(it, cap)).await;
        let (answer, ()) = tokio::join!(plane.chat(STREAM), async {
            let metric = match provider {
                "other" => "turnpike_hedges_total 1",
                _ => "turnpike_hedges_denied_total 1",
            };
            soon(async { while !has(&plane.get_privately("/metrics").await, metric) {} }).await;
            signal.notify_one();
        });
        assert_eq!(answer.status, 200, "{answer:?}");
        let is_hedged = provider == "other";
        assert_eq!(second.requests(), usize::from(is_hedged));
        let event = last_event(plane, &source).await;
        let cost = if is_hedged { 2 * 49_000 } else { 49_000 };
        assert_eq!((event.cost.nanos(), event.overrun.nanos()), (cost, 0), "{event:?}");
        assert_eq!(event.counted[0].amounts.money, cost);
    }
}

fn has(answer: &Answer, text: &str) -> bool {
    std::str::from_utf8(&answer.body).unwrap().contains(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_who_answered_it() {
    let (first, second) = (Upstream::start([good()]).await, Upstream::start([good()]).await);
    let plane = Plane::bare(|_| ()).await;
    plane.serve_changed(first.address, |it| {
        two(&plane, it, &second, r#"{"stick":{"minutes":1}}"#);
        it.policies[0].document.otherwise.strategy = shared::snapshot::Strategy::Fastest;
        it.policies[0].document.otherwise.tiers.clear();
    });
    let asks = async |session: &str| {
        let request = Request::post(format!("http://{}/v1/chat/completions", plane.address))
            .header("authorization", plane.bearer())
            .header("x-turnpike-explain", "full")
            .header("x-turnpike-session", session);
        let answer = send(request, CALL).await.json();
        let told = &answer["turnpike"];
        let chosen =
            [&told["chosen"]["model"], &told["chosen"]["provider"]].map(|it| it.to_string());
        (told["session"].as_str().unwrap().to_owned(), chosen)
    };
    let (first_time, whom) = asks("one").await;
    assert_eq!(first_time, "new");
    for _ in 0..6 {
        assert_eq!(asks("one").await, ("kept".to_owned(), whom.clone()));
    }
    // Others are tried by who has not been seen yet.
    let (another, whom_else) = asks("two").await;
    assert!(another == "new" && whom_else != whom);
    let metrics = plane.get_privately("/metrics").await;
    assert!(has(&metrics, "turnpike_sessions 2"));
    assert!(has(&metrics, r#"turnpike_session_calls_total{session="kept"} 6"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_names_no_model_gets_the_nearest_default() {
    let (first, second) = (Upstream::start([good()]).await, Upstream::start([good()]).await);
    let plane = Plane::bare(|_| ()).await;
    let served = async |change: &dyn Fn(&mut Snapshot), revision: i64, body: &str| {
        plane.serve_changed(first.address, |it| {
            two(&plane, it, &second, "{}");
            it.revision = revision;
            change(it);
        });
        let answer = plane.chat(body).await;
        let asked =
            answer.headers.get("x-turnpike-policy").map(|it| it.to_str().unwrap().to_owned());
        (answer.status.as_u16(), asked)
    };
    let routing = |model: &str| shared::snapshot::Routing {
        default_model: Some(model.to_owned()),
        policy: None,
    };
    let project = |it: &Snapshot, model: &str| shared::snapshot::Project {
        id: it.keys[0].project,
        organization: it.keys[0].organization,
        limits: Default::default(),
        team: None,
        splits: vec![],
        routing: routing(model),
    };
    assert_eq!(served(&|_| (), 2, "{}").await, (400, None));
    assert_eq!(served(&|_| (), 3, r#"{"model":"default"}"#).await.0, 404);
    let of_project = |it: &mut Snapshot| it.projects = vec![project(it, "p")];
    let led = (200, Some("p@1".to_owned()));
    assert_eq!(served(&of_project, 4, "{}").await, led);
    assert_eq!(served(&of_project, 5, r#"{"model":"default"}"#).await, led);
    assert_eq!(served(&of_project, 6, r#"{"model":"same"}"#).await, (200, None));
    let of_both = |it: &mut Snapshot| {
        it.projects = vec![project(it, "p")];
        it.keys[0].routing = routing("same");
    };
    assert_eq!(served(&of_both, 7, "{}").await, (200, None));
    // A default widens nothing.
    let not_allowed = |it: &mut Snapshot| {
        it.projects = vec![project(it, "p")];
        it.keys[0].allowed_models = Some(vec!["same".into()]);
    };
    assert_eq!(served(&not_allowed, 8, "{}").await.0, 403);
    // Nor is anything called while what calls have to keep to is not there.
    let gone = |it: &mut Snapshot| it.keys[0].routing.policy = Some(PolicyId::generate());
    assert_eq!(served(&gone, 9, r#"{"model":"same"}"#).await.0, 503);
    let narrowed = |it: &mut Snapshot| it.keys[0].routing.policy = Some(it.policies[0].id);
    assert_eq!(served(&narrowed, 10, r#"{"model":"same"}"#).await.0, 503);
    assert_eq!(served(&narrowed, 11, r#"{"model":"auto"}"#).await.0, 200);
}
