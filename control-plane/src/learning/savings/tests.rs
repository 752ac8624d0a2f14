//! What is said of calls that are made up, and of the demo's month.

use actix_web::http::{Method, StatusCode};
use serde_json::json;
use shared::{event::Weighed, ids::RequestId};
use sqlx::PgPool;

use super::*;
use crate::{access::Role, demo, testing::Fixture};

const MODELS: [&str; 3] = ["large", "middle", "small"];

/// Calls for which three models were compared, of which the small is chosen. The large one writes
/// twice as much as the others, at ten times the price.
struct Made(Past);

impl Made {
    fn new() -> Self {
        Self(Past::default())
    }

    /// One of so many that are explored; `drawn` is the first of the models.
    fn call(&mut self, per_mille: u16, explored: bool, drawn: usize, nanos: i64) -> &mut Call {
        let mut names: Vec<_> = MODELS.to_vec();
        let first = names.remove(drawn);
        names.insert(0, first);
        let candidate = |name: &&str| {
            let at = MODELS.iter().position(|it| it == name).unwrap();
            Weighed {
                model: (*name).to_owned(),
                provider: Some("acme".into()),
                upstream: Some(UpstreamId::from_uuid(uuid::Uuid::from_u128(7))),
                why: None,
                quality_ppm: Some([900_000, 700_000, 500_000][at]),
                cost: Some(Money::from_nanos(nanos * [20, 5, 1][at])),
                latency_ms: None,
                propensity_ppm: (per_mille > 0).then_some(1),
                pulse: None,
            }
        };
        let exploration = Exploration { explored, per_mille, among: 3, otherwise: None };
        let compared = Compared {
            request: RequestId::generate(),
            served: first.to_owned(),
            exploration: Some(exploration).filter(|_| per_mille > 0),
            candidates: names.iter().map(candidate).collect(),
            usage: Usage::default(),
            cost: Money::from_nanos(nanos * [20, 5, 1][drawn]),
            at_ms: 0,
        };
        let call = self.0.models.call(compared).unwrap();
        self.0.calls.push(call);
        self.0.calls.last_mut().unwrap()
    }

    fn savings(&self, chosen: Option<&str>) -> Savings {
        let large = |call: &Call, _: UpstreamId, model: &str| {
            let times = if model == "large" { 10 } else { 1 };
            Some(Money::from_nanos(call.cost.nanos() * times))
        };
        self.0.savings(chosen.map(str::to_owned), &large)
    }
}

/// So many led, and as many times `drawn` explored, in turn to each model.
fn month(led: i64, drawn: usize) -> Made {
    let mut made = Made::new();
    for at in 0..led {
        made.call(100, false, 2, 1_000 + at * 7 % 900);
    }
    for at in 0..drawn * 3 {
        made.call(100, true, at % 3, 1_000 + at as i64 * 11 % 900);
    }
    made
}

#[test]
fn what_is_saved_is_measured_on_those_that_were_drawn() {
    let savings = month(900, 60).savings(None);
    assert_eq!((savings.calls, savings.explored), (1_080, 180));
    let baseline = Baseline { model: "large".into(), is_chosen: false };
    assert_eq!(savings.baseline, Some(baseline));
    assert_eq!(savings.cost.counts, Counts { led: 900, drawn: 60, needed: NEEDED });
    let result = savings.cost.result.unwrap();
    // Each call costs a twentieth of what it was expected to cost there, and there as expected.
    assert!((result.saved.estimate - 0.95).abs() < 1e-9, "{result:?}");
    assert!(result.saved.low <= 0.95 && result.saved.high >= 0.95 - 1e-9);
    let (ours, theirs) = (result.per_call.nanos(), result.baseline_per_call.nanos());
    assert!((theirs - ours * 20).abs() <= 20 && (1_000..1_900).contains(&ours), "{ours} {theirs}");
    let price = ByPrice {
        calls: 900,
        cost: savings.by_price.cost,
        baseline_cost: Money::from_nanos(savings.by_price.cost.nanos() * 10),
    };
    assert_eq!(savings.by_price, price);
    assert_eq!(savings.by_price.saved(), Some(0.9));
    let other = month(900, 60).savings(Some("middle"));
    assert!((other.cost.result.unwrap().saved.estimate - 0.8).abs() < 1e-9);
    assert!(other.baseline.unwrap().is_chosen);
}

