use actix_web::http::StatusCode;
use shared::failure::Classified;
use sqlx::PgPool;

use super::*;
use crate::{
    access::Role,
    cost_centers::{self, Draft},
    testing::{Fixture, Tenant},
    web::Span,
};

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

fn points(points: i32) -> BasisPoints {
    points.try_into().unwrap()
}

async fn project(fixture: &Fixture, tenant: &Tenant) -> ProjectId {
    let mut work = fixture.work_of(tenant, Role::Admin).await;
    let project = projects::create(&mut work, &"Bot".parse().unwrap(), None).await.unwrap();
    work.commit().await.unwrap();
    project
}

async fn center(
    fixture: &Fixture,
    tenant: &Tenant,
    code: &str,
    until: Option<&str>,
) -> CostCenterId {
    let mut work = fixture.work_of(tenant, Role::Billing).await;
    let draft = Draft {
        code: code.parse().unwrap(),
        name: code.parse().unwrap(),
        owner: None,
        valid_from: day("2026-01-01"),
        valid_until: until.map(day),
    };
    let center = cost_centers::create(&mut work, &draft).await.unwrap();
    work.commit().await.unwrap();
    center
}

async fn set(work: &mut Work, project: ProjectId, from: &str, shares: &[(CostCenterId, i32)]) {
    let shares: Vec<_> = shares.iter().map(|it| (it.0, points(it.1))).collect();
    replace(work, project, &Plan::new(day(from), &shares).unwrap()).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_split_holds_from_its_day_until_the_next(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let project = project(&fixture, &fixture.ours).await;
    let eng = center(&fixture, &fixture.ours, "ENG", None).await;
    let ops = center(&fixture, &fixture.ours, "OPS", None).await;
    let mut work = fixture.work(Role::Billing).await;
    set(&mut work, project, "2026-02-01", &[(eng, 3_333), (ops, 3_333)]).await;
    set(&mut work, project, "2026-03-01", &[(eng, 10_000)]).await;
    set(&mut work, project, "2026-04-01", &[]).await;

    for (on, eng_gets, left) in [
        ("2026-01-31", None, 10_000),
        ("2026-02-01", Some(3_333), 3_334),
        ("2026-02-28", Some(3_333), 3_334),
        ("2026-03-01", Some(10_000), 0),
        ("2026-12-31", None, 10_000),
    ] {
        let allocation = shares_on(&mut work, project, day(on)).await.unwrap();
        let gets = allocation.shares.iter().find(|it| it.0 == eng).map(|it| it.1.get());
        assert_eq!((gets, allocation.unallocated.get()), (eng_gets, left), "{on}");
    }
    let splits = of(&mut work, project, day("2026-02-10")).await.unwrap();
    assert_eq!(splits.in_force.unwrap().effective_from, day("2026-02-01"));
    let planned: Vec<_> = splits.planned.iter().map(|it| it.effective_from.to_string()).collect();
    assert_eq!(planned, ["2026-03-01", "2026-04-01"]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_split_is_replaced_as_a_whole(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let project = project(&fixture, &fixture.ours).await;
    let eng = center(&fixture, &fixture.ours, "ENG", None).await;
    let ops = center(&fixture, &fixture.ours, "OPS", None).await;
    let mut work = fixture.work(Role::Billing).await;
    set(&mut work, project, "2026-02-01", &[(eng, 6_000), (ops, 4_000)]).await;
    set(&mut work, project, "2026-02-01", &[(ops, 5_000)]).await;
    let allocation = shares_on(&mut work, project, day("2026-02-01")).await.unwrap();
    assert_eq!(allocation.shares, [(ops, points(5_000))]);
    work.commit().await.unwrap();

    let body: String =
        sqlx::query_scalar("SELECT body FROM audit_entries ORDER BY at DESC LIMIT 1")
            .fetch_one(&fixture.root)
            .await
            .unwrap();
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["before"]["2026-02-01"]["ENG"], "60.00 %");
    assert_eq!(told["after"]["2026-02-01"]["unallocated"], "50.00 %");

    let today = day("2026-11-21");
    let mut work = fixture.work(Role::Viewer).await;
    let centers = cost_centers::list(&mut work, today, Span::page(None)).await.unwrap().items;
    let used: Vec<_> = centers.iter().map(|it| (it.code.as_str(), it.projects)).collect();
    assert_eq!(used, [("ENG", 0), ("OPS", 1)]);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_a_center_no_longer_receives_is_unallocated(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let project = project(&fixture, &fixture.ours).await;
    let eng = center(&fixture, &fixture.ours, "ENG", Some("2026-06-01")).await;
    let ops = center(&fixture, &fixture.ours, "OPS", None).await;
    let mut work = fixture.work(Role::Billing).await;
    set(&mut work, project, "2026-02-01", &[(eng, 6_000), (ops, 4_000)]).await;
    let before = shares_on(&mut work, project, day("2026-05-31")).await.unwrap();
    assert_eq!(before.unallocated, BasisPoints::NOTHING);
    let after = shares_on(&mut work, project, day("2026-06-01")).await.unwrap();
    assert_eq!(after.shares, [(ops, points(4_000))]);
    assert_eq!(after.unallocated, points(6_000));

    cost_centers::archive(&mut work, ops).await.unwrap();
    sqlx::query("UPDATE cost_centers SET archived_at = '2026-08-01' WHERE archived_at IS NOT NULL")
        .execute(&mut *work)
        .await
        .unwrap();
    let past = shares_on(&mut work, project, day("2026-06-01")).await.unwrap();
    assert_eq!(past.shares, [(ops, points(4_000))], "archiving does not rewrite the past");
    let later = shares_on(&mut work, project, day("2026-08-01")).await.unwrap();
    assert_eq!(later.unallocated, BasisPoints::WHOLE);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_split_names_centers_that_receive_on_its_day(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let project = project(&fixture, &fixture.ours).await;
    let eng = center(&fixture, &fixture.ours, "ENG", Some("2026-06-01")).await;
    let foreign = center(&fixture, &fixture.theirs, "ENG", None).await;
    let mut work = fixture.work(Role::Billing).await;
    for (from, center, told) in [
        ("2025-12-31", eng, "ENG receives costs from 1 Jan 2026 on"),
        ("2026-06-01", eng, "ENG receives no costs from 1 Jun 2026 on"),
        ("2026-05-01", foreign, "choose a cost center of the organization"),
        ("2026-05-01", CostCenterId::generate(), "choose a cost center of the organization"),
    ] {
        let plan = Plan::new(day(from), &[(center, points(1))]).unwrap();
        let problems = replace(&mut work, project, &plan).await.unwrap_err().problems();
        assert_eq!((problems[0].field, problems[0].message.as_str()), ("shares", told));
    }
    cost_centers::archive(&mut work, eng).await.unwrap();
    let plan = Plan::new(day("2100-01-01"), &[(eng, points(1))]).unwrap();
    let problems = replace(&mut work, project, &plan).await.unwrap_err().problems();
    assert_eq!(problems[0].message, "ENG is archived");
}

#[sqlx::test(migrations = "../migrations")]
async fn the_database_refuses_more_than_the_whole(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let project = project(&fixture, &fixture.ours).await;
    let eng = center(&fixture, &fixture.ours, "ENG", None).await;
    let ops = center(&fixture, &fixture.ours, "OPS", None).await;
    let mut work = fixture.work(Role::Billing).await;
    // Past the check of `Plan::new`.
    let shares = [(eng, points(6_000)), (ops, points(5_000))].into();
    let plan = Plan { effective_from: day("2026-02-01"), shares };
    let error = replace(&mut work, project, &plan).await.unwrap_err();
    assert!(matches!(error, SplitError::MoreThanTheWhole(None)), "{error}");
    assert_eq!(error.problems()[0].field, "shares");
}

#[sqlx::test(migrations = "../migrations")]
async fn only_what_is_planned_can_be_taken_back(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let project = project(&fixture, &fixture.ours).await;
    let eng = center(&fixture, &fixture.ours, "ENG", None).await;
    let mut work = fixture.work(Role::Billing).await;
    let (today, later) = (day("2026-03-01"), day("2026-04-01"));
    set(&mut work, project, "2026-03-01", &[(eng, 10_000)]).await;
    set(&mut work, project, "2026-04-01", &[]).await;
    withdraw(&mut work, project, later, today).await.unwrap();
    withdraw(&mut work, project, later, today).await.unwrap();
    assert_eq!(of(&mut work, project, today).await.unwrap().planned, []);
    let in_force = withdraw(&mut work, project, today, today).await;
    assert!(matches!(in_force, Err(SplitError::InForce)));
}

#[sqlx::test(migrations = "../migrations")]
async fn another_tenants_split_cannot_be_reached(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let ours = project(&fixture, &fixture.ours).await;
    let eng = center(&fixture, &fixture.ours, "ENG", None).await;
    let mut work = fixture.work(Role::Billing).await;
    set(&mut work, ours, "2026-02-01", &[(eng, 10_000)]).await;
    projects::archive(&mut work, ours).await.unwrap();
    let plan = Plan::new(day("2026-03-01"), &[]).unwrap();
    let archived = replace(&mut work, ours, &plan).await;
    assert!(matches!(archived, Err(SplitError::Project(ProjectError::Archived))));
    work.commit().await.unwrap();

    let mut theirs = fixture.work_of(&fixture.theirs, Role::Owner).await;
    let seen = of(&mut theirs, ours, day("2026-02-01")).await.unwrap();
    assert_eq!((seen.in_force, seen.planned.len()), (None, 0));
    let refused = replace(&mut theirs, ours, &plan).await;
    assert!(matches!(refused, Err(SplitError::Project(ProjectError::NotFound))));
    for table in ["project_splits", "project_split_shares"] {
        let statement = sqlx::AssertSqlSafe(format!("DELETE FROM {table}"));
        let reached = sqlx::query(statement).execute(&mut *theirs).await.unwrap();
        assert_eq!(reached.rows_affected(), 0, "{table}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_refused_form_keeps_what_was_typed(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let project = project(&fixture, &fixture.ours).await;
    let eng = center(&fixture, &fixture.ours, "ENG", None).await.to_string();
    let browser = fixture.browser(Role::Billing).await;
    let path = format!("/orgs/ours/projects/{project}/split");
    let form = browser.get(&path).await;
    assert_eq!(form.body.matches("name=\"percent\"").count(), 3);
    form.says(StatusCode::OK, "ENG · ENG");

    let fields = |percent| {
        [
            ("effective_from", "2026-02-01"),
            ("cost_center", eng.as_str()),
            ("percent", percent),
            ("cost_center", ""),
            ("percent", ""),
        ]
    };
    let refused = browser.post(&path, &fields("33.333")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    refused.says(StatusCode::UNPROCESSABLE_ENTITY, "value=\"33.333\"");
    refused.says(StatusCode::UNPROCESSABLE_ENTITY, "value=\"2026-02-01\"");
    refused.says(StatusCode::UNPROCESSABLE_ENTITY, "Row 1: write a percentage");
    assert_eq!(refused.body.matches("name=\"percent\"").count(), 4, "three rows are left");

    let saved = browser.post(&path, &fields("33,33 %")).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER);
    let page = browser.get(&format!("/orgs/ours/projects/{project}")).await;
    page.says(StatusCode::OK, "33.33 %");
    page.says(StatusCode::OK, "66.67 %");
    browser.get("/orgs/ours/cost-centers").await.says(StatusCode::OK, &eng);
}
