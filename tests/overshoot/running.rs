//! One run on an installation of its own.

use std::{
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
    counters::{Places, Shard},
    ids::{ApiKeyId, BudgetId, OrganizationId, ProjectId},
    money::Money,
    wire::Address,
};
use sqlx::PgPool;
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

use super::{
    calling::{Calling, ask, read},
    comparing::{Simulated, compare},
    disaster::{Disaster, Drill},
    sampling::{Sampler, connect, counters},
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
/// When a cap is lowered.
const LOWERED: u64 = 600;
/// How long it may take until all is counted and kept.
const PATIENCE: Duration = Duration::from_secs(90);

struct Run {
    turnpike: Installation,
    db: PgPool,
    redis: Address,
    shard: Shard,
    /// The first is the one that is lowered and raised.
    budgets: Vec<BudgetId>,
    /// What a call may come to at most.
    worst: i64,
    key: String,
}

/// The most that a budget was overspent by.
///
/// # Panics
/// If the books do not agree.
pub async fn run(proxies: usize, calls: u64, drill: Option<Drill>) -> i64 {
    let on_cluster = drill == Some(Drill::ClusterMasterKilled);
    // Nodes of a cluster tell their own addresses, so that nothing comes between.
    let extent = Extent { proxies, relayed: !on_cluster, on_cluster };
    let turnpike = Installation::with("overshoot", extent).await.expect("the programs are built");
    let mut run = Run::prepare(turnpike).await;
    let simulator = run.turnpike.simulator.url("");
    let each = Simulated::cost_of_one(&simulator, MODEL).await;
    Simulated::forget(&simulator).await;
    let addresses = run.turnpike.proxies.iter().map(|it| it.url("")).collect();
    let calling = Calling::new(addresses, &run.key, MODEL, calls);
    let sampler =
        Sampler::start(run.redis.clone(), Places::default().incarnation(run.shard), run.keys());
    let began = Instant::now();
    if let Some(relay) = &run.turnpike.relay {
        relay.doubles(DOUBLED);
        relay.breaks(if drill.is_none() { BROKEN } else { 0 });
    }
    let workers = calling.start();
    let (kills, changes) = run.meanwhile(&calling, workers, drill).await;
    if let Some(relay) = &run.turnpike.relay {
        relay.breaks(0);
    }
    run.is_settled().await;
    let samples = sampler.stop().await;
    let done = run.turnpike.relay.as_ref().map(Relay::done).unwrap_or_default();
    let keys = run.keys();
    let counters = counters(&run.redis, &keys).await.unwrap();
    let counted: Vec<_> = run.budgets.iter().copied().zip(counters).collect();
    let simulated = Simulated::all(&simulator).await;
    let compared = compare(&run.db, &simulated, each, &counted).await;

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
    let (first, cap) = (counted[0].1.window.unwrap(), counted[0].1.caps.money.unwrap().nanos());
    let held: i64 = counted.iter().map(|it| it.1.window.unwrap().held.money).sum();
    say(&format!(
        "{}{proxies} proxies, {calls} calls in {:.0?}: {admitted} admitted, {refused} refused, {killed} killed \
         under way ({:.1} % of what was let through, by {kills} kills), {hung_up} hung up, {undecided} \
         tried again, {strange} strange; a cap was changed {changes} times",
        drill.map_or_else(String::new, |it| format!("{}: ", it.name())),
        began.elapsed(),
        killed as f64 * 100.0 / (admitted + killed).max(1) as f64,
    ));
    say(&format!(
        "  {} settlements said, {} of them twice; {} connections to Redis broken",
        done.settlements, done.doubled, done.cut
    ));
    say(&format!(
        "  settled {} events for {} nano-dollars of a cap of {cap}, held {held}, {} left; of answers heard whole \
         the simulator counts {} and events say {}; {} broke, for {}",
        compared.events,
        first.spent.money,
        cap - first.spent.money,
        compared.heard.1,
        compared.heard.0,
        compared.broken.0,
        compared.broken.1
    ));
    say(&format!(
        "  lost = {}, invented = {}, duplicated = {}; {} may not have been sent; {} samples, overspend = {} \
         nano-dollars",
        compared.lost,
        compared.invented,
        compared.doubled,
        compared.unsure,
        samples.count,
        samples.overspend
    ));
    assert!(compared.is_equal(), "the books do not agree: {compared:?}");
    assert_eq!((strange, first.spent.money), (0, compared.cost));
    let over = (first.spent.money - cap).max(0);
    let verdict = run.turnpike.run("turnpike", &["ledger", "verify"]);
    say(&format!("  ledger verify: {}", verdict.lines().last().unwrap_or_default()));
    run.db.close().await;
    run.turnpike.finish().await;
    samples.overspend.max(over)
}

impl Run {
    async fn prepare(mut turnpike: Installation) -> Self {
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
        let worst = worst(&turnpike, &key).await;
        let scopes = [
            "organization".to_owned(),
            format!("project:{}", ProjectId::from_uuid(project)),
            format!("key:{}", ApiKeyId::from_uuid(id)),
        ];
        let mut more = 0;
        for scope in &scopes {
            for period in ["day", "week", "month"] {
                // Each has a little more than the one before, so that it is known which binds.
                make_budget(&mut turnpike, scope, period, ROOM * worst + more).await;
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
        Self { turnpike, db, redis, shard, budgets, worst, key }
    }

    fn keys(&self) -> Vec<String> {
        self.budgets.iter().map(|it| Places::default().budget(self.shard, *it)).collect()
    }

    /// Kills proxies and changes a cap while calls are made, until there are no more. Answers
    /// how often it did each.
    async fn meanwhile(
        &mut self,
        calling: &Arc<Calling>,
        mut workers: JoinSet<()>,
        drill: Option<Drill>,
    ) -> (usize, u64) {
        let tally = &calling.tally;
        let mut drill = drill.map(Disaster::of);
        let (mut kills, mut changes, mut refused) = (0, 0, 0);
        let whole = ROOM * self.worst;
        while !workers.is_empty() {
            while let Some(ended) = workers.try_join_next() {
                ended.unwrap();
            }
            let admitted = read(&tally.admitted);
            if let Some(disaster) = &mut drill {
                disaster.strikes(&mut self.turnpike, (&self.redis, self.shard), admitted).await;
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
            let is_refusing = read(&tally.refused) > refused + 100;
            if changes == 1 && (is_refusing || workers.is_empty()) {
                self.set_cap(whole).await;
                changes = 2;
            }
            sleep(Duration::from_millis(2)).await;
        }
        (kills, changes)
    }

    /// Of the first budget, as its owner does.
    async fn set_cap(&mut self, nanos: i64) {
        let id = self.budgets[0];
        let owner = &mut self.turnpike.owner;
        let (page, action) =
            (owner.path(&format!("/budgets/{id}/edit")), owner.path(&format!("/budgets/{id}")));
        let usd = Money::from_nanos(nanos).exact();
        submit(&mut owner.browser, &page, &action, &[("usd", &usd)]).await;
    }

    /// How many requests are held, and how many events wait.
    async fn left(&self, places: &Places, keys: &[String]) -> RedisResult<(i64, u64)> {
        let counters = counters(&self.redis, keys).await?;
        let held = counters.iter().filter_map(|it| it.window).map(|it| it.held.requests).sum();
        let mut redis = connect(&self.redis).await?;
        let mut ask = redis::cmd("XLEN");
        Ok((held, ask.arg(places.events(self.shard)).query_async(&mut redis).await?))
    }

    /// Waits until nothing is held and every event is in the database.
    async fn is_settled(&mut self) {
        let (places, began) = (Places::default(), Instant::now());
        let keys = self.keys();
        loop {
            if let Ok(left) = self.left(&places, &keys).await
                && left == (0, 0)
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
async fn worst(turnpike: &Installation, key: &str) -> i64 {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = client.post(turnpike.proxies[0].url("/v1/quote")).bearer_auth(key);
    // The longest that any body is.
    let body = ask(MODEL, 10_000_000, false);
    let answer: Value = call.json(&body).send().await.unwrap().json().await.unwrap();
    let usd: Money = answer["worst_case_usd"].as_str().unwrap().parse().unwrap();
    usd.nanos()
}
