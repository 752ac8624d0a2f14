//! The publisher, against a real Postgres and Redis.

use futures::StreamExt;
use secrecy::ExposeSecret;
use sqlx::PgPool;

use super::*;
use crate::{
    access::Role,
    keys,
    keys::tests::{new_key, project},
    testing::Fixture,
};

/// A place in Redis that no other test uses.
struct Corner {
    image: String,
    hint: String,
}

impl Corner {
    fn new() -> Self {
        let name = shared::random::base62(12);
        Self { image: format!("test:{name}:image"), hint: format!("test:{name}:hint") }
    }

    fn place(&self) -> Place<'_> {
        Place { image: &self.image, hint: &self.hint }
    }

    async fn publish(&self, fixture: &Fixture) -> bool {
        publish_at(&fixture.db, &fixture.platform.redis, self.place()).await.unwrap()
    }

    async fn image(&self, fixture: &Fixture) -> Option<Snapshot> {
        let mut conn = fixture.platform.redis.get().await.unwrap();
        let image: Option<Vec<u8>> =
            redis::cmd("GET").arg(&self.image).query_async(&mut conn).await.unwrap();
        image.map(|it| serde_json::from_slice(&it).unwrap())
    }

    async fn forget(&self, fixture: &Fixture) {
        let mut conn = fixture.platform.redis.get().await.unwrap();
        let keys = [self.image.clone(), self.place().revision()];
        let _: i64 = redis::cmd("DEL").arg(&keys).query_async(&mut conn).await.unwrap();
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_change_is_published_once(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new();
    assert!(corner.publish(&fixture).await);
    assert!(!corner.publish(&fixture).await);

    let project = project(&fixture, &fixture.ours, "web").await;
    let mut work = fixture.work(Role::Developer).await;
    let new = new_key(project, fixture.ours.person(Role::Developer));
    let issued = keys::issue(&mut work, &new, None).await.unwrap();
    work.commit().await.unwrap();

    assert!(corner.publish(&fixture).await);
    let image = corner.image(&fixture).await.unwrap();
    let key = &image.keys[0];
    assert_eq!((key.id, key.organization, key.project), (issued.key, fixture.ours.id, project));
    let hash = shared::keys::KeyHash::of(issued.secret.expose_secret());
    assert_eq!(key.secrets[0].hash, hash.0);
    assert_eq!(key.scopes, new.terms.scopes);
    assert!(!corner.publish(&fixture).await);
    corner.forget(&fixture).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_change_is_announced(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new();
    let config = crate::testing::config();
    let client = redis::Client::open(config.stores.redis_url.expose_secret()).unwrap();
    let mut hints = client.get_async_pubsub().await.unwrap();
    hints.subscribe(&corner.hint).await.unwrap();
    assert!(corner.publish(&fixture).await);
    let hint = hints.on_message().next().await.unwrap();
    assert_eq!(hint.get_payload_bytes(), b"");
    corner.forget(&fixture).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn an_older_image_never_replaces_a_newer_one(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new();
    let image = |revision| Snapshot {
        revision,
        taken_at: OffsetDateTime::now_utc(),
        upstreams: Vec::new(),
        keys: Vec::new(),
        policies: Vec::new(),
        tenants: Vec::new(),
        projects: Vec::new(),
    };
    let redis = &fixture.platform.redis;
    assert!(put(redis, corner.place(), &image(7)).await.unwrap());
    assert!(!put(redis, corner.place(), &image(6)).await.unwrap());
    assert!(!put(redis, corner.place(), &image(7)).await.unwrap());
    assert_eq!(corner.image(&fixture).await.unwrap().revision, 7);
    assert!(put(redis, corner.place(), &image(8)).await.unwrap());
    corner.forget(&fixture).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_lost_image_is_published_again(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let corner = Corner::new();
    assert!(corner.publish(&fixture).await);
    let mut conn = fixture.platform.redis.get().await.unwrap();
    let _: i64 = redis::cmd("DEL").arg(&corner.image).query_async(&mut conn).await.unwrap();
    assert!(corner.publish(&fixture).await);
    assert!(corner.image(&fixture).await.is_some());
    corner.forget(&fixture).await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_whose_owner_may_not_use_it_is_not_published(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let project = project(&fixture, &fixture.ours, "web").await;
    let owner = fixture.ours.person(Role::Developer);
    let mut work = fixture.work(Role::Developer).await;
    keys::issue(&mut work, &new_key(project, owner), None).await.unwrap();
    work.commit().await.unwrap();
    let published = async || gather(&fixture.db).await.unwrap().keys.len();
    assert_eq!(published().await, 1);

    for (change, back) in [
        (
            "UPDATE memberships SET role = 'billing' WHERE person_id = $1",
            "UPDATE memberships SET role = 'developer' WHERE person_id = $1",
        ),
        (
            "UPDATE people SET disabled_at = now() WHERE id = $1",
            "UPDATE people SET disabled_at = NULL WHERE id = $1",
        ),
    ] {
        let before = gather(&fixture.db).await.unwrap().revision;
        sqlx::query(change).bind(owner).execute(&fixture.root).await.unwrap();
        let after = gather(&fixture.db).await.unwrap();
        assert_eq!(after.keys.len(), 0, "{change}");
        assert!(after.revision > before, "{change}");
        sqlx::query(back).bind(owner).execute(&fixture.root).await.unwrap();
    }
    assert_eq!(published().await, 1);
}
