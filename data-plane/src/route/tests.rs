use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::{
    failure::{Classified, Kind, code},
    ids::PolicyId,
    keys::{Brand, NewKey},
    snapshot::{Disabled, Document, Limits, Policy, Tenant, Tier},
};

use super::{
    no_route::{MOST_ALTERNATIVES, instead},
    *,
};
use crate::{
    ask::Form,
    call::{Breakers, Live, LiveMetrics},
    catalog::tests::{Fixture, key, snapshot},
};

mod engine;
mod explore;
mod replay;

/// Always draws the same, so that the order is that of the weights' first share.
struct Loaded;

impl Dice for Loaded {
    fn below(&mut self, _: u64) -> u64 {
        0
    }
}

fn target(model: &str) -> Target {
    Target { model: model.into(), provider: None, weight: 1 }
}

/// `gpt-5`, `gpt-5-mini` and `claude`, and the policy `auto`: the mini, then `claude`.
fn fixture() -> Fixture {
    let mut fixture = Fixture::default();
    fixture.upstream(None, &["gpt-5", "gpt-5-mini"]);
    fixture.upstream(None, &["claude", "gpt-5"]).provider = "other".into();
    fixture.policies.push(Policy {
        id: PolicyId::generate(),
        organization: None,
        name: "auto".into(),
        version: 3,
        document: Document::of_tiers(vec![
            Tier { targets: vec![target("gpt-5-mini"), target("gone")] },
            Tier { targets: vec![target("claude")] },
        ]),
        staged: None,
    });
    fixture
}

fn live() -> Live {
    let metrics = LiveMetrics::new(&prometheus::Registry::new()).unwrap();
    Live::new(&metrics)
}

fn breakers() -> Breakers {
    let open = prometheus::IntGauge::new("open", "open").unwrap();
    Breakers::new(10, open, prometheus::IntCounter::new("openings", "openings").unwrap())
}

fn sessions() -> Sessions {
    Sessions::new(SessionMetrics::new(&prometheus::Registry::new()).unwrap())
}

fn routed_by(snapshot: &Snapshot, caller: Caller, ask: Ask) -> Result<Plan, NoRoute> {
    let (live, used) = (live(), || 0);
    let sight = Sight {
        snapshot,
        live: &live,
        breakers: &breakers(),
        sessions: &sessions(),
        now_ms: 0,
        budget_used_percent: &used,
    };
    route(sight, caller, ask, &mut Loaded)
}

fn routed(allowed: Option<&[&str]>, body: &str) -> Result<Plan, NoRoute> {
    let mut key = key(&NewKey::generate(Brand::Live));
    key.allowed_models = allowed.map(|it| it.iter().map(|&it| it.to_owned()).collect());
    let ask = Ask::parse(Form::Chat, Bytes::copy_from_slice(body.as_bytes())).unwrap();
    routed_by(&snapshot(&fixture()), Caller { key: Arc::new(key) }, ask)
}

#[track_caller]
fn check(allowed: Option<&[&str]>, asked: &str, expected: Result<&[&str], &str>) {
    let outcome = routed(allowed, asked);
    let names = |it: Plan| -> Vec<_> {
        let named = |it: &Candidate| format!("{}@{}", it.model.name, it.model.upstream.provider);
        it.candidates.iter().map(named).collect()
    };
    match (outcome.map(names).map_err(|it| it.to_string()), expected) {
        (Ok(names), Ok(expected)) => assert_eq!(names, expected),
        (Err(told), Err(words)) => assert!(told.contains(words), "{told}"),
        (outcome, expected) => panic!("{outcome:?} is not {expected:?}"),
    }
}

