//! A large installation: its database, its Redis, and what seals and signs.

use control_plane::{config::Stores, snapshots::Publisher};
use secrecy::SecretString;
use shared::{
    ids::{ApiKeyId, OrganizationId, ProjectId},
    random,
    seal::MasterKey,
    snapshot::{Places, Signer},
};
use sqlx::{PgPool, postgres::PgConnectOptions};
use url::Url;
use uuid::Uuid;

const PROJECTS_EACH: usize = 3;
const KEYS_EACH: usize = 10;
/// A user of Redis who may all but subscribe.
const DEAF: &str = "bench_deaf";

pub struct Installation {
    pub root: PgPool,
    pub publisher: Publisher,
    pub snapshot_key: SecretString,
    pub public_key: String,
    pub credential: MasterKey,
    pub database: String,
    pub redis: String,
    projects: Vec<(OrganizationId, ProjectId)>,
}

impl Installation {
    pub async fn make(admin: &str, name: &str, redis: &str, organizations: usize) -> Self {
        let mut url: Url = admin.parse().unwrap();
        url.set_path(name);
        let database = url.to_string();
        let options: PgConnectOptions = database.parse().unwrap();
        let root = PgPool::connect_with(options).await.unwrap();
        sqlx::migrate!("../migrations").run(&root).await.unwrap();
        let stores =
            Stores { database_url: database.clone().into(), redis_url: redis.to_owned().into() };
        let (snapshot_key, public_key) = Signer::generate();
        let db = stores.database(4).await.unwrap();
        let signer = Signer::new(&snapshot_key).unwrap();
        let publisher = Publisher::new(db, stores.redis().unwrap(), signer, Places::default());
        let projects = seed(&root, organizations).await;
        let (credential, redis) = (MasterKey::generate(), redis.to_owned());
        Self { root, publisher, snapshot_key, public_key, credential, database, redis, projects }
    }

    pub async fn image_bytes(&self) -> i32 {
        sqlx::query_scalar("SELECT length(body) FROM config_revisions")
            .fetch_one(&self.root)
            .await
            .unwrap()
    }

    pub async fn add_key(&self) {
        let (organization, project) = self.projects[0];
        let (key, hash) = (ApiKeyId::generate().uuid(), random::bytes::<32>().to_vec());
        add_keys(&self.root, &[(organization.uuid(), project.uuid(), key, hash)]).await;
    }

    /// The address of Redis for proxies that no hint shall reach.
    pub fn deaf_user(&self) -> String {
        let secret = random::base62(20);
        let mut make = redis::cmd("ACL");
        make.arg("SETUSER").arg(DEAF).arg("reset").arg("on").arg(format!(">{secret}"));
        make.arg("~*").arg("+@all").arg("-subscribe").arg("-psubscribe").arg("-ssubscribe");
        make.arg("&*").exec(&mut self.connect()).unwrap();
        let mut url: Url = self.redis.parse().unwrap();
        url.set_username(DEAF).unwrap();
        url.set_password(Some(&secret)).unwrap();
        url.to_string()
    }

    pub fn drop_deaf_user(&self) {
        redis::cmd("ACL").arg("DELUSER").arg(DEAF).exec(&mut self.connect()).unwrap();
    }

    fn connect(&self) -> redis::Connection {
        redis::Client::open(self.redis.as_str()).unwrap().get_connection().unwrap()
    }
}

async fn seed(root: &PgPool, count: usize) -> Vec<(OrganizationId, ProjectId)> {
    let organizations: Vec<_> = (0..count).map(|_| OrganizationId::generate()).collect();
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
    let mut all = Vec::with_capacity(count * KEYS_EACH);
    for number in 0..count * KEYS_EACH {
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
