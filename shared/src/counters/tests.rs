//! Against a real Redis: TURNPIKE_TEST_REDIS_URL, or the one that
//! `infra/stack.sh start .run/test` started. How calls are let through is tested where the
//! script is that does it, in the data plane.

use std::{collections::HashMap, time::Duration};

use redis::{AsyncCommands, Cmd, FromRedisValue};

use super::*;
use crate::{
    ids::RequestId,
    money::{Money, Period, Zone},
    snapshot::{Budget, BudgetScope, Caps, OnRedisLoss, OnTight, Thresholds},
    wire::{Address, Patience, Wire},
};

const SHARD: Shard = Shard(17);
const EPOCH: Epoch = Epoch(7);

struct Fixture {
    redis: Wire,
    scripts: Scripts,
    name: String,
}

fn redis_url() -> String {
    const NAME: &str = "TURNPIKE_TEST_REDIS_URL";
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.run/test/stack.env");
    let named = std::env::var(NAME).ok().or_else(|| {
        let file = std::fs::read_to_string(FILE).ok()?;
        let line = file.lines().find_map(|it| it.strip_prefix(NAME)?.strip_prefix('='));
        line.map(str::to_owned)
    });
    named.expect("a Redis for tests: infra/stack.sh start .run/test")
}

impl Fixture {
    async fn new() -> Self {
        let patience = Duration::from_secs(10);
        let patience = Patience { connect: patience, answer: patience };
        let address: Address = redis_url().parse().unwrap();
        let redis = address.connect(patience).await.unwrap();
        // All of a test's names are in one slot of a cluster: every script asks for the clock.
        let name = format!("test:{SHARD}:{}:", RequestId::generate());
        let clock =
            format!("local function clock() return tonumber(redis.call('GET', '{name}now')) end\n");
        let scripts = Scripts::with(&clock, Places::with_prefix(&name));
        let mut fixture = Self { redis, scripts, name };
        let history = fixture.redis.history().await.unwrap();
        fixture.scripts.enter(&history);
        let () = fixture.scripts.load().exec_async(&mut fixture.redis).await.unwrap();
        fixture.set_clock(1_000).await;
        let warm = format!("{} W 0", 5);
        let () = fixture.redis.set(fixture.places().incarnation(SHARD), warm).await.unwrap();
        fixture
    }

    fn places(&self) -> &Places {
        &self.scripts.places
    }

    async fn set_clock(&mut self, milliseconds: i64) {
        let () = self.redis.set(format!("{}now", self.name), milliseconds).await.unwrap();
    }

    async fn ask<T: FromRedisValue>(&mut self, question: Cmd) -> T {
        question.query_async(&mut self.redis).await.unwrap()
    }

    async fn counter(&mut self, budget: BudgetId) -> Counter {
        let kept: Vec<u8> = self.ask(self.scripts.budget(SHARD, budget)).await;
        Counter::read(&kept)
    }

    async fn look(&mut self) -> Looked {
        let answer = self.ask(self.scripts.look((SHARD, EPOCH), true, None)).await;
        Looked::read(answer).unwrap()
    }

    async fn alerts(&mut self) -> Vec<HashMap<String, String>> {
        let mut ask = redis::cmd("XRANGE");
        ask.arg(self.places().alerts(SHARD)).arg("-").arg("+");
        let entries: Vec<(String, HashMap<String, String>)> = self.ask(ask).await;
        entries.into_iter().map(|(_, fields)| fields).collect()
    }

    async fn settle(&mut self, number: u64, held: &[BudgetId], counted: &[Counted]) -> Settled {
        let call = format!("call{number}");
        let calls = [Settlement { number, call: &call, event: b"{}", held, counted }];
        Settled::read(self.ask(self.scripts.settle(SHARD, EPOCH, &calls)).await).unwrap()
    }
}

fn amounts(money: i64) -> Amounts {
    Amounts { money, requests: 1, tokens: 10 }
}

fn budget(version: i64, cap: i64) -> Budget {
    Budget {
        id: BudgetId::generate(),
        organization: OrganizationId::generate(),
        name: "all".into(),
        scope: BudgetScope::Organization,
        period: Period::Total,
        zone: Zone::UTC,
        caps: Caps { money: Some(Money::from_nanos(cap)), ..Caps::default() },
        raise: None,
        is_hard: true,
        thresholds: Thresholds::try_from(vec![50, 90]).unwrap(),
        on_tight: OnTight::Deny,
        on_redis_loss: OnRedisLoss::Closed,
        version,
        raised_by: String::new(),
    }
}

