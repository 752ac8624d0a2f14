//! One run on an installation of its own.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use harness::{
    Browser,
    processes::{Extent, Installation},
    relay::Relay,
};
use redis::RedisResult;
use serde_json::{Value, json};
use shared::{
    counters::{Epoch, Places, Shard},
    ids::{ApiKeyId, BudgetId, OrganizationId, ProjectId},
    money::Money,
    wire::Address,
};
use sqlx::PgPool;
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

use super::{
    calling::{Calling, WORKERS, ask, read},
    comparing::{Compared, Facts, Simulated, compare, months},
    disaster::{Disaster, Drill},
    last::{Spent, spend_all},
    sampling::{Sampler, Samples, connect, counters},
    say,
};

const MODEL: &str = "sim-small";
/// So many calls have room at their worst.
const ROOM: i64 = 1_000;
/// Settlements that are said twice, of a hundred.
const DOUBLED: u32 = 10;
/// Commands that break their connection, of 100,000.
const BROKEN: u32 = 100;
/// When proxies are killed: as soon as so many calls were let through.
const KILLS: [u64; 2] = [300, 1_200];
/// By name, which budget is a month's, of the key.
const MONTHLY: usize = 3;
/// When a cap is lowered.
const LOWERED: u64 = 600;
/// How long it may take until all is counted and kept,
const PATIENCE: Duration = Duration::from_secs(90);
/// and until all calls are made.
const LONGEST: Duration = Duration::from_secs(1_200);
/// So many refusals, and no call let through meanwhile, say that a cap leaves no room.
const USED_UP: u64 = 500;

pub struct Run {
    pub turnpike: Installation,
    db: PgPool,
    pub redis: Address,
    pub shard: Shard,
    /// The first is the one that is lowered and raised.
    budgets: Vec<BudgetId>,
    /// What a call may come to at most.
    worst: i64,
    key: String,
    key_id: ApiKeyId,
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub drill: Option<Drill>,
    pub proxies: usize,
    pub calls: u64,
    pub admitted: u64,
    pub lost: u64,
    pub duplicated: u64,
    /// In nano-dollars.
    pub overspend: i64,
    /// What was spent in the end, where that was seen to.
    pub total: Option<i64>,
}

/// One run, and what came of it.
///
/// # Panics
/// If the books do not agree.
pub async fn run(proxies: usize, calls: u64, disaster: Option<Disaster>) -> Outcome {
    let mut disaster = disaster;
    let usual = Extent { proxies, relayed: true, ..Extent::USUAL };
    let extent = disaster.as_ref().map_or(usual, |it| it.extent(proxies));
    let turnpike = Installation::with("overshoot", extent).await.expect("the programs are built");
    let weeks_worth = disaster.as_ref().map_or(1, Disaster::weeks_worth);
    let mut run = Run::prepare(turnpike, weeks_worth).await;
    if let Some(disaster) = &mut disaster {
        disaster.prepares(&mut run).await;
    }
    let simulator = run.turnpike.simulator.url("");
    let each = Simulated::cost_of_one(&simulator, MODEL).await;
    Simulated::forget(&simulator).await;
    let mut addresses: Vec<_> = run.turnpike.proxies.iter().map(|it| it.url("")).collect();
    addresses.extend(disaster.iter().flat_map(Disaster::addresses));
    let calling = Calling::new(addresses, &run.key, MODEL, calls);
    if let Some(disaster) = &mut disaster {
        disaster.begins(&run, &calling);
    }
    let sampler =
        Sampler::start(run.redis.clone(), Places::default().incarnation(run.shard), run.keys());
    let began = Instant::now();
    if let Some(relay) = &run.turnpike.relay {
        relay.doubles(DOUBLED);
        relay.breaks(if disaster.is_none() { BROKEN } else { 0 });
    }
    let workers = calling.start();
    let (kills, changes) = run.meanwhile(&calling, workers, &mut disaster).await;
    let took = began.elapsed();
    if let Some(relay) = &run.turnpike.relay {
        relay.breaks(0);
    }
    let spoilt = disaster.as_ref().map_or_else(Vec::new, Disaster::spoilt);
    run.is_settled(&spoilt).await;
    let spent = match disaster {
        None => Some(spend_all(&mut run, &calling, MODEL).await),
        Some(_) => None,
    };
    let samples = sampler.stop().await;
    let counters = counters(&run.redis, &run.keys()).await.unwrap();
    let budgets: Vec<_> = run.budgets.iter().copied().zip(counters).collect();
    let costs = spent.as_ref().map_or_else(HashMap::new, |it| it.costs.clone());
    let facts = Facts {
        simulated: &Simulated::all(&simulator).await,
        each,
        others: &costs,
        budgets: &budgets,
        tried: &calling.tried(),
        unknown: &disaster.as_ref().map_or_else(Vec::new, Disaster::unknown),
        held: run.held_by(&spoilt).await.unwrap(),
    };
    let compared = compare(&run.db, &facts).await;
    let made = read(&calling.tally.begun) - (WORKERS * calling.addresses.len()) as u64;
    tell_calls(&calling, (made, took, kills, changes), disaster.as_ref());
    let done = run.turnpike.relay.as_ref().map(Relay::done).unwrap_or_default();
    say(&format!(
        "  {} settlements said, {} of them twice; {} connections to Redis broken; {}",
        done.settlements,
        done.doubled,
        done.cut,
        run.left_behind()
    ));
    let over = tell_budgets(&run, &compared, samples, &facts).await;
    assert!(compared.is_equal(), "the books do not agree: {compared:?}");
    assert_eq!(read(&calling.tally.strange), 0);
    if let Some(disaster) = &mut disaster {
        disaster.ends().await;
    }
    let verdict = run.turnpike.run("turnpike", &["ledger", "verify"]);
    say(&format!("  ledger verify: {}", verdict.lines().last().unwrap_or_default()));
    run.db.close().await;
    run.turnpike.finish().await;
    Outcome {
        drill: disaster.as_ref().map(|it| it.drill),
        proxies,
        calls: made,
        admitted: read(&calling.tally.admitted),
        lost: compared.lost,
        duplicated: compared.doubled,
        overspend: samples.overspend.max(over),
        total: spent.map(|it: Spent| it.total),
    }
}

