//! Who may change whose place, and that an owner always stays.

use shared::{failure::Classified, ids::OrganizationId};
use sqlx::PgPool;

use super::*;
use crate::{
    access::{Actor, Origin},
    testing::Fixture,
};

/// What came of changing a member's role, before anything is kept.
async fn outcome(
    fixture: &Fixture,
    giver: Role,
    held: Role,
    given: Role,
) -> Result<(), MemberError> {
    let mut work = fixture.work(giver).await;
    let person = plant(fixture, held).await;
    change_role(&mut work, Authority::of(giver), person, given).await
}

/// One more member of ours.
async fn plant(fixture: &Fixture, role: Role) -> PersonId {
    let person = PersonId::generate();
    sqlx::query(
        "INSERT INTO people (id, email, email_verified_at, password_hash)
         VALUES ($1, $2, now(), 'none')",
    )
    .bind(person)
    .bind(format!("{person}@ours.test"))
    .execute(&fixture.root)
    .await
    .unwrap();
    sqlx::query("INSERT INTO memberships VALUES ($1, $2, $3)")
        .bind(fixture.ours.id)
        .bind(person)
        .bind(role.name())
        .execute(&fixture.root)
        .await
        .unwrap();
    person
}

async fn roles(root: &PgPool, organization: OrganizationId, people: &[PersonId]) -> Vec<String> {
    let uuids: Vec<_> = people.iter().map(|it| it.uuid()).collect();
    sqlx::query_scalar(
        "SELECT role FROM memberships WHERE organization_id = $1 AND person_id = ANY($2)",
    )
    .bind(organization)
    .bind(uuids)
    .fetch_all(root)
    .await
    .unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn nobody_gives_or_takes_more_than_they_hold(root: PgPool) {
    let fixture = Fixture::new(root).await;
    for giver in Role::ALL {
        for held in Role::ALL {
            for given in Role::ALL {
                let done = outcome(&fixture, giver, held, given).await;
                let manages = giver.may(Permission::ManageMembers);
                let may = manages && giver.covers(held) && giver.covers(given);
                assert_eq!(done.is_ok(), may, "{giver} makes {held} {given}: {done:?}");
                if let Err(error) = done {
                    assert_eq!(error.kind(), Kind::Forbidden, "{error}");
                }
            }
        }
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_token_gives_no_more_than_its_own_role(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let person = plant(&fixture, Role::Viewer).await;
    let token = Authority::of(Role::Owner).at_most(Role::Admin);
    let mut work = fixture.work(Role::Owner).await;
    let error = change_role(&mut work, token, person, Role::Owner).await.unwrap_err();
    assert_eq!(error.code(), code::GRANT_EXCEEDS_GRANTOR);
    change_role(&mut work, token, person, Role::Admin).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn power_lost_since_the_request_came_gives_nothing(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let person = plant(&fixture, Role::Viewer).await;
    sqlx::query("UPDATE memberships SET role = 'viewer' WHERE person_id = $1")
        .bind(fixture.ours.person(Role::Admin))
        .execute(&fixture.root)
        .await
        .unwrap();
    let mut work = fixture.work(Role::Admin).await;
    let stale = Authority::of(Role::Admin);
    let error = change_role(&mut work, stale, person, Role::Developer).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Forbidden);
    assert!(remove(&mut work, stale, person).await.is_err());
}

#[sqlx::test(migrations = "../migrations")]
async fn the_last_owner_stays(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let (owner, giver) = (fixture.ours.person(Role::Owner), Authority::of(Role::Owner));
    let mut work = fixture.work(Role::Owner).await;
    let demoted = change_role(&mut work, giver, owner, Role::Admin).await;
    assert_eq!(demoted.unwrap_err().code(), code::LAST_OWNER);
    drop(work);
    let removed = remove(&mut fixture.work(Role::Owner).await, giver, owner).await;
    assert_eq!(removed.unwrap_err().code(), code::LAST_OWNER);
    let left = leave(&mut fixture.work(Role::Owner).await).await;
    assert_eq!(left.unwrap_err().code(), code::LAST_OWNER);

    plant(&fixture, Role::Owner).await;
    let mut work = fixture.work(Role::Owner).await;
    leave(&mut work).await.unwrap();
    work.commit().await.unwrap();
    assert!(roles(&fixture.root, fixture.ours.id, &[owner]).await.is_empty());
}

async fn act(
    fixture: &Fixture,
    actor: PersonId,
    on: PersonId,
    goes: bool,
) -> Result<(), MemberError> {
    let actor = Actor::Person { id: actor, email: "owner".to_owned() };
    let mut work = Work::begin(&fixture.db, fixture.ours.id, actor, Origin::internal()).await?;
    let giver = Authority::of(Role::Owner);
    if goes {
        leave(&mut work).await?;
    } else {
        change_role(&mut work, giver, on, Role::Viewer).await?;
    }
    Ok(work.commit().await?)
}

#[sqlx::test(migrations = "../migrations")]
async fn of_two_owners_who_act_at_once_one_stays_owner(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let first = fixture.ours.person(Role::Owner);
    let second = plant(&fixture, Role::Owner).await;
    for round in 0..20 {
        for person in [first, second] {
            sqlx::query(
                "INSERT INTO memberships VALUES ($1, $2, 'owner')
                 ON CONFLICT (organization_id, person_id) DO UPDATE SET role = 'owner'",
            )
            .bind(fixture.ours.id)
            .bind(person)
            .execute(&fixture.root)
            .await
            .unwrap();
        }
        // Each demotes the other, and in turns each leaves.
        let goes = round % 2 == 1;
        let (one, other) =
            futures::join!(act(&fixture, first, second, goes), act(&fixture, second, first, goes));
        assert!(one.is_ok() != other.is_ok(), "round {round}: {one:?} {other:?}");
        let left = roles(&fixture.root, fixture.ours.id, &[first, second]).await;
        assert_eq!(left.iter().filter(|it| *it == "owner").count(), 1, "round {round}");
    }
}

/// The database alone, should our own order of locks be forgotten one day.
#[sqlx::test(migrations = "../migrations")]
async fn the_database_keeps_an_owner_by_itself(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let first = fixture.ours.person(Role::Owner);
    let second = plant(&fixture, Role::Owner).await;
    let demote = async |person: PersonId| {
        let mut work = fixture.work(Role::Owner).await;
        store::set_role(&mut work, fixture.ours.id, person, Role::Viewer).await?;
        work.commit().await?;
        Ok::<_, MemberError>(())
    };
    for _ in 0..20 {
        sqlx::query("UPDATE memberships SET role = 'owner' WHERE person_id = ANY($1)")
            .bind([first.uuid(), second.uuid()])
            .execute(&fixture.root)
            .await
            .unwrap();
        let (one, other) = futures::join!(demote(first), demote(second));
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let error = one.and(other).unwrap_err();
        assert_eq!(error.code(), code::LAST_OWNER);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn who_goes_takes_no_key_along(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let developer = fixture.ours.person(Role::Developer);
    let (id, root) = (fixture.ours.id, &fixture.root);
    for statement in [
        "INSERT INTO projects (organization_id, id, name) VALUES ($1, $2, 'bot')",
        "INSERT INTO teams (organization_id, id, name) VALUES ($1, $2, 'core')",
        "INSERT INTO team_members VALUES ($1, $2, $2)",
        "INSERT INTO api_keys (organization_id, id, project_id, name, brand, owner_id, scopes)
         VALUES ($1, $2, $2, 'mine', 'live', $2, '{chat}')",
        "INSERT INTO api_keys (organization_id, id, project_id, name, brand, scopes)
         VALUES ($1, gen_random_uuid(), $2, 'a service''s', 'live', '{chat}')",
        "INSERT INTO api_tokens
                (organization_id, id, name, person_id, role, hash, hint, created_by, expires_at)
         VALUES ($1, $2, 'mine', $2, 'viewer', sha256('x'), '', $2, now() + interval '1 day')",
    ] {
        sqlx::query(statement).bind(id).bind(developer).execute(root).await.unwrap();
    }
    let mut work = fixture.work(Role::Admin).await;
    remove(&mut work, Authority::of(Role::Admin), developer).await.unwrap();
    work.commit().await.unwrap();
    let seen: (i64, i64, i64, Vec<String>, Vec<String>) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM memberships WHERE person_id = $2),
                (SELECT count(*) FROM team_members WHERE person_id = $2),
                (SELECT count(*) FROM api_tokens WHERE person_id = $2),
                ARRAY(SELECT name FROM api_keys WHERE organization_id = $1
                         AND revoked_at IS NULL),
                ARRAY(SELECT action FROM audit_entries WHERE organization_id = $1 ORDER BY seq)",
    )
    .bind(id)
    .bind(developer)
    .fetch_one(root)
    .await
    .unwrap();
    let (keys, told) = (vec!["a service's".to_owned()], vec!["key.revoked", "member.removed"]);
    let told: Vec<String> = told.into_iter().map(str::to_owned).collect();
    assert_eq!(seen, (0, 0, 0, keys, told));
}

#[sqlx::test(migrations = "../migrations")]
async fn members_of_others_are_out_of_reach(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let (theirs, giver) = (fixture.theirs.person(Role::Viewer), Authority::of(Role::Owner));
    let mut work = fixture.work(Role::Owner).await;
    for error in [
        find(&mut work, theirs).await.err(),
        change_role(&mut work, giver, theirs, Role::Admin).await.err(),
        remove(&mut work, giver, theirs).await.err(),
    ] {
        assert_eq!(error.unwrap().kind(), Kind::NotFound);
    }
    // Even where a statement names the wrong organization.
    store::delete(&mut work, fixture.theirs.id, theirs).await.unwrap();
    store::set_role(&mut work, fixture.theirs.id, theirs, Role::Admin).await.unwrap();
    assert!(store::insert(&mut work, fixture.theirs.id, theirs, Role::Owner).await.is_err());
    drop(work);
    assert_eq!(roles(&fixture.root, fixture.theirs.id, &[theirs]).await, ["viewer"]);
}

#[sqlx::test(migrations = "../migrations")]
async fn the_list_goes_on_where_a_page_ends(root: PgPool) {
    let fixture = Fixture::new(root).await;
    for _ in 0..50 {
        plant(&fixture, Role::Viewer).await;
    }
    let mut work = fixture.work(Role::Viewer).await;
    let first = list(&mut work, Span::page(None)).await.unwrap();
    assert_eq!(first.items.len(), 50);
    let rest = list(&mut work, Span::page(first.next)).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (5, None));
    let last = &first.items[49].email;
    assert!(rest.items.iter().all(|it| it.email > *last));
    let stranger = Span::page(Some(fixture.theirs.person(Role::Owner)));
    assert!(list(&mut work, stranger).await.unwrap().items.is_empty());
}
