//! Tokens as the application sees them, with row security in force.

use sqlx::PgPool;

use super::*;
use crate::{
    access::Origin,
    testing::{Fixture, Tenant},
};

struct Scene {
    fixture: Fixture,
}

impl Scene {
    async fn new(root: PgPool) -> Self {
        Self { fixture: Fixture::new(root).await }
    }

    fn reach(&self, role: Role) -> Reach {
        let actor = self.fixture.ours.actor(role);
        Reach { authority: Authority::of(role), actor, until: None }
    }

    /// A token that a member made.
    async fn token(&self, by: Role, role: Role, is_service: bool) -> (ApiTokenId, SecretString) {
        let mut work = self.fixture.work(by).await;
        let made = create(&mut work, &self.reach(by), &new(role, is_service)).await.unwrap();
        work.commit().await.unwrap();
        made
    }

    async fn open(&self, secret: &SecretString) -> Option<Bearer> {
        recognize(&self.fixture.platform, secret).await.unwrap()
    }

    async fn signed(&self, secret: &SecretString) -> SecretString {
        let platform = &self.fixture.platform;
        let (token, bearer) = recognize_opaque(platform, secret).await.unwrap().unwrap();
        let named = Named { organization: bearer.membership.organization, token };
        platform.access_tokens.sign(named, OffsetDateTime::now_utc()).unwrap()
    }

    async fn root(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.fixture.root).await.unwrap();
    }
}

fn new(role: Role, is_service: bool) -> NewToken {
    let expires_at = OffsetDateTime::now_utc() + Duration::days(30);
    NewToken { name: "ci".parse().unwrap(), is_service, role, expires_at }
}

fn theirs(fixture: &Fixture) -> (&Tenant, Reach) {
    let tenant = &fixture.theirs;
    let actor = tenant.actor(Role::Owner);
    (tenant, Reach { authority: Authority::of(Role::Owner), actor, until: None })
}