fn tell_calls(
    calling: &Calling,
    (made, took, kills, changes): (u64, Duration, usize, u64),
    disaster: Option<&Disaster>,
) {
    let tally = &calling.tally;
    let [admitted, refused, killed, hung_up, undecided, strange] = [
        &tally.admitted,
        &tally.refused,
        &tally.killed,
        &tally.hung_up,
        &tally.undecided,
        &tally.strange,
    ]
    .map(read);
    say(&format!(
        "{}{} proxies, {made} calls in {took:.0?}: {admitted} admitted, {refused} refused, {killed} killed \
         under way ({:.1} % of what was let through, by {kills} kills), {hung_up} hung up, {undecided} \
         tried again, {strange} strange; a cap was changed {changes} times",
        disaster.map_or_else(String::new, |it| format!("{}: ", it.drill.name())),
        calling.addresses.len(),
        killed as f64 * 100.0 / (admitted + killed).max(1) as f64,
    ));
}

/// The most by which a window has more than its cap.
async fn tell_budgets(run: &Run, compared: &Compared, samples: Samples, facts: &Facts<'_>) -> i64 {
    let (budgets, mut over) = (facts.budgets, 0);
    for (_, counter) in budgets {
        let cap = counter.caps.money.unwrap().nanos();
        for window in counter.window.iter().chain(&counter.before) {
            over = over.max(window.spent.money + window.held.money - cap);
        }
    }
    let first = &budgets[0].1;
    let (window, cap) = (first.window.unwrap(), first.caps.money.unwrap().nanos());
    say(&format!(
        "  settled {} events for {} nano-dollars, of a cap of {cap} in the last window {}, held {}, {} left; of answers \
         heard whole the simulator counts {} and events say {}; {} broke, for {}",
        compared.events,
        compared.cost,
        window.spent.money,
        window.held.money,
        cap - window.spent.money - window.held.money,
        compared.heard.1,
        compared.heard.0,
        compared.broken.0,
        compared.broken.1
    ));
    if first.before.is_some() {
        tell_months(run, facts).await;
    }
    say(&format!(
        "  lost = {}, invented = {}, duplicated = {}, billed at another time = {}; {} may not have been sent, {} are \
         held of whom a journal may have lost the record; {} samples, overspend = {} nano-dollars",
        compared.lost,
        compared.invented,
        compared.doubled,
        compared.mistimed,
        compared.unsure,
        facts.held,
        samples.count,
        samples.overspend.max(over)
    ));
    over.max(0)
}

/// Each month as Redis, the days that bills are made of, and events have it.
///
/// # Panics
/// If they differ.
async fn tell_months(run: &Run, facts: &Facts<'_>) {
    let (_, monthly) = &facts.budgets[MONTHLY];
    let cap = monthly.caps.money.unwrap().nanos();
    for (from_ms, days, events) in months(&run.db, run.key_id).await {
        let mut windows = monthly.before.iter().chain(&monthly.window);
        let window = windows.find(|it| it.from_ms == from_ms);
        let counted = window.expect("Redis knows of both months").spent.money;
        say(&format!(
            "  month from {from_ms}: Redis counted {counted} nano-dollars of {cap}, days say {days}, events {events}"
        ));
        assert!(counted == days && counted == events && counted <= cap, "a month differs");
    }
}

