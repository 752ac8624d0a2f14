//! Which calls go to one drawn by chance, and to whom.

use shared::{
    event::Otherwise,
    snapshot::{Choice, Goal, MOST_EXPLORED, Stick, Strategy},
};

use super::{
    engine::{policy, price},
    *,
};

/// Has every call explored that may be.
pub struct Wild(pub fastrand::Rng);

impl Dice for Wild {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn explores(&mut self, _: u16) -> bool {
        true
    }
}

/// An organization that has so many of a thousand calls explored.
pub fn exploring(organization: OrganizationId, explore_per_mille: u16) -> Tenant {
    Tenant {
        organization,
        limits: Limits::default(),
        disabled: vec![],
        books: vec![],
        routing: Default::default(),
        explore_per_mille,
        worths: vec![],
    }
}

const STRATEGIES: [(&str, Strategy); 8] = [
    ("auto", Strategy::Auto),
    ("balanced", Strategy::Balanced),
    ("best", Strategy::Best),
    ("cheapest", Strategy::Cheapest),
    ("fastest", Strategy::Fastest),
    ("weighted", Strategy::Weighted),
    ("priority", Strategy::Priority),
    ("pinned", Strategy::Pinned),
];

/// Three models to choose from, and one behind them, by a policy of each strategy.
struct Scene {
    snapshot: Arc<Snapshot>,
    caller: Caller,
}

impl Scene {
    fn new(per_mille: u16, stick: Option<Stick>) -> Self {
        let key = Arc::new(key(&NewKey::generate(Brand::Live)));
        let mut fixture = Fixture::default();
        let models = &mut fixture.upstream(None, &["large", "middle", "small", "behind"]).models;
        for (model, cost) in models.iter_mut().zip(["9", "3", "1", "1"]) {
            model.price = price(cost, cost);
        }
        let tier = |names: &[&str]| Tier { targets: names.iter().map(|it| target(it)).collect() };
        // Whoever is named twice is no likelier to be drawn.
        let tiers = vec![tier(&["large", "middle", "small", "small"]), tier(&["behind"])];
        let choice = |strategy| Choice {
            strategy,
            goal: Some(Goal::QualityPercent(50)).filter(|_| strategy == Strategy::Auto),
            tiers: tiers.clone(),
            stick,
            ..Choice::default()
        };
        let of = |(name, strategy)| {
            policy(name, Document { rules: vec![], otherwise: choice(strategy) })
        };
        fixture.policies = STRATEGIES.map(of).to_vec();
        fixture.tenants = vec![exploring(key.organization, per_mille)];
        Self { snapshot: snapshot(&fixture), caller: Caller { key } }
    }

