use sqlx::PgPool;
use time::macros::datetime;

use super::*;
use crate::{access::Role, testing::Fixture};

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

fn draft(code: &str) -> Draft {
    Draft {
        code: code.parse().unwrap(),
        name: "Engineering".parse().unwrap(),
        owner: None,
        valid_from: day("2026-01-01"),
        valid_until: None,
    }
}

#[test]
fn a_code_is_finances_own() {
    assert_eq!("eng-1".parse::<CostCenterCode>().unwrap().0, "ENG-1");
    for wrong in ["", "A B", "Ä", "A/B", &"X".repeat(33)] {
        assert!(wrong.parse::<CostCenterCode>().is_err(), "{wrong:?}");
    }
}

#[test]
fn a_cost_center_receives_between_its_days_until_it_is_archived() {
    let archived = Some(datetime!(2026-11-20 23:30 UTC));
    let until = Some(day("2026-12-01"));
    let valid = Validity::new(day("2026-01-01"), until, None, "UTC");
    assert!(!valid.receives_on(day("2025-12-31")));
    assert!(valid.receives_on(day("2026-01-01")));
    assert!(valid.receives_on(day("2026-11-30")));
    assert!(!valid.receives_on(day("2026-12-01")));
    let archived = Validity::new(day("2026-01-01"), until, archived, "Europe/Berlin");
    assert!(archived.receives_on(day("2026-11-20")), "it is the 21st in Berlin");
    assert!(!archived.receives_on(day("2026-11-21")));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_cost_center_is_changed_put_away_and_brought_back(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Billing).await;
    let today = day("2026-11-21");
    let center = create(&mut work, &draft("ENG")).await.unwrap();
    let owner = fixture.ours.person(Role::Viewer);
    let changed =
        Draft { owner: Some(owner), valid_until: Some(day("2027-01-01")), ..draft("OPS") };
    change(&mut work, center, &changed).await.unwrap();
    let found = find(&mut work, center, today).await.unwrap();
    assert_eq!(found.owner_email.as_deref(), Some(fixture.ours.email(Role::Viewer)));
    assert_eq!(Draft::from(found), changed);
    archive(&mut work, center).await.unwrap();
    let refused = change(&mut work, center, &draft("ENG")).await;
    assert!(matches!(refused, Err(CostCenterError::Archived)));
    restore(&mut work, center).await.unwrap();
    change(&mut work, center, &draft("ENG")).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn what_does_not_fit_is_refused_beside_its_field(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Billing).await;
    create(&mut work, &draft("ENG")).await.unwrap();
    work.commit().await.unwrap();

    let ends_first = Draft { valid_until: Some(day("2026-01-01")), ..draft("OPS") };
    let stranger = Draft { owner: Some(fixture.theirs.person(Role::Owner)), ..draft("OPS") };
    for (refused, field) in
        [(draft("ENG"), "code"), (ends_first, "valid_until"), (stranger, "owner")]
    {
        let mut work = fixture.work(Role::Billing).await;
        let error = create(&mut work, &refused).await.unwrap_err();
        assert_eq!(error.problems()[0].field, field);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn parts_of_the_list_follow_each_other(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Billing).await;
    let today = day("2026-11-21");
    let mut made = Vec::new();
    for code in ["OPS", "ENG-2", "ENG", "ADM"] {
        made.push(create(&mut work, &draft(code)).await.unwrap());
    }
    archive(&mut work, made[3]).await.unwrap();
    let first = list(&mut work, today, Span { after: None, most: 2 }).await.unwrap();
    let rest = list(&mut work, today, Span::page(first.next)).await.unwrap();
    let seen: Vec<_> = first.items.iter().chain(&rest.items).map(|it| it.id).collect();
    assert_eq!(seen, [2, 1, 0, 3].map(|it| made[it]));
    assert_eq!((first.items.len(), rest.next), (2, None));
}

#[sqlx::test(migrations = "../migrations")]
async fn another_tenants_cost_center_is_not_found(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Billing).await;
    let center = create(&mut work, &draft("ENG")).await.unwrap();
    work.commit().await.unwrap();

    let mut theirs = fixture.work_of(&fixture.theirs, Role::Owner).await;
    let today = day("2026-11-21");
    assert!(list(&mut theirs, today, Span::page(None)).await.unwrap().items.is_empty());
    let found = find(&mut theirs, center, today).await;
    assert!(matches!(found, Err(CostCenterError::NotFound)));
    let changed = change(&mut theirs, center, &draft("MINE")).await;
    assert!(matches!(changed, Err(CostCenterError::NotFound)));
    let reached = sqlx::query("DELETE FROM cost_centers").execute(&mut *theirs).await;
    assert_eq!(reached.unwrap().rows_affected(), 0);
}
