//! A proxy's settlements, and what takes them: what tests of the meter stand on.

use redis::AsyncCommands;
use shared::{
    counters::{
        Amounts, Counted, Counter, Epoch, Hold, Opening, Places, Scripts, Settled, Settlement,
        Shard, Terms,
    },
    event::{Event, FIELD, Line, SettlementId, UsageSource},
    ids::{ApiKeyId, BudgetId, CredentialId, OrganizationId, ProjectId, UpstreamId},
    money::{Period, Pico, Zone},
    random,
    snapshot::{Budget, BudgetScope, Caps, OnRedisLoss, OnTight, Thresholds},
    usage::Usage,
};
use sqlx::PgPool;
use time::OffsetDateTime;

use super::Fixture;
use crate::{
    counters::Keeper,
    reconciliation::{self, Extent, Report},
    requests::{self, Ingester},
};

pub const EPOCH: Epoch = Epoch(0xfedc_ba98_7654_3210);

/// Keys in Redis of this test alone, for Redis is shared.
pub struct Meter {
    pub fixture: Fixture,
    pub scripts: Scripts,
    pub redis: shared::wire::Connection,
    pub project: ProjectId,
    pub key: ApiKeyId,
    /// Two budgets that every call counts on.
    pub budgets: [BudgetId; 2],
}

impl Meter {
    pub async fn new(root: PgPool) -> Self {
        let fixture = Fixture::new(root).await;
        let places = Places::with_prefix(&format!("test:{}:", random::base62(12)));
        let redis = fixture.platform.redis.get().await.unwrap();
        let mut meter = Self {
            scripts: Scripts::new(places),
            redis,
            project: ProjectId::generate(),
            key: ApiKeyId::generate(),
            budgets: [BudgetId::generate(), BudgetId::generate()],
            fixture,
        };
        sqlx::query("INSERT INTO projects (organization_id, id, name) VALUES ($1, $2, 'bot')")
            .bind(meter.organization())
            .bind(meter.project)
            .execute(&meter.fixture.root)
            .await
            .unwrap();
        meter.keeper().heal().await.unwrap();
        meter.put_terms().await;
        meter
    }

    /// Puts the budgets' terms in force, and begins the window that lasts for ever.
    async fn put_terms(&mut self) {
        for id in self.budgets {
            let budget = Budget {
                id,
                organization: self.organization(),
                name: "all".into(),
                scope: BudgetScope::Organization,
                period: Period::Total,
                zone: Zone::UTC,
                caps: Caps { requests: Some(1_000_000), ..Caps::default() },
                raise: None,
                is_hard: true,
                thresholds: Thresholds::default(),
                on_tight: OnTight::Deny,
                on_redis_loss: OnRedisLoss::Closed,
                version: 1,
                raised_by: String::new(),
            };
            let opening = Opening { from_ms: 0, until_ms: i64::MAX, spent: Amounts::default() };
            let terms = Terms { budget: &budget, opening: Some(opening) };
            let ask = self.scripts.set_terms(self.shard(), terms);
            let _: i64 = ask.query_async(&mut self.redis).await.unwrap();
        }
    }

    pub fn organization(&self) -> OrganizationId {
        self.fixture.ours.id
    }

    pub fn shard(&self) -> Shard {
        Shard::of(self.organization())
    }

    pub fn places(&self) -> Places {
        self.scripts.places.clone()
    }

    pub fn keeper(&self) -> Keeper {
        Keeper::new(self.fixture.platform.clone(), self.places())
    }

    pub fn ingester(&self) -> Ingester {
        Ingester::new(self.fixture.platform.clone(), self.places(), 30)
    }

    pub async fn ingest(&self) {
        self.ingester().take_all().await.unwrap();
    }

    pub async fn compare(&self) -> Report {
        let platform = &self.fixture.platform;
        reconciliation::compare(&platform.db, &platform.redis, &self.places(), Extent::All)
            .await
            .unwrap()
    }

    /// A call of ours that was answered for so many pico-dollars, a moment ago.
    pub fn settled(&self, number: u64, picos: i64) -> Event {
        let now = OffsetDateTime::now_utc();
        self.settled_at(now, number, picos)
    }

    pub fn settled_at(&self, at: OffsetDateTime, number: u64, picos: i64) -> Event {
        let cost = Pico::from_picos(picos).to_money();
        let usage = Usage { input: 1_000, cached_input: 200, output: 30, ..Usage::default() };
        let line = Line {
            model: "gpt-5".into(),
            upstream: UpstreamId::generate(),
            provider: "openai".into(),
            credential: CredentialId::generate(),
            usage,
            source: UsageSource::Upstream,
            service_tier: None,
            price: Some(3),
            cost: Pico::from_picos(picos),
        };
        let amounts = Amounts { money: cost.nanos(), requests: 1, tokens: 1_230 };
        let counted = |budget| Counted { budget, window: 0, amounts };
        let event = requests::tests::event(self.organization(), self.project, self.key);
        Event {
            settlement: Some(SettlementId { epoch: EPOCH, number }),
            billed_at_ms: i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap(),
            lines: vec![line],
            usage,
            cost,
            counted: self.budgets.map(counted).into(),
            ..event
        }
    }

