//! What calls that ask together are told, and what is kept of it, is what comes of asking one
//! after the other: whatever they ask, of limits and budgets, and however their store is.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shared::{
    counters::{Amounts, Incarnation, Terms},
    ids::BudgetId,
    money::{Money, Period, Zone},
    snapshot::{Budget, BudgetScope, Caps, OnRedisLoss, OnTight, Thresholds},
};
use tokio::runtime::Builder;

use super::{
    super::rounds::Target,
    model::{limits, neighbour},
    *,
};
use crate::budgets::Edges;

const START: u64 = 1_742_299_200_000;
const DAY: u64 = 86_400_000;
const BUDGETS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Ask(Vec<Call>),
    Terms {
        which: usize,
        version: i64,
        caps: [Option<i64>; 3],
        is_hard: bool,
    },
    /// The store is warm, cold or learns.
    State(char),
    StopKey(usize),
    Pass(u64),
}

#[derive(Clone, Debug)]
struct Call {
    organization: usize,
    key: usize,
    project: usize,
    limits: [usize; 3],
    tokens: u64,
    of: [bool; BUDGETS],
    amounts: [i64; 3],
    /// Of caps, as far as its proxy knows.
    version: i64,
    is_behind: bool,
    /// It is the one before it once more.
    is_again: bool,
}

