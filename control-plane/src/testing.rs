//! What store and page tests stand on: a fresh database seen as the application sees
//! it, two organizations, and somebody of each role in both.

pub mod books;
pub mod http;
pub mod meter;

use actix_web::web::Data;
use argon2::{Algorithm, Argon2, Params, Version, password_hash::PasswordHasher};
use clap::Parser;
use secrecy::ExposeSecret;
use shared::{
    ids::{OrganizationId, PersonId},
    reach::Reach,
    seal::MasterKey,
    snapshot::Signer,
};
use sqlx::{PgPool, postgres::PgPoolOptions};

use crate::{
    access::{Actor, Origin, Role, Work},
    config::Config,
    payments::Rail,
    platform::Platform,
};

#[derive(Clone)]
pub struct Fixture {
    /// As the superuser: to plant and to look, never to act.
    pub root: PgPool,
    /// As the application.
    pub db: PgPool,
    pub platform: Data<Platform>,
    pub ours: Tenant,
    pub theirs: Tenant,
}

/// An organization and its members.
#[derive(Clone)]
pub struct Tenant {
    pub id: OrganizationId,
    pub slug: &'static str,
    members: Vec<(Role, PersonId, String)>,
}

impl Tenant {
    pub fn person(&self, role: Role) -> PersonId {
        self.member(role).1
    }

    pub fn email(&self, role: Role) -> &str {
        &self.member(role).2
    }

    fn member(&self, role: Role) -> &(Role, PersonId, String) {
        self.members.iter().find(|it| it.0 == role).expect("there is one of each role")
    }

    pub fn actor(&self, role: Role) -> Actor {
        Actor::Person { id: self.person(role), email: self.email(role).to_owned() }
    }
}

impl Fixture {
    pub async fn new(root: PgPool) -> Self {
        Self::with(root, config()).await
    }

    /// One whose operator allows providers in private networks.
    pub async fn allowing_private(root: PgPool) -> Self {
        Self::with(root, Config { reach: Reach::with_this_machine(), ..config() }).await
    }

    /// One whose Redis is away.
    pub async fn without_redis(root: PgPool) -> Self {
        let mut config = config();
        // Nobody listens there.
        config.stores.redis_url = "redis://127.0.0.1:1/".into();
        Self::with(root, config).await
    }

    /// One whose invoices are collected.
    pub async fn collecting(root: PgPool, rail: Rail) -> Self {
        Self::made(root, config(), Some(rail)).await
    }

    /// One that has PDFs printed by that program.
    pub async fn printing_with(root: PgPool, program: &str) -> Self {
        Self::with(root, Config { invoice_printer: Some(program.into()), ..config() }).await
    }

    async fn with(root: PgPool, config: Config) -> Self {
        Self::made(root, config, None).await
    }

    async fn made(root: PgPool, config: Config, payments: Option<Rail>) -> Self {
        let options = root.connect_options().as_ref().clone();
        let db = PgPoolOptions::new()
            .max_connections(8)
            .connect_with(options.options([("role", "turnpike_app"), ("jit", "off")]))
            .await
            .expect("the test database is there");
        let ours = tenant(&root, "ours").await;
        let theirs = tenant(&root, "theirs").await;
        let redis = config.stores.redis().expect("the address is well formed");
        let mut platform = Platform::new(&config, db.clone(), redis).expect("the keys are good");
        platform.payments = payments;
        Self { root, db, platform: Data::new(platform), ours, theirs }
    }

    /// A transaction of our organization, acted in by its `role`.
    pub async fn work(&self, role: Role) -> Work {
        self.work_of(&self.ours, role).await
    }

    pub async fn work_of(&self, tenant: &Tenant, role: Role) -> Work {
        let actor = tenant.actor(role);
        Work::begin(&self.db, tenant.id, actor, Origin::internal()).await.unwrap()
    }
}

