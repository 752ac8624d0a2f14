//! What the scripts cost Redis. Prints it, where the Redis is otherwise idle:
//! `cargo nextest run -p data-plane --run-ignored only scripts_cost --no-capture`.

use shared::{
    counters::{Amounts, Counted, Settlement},
    ids::ApiKeyId,
};

use super::*;
use crate::limits::{Decision, Question, Wanted};

const BUDGETS: usize = 5;
const CALLS: usize = 2_000;
const ROUNDS: u64 = 7;

/// The processor time of `EVALSHA` so far, in microseconds, and how often it ran.
async fn spent(redis: &mut Wire) -> (u64, u64) {
    let said: String = redis::cmd("INFO").arg("commandstats").query_async(redis).await.unwrap();
    let line = said.lines().find_map(|it| it.strip_prefix("cmdstat_evalsha:")).unwrap_or_default();
    let number = |name: &str| {
        let found = line.split(',').find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
        found.map_or(0, |it| it.parse().unwrap())
    };
    (number("usec"), number("calls"))
}

/// What each of those calls cost, in tenths of a microsecond.
async fn each(redis: &mut Wire, asks: &[redis::Cmd]) -> u64 {
    let (usec, calls) = spent(redis).await;
    for ask in asks {
        let _: redis::Value = ask.query_async(redis).await.unwrap();
    }
    let (after, calls_after) = spent(redis).await;
    (after - usec) * 10 / (calls_after - calls).max(1)
}

#[tokio::test]
#[ignore = "a measurement"]
async fn what_the_scripts_cost() {
    let mut fixture = Fixture::new().await;
    for _ in 0..BUDGETS {
        fixture.budget(BudgetScope::Organization, Period::Day, 9_000_000_000_000);
    }
    let proxy = fixture.proxy().await;
    fixture.call(&proxy, BODY).await.unwrap().answered(10, 20);
    let (scripts, shard, epoch) = (fixture.scripts(), fixture.shard(), proxy.epoch());
    scripts.enter(&fixture.redis.history().await.unwrap());
    let budgets: Vec<_> = fixture
        .budgets
        .iter()
        .map(|it| Wanted {
            budget: it,
            wanted: Amounts { money: 1_234_567, requests: 1, tokens: 1_300 },
            edges: proxy.edges(it),
        })
        .collect();
    let held: Vec<_> = fixture.budgets.iter().map(|it| it.id).collect();
    let count = |it: &Budget| Counted {
        budget: it.id,
        window: proxy.edges(it).window(),
        amounts: Amounts { money: 77_777, requests: 1, tokens: 130 },
    };
    let counted: Vec<_> = fixture.budgets.iter().map(count).collect();
    proxy.leave().await;
    let event = vec![b'x'; 700];
    let (mut least, mut number) = ([u64::MAX; 4], 1);
    for round in 0..ROUNDS {
        let batch = if round % 2 == 0 { 1 } else { 10 };
        let calls: Vec<_> = (0..CALLS).map(|_| RequestId::generate()).collect();
        let key = ApiKeyId::generate();
        let question = |call: &_| Question { shard, epoch, call: *call, key, budgets: &budgets };
        let questions: Vec<_> = calls.iter().map(question).collect();
        let together = questions.chunks(batch);
        let asks: Vec<_> = together.map(|it| asked_of_budgets(&scripts, it)).collect();
        let decisions = answered(&mut fixture.redis, &asks[0]).await;
        assert!(decisions.iter().all(Decision::is_passed));
        let cost = each(&mut fixture.redis, &asks[1..]).await / batch as u64;
        let which = if batch == 1 { 0 } else { 1 };
        least[which] = least[which].min(cost);
        let names: Vec<_> = calls.iter().map(|it| it.uuid().simple().to_string()).collect();
        let settlements: Vec<_> = names
            .iter()
            .map(|call| {
                number += 1;
                Settlement { number, call, event: &event, held: &held, counted: &counted }
            })
            .collect();
        let asks: Vec<_> =
            settlements.chunks(batch).map(|it| scripts.counters.settle(shard, epoch, it)).collect();
        let cost = each(&mut fixture.redis, &asks).await / batch as u64;
        let which = if batch == 1 { 2 } else { 3 };
        least[which] = least[which].min(cost);
    }
    let settled: u64 =
        fixture.redis.hget(fixture.places().settled(shard), epoch.to_string()).await.unwrap();
    assert_eq!(settled, number);
    let [admit, together, settle, batched] = least.map(|it| format!("{}.{} µs", it / 10, it % 10));
    println!(
        "{BUDGETS} budgets: letting through {admit}, ten at once {together} each; settling {settle}, ten at once {batched} each"
    );
}