    fn plan(&self, body: &str, dice: &mut dyn Dice) -> Plan {
        let ask = Ask::parse(Form::Chat, Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let (live, used) = (live(), || 0);
        let sight = Sight {
            snapshot: &self.snapshot,
            live: &live,
            breakers: &breakers(),
            sessions: &sessions(),
            now_ms: 0,
            budget_used_percent: &used,
        };
        route(sight, self.caller.clone(), ask, dice).unwrap()
    }
}

fn first(plan: &Plan) -> &str {
    &plan.candidates[0].model.name
}

#[test]
fn a_share_of_the_calls_goes_to_each_alike() {
    let scene = Scene::new(MOST_EXPLORED, None);
    let chosen = first(&Scene::new(0, None).plan(r#"{"model":"auto"}"#, &mut Loaded)).to_owned();
    let mut drawn: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..6_000 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let plan = scene.plan(r#"{"model":"auto"}"#, &mut dice);
        let kept = plan.decision.kept().unwrap();
        let told = kept.exploration.unwrap();
        assert_eq!((told.per_mille, told.among), (100, 3));
        let likely: u32 = kept.candidates.iter().filter_map(|it| it.propensity_ppm).sum();
        assert!((999_990..=1_000_000).contains(&likely), "{likely}");
        let last = kept.candidates.last().unwrap();
        assert_eq!((last.model.as_str(), last.propensity_ppm), ("behind", None));
        match told.otherwise {
            None => assert_eq!((told.explored, first(&plan)), (false, chosen.as_str())),
            Some(it) => {
                assert_eq!((told.explored, &it.model), (true, &chosen));
                *drawn.entry(first(&plan).to_owned()).or_default() += 1;
            }
        }
    }
    let all: u32 = drawn.values().sum();
    assert!(all.abs_diff(600) < 100 && drawn.len() == 3, "{drawn:?}");
    assert!(drawn.values().all(|it| it.abs_diff(all / 3) < 60), "{drawn:?}");
}

#[test]
fn an_explored_call_says_so() {
    let scene = Scene::new(25, None);
    // The first draw is the place of the one that is drawn.
    let drawn = |seed| scene.plan(r#"{"model":"auto"}"#, &mut Wild(fastrand::Rng::with_seed(seed)));
    let plan = (0..99).map(drawn).find(|it| first(it) == "large").unwrap();
    let chosen =
        first(&scene.plan(r#"{"model":"auto"}"#, &mut Dry(fastrand::Rng::new()))).to_owned();
    assert_eq!(plan.decision.reason.name(), "explored");
    let told = plan.decision.told();
    assert_eq!((&told["explored"], &told["strategy"]), (&true.into(), &"auto".into()));
    let otherwise = json!({ "model": chosen, "provider": "example" });
    assert_eq!(told["exploration"]["otherwise"], otherwise);
    assert_eq!(told["candidates"][0]["propensity"], 0.008_333);
    let words = "large at example is the first by chance, as with 2.5 % of such calls; else ";
    let sentence = plan.decision.sentence();
    assert!(
        sentence.contains(words) && sentence.contains(&format!("else {chosen} at")),
        "{sentence}"
    );
    let kept = plan.decision.kept().unwrap();
    let otherwise = Otherwise { model: chosen, provider: "example".into() };
    assert_eq!(kept.exploration.unwrap().otherwise, Some(otherwise));
    let propensities: Vec<_> = kept.candidates.iter().map(|it| it.propensity_ppm).collect();
    assert_eq!(propensities.iter().filter(|it| **it == Some(983_333)).count(), 1);
}

#[test]
fn a_call_that_is_not_made_is_not_explored() {
    let scene = Scene::new(MOST_EXPLORED, None);
    for seed in 0..50 {
        let mut dice = Dry(fastrand::Rng::with_seed(seed));
        let decision = scene.plan(r#"{"model":"auto"}"#, &mut dice).decision;
        assert_eq!((decision.reason.name(), &decision.told()["explored"]), ("auto", &false.into()));
        let sentence = decision.sentence();
        assert!(sentence.contains("; 10 % of such calls go to one drawn by chance"), "{sentence}");
    }
}

#[test]
fn what_has_another_reason_is_left_alone() {
    let scene = Scene::new(MOST_EXPLORED, None);
    let mut dice = Wild(fastrand::Rng::with_seed(3));
    let mut explores = |scene: &Scene, body: &str| {
        let decision = scene.plan(body, &mut dice).decision;
        let is_explored = decision.exploration.is_some();
        assert_eq!(decision.reason.name() == "explored", is_explored, "{body}");
        is_explored
    };
    for (name, strategy) in STRATEGIES {
        let expected = matches!(strategy, Strategy::Auto | Strategy::Balanced | Strategy::Best);
        assert_eq!(explores(&scene, &format!(r#"{{"model":"{name}"}}"#)), expected, "{name}");
    }
    for body in [
        r#"{"model":"auto:floor"}"#,
        r#"{"model":"auto:best"}"#,
        r#"{"model":"large:best"}"#,
        r#"{"model":"large","models":["auto"]}"#,
        r#"{"model":"auto","provider":{"order":["example"]}}"#,
        r#"{"model":"auto","provider":{"sort":"price"}}"#,
        r#"{"model":"auto","provider":{"allow_fallbacks":false}}"#,
        r#"{"model":"auto","provider":{"preferred_max_latency":9}}"#,
    ] {
        assert!(!explores(&scene, body), "{body}");
    }
    let sticking = Scene::new(MOST_EXPLORED, Some(Stick { minutes: 30 }));
    assert!(!explores(&sticking, r#"{"model":"auto","user":"ann"}"#));
    assert!(!explores(&Scene::new(0, None), r#"{"model":"auto"}"#));
}