    /// As a proxy does. Says how far its settlements are counted.
    pub async fn settle(&mut self, event: &Event) -> u64 {
        let (call, bytes) = (event.request.uuid().simple().to_string(), event.encode());
        let settlement = Settlement {
            number: event.settlement.unwrap().number,
            call: &call,
            event: &bytes,
            held: &[],
            counted: &event.counted,
        };
        let epoch = event.settlement.unwrap().epoch;
        let ask = self.scripts.settle(self.shard(), epoch, &[settlement]);
        Settled::read(ask.query_async(&mut self.redis).await.unwrap()).unwrap().last
    }

    /// Settles calls of those numbers, each dearer than the one before.
    pub async fn settle_all(&mut self, numbers: std::ops::RangeInclusive<u64>) -> Vec<Event> {
        let mut events = Vec::new();
        for number in numbers {
            let picos = i64::try_from(number).unwrap() * 1_000_001;
            let event = self.settled(number, picos);
            assert_eq!(self.settle(&event).await, number);
            events.push(event);
        }
        events
    }

    /// Holds something for a call, as a proxy does that says what it holds.
    pub async fn hold(&mut self, event: &Event, money: i64) {
        let amounts = Amounts { money, requests: 1, tokens: 2_000 };
        let held = self.budgets.map(|budget| Hold { budget, window: 0, amounts });
        let call = event.request.uuid().simple().to_string();
        let ask = self.scripts.register(self.shard(), EPOCH, &call, &held);
        let _: String = ask.query_async(&mut self.redis).await.unwrap();
    }

    /// Puts an event into its stream that no settlement wrote.
    pub async fn tell(&mut self, event: &Event) {
        let stream = self.places().events(Shard::of(event.organization));
        let () = redis::cmd("XADD")
            .arg((stream, "*", FIELD, event.encode()))
            .query_async(&mut self.redis)
            .await
            .unwrap();
    }

    pub async fn waiting(&mut self) -> u64 {
        let stream = self.places().events(self.shard());
        redis::cmd("XLEN").arg(stream).query_async(&mut self.redis).await.unwrap()
    }

    /// How far proxies were told that their events are in the database.
    pub async fn durable(&mut self) -> u64 {
        let place = self.places().durable(self.shard());
        let last: Option<u64> = self.redis.hget(place, EPOCH.to_string()).await.unwrap();
        last.unwrap_or_default()
    }

    pub async fn counter(&mut self, budget: BudgetId) -> Counter {
        let ask = self.scripts.budget(self.shard(), budget);
        let kept: Vec<u8> = ask.query_async(&mut self.redis).await.unwrap();
        Counter::read(&kept)
    }

    /// What is spent of the first budget, and what is held of it, in money.
    pub async fn money(&mut self) -> (i64, i64) {
        let window = self.counter(self.budgets[0]).await.window.unwrap_or_default();
        (window.spent.money, window.held.money)
    }

    /// Every key of this test, as it is.
    pub async fn dump(&mut self) -> Vec<(String, Vec<u8>)> {
        let pattern = format!("{}*", self.prefix());
        let keys: Vec<String> = self.redis.keys(pattern).await.unwrap();
        let mut kept = Vec::new();
        for key in keys {
            let value = redis::cmd("DUMP").arg(&key).query_async(&mut self.redis).await.unwrap();
            kept.push((key, value));
        }
        kept
    }

    pub async fn flush(&mut self) {
        for (key, _) in self.dump().await {
            let () = self.redis.del(key).await.unwrap();
        }
    }

    /// As a store does that starts from an older file.
    pub async fn rewind(&mut self, to: &[(String, Vec<u8>)]) {
        self.flush().await;
        for (key, value) in to {
            let mut restore = redis::cmd("RESTORE");
            restore.arg(key).arg(0).arg(value);
            let () = restore.query_async(&mut self.redis).await.unwrap();
        }
        let number = shared::counters::Incarnation::fresh();
        let () = self.scripts.chill_all(number).exec_async(&mut self.redis).await.unwrap();
    }

    fn prefix(&self) -> String {
        let place = self.places().events(self.shard());
        place.split_once("ev:").map(|it| it.0.to_owned()).unwrap()
    }

    /// Changes something as nobody may.
    pub async fn plant(&self, statement: &'static str) {
        let changed = sqlx::query(statement).execute(&self.fixture.root).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{statement}");
    }

    pub async fn number(&self, question: &'static str) -> i64 {
        sqlx::query_scalar(question).fetch_one(&self.fixture.root).await.unwrap()
    }
}

/// What events come to, in nano-dollars.
pub fn cost(events: &[Event]) -> i64 {
    events.iter().map(|it| it.cost.nanos()).sum()
}
