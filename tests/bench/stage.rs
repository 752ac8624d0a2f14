//! What the demo lacks for being measured: more keys, limits, budgets, upstreams that speak
//! other dialects than OpenAI's. Made through the verbs that people use, but for the keys, of
//! which there are too many.

use std::{error::Error, io, net::SocketAddr, time::Duration};

use clap::Args;
use control_plane::{
    access::{Actor, Origin, Work},
    audit,
    budgets::{self, NewBudget},
    config::Stores,
    egress::Egress,
    identity::{EmailAddress, people},
    keys::{self, Mode, NewApiKey, Terms},
    limits::{self, Limits},
    organizations, projects, teams,
    upstreams::{self, Declared, Draft, known_models},
};
use redis::Commands;
use secrecy::{ExposeSecret, SecretString};
use shared::{
    config::store_url,
    ids::{OrganizationId, PersonId, ProjectId},
    money::{Money, Period, Zone},
    reach::Reach,
    seal::MasterKey,
    snapshot::{BudgetScope, Caps, OnRedisLoss, OnTight, Places, Thresholds},
};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::{
    runtime::{self, Runtime},
    time::{Instant, sleep},
};
use url::Url;

/// How the stack is reached.
#[derive(Args, Clone)]
pub struct Settings {
    #[command(flatten)]
    stores: Stores,

    /// PostgreSQL as its superuser.
    #[arg(long, env = "TURNPIKE_ADMIN_DATABASE_URL", value_parser = store_url, hide_env_values = true)]
    admin_database_url: SecretString,

    /// 32 random bytes in base64 that seal provider credentials.
    #[arg(long, env = "TURNPIKE_CREDENTIAL_KEY", hide_env_values = true)]
    credential_key: MasterKey,

    /// The owner of the demo organization.
    #[arg(long, env = "TURNPIKE_OWNER_EMAIL")]
    owner_email: EmailAddress,
}

/// More than any run can use up.
const PLENTY: Limits = Limits {
    requests_per_minute: Some(i32::MAX),
    tokens_per_minute: Some(1_000_000_000_000_000),
    concurrent_requests: Some(i32::MAX),
};
/// Of the budgets that never refuse: more than any run spends.
const RICHES: Money = Money::from_nanos(1_000_000 * 1_000_000_000);
/// By how much what a call costs is followed as its budgets grow.
const HOW_MANY_BUDGETS: [usize; 3] = [1, 5, 15];
/// As long as a change may take until it is published.
const PATIENCE: Duration = Duration::from_secs(180);

type Made<T> = Result<T, Box<dyn Error>>;

pub struct Stage {
    settings: Settings,
    runtime: Runtime,
    db: PgPool,
    owner: PersonId,
}

/// Secrets of keys with limits and budgets, each in an organization of its own.
pub struct GovernedKeys {
    /// It has none.
    pub free: SecretString,
    /// It has limits on every level, and never comes near them,
    pub limited: SecretString,
    /// and hard budgets besides, so many.
    pub budgeted: [(usize, SecretString); HOW_MANY_BUDGETS.len()],
    /// It may make one call a minute.
    pub exhausted: SecretString,
    /// It may spend nothing.
    pub broke: SecretString,
}

impl GovernedKeys {
    /// The one that has all of what a customer who cares has.
    pub fn usual(&self) -> &str {
        self.budgeted[1].1.expose_secret()
    }

    /// Those whose calls budgets bear.
    pub fn with_budgets(&self) -> impl Iterator<Item = &str> {
        let budgeted = self.budgeted.iter().map(|it| &it.1);
        budgeted.chain([&self.broke]).map(ExposeSecret::expose_secret)
    }
}

