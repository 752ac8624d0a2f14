//! Whether what the simulator answered, what the database has and what Redis counted are the
//! same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use shared::{
    counters::{Amounts, Counter, Window},
    event::{Event, UsageSource},
    ids::{ApiKeyId, BudgetId},
    money::{Price, Rates, UnitPrice},
    usage::Usage,
};
use sqlx::PgPool;

use super::{calling::ask, say};

/// What the simulator says of the calls that reached it.
pub struct Simulated {
    /// By the number of a call, how many of its answers were sent whole, and how many were not.
    calls: HashMap<u64, (u64, u64)>,
    /// Answers that were sent whole, whoever asked.
    pub complete: u64,
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
        let (mut calls, mut complete): (HashMap<u64, (u64, u64)>, u64) = (HashMap::new(), 0);
        for call in told["calls"].as_array().unwrap() {
            let is_whole = call["ending"] == "complete" && call["status"] == 200;
            complete += u64::from(is_whole);
            let body: Value =
                serde_json::from_str(call["body"].as_str().unwrap()).unwrap_or_default();
            let number = body["user"].as_str().and_then(|it| it.strip_prefix("call-"));
            let Some(number) = number.and_then(|it| it.parse().ok()) else { continue };
            let (whole, broken) = calls.entry(number).or_default();
            *(if is_whole { whole } else { broken }) += 1;
        }
        Self { calls, complete }
    }

    /// What an answer costs that is sent whole, in nano-dollars.
    pub async fn cost_of_one(simulator: &str, model: &str) -> i64 {
        Self::cost_of(simulator, &ask(model, u64::MAX, false)).await
    }

    /// The same of another call.
    pub async fn cost_of(simulator: &str, body: &Value) -> i64 {
        let url = format!("{simulator}/v1/chat/completions");
        let call = client().post(url).bearer_auth("sim-direct").json(body);
        let answer: Value = call.send().await.unwrap().json().await.unwrap();
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
    /// that, so that they cost what they might have.
    pub unsure: u64,
    /// Calls that are billed at another moment than Redis let them through, or in another window
    /// than that moment is in.
    pub mistimed: u64,
    /// What differs between Redis and the database.
    pub differences: Vec<String>,
}

impl Compared {
    pub fn is_equal(&self) -> bool {
        let Self { heard, lost, invented, doubled, mistimed, differences, .. } = self;
        let wrong = lost + invented + doubled + mistimed;
        heard.0 == heard.1 && wrong == 0 && differences.is_empty()
    }
}

/// What there is to compare with.
pub struct Facts<'a> {
    pub simulated: &'a Simulated,
    /// What a call costs that is answered whole, and those that cost something else.
    pub each: i64,
    pub others: &'a HashMap<u64, i64>,
    pub budgets: &'a [(BudgetId, Counter)],
    /// Between which moments each call was tried.
    pub tried: &'a HashMap<u64, (i64, i64)>,
    /// Calls of which the only record is lost: they are held, and stay so,
    pub unknown: &'a [u64],
    /// among so many.
    pub held: i64,
}

/// Clocks of two processes are read one after the other.
const SLACK_MS: i64 = 50;

pub async fn compare(db: &PgPool, facts: &Facts<'_>) -> Compared {
    let simulated = facts.simulated;
    let rows: Vec<Value> = sqlx::query_scalar(
        "SELECT event FROM request_events WHERE event->'tags'->>'call' IS NOT NULL",
    )
    .fetch_all(db)
    .await
    .unwrap();
    let events: Vec<Event> =
        rows.into_iter().map(|it| serde_json::from_value(it).unwrap()).collect();
    let mut compared = Compared::default();
    let mut counted: Counted = HashMap::new();
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
        let (from_ms, until_ms) = facts.tried.get(&number).copied().unwrap_or_default();
        let when = from_ms - SLACK_MS..=until_ms.saturating_add(SLACK_MS);
        compared.mistimed += u64::from(!when.contains(&event.billed_at_ms));
        *paid.entry(number).or_default() += 1;
        let (whole, broken) = simulated.calls.get(&number).copied().unwrap_or_default();
        let is_there = whole + broken > 0;
        let is_unsure = event.usage_source != UsageSource::Upstream;
        compared.unsure += u64::from(!is_there && is_unsure);
        compared.invented += u64::from(!is_there && !is_unsure);
        if event.usage_source == UsageSource::Upstream {
            let cost = facts.others.get(&number).copied().unwrap_or(facts.each);
            compared.heard.0 += event.cost.nanos();
            compared.heard.1 += if whole > 0 { cost } else { 0 };
        } else {
            compared.broken.0 += 1;
            compared.broken.1 += event.cost.nanos();
        }
    }
    compared.mistimed += misplaced(&events, &counted);
    for (number, (whole, _)) in &simulated.calls {
        let is_known = paid.contains_key(number) || facts.unknown.contains(number);
        compared.lost += u64::from(*whole > 0 && !is_known);
    }
    compared.doubled = paid.values().filter(|it| **it > 1).count() as u64;
    compare_budgets(&mut compared, db, facts, &counted).await;
    compared
}