#[test]
fn a_model_is_asked_wherever_it_is_served() {
    check(None, r#"{"model":"gpt-5"}"#, Ok(&["gpt-5@example", "gpt-5@other"]));
    check(Some(&["claude"]), r#"{"model":"claude"}"#, Ok(&["claude@other"]));
}

#[test]
fn a_policy_leads_through_its_tiers() {
    check(None, r#"{"model":"auto"}"#, Ok(&["gpt-5-mini@example", "claude@other"]));
    let plan = routed(None, r#"{"model":"auto"}"#).unwrap();
    assert_eq!(plan.decision.reason.policy().unwrap().version, 3);
    assert_eq!(plan.decision.reason.name(), "policy");
}

#[test]
fn a_policy_leads_only_to_what_the_key_may_use() {
    check(Some(&["claude"]), r#"{"model":"auto"}"#, Ok(&["claude@other"]));
    check(Some(&["gpt-5"]), r#"{"model":"auto"}"#, Err("may not use"));
    let auto: &[_] = &["auto"];
    check(Some(auto), r#"{"model":"auto"}"#, Ok(&["gpt-5-mini@example", "claude@other"]));
}

#[test]
fn the_callers_own_fallbacks_come_after() {
    let body = r#"{"model":"gpt-5-mini","models":["nonsense","claude","gpt-5-mini"]}"#;
    check(None, body, Ok(&["gpt-5-mini@example", "claude@other"]));
    let body = r#"{"model":"gpt-5-mini","models":["claude"]}"#;
    check(Some(&["gpt-5-mini"]), body, Ok(&["gpt-5-mini@example"]));
    check(Some(&["claude"]), body, Ok(&["claude@other"]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// However many secrets each upstream has, every model of the first sixteen keeps a
    /// candidate, in the plan's order.
    #[test]
    fn no_model_is_cut_off_by_the_secrets_of_another(
        secrets in prop::collection::vec(1..24_usize, 1..20),
    ) {
        let mut fixture = Fixture::default();
        for (at, secrets) in secrets.iter().enumerate() {
            let upstream = fixture.upstream(None, &[&format!("m{at}")]);
            let secret = upstream.credentials[0].clone();
            upstream.credentials = vec![secret; *secrets];
        }
        let target = |at: usize| Tier { targets: vec![target(&format!("m{at}"))] };
        let tiers: Vec<_> = (0..secrets.len()).map(target).collect();
        let (id, name) = (PolicyId::generate(), "auto".to_owned());
        fixture.policies = vec![Policy { id, organization: None, name, version: 1, document: Document::of_tiers(tiers), staged: None }];
        let ask = Ask::parse(Form::Chat, Bytes::from(r#"{"model":"auto"}"#)).unwrap();
        let caller = Caller { key: Arc::new(key(&NewKey::generate(Brand::Live))) };
        let plan = routed_by(&snapshot(&fixture), caller, ask).unwrap();
        let mut names: Vec<_> = plan.candidates.iter().map(|it| it.model.name.clone()).collect();
        prop_assert_eq!(names.len(), secrets.iter().sum::<usize>().min(MOST_CANDIDATES));
        names.dedup();
        let reached = secrets.len().min(MOST_CANDIDATES);
        prop_assert_eq!(names, (0..reached).map(|at| format!("m{at}")).collect::<Vec<_>>());
    }
}

#[test]
fn a_mistyped_name_is_understood() {
    check(None, r#"{"model":"gpt5-mini"}"#, Err("Did you mean \"gpt-5-mini\"?"));
    check(None, r#"{"model":"aut"}"#, Err("Did you mean \"auto\"?"));
    check(None, r#"{"model":"llama"}"#, Err("GET /v1/models"));
}

#[test]
fn a_key_uses_the_models_on_its_list() {
    check(Some(&["gpt-5-mini"]), r#"{"model":"gpt-5"}"#, Err("may not use"));
    check(Some(&[]), r#"{"model":"claude"}"#, Err("may not use"));
}

/// The likest of those that are served, a few of them.
#[test]
fn what_a_key_may_use_instead_is_named() {
    let told = |allowed: &[&str], asked: &str| {
        let refused = routed(Some(allowed), &format!(r#"{{"model":"{asked}"}}"#)).unwrap_err();
        assert!(refused.key().is_some() && refused.code() == code::MODEL_NOT_ALLOWED);
        refused
    };
    let refused = told(&["claude", "gone", "auto", "gpt-5-mini"], "gpt-5");
    let words = "It may use \"gpt-5-mini\", \"auto\" or \"claude\".";
    assert!(refused.to_string().ends_with(words), "{refused}");
    let alternatives = &refused.details().unwrap()["alternatives"];
    assert_eq!(*alternatives, json!(["gpt-5-mini", "auto", "claude"]));
    for (allowed, words) in [
        (&["claude"][..], "It may use \"claude\"."),
        (&["gone"], "None that it may use is served at present."),
        (&[], "None that it may use is served at present."),
    ] {
        let refused = told(allowed, "gpt-5");
        assert!(refused.to_string().ends_with(words), "{refused}");
    }
    let many: Vec<_> = (0..9).map(|at| format!("m{at}")).collect();
    let words = "It may use \"m0\", \"m1\", \"m2\", \"m3\", \"m4\": GET /v1/models lists all.";
    assert_eq!(instead(&many[..MOST_ALTERNATIVES]), words);
}

/// Each model that the policy leads to, and what is against it.
#[test]
fn a_policy_that_leads_nowhere_says_why() {
    let mut record = key(&NewKey::generate(Brand::Live));
    record.allowed_models = Some(vec!["gone".into(), "mini".into(), "far".into(), "own".into()]);
    let organization = record.organization;
    let mut fixture = Fixture::default();
    let platform = fixture.upstream(None, &["mini", "far", "own", "big"]).id;
    fixture.upstream(Some(organization), &["own"]).base_url = "https://elsewhere.test".into();
    let disabled = vec![Disabled { upstream: platform, model: Some("mini".into()) }];
    let limits = Limits::default();
    fixture.tenants = vec![Tenant {
        organization,
        limits,
        disabled,
        books: vec![],
        routing: Default::default(),
        explore_per_mille: 0,
        worths: vec![],
    }];
    let far = Target { provider: Some("acme".into()), ..target("far") };
    fixture.policies = vec![Policy {
        id: PolicyId::generate(),
        organization: None,
        name: "auto".into(),
        version: 7,
        document: Document::of_tiers(vec![
            Tier { targets: vec![target("gone"), target("mini"), target("big")] },
            Tier { targets: vec![far, target("own")] },
        ]),
        staged: None,
    }];
    let ask = Ask::parse(Form::Chat, Bytes::from(r#"{"model":"auto"}"#)).unwrap();
    let caller = Caller { key: Arc::new(record) };
    let refused = routed_by(&snapshot(&fixture), caller, ask).unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (Kind::Unavailable, code::NO_ELIGIBLE_MODEL));
    let words = "No model that \"auto\" leads to can take the call: \
                 \"gone\" (nobody serves it at present), \
                 \"mini\" (your organization has disabled it), \
                 \"big\" (your key may not use it), \
                 \"far\" at acme (that provider does not serve it), \
                 \"own\" (your own provider of it cannot be called). \
                 Ask an admin of your organization to look at the policy.";
    assert_eq!(refused.to_string(), words);
    let details = refused.details().unwrap();
    assert_eq!(details["policy"], "auto@7");
    let expected = json!({ "model": "far", "provider": "acme", "why": "not_there" });
    assert_eq!(details["candidates"][3], expected);
}

/// Their data goes to no vendor that they did not choose.
#[test]
fn what_ones_own_provider_is_to_serve_is_asked_for_nowhere_else() {
    let key = Arc::new(key(&NewKey::generate(Brand::Live)));
    let mut fixture = fixture();
    fixture.upstream(Some(key.organization), &["gpt-5"]).base_url = "https://elsewhere.test".into();
    let snapshot = snapshot(&fixture);
    let routed = |model: &str| {
        let ask = format!(r#"{{"model":"{model}"}}"#);
        let ask = Ask::parse(Form::Chat, Bytes::from(ask)).unwrap();
        routed_by(&snapshot, Caller { key: key.clone() }, ask)
    };
    let refused = routed("gpt-5").unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (Kind::Unavailable, code::NO_ELIGIBLE_MODEL));
    assert!(refused.to_string().contains("own provider of \"gpt-5\""), "{refused}");
    assert!(routed("claude").is_ok() && routed("auto").is_ok());
}

#[test]
fn what_a_key_may_not_use_is_not_suggested() {
    check(Some(&["claude"]), r#"{"model":"gpt-5-min"}"#, Err("GET /v1/models"));
}

#[test]
fn what_the_organization_disabled_is_neither_served_nor_led_to() {
    let key = key(&NewKey::generate(Brand::Live));
    let mut fixture = fixture();
    let disabled = |at: usize, model: &str| Disabled {
        upstream: fixture.upstreams[at].id,
        model: Some(model.to_owned()),
    };
    let disabled = vec![disabled(0, "gpt-5-mini"), disabled(0, "gpt-5")];
    let limits = Limits::default();
    fixture.tenants = vec![Tenant {
        organization: key.organization,
        limits,
        disabled,
        books: vec![],
        routing: Default::default(),
        explore_per_mille: 0,
        worths: vec![],
    }];
    let (snapshot, key) = (snapshot(&fixture), Arc::new(key));
    let routed = |model: &str| {
        let ask = format!(r#"{{"model":"{model}"}}"#);
        let ask = Ask::parse(Form::Chat, Bytes::from(ask)).unwrap();
        let plan = routed_by(&snapshot, Caller { key: key.clone() }, ask)?;
        let first = plan.candidates.first().unwrap();
        Ok::<_, NoRoute>(format!("{}@{}", first.model.name, first.model.upstream.provider))
    };
    assert_eq!(routed("gpt-5").unwrap(), "gpt-5@other");
    assert_eq!(routed("auto").unwrap(), "claude@other");
    let refused = routed("gpt-5-mini").unwrap_err();
    assert_eq!(refused.code(), code::MODEL_NOT_FOUND);
    assert!(refused.to_string().contains("Your organization has disabled"), "{refused}");
    // Nor is it what anybody meant.
    let nobody_knows = NoRoute::Unknown { name: "gpt5-mini".to_owned(), meant: None };
    assert_eq!(routed("gpt5-mini").unwrap_err(), nobody_knows);
}
