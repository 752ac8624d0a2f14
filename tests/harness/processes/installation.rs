//! All of them together, made in an order that leaves nothing to chance: a proxy starts
//! when what it has to serve is published, and has it on its disk before a test begins.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use http::StatusCode;
use redis::AsyncCommands;
use reqwest::Client;
use serde_json::{Value, json};
use shared::{
    counters::Shard,
    ids::OrganizationId,
    snapshot::Places,
    wire::{Address, Patience, Wire},
};
use sqlx::PgPool;

use super::{
    clocks::Clocks,
    cluster::RedisCluster,
    home::{Home, variables},
    ports::Ports,
    process::Process,
};
use crate::{Browser, Person, invariants, relay::Relay, secret_on, sign_in, wait::eventually};

pub struct Installation {
    pub control: Process,
    pub proxies: Vec<Process>,
    pub simulator: Process,
    pub postgres: Process,
    pub redis: Process,
    /// Instead of that Redis, where it was started so.
    pub cluster: Option<RedisCluster>,
    /// Calls what it likes.
    pub free_key: String,
    /// Has limits of every kind, so high that nothing here reaches them.
    pub limited_key: String,
    /// The owner of an organization that has no budgets: hard ones stop calls where nobody
    /// can count them.
    pub owner: Person,
    /// What proxies go through to Redis, where they were to.
    pub relay: Option<Relay>,
    /// What moves clocks, where that was wanted: each proxy has one of its own, by its name.
    pub clocks: Option<Clocks>,
    spare_ports: [u16; 2],
    ours: Vec<(String, String)>,
    stack: HashMap<String, String>,
    metrics: Vec<u16>,
    client: Client,
    home: Home,
    _ports: Ports,
}

/// What there is of it.
#[derive(Clone, Debug)]
pub struct Extent {
    /// At most four.
    pub proxies: usize,
    /// Whether proxies reach Redis through a relay.
    pub relayed: bool,
    /// Whether all of it uses a Redis Cluster instead.
    pub on_cluster: bool,
    /// The library that clocks are moved by, where they are to be moved, and how many milliseconds
    /// they are ahead to begin with.
    pub clocks: Option<(PathBuf, i64)>,
}

impl Extent {
    pub const USUAL: Self = Self { proxies: 2, relayed: false, on_cluster: false, clocks: None };
}

const DRILLED: &str = "Drilled";
const NAMES: [&str; 4] = ["proxy-1", "proxy-2", "proxy-3", "proxy-4"];

/// What a key is made with, as it is typed.
pub type NewKey<'a> = &'a [(&'a str, &'a str)];

impl Installation {
    /// The demo, running; `None` where the programs are not built, which is said.
    ///
    /// # Panics
    /// If anything does not start: a test cannot go on then.
    pub async fn start(name: &str) -> Option<Self> {
        Self::with(name, Extent::USUAL).await
    }

