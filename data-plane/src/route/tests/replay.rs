//! What was decided is decided again of what was kept of it.

use std::{collections::BTreeMap, time::Duration};

use proptest::{prelude::*, strategy::Strategy as Values};
use shared::{
    event::{Event, Outcome as Ended, PolicyVersion, UsageSource},
    ids::{ProxyId, RequestId, UpstreamId},
    snapshot::{Choice, Goal, Key, Rule, Staged, StagedBy, Stick, Strategy, Worth},
};

use super::{
    engine::{MODELS, PROVIDERS, constraints, places, policy, price, some_names},
    *,
};
use crate::route::{Breaking, By, Lately, Outcome, Past, Unplayable, dice, worth_of_a_dollar};

/// Conditions that ask for all that a call can be asked.
const CONDITIONS: [&str; 8] = [
    "task == 'code'",
    "complexity > 0.5",
    "language == 'en' && request.input_tokens < 40",
    "metadata['tier'] == 'gold'",
    "user == 'ann'",
    "budget.used_percent > 50",
    "'team' in tags && tags['team'] == 'search'",
    "request.tools || request.stream",
];
const PROMPTS: [&str; 4] =
    ["", "Write a Rust function that sorts.", "Bonjour, comment allez-vous ?", "7 * 8 = ?"];

/// What is written down of a call that was routed so.
fn kept(plan: &Plan, request: RequestId) -> Event {
    let Plan { caller, ask, decision, .. } = plan;
    let event = Event {
        request,
        proxy: ProxyId::generate(),
        organization: caller.organization(),
        project: caller.key.project,
        key: caller.key.id,
        endpoint: ask.form.scope().name().into(),
        asked: ask.model.clone(),
        policy: decision
            .reason
            .policy()
            .map(|it| PolicyVersion { name: it.policy.name.clone(), version: it.version }),
        reason: Some(decision.reason.name().into()),
        decision: decision.kept().map(Box::new),
        served: None,
        attempts: Vec::new(),
        outcome: Ended::Success,
        status: 200,
        error: None,
        stream: ask.is_streaming,
        usage: Usage::default(),
        usage_source: UsageSource::None,
        started_at: time::OffsetDateTime::UNIX_EPOCH,
        first_byte_ms: None,
        total_ms: 1,
        client: None,
        tags: ask.tags.clone(),
        settlement: None,
        billed_at_ms: 0,
        lines: Vec::new(),
        cost: shared::money::Money::ZERO,
        counted: Vec::new(),
        overrun: shared::money::Money::ZERO,
    };
    Event::decode(&event.encode()).unwrap()
}

/// Which models are at which provider.
fn served() -> impl Values<Value = Vec<(Vec<shared::snapshot::Model>, usize)>> {
    prop::collection::vec((prop::collection::vec(places(), 1..4), 0..3_usize), 1..6)
}

prop_compose! {
    fn choices()(
        strategy in prop::sample::select(Strategy::ALL.map(|it| it.0).to_vec()),
        goal in prop::option::of(1..100_u8),
        tiers in prop::collection::vec(some_names(&MODELS), 0..3),
        constraints in constraints(), sticks: bool,
    ) -> Choice {
        let tier = |names: Vec<String>| Tier {
            targets: names.iter().enumerate()
                .map(|(at, it)| Target { weight: at as u16 + 1, ..target(it) })
                .collect(),
        };
        let goal = goal.map(shared::snapshot::Goal::QualityPercent);
        let stick = sticks.then_some(Stick { minutes: 30 });
        let tiers = tiers.into_iter().map(tier).collect();
        Choice { strategy, goal, tiers, constraints, stick, ..Choice::default() }
    }
}

prop_compose! {
    fn documents()(
        rules in prop::collection::vec((prop::sample::select(&CONDITIONS[..]), choices()), 0..3),
        otherwise in choices(),
    ) -> Document {
        let rule = |(at, (when, choose)): (usize, (&str, Choice))| {
            Rule { name: at.to_string(), when: when.into(), choose }
        };
        Document { rules: rules.into_iter().enumerate().map(rule).collect(), otherwise }
    }
}

