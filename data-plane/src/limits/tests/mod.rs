//! Against a real Redis: TURNPIKE_TEST_REDIS_URL, or the one that
//! `infra/stack.sh start .run/test` started.

mod ends;
mod exact;
mod model;
mod outage;
mod places;
mod repeats;
mod rounds;
mod together;
mod valve;

use std::{net::SocketAddr, time::Duration};

use redis::AsyncCommands;
use secrecy::ExposeSecret;
use shared::{
    counters::{Epoch, Shard},
    ids::{ApiKeyId, OrganizationId, ProjectId, RequestId},
    snapshot::Limits,
    wire::{Address, Patience, Wire},
};
use url::Url;

use super::*;
use crate::metrics::Metrics;

const NONE: Limits =
    Limits { requests_per_minute: None, tokens_per_minute: None, concurrent: None };

/// An organization of its own, and a clock that only the test moves.
#[derive(Clone)]
struct Fixture {
    redis: Wire,
    url: SecretString,
    name: String,
    organization: OrganizationId,
    project: ProjectId,
    key: ApiKeyId,
}

/// The limits of a call's key, project and organization.
#[derive(Clone, Copy)]
struct Three {
    key: Limits,
    project: Limits,
    organization: Limits,
}

fn requests(limit: u32) -> Limits {
    Limits { requests_per_minute: Some(limit), ..NONE }
}

fn tokens(limit: u64) -> Limits {
    Limits { tokens_per_minute: Some(limit), ..NONE }
}

fn concurrent(limit: u32) -> Limits {
    Limits { concurrent: Some(limit), ..NONE }
}

fn on_key(key: Limits) -> Three {
    Three { key, project: NONE, organization: NONE }
}

pub(crate) fn redis_url() -> SecretString {
    const NAME: &str = "TURNPIKE_TEST_REDIS_URL";
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.run/test/stack.env");
    let named = std::env::var(NAME).ok().or_else(|| {
        let file = std::fs::read_to_string(FILE).ok()?;
        let line = file.lines().find_map(|it| it.strip_prefix(NAME)?.strip_prefix('='));
        line.map(str::to_owned)
    });
    named.expect("a Redis for tests: infra/stack.sh start .run/test").into()
}

pub(crate) async fn redis(url: &SecretString) -> Wire {
    let patience = Duration::from_secs(10);
    let patience = Patience { connect: patience, answer: patience };
    url.expose_secret().parse::<Address>().unwrap().connect(patience).await.unwrap()
}

/// What the names of one test begin with: in a cluster all of them are in one slot, for the
/// clock of the test is asked by every script.
pub(crate) fn name_in(shard: Shard) -> String {
    format!("test:{shard}:{}", RequestId::generate())
}

/// Awaits what has to come about at once. Fails where it would hang.
async fn soon<F: Future>(what: F) -> F::Output {
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, what).await.expect("it has to come about soon")
}

impl Fixture {
    async fn new() -> Self {
        let url = redis_url();
        let organization = OrganizationId::generate();
        let mut fixture = Self {
            redis: redis(&url).await,
            url,
            name: name_in(Shard::of(organization)),
            organization,
            project: ProjectId::generate(),
            key: ApiKeyId::generate(),
        };
        fixture.set_clock(1_000_000_000_000).await;
        fixture
    }

    async fn set_clock(&mut self, milliseconds: u64) {
        let () =
            self.redis.set_ex(format!("{}:clock", self.name), milliseconds, 600).await.unwrap();
    }

    async fn now(&mut self) -> u64 {
        self.redis.get(format!("{}:clock", self.name)).await.unwrap()
    }

    async fn pass(&mut self, milliseconds: u64) {
        let now = self.now().await;
        self.set_clock(now + milliseconds).await;
    }

    /// The real ones, but for the clock. As that does not run, nothing expires by itself.
    fn scripts(&self) -> Scripts {
        self.scripts_at(self.counters())
    }

    fn scripts_at(&self, places: Places) -> Scripts {
        let clock = format!(
            "local server = redis
             local redis = {{ call = function(name, key, ...)
               if name == 'PEXPIRE' then return server.call(name, key, 600000) end
               if name == 'SET' then return server.call(name, key, (...), 'PX', 600000) end
               return server.call(name, key, ...)
             end }}
             local function clock() return tonumber(server.call('GET', '{}:clock')) end\n",
            self.name
        );
        Scripts::with(&clock, PLACE_LIFE, places)
    }

    /// With more patience than a proxy has: a busy machine is no outage.
    fn place(&self) -> Place {
        let (fleet, patience) = (format!("{}:fleet", self.name), Duration::from_secs(10));
        let (redis_url, counters) = (self.url.clone(), self.counters());
        // The clock of a test may pass while hardly any time does.
        let repeat = Duration::ZERO;
        Place { redis_url, fleet, assumed_proxies: 1, patience, repeat, counters }
    }

