//! What may answer, whatever is asked, wished and demanded; and which is the first.

use std::time::Instant;

use proptest::strategy::Strategy as Values;
use shared::{
    money::{PinnedPrice, Price, Rates, UnitPrice},
    snapshot::{
        Assurances, Capability, Choice, Goal, Modality, Model as Published, Staged, StagedBy,
        Strategy,
    },
};

use super::*;
use crate::{ask::Wishes, call::Breakers};

pub const PROVIDERS: [&str; 3] = ["acme", "example", "other"];
const REGIONS: [Option<&str>; 3] = [None, Some("eu"), Some("us")];
pub const MODELS: [&str; 5] = ["gpt-4o", "gpt-4o-mini", "claude-3-5-sonnet", "tiny", "vectors"];

pub fn price(input: &str, output: &str) -> Option<PinnedPrice> {
    let [input, output] = [input, output].map(|it| UnitPrice::per_million(it).unwrap());
    Some(PinnedPrice { revision: 1, price: Price::flat(Rates::of_text(input, output)).unwrap() })
}

pub fn policy(name: &str, document: Document) -> Policy {
    let (id, name) = (PolicyId::generate(), name.to_owned());
    Policy { id, organization: None, name, version: 1, document, staged: None }
}

/// A policy over everything there is.
fn of_all(name: &str, strategy: Strategy, goal: Option<Goal>) -> Policy {
    let otherwise = Choice { strategy, goal, ..Choice::default() };
    policy(name, Document { rules: vec![], otherwise })
}

/// A strong and a weak model with prices, and policies that compare them.
fn priced() -> Fixture {
    let mut fixture = Fixture::default();
    let models = &mut fixture.upstream(None, &["gpt-4o", "gpt-4o-mini"]).models;
    for (model, cost) in models.iter_mut().zip([("2.50", "10"), ("0.15", "0.60")]) {
        model.price = price(cost.0, cost.1);
        model.context_length = 128_000;
        model.capabilities = vec![Capability::Tools, Capability::JsonSchema];
    }
    fixture.policies = vec![
        of_all("cheap", Strategy::Cheapest, None),
        of_all("good", Strategy::Best, None),
        of_all("auto", Strategy::Auto, None),
        of_all("balanced", Strategy::Balanced, None),
        of_all("half", Strategy::Auto, Some(Goal::QualityPercent(50))),
    ];
    fixture
}

fn plan(
    snapshot: &Snapshot,
    key: &Arc<shared::snapshot::Key>,
    body: &str,
) -> Result<Plan, NoRoute> {
    let ask = Ask::parse(Form::Chat, Bytes::copy_from_slice(body.as_bytes())).unwrap();
    routed_by(snapshot, Caller { key: key.clone() }, ask)
}

fn anybody() -> Arc<shared::snapshot::Key> {
    Arc::new(key(&NewKey::generate(Brand::Live)))
}

/// The first who is asked.
#[track_caller]
fn first(fixture: &Fixture, body: &str) -> String {
    let plan = plan(&snapshot(fixture), &anybody(), body).unwrap();
    let first = &plan.candidates[0].model;
    format!("{}@{}", first.name, first.upstream.provider)
}

#[test]
fn strategies_compare_what_there_is() {
    let fixture = priced();
    for (model, expected) in [
        ("cheap", "gpt-4o-mini@example"),
        ("good", "gpt-4o@example"),
        ("half", "gpt-4o-mini@example"),
        ("good:floor", "gpt-4o-mini@example"),
        ("cheap:best", "gpt-4o@example"),
        ("half/code", "gpt-4o-mini@example"),
    ] {
        let body = format!(
            r#"{{"model":"{model}","messages":[{{"role":"user","content":"Prove it."}}]}}"#
        );
        assert_eq!(first(&fixture, &body), expected, "{model}");
    }
    let body = r#"{"model":"good/code"}"#;
    let decision = plan(&snapshot(&fixture), &anybody(), body).unwrap().decision;
    assert_eq!((decision.task, decision.reason.name()), (Some(Task::Code), "best"));
    let told = decision.told();
    assert_eq!(told["chosen"]["model"], "gpt-4o");
    assert_eq!((&told["policy"], &told["task"]), (&"good@1".into(), &"code".into()));
    assert!(told["candidates"][1]["expected_usd"].is_string(), "{told}");
    let sentence = decision.sentence();
    assert!(sentence.starts_with("Policy good@1: gpt-4o at example is expected to answer best"));
}

