use sqlx::PgPool;

use super::*;
use crate::{
    access::{Actor, Origin, Role, Work},
    audit,
    testing::Fixture,
    upstreams::{credentials::list, put, tests::declared},
};

#[test]
fn nothing_that_is_searched_for_is_a_wildcard() {
    assert_eq!(pattern(""), "");
    assert_eq!(pattern("  "), "");
    assert_eq!(pattern(" ac_me 100%\\ "), r"%ac\_me 100\%\\%");
}

async fn names(fixture: &Fixture, text: &str) -> Vec<String> {
    let mut conn = fixture.db.acquire().await.unwrap();
    let found = organizations(&mut conn, text, None, 10).await.unwrap();
    found.into_iter().map(|it| it.name).collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn organizations_are_found_by_a_part_of_their_name(root: PgPool) {
    let fixture = Fixture::new(root).await;
    assert_eq!(names(&fixture, "").await, ["ours", "theirs"]);
    assert_eq!(names(&fixture, "OUR").await, ["ours"]);
    assert_eq!(names(&fixture, "%").await, [""; 0]);
    assert_eq!(names(&fixture, "_urs").await, [""; 0]);
}

#[sqlx::test(migrations = "../migrations")]
async fn pages_follow_each_other_without_a_gap(root: PgPool) {
    let fixture = Fixture::new(root).await;
    // Three of one name, so that the id has to tell them apart.
    sqlx::query(
        "INSERT INTO organizations (id, slug, name)
         SELECT gen_random_uuid(), 'same' || n, 'Same' FROM generate_series(1, 3) AS n",
    )
    .execute(&fixture.root)
    .await
    .unwrap();
    let mut conn = fixture.db.acquire().await.unwrap();
    let mut seen: Vec<Tenant> = Vec::new();
    loop {
        let last = seen.last().map(|it| (it.name.clone(), it.id));
        let after = last.as_ref().map(|(name, id)| (name.as_str(), *id));
        let page = organizations(&mut conn, "", after, 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    let names: Vec<_> = seen.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["ours", "Same", "Same", "Same", "theirs"]);
    let mut ids: Vec<_> = seen.iter().map(|it| it.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

#[sqlx::test(migrations = "../migrations")]
async fn an_organization_is_counted_from_outside(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let name = "Bot".parse().unwrap();
    crate::projects::create(&mut work, &name, None).await.unwrap();
    work.commit().await.unwrap();
    let before: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_entries")
        .fetch_one(&fixture.root)
        .await
        .unwrap();
    let mut conn = fixture.db.acquire().await.unwrap();
    let found = organizations(&mut conn, "ours", None, 10).await.unwrap();
    let counts: Vec<_> =
        found.iter().map(|it| (it.members, it.projects, it.live_keys, it.is_archived())).collect();
    assert_eq!(counts, [(5, 1, 0, false)]);
    let after: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_entries")
        .fetch_one(&fixture.root)
        .await
        .unwrap();
    assert_eq!(before, after, "looking writes nothing");
}

#[sqlx::test(migrations = "../migrations")]
async fn of_a_tenants_site_staff_see_no_word_that_people_there_wrote(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let sealer = &fixture.platform.secrets.credentials;
    let declared = declared("Our secret name", "https://llm.example.com/v1", "sk-1");
    let mut credentials = Vec::new();
    for organization in [fixture.ours.id, audit::PLATFORM] {
        let (actor, origin) = (Actor::System, Origin::internal());
        let mut work = Work::begin(&fixture.db, organization, actor, origin).await.unwrap();
        let upstream = put(&mut work, sealer, &declared).await.unwrap();
        credentials.push(list(&mut work, upstream).await.unwrap()[0].id);
        work.commit().await.unwrap();
    }
    let mut conn = fixture.db.acquire().await.unwrap();
    let found = sites(&mut conn, &credentials).await.unwrap();
    let told: Vec<_> = found
        .iter()
        .map(|it| (it.provider.as_str(), it.label.as_deref(), it.organization.as_deref()))
        .collect();
    assert_eq!(
        told,
        [("Our secret name", Some("default"), None), ("acme", None, Some("ours"))],
        "the platform's first, with its names"
    );
    assert!(sites(&mut conn, &[CredentialId::generate()]).await.unwrap().is_empty());
}