    /// The same, as large as it is wanted.
    ///
    /// # Panics
    /// If anything does not start.
    pub async fn with(name: &str, extent: Extent) -> Option<Self> {
        let home = Home::make(name)?;
        let ports = Ports::claim();
        let [control, simulator, postgres, redis, spare, another, serving @ ..]: [u16; 14] =
            ports.get();
        let (serving, metrics) = serving.split_at(NAMES.len());
        let clocks = extent.clocks.as_ref().map(|(it, ms)| Clocks::new(&home.path, it, *ms));
        let clock = clocks.as_ref().map(Clocks::of_all).into_iter().flatten();
        let clock: Vec<_> = clock.collect();
        let first = serving[0];
        home.write("ports.env", &format!("postgres={postgres}\nredis={redis}\n"));
        let server = |names, port| Process::server(&home, names, port, clock.clone());
        let postgres = server(("postgres", "TURNPIKE_POSTGRES_PID"), postgres);
        let redis = server(("redis", "TURNPIKE_REDIS_PID"), redis);
        let mut stack = variables(&home.path.join("stack.env"));
        let cluster = extent.on_cluster.then(|| RedisCluster::start(&home.path));
        if let Some(cluster) = &cluster {
            stack.insert("TURNPIKE_REDIS_URL".into(), cluster.address.clone());
        }
        let relay = match extent.relayed {
            true => Some(Relay::start(redis.address).await),
            false => None,
        };
        home.run("turnpike", &["secrets", &home.path.join("secrets.env").to_string_lossy()], &[]);
        let secrets = variables(&home.path.join("secrets.env"));

        let mut ours = environment(&secrets, &stack, [control, first, simulator]);
        ours.extend(clock);
        let at = |port: u16, more: &[(&str, String)]| {
            let listen = [("TURNPIKE_LISTEN", format!("127.0.0.1:{port}"))];
            let more = listen.iter().chain(more).map(|(name, it)| ((*name).to_owned(), it.clone()));
            ours.iter().cloned().chain(more).collect::<Vec<_>>()
        };
        home.run("turnpike", &["migrate"], &ours);
        home.run("turnpike", &["demo"], &at(control, &[]));
        let listens = ("TURNPIKE_SIMULATOR_LISTEN".to_owned(), format!("127.0.0.1:{simulator}"));
        let workers = ("TURNPIKE_SIMULATOR_WORKERS".to_owned(), "1".to_owned());
        let mut simulator = Process::program(
            &home,
            ("simulator", "provider-simulator"),
            simulator,
            vec![listens, workers],
        );
        simulator.start().await;
        let mut control =
            Process::program(&home, ("control", "control-plane"), control, at(control, &[]));
        control.start().await;

        let proxy = |((name, port), metrics): ((&'static str, &u16), &u16)| {
            let state = home.path.join(name).to_string_lossy().into_owned();
            let mut more = vec![
                ("TURNPIKE_PROXY_NAME", name.to_owned()),
                ("TURNPIKE_STATE_DIR", state),
                ("TURNPIKE_METRICS_LISTEN", format!("127.0.0.1:{metrics}")),
            ];
            if let Some(relay) = &relay {
                let url = stack["TURNPIKE_REDIS_URL"]
                    .replace(&redis.address.to_string(), &relay.address.to_string());
                more.push(("TURNPIKE_REDIS_URL", url));
            }
            if let Some([_, (_, own)]) = clocks.as_ref().map(|it| it.environment(name)) {
                more.push(("TURNPIKE_CLOCK", own));
            }
            Process::program(&home, (name, "data-plane"), *port, at(*port, &more))
        };
        let all = NAMES.into_iter().zip(serving).zip(metrics).take(extent.proxies);
        let proxies: Vec<_> = all.map(proxy).collect();
        let metrics = metrics.iter().copied().take(proxies.len()).collect();

        let mut browser = Browser::new(control.url(""));
        let (email, password) =
            (&secrets["TURNPIKE_OWNER_EMAIL"], &secrets["TURNPIKE_OWNER_PASSWORD"]);
        let answer = sign_in(&mut browser, email, password).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        let answer = browser.fill("/orgs/new", "/orgs", &[("name", DRILLED)]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        let slug = DRILLED.to_lowercase();
        let owner = Person { browser, email: email.clone(), password: password.clone(), slug };
        let client = Client::builder().no_proxy().pool_max_idle_per_host(0).build();
        let mut installation = Self {
            control,
            proxies,
            simulator,
            postgres,
            redis,
            cluster,
            free_key: String::new(),
            limited_key: String::new(),
            owner,
            relay,
            clocks,
            spare_ports: [spare, another],
            ours,
            stack,
            metrics,
            client: client.expect("a client needs nothing from this machine"),
            home,
            _ports: ports,
        };
        installation.furnish().await;
        Some(installation)
    }

    async fn furnish(&mut self) {
        self.free_key = self.make_key("free", &[]).await;
        self.limited_key = self.make_key("limited", LIMITED).await;
        self.published().await;
        for proxy in &mut self.proxies {
            proxy.start().await;
        }
        for at in 0..self.proxies.len() {
            let copy = self.home.path.join(self.proxies[at].name).join("snapshot");
            eventually("a copy on the disk", || async { copy.exists().then_some(()) }).await;
            self.limits_are(at, "shared").await;
            let proxies = self.proxies.len().to_string();
            self.metric_is(at, "turnpike_limits_proxies", &proxies).await;
        }
    }

    /// Makes the simulator's model of that name behave so: see its module `control`.
    pub async fn set_profile(&self, model: &str, profile: Value) {
        let mut profile = profile;
        profile["model"] = json!(model);
        let url = self.simulator.url("/__control/profiles");
        let answer = self.client.post(url).json(&profile).send().await;
        assert!(answer.is_ok_and(|it| it.status().is_success()), "the simulator takes a profile");
    }

    /// Makes a key as the owner does, and gives its secret. Nobody serves it yet.
    pub async fn make_key(&mut self, name: &str, terms: NewKey<'_>) -> String {
        let (page, action) = (self.owner.path("/keys/new"), self.owner.path("/keys"));
        let typed: Vec<_> = [("name", name)].iter().chain(terms).copied().collect();
        secret_on(&self.owner.browser.fill(&page, &action, &typed).await)
    }

    /// Waits until every proxy serves everything that was committed before.
    pub async fn served(&self) {
        let newest = self.published().await;
        for proxy in &self.proxies {
            eventually(&format!("{} to serve it", proxy.name), || async {
                let (_, said) = self.readiness(proxy).await?;
                let said: Value = serde_json::from_str(&said).ok()?;
                said["revision"].as_i64().filter(|it| *it >= newest)
            })
            .await;
        }
    }

    /// Waits until Redis holds everything that was committed before: up to which revision.
    pub async fn published(&self) -> i64 {
        let db = self.database().await;
        let redis = self.redis().await;
        let newest = eventually("everything to be published", || {
            let mut redis = redis.clone();
            let newest = sqlx::query_as(
                "SELECT EXISTS (SELECT FROM config_outbox), max(revision) FROM config_revisions",
            );
            let newest = newest.fetch_one(&db);
            async move {
                let there: Option<i64> =
                    redis.hget(Places::default().head(), "revision").await.ok();
                let (is_left, newest): (bool, Option<i64>) =
                    newest.await.expect("the database answers");
                newest.filter(|it| !is_left && there.is_some_and(|there| there >= *it))
            }
        });
        let newest = newest.await;
        db.close().await;
        newest
    }

    /// Waits until a new key opens every proxy: the whole way of a change works.
    pub async fn takes_changes(&mut self) {
        self.control_is(StatusCode::OK).await;
        let key = self.make_key("after the drill", &[]).await;
        for at in 0..self.proxies.len() {
            eventually("a new key to open a proxy", || async {
                (self.call(at, &key).await == Some(StatusCode::OK)).then_some(())
            })
            .await;
        }
    }

    /// A small call to a proxy; `None` where it cannot be reached.
    pub async fn call(&self, at: usize, key: &str) -> Option<StatusCode> {
        let call =
            json!({ "model": "sim-small", "messages": [{ "role": "user", "content": "?" }] });
        let url = self.proxies[at].url("/v1/chat/completions");
        let answer = self.client.post(url).bearer_auth(key).json(&call).send().await.ok()?;
        Some(answer.status())
    }

    /// Waits until the control plane says so of its readiness.
    pub async fn control_is(&self, status: StatusCode) {
        eventually(&format!("the control plane's readiness to be {status}"), || async {
            (self.readiness(&self.control).await?.0 == status).then_some(())
        })
        .await;
    }

    /// Waits until a proxy says that limits are `shared`, or given out in `local` shares.
    pub async fn limits_are(&self, at: usize, state: &str) {
        eventually(&format!("the limits of a proxy to be {state}"), || async {
            let (_, said) = self.readiness(&self.proxies[at]).await?;
            let said: Value = serde_json::from_str(&said).ok()?;
            (said["limits"] == state).then_some(())
        })
        .await;
    }

    /// What a process answers when it is asked whether it is ready; `None` where nobody
    /// answers.
    pub async fn readiness(&self, process: &Process) -> Option<(StatusCode, String)> {
        let answer = self.client.get(process.url("/readyz")).send().await.ok()?;
        Some((answer.status(), answer.text().await.ok()?))
    }

    pub async fn metric_is(&self, at: usize, name: &str, value: &str) {
        let line = format!("{name} {value}");
        let url = format!("http://127.0.0.1:{}/metrics", self.metrics[at]);
        eventually(&line, || async {
            let text = self.client.get(&url).send().await.ok()?.text().await.ok()?;
            text.lines().any(|it| it == line).then_some(())
        })
        .await;
    }

    pub async fn redis(&self) -> Wire {
        let address: Address = self.setting("TURNPIKE_REDIS_URL").parse().expect("it is valid");
        let patience = Patience { connect: Duration::from_secs(5), answer: Duration::from_secs(5) };
        address.connect(patience).await.expect("Redis can be reached")
    }

    /// Where the counters of the owner's organization are.
    pub async fn shard_of_owner(&self) -> Shard {
        let db = self.database().await;
        let id = sqlx::query_scalar("SELECT id FROM organizations WHERE slug = $1");
        let id = id.bind(&self.owner.slug).fetch_one(&db).await.expect("it is there");
        db.close().await;
        Shard::of(OrganizationId::from_uuid(id))
    }

    /// As the superuser: to look, never to act.
    pub async fn database(&self) -> PgPool {
        PgPool::connect(self.setting("TURNPIKE_ADMIN_DATABASE_URL")).await.expect("it answers")
    }

    /// Runs one of our programs to its end.
    ///
    /// # Panics
    /// If it fails, with what it said.
    pub fn run(&self, program: &str, words: &[&str]) -> String {
        self.home.run(program, words, &self.ours)
    }

    /// Where Redis has its files.
    pub fn redis_files(&self) -> PathBuf {
        self.home.path.join("data/redis")
    }

    /// Where everything has its files.
    pub fn home(&self) -> &Path {
        &self.home.path
    }

    /// Another process of the proxy at that place: started with the same settings, and with the
    /// same name and directory, but listening elsewhere. Only one at a time.
    pub fn twin_of(&self, at: usize) -> Process {
        self.proxies[at].twin("twin", self.spare_ports)
    }

    pub fn setting(&self, name: &str) -> &str {
        self.stack.get(name).unwrap_or_else(|| panic!("stack.env has no {name}"))
    }

    /// The end of a test: checks what holds whatever was done. All of it has to run.
    pub async fn finish(mut self) {
        self.published().await;
        self.home.run("turnpike", &["audit", "verify"], &self.ours);
        self.home.run("turnpike", &["snapshots", "verify"], &self.ours);
        let db = self.database().await;
        let broken = invariants::broken(&db).await.expect("the database answers");
        db.close().await;
        assert!(broken.is_empty(), "what always holds did not:\n{}", broken.join("\n"));
        for process in self.processes() {
            assert!(process.is_alive(), "{} ended by itself", process.name);
            let said = process.said();
            assert!(!said.contains("panicked at"), "{} panicked:\n{said}", process.name);
        }
        // Killed by the keeper otherwise, which is no way for a test that passed.
        let ours = [&mut self.control, &mut self.simulator];
        for process in ours.into_iter().chain(&mut self.proxies) {
            process.terminate();
            let ended = process.ended().await;
            assert!(ended.success(), "{} ended with {ended}", process.name);
        }
    }

    fn processes(&self) -> Vec<&Process> {
        let others = [&self.control, &self.simulator, &self.postgres, &self.redis];
        others.into_iter().chain(&self.proxies).collect()
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for process in self.processes() {
                let words = process.last_words();
                if !words.is_empty() {
                    eprintln!("-- the last words of {}:\n{words}", process.name);
                }
            }
        }
    }
}

const LIMITED: NewKey = &[
    ("requests_per_minute", "1000000"),
    ("tokens_per_minute", "1000000000"),
    ("concurrent_requests", "1000"),
];

/// What each of our programs is given, beside where it listens.
fn environment(
    secrets: &HashMap<String, String>,
    stack: &HashMap<String, String>,
    [control, data, simulator]: [u16; 3],
) -> Vec<(String, String)> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let settings = [
        ("TURNPIKE_PUBLIC_URL", url(control)),
        ("TURNPIKE_DASHBOARD_URL", url(control)),
        ("TURNPIKE_DATA_URL", url(data)),
        ("TURNPIKE_SIMULATOR_URL", url(simulator)),
        ("TURNPIKE_DEV", "1".to_owned()),
        ("TURNPIKE_ALLOW_PRIVATE_UPSTREAMS", "1".to_owned()),
        ("TURNPIKE_WORKERS", "2".to_owned()),
        // Longer than any test waits: no stream is told that it lasts too long.
        ("TURNPIKE_DRAIN_SECONDS", "120".to_owned()),
    ];
    let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value));
    let is_store = |name: &str| name.ends_with("DATABASE_URL") || name.ends_with("REDIS_URL");
    let stores = stack.iter().filter(|(name, _)| is_store(name));
    let given = secrets.iter().chain(stores).map(|(name, value)| (name.clone(), value.clone()));
    given.chain(settings).collect()
}