fn hold(budget: BudgetId, window: i64, money: i64) -> Hold {
    Hold { budget, window, amounts: amounts(money) }
}

fn counted(budget: BudgetId, window: i64, money: i64) -> Counted {
    Counted { budget, window, amounts: amounts(money) }
}

#[tokio::test]
async fn what_is_held_is_settled_once_and_alerts_are_told_once() {
    let mut it = Fixture::new().await;
    let budget = budget(1, 1_000);
    let opening =
        Opening { from_ms: 0, until_ms: i64::MAX, spent: Amounts { money: 100, ..amounts(0) } };
    let terms = Terms { budget: &budget, opening: Some(opening) };
    assert_eq!(it.ask::<i64>(it.scripts.set_terms(SHARD, terms)).await, 1);
    assert_eq!(it.ask::<i64>(it.scripts.set_terms(SHARD, terms)).await, 0);
    let of = budget.id;
    let registered: String =
        it.ask(it.scripts.register(SHARD, EPOCH, "call1", &[hold(of, 0, 700)])).await;
    assert_eq!(registered, "W");
    let window = it.counter(of).await.window.unwrap();
    assert_eq!((window.spent.money, window.held.money, window.until_ms), (100, 700, LATEST));

    let more = [hold(of, 0, 200)];
    let shard = (SHARD, EPOCH, Incarnation(5));
    assert_eq!(it.ask::<i64>(it.scripts.extend(shard, "call1", &more)).await, 0);
    assert_eq!(it.ask::<i64>(it.scripts.extend(shard, "call1", &[hold(of, 0, 1)])).await, 1);
    assert_eq!(it.ask::<i64>(it.scripts.extend(shard, "call2", &more)).await, -2);
    let other = (SHARD, EPOCH, Incarnation(6));
    assert_eq!(it.ask::<i64>(it.scripts.extend(other, "call1", &more)).await, -1);

    // The second has to wait for the first, and the first counts once.
    assert_eq!(it.settle(2, &[], &[counted(of, 0, 5)]).await.last, 0);
    for _ in 0..2 {
        let settled = it.settle(1, &[of], &[counted(of, 0, 850)]).await;
        assert_eq!((settled.last, settled.incarnation), (1, Incarnation(5)));
    }
    let window = it.counter(of).await.window.unwrap();
    assert_eq!((window.spent.money, window.held), (950, Amounts::default()));
    let (events, alerts) = (it.places().events(SHARD), it.places().alerts(SHARD));
    for (stream, length) in [(events, 1), (alerts, 2)] {
        let mut ask = redis::cmd("XLEN");
        ask.arg(stream);
        assert_eq!(it.ask::<u64>(ask).await, length);
    }
}

/// What was spent before it was made would be spent once more.
#[tokio::test]
async fn a_hard_budget_is_not_in_force_before_it_is_opened() {
    let mut it = Fixture::new().await;
    let mut budget = budget(1, 1_000);
    let terms = Terms { budget: &budget, opening: None };
    assert!(it.ask::<i64>(it.scripts.set_terms(SHARD, terms)).await <= 0);
    assert_eq!(it.counter(budget.id).await.version, 0);
    // One that only alerts may be, and is opened later.
    budget.is_hard = false;
    let terms = Terms { budget: &budget, opening: None };
    assert_eq!(it.ask::<i64>(it.scripts.set_terms(SHARD, terms)).await, 1);
    (budget.is_hard, budget.version) = (true, 2);
    let terms = Terms { budget: &budget, opening: None };
    assert!(it.ask::<i64>(it.scripts.set_terms(SHARD, terms)).await <= 0);
    assert_eq!(it.counter(budget.id).await.version, 1);
    let opening = Some(Opening { from_ms: 0, until_ms: i64::MAX, spent: amounts(900) });
    let terms = Terms { budget: &budget, opening };
    assert_eq!(it.ask::<i64>(it.scripts.set_terms(SHARD, terms)).await, 1);
    let counter = it.counter(budget.id).await;
    assert_eq!((counter.version, counter.window.unwrap().spent), (2, amounts(900)));
    budget.version = 3;
    let terms = Terms { budget: &budget, opening: None };
    assert_eq!(it.ask::<i64>(it.scripts.set_terms(SHARD, terms)).await, 1);
}

