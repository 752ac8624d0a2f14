//! Keys as the application sees them, with row security in force.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use shared::{
    ids::{OrganizationId, RequestId},
    keys::{KeyHash, Presented},
    snapshot::Scope,
};
use sqlx::PgPool;
use time::macros::datetime;

use super::*;
use crate::{
    access::{Actor, Origin, Role},
    testing::{Fixture, Tenant},
    web::{Part, Span},
};

/// A key of somebody's, for everything.
pub(crate) fn new_key(project: ProjectId, owner: PersonId) -> NewApiKey {
    let terms = Terms::named("ci".parse().unwrap());
    NewApiKey { project: Some(project), mode: Mode::Live, owner: Some(owner), terms }
}

/// A live project of the tenant.
pub(crate) async fn project(fixture: &Fixture, tenant: &Tenant, name: &str) -> ProjectId {
    let id = ProjectId::generate();
    sqlx::query("INSERT INTO projects (organization_id, id, name) VALUES ($1, $2, $3)")
        .bind(tenant.id)
        .bind(id)
        .bind(name)
        .execute(&fixture.root)
        .await
        .unwrap();
    id
}

/// An organization with a project and a developer's key in it.
struct Scene {
    fixture: Fixture,
    project: ProjectId,
    key: ApiKeyId,
    secret: SecretString,
}

impl Scene {
    async fn new(root: PgPool) -> Self {
        let fixture = Fixture::new(root).await;
        let project = project(&fixture, &fixture.ours, "web").await;
        let mut work = fixture.work(Role::Developer).await;
        let new = new_key(project, fixture.ours.person(Role::Developer));
        let issued = create(&mut work, fixture.reach(Role::Developer), &new).await.unwrap();
        work.commit().await.unwrap();
        Self { fixture, project, key: issued.key, secret: issued.secret }
    }

    async fn work(&self, role: Role) -> (Work, Reach) {
        (self.fixture.work(role).await, self.fixture.reach(role))
    }

    async fn status(&self) -> (Status, Option<Suspension>) {
        let (mut work, _) = self.work(Role::Viewer).await;
        let key = find(&mut work, self.key).await.unwrap();
        (key.status, key.suspended_because)
    }

    /// As the superuser.
    async fn root(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.fixture.root).await.unwrap();
    }

    async fn audited(&self) -> Vec<(String, String)> {
        sqlx::query_as("SELECT action, body FROM audit_entries ORDER BY organization_id, seq")
            .fetch_all(&self.fixture.root)
            .await
            .unwrap()
    }

    /// How many of the key's secrets the proxies would take now.
    async fn working(&self) -> usize {
        let (mut work, _) = self.work(Role::Viewer).await;
        secrets::working(&mut work, self.key).await.unwrap().len()
    }
}

impl Fixture {
    fn reach(&self, role: Role) -> Reach {
        Reach { authority: Authority::of(role), person: Some(self.ours.person(role)) }
    }
}