pub async fn tenant(root: &PgPool, slug: &'static str) -> Tenant {
    let id = OrganizationId::generate();
    sqlx::query("INSERT INTO organizations (id, slug, name) VALUES ($1, $2, $2)")
        .bind(id)
        .bind(slug)
        .execute(root)
        .await
        .unwrap();
    let mut members = Vec::new();
    for role in Role::ALL {
        let person = PersonId::generate();
        let email = format!("{}@{slug}.test", role.name());
        sqlx::query(
            "INSERT INTO people (id, email, email_verified_at, password_hash)
             VALUES ($1, $2, now(), $3)",
        )
        .bind(person)
        .bind(&email)
        .bind(password_hash())
        .execute(root)
        .await
        .unwrap();
        sqlx::query("INSERT INTO memberships VALUES ($1, $2, $3)")
            .bind(id)
            .bind(person)
            .bind(role.name())
            .execute(root)
            .await
            .unwrap();
        members.push((role, person, email));
    }
    Tenant { id, slug, members }
}

/// The hash of a password that nobody knows, made with no effort worth waiting for.
pub fn password_hash() -> String {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password(&shared::random::bytes::<16>()).unwrap().to_string()
}

/// A configuration as `make run` writes it, with keys of its own.
pub fn config() -> Config {
    let redis = std::env::var("TURNPIKE_TEST_REDIS_URL");
    let redis = redis.unwrap_or_else(|_| "redis://127.0.0.1:1/".to_owned());
    let (signing_key, _) = crate::tokens::generate_signing_key();
    let key = || MasterKey::generate().to_base64().expose_secret().to_owned();
    Config::parse_from([
        "control-plane",
        "--listen=127.0.0.1:0",
        "--database-url=postgres://unused/",
        &format!("--redis-url={redis}"),
        "--public-url=http://127.0.0.1:7400",
        "--data-url=http://127.0.0.1:7401",
        &format!("--master-key={}", key()),
        &format!("--credential-key={}", key()),
        &format!("--signing-key={}", signing_key.expose_secret()),
        &format!("--snapshot-key={}", Signer::generate().0.expose_secret()),
        "--dev",
    ])
}

#[sqlx::test(migrations = "../migrations")]
async fn the_application_sees_nothing_unless_it_says_whose(root: PgPool) {
    let fixture = Fixture::new(root).await;
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM memberships")
        .fetch_one(&fixture.db)
        .await
        .unwrap();
    assert_eq!(seen, 0);
    let mut work = fixture.work(Role::Viewer).await;
    let seen: i64 =
        sqlx::query_scalar("SELECT count(*) FROM memberships").fetch_one(&mut *work).await.unwrap();
    assert_eq!(seen, 5);
}

/// Every tenant's table is under row security that binds its owner too, and nothing
/// that the application runs as gets around it.
#[sqlx::test(migrations = "../migrations")]
async fn row_security_is_forced_on_every_tenants_table(root: PgPool) {
    let loose: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname FROM pg_class c
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'organization_id'
          WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
            AND NOT (c.relrowsecurity AND c.relforcerowsecurity)",
    )
    .fetch_all(&root)
    .await
    .unwrap();
    assert_eq!(loose, [""; 0]);
    let mighty: Vec<String> = sqlx::query_scalar(
        "SELECT rolname FROM pg_roles
          WHERE rolname IN ('turnpike_app', 'turnpike_jobs') AND (rolsuper OR rolbypassrls)",
    )
    .fetch_all(&root)
    .await
    .unwrap();
    assert_eq!(mighty, [""; 0]);
    let definers: Vec<String> = sqlx::query_scalar(
        "SELECT proname FROM pg_proc
          WHERE prosecdef AND pg_get_userbyid(proowner) <> 'turnpike_jobs'",
    )
    .fetch_all(&root)
    .await
    .unwrap();
    assert_eq!(definers, [""; 0], "functions that see all belong to turnpike_jobs");
}
