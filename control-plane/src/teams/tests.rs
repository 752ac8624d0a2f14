use actix_web::http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::*;
use crate::{access::Role, testing::Fixture};

#[sqlx::test(migrations = "../migrations")]
async fn parts_of_the_list_follow_each_other(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Admin).await;
    let mut made = Vec::new();
    for name in ["b", "c", "A", "B", "a"] {
        made.push(create(&mut work, &name.parse().unwrap()).await.unwrap());
    }
    archive(&mut work, made[4]).await.unwrap();
    // Two that differ in their capitals alone stand as they were made; the archived are last.
    let expected = [2, 0, 3, 1, 4].map(|it| made[it]);
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let part = list(&mut work, Span { after, most: 2 }).await.unwrap();
        seen.extend(part.items.iter().map(|it| it.id));
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, expected);
    work.commit().await.unwrap();
    // Another's team is no place to begin after.
    let mut theirs = fixture.work_of(&fixture.theirs, Role::Admin).await;
    create(&mut theirs, &"Them".parse().unwrap()).await.unwrap();
    let none = list(&mut theirs, Span::page(Some(made[2]))).await.unwrap();
    assert!(none.items.is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn pages_of_teams_lead_to_each_other(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Admin).await;
    for number in 0..51 {
        create(&mut work, &format!("Team {number:02}").parse().unwrap()).await.unwrap();
    }
    let last = list(&mut work, Span::page(None)).await.unwrap().next.unwrap();
    work.commit().await.unwrap();
    let browser = fixture.browser(Role::Viewer).await;
    let first = browser.get("/orgs/ours/teams").await;
    first.says(StatusCode::OK, "Team 49");
    first.says(StatusCode::OK, &format!("/orgs/ours/teams?after={last}"));
    assert!(!first.body.contains("Team 50") && !first.body.contains("First page"));
    let second = browser.get(&format!("/orgs/ours/teams?after={last}")).await;
    second.says(StatusCode::OK, "Team 50");
    second.says(StatusCode::OK, "First page");
    assert!(!second.body.contains("Team 49") && !second.body.contains("Next page"));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_program_is_told_where_the_list_goes_on(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let mut work = fixture.work(Role::Admin).await;
    for number in 0..201 {
        create(&mut work, &format!("Team {number:03}").parse().unwrap()).await.unwrap();
    }
    work.commit().await.unwrap();
    let token = fixture.token(Role::Viewer, false).await;
    let told = async |query: &str| {
        let path = format!("/orgs/ours/teams{query}");
        fixture.api(Some(&token), Method::GET, &path, None).await
    };
    let first = told("").await.json();
    assert_eq!(first["data"].as_array().unwrap().len(), 200);
    let rest = told(&format!("?after={}", first["next"].as_str().unwrap())).await.json();
    assert_eq!((&rest["data"][0]["name"], &rest["next"]), (&json!("Team 200"), &Value::Null));
    assert_eq!(told("?after=elsewhere").await.status, StatusCode::BAD_REQUEST);
}
