//! Limits as the application sees them, and through their pages and the API.

use actix_web::http::StatusCode;
use proptest::prelude::*;
use shared::ids::ProjectId;
use sqlx::PgPool;

use super::*;
use crate::{access::Role, keys::tests::project, testing::Fixture};

const SOME: Limits = Limits {
    requests_per_minute: Some(60),
    tokens_per_minute: Some(5_000_000_000),
    concurrent_requests: None,
};

proptest! {
    #[test]
    fn what_is_kept_is_published_as_it_is(
        requests in proptest::option::of(1..=i32::MAX),
        tokens in proptest::option::of(1..=i64::MAX),
        concurrent in proptest::option::of(1..=i32::MAX),
    ) {
        let limits = Limits {
            requests_per_minute: requests,
            tokens_per_minute: tokens,
            concurrent_requests: concurrent,
        };
        let told = snapshot::Limits::from(limits.checked().unwrap());
        prop_assert_eq!(told.requests_per_minute.map(i64::from), requests.map(i64::from));
        prop_assert_eq!(told.tokens_per_minute.map(i128::from), tokens.map(i128::from));
        prop_assert_eq!(told.concurrent.map(i64::from), concurrent.map(i64::from));
    }
}

#[test]
fn a_limit_lets_something_through() {
    let none = Limits { requests_per_minute: Some(0), ..Limits::default() };
    assert!(none.checked().unwrap_err().of("requests_per_minute").is_some());
    let negative = Limits { tokens_per_minute: Some(-1), ..Limits::default() };
    assert!(negative.checked().unwrap_err().of("tokens_per_minute").is_some());
    assert_eq!(Limits::default().checked().unwrap(), Limits::default());
}

#[sqlx::test(migrations = "../migrations")]
async fn limits_are_published_while_there_are_any(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let bot = project(&fixture, &fixture.ours, "bot").await;
    let mut work = fixture.work(Role::Admin).await;
    set_of_organization(&mut work, SOME).await.unwrap();
    set_of_project(&mut work, bot, SOME).await.unwrap();
    let organizations = published_organizations(&mut work, None).await.unwrap();
    let projects = published_projects(&mut work, None).await.unwrap();
    let told = snapshot::Tenant {
        organization: fixture.ours.id,
        limits: SOME.into(),
        disabled: vec![],
        books: vec![],
        routing: Default::default(),
        explore_per_mille: 0,
        worths: vec![],
    };
    assert_eq!(organizations, [told]);
    let told = snapshot::Project {
        id: bot,
        organization: fixture.ours.id,
        limits: SOME.into(),
        team: None,
        splits: Vec::new(),
        routing: Default::default(),
    };
    assert_eq!(projects, [told]);
    let other = [ProjectId::generate()];
    assert!(published_projects(&mut work, Some(&other)).await.unwrap().is_empty());
    set_of_organization(&mut work, Limits::default()).await.unwrap();
    set_of_project(&mut work, bot, Limits::default()).await.unwrap();
    assert!(published_organizations(&mut work, None).await.unwrap().is_empty());
    assert!(published_projects(&mut work, None).await.unwrap().is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn limits_of_others_are_out_of_reach(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let theirs = project(&fixture, &fixture.theirs, "bot").await;
    let mut work = fixture.work(Role::Owner).await;
    assert!(of_project(&mut work, theirs).await.is_err());
    assert!(set_of_project(&mut work, theirs, SOME).await.is_err());
    // Even where a statement names the wrong organization.
    store::set_of_project(&mut work, fixture.theirs.id, theirs, SOME).await.unwrap();
    store::set_of_organization(&mut work, fixture.theirs.id, SOME).await.unwrap();
    work.commit().await.unwrap();
    let mut work = fixture.work_of(&fixture.theirs, Role::Owner).await;
    assert_eq!(of_organization(&mut work).await.unwrap(), Limits::default());
    assert_eq!(of_project(&mut work, theirs).await.unwrap(), Limits::default());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_form_comes_back_with_what_was_typed(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let admin = fixture.browser(Role::Admin).await;
    let path = "/orgs/ours/settings/limits";
    let form = [("requests_per_minute", "600"), ("tokens_per_minute", "lots")];
    let page = admin.post(path, &form).await;
    page.says(StatusCode::UNPROCESSABLE_ENTITY, "enter a whole number, or nothing");
    assert!(page.body.contains("600") && page.body.contains("lots"));
    let answer = admin.post(path, &[("requests_per_minute", " 600 ")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    admin.get(path).await.says(StatusCode::OK, "value=\"600\"");
    let page = fixture.browser(Role::Viewer).await.get(path).await;
    page.says(StatusCode::OK, "600");
    assert!(!page.body.contains("Save limits"));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_project_is_published_with_its_team_and_who_bears_its_costs(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let bot = project(&fixture, &fixture.ours, "bot").await;
    let mut work = fixture.work(Role::Admin).await;
    let published =
        async |work: &mut Work| published_projects(work, Some(&[bot])).await.unwrap().pop();
    assert_eq!(published(&mut work).await, None);
    let team = crate::teams::create(&mut work, &"core".parse().unwrap()).await.unwrap();
    let change = projects::Change { name: None, team: Some(Some(team)) };
    projects::change(&mut work, bot, change).await.unwrap();
    let draft = crate::cost_centers::Draft {
        code: "ENG".parse().unwrap(),
        name: "Engineering".parse().unwrap(),
        owner: None,
        valid_from: "2020-01-01".parse().unwrap(),
        valid_until: None,
    };
    let center = crate::cost_centers::create(&mut work, &draft).await.unwrap();
    let share = (center, crate::cost_centers::BasisPoints::try_from(2_500).unwrap());
    for from in ["2026-01-01", "2026-02-01", "2090-01-01"] {
        let plan = splits::Plan::new(from.parse().unwrap(), &[share]).unwrap();
        splits::replace(&mut work, bot, &plan).await.unwrap();
    }
    let told = published(&mut work).await.unwrap();
    assert_eq!(told.team, Some(team));
    // The earliest is over, and the one planned for 2090 changes nothing.
    let [split] = &told.splits[..] else { panic!("{:?}", told.splits) };
    let from = time::macros::datetime!(2026-02-01 0:00 UTC).unix_timestamp() * 1_000;
    assert_eq!((split.from_ms, split.shares[0].cost_center), (from, center));
    assert_eq!(split.shares[0].basis_points, 2_500);
    let noted: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT entity FROM config_outbox WHERE entity = 'project'")
            .fetch_all(&mut *work)
            .await
            .unwrap();
    assert_eq!(noted, ["project"]);
}
