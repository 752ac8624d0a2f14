//! What Redis counted against what the database knows.
//!
//! Redis is read a shard at a moment, the database at a later one. What was settled in between
//! is taken from the database's sums, which is possible since settlements have numbers; and what
//! was settled before and is not in the database yet stood in the stream.

use std::collections::{HashMap, HashSet};

use shared::wire::Pool;
use shared::{
    counters::{Amounts, Counter, Places, ReadAnswer, Reading, Scripts, Shard, State},
    event::Event,
    ids::{BudgetId, OrganizationId},
};
use sqlx::PgConnection;
use tokio::time::timeout;

use super::{Compared, Difference, Equality, PATIENCE, ReconciliationError, store};

/// A shard with more events that wait is not compared.
const MOST_WAITING: usize = 10_000;

/// A shard as it was read.
pub(super) struct Read {
    shard: Shard,
    organizations: Vec<OrganizationId>,
    budgets: Vec<BudgetId>,
    /// Nothing where Redis is another one, which nobody has looked after yet.
    reading: Option<Reading>,
}

impl Read {
    /// As it was, unless it lost something and waits to be healed.
    fn counting(&self) -> Option<&Reading> {
        self.reading.as_ref().filter(|it| it.state != State::Cold)
    }
}

/// What is spent in a window of a budget.
type Spent = HashMap<(BudgetId, i64), Amounts>;

pub(super) async fn read(
    redis: &Pool,
    places: &Places,
    budgets: Vec<(OrganizationId, BudgetId)>,
) -> Result<Vec<Read>, ReconciliationError> {
    let scripts = Scripts::new(places.clone());
    let mut by_shard: HashMap<Shard, (HashSet<OrganizationId>, Vec<BudgetId>)> = HashMap::new();
    for (organization, budget) in budgets {
        let (organizations, all) = by_shard.entry(Shard::of(organization)).or_default();
        organizations.insert(organization);
        all.push(budget);
    }
    let mut redis = timeout(PATIENCE, redis.get()).await??;
    let mut read = Vec::new();
    for (shard, (organizations, budgets)) in by_shard {
        let question = scripts.read(shard, &budgets, MOST_WAITING);
        let answer: Result<ReadAnswer, _> =
            timeout(PATIENCE, question.query_async(&mut redis)).await?;
        let reading = match answer {
            Err(error) if error.code() == Some("NOSCRIPT") => None,
            answer => Some(Reading::read(answer?).ok_or(ReconciliationError::Unreadable)?),
        };
        let organizations = organizations.into_iter().collect();
        read.push(Read { shard, organizations, budgets, reading });
    }
    Ok(read)
}

pub(super) async fn compare(
    conn: &mut PgConnection,
    places: &Places,
    read: &[Read],
) -> Result<Compared, ReconciliationError> {
    let mut compared = Compared::new(Equality::Counters);
    let (mut cold, mut busy) = (0, 0);
    for it in read {
        let Some(reading) = it.counting() else {
            cold += 1;
            continue;
        };
        if usize::try_from(reading.waiting).is_ok_and(|waiting| waiting > reading.events.len()) {
            busy += 1;
            continue;
        }
        let known = known(conn, it, reading).await?;
        for (budget, counter) in it.budgets.iter().zip(&reading.counters) {
            let key = places.budget(it.shard, *budget);
            compare_budget(&mut compared, &key, *budget, counter, &known);
        }
    }
    compared.left_out = left_out(cold, busy);
    Ok(compared)
}