fn call() -> impl Strategy<Value = Call> {
    let whose = (0..2_usize, 0..2_usize, 0..2_usize);
    let what = ([0..6_usize, 0..6_usize, 0..6_usize], 0..1_500_u64);
    let budgets = (any::<[bool; BUDGETS]>(), [0..300_i64, 0..2_i64, 0..300_i64]);
    let rarely = |parts| prop_oneof![parts => Just(false), 1 => Just(true)];
    let version = prop_oneof![20 => Just(1_i64), 1 => 2..4_i64];
    let rest = (version, rarely(20), rarely(6));
    (whose, what, budgets, rest).prop_map(|(whose, what, budgets, rest)| Call {
        organization: whose.0,
        key: whose.1,
        project: whose.2,
        limits: what.0,
        tokens: what.1,
        of: budgets.0,
        amounts: budgets.1,
        version: rest.0,
        is_behind: rest.1,
        is_again: rest.2,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cap = || prop::option::of(0..2_000_i64);
    let step = prop_oneof![
        8 => prop::collection::vec(call(), 1..12).prop_map(Step::Ask),
        2 => (0..BUDGETS, 1..4_i64, [cap(), cap(), cap()], any::<bool>()).prop_map(
            |(which, version, caps, is_hard)| Step::Terms { which, version, caps, is_hard }
        ),
        1 => prop_oneof![3 => Just('W'), 1 => Just('C'), 1 => Just('L')].prop_map(Step::State),
        1 => (0..8_usize).prop_map(Step::StopKey),
        2 => prop_oneof![0..20_000_u64, 0..3 * DAY].prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..20)
}

/// Names of its own for all that is asked in one of the two ways.
struct Way {
    name: String,
    scripts: Scripts,
}

impl Way {
    async fn new(fixture: &mut Fixture, which: &str) -> Self {
        let name = format!("{}:{which}:", fixture.name);
        let scripts = fixture.scripts_at(Places::with_prefix(&name));
        scripts.enter(&fixture.redis.history().await.unwrap());
        let () = scripts.load().exec_async(&mut fixture.redis).await.unwrap();
        Self { name, scripts }
    }

    /// The same under names of this one.
    fn own(&self, asking: &Asking) -> Asking {
        let mut own = asking.clone();
        for it in &mut own.charges {
            it.bucket.insert_str(0, &self.name);
            it.calls.insert_str(0, &self.name);
        }
        own
    }

    async fn asks(&self, redis: &mut Wire, target: Target, asking: &[Asking]) -> Vec<Vec<u8>> {
        let own: Vec<_> = asking.iter().map(|it| self.own(it)).collect();
        let ask = self.scripts.admit(target, &own.iter().collect::<Vec<_>>());
        ask.query_async(redis).await.unwrap()
    }

    /// All that is kept, by its name but for what is this one's own.
    async fn kept(&self, redis: &mut Wire) -> BTreeMap<String, Vec<u8>> {
        let pattern = format!("{}*", self.name);
        let names: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(redis).await.unwrap();
        let mut kept = BTreeMap::new();
        for name in names {
            let dump = redis::cmd("DUMP").arg(&name).query_async(redis).await.unwrap();
            kept.insert(name[self.name.len()..].to_owned(), dump);
        }
        kept
    }
}

struct World {
    fixture: Fixture,
    organizations: [OrganizationId; 2],
    projects: [ProjectId; 2],
    keys: [ApiKeyId; 2],
    budgets: Vec<Budget>,
    now: u64,
    /// One after the other, and together.
    ways: [Way; 2],
}

fn budget(organization: OrganizationId, period: Period, is_hard: bool) -> Budget {
    Budget {
        id: BudgetId::generate(),
        organization,
        name: "Search".into(),
        scope: BudgetScope::Organization,
        period,
        zone: Zone::UTC,
        caps: Caps { money: Some(Money::from_nanos(1_000)), ..Caps::default() },
        raise: None,
        is_hard,
        thresholds: Thresholds::default(),
        on_tight: OnTight::Deny,
        on_redis_loss: OnRedisLoss::Closed,
        version: 1,
        raised_by: "an owner or admin".into(),
    }
}

impl World {
    async fn new() -> Self {
        let mut fixture = Fixture::new().await;
        fixture.set_clock(START).await;
        let organization = fixture.organization;
        let periods = [Period::Day, Period::Week, Period::Total, Period::Day];
        let budgets = periods.into_iter().enumerate();
        let mut world = Self {
            organizations: [organization, neighbour(organization)],
            projects: [(); 2].map(|()| ProjectId::generate()),
            keys: [(); 2].map(|()| ApiKeyId::generate()),
            budgets: budgets.map(|(at, it)| budget(organization, it, at < 3)).collect(),
            now: START,
            ways: [Way::new(&mut fixture, "a").await, Way::new(&mut fixture, "b").await],
            fixture,
        };
        world.state('W').await;
        for it in world.budgets.clone() {
            world.terms(&it).await;
        }
        world
    }

    fn target(&self) -> Target {
        (Shard::of(self.fixture.organization), Epoch(7))
    }

    async fn state(&mut self, state: char) {
        let (shard, _) = self.target();
        for way in &self.ways {
            let kept = format!("{} {state} {}", Incarnation(5).0, self.now + 10_000);
            let name = way.scripts.counters.places.incarnation(shard);
            let () = self.fixture.redis.set(name, kept).await.unwrap();
        }
    }

    async fn terms(&mut self, budget: &Budget) {
        let (shard, _) = self.target();
        for way in &self.ways {
            let ask = way.scripts.counters.set_terms(shard, Terms { budget, opening: None });
            let _: i64 = ask.query_async(&mut self.fixture.redis).await.unwrap();
        }
    }

    fn asking(&mut self, call: &Call, nth: u64) -> Asking {
        let [one, two, three] = call.limits.map(limits);
        let all = Three { key: one, project: two, organization: three };
        let (fixture, key) = (&mut self.fixture, self.keys[call.key]);
        let own = fixture.organization;
        fixture.organization = self.organizations[call.organization];
        (fixture.key, fixture.project) = (key, self.projects[call.project]);
        let charges = fixture.asked(&all, call.tokens).charges();
        fixture.organization = own;
        let [money, requests, tokens] = call.amounts;
        let behind = if call.is_behind { 5 * DAY } else { 0 };
        let now = i64::try_from(self.now - behind).unwrap();
        let known: Vec<_> = self
            .budgets
            .iter()
            .map(|it| Budget { version: it.version.max(call.version), ..it.clone() })
            .collect();
        let chosen = call.of.iter().zip(&known).filter(|(is_chosen, _)| **is_chosen);
        let wanted = chosen.map(|(_, budget)| Wanted {
            budget,
            wanted: Amounts { money, requests, tokens },
            edges: Edges::around(budget.period, &budget.zone, now),
        });
        let wanted: Vec<_> = wanted.collect();
        let (shard, epoch) = (Shard::of(own), Epoch(7));
        let call = RequestId::generate();
        let question = Question { shard, epoch, call, key, budgets: &wanted };
        let mut asking = Asking::new(&question, (charges, None), &Leases::new());
        asking.places = format!("proxy.{nth:x}");
        asking
    }

    /// A key that stops stays so.
    async fn step(&mut self, nth: u64, step: Step) {
        match step {
            Step::Ask(calls) => {
                let mut all: Vec<Asking> = Vec::new();
                for (within, it) in (nth << 8..).zip(calls) {
                    let before = all.last().filter(|_| it.is_again).cloned();
                    let asking = before.unwrap_or_else(|| self.asking(&it, within));
                    all.push(asking);
                }
                let target = self.target();
                let mut alone = Vec::new();
                for it in &all {
                    let it = std::slice::from_ref(it);
                    alone.extend(self.ways[0].asks(&mut self.fixture.redis, target, it).await);
                }
                let together = self.ways[1].asks(&mut self.fixture.redis, target, &all).await;
                assert_eq!(alone, together);
                let read = |(it, answer): (&Asking, &Vec<u8>)| {
                    Decision::read(answer, it.charges.len()).is_some()
                };
                assert!(all.iter().zip(&together).all(read));
                let [alone, together] = &self.ways;
                let alone = alone.kept(&mut self.fixture.redis).await;
                assert_eq!(alone, together.kept(&mut self.fixture.redis).await);
            }
            Step::Terms { which, version, caps, is_hard } => {
                let [money, requests, tokens] = caps;
                let caps = Caps { money: money.map(Money::from_nanos), requests, tokens };
                let told = Budget { version, caps, is_hard, ..self.budgets[which].clone() };
                self.terms(&told).await;
            }
            Step::State(state) => self.state(state).await,
            Step::StopKey(which) => {
                let Some(key) = self.keys.get(which).copied() else { return };
                let (shard, _) = self.target();
                for way in &self.ways {
                    let stop = way.scripts.counters.stop_key(shard, key, 1);
                    let () = stop.exec_async(&mut self.fixture.redis).await.unwrap();
                }
            }
            Step::Pass(milliseconds) => {
                self.now += milliseconds;
                self.fixture.set_clock(self.now).await;
            }
        }
    }
}

#[test]
fn calls_that_ask_together_are_let_through_as_if_one_after_the_other() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    proptest!(ProptestConfig::with_cases(64), |(steps in steps())| {
        runtime.block_on(async {
            let mut world = World::new().await;
            for (nth, step) in (0..).zip(steps) {
                world.step(nth, step).await;
            }
        });
    });
}