#[test]
fn of_few_calls_it_is_said_that_they_are_few() {
    for (led, drawn) in [(900, 49), (49, 60), (0, 0)] {
        let savings = month(led, drawn).savings(Some("large"));
        assert_eq!(savings.cost.counts.drawn, drawn as u32);
        assert_eq!((savings.cost.result, savings.quality.result), (None, None));
    }
    let nobody = Made::new().savings(Some("large"));
    assert_eq!((nobody.baseline, nobody.by_price), (None, ByPrice::default()));
    // Nobody asked for a model of that name.
    assert_eq!(month(90, 60).savings(Some("gone")).cost.counts.led, 0);
}

/// Calls of a time when twice as many were explored count half as much each.
#[test]
fn a_share_that_changes_is_weighed() {
    let mut made = Made::new();
    for (per_mille, nanos) in [(50, 1_000), (100, 3_000)] {
        let explored = usize::from(per_mille) * 9 / 5;
        for at in 0..1_000 - explored {
            made.call(per_mille, false, 2, nanos + at as i64 % 7);
        }
        for at in 0..explored {
            // What it was expected to cost is not known, so nothing but weights can help.
            let call = made.call(per_mille, true, at % 3, nanos);
            call.arms.iter_mut().for_each(|it| it.cost = None);
        }
    }
    let result = made.savings(Some("large")).cost.result.unwrap();
    assert!((result.per_call.nanos() - 2_000).abs() < 40, "{result:?}");
    assert!((result.baseline_per_call.nanos() - 40_000).abs() < 400, "{result:?}");
}

#[test]
fn quality_is_what_was_said_of_both() {
    let mut made = month(900, 60);
    for (at, call) in made.0.calls.iter_mut().enumerate() {
        let is_large = &*call.arms[0].model == "large";
        // Of every second somebody said something.
        call.judged = (at % 2 == 0).then_some(if is_large || at % 4 == 0 { 1_000.0 } else { 0.0 });
    }
    let few = made.savings(Some("large")).quality;
    assert!(few.counts.drawn < NEEDED && few.result.is_none(), "{few:?}");
    for call in made.0.calls.iter_mut().filter(|it| &*it.arms[0].model == "large") {
        call.judged = Some(1_000.0);
    }
    let result = made.savings(Some("large")).quality.result.unwrap();
    assert!((result.quality - 0.5).abs() < 1e-9 && result.baseline_quality == 1.0, "{result:?}");
    assert!(result.difference.low < -0.5 && result.difference.high < -0.4, "{result:?}");
}

/// Where some that might have been drawn are not told of, a call is left out, drawn or not.
#[test]
fn whom_nobody_knows_all_candidates_of_is_left_out() {
    let mut made = Made::new();
    let lacking = |explored: bool| Compared {
        request: RequestId::generate(),
        served: "large".into(),
        exploration: Some(Exploration { explored, per_mille: 100, among: 2, otherwise: None }),
        candidates: vec![Weighed {
            model: "large".into(),
            provider: None,
            upstream: Some(UpstreamId::generate()),
            why: None,
            quality_ppm: None,
            cost: None,
            latency_ms: None,
            propensity_ppm: Some(1),
            pulse: None,
        }],
        usage: Usage::default(),
        cost: Money::ZERO,
        at_ms: 0,
    };
    for explored in [true, false] {
        let call = made.0.models.call(lacking(explored)).unwrap();
        assert!(call.exploration.is_none() && call.part("large").is_none());
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn the_demo_month_says_what_it_saves(root: PgPool) {
    let fixture = Fixture::new(root).await;
    demo::month(&fixture).await;
    let mut work = fixture.work(Role::Owner).await;
    let savings = savings(&mut work, USUAL_DAYS).await.unwrap();
    drop(work);
    println!("{savings:?}");
    assert!(savings.calls > 200 && savings.explored > 0, "{savings:?}");
    assert_eq!(savings.cost.result, None);
    let by_price = savings.by_price.saved().unwrap();
    assert!(by_price > 0.0 && savings.by_price.calls > 200, "{savings:?}");
    let browser = fixture.browser(Role::Owner).await;
    let page = browser.get("/orgs/ours/learning").await;
    page.says(StatusCode::OK, "Cost saved, measured");
    page.says(StatusCode::OK, "95 % interval");
    page.says(StatusCode::OK, "Not enough calls to say:");
    let token = fixture.token(Role::Admin, false).await;
    let there = "/orgs/ours/learning/savings?days=14";
    let told = fixture.api(Some(&token), Method::GET, there, None).await;
    told.says(StatusCode::OK, "\"days\":14");
    assert_eq!(told.json()["cost"]["needed"], json!(NEEDED));
    let mut theirs = fixture.work_of(&fixture.theirs, Role::Owner).await;
    let nothing = super::savings(&mut theirs, USUAL_DAYS).await.unwrap();
    assert_eq!((nothing.calls, nothing.baseline), (0, None));
}
