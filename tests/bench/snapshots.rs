//! `make bench-snapshots`: what a large installation's snapshot weighs, how fast proxies
//! have a change, and how they start from their disk alone.
//!
//! Wants PostgreSQL (DATABASE_URL, as a superuser), Redis (TURNPIKE_TEST_REDIS_URL) and
//! the built `data-plane` beside this program. Makes a database of its own, and drops it.
#![expect(clippy::unwrap_used, reason = "it measures, or stops where it cannot")]

use std::{
    env,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use control_plane::{config::Stores, snapshots::Publisher};
use harness::redis_database::RedisDatabase;
use secrecy::ExposeSecret;
use shared::{
    ids::{ApiKeyId, OrganizationId, ProjectId, RequestId},
    random,
    seal::MasterKey,
    snapshot::{Places, Signer},
};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

const ORGANIZATIONS: usize = 10_000;
const PROJECTS_EACH: usize = 3;
const KEYS_EACH: usize = 10;
const CHANGES: usize = 200;
const PROXIES: usize = 2;

struct Proxy {
    process: Child,
    address: String,
}

impl Proxy {
    fn start(at: &Installation, redis: &str, place: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let program = env::current_exe().unwrap().with_file_name("data-plane");
        let process = Command::new(program)
            .env("TURNPIKE_LISTEN", &address)
            .env("TURNPIKE_WORKERS", "2")
            .env("TURNPIKE_REDIS_URL", redis)
            .env("TURNPIKE_CREDENTIAL_KEY", at.credential.to_base64().expose_secret())
            .env("TURNPIKE_SNAPSHOT_PUBLIC_KEYS", &at.public_key)
            .env("TURNPIKE_STATE_DIR", place)
            .env("TURNPIKE_DRAIN_SECONDS", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, address }
    }

    async fn revision(&self) -> Option<i64> {
        let answer = reqwest::get(format!("http://{}/readyz", self.address)).await.ok()?;
        let answer: serde_json::Value = answer.json().await.ok()?;
        answer["revision"].as_i64().filter(|it| *it > 0)
    }

    /// Asks until it serves `revision`, and says how long that took.
    async fn reaches(&self, revision: i64, since: Instant) -> Duration {
        while self.revision().await.is_none_or(|it| it < revision) {
            assert!(since.elapsed() < Duration::from_secs(60), "a proxy does not get there");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        since.elapsed()
    }

    fn resident_megabytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_000
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Installation {
    root: PgPool,
    publisher: Publisher,
    public_key: String,
    credential: MasterKey,
}

#[tokio::main]
async fn main() {
    let admin = env::var("DATABASE_URL").expect("DATABASE_URL is set");
    let name = format!("bench_{}", RequestId::generate().uuid().simple());
    let mut conn = PgConnection::connect(&admin).await.unwrap();
    let make = format!("CREATE DATABASE {name}");
    sqlx::query(sqlx::AssertSqlSafe(make)).execute(&mut conn).await.unwrap();
    let redis = RedisDatabase::claim();
    let place = env::temp_dir().join(&name);
    measure(&admin, &name, &redis.url, &place).await;
    let _ = std::fs::remove_dir_all(&place);
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&mut conn).await.unwrap();
}

async fn measure(admin: &str, name: &str, redis: &str, place: &Path) {
    let mut url: url::Url = admin.parse().unwrap();
    url.set_path(name);
    let options: PgConnectOptions = url.as_str().parse().unwrap();
    let root = PgPool::connect_with(options).await.unwrap();
    sqlx::migrate!("../migrations").run(&root).await.unwrap();
    let stores =
        Stores { database_url: url.to_string().into(), redis_url: redis.to_owned().into() };
    let (key, public_key) = Signer::generate();
    let db = stores.database(4).await.unwrap();
    let signer = Signer::new(&key).unwrap();
    let publisher = Publisher::new(db, stores.redis().unwrap(), signer, Places::default());
    let at = Installation { root, publisher, public_key, credential: MasterKey::generate() };

    let projects = seed(&at.root).await;
    let began = Instant::now();
    let revision = at.publisher.publish().await.unwrap().unwrap();
    tell("publish everything for the first time, s", began.elapsed().as_secs_f64());
    let bytes: i32 = sqlx::query_scalar("SELECT length(body) FROM config_revisions")
        .fetch_one(&at.root)
        .await
        .unwrap();
    tell("image, compressed, MB", f64::from(bytes) / 1e6);

    let places: Vec<PathBuf> = (0..PROXIES).map(|it| place.join(it.to_string())).collect();
    let began = Instant::now();
    let proxies: Vec<_> = places.iter().map(|it| Proxy::start(&at, redis, it)).collect();
    for proxy in &proxies {
        proxy.reaches(revision, began).await;
    }
    tell("start from Redis until ready, s", began.elapsed().as_secs_f64());

    // Subscribed, and past the first checks.
    tokio::time::sleep(Duration::from_secs(8)).await;
    for proxy in &proxies {
        tell("resident after the start, MB", proxy.resident_megabytes() as f64);
    }
    let (mut took, mut sealing) = (Vec::new(), Vec::new());
    for _ in 0..CHANGES {
        add_key(&at.root, &projects[0]).await;
        let began = Instant::now();
        let revision = at.publisher.publish().await.unwrap().unwrap();
        sealing.push(began.elapsed());
        let mut slowest = Duration::ZERO;
        for proxy in &proxies {
            slowest = slowest.max(proxy.reaches(revision, began).await);
        }
        took.push(slowest);
    }
    took.sort_unstable();
    sealing.sort_unstable();
    tell("of which sealed and put into Redis, p50, ms", sealing[CHANGES / 2].as_secs_f64() * 1e3);
    for (name, at) in [("p50", CHANGES / 2), ("p99", CHANGES * 99 / 100), ("slowest", CHANGES - 1)]
    {
        tell(
            &format!("from the commit of a change until all {PROXIES} serve it, {name}, ms"),
            took[at].as_secs_f64() * 1e3,
        );
    }
    for proxy in &proxies {
        tell("resident after the changes, MB", proxy.resident_megabytes() as f64);
    }
    // Long enough for the copies to be written.
    tokio::time::sleep(Duration::from_secs(4)).await;
    drop(proxies);
    for place in &places {
        let began = Instant::now();
        let proxy = Proxy::start(&at, "redis://127.0.0.1:1", place);
        let took = proxy.reaches(1, began).await;
        tell("start from the disk, all else down, s", took.as_secs_f64());
        tell("resident then, MB", proxy.resident_megabytes() as f64);
    }
    at.root.close().await;
}

fn tell(what: &str, figure: f64) {
    let _ = writeln!(std::io::stdout(), "{what:<62} {figure:>10.2}");
}

async fn seed(root: &PgPool) -> Vec<(OrganizationId, ProjectId)> {
    let organizations: Vec<_> = (0..ORGANIZATIONS).map(|_| OrganizationId::generate()).collect();
    let ids: Vec<_> = organizations.iter().map(|it| it.uuid()).collect();
    sqlx::query(
        "INSERT INTO organizations (id, slug, name)
         SELECT id, 'org-' || n, 'Organization ' || n
           FROM unnest($1::uuid[]) WITH ORDINALITY AS given (id, n)",
    )
    .bind(&ids)
    .execute(root)
    .await
    .unwrap();
    let projects: Vec<_> = organizations
        .iter()
        .flat_map(|it| (0..PROJECTS_EACH).map(|_| (*it, ProjectId::generate())))
        .collect();
    let (owners, ids): (Vec<_>, Vec<_>) =
        projects.iter().map(|it| (it.0.uuid(), it.1.uuid())).unzip();
    sqlx::query(
        "INSERT INTO projects (organization_id, id, name)
         SELECT o, id, 'project ' || n FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS given (o, id, n)",
    )
    .bind(&owners)
    .bind(&ids)
    .execute(root)
    .await
    .unwrap();
    let mut all = Vec::with_capacity(ORGANIZATIONS * KEYS_EACH);
    for number in 0..ORGANIZATIONS * KEYS_EACH {
        let of = projects[number / KEYS_EACH * PROJECTS_EACH + number % PROJECTS_EACH];
        all.push((
            of.0.uuid(),
            of.1.uuid(),
            ApiKeyId::generate().uuid(),
            random::bytes::<32>().to_vec(),
        ));
    }
    for batch in all.chunks(10_000) {
        add_keys(root, batch).await;
    }
    // As autovacuum does soon after.
    sqlx::query("ANALYZE").execute(root).await.unwrap();
    projects
}

type NewKey = (Uuid, Uuid, Uuid, Vec<u8>);

/// A third of them with limits, a third with a list of models.
async fn add_keys(root: &PgPool, keys: &[NewKey]) {
    let column = |of: fn(&NewKey) -> Uuid| keys.iter().map(of).collect::<Vec<_>>();
    let (owners, projects, ids) = (column(|it| it.0), column(|it| it.1), column(|it| it.2));
    let hashes: Vec<_> = keys.iter().map(|it| it.3.clone()).collect();
    sqlx::query(
        "INSERT INTO api_keys (organization_id, project_id, id, name, brand, scopes,
                               requests_per_minute, allowed_models)
         SELECT o, p, id, 'key ' || n, 'live', ARRAY['chat', 'completions', 'embeddings', 'models'],
                CASE WHEN n % 3 = 0 THEN 600 END,
                CASE WHEN n % 3 = 1 THEN ARRAY['gpt-5', 'claude-sonnet-5'] END
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) WITH ORDINALITY AS given (o, p, id, n)",
    )
    .bind(&owners)
    .bind(&projects)
    .bind(&ids)
    .execute(root)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO api_key_secrets (organization_id, key_id, hash, hint)
         SELECT * , 'tpk_live_…' FROM unnest($1::uuid[], $2::uuid[], $3::bytea[])",
    )
    .bind(&owners)
    .bind(&ids)
    .bind(&hashes)
    .execute(root)
    .await
    .unwrap();
}

async fn add_key(root: &PgPool, of: &(OrganizationId, ProjectId)) {
    let key = ApiKeyId::generate().uuid();
    add_keys(root, &[(of.0.uuid(), of.1.uuid(), key, random::bytes::<32>().to_vec())]).await;
}