fn hours(hours: u16) -> Overlap {
    Overlap::of_hours(hours).unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_is_kept_with_all_its_terms_and_without_its_secret(root: PgPool) {
    let scene = Scene::new(root).await;
    let terms = Terms {
        scopes: vec![Scope::Chat, Scope::Models],
        allowed_models: Some(vec!["small".to_owned()]),
        allowed_addresses: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::1/128".parse().unwrap()],
        tags: BTreeMap::from([("team".to_owned(), "search".to_owned())]),
        requests_per_minute: Some(60),
        tokens_per_minute: Some(5_000_000_000),
        concurrent_requests: Some(4),
        expires_at: Some(datetime!(2100-01-01 0:00 UTC)),
        ..Terms::named("worker".parse().unwrap())
    };
    let new = NewApiKey { project: None, mode: Mode::Test, owner: None, terms: terms.clone() };
    let (mut work, reach) = scene.work(Role::Admin).await;
    let issued = create(&mut work, reach, &new).await.unwrap();
    let key = find(&mut work, issued.key).await.unwrap();
    work.commit().await.unwrap();

    assert_eq!((&key.terms, key.mode, key.owner), (&terms, Mode::Test, None));
    assert_eq!((key.project, key.status), (scene.project, Status::Active));
    let text = issued.secret.expose_secret();
    let presented = Presented::parse(&issued.secret).unwrap();
    assert_eq!((presented.brand, &presented.hint), (shared::keys::Brand::Test, &key.hint));

    let hash = KeyHash::of(text);
    let told = format!("{:?} {:?}", scene.audited().await, serde_json::to_string(&key).unwrap());
    let hex: String = hash.0.iter().map(|it| format!("{it:02x}")).collect();
    for secret in [text, &text[18..50], &hex] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn developers_reach_their_own_keys_only(root: PgPool) {
    let scene = Scene::new(root).await;
    let owner = scene.fixture.ours.person(Role::Owner);
    let (mut work, all) = scene.work(Role::Owner).await;
    let theirs = create(&mut work, all, &new_key(scene.project, owner)).await.unwrap().key;
    work.commit().await.unwrap();

    let (mut work, own) = scene.work(Role::Developer).await;
    let lacks = |outcome: Result<(), KeyError>| {
        assert!(matches!(outcome, Err(KeyError::Access(AccessError::Lacks { .. }))), "{outcome:?}");
    };
    lacks(revoke(&mut work, own, theirs).await);
    lacks(rotate(&mut work, own, theirs, hours(1)).await.map(drop));
    lacks(end_overlap(&mut work, own, theirs).await);
    lacks(edit(&mut work, own, theirs, |it| Ok(it.clone())).await);
    lacks(create(&mut work, own, &new_key(scene.project, owner)).await.map(drop));
    let service = NewApiKey { owner: None, ..new_key(scene.project, owner) };
    lacks(create(&mut work, own, &service).await.map(drop));

    rotate(&mut work, own, scene.key, hours(1)).await.unwrap();
    revoke(&mut work, own, scene.key).await.unwrap();
    revoke(&mut work, all, theirs).await.unwrap();
}

/// A token may do less than whoever holds it.
#[sqlx::test(migrations = "../migrations")]
async fn a_narrower_token_reaches_no_further_than_it_says(root: PgPool) {
    let scene = Scene::new(root).await;
    let (mut work, owner) = scene.work(Role::Owner).await;
    let narrow = |role| Reach { authority: Authority::of(Role::Owner).at_most(role), ..owner };
    let outcome = revoke(&mut work, narrow(Role::Developer), scene.key).await;
    assert!(matches!(outcome, Err(KeyError::Access(_))), "{outcome:?}");
    let own = new_key(scene.project, scene.fixture.ours.person(Role::Owner));
    let outcome = create(&mut work, narrow(Role::Viewer), &own).await;
    assert!(matches!(outcome, Err(KeyError::Access(_))), "{outcome:?}");
    create(&mut work, narrow(Role::Developer), &own).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_replaced_secret_works_for_the_overlap(root: PgPool) {
    let scene = Scene::new(root).await;
    let (mut work, reach) = scene.work(Role::Developer).await;
    let issued = rotate(&mut work, reach, scene.key, hours(24)).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(issued.key, scene.key);
    assert_ne!(issued.secret.expose_secret(), scene.secret.expose_secret());
    assert_eq!(scene.working().await, 2);

    scene
        .root(
            "UPDATE api_key_secrets SET valid_until = now() - interval '1 second'
                 WHERE valid_until IS NOT NULL",
        )
        .await;
    assert_eq!(scene.working().await, 1);
    let (mut work, reach) = scene.work(Role::Developer).await;
    let outcome = end_overlap(&mut work, reach, scene.key).await;
    assert!(matches!(outcome, Err(KeyError::NoOverlap)), "{outcome:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn rotating_twice_lengthens_no_overlap(root: PgPool) {
    let scene = Scene::new(root).await;
    let (mut work, reach) = scene.work(Role::Developer).await;
    rotate(&mut work, reach, scene.key, hours(1)).await.unwrap();
    rotate(&mut work, reach, scene.key, hours(168)).await.unwrap();
    let seen = secrets::working(&mut work, scene.key).await.unwrap();
    let ends: Vec<_> =
        seen.iter().map(|it| it.valid_until.map(|at| (at - it.created_at).whole_hours())).collect();
    assert_eq!(ends, [None, Some(168), Some(1)]);

    for _ in 0..2 {
        rotate(&mut work, reach, scene.key, hours(1)).await.unwrap();
    }
    let outcome = rotate(&mut work, reach, scene.key, hours(1)).await;
    assert!(matches!(outcome, Err(KeyError::TooManySecrets)), "{outcome:?}");
    rotate(&mut work, reach, scene.key, hours(0)).await.unwrap();
    assert_eq!(secrets::working(&mut work, scene.key).await.unwrap().len(), 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn an_overlap_can_be_ended(root: PgPool) {
    let scene = Scene::new(root).await;
    let (mut work, reach) = scene.work(Role::Developer).await;
    rotate(&mut work, reach, scene.key, hours(24)).await.unwrap();
    end_overlap(&mut work, reach, scene.key).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(scene.working().await, 1);
    let actions: Vec<_> = scene.audited().await.into_iter().map(|it| it.0).collect();
    assert_eq!(actions, ["key.created", "key.rotated", "key.overlap_ended"]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_revoked_key_stays_revoked(root: PgPool) {
    let scene = Scene::new(root).await;
    let (mut work, reach) = scene.work(Role::Admin).await;
    assert_eq!(count_live(&mut work).await.unwrap(), 1);
    revoke(&mut work, reach, scene.key).await.unwrap();
    revoke(&mut work, reach, scene.key).await.unwrap();
    assert_eq!(count_live(&mut work).await.unwrap(), 0);
    let outcome = rotate(&mut work, reach, scene.key, hours(1)).await;
    assert!(matches!(outcome, Err(KeyError::Revoked)), "{outcome:?}");
    let outcome = edit(&mut work, reach, scene.key, |it| Ok(it.clone())).await;
    assert!(matches!(outcome, Err(KeyError::Revoked)), "{outcome:?}");
    let key = find(&mut work, scene.key).await.unwrap();
    let by = scene.fixture.ours.email(Role::Admin);
    assert_eq!((key.status, key.revoked_by.as_deref()), (Status::Revoked, Some(by)));
    work.commit().await.unwrap();
    assert_eq!(scene.audited().await.len(), 2, "revoking again is no change");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_change_is_audited_with_what_was_before(root: PgPool) {
    let scene = Scene::new(root).await;
    let (mut work, reach) = scene.work(Role::Developer).await;
    edit(&mut work, reach, scene.key, |it| Ok(it.clone())).await.unwrap();
    let narrow = |it: &Terms| Ok(Terms { scopes: vec![Scope::Models], ..it.clone() });
    edit(&mut work, reach, scene.key, narrow).await.unwrap();
    work.commit().await.unwrap();
    let audited = scene.audited().await;
    assert_eq!(audited.len(), 2, "what changes nothing is no entry");
    let body: serde_json::Value = serde_json::from_str(&audited[1].1).unwrap();
    assert_eq!(body["after"]["scopes"], serde_json::json!(["models"]));
    assert_eq!(body["before"]["scopes"].as_array().unwrap().len(), Scope::ALL.len());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_is_suspended_while_something_stands_against_it(root: PgPool) {
    let scene = Scene::new(root).await;
    assert_eq!(scene.status().await, (Status::Active, None));
    for (change, back, reason) in [
        (
            "UPDATE memberships SET role = 'billing' WHERE role = 'developer'",
            "UPDATE memberships SET role = 'developer' WHERE role = 'billing'",
            Suspension::OwnerRole,
        ),
        (
            "UPDATE people SET disabled_at = now()",
            "UPDATE people SET disabled_at = NULL",
            Suspension::OwnerDisabled,
        ),
        (
            "UPDATE projects SET archived_at = now()",
            "UPDATE projects SET archived_at = NULL",
            Suspension::ProjectArchived,
        ),
        (
            "UPDATE organizations SET archived_at = now()",
            "UPDATE organizations SET archived_at = NULL",
            Suspension::OrganizationArchived,
        ),
    ] {
        scene.root(change).await;
        assert_eq!(scene.status().await, (Status::Suspended, Some(reason)));
        scene.root(back).await;
    }
    scene.root("DELETE FROM memberships WHERE role = 'developer'").await;
    assert_eq!(scene.status().await, (Status::Suspended, Some(Suspension::OwnerLeft)));
}

/// The roles are spelled out in SQL, here and in `app.snapshot_keys`.
#[test]
fn the_roles_that_may_use_keys_are_those_that_may_create_them() {
    assert_eq!(Permission::CreateKeys.roles(), [Role::Owner, Role::Admin, Role::Developer]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_expires(root: PgPool) {
    let scene = Scene::new(root).await;
    scene.root("UPDATE api_keys SET expires_at = now() + interval '6 days'").await;
    assert_eq!(scene.status().await.0, Status::Expiring);
    scene.root("UPDATE api_keys SET expires_at = now()").await;
    assert_eq!(scene.status().await.0, Status::Expired);
    let (mut work, _) = scene.work(Role::Viewer).await;
    assert_eq!(count_live(&mut work).await.unwrap(), 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_is_for_a_live_project_of_the_organization(root: PgPool) {
    let scene = Scene::new(root).await;
    let foreign = project(&scene.fixture, &scene.fixture.theirs, "web").await;
    let owner = scene.fixture.ours.person(Role::Developer);
    let (mut work, reach) = scene.work(Role::Developer).await;
    for project in [foreign, ProjectId::generate()] {
        let outcome = create(&mut work, reach, &new_key(project, owner)).await;
        assert!(matches!(outcome, Err(KeyError::NoSuchProject)), "{outcome:?}");
    }
    drop(work);

    scene.root("UPDATE projects SET archived_at = now()").await;
    let (mut work, reach) = scene.work(Role::Developer).await;
    let outcome = create(&mut work, reach, &new_key(scene.project, owner)).await;
    assert!(matches!(outcome, Err(KeyError::ProjectArchived)), "{outcome:?}");
    let new = NewApiKey { project: None, ..new_key(scene.project, owner) };
    let outcome = create(&mut work, reach, &new).await;
    assert!(matches!(outcome, Err(KeyError::NoProject)), "{outcome:?}");
    let outcome = rotate(&mut work, reach, scene.key, hours(1)).await;
    assert!(matches!(outcome, Err(KeyError::Archived)), "{outcome:?}");
    revoke(&mut work, reach, scene.key).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn another_tenants_key_is_out_of_reach(root: PgPool) {
    let scene = Scene::new(root).await;
    let owner = scene.fixture.theirs.person(Role::Owner);
    let reach = Reach { authority: Authority::of(Role::Owner), person: Some(owner) };
    let mut work = scene.fixture.work_of(&scene.fixture.theirs, Role::Owner).await;
    for key in [scene.key, ApiKeyId::generate()] {
        let lost = |outcome: Result<(), KeyError>| {
            assert!(matches!(outcome, Err(KeyError::NotFound)), "{outcome:?}");
        };
        lost(find(&mut work, key).await.map(drop));
        lost(revoke(&mut work, reach, key).await);
        lost(rotate(&mut work, reach, key, hours(1)).await.map(drop));
        lost(end_overlap(&mut work, reach, key).await);
        lost(edit(&mut work, reach, key, |it| Ok(it.clone())).await);
    }
    let all = Filter { which: Which::All, project: None, span: Span::page(None) };
    assert_eq!(list(&mut work, &all).await.unwrap().items.len(), 0);
    assert_eq!(projects(&mut work).await.unwrap().len(), 0);
}

/// Even where a statement forgets to say whose rows it means.
#[sqlx::test(migrations = "../migrations")]
async fn another_tenants_secrets_are_out_of_reach(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.fixture.work_of(&scene.fixture.theirs, Role::Owner).await;
    for table in ["SELECT count(*) FROM api_key_secrets", "SELECT count(*) FROM api_keys"] {
        let seen: i64 = sqlx::query_scalar(table).fetch_one(&mut *work).await.unwrap();
        assert_eq!(seen, 0, "{table}");
    }
    let ours = scene.fixture.ours.id;
    assert_eq!(secrets::store::working(&mut work, ours, scene.key).await.unwrap().len(), 0);
    store::revoke(&mut work, ours, scene.key, None).await.unwrap();
    secrets::store::retire(&mut work, ours, scene.key, hours(0)).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(scene.status().await.0, Status::Active);
    assert_eq!(scene.working().await, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_member_who_leaves_takes_their_keys_along(root: PgPool) {
    let scene = Scene::new(root).await;
    let developer = scene.fixture.ours.person(Role::Developer);
    let (mut work, _) = scene.work(Role::Owner).await;
    assert_eq!(revoke_owned_by(&mut work, developer).await.unwrap(), 1);
    assert_eq!(revoke_owned_by(&mut work, developer).await.unwrap(), 0);
    work.commit().await.unwrap();
    assert_eq!(scene.status().await.0, Status::Revoked);
    let audited = scene.audited().await;
    assert_eq!(audited.last().unwrap().0, "key.revoked");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_seed_chooses_its_secret(root: PgPool) {
    let scene = Scene::new(root).await;
    let secret = NewKey::generate(shared::keys::Brand::Live);
    let (text, hint) = (secret.secret.clone(), secret.hint.clone());
    let origin = Origin { address: None, request: RequestId::generate() };
    let organization: OrganizationId = scene.fixture.ours.id;
    let mut work =
        Work::begin(&scene.fixture.db, organization, Actor::System, origin).await.unwrap();
    let new = new_key(scene.project, scene.fixture.ours.person(Role::Owner));
    let issued = issue(&mut work, &new, Some(secret)).await.unwrap();
    assert_eq!(issued.secret.expose_secret(), text.expose_secret());
    let key = find(&mut work, issued.key).await.unwrap();
    assert_eq!((key.hint, key.created_by), (hint, None));
}

#[sqlx::test(migrations = "../migrations")]
async fn lists_are_pages_of_what_was_asked_for(root: PgPool) {
    let scene = Scene::new(root).await;
    let owner = scene.fixture.ours.person(Role::Developer);
    let (mut work, reach) = scene.work(Role::Developer).await;
    let mut made = vec![scene.key];
    for _ in 0..4 {
        made.push(create(&mut work, reach, &new_key(scene.project, owner)).await.unwrap().key);
    }
    made.reverse();
    revoke(&mut work, reach, made[1]).await.unwrap();

    let filter = Filter { which: Which::All, project: None, span: Span { after: None, most: 2 } };
    let then = |after| Filter { span: Span { after, most: 2 }, ..filter };
    let ids = |part: &Part<ApiKey, ApiKeyId>| part.items.iter().map(|it| it.id).collect::<Vec<_>>();
    let first = list(&mut work, &filter).await.unwrap();
    assert_eq!((ids(&first), first.next), (made[..2].to_vec(), Some(made[1])));
    let second = list(&mut work, &then(first.next)).await.unwrap();
    assert_eq!(ids(&second), made[2..4]);
    let third = list(&mut work, &then(second.next)).await.unwrap();
    assert_eq!((ids(&third), third.next), (made[4..].to_vec(), None));

    let filter = Filter { span: Span::page(None), ..filter };
    let current = Filter { which: Which::Current, ..filter };
    assert_eq!(list(&mut work, &current).await.unwrap().items.len(), 4);
    let revoked = Filter { which: Which::Only(Status::Revoked), ..filter };
    assert_eq!(ids(&list(&mut work, &revoked).await.unwrap()), [made[1]]);
    let elsewhere = Filter { project: Some(ProjectId::generate()), ..filter };
    assert_eq!(list(&mut work, &elsewhere).await.unwrap().items.len(), 0);
}

mod pages;