#[sqlx::test(migrations = "../migrations")]
async fn a_persons_token_acts_as_the_person(root: PgPool) {
    let scene = Scene::new(root).await;
    let (_, secret) = scene.token(Role::Admin, Role::Developer, false).await;
    for secret in [scene.signed(&secret).await, secret] {
        let bearer = scene.open(&secret).await.unwrap();
        assert_eq!(bearer.membership.slug, "ours");
        assert_eq!(bearer.membership.role, Role::Admin);
        assert_eq!(bearer.actor, scene.fixture.ours.actor(Role::Admin));
        assert_eq!(bearer.authority, Authority::of(Role::Admin).at_most(Role::Developer));
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_services_token_acts_as_itself(root: PgPool) {
    let scene = Scene::new(root).await;
    let (token, secret) = scene.token(Role::Owner, Role::Developer, true).await;
    assert!(secret.expose_secret().starts_with("tpk_svc_"));
    let bearer = scene.open(&secret).await.unwrap();
    assert_eq!(bearer.actor, Actor::Service { token, name: "ci".to_owned() });
    assert_eq!(bearer.authority, Authority::of(Role::Developer));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_token_shrinks_with_its_person(root: PgPool) {
    let scene = Scene::new(root).await;
    let (_, secret) = scene.token(Role::Admin, Role::Admin, false).await;
    scene.root("UPDATE memberships SET role = 'viewer' WHERE role = 'admin'").await;
    let bearer = scene.open(&secret).await.unwrap();
    assert!(!bearer.authority.may(Permission::ManageMembers));
    assert_eq!(bearer.authority.role, Role::Viewer);
}

#[sqlx::test(migrations = "../migrations")]
async fn what_ends_a_token_ends_its_signed_ones_at_once(root: PgPool) {
    let scene = Scene::new(root).await;
    let (_, secret) = scene.token(Role::Admin, Role::Viewer, false).await;
    let signed = scene.signed(&secret).await;
    for (change, back) in [
        ("UPDATE api_tokens SET revoked_at = now()", "UPDATE api_tokens SET revoked_at = NULL"),
        (
            "UPDATE api_tokens SET expires_at = now()",
            "UPDATE api_tokens SET expires_at = now() + interval '1 day'",
        ),
        ("UPDATE people SET disabled_at = now()", "UPDATE people SET disabled_at = NULL"),
        ("DELETE FROM memberships WHERE role = 'admin'", "SELECT 1"),
    ] {
        assert!(scene.open(&secret).await.is_some());
        assert!(scene.open(&signed).await.is_some());
        scene.root(change).await;
        assert!(scene.open(&secret).await.is_none(), "{change}");
        assert!(scene.open(&signed).await.is_none(), "{change}");
        scene.root(back).await;
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_no_token_opens_nothing(root: PgPool) {
    let scene = Scene::new(root).await;
    for text in ["", "x", "a.b.c", "tpk_mgmt_", &format!("tpk_mgmt_{}", "0".repeat(47))] {
        assert!(scene.open(&text.into()).await.is_none(), "{text}");
    }
    for brand in [Brand::Live, Brand::Test, Brand::Management, Brand::Service] {
        assert!(scene.open(&NewKey::generate(brand).secret).await.is_none(), "{brand:?}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_signed_token_buys_no_other(root: PgPool) {
    let scene = Scene::new(root).await;
    let (_, secret) = scene.token(Role::Admin, Role::Viewer, false).await;
    let signed = scene.signed(&secret).await;
    let again = recognize_opaque(&scene.fixture.platform, &signed).await.unwrap();
    assert!(again.is_none());
}

/// Its key signed it, but for an organization that the token is not of.
#[sqlx::test(migrations = "../migrations")]
async fn a_signed_token_opens_its_own_organization_only(root: PgPool) {
    let scene = Scene::new(root).await;
    let (token, _) = scene.token(Role::Admin, Role::Viewer, false).await;
    let named = Named { organization: scene.fixture.theirs.id, token };
    let platform = &scene.fixture.platform;
    let signed = platform.access_tokens.sign(named, OffsetDateTime::now_utc()).unwrap();
    assert!(scene.open(&signed).await.is_none());
}

#[sqlx::test(migrations = "../migrations")]
async fn use_is_noted_once_a_minute(root: PgPool) {
    let scene = Scene::new(root).await;
    let (_, secret) = scene.token(Role::Admin, Role::Viewer, false).await;
    let used = async || -> Option<OffsetDateTime> {
        let asked = sqlx::query_scalar("SELECT last_used_at FROM api_tokens");
        asked.fetch_one(&scene.fixture.root).await.unwrap()
    };
    assert_eq!(used().await, None);
    scene.open(&secret).await.unwrap();
    let first = used().await;
    assert!(first.is_some());
    scene.open(&secret).await.unwrap();
    assert_eq!(used().await, first);
    scene.root("UPDATE api_tokens SET last_used_at = now() - interval '61 seconds'").await;
    scene.open(&secret).await.unwrap();
    assert!(used().await > first);
}

#[sqlx::test(migrations = "../migrations")]
async fn nobody_gives_more_than_they_hold(root: PgPool) {
    let scene = Scene::new(root).await;
    for by in Role::ALL {
        let mut work = scene.fixture.work(by).await;
        for role in Role::ALL {
            let outcome = create(&mut work, &scene.reach(by), &new(role, false)).await;
            assert_eq!(outcome.is_ok(), by.covers(role), "{by} makes {role}");
        }
        let outcome = create(&mut work, &scene.reach(by), &new(by, true)).await;
        assert_eq!(outcome.is_ok(), by.may(Permission::ManageTokens), "{by} makes a service");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_token_made_with_a_token_does_not_outlive_it(root: PgPool) {
    let scene = Scene::new(root).await;
    let mut work = scene.fixture.work(Role::Owner).await;
    let until = Some(OffsetDateTime::now_utc() + Duration::days(7));
    let reach = Reach { until, ..scene.reach(Role::Owner) };
    let outcome = create(&mut work, &reach, &new(Role::Viewer, false)).await;
    assert!(matches!(outcome, Err(TokenError::Outlives)), "{outcome:?}");
    let short = NewToken {
        expires_at: OffsetDateTime::now_utc() + Duration::days(1),
        ..new(Role::Viewer, false)
    };
    create(&mut work, &reach, &short).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_service_makes_no_tokens(root: PgPool) {
    let scene = Scene::new(root).await;
    let (token, _) = scene.token(Role::Owner, Role::Owner, true).await;
    let actor = Actor::Service { token, name: "ci".to_owned() };
    let db = &scene.fixture.db;
    let mut work =
        Work::begin(db, scene.fixture.ours.id, actor.clone(), Origin::internal()).await.unwrap();
    let reach = Reach { authority: Authority::of(Role::Owner), actor, until: None };
    let outcome = create(&mut work, &reach, &new(Role::Viewer, true)).await;
    assert!(matches!(outcome, Err(TokenError::NotAPerson)), "{outcome:?}");
}

#[sqlx::test(migrations = "../migrations")]
async fn members_reach_their_own_tokens(root: PgPool) {
    let scene = Scene::new(root).await;
    let (admins, _) = scene.token(Role::Admin, Role::Viewer, false).await;
    let (viewers, secret) = scene.token(Role::Viewer, Role::Viewer, false).await;
    let (viewer, admin) = (scene.reach(Role::Viewer), scene.reach(Role::Admin));

    let mut work = scene.fixture.work(Role::Viewer).await;
    let ids: Vec<_> = list(&mut work, &viewer).await.unwrap().into_iter().map(|it| it.id).collect();
    assert_eq!(ids, [viewers]);
    let outcome = revoke(&mut work, &viewer, admins).await;
    assert!(matches!(outcome, Err(TokenError::NotFound)), "{outcome:?}");

    let mut work = scene.fixture.work(Role::Admin).await;
    assert_eq!(list(&mut work, &admin).await.unwrap().len(), 2);
    revoke(&mut work, &admin, viewers).await.unwrap();
    work.commit().await.unwrap();
    assert!(scene.open(&secret).await.is_none());
}

#[sqlx::test(migrations = "../migrations")]
async fn another_tenants_token_is_out_of_reach(root: PgPool) {
    let scene = Scene::new(root).await;
    let (token, secret) = scene.token(Role::Admin, Role::Viewer, false).await;
    let (tenant, reach) = theirs(&scene.fixture);
    let mut work = scene.fixture.work_of(tenant, Role::Owner).await;
    for token in [token, ApiTokenId::generate()] {
        let outcome = revoke(&mut work, &reach, token).await;
        assert!(matches!(outcome, Err(TokenError::NotFound)), "{outcome:?}");
    }
    assert_eq!(list(&mut work, &reach).await.unwrap().len(), 0);
    let named = Named { organization: scene.fixture.ours.id, token };
    assert!(!store::revoke(&mut work, named).await.unwrap());
    let seen: i64 =
        sqlx::query_scalar("SELECT count(*) FROM api_tokens").fetch_one(&mut *work).await.unwrap();
    assert_eq!(seen, 0);
    work.commit().await.unwrap();
    assert!(scene.open(&secret).await.is_some());
}

#[sqlx::test(migrations = "../migrations")]
async fn neither_secret_nor_hash_is_told(root: PgPool) {
    let scene = Scene::new(root).await;
    let (_, secret) = scene.token(Role::Admin, Role::Viewer, false).await;
    let mut work = scene.fixture.work(Role::Admin).await;
    let told = serde_json::to_string(&list(&mut work, &scene.reach(Role::Admin)).await.unwrap());
    let audited: Vec<String> = sqlx::query_scalar("SELECT body FROM audit_entries")
        .fetch_all(&scene.fixture.root)
        .await
        .unwrap();
    let told = format!("{} {audited:?}", told.unwrap());
    assert!(told.contains("token.created"));
    assert!(!told.contains(&secret.expose_secret()[18..50]), "{told}");
}

#[test]
fn a_token_lives_for_a_year_at_most() {
    let now = OffsetDateTime::now_utc();
    assert_eq!(in_days(0, now), Err(BadTerm::Days));
    assert_eq!(in_days(366, now), Err(BadTerm::Days));
    assert_eq!(in_days(7, now), Ok(now + Duration::days(7)));
}

mod pages;