fn left_out(cold: usize, busy: usize) -> Option<String> {
    let all = [
        (cold, "shards of counters wait to be healed"),
        (busy, "shards have too many events waiting"),
    ];
    let some = all.iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> = some.map(|(count, what)| format!("{count} {what}")).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// What is held of budgets against what calls hold, the living's and the dead's.
pub(super) fn compare_holds(places: &Places, read: &[Read]) -> Compared {
    let mut compared = Compared::new(Equality::Holds);
    let mut cold = 0;
    for it in read {
        let Some(reading) = it.counting() else {
            cold += 1;
            continue;
        };
        let (mut all, mut dead) = (Spent::new(), Spent::new());
        for hold in reading.held.iter().chain(&reading.held_by_the_dead) {
            add(&mut all, (hold.budget, hold.window), hold.amounts, 1);
        }
        for hold in &reading.held_by_the_dead {
            add(&mut dead, (hold.budget, hold.window), hold.amounts, 1);
        }
        for (budget, counter) in it.budgets.iter().zip(&reading.counters) {
            let key = places.budget(it.shard, *budget);
            let windows = [counter.before, counter.window, counter.after];
            for window in windows.into_iter().flatten() {
                let at = (*budget, window.from_ms);
                let held = all.get(&at).copied().unwrap_or_default();
                let dead = dead.get(&at).copied().unwrap_or_default();
                compared.left += i128::from(window.held.money);
                compared.right += i128::from(held.money);
                let [money, requests, tokens] = window.held.all();
                for (name, left, right) in [
                    ("money held", money, held.money),
                    ("requests held", requests, held.requests),
                    ("tokens held", tokens, held.tokens),
                    ("money held by the dead", window.held_by_the_dead, dead.money),
                ] {
                    if left != right {
                        compared.note(Difference {
                            table: format!("Redis {key} | Redis {}", places.all_holds(it.shard)),
                            key: format!("budget={budget} window={}", window.from_ms),
                            amount: name.to_owned(),
                            left,
                            right,
                        });
                    }
                }
            }
        }
    }
    compared.left_out = left_out(cold, 0);
    compared
}

/// What Redis should have counted at the moment it was read.
async fn known(
    conn: &mut PgConnection,
    read: &Read,
    reading: &Reading,
) -> Result<Spent, ReconciliationError> {
    let mut known = Spent::new();
    for (at, amounts) in store::windows(conn, &read.organizations).await? {
        add(&mut known, at, amounts, 1);
    }
    for (at, amounts) in store::counted_since(conn, read.shard, &reading.settled).await? {
        add(&mut known, at, amounts, -1);
    }
    let events = reading.events.iter().filter_map(|it| Event::decode(it).ok());
    let waiting: Vec<_> = events.filter(|it| it.settlement.is_some()).collect();
    let there = store::known_usage(conn, &waiting).await?;
    for event in waiting.iter().filter(|it| !there.contains(&it.request.uuid())) {
        for it in &event.counted {
            add(&mut known, (it.budget, it.window), it.amounts, 1);
        }
    }
    Ok(known)
}

fn add(to: &mut Spent, at: (BudgetId, i64), amounts: Amounts, times: i64) {
    let Amounts { money, requests, tokens } = amounts;
    let more = Amounts { money: money * times, requests: requests * times, tokens: tokens * times };
    let sum = to.entry(at).or_default();
    *sum = sum.plus(more);
}

fn compare_budget(
    compared: &mut Compared,
    key: &str,
    budget: BudgetId,
    counter: &Counter,
    known: &Spent,
) {
    let mut windows: Vec<_> = [counter.before, counter.window, counter.after]
        .into_iter()
        .flatten()
        .map(|it| (it.from_ms, it.spent))
        .collect();
    // The latest that the database knows has to be there.
    let latest = known.keys().filter(|it| it.0 == budget).map(|it| it.1).max();
    let newest = windows.last().map(|it| it.0);
    if let Some(latest) = latest.filter(|it| newest.is_none_or(|newest| newest < *it)) {
        windows.push((latest, Amounts::default()));
    }
    for (window, spent) in windows {
        let opening = counter.opening.filter(|it| it.0 == window).map(|it| it.1);
        let expected = known.get(&(budget, window)).copied().unwrap_or_default();
        let expected = expected.plus(opening.unwrap_or_default());
        compared.left += i128::from(spent.money);
        compared.right += i128::from(expected.money);
        let names = ["money", "requests", "tokens"];
        for (name, (left, right)) in names.iter().zip(spent.all().into_iter().zip(expected.all())) {
            if left != right {
                compared.note(Difference {
                    table: format!("Redis {key} | budget_windows"),
                    key: format!("budget={budget} window={window}"),
                    amount: (*name).to_owned(),
                    left,
                    right,
                });
            }
        }
    }
}