#[test]
fn what_a_call_needs_decides_before_anything_else() {
    let mut fixture = priced();
    fixture.upstreams[0].models[1].capabilities = vec![Capability::JsonSchema];
    let tools = r#"{"model":"cheap","tools":[{"type":"function"}]}"#;
    assert_eq!(first(&fixture, tools), "gpt-4o@example");
    // Nor do its fallbacks go there, and where nobody is left each is named.
    let image = r#"{"model":"cheap","models":["gpt-4o-mini"],"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#;
    let refused = plan(&snapshot(&fixture), &anybody(), image).unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (Kind::Invalid, code::NO_ELIGIBLE_MODEL));
    let words = "No model that \"cheap\" leads to can take the call: \"gpt-4o\" at example \
                 (it reads no images), \"gpt-4o-mini\" at example (it reads no images). \
                 Ask for less, or name another model.";
    assert_eq!(refused.to_string(), words);
    // Of one that is not described nobody knows.
    fixture.upstreams[0].models[1].capabilities = vec![Capability::Streaming];
    assert_eq!(first(&fixture, image), "gpt-4o-mini@example");
    let strict = r#"{"model":"cheap","provider":{"require_parameters":true},"logprobs":true}"#;
    let refused = plan(&snapshot(&fixture), &anybody(), strict).unwrap_err();
    assert_eq!(refused.details().unwrap()["candidates"][0]["why"], "wish_ability");
    let long = format!(
        r#"{{"model":"cheap","messages":[{{"role":"user","content":"{}"}}]}}"#,
        "word ".repeat(200_000)
    );
    let refused = plan(&snapshot(&fixture), &anybody(), &long).unwrap_err();
    assert_eq!(refused.details().unwrap()["candidates"][0]["why"], "too_long");
}

#[test]
fn rules_decide_in_their_order() {
    let mut fixture = priced();
    let rule = |name: &str, when: &str, model: &str| shared::snapshot::Rule {
        name: name.into(),
        when: when.into(),
        choose: Choice { tiers: vec![Tier { targets: vec![target(model)] }], ..Choice::default() },
    };
    let otherwise =
        Choice { tiers: vec![Tier { targets: vec![target("gpt-4o-mini")] }], ..Choice::default() };
    let rules = vec![
        rule("broken", "1 / (request.input_tokens - request.input_tokens) > 0", "gpt-4o"),
        rule("tagged", "tags.team == 'search'", "gpt-4o"),
        rule("metadata", "metadata.tier == 'gold' && user == 'ann'", "gpt-4o"),
        rule("code", "task == 'code' && !request.tools", "gpt-4o"),
        rule("spent", "budget.used_percent > 90", "gpt-4o"),
    ];
    fixture.policies.push(policy("ruled", Document { rules, otherwise }));
    let (snapshot, key) = (snapshot(&fixture), anybody());
    let ruled = |body: &str, tags: &[(&str, &str)], used: u64| {
        let mut ask = Ask::parse(Form::Chat, Bytes::copy_from_slice(body.as_bytes())).unwrap();
        ask.tags = tags.iter().map(|&(name, it)| (name.to_owned(), it.to_owned())).collect();
        let (live, used) = (live(), move || used);
        let sight = Sight {
            snapshot: &snapshot,
            live: &live,
            breakers: &breakers(),
            sessions: &sessions(),
            now_ms: 0,
            budget_used_percent: &used,
        };
        let plan = route(sight, Caller { key: key.clone() }, ask, &mut Loaded).unwrap();
        assert_eq!(plan.decision.not_evaluated, 1);
        let led = plan.decision.reason.policy().unwrap();
        (led.rule.clone().unwrap_or_default(), plan.candidates[0].model.name.clone())
    };
    let is = |rule: &str, model: &str| (rule.to_owned(), model.to_owned());
    let plain = r#"{"model":"ruled"}"#;
    assert_eq!(ruled(plain, &[("team", "search")], 0), is("tagged", "gpt-4o"));
    assert_eq!(ruled(plain, &[("team", "sales")], 0), is("", "gpt-4o-mini"));
    assert_eq!(ruled(plain, &[], 91), is("spent", "gpt-4o"));
    let gold = r#"{"model":"ruled","metadata":{"tier":"gold","n":[1]},"user":"ann"}"#;
    assert_eq!(ruled(gold, &[], 0), is("metadata", "gpt-4o"));
    let code = r#"{"model":"ruled","messages":[{"role":"user","content":"Write a Python function that sorts a list:\n```python\ndef f(x):\n```"}]}"#;
    assert_eq!(ruled(code, &[], 0), is("code", "gpt-4o"));
}