/// By budget and window, what events say.
type Counted = HashMap<(BudgetId, i64), Amounts>;

/// How many events are counted in a window that does not have the moment they are billed at.
fn misplaced(events: &[Event], counted: &Counted) -> u64 {
    let mut windows: HashMap<BudgetId, BTreeSet<i64>> = HashMap::new();
    for (budget, window) in counted.keys() {
        windows.entry(*budget).or_default().insert(*window);
    }
    let is_misplaced = |event: &&Event| {
        event.counted.iter().any(|it| {
            let latest = windows[&it.budget].range(..=event.billed_at_ms).next_back();
            latest != Some(&it.window)
        })
    };
    events.iter().filter(is_misplaced).count() as u64
}

async fn compare_budgets(
    compared: &mut Compared,
    db: &PgPool,
    facts: &Facts<'_>,
    counted: &Counted,
) {
    for (id, counter) in facts.budgets {
        let windows: Vec<_> = counter.window.iter().chain(&counter.before).collect();
        let mut told: BTreeMap<_, _> = windows.iter().map(|it| (it.from_ms, None)).collect();
        told.extend(
            counted.iter().filter(|(it, _)| it.0 == *id).map(|(it, sum)| (it.1, Some(*sum))),
        );
        let (mut spent, mut held_now) = (0, 0);
        for (from_ms, told) in told {
            let told = told.unwrap_or_default();
            let kept = kept(db, *id, from_ms).await;
            let window = windows.iter().find(|it| it.from_ms == from_ms);
            let window = window.map_or_else(Window::default, |it| **it);
            if window.spent != told || window.spent != kept {
                let line = format!("{id}: {window:?}, events {told:?}, sums {kept:?}");
                compared.differences.push(line);
            }
            spent += told.money;
            held_now += window.held.requests;
        }
        if spent != compared.cost {
            compared.differences.push(format!("{id}: {spent} of {}", compared.cost));
        }
        if held_now != facts.held {
            let line = format!("{id}: {held_now} calls are held, and {} should be", facts.held);
            compared.differences.push(line);
        }
    }
    compared.differences.iter().for_each(|it| say(it));
}

async fn kept(db: &PgPool, budget: BudgetId, from_ms: i64) -> Amounts {
    let kept: (i64, i64, i64) = sqlx::query_as(
        "SELECT coalesce(sum(money), 0)::bigint, coalesce(sum(requests), 0)::bigint,
                coalesce(sum(tokens), 0)::bigint
           FROM budget_windows WHERE budget_id = $1 AND \"window\" = $2",
    )
    .bind(budget.uuid())
    .bind(from_ms)
    .fetch_one(db)
    .await
    .unwrap();
    Amounts { money: kept.0, requests: kept.1, tokens: kept.2 }
}

/// By month, when it began and what usage says was spent in it, in nano-dollars: by the days that
/// bills are made of, and by the moments that calls are billed at.
pub async fn months(db: &PgPool, key: ApiKeyId) -> Vec<(i64, i64, i64)> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        "SELECT (extract(epoch FROM month) * 1000)::bigint,
                coalesce(d.picos, 0)::bigint, coalesce(e.picos, 0)::bigint
           FROM (SELECT date_trunc('month', day, 'UTC') AS month, sum(cost_pico) AS picos
                   FROM usage_days WHERE key_id = $1 GROUP BY 1) d
           FULL JOIN (SELECT date_trunc('month', billed_at, 'UTC') AS month, sum(cost_pico) AS picos
                   FROM usage_events WHERE key_id = $1 GROUP BY 1) e USING (month)
          ORDER BY 1",
    )
    .bind(key.uuid())
    .fetch_all(db)
    .await
    .unwrap();
    rows.into_iter().map(|(month, days, events)| (month, days / 1_000, events / 1_000)).collect()
}