impl Run {
    async fn prepare(mut turnpike: Installation, weeks_worth: i64) -> Self {
        turnpike
            .set_profile(MODEL, json!({ "first_token_ms": 20, "every_ms": 2, "length": 40 }))
            .await;
        let key = turnpike.make_key("overshoot", &[]).await;
        turnpike.served().await;
        let db = turnpike.database().await;
        let (organization, project, id): (Uuid, Uuid, Uuid) = sqlx::query_as(
            "SELECT organization_id, project_id, id FROM api_keys WHERE name = 'overshoot'",
        )
        .fetch_one(&db)
        .await
        .unwrap();
        // The longest that any body is.
        let worst = worst(&turnpike, &key, &ask(MODEL, 10_000_000, false)).await;
        let scopes = [
            "organization".to_owned(),
            format!("project:{}", ProjectId::from_uuid(project)),
            format!("key:{}", ApiKeyId::from_uuid(id)),
        ];
        let mut more = 0;
        for scope in &scopes {
            for period in ["day", "week", "month"] {
                // Each has a little more than the one before, so that it is known which binds.
                let times = if period == "week" { weeks_worth } else { 1 };
                make_budget(&mut turnpike, scope, period, times * ROOM * worst + more).await;
                more += 1;
            }
        }
        let budgets: Vec<(Uuid,)> =
            sqlx::query_as("SELECT id FROM budgets WHERE name LIKE 'overshoot %' ORDER BY name")
                .fetch_all(&db)
                .await
                .unwrap();
        let budgets = budgets.into_iter().map(|it| BudgetId::from_uuid(it.0)).collect();
        turnpike.served().await;
        let redis = turnpike.setting("TURNPIKE_REDIS_URL").parse().unwrap();
        let shard = Shard::of(OrganizationId::from_uuid(organization));
        let key_id = ApiKeyId::from_uuid(id);
        Self { turnpike, db, redis, shard, budgets, worst, key, key_id }
    }

    fn keys(&self) -> Vec<String> {
        self.budgets.iter().map(|it| Places::default().budget(self.shard, *it)).collect()
    }

    /// Kills proxies, changes a cap, and has happen what is to happen, while calls are made: until
    /// all are, nothing is left to happen, and the cap is used up. Answers how often it did each
    /// of the first two.
    async fn meanwhile(
        &mut self,
        calling: &Arc<Calling>,
        mut workers: JoinSet<()>,
        disaster: &mut Option<Disaster>,
    ) -> (usize, u64) {
        let (tally, began) = (&calling.tally, Instant::now());
        let (mut kills, mut changes, mut refused, mut last) = (0, 0, 0, 0);
        let whole = ROOM * self.worst;
        calling.goes_on(true);
        while !workers.is_empty() {
            assert!(began.elapsed() < LONGEST, "calls find no end");
            while let Some(ended) = workers.try_join_next() {
                ended.unwrap();
            }
            let admitted = read(&tally.admitted);
            if admitted != last {
                (last, refused) = (admitted, read(&tally.refused));
            }
            let is_refusing = read(&tally.refused) > refused + USED_UP;
            let is_used_up = changes == 2 && is_refusing;
            if let Some(disaster) = disaster.as_mut().filter(|it| !it.is_over()) {
                if disaster.strikes(self, calling, is_used_up).await {
                    refused = read(&tally.refused);
                }
            } else if is_used_up {
                calling.goes_on(false);
            }
            if KILLS.get(kills).is_some_and(|it| admitted >= *it) {
                let at = kills % self.turnpike.proxies.len();
                self.turnpike.proxies[at].kill().await;
                self.turnpike.proxies[at].start().await;
                kills += 1;
            }
            if changes == 0 && admitted >= LOWERED {
                // To less than is spent, or not: whichever it is by now.
                self.set_cap(whole / 4).await;
                (changes, refused) = (1, read(&tally.refused));
            }
            if changes == 1 && is_refusing {
                self.set_cap(whole).await;
                (changes, refused) = (2, read(&tally.refused));
            }
            sleep(Duration::from_millis(2)).await;
        }
        (kills, changes)
    }

