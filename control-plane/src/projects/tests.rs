use actix_web::http::StatusCode;
use sqlx::PgPool;

use super::*;
use crate::{access::Role, testing::Fixture};

fn name(text: &str) -> ProjectName {
    text.parse().unwrap()
}

async fn made(fixture: &Fixture, text: &str) -> ProjectId {
    let mut work = fixture.work(Role::Admin).await;
    let project = create(&mut work, &name(text), None).await.unwrap();
    work.commit().await.unwrap();
    project
}

#[sqlx::test(migrations = "../migrations")]
async fn a_project_is_renamed_put_away_and_brought_back(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let project = made(&fixture, "Bot").await;
    let mut work = fixture.work(Role::Admin).await;
    let renamed = Change { name: Some(name("Agent")), ..Change::default() };
    change(&mut work, project, renamed.clone()).await.unwrap();
    archive(&mut work, project).await.unwrap();
    assert!(find(&mut work, project).await.unwrap().is_archived());
    let refused = change(&mut work, project, renamed).await;
    assert!(matches!(refused, Err(ProjectError::Archived)));
    restore(&mut work, project).await.unwrap();
    assert_eq!(find(&mut work, project).await.unwrap().name, "Agent");
    work.commit().await.unwrap();

    let actions: Vec<String> = sqlx::query_scalar(
        "SELECT action FROM audit_entries WHERE organization_id = $1 ORDER BY seq",
    )
    .bind(fixture.ours.id)
    .fetch_all(&fixture.root)
    .await
    .unwrap();
    assert_eq!(
        actions,
        ["project.created", "project.changed", "project.archived", "project.restored"]
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_name_is_taken_once_in_an_organization(root: PgPool) {
    let fixture = Fixture::new(root).await;
    made(&fixture, "Bot").await;
    let mut work = fixture.work(Role::Admin).await;
    let taken = create(&mut work, &name("Bot"), None).await;
    assert!(matches!(taken, Err(ProjectError::NameTaken)));
    let mut theirs = fixture.work_of(&fixture.theirs, Role::Admin).await;
    create(&mut theirs, &name("Bot"), None).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_project_is_in_a_live_team_of_its_organization(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut theirs = fixture.work_of(&fixture.theirs, Role::Admin).await;
    let foreign = teams::create(&mut theirs, &"Them".parse().unwrap()).await.unwrap();
    theirs.commit().await.unwrap();

    let mut work = fixture.work(Role::Admin).await;
    let team = teams::create(&mut work, &"Us".parse().unwrap()).await.unwrap();
    let project = create(&mut work, &name("Bot"), Some(team)).await.unwrap();
    let found = find(&mut work, project).await.unwrap();
    assert_eq!((found.team, found.team_name.as_deref()), (Some(team), Some("Us")));

    let refused = create(&mut work, &name("Other"), Some(foreign)).await;
    assert!(matches!(refused, Err(ProjectError::NotATeam)));
    teams::archive(&mut work, team).await.unwrap();
    let refused = create(&mut work, &name("Other"), Some(team)).await;
    assert!(matches!(refused, Err(ProjectError::NotATeam)));
    // It may stay where it is, and leave.
    let rename = Change { name: Some(name("Agent")), team: Some(Some(team)) };
    change(&mut work, project, rename).await.unwrap();
    change(&mut work, project, Change { team: Some(None), ..Change::default() }).await.unwrap();
    assert_eq!(find(&mut work, project).await.unwrap().team, None);
}

#[sqlx::test(migrations = "../migrations")]
async fn parts_of_the_list_follow_each_other(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut ids = Vec::new();
    for text in ["b", "c", "A", "B", "a"] {
        ids.push(made(&fixture, text).await);
    }
    let mut work = fixture.work(Role::Admin).await;
    archive(&mut work, ids[4]).await.unwrap();
    let first = list(&mut work, Span { after: None, most: 2 }).await.unwrap();
    let rest = list(&mut work, Span::page(first.next)).await.unwrap();
    let seen: Vec<_> = first.items.iter().chain(&rest.items).map(|it| it.id).collect();
    assert_eq!(seen, [2, 0, 3, 1, 4].map(|it| ids[it]));
    assert_eq!((first.items.len(), rest.next), (2, None));
}

#[sqlx::test(migrations = "../migrations")]
async fn another_tenants_project_is_not_found(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let project = made(&fixture, "Bot").await;
    let mut theirs = fixture.work_of(&fixture.theirs, Role::Owner).await;
    assert!(list(&mut theirs, Span::page(None)).await.unwrap().items.is_empty());
    assert!(matches!(find(&mut theirs, project).await, Err(ProjectError::NotFound)));
    let renamed = Change { name: Some(name("Mine")), ..Change::default() };
    let refused = change(&mut theirs, project, renamed).await;
    assert!(matches!(refused, Err(ProjectError::NotFound)));
    assert!(matches!(archive(&mut theirs, project).await, Err(ProjectError::NotFound)));
    let reached = sqlx::query("UPDATE projects SET name = 'theirs'").execute(&mut *theirs).await;
    assert_eq!(reached.unwrap().rows_affected(), 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_project_is_made_on_its_page(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let browser = fixture.browser(Role::Admin).await;
    browser.get("/orgs/ours/projects").await.says(StatusCode::OK, "No projects yet");
    browser.get("/orgs/ours/projects/new").await.says(StatusCode::OK, "Create project");
    let form = [("name", " "), ("team", "team_nonsense")];
    let refused = browser.post("/orgs/ours/projects", &form).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    refused.says(StatusCode::UNPROCESSABLE_ENTITY, "There are 2 problems");

    let made = browser.post("/orgs/ours/projects", &[("name", "<Bot>"), ("team", "")]).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER);
    let page = browser.get(made.header("location")).await;
    page.says(StatusCode::OK, "&#60;Bot&#62;");
    page.says(StatusCode::OK, "Unallocated");
    let again = browser.post("/orgs/ours/projects", &[("name", "<Bot>")]).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    again.says(StatusCode::UNPROCESSABLE_ENTITY, "already a project of that name");
    let viewer = fixture.browser(Role::Viewer).await;
    let seen = viewer.get(made.header("location")).await;
    assert!(!seen.body.contains("Archive project") && !seen.body.contains("Change the split"));
}
