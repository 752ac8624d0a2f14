//! Both planes and the simulator, started for one test.

use std::net::SocketAddr;

use actix_web::web::Data;
use clap::Parser;
use control_plane::platform::Platform;
use secrecy::ExposeSecret;
use shared::{
    ids::{CredentialId, PolicyId, UpstreamId},
    seal::MasterKey,
    snapshot::{Signer, Upstream},
};
use sqlx::{ConnectOptions, PgPool};
use tokio::runtime::{self, Runtime};

use crate::{
    Browser, invariants,
    redis_database::RedisDatabase,
    simulator::{self, Simulator},
    valve::Valve,
    wait::{eventually, soon},
};

/// How a stack differs from the usual one.
#[derive(Default)]
pub struct Settings {
    /// Arguments of the control plane beside the usual ones.
    pub control_plane: Vec<String>,
    /// What holds whatever was done is not looked at in the end: the test breaks it.
    pub is_to_be_broken: bool,
}

/// Both planes, serving. They run on threads of their own, as they do in production, so
/// it does not matter what the test's runtime is.
pub struct Stack {
    /// As the superuser: to plant and to look, never to act.
    pub root: PgPool,
    pub platform: Data<Platform>,
    pub control: SocketAddr,
    pub data: SocketAddr,
    pub simulator: Simulator,
    /// On the control plane's way to PostgreSQL.
    pub database: Valve,
    planes: Option<Planes>,
    settings: Settings,
    _redis: RedisDatabase,
    runtime: Option<Runtime>,
}

struct Planes {
    control: control_plane::app::Running,
    data: data_plane::app::Running,
}

/// What links in mail begin with, whatever host a request was sent to.
pub const PUBLIC_URL: &str = "https://dashboard.turnpike.test";

impl Stack {
    /// `root` is a fresh, migrated database.
    pub async fn start(root: PgPool) -> Self {
        Self::with(root, Settings::default()).await
    }

    /// # Panics
    /// If anything does not start: a test cannot go on then.
    pub async fn with(root: PgPool, settings: Settings) -> Self {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let redis = RedisDatabase::claim();
        let simulator =
            Simulator::start(simulator::Config::default()).expect("a port of this machine is free");
        let url = root.connect_options().to_url_lossy();
        let store = (url.host_str().unwrap_or("127.0.0.1"), url.port().unwrap_or(5432));
        let store = tokio::net::lookup_host(store).await.ok().and_then(|mut it| it.next());
        let store = store.expect("the test database is reached by TCP");
        let valve = Valve::start(runtime.handle(), store).await.expect("a port is free");
        let mut url = url;
        let _ = url.set_host(Some("127.0.0.1"));
        let _ = url.set_port(Some(valve.address.port()));

        let credential_key = MasterKey::generate();
        let (snapshot_key, public_key) = Signer::generate();
        let data = data_config(&redis.url, &credential_key, &public_key);
        let extra = settings.control_plane.clone();
        let redis_url = redis.url.clone();
        let planes = runtime.spawn(async move {
            let data = data_plane::app::start(data).await.expect("the data plane starts");
            let mut extra = extra;
            extra.push(format!("--snapshot-key={}", snapshot_key.expose_secret()));
            let config =
                control_config(url.as_str(), &redis_url, &credential_key, data.address, &extra);
            let control =
                control_plane::app::start(&config).await.expect("the control plane starts");
            Planes { control, data }
        });
        let planes = soon(planes).await.expect("both planes start");
        let stack = Self {
            root,
            platform: planes.control.platform.clone(),
            control: planes.control.address,
            data: planes.data.address,
            simulator,
            database: valve,
            planes: Some(planes),
            settings,
            _redis: redis,
            runtime: Some(runtime),
        };
        stack.serve_models().await;
        stack
    }

    /// A browser that has never been here.
    pub fn browser(&self) -> Browser {
        Browser::new(format!("http://{}", self.control))
    }

    /// A program with an API key, or with another secret in its place.
    pub fn program(&self, key: &str) -> Browser {
        Browser::new(format!("http://{}", self.data))
            .always("authorization", &format!("Bearer {key}"))
    }

    /// A program with a token of the management API.
    pub fn management(&self, token: &str) -> Browser {
        self.browser().always("authorization", &format!("Bearer {token}"))
    }

    /// Waits until the data plane serves everything that was committed before.
    pub async fn published(&self) {
        let newest = eventually("everything to be published", || async {
            let (is_left, newest): (bool, Option<i64>) = sqlx::query_as(
                "SELECT EXISTS (SELECT FROM config_outbox), max(revision) FROM config_revisions",
            )
            .fetch_one(&self.root)
            .await
            .expect("the test database answers");
            newest.filter(|_| !is_left)
        });
        let newest = newest.await;
        let planes = self.planes.as_ref().expect("planes are there until dropped");
        soon(planes.data.catalog.reaches(newest)).await;
    }