impl Stage {
    pub fn new(settings: &Settings) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let begun = runtime.block_on(async {
            let db = settings.stores.database(2).await?;
            let mut conn = db.acquire().await?;
            let owner = people::verified(&mut conn, &settings.owner_email).await?;
            Made::Ok((db, owner.ok_or("the demo has no owner")?))
        });
        let (db, owner) = begun.map_err(failed)?;
        Ok(Self { settings: settings.clone(), runtime, db, owner })
    }

    /// The simulator, as two more providers whose dialects are their own.
    pub fn add_dialects(&self, simulator: SocketAddr) -> io::Result<()> {
        let sealer = self.settings.credential_key.sealer("credentials");
        let added = self.runtime.block_on(async {
            let (nobody, origin) = (Actor::System, Origin::internal());
            let mut work = Work::begin(&self.db, audit::PLATFORM, nobody, origin).await?;
            for (vendor, path) in [("anthropic", "v1"), ("gemini", "v1beta")] {
                let draft = Draft {
                    vendor: vendor.to_owned(),
                    base_url: format!("http://{simulator}/{path}"),
                    ..Draft::default()
                };
                let declared = Declared {
                    place: draft.place(&Egress::new(Reach::with_this_machine()))?,
                    secret: SecretString::from("sim-no-secret-needed"),
                    models: known_models(vendor),
                };
                upstreams::put(&mut work, &sealer, &declared).await?;
            }
            Made::Ok(work.commit().await?)
        });
        added.map_err(failed)
    }

    pub fn add_governed_keys(&self) -> io::Result<GovernedKeys> {
        self.runtime.block_on(self.governed_keys()).map_err(failed)
    }

    async fn governed_keys(&self) -> Made<GovernedKeys> {
        let one = Limits { requests_per_minute: Some(1), ..Limits::default() };
        let none = Limits::default();
        let mut budgeted = Vec::new();
        for count in HOW_MANY_BUDGETS {
            budgeted.push((count, self.governed(PLENTY, count, RICHES).await?));
        }
        Ok(GovernedKeys {
            free: self.governed(none, 0, RICHES).await?,
            limited: self.governed(PLENTY, 0, RICHES).await?,
            budgeted: budgeted.try_into().map_err(|_| "a number of budgets is missing")?,
            exhausted: self.governed(one, 0, RICHES).await?,
            broke: self.governed(none, 5, Money::ZERO).await?,
        })
    }

    /// A key that has these limits, as have its project and organization, and whose calls so
    /// many hard budgets bear.
    async fn governed(&self, limits: Limits, count: usize, cap: Money) -> Made<SecretString> {
        let mut work = self.found("Bench").await?;
        let team = teams::create(&mut work, &"bench".parse()?).await?;
        let project = projects::create(&mut work, &"bench".parse()?, Some(team)).await?;
        limits::set_of_organization(&mut work, limits).await?;
        limits::set_of_project(&mut work, project, limits).await?;
        let issued = issue(&mut work, project, limits).await?;
        let (key, team) = (BudgetScope::Key(issued.key), BudgetScope::Team(team));
        let scopes = [key, BudgetScope::Project(project), team, BudgetScope::Organization];
        let all = Period::ALL.iter().flat_map(|period| scopes.map(|scope| (scope, *period)));
        for (nth, (scope, period)) in all.take(count).enumerate() {
            let name = format!("bench {nth}").parse()?;
            let terms = budgets::Terms {
                caps: Caps { money: Some(cap), ..Caps::default() },
                is_hard: true,
                thresholds: Thresholds::try_from(vec![80, 100])?,
                on_tight: OnTight::Deny,
                on_redis_loss: OnRedisLoss::Closed,
                alert_roles: budgets::ALERTED.to_vec(),
            };
            let new = NewBudget { name, scope, period, zone: Zone::UTC, terms };
            budgets::create(&mut work, &new).await?;
        }
        work.commit().await?;
        Ok(issued.secret)
    }

    async fn found(&self, name: &str) -> Made<Work> {
        let email = self.settings.owner_email.to_string();
        let owner = Actor::Person { id: self.owner, email };
        let organization = OrganizationId::generate();
        let mut work = Work::begin(&self.db, organization, owner, Origin::internal()).await?;
        organizations::found(&mut work, &name.parse()?).await?;
        Ok(work)
    }

    /// Brings the installation to so many keys: a proxy that knows three costs less than
    /// one that knows many.
    pub fn bring_to(&self, keys: u32) -> io::Result<()> {
        let made = self.runtime.block_on(async {
            let mut root = self.root().await?;
            let make = sqlx::query_scalar::<_, i64>(include_str!("keys.sql"));
            make.bind(i64::from(keys)).fetch_one(&mut root).await?;
            Made::Ok(root.close().await?)
        });
        made.map_err(failed)
    }

    /// Waits until everything that was committed is in Redis, and says as which revision.
    pub fn published(&self) -> io::Result<i64> {
        self.runtime.block_on(self.newest()).map_err(failed)
    }

    async fn newest(&self) -> Made<i64> {
        let (began, mut root, mut redis) = (Instant::now(), self.root().await?, self.redis()?);
        loop {
            let (is_left, newest): (bool, Option<i64>) = sqlx::query_as(
                "SELECT EXISTS (SELECT FROM config_outbox),
                        (SELECT max(revision) FROM config_revisions)",
            )
            .fetch_one(&mut root)
            .await?;
            let there: Option<i64> = redis.hget(Places::default().head(), "revision")?;
            if let Some(newest) = newest.filter(|it| !is_left && there == Some(*it)) {
                return Ok(newest);
            }
            if began.elapsed() > PATIENCE {
                return Err("the control plane does not publish".into());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Puts what is published now into another database of Redis, where it stays as it is,
    /// and returns the address of that.
    pub fn freeze(&self, database: u8) -> io::Result<SecretString> {
        let copied = || {
            let mut redis = self.redis()?;
            let head = Places::default().head();
            let all = format!("{}*", head.trim_end_matches("head"));
            let keys: Vec<String> = redis.scan_match(all)?.collect::<Result<_, _>>()?;
            for key in keys {
                let mut copy = redis::cmd("COPY");
                copy.arg(&key).arg(&key).arg("DB").arg(database).arg("REPLACE");
                copy.exec(&mut redis)?;
            }
            let mut there: Url = self.redis_url().expose_secret().parse()?;
            there.set_path(&database.to_string());
            Made::Ok(there.to_string().into())
        };
        copied().map_err(failed)
    }

    pub fn redis_url(&self) -> &SecretString {
        &self.settings.stores.redis_url
    }

    fn redis(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(self.redis_url().expose_secret())?.get_connection()
    }

    async fn root(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect(self.settings.admin_database_url.expose_secret()).await
    }
}

async fn issue(work: &mut Work, project: ProjectId, limits: Limits) -> Made<keys::Issued> {
    let mut terms = Terms::named("bench".parse()?);
    terms.requests_per_minute = limits.requests_per_minute;
    terms.tokens_per_minute = limits.tokens_per_minute;
    terms.concurrent_requests = limits.concurrent_requests;
    let key = NewApiKey { project: Some(project), mode: Mode::Live, owner: None, terms };
    Ok(keys::issue(work, &key, None).await?)
}

fn failed(error: Box<dyn Error>) -> io::Error {
    io::Error::other(error.to_string())
}