#[tokio::test]
async fn higher_caps_have_thresholds_of_their_own_to_pass() {
    let mut it = Fixture::new().await;
    let mut budget = budget(1, 1_000);
    let of = budget.id;
    let opening = Some(Opening { from_ms: 0, until_ms: i64::MAX, spent: Amounts::default() });
    let terms = Terms { budget: &budget, opening };
    assert_eq!(it.ask::<i64>(it.scripts.set_terms(SHARD, terms)).await, 1);
    it.settle(1, &[], &[counted(of, 0, 950)]).await;
    assert_eq!(it.alerts().await.len(), 2);
    (budget.caps.money, budget.version) = (Some(Money::from_nanos(10_000)), 2);
    let terms = Terms { budget: &budget, opening: None };
    assert_eq!(it.ask::<i64>(it.scripts.set_terms(SHARD, terms)).await, 1);
    it.settle(2, &[], &[counted(of, 0, 50)]).await;
    assert_eq!(it.alerts().await.len(), 2);
    it.settle(3, &[], &[counted(of, 0, 4_000)]).await;
    assert_eq!(it.alerts().await.len(), 3);
    // Lower ones pass what is spent already, and tell of it with the next call.
    (budget.caps.tokens, budget.version) = (Some(32), 3);
    let terms = Terms { budget: &budget, opening: None };
    assert_eq!(it.ask::<i64>(it.scripts.set_terms(SHARD, terms)).await, 1);
    it.settle(4, &[], &[counted(of, 0, 1)]).await;
    let alerts = it.alerts().await;
    let last = &alerts[3];
    let told = ["percent", "kind", "amount", "cap", "spent", "version"].map(|it| last[it].as_str());
    assert_eq!(told, ["90", "tokens", "40", "32", "5001", "3"]);
}

#[tokio::test]
async fn what_a_dead_process_holds_stays_held_until_it_is_settled() {
    let mut it = Fixture::new().await;
    let of = BudgetId::generate();
    let _: String = it.ask(it.scripts.register(SHARD, EPOCH, "call1", &[hold(of, 0, 700)])).await;
    assert_eq!(it.look().await.now_ms, 1_000);
    let holds = it.places().holds(SHARD, EPOCH);
    let written: Vec<u8> = it.redis.hget(&holds, "call1").await.unwrap();
    assert_eq!(Hold::read_all(&written), [hold(of, 0, 700)]);
    assert_eq!(Hold::dead_since(&written), None);
    let sweep = |since| Sweeping {
        epoch: EPOCH,
        call: "call1",
        written: &written,
        why: Swept::Dead { silent_since_ms: since },
    };
    assert_eq!(it.ask::<i64>(it.scripts.sweep(SHARD, sweep(999))).await, 0);
    assert_eq!(it.ask::<i64>(it.scripts.sweep(SHARD, sweep(1_000))).await, 1);
    assert_eq!(it.ask::<i64>(it.scripts.sweep(SHARD, sweep(1_000))).await, 0);
    let dead: HashMap<String, Vec<u8>> =
        it.redis.hgetall(it.places().dead_holds(SHARD)).await.unwrap();
    let (name, written_there) = dead.iter().next().unwrap();
    assert_eq!(name, &format!("{EPOCH} call1"));
    assert_eq!(Hold::read_all(written_there), [hold(of, 0, 700)]);
    assert_eq!(Hold::dead_since(written_there), Some(1_000));
    // Nobody had begun the window: it stands apart until somebody does.
    let counter = it.counter(of).await;
    assert_eq!(counter.window, None);
    let apart = counter.before.unwrap();
    assert_eq!((apart.held.money, apart.held_by_the_dead), (700, 700));

    it.settle(1, &[of], &[counted(of, 0, 300)]).await;
    let apart = it.counter(of).await.before.unwrap();
    assert_eq!((apart.spent.money, apart.held.money, apart.held_by_the_dead), (300, 0, 0));
}

#[tokio::test]
async fn a_process_that_was_taken_for_dead_and_lives_holds_once() {
    let mut it = Fixture::new().await;
    let of = BudgetId::generate();
    let held = [hold(of, 0, 700)];
    let _: String = it.ask(it.scripts.register(SHARD, EPOCH, "call1", &held)).await;
    let written: Vec<u8> = it.redis.hget(it.places().holds(SHARD, EPOCH), "call1").await.unwrap();
    let why = Swept::Dead { silent_since_ms: 1_000 };
    let sweeping = Sweeping { epoch: EPOCH, call: "call1", written: &written, why };
    assert_eq!(it.ask::<i64>(it.scripts.sweep(SHARD, sweeping)).await, 1);

    // It says what it holds, for the store was lost meanwhile; and it got more since.
    let more = [hold(of, 0, 700), hold(of, 0, 50)];
    let held_now = Amounts { money: 750, requests: 2, tokens: 20 };
    for _ in 0..2 {
        let whole = [Hold { amounts: more[0].amounts.plus(more[1].amounts), ..more[0] }];
        let _: String = it.ask(it.scripts.register(SHARD, EPOCH, "call1", &whole)).await;
        let apart = it.counter(of).await.before.unwrap();
        assert_eq!((apart.held, apart.held_by_the_dead), (held_now, 0));
    }
    let dead: u64 = it.redis.hlen(it.places().dead_holds(SHARD)).await.unwrap();
    assert_eq!(dead, 0);
    let seen: Option<i64> =
        it.redis.zscore(it.places().living(SHARD), EPOCH.to_string()).await.unwrap();
    assert_eq!(seen, Some(1_000));
    it.settle(1, &[of], &[counted(of, 0, 300)]).await;
    let apart = it.counter(of).await.before.unwrap();
    assert_eq!((apart.spent.money, apart.held), (300, Amounts::default()));
}