    /// Opens the simulator to every organization, under the name that our examples use.
    async fn serve_models(&self) {
        let (id, base_url) = (CredentialId::generate(), format!("{}/v1", self.simulator.url()));
        let purpose = Upstream::purpose(id, None, &base_url);
        let secret = UPSTREAM_SECRET.to_owned().into();
        let sealed = self.platform.secrets.credentials.seal_text(&secret, &purpose);
        let upstream = UpstreamId::generate();
        sqlx::query(
            "INSERT INTO upstreams (id, vendor, name, dialect, base_url)
             VALUES ($1, 'simulator', 'Simulator', 'open_ai', $2)",
        )
        .bind(upstream)
        .bind(base_url)
        .execute(&self.root)
        .await
        .expect("the test database takes an upstream");
        sqlx::query(
            "INSERT INTO upstream_models (upstream_id, name, upstream_name, display_name,
                                          context_length, max_output_tokens, capabilities,
                                          input, output, position)
             VALUES ($1, 'sim-small', 'sim-small', 'sim-small', 128000, 4096, '{streaming}',
                     '{text}', '{text}', 1)",
        )
        .bind(upstream)
        .execute(&self.root)
        .await
        .expect("the test database takes a model");
        sqlx::query(
            r#"WITH auto AS (INSERT INTO policies (id, name, version)
                             VALUES ($1, 'auto', 1) RETURNING id)
               INSERT INTO policy_versions (policy_id, version, name, document, note)
               SELECT id, 1, 'auto', '{"otherwise": {"tiers": [{"targets": [
                      {"model": "sim-small", "provider": null, "weight": 1}]}]}}', ''
                 FROM auto"#,
        )
        .bind(PolicyId::generate())
        .execute(&self.root)
        .await
        .expect("the test database takes a policy");
        sqlx::query(
            "INSERT INTO provider_credentials (id, upstream_id, label, sealed_secret)
             VALUES ($1, $2, 'default', $3)",
        )
        .bind(id)
        .bind(upstream)
        .bind(sealed)
        .execute(&self.root)
        .await
        .expect("the test database takes a credential");
    }
}

/// What the simulator is shown, and nobody else may ever see.
pub const UPSTREAM_SECRET: &str = "sk-upstream-6f1f7f0f5b7c4a3d";

impl Drop for Stack {
    fn drop(&mut self) {
        let (Some(planes), Some(runtime)) = (self.planes.take(), self.runtime.take()) else {
            return;
        };
        self.database.open();
        let platform = self.platform.clone();
        let is_checked = !std::thread::panicking() && !self.settings.is_to_be_broken;
        let url = self.root.connect_options().as_ref().clone();
        // On a thread of its own: the test's own runtime must not be blocked on.
        let stopping = std::thread::spawn(move || {
            let broken = runtime.block_on(async move {
                planes.data.drain().await;
                planes.control.stop().await;
                platform.db.close().await;
                if !is_checked {
                    return Ok(Vec::new());
                }
                let app = url.clone().options([("role", "turnpike_app")]);
                let app = PgPool::connect_with(app).await?;
                let verified = control_plane::audit::verify(&app, None).await;
                app.close().await;
                let db = PgPool::connect_with(url).await?;
                let mut broken = invariants::broken(&db).await?;
                db.close().await;
                match verified {
                    Ok(report) if report.is_sound() => (),
                    Ok(report) => broken.push(report.to_string()),
                    Err(error) => broken.push(format!("the audit log cannot be verified: {error}")),
                }
                Ok::<_, sqlx::Error>(broken)
            });
            runtime.shutdown_background();
            broken
        });
        let broken = stopping.join();
        if std::thread::panicking() {
            return;
        }
        let broken = broken.expect("the planes stop").expect("the test database answers");
        assert!(broken.is_empty(), "what always holds did not:\n{}", broken.join("\n"));
    }
}

fn control_config(
    database_url: &str,
    redis_url: &str,
    credential_key: &MasterKey,
    data: SocketAddr,
    extra: &[String],
) -> control_plane::config::Config {
    let (signing_key, _) = control_plane::tokens::generate_signing_key();
    let usual = [
        "control-plane".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        "--workers=2".to_owned(),
        "--drain-seconds=5".to_owned(),
        format!("--database-url={database_url}"),
        format!("--redis-url={redis_url}"),
        format!("--public-url={PUBLIC_URL}"),
        format!("--data-url=http://{data}"),
        format!("--master-key={}", MasterKey::generate().to_base64().expose_secret()),
        format!("--credential-key={}", credential_key.to_base64().expose_secret()),
        format!("--signing-key={}", signing_key.expose_secret()),
        "--dev".to_owned(),
    ];
    control_plane::config::Config::parse_from(usual.iter().chain(extra))
}

fn data_config(
    redis_url: &str,
    credential_key: &MasterKey,
    public_key: &str,
) -> data_plane::config::Config {
    data_plane::config::Config::parse_from([
        "data-plane".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
        "--workers=1".to_owned(),
        "--drain-seconds=5".to_owned(),
        format!("--redis-url={redis_url}"),
        format!("--dashboard-url={PUBLIC_URL}"),
        format!("--credential-key={}", credential_key.to_base64().expose_secret()),
        format!("--snapshot-public-keys={public_key}"),
        "--allow-private-upstreams".to_owned(),
    ])
}