/// What a dollar is spent for by all that a policy says.
fn worths(policy: &Policy, of_a_dollar: Option<u64>) -> Vec<Worth> {
    let documents = [Some(&policy.document), policy.staged.as_ref().map(|it| &it.document)];
    let choices = documents.into_iter().flatten().flat_map(Document::choices);
    let goals = choices.filter_map(|it| By::together(it.strategy, it.goal));
    goals.map(|goal| Worth { policy: policy.id, goal, of_a_dollar }).collect()
}

/// As a proxy saw them.
fn seen(live: &Live, snapshot: &Snapshot, caller: &Caller, took: &[(u16, u16, bool)]) {
    let begin = Instant::now();
    for (model, (first, total, is_good)) in snapshot.places(caller.organization()).zip(took) {
        let flow = live.flow(model, begin);
        let mut flight = flow.sends(begin);
        let began = begin + Duration::from_millis(u64::from(*first));
        flight.begins(began);
        flight.ends(40, began + Duration::from_millis(u64::from(*total)));
        flow.judged(*is_good, began);
    }
}

/// Upstreams where too many calls fail.
struct Broken(Vec<UpstreamId>);

impl Breaking for Broken {
    fn rests(&self, model: &Model, _: Instant) -> bool {
        self.0.contains(&model.upstream.id)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_was_decided_is_decided_again(
        served in served(), document in documents(), tried in prop::option::of(documents()),
        percent in 0..=100_u8, by_keys: bool, only in some_names(&PROVIDERS),
        sort in prop::option::of(prop::sample::select(vec!["price", "throughput", "latency"])),
        latency in prop::option::of(0.0..2.0_f64), prompt in prop::sample::select(&PROMPTS[..]),
        [tools, stream, gold, ann, team]: [bool; 5], used in 0..100_u64,
        cap in prop::option::of(1..500_u32), choices in 1..3_u32,
        name in prop::sample::select(vec!["p", "p:floor", "p/code", "p/code:best", "p:fast"]),
        took in prop::collection::vec((0..2_000_u16, 0..9_000_u16, any::<bool>()), 0..12),
        allowed in prop::option::of(some_names(&["p", "gpt-4o", "gpt-4o-mini"])),
        broken in prop::collection::vec(any::<bool>(), 6), [nameless, demands]: [bool; 2],
        per_mille in 0..=100_u16, worth in prop::option::of(prop_oneof![0..9_u64, any::<u64>()]),
    ) {
        let mut fixture = Fixture::default();
        for (mut models, provider) in served {
            models.sort_by(|one, other| one.name.cmp(&other.name));
            models.dedup_by(|one, other| one.name == other.name);
            let upstream = fixture.upstream(None, &[]);
            upstream.provider = PROVIDERS[provider].into();
            upstream.models = models;
        }
        let by = if by_keys { StagedBy::Keys } else { StagedBy::Calls };
        let staged = tried.map(|document| Staged { version: 9, document, percent, by });
        fixture.policies = vec![Policy { staged, ..policy("p", document) }];
        let mut body = json!({
            "model": name, "models": ["gpt-4o"], "stream": stream, "n": choices,
            "messages": [{ "role": "user", "content": prompt }],
            "provider": { "only": only, "sort": sort, "preferred_max_latency": latency },
            "metadata": { "tier": if gold { "gold" } else { "tin" } },
        });
        if tools { body["tools"] = json!([{ "type": "function" }]); }
        if ann { body["user"] = "ann".into(); }
        if nameless { body.as_object_mut().unwrap().remove("model"); }
        if let Some(cap) = cap { body["max_tokens"] = cap.into(); }
        let ask = || {
            let mut ask = Ask::parse(Form::Chat, body.to_string().into()).unwrap();
            if team { ask.tags = BTreeMap::from([("team".into(), "search".into())]); }
            ask
        };
        let mut key = key(&NewKey::generate(Brand::Live));
        key.allowed_models = allowed;
        let tenant = |organization, per_mille, of_a_dollar, policy: &Policy| Tenant {
            worths: worths(policy, of_a_dollar),
            ..explore::exploring(organization, per_mille)
        };
        fixture.tenants =
            vec![tenant(key.organization, per_mille, worth, &fixture.policies[0])];
        key.routing.default_model = Some(name.to_owned());
        key.routing.policy = demands.then_some(fixture.policies[0].id);
        let broken = fixture.upstreams.iter().zip(broken).filter(|it| it.1).map(|it| it.0.id);
        let broken = Broken(broken.collect());
        let caller = Caller { key: Arc::new(key) };
        let (present, live, request) = (snapshot(&fixture), live(), RequestId::generate());
        seen(&live, &present, &caller, &took);
        let budget = || used;
        let sessions = sessions();
        let sight = Sight {
            snapshot: &present,
            live: &live,
            breakers: &broken,
            sessions: &sessions,
            now_ms: 7,
            budget_used_percent: &budget,
        };
        let key = caller.key.clone();
        // Whoever answered its session before.
        let before = route(sight, Caller { key: key.clone() }, ask(), &mut Loaded);
        if let Some((plan, session)) = before.as_ref().ok().and_then(|it| Some((it, it.session?))) {
            sessions.keeps(session, &plan.candidates.last().unwrap().model, Instant::now());
        }
        let Ok(plan) = route(sight, caller, ask(), &mut dice(request)) else { return Ok(()) };
        let event = kept(&plan, request);
        let past = match Past::of(&event, key) {
            Ok(past) => past,
            Err(why) => {
                prop_assert_eq!(why, Unplayable::NotKept);
                prop_assert!(plan.decision.reason.policy().is_none());
                return Ok(());
            }
        };
        let again = past.again(&present, &Lately::default());
        prop_assert_eq!(&again, &Outcome::of(&plan.decision));
        prop_assert!(again.is_that_of(event.decision.as_ref().unwrap()));
        // How many are explored now, and what a dollar is spent for, has no part in it.
        let organization = plan.caller.organization();
        let worth = if worth.is_none() { Some(9) } else { None };
        fixture.tenants =
            vec![tenant(organization, 100 - per_mille, worth, &fixture.policies[0])];
        prop_assert_eq!(&past.again(&snapshot(&fixture), &Lately::default()), &again);
    }
}

/// A call for `auto` of an organization's, and what was kept of it.
fn decided(
    fixture: &Fixture,
    organization: OrganizationId,
    request: RequestId,
) -> (Arc<Snapshot>, Plan, Past) {
    let key = Key { organization, ..key(&NewKey::generate(Brand::Live)) };
    let (live, used, present) = (live(), || 0, snapshot(fixture));
    let sight = Sight {
        snapshot: &present,
        live: &live,
        breakers: &breakers(),
        sessions: &sessions(),
        now_ms: 0,
        budget_used_percent: &used,
    };
    let ask = Ask::parse(Form::Chat, r#"{"model":"auto"}"#.into()).unwrap();
    let plan = route(sight, Caller { key: Arc::new(key) }, ask, &mut dice(request)).unwrap();
    let past = Past::of(&kept(&plan, request), plan.caller.key.clone()).unwrap();
    (present, plan, past)
}

/// A call that all calls of its policy teach what a dollar is to be spent for, and that is then
/// decided by that.
#[test]
fn calls_tell_what_a_dollar_is_to_be_spent_for() {
    let (mut fixture, request) = (fixture(), RequestId::generate());
    let organization = OrganizationId::generate();
    for model in fixture.upstreams.iter_mut().flat_map(|it| &mut it.models) {
        model.price = price("1", "2");
    }
    let strategy = Strategy::Auto;
    fixture.policies[0].document =
        Document { rules: vec![], otherwise: Choice { strategy, ..Choice::default() } };
    let (present, plan, past) = decided(&fixture, organization, request);
    assert!(plan.decision.sentence().contains("is the cheapest that is expected to be 95 %"));
    assert_eq!(plan.decision.told()["worth_of_a_dollar"], serde_json::Value::Null);
    let weighed = past.weighed(&present, &Lately::default()).unwrap();
    assert_eq!((weighed.policy, weighed.goal), (fixture.policies[0].id, Goal::QualityPercent(95)));
    assert_eq!(weighed.offers.len(), plan.candidates.len());
    let of_a_dollar = Some(worth_of_a_dollar(&[weighed.offers], weighed.goal));
    let worth = Worth { policy: weighed.policy, goal: weighed.goal, of_a_dollar };
    fixture.tenants = vec![Tenant { worths: vec![worth], ..explore::exploring(organization, 0) }];
    let (_, plan, past) = decided(&fixture, organization, request);
    let words = "so that all calls together are 95 % as good as with the best";
    assert!(plan.decision.sentence().contains(words), "{}", plan.decision.sentence());
    assert!(plan.decision.told()["worth_of_a_dollar"].is_number());
    assert_eq!(past.inputs().worths, [worth]);
}

/// What is spent now has no part in who is weighed, however many there are.
#[test]
fn all_that_are_compared_are_weighed() {
    let (mut fixture, request) = (Fixture::default(), RequestId::generate());
    for it in 0..30_i64 {
        let (name, cost) = (format!("m{it}"), (1 + it).to_string());
        fixture.upstream(None, &[&name]).models[0].price = price(&cost, &cost);
    }
    let auto = Choice { strategy: Strategy::Auto, ..Choice::default() };
    fixture.policies = vec![policy("auto", Document { rules: vec![], otherwise: auto })];
    let organization = OrganizationId::generate();
    let mut weighed = [0, 9_000_000_000_000_000].map(|worth| {
        let tenant = explore::exploring(organization, 0);
        let worths = worths(&fixture.policies[0], Some(worth));
        fixture.tenants = vec![Tenant { worths, ..tenant }];
        let (present, plan, past) = decided(&fixture, organization, request);
        assert!(plan.decision.weighed.is_empty(), "nobody asks on the road");
        let first = plan.candidates[0].model.name.clone();
        (first, past.weighed(&present, &Lately::default()).unwrap().offers)
    });
    for (_, offers) in &mut weighed {
        offers.sort_by_key(|it| it.cost);
    }
    assert_eq!((weighed[0].1.len(), &weighed[0].1), (30, &weighed[1].1));
    assert_ne!(weighed[0].0, weighed[1].0);
}

#[test]
fn another_policy_says_what_it_lacks() {
    let request = RequestId::generate();
    let (_, plan, _) = decided(&fixture(), OrganizationId::generate(), request);
    let past = Past::of(&kept(&plan, request), plan.caller.key.clone()).unwrap();
    let rule = |when: &str| {
        let choose =
            Choice { tiers: vec![Tier { targets: vec![target("claude")] }], ..Choice::default() };
        Rule { name: "a".into(), when: when.into(), choose }
    };
    let decided = |when: &str| {
        let mut fixture = fixture();
        fixture.policies[0].document.rules = vec![rule(when)];
        let outcome = past.again(&snapshot(&fixture), &Lately::default());
        (outcome.places[0].model.clone(), outcome.rule, outcome.lacks)
    };
    let otherwise = ("gpt-5-mini".to_owned(), None);
    assert_eq!(decided("request.tools"), (otherwise.0.clone(), None, false));
    assert_eq!(decided("!request.tools"), ("claude".into(), Some("a".into()), false));
    // Nobody asked for whom it was, and so nobody knows any more.
    assert_eq!(decided("user == 'ann'"), (otherwise.0, otherwise.1, true));
}

#[test]
fn what_cannot_be_decided_again_says_why() {
    let request = RequestId::generate();
    let (_, plan, _) = decided(&fixture(), OrganizationId::generate(), request);
    let key = plan.caller.key.clone();
    let event = kept(&plan, request);
    let check = |event: &Event, why| assert_eq!(Past::of(event, key.clone()).unwrap_err(), why);
    check(&Event { decision: None, ..event.clone() }, Unplayable::NotKept);
    let spoilt = |spoil: &dyn Fn(&mut shared::event::Inputs)| {
        let mut event = event.clone();
        spoil(event.decision.as_mut().unwrap().inputs.as_mut().unwrap());
        event
    };
    check(&spoilt(&|it| it.wishes = Some("{".into())), Unplayable::Unreadable);
    let dear =
        crate::ask::Wishes { most_cost: Some(shared::money::Money::ZERO), ..Default::default() };
    check(&spoilt(&|it| it.wishes = dear.written()), Unplayable::CostDecided);
    check(&Event { endpoint: "dance".into(), ..event.clone() }, Unplayable::Unreadable);
}