#[tokio::test]
async fn what_is_more_than_lua_can_count_is_counted_to_the_nano_dollar() {
    let mut it = Fixture::new().await;
    let (budget, odd) = (budget(1, 1_000), 9_007_199_254_740_993);
    let of = budget.id;
    let spent = Amounts { money: odd, ..amounts(0) };
    let opening = Opening { from_ms: 1_000, until_ms: 2_000, spent };
    let terms = Terms { budget: &budget, opening: Some(opening) };
    assert_eq!(it.ask::<i64>(it.scripts.set_terms(SHARD, terms)).await, 1);
    let counter = it.counter(of).await;
    assert_eq!((counter.window.unwrap().spent, counter.opening), (spent, Some((1_000, spent))));
    let mut money = odd;
    for (number, more) in [(1, 2), (2, 6_899_999_999_999_999), (3, 1)] {
        it.settle(number, &[], &[counted(of, 1_000, more)]).await;
        money += more;
        assert_eq!(it.counter(of).await.window.unwrap().spent.money, money);
    }
    // Also in the window before, of which one knows only what the database does.
    let windows = [HealedWindow {
        budget: of,
        from_ms: 500,
        until_ms: 1_000,
        more: Amounts { money: odd, ..amounts(0) },
    }];
    let () = it.ask(it.scripts.chill(SHARD, Incarnation(8))).await;
    let healing = Healing {
        from: Incarnation(8),
        to: Incarnation(9),
        windows: &windows,
        ..Healing::default()
    };
    assert_eq!(it.ask::<i64>(it.scripts.heal(SHARD, healing)).await, 1);
    it.settle(4, &[], &[counted(of, 500, 3)]).await;
    let counter = it.counter(of).await;
    assert_eq!(counter.before.unwrap().spent.money, odd + 3);
    assert_eq!(counter.window.unwrap().spent.money, money);
    // And when another window begins.
    let windows = [HealedWindow { budget: of, from_ms: 2_000, until_ms: 3_000, more: amounts(1) }];
    let () = it.ask(it.scripts.chill(SHARD, Incarnation(10))).await;
    let healing =
        Healing { from: Incarnation(10), to: Incarnation(11), windows: &windows, ..healing };
    assert_eq!(it.ask::<i64>(it.scripts.heal(SHARD, healing)).await, 1);
    let counter = it.counter(of).await;
    assert_eq!(counter.window.unwrap().spent.money, 1);
    assert_eq!(counter.before.unwrap().spent.money, money);
}

#[tokio::test]
async fn a_shard_is_cold_until_it_is_healed_and_then_learns() {
    let mut it = Fixture::new().await;
    let (one, other) = (BudgetId::generate(), BudgetId::generate());
    let () = it.ask(it.scripts.chill(SHARD, Incarnation(8))).await;
    assert_eq!(it.look().await.state, State::Cold);
    assert_eq!(it.settle(1, &[], &[counted(one, 500, 5)]).await.last, 0);
    let windows = [
        HealedWindow { budget: one, from_ms: 0, until_ms: 500, more: amounts(1) },
        HealedWindow { budget: one, from_ms: 500, until_ms: 2_000, more: amounts(2) },
        HealedWindow { budget: other, from_ms: 0, until_ms: i64::MAX, more: amounts(3) },
    ];
    let healing = |from| Healing {
        from: Incarnation(from),
        to: Incarnation(9),
        learning_ms: 3_000,
        settled: &[(EPOCH, 4)],
        windows: &windows,
        ..Healing::default()
    };
    assert_eq!(it.ask::<i64>(it.scripts.heal(SHARD, healing(5))).await, 0);
    assert_eq!(it.ask::<i64>(it.scripts.heal(SHARD, healing(8))).await, 1);
    assert_eq!(it.ask::<i64>(it.scripts.heal(SHARD, healing(8))).await, 0);
    let looked = it.look().await;
    assert_eq!((looked.state, looked.incarnation), (State::Learning, Incarnation(9)));
    assert_eq!((looked.settled, looked.durable), (4, 4));
    let counter = it.counter(one).await;
    assert_eq!((counter.window.unwrap().spent.money, counter.before.unwrap().spent.money), (2, 1));
    assert_eq!(counter.at(1_999), counter.window.as_ref());
    assert_eq!(counter.at(2_000), None);
    assert_eq!(it.counter(other).await.window.unwrap().spent, amounts(3));

    let _: String = it.ask(it.scripts.register(SHARD, EPOCH, "call5", &[hold(one, 0, 7)])).await;
    assert_eq!(it.counter(one).await.before.unwrap().held.money, 7);
    it.settle(5, &[one], &[counted(one, 0, 6)]).await;
    let before = it.counter(one).await.before.unwrap();
    assert_eq!((before.spent.money, before.held.money), (7, 0));
    it.set_clock(4_000).await;
    assert_eq!(it.look().await.state, State::Warm);
}

