//! Whether what the simulator answered, what the database has and what Redis counted are the
//! same.

use std::collections::HashMap;

use serde_json::Value;
use shared::{
    counters::{Amounts, Counter},
    event::{Event, UsageSource},
    ids::BudgetId,
    money::{Price, Rates, UnitPrice},
    usage::Usage,
};
use sqlx::PgPool;

use super::{calling::ask, say};

/// What the simulator says of the calls that reached it.
pub struct Simulated {
    /// By the number of a call, how many of its answers were sent whole, and how many were not.
    calls: HashMap<u64, (u64, u64)>,
}

impl Simulated {
    /// Whatever came before.
    pub async fn forget(simulator: &str) {
        let url = format!("{simulator}/__control/calls");
        client().delete(url).send().await.unwrap().error_for_status().unwrap();
    }

    pub async fn all(simulator: &str) -> Self {
        let url = format!("{simulator}/__control/calls?after=0");
        let told: Value = client().get(url).send().await.unwrap().json().await.unwrap();
        let mut calls: HashMap<u64, (u64, u64)> = HashMap::new();
        for call in told["calls"].as_array().unwrap() {
            let body: Value = serde_json::from_str(call["body"].as_str().unwrap()).unwrap();
            let number = body["user"].as_str().and_then(|it| it.strip_prefix("call-"));
            let Some(number) = number.and_then(|it| it.parse().ok()) else { continue };
            let (whole, broken) = calls.entry(number).or_default();
            let is_whole = call["ending"] == "complete" && call["status"] == 200;
            *(if is_whole { whole } else { broken }) += 1;
        }
        Self { calls }
    }

    pub fn complete(&self) -> u64 {
        self.calls.values().map(|it| it.0).sum()
    }

    /// What an answer costs that is sent whole, in nano-dollars.
    pub async fn cost_of_one(simulator: &str, model: &str) -> i64 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let call =
            client.post(format!("{simulator}/v1/chat/completions")).bearer_auth("sim-direct");
        let answer: Value =
            call.json(&ask(model, u64::MAX, false)).send().await.unwrap().json().await.unwrap();
        let number = |name: &str| answer["usage"][name].as_u64().unwrap();
        let usage = Usage {
            input: number("prompt_tokens"),
            output: number("completion_tokens"),
            ..Usage::default()
        };
        // As the demo prices it.
        let each = |it| UnitPrice::per_million(it).unwrap();
        let price = Price::flat(Rates::of_text(each("0.15"), each("0.60"))).unwrap();
        price.cost(&usage, None).to_money().nanos()
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// What came of it. Whether all is the same is [`is_equal`](Self::is_equal).
#[derive(Debug, Default)]
pub struct Compared {
    pub events: u64,
    /// Nano-dollars of all events,
    pub cost: i64,
    /// of those whose answer was heard to its end, and what the simulator says of the same.
    pub heard: (i64, i64),
    /// of those that broke, or that nobody said the usage of.
    pub broken: (u64, i64),
    /// Calls that reached the simulator and cost nobody anything; calls that cost something and
    /// never reached it; calls that are there twice.
    pub lost: u64,
    pub invented: u64,
    pub doubled: u64,
    /// Calls that were about to be sent when their proxy died, and never were: nobody can know
    /// that, so that their input is paid for.
    pub unsure: u64,
    /// What differs between Redis and the database.
    pub differences: Vec<String>,
}

impl Compared {
    pub fn is_equal(&self) -> bool {
        let Self { heard, lost, invented, doubled, differences, .. } = self;
        heard.0 == heard.1 && lost + invented + doubled == 0 && differences.is_empty()
    }
}

pub async fn compare(
    db: &PgPool,
    simulated: &Simulated,
    each: i64,
    budgets: &[(BudgetId, Counter)],
) -> Compared {
    let rows: Vec<Value> = sqlx::query_scalar(
        "SELECT event FROM request_events WHERE event->'tags'->>'call' IS NOT NULL",
    )
    .fetch_all(db)
    .await
    .unwrap();
    let events: Vec<Event> =
        rows.into_iter().map(|it| serde_json::from_value(it).unwrap()).collect();
    let mut compared = Compared::default();
    let mut counted: HashMap<(BudgetId, i64), Amounts> = HashMap::new();
    let mut paid: HashMap<u64, u64> = HashMap::new();
    for event in &events {
        let number: u64 = event.tags["call"].parse().unwrap();
        for it in &event.counted {
            let sum = counted.entry((it.budget, it.window)).or_default();
            *sum = sum.plus(it.amounts);
        }
        compared.events += 1;
        compared.cost += event.cost.nanos();
        if event.lines.is_empty() {
            continue;
        }
        *paid.entry(number).or_default() += 1;
        let (whole, broken) = simulated.calls.get(&number).copied().unwrap_or_default();
        let is_there = whole + broken > 0;
        let is_unsure = event.usage_source == UsageSource::Interrupted;
        compared.unsure += u64::from(!is_there && is_unsure);
        compared.invented += u64::from(!is_there && !is_unsure);
        if event.usage_source == UsageSource::Upstream {
            compared.heard.0 += event.cost.nanos();
            compared.heard.1 += if whole > 0 { each } else { 0 };
        } else {
            compared.broken.0 += 1;
            compared.broken.1 += event.cost.nanos();
        }
    }
    for (number, (whole, _)) in &simulated.calls {
        let paid = paid.get(number).copied().unwrap_or_default();
        compared.lost += u64::from(*whole > 0 && paid == 0);
    }
    compared.doubled = paid.values().filter(|it| **it > 1).count() as u64;
    compare_budgets(&mut compared, db, budgets, &counted).await;
    compared
}

async fn compare_budgets(
    compared: &mut Compared,
    db: &PgPool,
    budgets: &[(BudgetId, Counter)],
    counted: &HashMap<(BudgetId, i64), Amounts>,
) {
    for (id, counter) in budgets {
        let window = counter.window.unwrap();
        let told = counted.get(&(*id, window.from_ms)).copied().unwrap_or_default();
        let kept: (i64, i64, i64) = sqlx::query_as(
            "SELECT coalesce(sum(money), 0)::bigint, coalesce(sum(requests), 0)::bigint,
                    coalesce(sum(tokens), 0)::bigint
               FROM budget_windows WHERE budget_id = $1 AND \"window\" = $2",
        )
        .bind(id.uuid())
        .bind(window.from_ms)
        .fetch_one(db)
        .await
        .unwrap();
        let kept = Amounts { money: kept.0, requests: kept.1, tokens: kept.2 };
        let is_free = window.held == Amounts::default() && window.held_by_the_dead == 0;
        if window.spent != told || window.spent != kept || !is_free {
            compared.differences.push(format!("{id}: {window:?}, events {told:?}, sums {kept:?}"));
        }
    }
    compared.differences.iter().for_each(|it| say(it));
}