    /// What was found on disks when proxies started, by what they said.
    fn left_behind(&self) -> String {
        let (mut journals, mut calls) = (0, 0);
        for proxy in &self.turnpike.proxies {
            for line in proxy.said().lines() {
                let Some((_, rest)) = line.split_once("a journal was left behind, with ") else {
                    continue;
                };
                journals += 1;
                calls += rest.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0);
            }
        }
        format!("{journals} journals were left behind, with {calls} calls under way")
    }

    /// Of the first budget, as its owner does.
    async fn set_cap(&mut self, nanos: i64) {
        let id = self.budgets[0];
        let owner = &mut self.turnpike.owner;
        let (page, action) =
            (owner.path(&format!("/budgets/{id}/edit")), owner.path(&format!("/budgets/{id}")));
        let usd = Money::from_nanos(nanos).exact();
        submit(&mut owner.browser, &page, &action, &[("usd", &usd)]).await;
        // On a busy machine Redis may hear it a little later.
        while !self.has_cap(nanos).await {
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn has_cap(&self, nanos: i64) -> bool {
        let counters = counters(&self.redis, &self.keys()).await.unwrap_or_default();
        let cap = counters.first().and_then(|it| it.caps.money);
        cap.is_some_and(|it| it.nanos() == nanos)
    }

    /// How many requests are held, and how many events wait.
    async fn left(&self, places: &Places, keys: &[String]) -> RedisResult<(i64, u64)> {
        let counters = counters(&self.redis, keys).await?;
        let windows = counters.iter().flat_map(|it| it.window.iter().chain(&it.before));
        let held = windows.map(|it| it.held.requests).sum();
        let mut redis = connect(&self.redis).await?;
        let mut ask = redis::cmd("XLEN");
        Ok((held, ask.arg(places.events(self.shard)).query_async(&mut redis).await?))
    }

    /// For how many calls some processes hold something, or are held as the dead.
    async fn held_by(&self, epochs: &[Epoch]) -> RedisResult<i64> {
        let (places, mut redis) = (Places::default(), connect(&self.redis).await?);
        let mut held = 0;
        for epoch in epochs {
            let mut ask = redis::cmd("HLEN");
            let living: i64 =
                ask.arg(places.holds(self.shard, *epoch)).query_async(&mut redis).await?;
            let mut ask = redis::cmd("HKEYS");
            let dead: Vec<String> =
                ask.arg(places.dead_holds(self.shard)).query_async(&mut redis).await?;
            let theirs = dead.iter().filter(|it| it.starts_with(&epoch.to_string()));
            held += living + i64::try_from(theirs.count()).unwrap();
        }
        Ok(held)
    }

    /// Waits until nothing is held, but by those whose journals were spoilt, and every event is
    /// in the database.
    pub async fn is_settled(&self, spoilt: &[Epoch]) {
        let (places, began) = (Places::default(), Instant::now());
        let keys = self.keys();
        let budgets = i64::try_from(keys.len()).unwrap();
        loop {
            if let Ok(held) = self.held_by(spoilt).await
                && let Ok(left) = self.left(&places, &keys).await
                && left == (held * budgets, 0)
            {
                return;
            }
            if began.elapsed() > PATIENCE {
                let left = self.left(&places, &keys).await;
                say(&format!("*** requests that are held, and events that wait: {left:?} ***"));
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Run {
    /// What is spent of the first budget, and its cap.
    pub async fn spent(&self) -> (i64, i64) {
        let counters = counters(&self.redis, &self.keys()).await.unwrap();
        let first = &counters[0];
        (first.window.unwrap().spent.money, first.caps.money.unwrap().nanos())
    }

    /// What a call may come to at most.
    pub async fn worst_of(&self, body: &Value) -> i64 {
        worst(&self.turnpike, &self.key, body).await
    }
}

async fn make_budget(turnpike: &mut Installation, scope: &str, period: &str, nanos: i64) {
    let owner = &mut turnpike.owner;
    let (page, action) = (owner.path("/budgets/new"), owner.path("/budgets"));
    let order = match (scope.split(':').next(), period) {
        (Some("organization"), "day") => "0",
        _ => "1",
    };
    let name =
        format!("overshoot {order} {period} {}", scope.split(':').next().unwrap_or_default());
    let usd = Money::from_nanos(nanos).exact();
    let typed = [("name", name.as_str()), ("scope", scope), ("period", period), ("usd", &usd)];
    submit(&mut owner.browser, &page, &action, &typed).await;
}

async fn submit(browser: &mut Browser, page: &str, action: &str, typed: &[(&str, &str)]) {
    let answer = browser.fill(page, action, typed).await;
    assert!(answer.status.is_redirection(), "{answer:?}");
}

/// What a call may come to at most, as a proxy says.
async fn worst(turnpike: &Installation, key: &str, body: &Value) -> i64 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = client.post(turnpike.proxies[0].url("/v1/quote")).bearer_auth(key);
    let answer: Value = call.json(body).send().await.unwrap().json().await.unwrap();
    let usd: Money = answer["worst_case_usd"].as_str().unwrap().parse().unwrap();
    usd.nanos()
}