/// What it holds may be all that is left of a cap.
#[tokio::test]
async fn a_shard_learns_until_all_have_spoken_who_held_something() {
    let mut it = Fixture::new().await;
    let () = it.ask(it.scripts.chill(SHARD, Incarnation(8))).await;
    let awaited = [EPOCH, Epoch(8)];
    let healing = Healing {
        from: Incarnation(8),
        to: Incarnation(9),
        learning_ms: 5_000,
        awaited: &awaited,
        longest_ms: 600_000,
        ..Healing::default()
    };
    assert_eq!(it.ask::<i64>(it.scripts.heal(SHARD, healing)).await, 1);
    let says = async |it: &mut Fixture, epoch, has_said: Option<u64>| {
        let ask = it.scripts.look((SHARD, epoch), true, has_said.map(Incarnation));
        Looked::read(it.ask(ask).await).unwrap().state
    };
    it.set_clock(60_000).await;
    for has_said in [None, Some(8), Some(9), Some(9)] {
        assert_eq!(says(&mut it, EPOCH, has_said).await, State::Learning, "{has_said:?}");
    }
    assert_eq!(says(&mut it, Epoch(8), None).await, State::Learning);
    assert_eq!(says(&mut it, Epoch(8), Some(9)).await, State::Warm);
    assert_eq!(says(&mut it, Epoch(8), Some(9)).await, State::Warm);

    // All have spoken at once: it learns for as long as it would from anybody.
    let chilled = Incarnation(10);
    let () = it.ask(it.scripts.chill(SHARD, chilled)).await;
    let healing = Healing { from: chilled, to: Incarnation(11), ..healing };
    assert_eq!(it.ask::<i64>(it.scripts.heal(SHARD, healing)).await, 1);
    for epoch in awaited {
        assert_eq!(says(&mut it, epoch, Some(11)).await, State::Learning);
    }
    it.set_clock(65_000).await;
    assert_eq!(it.look().await.state, State::Warm);

    // One never comes back: somebody says so, or it takes its time.
    let chilled = Incarnation(12);
    let () = it.ask(it.scripts.chill(SHARD, chilled)).await;
    let healing = Healing { from: chilled, to: Incarnation(13), ..healing };
    assert_eq!(it.ask::<i64>(it.scripts.heal(SHARD, healing)).await, 1);
    assert_eq!(says(&mut it, EPOCH, Some(13)).await, State::Learning);
    let waited: Vec<String> = it.ask(it.scripts.warm(SHARD)).await;
    assert_eq!(waited, [Epoch(8).to_string()]);
    assert_eq!(it.look().await.state, State::Warm);
    assert_eq!(it.ask::<Vec<String>>(it.scripts.warm(SHARD)).await, [""; 0]);
}

#[tokio::test]
async fn every_shard_of_another_redis_is_cold() {
    let mut it = Fixture::new().await;
    let number = Incarnation::fresh();
    assert!(number.0 < 1 << 53);
    let () = it.scripts.chill_all(number).exec_async(&mut it.redis).await.unwrap();
    let [exists]: [bool; 1] = it.ask(it.scripts.is_booted()).await;
    assert!(exists);
    for shard in [Shard(0), SHARD, Shard(255)] {
        let kept: String = it.redis.get(it.places().incarnation(shard)).await.unwrap();
        assert!(kept.starts_with(&format!("{} C ", number.0)), "{kept}");
    }
}