    fn counters(&self) -> Places {
        Places::with_prefix(&format!("{}:", self.name))
    }

    /// On the clock of the test.
    async fn proxy(&self) -> Arc<Limiter> {
        self.proxy_with(Settling::new()).await
    }

    async fn proxy_with(&self, settling: Settling) -> Arc<Limiter> {
        connected(Limiter::with(self.place(), metrics(), self.scripts(), settling).unwrap()).await
    }

    /// One that repeats refusals for longer than any test takes.
    async fn repeating_proxy(&self) -> Arc<Limiter> {
        let place = Place { repeat: Duration::from_secs(3_600), ..self.place() };
        Limiter::for_tests(place, metrics(), self.scripts()).await.unwrap()
    }

    /// On the clock of Redis.
    async fn real_proxy(&self) -> Arc<Limiter> {
        connected(Limiter::new(self.place(), metrics()).unwrap()).await
    }

    fn asked<'a>(&self, limits: &'a Three, tokens: u64) -> Asked<'a> {
        Asked {
            organization: self.organization,
            project: self.project,
            key: self.key,
            key_limits: &limits.key,
            project_limits: &limits.project,
            organization_limits: &limits.organization,
            tokens,
        }
    }

    async fn admit(
        &self,
        proxy: &Arc<Limiter>,
        limits: Three,
        tokens: u64,
    ) -> Result<Permit, LimitReached> {
        soon(through(proxy, self.asked(&limits, tokens))).await
    }

    /// What is used of the key's limits, by the clock of the test: requests and tokens.
    async fn used(&self, proxy: &Arc<Limiter>, limits: Limits) -> (u64, u64) {
        let nothing = Limits { requests_per_minute: Some(0), ..limits };
        let charges = self.asked(&on_key(nothing), 0).charges();
        // A limit of no requests refuses and shows what is used of the rest.
        let decision = soon(decided(proxy, self.organization, &charges, None)).await.unwrap();
        let level = decision.levels[0];
        (level.requests.0 / gcra::MINUTE, level.tokens.0 / gcra::MINUTE)
    }

    /// The names of everything that Redis keeps of the organization.
    async fn kept(&mut self) -> Vec<String> {
        let shard = Shard::of(self.organization);
        let pattern = format!("rl:{shard}:{}:*", self.organization);
        redis::cmd("KEYS").arg(pattern).query_async(&mut self.redis).await.unwrap()
    }
}

/// A call that no budget bears.
fn unbudgeted(organization: OrganizationId, key: ApiKeyId) -> Question<'static> {
    let (shard, call) = (Shard::of(organization), RequestId::generate());
    Question { shard, epoch: Epoch(1), call, key, budgets: &[] }
}

async fn through(proxy: &Arc<Limiter>, asked: Asked<'_>) -> Result<Permit, LimitReached> {
    match proxy.admit(asked, &unbudgeted(asked.organization, asked.key)).await? {
        Let::Through(permit, _) | Let::Alone(permit) => Ok(permit),
        Let::Not(decision) => panic!("{decision:?}"),
    }
}

async fn decided(
    proxy: &Arc<Limiter>,
    organization: OrganizationId,
    charges: &[Charge],
    lease: Option<Lease>,
) -> Option<Decision> {
    let question = unbudgeted(organization, ApiKeyId::generate());
    let (decision, of) = proxy.decide(charges.to_vec(), lease, &question).await?;
    assert_eq!(of, charges);
    Some(decision)
}

/// What calls ask together that only budgets bear.
pub(crate) fn asked_of_budgets(scripts: &Scripts, questions: &[Question<'_>]) -> Cmd {
    let leases = Leases::new();
    let asking = |it: &Question<'_>| Asking::new(it, (Vec::new(), None), &leases);
    let all: Vec<_> = questions.iter().map(asking).collect();
    let target = (questions[0].shard, questions[0].epoch);
    scripts.admit(target, &all.iter().collect::<Vec<_>>())
}

/// What is answered to that.
pub(crate) async fn answered(redis: &mut Wire, ask: &Cmd) -> Vec<Decision> {
    let answers: Vec<Vec<u8>> = ask.query_async(redis).await.unwrap();
    answers.iter().map(|it| Decision::read(it, 0).unwrap()).collect()
}

fn metrics() -> Arc<LimitMetrics> {
    Metrics::new().unwrap().limits.clone()
}

pub(super) async fn connected(proxy: Arc<Limiter>) -> Arc<Limiter> {
    soon(async {
        while proxy.state() == State::Local {
            let Ok(()) = proxy.clone().beat().await;
        }
    })
    .await;
    proxy
}

fn address(url: &SecretString) -> SocketAddr {
    let url = Url::parse(url.expose_secret()).unwrap();
    url.socket_addrs(|| Some(6379)).unwrap()[0]
}