#[test]
fn a_policy_whose_condition_cannot_be_read_is_not_half_obeyed() {
    let mut fixture = priced();
    let rules = vec![shared::snapshot::Rule {
        name: "odd".into(),
        when: "no_such_name == 1".into(),
        choose: Choice::default(),
    }];
    fixture.policies = vec![policy("odd", Document { rules, otherwise: Choice::default() })];
    let snapshot = snapshot(&fixture);
    assert!(snapshot.quarantined[0].reason.contains("no_such_name"));
    assert!(plan(&snapshot, &anybody(), r#"{"model":"odd"}"#).is_err());
}

/// Wishes and heads in one place each.
#[test]
fn callers_narrow_where_a_call_goes() {
    let mut fixture = Fixture::default();
    for (provider, cost) in PROVIDERS.into_iter().zip(["3", "1", "2"]) {
        let upstream = fixture.upstream(None, &["gpt-4o"]);
        upstream.provider = provider.into();
        upstream.models[0].price = price(cost, cost);
    }
    let limits =
        shared::snapshot::Constraints { not_providers: vec!["acme".into()], ..Default::default() };
    let otherwise = Choice { constraints: limits, ..Choice::default() };
    fixture.policies = vec![policy("no-acme", Document { rules: vec![], otherwise })];
    let (snapshot, key) = (snapshot(&fixture), anybody());
    let asked = |provider: &str, heads: (Option<&str>, Option<&str>)| {
        let body = format!(r#"{{"model":"gpt-4o","max_tokens":100,"provider":{provider}}}"#);
        let ask = Ask::parse(Form::Chat, body.into()).unwrap().headed(heads.0, heads.1).unwrap();
        let plan = routed_by(&snapshot, Caller { key: key.clone() }, ask)?;
        let names = plan.candidates.iter().map(|it| it.model.upstream.provider.clone());
        Ok::<_, NoRoute>(names.collect::<Vec<_>>().join(" "))
    };
    let all = "acme example other";
    for (provider, expected) in [
        ("{}", all),
        (r#"{"order":["Other"]}"#, "other acme example"),
        (r#"{"order":["other","example"],"allow_fallbacks":false}"#, "other example"),
        (r#"{"allow_fallbacks":false}"#, "acme"),
        (r#"{"only":["example","nobody"]}"#, "example"),
        (r#"{"ignore":["acme"]}"#, "example other"),
        (r#"{"sort":"price"}"#, "example other acme"),
        (r#"{"max_price":{"prompt":2}}"#, "example other"),
        (r#"{"sort":"price","order":["acme"]}"#, "acme example other"),
    ] {
        assert_eq!(asked(provider, (None, None)).unwrap(), expected, "{provider}");
    }
    for (provider, why) in [
        (r#"{"zdr":true}"#, "wish_retention"),
        (r#"{"data_collection":"deny"}"#, "wish_training"),
        (r#"{"quantizations":["fp8"]}"#, "wish_quantization"),
        (r#"{"max_price":{"completion":0.5}}"#, "wish_price"),
    ] {
        let refused = asked(provider, (None, None)).unwrap_err();
        assert_eq!(refused.details().unwrap()["candidates"][0]["why"], why);
        assert_eq!(refused.kind(), Kind::Invalid);
    }
    assert_eq!(asked("{}", (Some("no-acme"), None)).unwrap(), "example other");
    assert!(matches!(asked("{}", (Some("gone"), None)), Err(NoRoute::NoPolicy { .. })));
    // A hundred tokens cost $0.0001 at example, and what is put in a little more.
    assert_eq!(asked("{}", (None, Some("1"))).unwrap(), all);
    assert_eq!(asked("{}", (None, Some("0.0003"))).unwrap(), "example");
    assert!(asked("{}", (None, Some("0.0000001"))).is_err());
}

/// The same with and without an agent's system prompt and its tools (R13).
#[test]
fn what_surrounds_a_question_changes_no_choice() {
    let fixture = priced();
    let (snapshot, key) = (snapshot(&fixture), anybody());
    let system = "You are a careful agent that never guesses. ".repeat(600);
    let tool = r#"{"type":"function","function":{"name":"look","description":"Looks a thing up","parameters":{"type":"object"}}}"#;
    let tools = vec![tool; 32].join(",");
    for question in [
        "Write a Rust function that merges two sorted lists.",
        "Hi!",
        "What is the integral of x^2 sin x?",
        "Translate to French: the cat sleeps on the warm stone.",
        "Summarize: the meeting was long and nobody agreed on anything.",
    ] {
        for model in ["good", "auto", "balanced", "half"] {
            let turn = format!(r#"{{"role":"user","content":"{question}"}}"#);
            let bare = format!(r#"{{"model":"{model}","messages":[{turn}]}}"#);
            let within = format!(
                r#"{{"model":"{model}","tools":[{tools}],"messages":[{{"role":"system","content":"{system}"}},{{"role":"user","content":"x"}},{{"role":"assistant","content":"y"}},{turn}]}}"#
            );
            let chosen = |body: &str| {
                let plan = plan(&snapshot, &key, body).unwrap();
                let names: Vec<_> =
                    plan.candidates.iter().map(|it| it.model.name.clone()).collect();
                (names, plan.decision.task)
            };
            assert_eq!(chosen(&bare), chosen(&within), "{model}: {question}");
        }
    }
}

/// Two upstreams that serve `a` and `b` alike, and what is known of them.
struct Two {
    snapshot: Arc<Snapshot>,
    key: Arc<shared::snapshot::Key>,
    live: Live,
    breakers: Breakers,
    sessions: Sessions,
}

impl Two {
    /// With the policy `p` that says `choice`.
    fn new(choice: &str) -> Self {
        let mut fixture = Fixture::default();
        for provider in ["acme", "other"] {
            let upstream = fixture.upstream(None, &["a", "b"]);
            upstream.provider = provider.into();
            for (model, cost) in upstream.models.iter_mut().zip(["1", "2"]) {
                model.price = price(cost, cost);
                model.capabilities = vec![Capability::Tools, Capability::JsonSchema];
            }
        }
        fixture.upstreams[0].models[0].capabilities = vec![Capability::JsonSchema];
        let otherwise = serde_json::from_str(choice).unwrap();
        fixture.policies = vec![policy("p", Document { rules: vec![], otherwise })];
        let (snapshot, key) = (snapshot(&fixture), anybody());
        Self { snapshot, key, live: live(), breakers: breakers(), sessions: sessions() }
    }

    fn plan(&self, body: &str, seed: u64) -> Plan {
        let ask = Ask::parse(Form::Chat, Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let sight = Sight {
            snapshot: &self.snapshot,
            live: &self.live,
            breakers: &self.breakers,
            sessions: &self.sessions,
            now_ms: 0,
            budget_used_percent: &|| 0,
        };
        let caller = Caller { key: self.key.clone() };
        route(sight, caller, ask, &mut fastrand::Rng::with_seed(seed)).unwrap()
    }

    /// What becomes of the session, and who is asked first.
    #[track_caller]
    fn check(&self, body: &str, sticks: Option<Sticks>, first: &str) {
        let plan = self.plan(body, 1);
        let model = &plan.candidates[0].model;
        let named = format!("{}@{}", model.name, model.upstream.provider);
        assert_eq!((plan.decision.sticks, named.as_str()), (sticks, first));
        let word = plan.decision.kept().unwrap().session;
        assert_eq!(word.as_deref(), sticks.map(Sticks::name));
        assert!(sticks.is_none_or(|it| plan.decision.sentence().contains(it.about())));
    }

    fn keeps(&self, body: &str, model: usize, at: tokio::time::Instant) {
        let plan = self.plan(body, 1);
        let candidate = &plan.candidates[model];
        self.sessions.keeps(plan.session.unwrap(), &candidate.model, at);
    }

    /// Everything fails at a provider.
    fn opens(&self, provider: &str) {
        let all = self.snapshot.places(self.key.organization);
        let there = all.filter(|it| it.upstream.provider == provider);
        for it in there.flat_map(|it| &it.upstream.credentials) {
            (0..10).for_each(|_| self.breakers.fails(it.id));
        }
    }
}

#[test]
fn a_session_keeps_its_model_until_there_is_a_reason() {
    let session = r#"{"model":"p","user":"ann"}"#;
    let with = |more: &str| format!(r#"{{"model":"p","user":"ann",{more}}}"#);
    let two = Two::new(r#"{"strategy":"cheapest","stick":{"minutes":1}}"#);
    two.check(r#"{"model":"p"}"#, None, "a@acme");
    two.check(session, Some(Sticks::New), "a@acme");
    let now = tokio::time::Instant::now();
    two.keeps(session, 1, now);
    two.check(session, Some(Sticks::Kept), "a@other");
    // Another session is another, and so it is for whoever says nothing.
    two.check(r#"{"model":"p","user":"bob"}"#, Some(Sticks::New), "a@acme");
    two.check(r#"{"model":"p","user":""}"#, None, "a@acme");
    two.check(&with(r#""metadata":{"session_id":"x"}"#), Some(Sticks::New), "a@acme");
    two.check(&with(r#""prompt_cache_key":"x"}"#).replace("}}", "}"), Some(Sticks::New), "a@acme");
    let order = with(r#""provider":{"order":["acme"]}"#);
    two.check(&order, Some(Sticks::Wished), "a@acme");
    let only = with(r#""provider":{"only":["acme"]}"#);
    two.check(&only, Some(Sticks::NotEligible), "a@acme");
    two.opens("other");
    two.check(session, Some(Sticks::LeftAlone), "a@acme");
    let two = Two::new(r#"{"strategy":"cheapest","stick":{"minutes":1}}"#);
    if let Some(long_ago) = now.checked_sub(std::time::Duration::from_secs(60)) {
        two.keeps(session, 1, long_ago);
        two.check(session, Some(Sticks::Expired), "a@acme");
    }
    let tiers = r#""tiers":[{"targets":[{"model":"b"}]},{"targets":[{"model":"a"}]}]"#;
    let two = Two::new(&format!(r#"{{"strategy":"cheapest","stick":{{}},{tiers}}}"#));
    two.keeps(session, 3, now);
    two.check(session, Some(Sticks::Tier), "b@acme");
    two.keeps(session, 1, now);
    two.check(session, Some(Sticks::Kept), "b@other");
}

#[test]
fn where_targets_are_drawn_a_session_draws_the_same() {
    let targets = r#"{"model":"a","provider":"acme"},{"model":"a","provider":"other"}"#;
    let two = Two::new(&format!(r#"{{"stick":{{}},"tiers":[{{"targets":[{targets}]}}]}}"#));
    let mut firsts = [0; 2];
    for session in 0..200 {
        let body = format!(r#"{{"model":"p","user":"{session}"}}"#);
        let drawn = |seed| two.plan(&body, seed).candidates[0].model.upstream.provider.clone();
        assert!((2..6).all(|seed| drawn(seed) == drawn(1)));
        firsts[usize::from(drawn(1) == "other")] += 1;
        assert!(two.plan(&body, 1).session.is_none(), "nothing has to be remembered");
    }
    assert!(firsts.iter().all(|it| *it > 60), "{firsts:?}");
    let leaves = |body: &str| two.plan(body, 1).decision.sticks.unwrap();
    let all = || (0..50).map(|it| leaves(&format!(r#"{{"model":"p","user":"{it}"}}"#)));
    assert!(all().all(|it| it == Sticks::Kept));
    two.opens("acme");
    let [kept, left] =
        [Sticks::Kept, Sticks::LeftAlone].map(|is| all().filter(|it| *it == is).count());
    assert!(kept > 10 && left > 10 && kept + left == 50, "{kept} {left}");
}

#[test]
fn who_is_left_alone_comes_last_and_is_told_of() {
    let body = r#"{"model":"p"}"#;
    let two = Two::new(r#"{"strategy":"cheapest"}"#);
    two.opens("acme");
    let plan = two.plan(body, 1);
    let named = |plan: &Plan| -> Vec<_> {
        let providers = plan.candidates.iter().map(|it| it.model.upstream.provider.clone());
        providers.collect()
    };
    assert_eq!(named(&plan), ["other", "other", "acme", "acme"]);
    let told = plan.decision.told();
    assert_eq!(told["chosen"]["provider"], "other");
    assert_eq!(told["candidates"][2]["why"], "left_alone");
    assert_eq!(told["candidates"][0]["why"], Value::Null);
    // Nobody else is there: the breaker says when to come back.
    two.opens("other");
    let plan = two.plan(body, 1);
    assert_eq!(plan.candidates.len(), 4);
    assert_eq!(
        plan.decision.sentence(),
        "Policy p@1: a at acme is expected to cost least; 3 come last, since too many calls fail \
         there."
    );
    // Where a policy says that nobody else is asked then, nobody is.
    let two = Two::new(r#"{"strategy":"cheapest","fallback":{"on":["rate_limited"]}}"#);
    two.opens("acme");
    assert_eq!(named(&two.plan(body, 1))[0], "acme");
}

#[test]
fn weights_come_to_their_split() {
    let mut fixture = Fixture::default();
    fixture.upstream(None, &["a", "b", "c"]);
    let weighted = |model: &str, weight| Target { weight, ..target(model) };
    let targets = vec![weighted("a", 70), weighted("b", 20), weighted("c", 10)];
    fixture.policies = vec![policy("split", Document::of_tiers(vec![Tier { targets }]))];
    let (snapshot, key, live, used) = (snapshot(&fixture), anybody(), live(), || 0);
    let sight = Sight {
        snapshot: &snapshot,
        live: &live,
        breakers: &breakers(),
        sessions: &sessions(),
        now_ms: 0,
        budget_used_percent: &used,
    };
    let (mut dice, mut firsts) = (fastrand::Rng::with_seed(3), [0_u32; 3]);
    for _ in 0..100_000 {
        let ask = Ask::parse(Form::Chat, Bytes::from_static(br#"{"model":"split"}"#)).unwrap();
        let plan = route(sight, Caller { key: key.clone() }, ask, &mut dice).unwrap();
        let first = plan.candidates[0].model.name.as_str();
        firsts[["a", "b", "c"].iter().position(|it| *it == first).unwrap()] += 1;
    }
    for (count, share) in firsts.into_iter().zip([70_000_u32, 20_000, 10_000]) {
        assert!(count.abs_diff(share) < 1_000, "{firsts:?}");
    }
}

#[test]
fn a_staged_version_is_told_as_itself() {
    let mut fixture = priced();
    let document = Document::of_tiers(vec![Tier { targets: vec![target("gpt-4o-mini")] }]);
    let staged = Staged { version: 2, document, percent: 100, by: StagedBy::Keys };
    fixture.policies = vec![Policy { staged: Some(staged), ..of_all("p", Strategy::Best, None) }];
    let plan = plan(&snapshot(&fixture), &anybody(), r#"{"model":"p"}"#).unwrap();
    assert_eq!(plan.decision.reason.policy().unwrap().named(), "p@2");
    assert_eq!(plan.candidates[0].model.name, "gpt-4o-mini");
}

pub fn some_names(of: &'static [&'static str]) -> impl Values<Value = Vec<String>> {
    let some = prop::sample::subsequence(of, 0..=of.len());
    some.prop_map(|it| it.into_iter().map(str::to_owned).collect())
}

prop_compose! {
    pub fn places()(
        which in 0..MODELS.len(), described: bool, abilities in 0..4_u8, reads_images: bool,
        context in prop_oneof![Just(0_u32), Just(100), Just(100_000)],
        cost in prop::option::of(1..5_u32), quantized: bool,
    ) -> Published {
        let mut model = Published::of_text(MODELS[which], "x", context, 1_000);
        if described {
            if abilities & 1 > 0 { model.capabilities.push(Capability::Tools); }
            if abilities & 2 > 0 { model.capabilities.push(Capability::JsonSchema); }
            if reads_images { model.input.push(Modality::Image); }
        }
        model.price = cost.and_then(|it| price(&it.to_string(), &it.to_string()));
        model.quantization = quantized.then(|| "fp8".to_owned());
        model
    }
}

prop_compose! {
    pub fn constraints()(
        not_models in some_names(&MODELS), providers in some_names(&PROVIDERS),
        regions in some_names(&["eu", "us"]), zero_retention: bool, no_training: bool,
        most_input_price in prop::option::of(0..4_000_000_u64),
        least_context in prop::option::of(1..50_000_u32), tools: bool, fp8: bool,
        rare in 0..8_u8,
    ) -> shared::snapshot::Constraints {
        // Mostly some of them: all at once leave nobody.
        let on = |bit: u8| rare == bit;
        shared::snapshot::Constraints {
            not_models: if on(0) { not_models } else { vec![] },
            providers: if on(1) { providers } else { vec![] },
            regions: if on(2) { regions } else { vec![] },
            zero_retention: zero_retention && on(3),
            no_training: no_training && on(4),
            most_input_price: most_input_price.filter(|_| on(5)),
            least_context: least_context.filter(|_| on(6)),
            capabilities: if tools && on(7) { vec![Capability::Tools] } else { vec![] },
            quantizations: if fp8 && on(1) { vec!["fp8".into()] } else { vec![] },
            ..Default::default()
        }
    }
}

/// What must hold of whoever is asked, told in other words than where it is decided.
fn may_answer(
    it: &Candidate,
    demanded: &shared::snapshot::Constraints,
    wishes: &Wishes,
    body: &str,
) -> bool {
    let (model, at) = (&it.model, &it.model.upstream);
    let picos = it.price.as_ref().map(|it| it.price.standard().rates.input.picos());
    let described = model.capabilities.len() > 1 || model.input.len() > 1;
    let lists = |all: &[String], name: &str| all.is_empty() || all.iter().any(|it| it == name);
    [
        !demanded.not_models.contains(&model.name),
        lists(&demanded.providers, &at.provider),
        lists(&demanded.regions, at.region.as_deref().unwrap_or("-")),
        !demanded.zero_retention || at.assurances.zero_retention,
        !demanded.no_training || at.assurances.no_training,
        demanded.most_input_price.is_none_or(|most| picos.is_some_and(|it| it as u64 <= most)),
        demanded.least_context.is_none_or(|least| model.context_length >= least),
        demanded.capabilities.iter().all(|it| model.capabilities.contains(it)),
        lists(&demanded.quantizations, model.quantization.as_deref().unwrap_or("-")),
        lists(&wishes.only, &at.provider),
        !wishes.ignore.contains(&at.provider),
        !wishes.zero_retention || at.assurances.zero_retention,
        wishes.most_input_price.is_none_or(|most| picos.is_some_and(|it| it <= most.picos())),
        !described
            || !body.contains("\"tools\"")
            || model.capabilities.contains(&Capability::Tools),
        !described || !body.contains("image_url") || model.input.contains(&Modality::Image),
    ]
    .into_iter()
    .all(|holds| holds)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever there is, is demanded, wished and asked: nobody is asked who may not answer, in
    /// whichever place of a plan, and all attempts of every kind are to candidates of the plan.
    #[test]
    fn nobody_is_asked_who_may_not_answer(
        served in prop::collection::vec(
            (prop::collection::vec(places(), 1..4), 0..3_usize, 0..3_usize, any::<[bool; 2]>()), 1..6),
        demanded in constraints(), beside in constraints(), goal in prop::option::of(1..100_u8),
        strategy in prop::sample::select(Strategy::ALL.map(|it| it.0).to_vec()),
        tiers in prop::collection::vec(some_names(&MODELS), 0..3),
        only in some_names(&PROVIDERS), ignore in some_names(&["other"]), zdr: bool,
        most in prop::option::of(0..5_u32), tools: bool, image: bool, names: bool,
        allowed in prop::option::of(some_names(&MODELS)), seed: u64,
    ) {
        let mut fixture = Fixture::default();
        for (mut models, provider, region, [zero_retention, no_training]) in served {
            models.dedup_by(|one, other| one.name == other.name);
            let upstream = fixture.upstream(None, &[]);
            upstream.provider = PROVIDERS[provider].into();
            upstream.region = REGIONS[region].map(str::to_owned);
            upstream.assurances = Assurances { zero_retention, no_training };
            upstream.models = models;
        }
        let tier = |names: &Vec<String>| Tier { targets: names.iter().map(|it| target(it)).collect() };
        let otherwise = Choice {
            strategy, goal: goal.map(Goal::QualityPercent),
            tiers: tiers.iter().map(tier).collect(), constraints: demanded.clone(),
            ..Choice::default()
        };
        let beside_it = Choice { constraints: beside.clone(), ..Choice::default() };
        fixture.policies = vec![
            policy("p", Document { rules: vec![], otherwise }),
            policy("beside", Document { rules: vec![], otherwise: beside_it }),
        ];
        let mut body = json!({
            "model": "p",
            "provider": { "only": only, "ignore": ignore, "zdr": zdr, "max_price": most.map(|it| json!({ "prompt": it })) },
        });
        if tools { body["tools"] = json!([{ "type": "function" }]); }
        if image { body["messages"] = json!([{ "role": "user", "content": [{ "type": "image_url" }] }]); }
        let body = body.to_string();
        let ask = Ask::parse(Form::Chat, body.clone().into()).unwrap();
        let ask = ask.headed(names.then_some("beside"), None).unwrap();
        let wishes = ask.wishes.clone();
        let mut key = key(&NewKey::generate(Brand::Live));
        key.allowed_models = allowed.clone();
        fixture.tenants = vec![explore::exploring(key.organization, (seed % 2) as u16 * 100)];
        let (snapshot, live, used) = (snapshot(&fixture), live(), || 0);
        let sight = Sight { snapshot: &snapshot, live: &live, breakers: &breakers(), sessions: &sessions(), now_ms: 0, budget_used_percent: &used };
        let mut dice = explore::Wild(fastrand::Rng::with_seed(seed));
        let Ok(plan) = route(sight, Caller { key: Arc::new(key) }, ask, &mut dice) else { return Ok(()) };
        prop_assert!(!plan.candidates.is_empty());
        for it in &plan.candidates {
            prop_assert!(may_answer(it, &demanded, &wishes, &body), "{it:?}");
            prop_assert!(!names || may_answer(it, &beside, &Wishes::default(), ""), "{it:?}");
            prop_assert!(allowed.as_ref().is_none_or(|all| all.contains(&it.model.name)));
            prop_assert!(tiers.is_empty() || tiers.iter().flatten().any(|name| *name == it.model.name));
        }
        let kept = plan.decision.kept().map(|it| serde_json::to_vec(&it).unwrap().len());
        prop_assert!(kept.is_none_or(|it| it <= 7_000), "{kept:?}");
    }
}

/// `cargo nextest run -p data-plane --release --run-ignored only how_long_a_decision --no-capture`
#[test]
#[ignore = "measures"]
fn how_long_a_decision_takes() {
    let mut fixture = Fixture::default();
    let names: Vec<_> = (0..20).map(|it| format!("model-{it}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for (at, model) in fixture.upstream(None, &names).models.iter_mut().enumerate() {
        model.price = price(&format!("{}", at + 1), "10");
        model.context_length = 128_000;
    }
    fixture.policies = vec![of_all("auto", Strategy::Auto, None)];
    let (snapshot, key, live, used) = (snapshot(&fixture), anybody(), live(), || 0);
    let sight = Sight {
        snapshot: &snapshot,
        live: &live,
        breakers: &breakers(),
        sessions: &sessions(),
        now_ms: 0,
        budget_used_percent: &used,
    };
    let prompt = "Explain how a hash map grows, and what that costs. ".repeat(40);
    let body = format!(r#"{{"model":"auto","messages":[{{"role":"user","content":"{prompt}"}}]}}"#);
    let mut dice = fastrand::Rng::with_seed(1);
    let mut took: Vec<_> = (0..20_000)
        .map(|_| {
            let ask = Ask::parse(Form::Chat, body.clone().into()).unwrap();
            let began = Instant::now();
            let plan = route(sight, Caller { key: key.clone() }, ask, &mut dice).unwrap();
            assert_eq!(plan.candidates.len(), MOST_CANDIDATES);
            began.elapsed()
        })
        .collect();
    took.sort_unstable();
    let at = |share: usize| took[took.len() * share / 1_000];
    println!(
        "20 candidates, {} bytes: p50 {:?}, p99 {:?}, p99.9 {:?}",
        prompt.len(),
        at(500),
        at(990),
        at(999)
    );
}
