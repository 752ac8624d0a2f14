//! A draft tried on the demo's month, whose calls were decided by the code that proxies run.

use actix_web::http::{Method, StatusCode};
use serde_json::json;
use shared::snapshot::{Choice, Goal, Strategy, Target, Tier};
use sqlx::PgPool;

use super::*;
use crate::{
    access::{Actor, Origin, Role},
    demo,
    policies::{Draft, Stranding, archive, change, create, draft_of},
    testing::Fixture,
};

/// The demo's policy and its draft, and calls of a month that it led.
async fn scene(root: PgPool) -> (Fixture, PolicyId) {
    let fixture = Fixture::new(root).await;
    let policy = demo::month(&fixture).await;
    (fixture, policy)
}

async fn tried(fixture: &Fixture, policy: PolicyId, trial: Trial, most: u32) -> Simulation {
    simulate(&mut fixture.work(Role::Admin).await, policy, trial, most).await.unwrap()
}

fn pinned(model: &str) -> Document {
    let target = Target { model: model.into(), provider: None, weight: 1 };
    let tiers = vec![Tier { targets: vec![target] }];
    let otherwise = Choice { strategy: Strategy::Pinned, tiers, ..Choice::default() };
    Document { rules: Vec::new(), otherwise }
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_in_force_decides_the_demo_month_as_it_was_decided(root: PgPool) {
    let (fixture, policy) = scene(root).await;
    let present = find(&mut fixture.work(Role::Admin).await, policy).await.unwrap();
    let same = tried(&fixture, policy, Trial::Version(present.version), MOST).await;
    assert!(same.calls > 200, "{same:?}");
    assert_eq!(same.reproduced, report::Reproduced { same: same.calls, of: same.calls });
    assert_eq!((same.changed, same.changes.len(), same.left_out.len()), (0, 0, 0));
    assert_eq!(same.before, same.after);
    assert_eq!(same.before.unanswered, 0);
    assert_eq!(same.before.priced, same.calls);
    // What the calls cost is what they were billed.
    let mut work = fixture.work(Role::Admin).await;
    let events = requests::decided_by(&mut work, "support-chat", 9_999).await.unwrap();
    let billed = events.iter().map(|it| it.cost.nanos()).sum::<i64>();
    assert_eq!(same.before.cost.nanos(), billed);
    let few = tried(&fixture, policy, Trial::Version(present.version), 7).await;
    assert_eq!(few.calls, 7);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_draft_says_what_it_changes(root: PgPool) {
    let (fixture, policy) = scene(root).await;
    let draft = tried(&fixture, policy, Trial::Draft, 1_000).await;
    assert!(draft.changed > 0 && draft.changed < draft.calls, "{draft:?}");
    assert!(draft.before.judged > 0);
    let listed: u32 = draft.places.iter().map(|it| it.after).sum();
    assert_eq!(listed + draft.after.unanswered, draft.calls);

    let large = tried(&fixture, policy, Trial::Document(pinned("sim-large").into()), 1_000).await;
    assert_eq!((large.places[0].model.as_str(), large.places[0].after), ("sim-large", large.calls));
    assert!(large.after.cost > large.before.cost);
    assert!(large.after.quality_ppm > large.before.quality_ppm);
    assert_eq!(large.unknown, 0);

    let mut nobody = pinned("sim-large");
    nobody.otherwise.constraints.regions = vec!["the moon".into()];
    let nobody = tried(&fixture, policy, Trial::Document(nobody.into()), 1_000).await;
    assert_eq!((nobody.after.unanswered, nobody.changed), (nobody.calls, nobody.calls));

    let mut asks = pinned("sim-large");
    asks.rules = vec![shared::snapshot::Rule {
        name: "gold".into(),
        when: "metadata['tier'] == 'gold'".into(),
        choose: pinned("sim-small").otherwise,
    }];
    let asks = tried(&fixture, policy, Trial::Document(asks.into()), 1_000).await;
    assert_eq!((asks.unknown, asks.after.unanswered), (asks.calls, 0));

    let cheap = Document {
        rules: Vec::new(),
        otherwise: Choice {
            strategy: Strategy::Auto,
            goal: Some(Goal::QualityPercent(1)),
            tiers: Vec::new(),
            ..Choice::default()
        },
    };
    let cheap = tried(&fixture, policy, Trial::Document(cheap.into()), 1_000).await;
    assert!(cheap.after.cost <= cheap.before.cost, "{cheap:?}");

    // A goal that nobody had before is come to by all calls together.
    let compared = |strategy, goal| Document {
        rules: Vec::new(),
        otherwise: Choice { strategy, goal, ..Choice::default() },
    };
    let best = compared(Strategy::Best, None);
    let best = tried(&fixture, policy, Trial::Document(best.into()), 1_000).await.after;
    let most = compared(Strategy::Auto, Some(Goal::QualityPercent(90)));
    let most = tried(&fixture, policy, Trial::Document(most.into()), 1_000).await.after;
    let share = most.quality_ppm * 100 / best.quality_ppm;
    assert!((90..100).contains(&share) && most.cost < best.cost, "{most:?} beside {best:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_hard_budget_would_have_refused_what_is_dearer(root: PgPool) {
    let (fixture, policy) = scene(root).await;
    let before = tried(&fixture, policy, Trial::Document(pinned("sim-large").into()), 1_000).await;
    assert_eq!((before.before.refused, before.after.refused), (0, 0));
    demo::cap_all(&fixture).await;
    let capped = tried(&fixture, policy, Trial::Document(pinned("sim-large").into()), 1_000).await;
    assert_eq!(capped.before.refused, 0);
    assert!(capped.after.refused > 0 && capped.after.refused < capped.calls, "{capped:?}");
    assert_eq!(capped.refused_by, ["What the demo spends"]);
}

#[sqlx::test(migrations = "../migrations")]
async fn people_and_programs_are_told_the_same(root: PgPool) {
    let (fixture, policy) = scene(root).await;
    let admin = fixture.browser(Role::Admin).await;
    let page = format!("/orgs/ours/policies/{policy}");
    admin.get(&page).await.says(StatusCode::OK, &format!("{page}/simulate"));
    let shown = admin.get(&format!("{page}/simulate?calls=100")).await;
    for words in ["What the draft would have decided", "Refused by hard budgets", "sim-reasoning"] {
        shown.says(StatusCode::OK, words);
    }
    let token = fixture.token(Role::Admin, false).await;
    let call = async |body| {
        let path = format!("/orgs/ours/policies/{policy}/simulate");
        fixture.api(Some(&token), Method::POST, &path, Some(body)).await
    };
    assert_eq!(call(json!({ "calls": 100 })).await.json()["calls"], 100);
    let flawed = call(json!({ "document": pinned("nobody-has-it") })).await;
    flawed.says(StatusCode::BAD_REQUEST, "targets[0].model");
    let both = call(json!({ "document": pinned("sim-large"), "version": 1 })).await;
    both.says(StatusCode::BAD_REQUEST, "one of document and version");
    let viewer = fixture.browser(Role::Viewer).await.get(&format!("{page}/simulate")).await;
    assert_eq!(viewer.status, StatusCode::FORBIDDEN);
    let theirs = &mut fixture.work_of(&fixture.theirs, Role::Admin).await;
    let refused = simulate(theirs, policy, Trial::Draft, 9).await.unwrap_err();
    assert!(matches!(refused, PolicyError::NotFound));
}

#[sqlx::test(migrations = "../migrations")]
async fn without_a_draft_there_is_nothing_to_try(root: PgPool) {
    let (fixture, policy) = scene(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let draft = draft_of(&mut work, policy).await.unwrap().unwrap();
    let draft =
        Draft { name: draft.name.parse().unwrap(), document: draft.document, note: String::new() };
    change(&mut work, policy, &draft, None, Stranding::Allow).await.unwrap();
    crate::policies::discard(&mut work, policy).await.unwrap();
    let refused = simulate(&mut work, policy, Trial::Draft, 9).await.unwrap_err();
    assert!(matches!(refused, PolicyError::NoDraft));
    let refused = simulate(&mut work, policy, Trial::Version(77), 9).await.unwrap_err();
    assert!(matches!(refused, PolicyError::NoVersion));
    // Calls of the version before are not taken for decisions of the one in force.
    let tried = simulate(&mut work, policy, Trial::Version(1), 500).await.unwrap();
    assert_eq!((tried.reproduced.of, tried.version), (0, 2));
    assert!(tried.changed > 0);
}

/// What an organization's own policy led is the platform's to try where that one has its name alone.
#[sqlx::test(migrations = "../migrations")]
async fn the_platforms_policy_is_tried_on_everybodys_calls(root: PgPool) {
    let (fixture, own) = scene(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let Policy { name, document, .. } = find(&mut work, own).await.unwrap();
    work.commit().await.unwrap();
    let staff = || Work::begin(&fixture.db, audit::PLATFORM, Actor::System, Origin::internal());
    let mut work = staff().await.unwrap();
    let draft = Draft { name: name.parse().unwrap(), document, note: String::new() };
    let policy = create(&mut work, &draft).await.unwrap();
    let tried = async |work: &mut Work, document: &Document| {
        simulate(work, policy, Trial::Document(document.clone().into()), 1_000).await.unwrap()
    };
    let shadowed = tried(&mut work, &draft.document).await;
    assert_eq!(shadowed.calls, 0);
    work.commit().await.unwrap();
    let mut work = fixture.work(Role::Admin).await;
    archive(&mut work, own).await.unwrap();
    work.commit().await.unwrap();

    let mut work = staff().await.unwrap();
    let same = tried(&mut work, &draft.document).await;
    assert!(same.calls > 10 && same.from < same.until, "{same:?}");
    assert_eq!((same.changed, same.before), (0, same.after));
    demo::cap_all(&fixture).await;
    let large = tried(&mut work, &pinned("sim-large")).await;
    assert_eq!((large.calls, large.places[0].after), (same.calls, large.calls));
    assert!(large.changed > 0 && large.after.refused > 0, "{large:?}");
    // Neither whose calls those were nor what people called their budgets.
    assert!(large.changes.is_empty() && large.refused_by.is_empty());
    assert_eq!(work.organization, audit::PLATFORM);
}
