//! The scripts, step by step, against the same rules written down in Rust.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shared::counters::{
    Amounts, Counted, Epoch, HealedWindow, Healing, Hold, Looked, Settled, Settlement, State,
    Sweeping, Swept, Terms,
};
use tokio::runtime::Runtime;

use super::*;
use crate::limits::{Decision, Kind, Question, Standing, Verdict, Wanted};

const EPOCH: Epoch = Epoch(5);

#[derive(Clone, Debug)]
enum Step {
    /// Calls ask together, each for some of some budgets, or the one before it once more.
    Ask(Vec<([bool; 3], [i64; 3], bool)>),
    /// One that is under way asks for more.
    Extend {
        which: usize,
        amounts: [i64; 3],
    },
    /// One that is under way ends, in its turn, and is said so often.
    Settle {
        which: usize,
        amounts: [i64; 3],
        times: usize,
    },
    /// One that was settled is said once more.
    Again {
        which: usize,
    },
    /// One is said before its turn.
    Early,
    Terms {
        which: usize,
        version: i64,
        caps: [Option<i64>; 3],
        is_hard: bool,
    },
    Pass(i64),
    Chill,
    Heal {
        spent: [i64; 3],
        learning: bool,
    },
    /// What is held is said again.
    Register,
    /// The process is taken for dead.
    Sweep {
        which: usize,
    },
}

fn amounts() -> impl Strategy<Value = [i64; 3]> {
    [0..400_i64, 0..2_i64, 0..300_i64]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let caps = || prop::option::of(0..1_500_i64);
    let which = || any::<usize>();
    let is_again = || prop_oneof![7 => Just(false), 1 => Just(true)];
    let call = move || (any::<[bool; 3]>(), amounts(), is_again());
    let calls = prop_oneof![1..2_usize, 2..9_usize]
        .prop_flat_map(move |count| prop::collection::vec(call(), count));
    let step = prop_oneof![
        8 => calls.prop_map(Step::Ask),
        3 => (which(), amounts()).prop_map(|(which, amounts)| Step::Extend { which, amounts }),
        5 => (which(), amounts(), 1..3_usize)
            .prop_map(|(which, amounts, times)| Step::Settle { which, amounts, times }),
        1 => which().prop_map(|which| Step::Again { which }),
        1 => Just(Step::Early),
        2 => (which(), 0..9_i64, [caps(), caps(), caps()], any::<bool>()).prop_map(
            |(which, version, caps, is_hard)| Step::Terms { which, version, caps, is_hard }
        ),
        2 => prop_oneof![0..DAY / 3, 0..9 * DAY].prop_map(Step::Pass),
        1 => Just(Step::Chill),
        3 => (amounts(), any::<bool>())
            .prop_map(|(spent, learning)| Step::Heal { spent, learning }),
        1 => Just(Step::Register),
        1 => which().prop_map(|which| Step::Sweep { which }),
    ];
    prop::collection::vec(step, 1..50)
}

/// What is all in Redis, in Rust.
#[derive(Default)]
struct Model {
    now: i64,
    state: Option<(State, i64)>,
    incarnation: u64,
    budgets: Vec<Kept>,
    holds: BTreeMap<String, Vec<Hold>>,
    dead: BTreeMap<String, Vec<Hold>>,
    settled: u64,
}

#[derive(Clone, Default)]
struct Kept {
    version: i64,
    is_hard: bool,
    caps: [Option<i64>; 3],
    window: Option<(i64, i64)>,
    /// The present one and those that stand aside.
    all: BTreeMap<i64, Taken>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    spent: Amounts,
    held: Amounts,
    dead: i64,
}

fn with(one: Amounts, other: Amounts, times: i64) -> Amounts {
    Amounts {
        money: one.money + times * other.money,
        requests: one.requests + times * other.requests,
        tokens: one.tokens + times * other.tokens,
    }
}

fn of(amounts: [i64; 3]) -> Amounts {
    let [money, requests, tokens] = amounts;
    Amounts { money, requests, tokens }
}

impl Kept {
    fn turn(&mut self, from: i64, till: i64) {
        self.all.entry(from).or_default();
        self.window = Some((from, till));
        self.forget();
    }

    /// All but the present window and the two latest others.
    fn forget(&mut self) {
        let others = self.others();
        for it in others.iter().skip(2) {
            self.all.remove(it);
        }
    }

    /// The latest first.
    fn others(&self) -> Vec<i64> {
        let present = self.window.map(|it| it.0);
        self.all.keys().rev().copied().filter(|it| Some(*it) != present).collect()
    }

    fn present(&mut self, now: i64, edges: [i64; 4]) -> bool {
        if self.window.is_some_and(|(_, till)| now < till) {
            return true;
        }
        let spans = edges.windows(2).find(|it| it[0] <= now && now < it[1]);
        let Some(&[from, till]) = spans else { return false };
        let from = self.window.map_or(from, |(_, end)| from.max(end));
        self.turn(from, till);
        true
    }

    /// Nothing of a window that is forgotten.
    fn taken(&mut self, window: i64) -> Option<&mut Taken> {
        self.all.entry(window).or_default();
        self.forget();
        self.all.get_mut(&window)
    }

    fn lacks(&self, taken: Taken, wanted: Amounts) -> Option<Kind> {
        let lacks = |kind: &Kind| {
            let cap = self.caps[*kind as usize];
            let sum = kind.of(taken.spent) + kind.of(taken.held) + kind.of(wanted);
            kind.of(wanted) > 0 && cap.is_some_and(|it| sum > it)
        };
        Kind::ALL.into_iter().find(|it| self.is_hard && lacks(it))
    }
}

impl Model {
    fn state(&self) -> State {
        match self.state {
            None => State::Cold,
            Some((State::Learning, until)) if self.now >= until => State::Warm,
            Some((state, _)) => state,
        }
    }

    /// What stands against a call, without saying which of several budgets that lack.
    fn ask(&mut self, call: &str, wanted: &[(usize, Amounts, [i64; 4], i64)]) -> Verdict {
        let has_hard = wanted.iter().any(|it| self.budgets[it.0].is_hard);
        let state = self.state();
        if state != State::Warm && has_hard {
            return Verdict::NotCounted;
        }
        if state == State::Cold {
            return Verdict::Passed;
        }
        let (mut old, mut other, mut spent) = (false, false, None);
        for (index, (which, amounts, edges, version)) in wanted.iter().enumerate() {
            let now = self.now;
            let kept = &mut self.budgets[*which];
            if kept.version == 0 || kept.version < *version {
                old = true;
            } else if !kept.present(now, *edges) {
                other = true;
            } else if let Some((present, _)) = kept.window {
                let taken = *kept.taken(present).unwrap();
                let lacks = kept.lacks(taken, *amounts);
                spent = spent.or_else(|| lacks.map(|it| (index, it)));
            }
        }
        // Who holds already what they want stands in nobody's way.
        let is_again = self.holds.contains_key(call);
        match (other, old, spent.filter(|_| !is_again)) {
            (true, ..) => Verdict::OtherWindow,
            (_, true, _) => Verdict::OldTerms,
            (_, _, Some((index, kind))) => Verdict::Spent(index, kind),
            (_, _, None) => {
                for (which, amounts, ..) in wanted.iter().filter(|_| !is_again) {
                    let kept = &mut self.budgets[*which];
                    let (window, _) = kept.window.unwrap();
                    let taken = kept.taken(window).unwrap();
                    taken.held = with(taken.held, *amounts, 1);
                }
                if !wanted.is_empty() && !is_again {
                    self.holds.insert(call.to_owned(), Vec::new());
                }
                Verdict::Passed
            }
        }
    }

    fn release(&mut self, ids: &[BudgetId], holds: &[Hold], was_dead: bool) {
        for hold in holds {
            let which = ids.iter().position(|it| *it == hold.budget).unwrap();
            if let Some(taken) = self.budgets[which].taken(hold.window) {
                let least = |held: i64, own: i64| held - own.min(held);
                taken.held = Amounts {
                    money: least(taken.held.money, hold.amounts.money),
                    requests: least(taken.held.requests, hold.amounts.requests),
                    tokens: least(taken.held.tokens, hold.amounts.tokens),
                };
                if was_dead {
                    taken.dead = least(taken.dead, hold.amounts.money);
                }
            }
        }
    }

    fn settle(&mut self, ids: &[BudgetId], number: u64, call: &str, counted: &[Counted]) {
        if self.state() == State::Cold || number != self.settled + 1 {
            return;
        }
        self.settled = number;
        if let Some(holds) = self.holds.remove(call) {
            self.release(ids, &merged(&holds), false);
        } else if let Some(holds) = self.dead.remove(call) {
            self.release(ids, &merged(&holds), true);
        }
        for it in counted {
            let which = ids.iter().position(|id| *id == it.budget).unwrap();
            if let Some(taken) = self.budgets[which].taken(it.window) {
                taken.spent = with(taken.spent, it.amounts, 1);
            }
        }
    }
}

/// As one, what is held of the same window of the same budget.
fn merged(holds: &[Hold]) -> Vec<Hold> {
    let mut all: Vec<Hold> = Vec::new();
    for hold in holds {
        match all.iter_mut().find(|it| (it.budget, it.window) == (hold.budget, hold.window)) {
            Some(one) => one.amounts = with(one.amounts, hold.amounts, 1),
            None => all.push(*hold),
        }
    }
    all
}

/// A call that was let through, as its proxy knows it.
#[derive(Clone)]
struct Open {
    call: String,
    holds: Vec<Hold>,
}

/// One of several that ask together.
#[derive(Clone)]
struct Together<'a> {
    call: RequestId,
    wanted: Vec<Wanted<'a>>,
    /// The same for the model: which budgets.
    hints: Vec<(usize, Amounts, [i64; 4], i64)>,
}

struct Run {
    fixture: Fixture,
    scripts: Scripts,
    shard: Shard,
    model: Model,
    open: Vec<Open>,
    told: Vec<(u64, Open, Vec<Counted>)>,
    next: u64,
    calls: u64,
}

impl Run {
    async fn redis<T: redis::FromRedisValue>(&mut self, ask: redis::Cmd) -> T {
        ask.query_async(&mut self.fixture.redis).await.unwrap()
    }

    fn ids(&self) -> Vec<BudgetId> {
        self.fixture.budgets.iter().map(|it| it.id).collect()
    }

    async fn ask(&mut self, calls: Vec<([bool; 3], [i64; 3], bool)>) {
        let known = self.fixture.budgets.clone();
        let mut asked: Vec<Together<'_>> = Vec::new();
        for (chosen, amounts, is_again) in calls {
            let before = asked.last().filter(|_| is_again).cloned();
            let it = before.unwrap_or_else(|| self.together(&known, chosen, of(amounts)));
            asked.push(it);
        }
        let (shard, epoch, key) = (self.shard, EPOCH, self.fixture.key().id);
        let questions: Vec<_> = asked
            .iter()
            .map(|it| Question { shard, epoch, call: it.call, key, budgets: &it.wanted })
            .collect();
        let ask = asked_of_budgets(&self.scripts, &questions);
        let decisions = answered(&mut self.fixture.redis, &ask).await;
        assert_eq!(decisions.len(), asked.len());
        for (it, decision) in asked.iter().zip(&decisions) {
            self.is_decided(it, decision);
        }
    }

    /// A call of some of the budgets.
    fn together<'a>(
        &mut self,
        known: &'a [Budget],
        chosen: [bool; 3],
        amounts: Amounts,
    ) -> Together<'a> {
        self.calls += 1;
        // Our clock is a little behind, which the edges have to bear; or far too much.
        let behind = if self.calls.is_multiple_of(7) { 5 * DAY } else { DAY / 2 };
        let edges = |it: &Budget| Edges::around(it.period, &it.zone, self.model.now - behind);
        let budgets = chosen.iter().zip(known).enumerate().filter(|(_, it)| *it.0);
        let budgets: Vec<_> = budgets.map(|(which, (_, it))| (which, it, edges(it))).collect();
        let wanted = |(_, budget, edges): &(usize, &'a Budget, Edges)| Wanted {
            budget,
            wanted: amounts,
            edges: *edges,
        };
        Together {
            call: RequestId::generate(),
            // What a proxy believes to be hard is what it asks with.
            wanted: budgets.iter().map(wanted).collect(),
            hints: budgets
                .iter()
                .map(|(at, it, edges)| (*at, amounts, edges.0, it.version))
                .collect(),
        }
    }

    fn is_decided(&mut self, it: &Together<'_>, decision: &Decision) {
        let call = it.call.uuid().simple().to_string();
        let is_again = self.model.holds.contains_key(&call);
        let expected = self.model.ask(&call, &it.hints);
        // Of several that lack, Redis names the one that lacks most.
        match (decision.verdict, expected) {
            (Verdict::Spent(..), Verdict::Spent(..)) => (),
            (found, expected) => assert_eq!(found, expected),
        }
        if !decision.is_passed() || decision.standings.is_empty() {
            return;
        }
        let hold = |(it, standing): (&Wanted<'_>, &Standing)| Hold {
            budget: it.budget.id,
            window: standing.from_ms,
            amounts: it.wanted,
        };
        let holds: Vec<_> = it.wanted.iter().zip(&decision.standings).map(hold).collect();
        if is_again {
            assert_eq!(self.model.holds[&call], holds);
            return;
        }
        for ((hint, it), standing) in it.hints.iter().zip(&it.wanted).zip(&decision.standings) {
            for kind in Kind::ALL {
                let taken = kind.of(standing.spent) + kind.of(standing.held);
                let is_within = standing.cap(kind).is_none_or(|cap| taken <= cap);
                let is_hard = self.model.budgets[hint.0].is_hard;
                assert!(!is_hard || kind.of(it.wanted) == 0 || is_within, "{standing:?}");
            }
        }
        self.model.holds.insert(call.clone(), holds.clone());
        self.open.push(Open { call, holds });
    }

    async fn extend(&mut self, which: usize, amounts: [i64; 3]) {
        let Some(at) = which.checked_rem(self.open.len()) else { return };
        let open = self.open[at].clone();
        let more: Vec<_> =
            open.holds.iter().map(|it| Hold { amounts: of(amounts), ..*it }).collect();
        let more =
            merged(&more).iter().map(|it| Hold { amounts: of(amounts), ..*it }).collect::<Vec<_>>();
        let place = (self.shard, EPOCH, Incarnation(self.model.incarnation));
        let ask = self.scripts.counters.extend(place, &open.call, &more);
        let answer: i64 = self.redis(ask).await;
        let ids = self.ids();
        let expected = if self.model.state() != State::Warm {
            -1
        } else if !self.model.holds.contains_key(&open.call) {
            -2
        } else {
            let lacks = |(index, it): (usize, &Hold)| {
                let which = ids.iter().position(|id| *id == it.budget)?;
                // What is refused changes nothing.
                let mut kept = self.model.budgets[which].clone();
                let taken = *kept.taken(it.window)?;
                kept.lacks(taken, it.amounts).map(|_| index as i64 + 1)
            };
            more.iter().enumerate().find_map(lacks).unwrap_or(0)
        };
        assert_eq!(answer, expected);
        if expected == 0 {
            for it in &more {
                let which = ids.iter().position(|id| *id == it.budget).unwrap();
                if let Some(taken) = self.model.budgets[which].taken(it.window) {
                    taken.held = with(taken.held, it.amounts, 1);
                    self.model.holds.get_mut(&open.call).unwrap().push(*it);
                    self.open[at].holds.push(*it);
                }
            }
        }
    }

    async fn say(&mut self, number: u64, open: &Open, counted: &[Counted]) {
        let held: Vec<_> = open.holds.iter().map(|it| it.budget).collect();
        let (call, event) = (open.call.as_str(), b"{}".as_slice());
        let calls = [Settlement { number, call, event, held: &held, counted }];
        let answer = self.redis(self.scripts.counters.settle(self.shard, EPOCH, &calls)).await;
        let settled = Settled::read(answer).unwrap();
        self.model.settle(&self.ids(), number, &open.call, counted);
        assert_eq!((settled.state, settled.last), (self.model.state(), self.model.settled));
    }

    async fn settle(&mut self, which: usize, amounts: [i64; 3], times: usize) {
        let Some(at) = which.checked_rem(self.open.len()) else { return };
        let open = self.open.swap_remove(at);
        let count =
            |it: &Hold| Counted { budget: it.budget, window: it.window, amounts: of(amounts) };
        let counted: Vec<_> = merged(&open.holds).iter().map(count).collect();
        let number = self.next;
        self.next += 1;
        self.told.push((number, open, counted));
        for _ in 0..times {
            self.catch_up().await;
        }
    }

    /// Says what is not counted yet, in its order.
    async fn catch_up(&mut self) {
        for (number, open, counted) in self.told.clone() {
            if number > self.model.settled {
                self.say(number, &open, &counted).await;
            }
        }
    }

    async fn heal(&mut self, spent: [i64; 3], learning: bool) {
        let edges = |it: &Budget| Edges::around(it.period, &it.zone, self.model.now).0;
        let windows: Vec<_> = self
            .fixture
            .budgets
            .iter()
            .map(|it| {
                let [_, from_ms, until_ms, _] = edges(it);
                HealedWindow { budget: it.id, from_ms, until_ms, more: of(spent) }
            })
            .collect();
        let to = self.model.incarnation + 1;
        let learning_ms = if learning { 3_000 } else { 0 };
        let healing = Healing {
            from: Incarnation(self.model.incarnation),
            to: Incarnation(to),
            learning_ms,
            settled: &[(EPOCH, self.model.settled)],
            windows: &windows,
            ..Healing::default()
        };
        let healed: i64 = self.redis(self.scripts.counters.heal(self.shard, healing)).await;
        let is_cold = self.model.state() == State::Cold;
        assert_eq!(healed, i64::from(is_cold));
        if !is_cold {
            return;
        }
        for (it, kept) in windows.iter().zip(&mut self.model.budgets) {
            if kept.window.is_none_or(|(_, end)| it.from_ms >= end) {
                kept.turn(it.from_ms, it.until_ms.min(shared::counters::LATEST));
            }
            if let Some(taken) = kept.taken(it.from_ms) {
                taken.spent = with(taken.spent, it.more, 1);
            }
        }
        self.model.incarnation = to;
        self.model.state = Some((State::Learning, self.model.now + learning_ms as i64));
    }

    async fn register(&mut self) {
        for open in self.open.clone() {
            // As a proxy knows it.
            let holds = merged(&open.holds);
            let ask = self.scripts.counters.register(self.shard, EPOCH, &open.call, &holds);
            let state: String = self.redis(ask).await;
            assert_eq!(State::read(&state), Some(self.model.state()));
            if self.model.state() == State::Cold {
                continue;
            }
            let ids = self.ids();
            let which = |id: BudgetId| ids.iter().position(|it| *it == id).unwrap();
            let buried = self.model.dead.remove(&open.call);
            for it in buried.iter().flatten() {
                if let Some(taken) = self.model.budgets[which(it.budget)].taken(it.window) {
                    taken.dead -= it.amounts.money.min(taken.dead);
                }
            }
            let kept = self.model.holds.remove(&open.call).or(buried).unwrap_or_default();
            let mut now = kept.clone();
            for it in &holds {
                let had = merged(&kept).into_iter();
                let had = had.filter(|had| (had.budget, had.window) == (it.budget, it.window));
                let had = had.fold(Amounts::default(), |sum, it| with(sum, it.amounts, 1));
                let more = with(it.amounts, had, -1);
                if more == Amounts::default() {
                    continue;
                }
                if let Some(taken) = self.model.budgets[which(it.budget)].taken(it.window) {
                    taken.held = with(taken.held, more, 1);
                }
                now.push(Hold { amounts: more, ..*it });
            }
            self.model.holds.insert(open.call.clone(), now);
        }
    }

    async fn sweep(&mut self, which: usize) {
        let places = self.fixture.places();
        let holds = places.holds(self.shard, EPOCH);
        let Some(at) = which.checked_rem(self.open.len()) else { return };
        let call = self.open[at].call.clone();
        let written: Option<Vec<u8>> = self.fixture.redis.hget(&holds, &call).await.unwrap();
        let Some(written) = written else {
            assert!(!self.model.holds.contains_key(&call));
            return;
        };
        // As if nobody had heard of it since.
        let () = self.fixture.redis.del(places.living(self.shard)).await.unwrap();
        let sweeping = Sweeping {
            epoch: EPOCH,
            call: &call,
            written: &written,
            why: Swept::Dead { silent_since_ms: self.model.now },
        };
        let swept: i64 = self.redis(self.scripts.counters.sweep(self.shard, sweeping)).await;
        assert_eq!(swept, 1);
        let holds = self.model.holds.remove(&call).unwrap();
        let ids = self.ids();
        for it in &holds {
            let which = ids.iter().position(|id| *id == it.budget).unwrap();
            if let Some(taken) = self.model.budgets[which].taken(it.window) {
                taken.dead += it.amounts.money;
            }
        }
        self.model.dead.insert(call, holds);
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Ask(calls) => self.ask(calls).await,
            Step::Extend { which, amounts } => self.extend(which, amounts).await,
            Step::Settle { which, amounts, times } => self.settle(which, amounts, times).await,
            Step::Again { which } => {
                let at = which.checked_rem(self.told.len());
                let found = at.map(|it| self.told[it].clone());
                if let Some((number, open, counted)) = found
                    && number <= self.model.settled
                {
                    self.say(number, &open, &counted).await;
                }
            }
            Step::Early => {
                let open = Open { call: "early".into(), holds: Vec::new() };
                let number = self.model.settled + 2;
                self.say(number, &open, &[]).await;
            }
            Step::Terms { which, version, caps, is_hard } => {
                let which = which % self.fixture.budgets.len();
                let budget = &mut self.fixture.budgets[which];
                let money = caps[0].map(Money::from_nanos);
                let caps_of = Caps { money, requests: caps[1], tokens: caps[2] };
                let told = Budget { version, caps: caps_of, is_hard, ..budget.clone() };
                let kept = &mut self.model.budgets[which];
                let is_newer = version > kept.version;
                if is_newer {
                    (kept.version, kept.caps, kept.is_hard) = (version, caps, is_hard);
                    budget.is_hard = is_hard;
                }
                let terms = Terms { budget: &told, opening: None };
                let ask = self.scripts.counters.set_terms(self.shard, terms);
                assert_eq!(self.redis::<i64>(ask).await, i64::from(is_newer));
            }
            Step::Pass(milliseconds) => {
                self.model.now += milliseconds;
                self.fixture.set_clock(self.model.now).await;
            }
            Step::Chill => {
                self.model.incarnation += 1;
                self.model.state = Some((State::Cold, 0));
                let number = Incarnation(self.model.incarnation);
                let () = self.redis(self.scripts.counters.chill(self.shard, number)).await;
            }
            Step::Heal { spent, learning } => self.heal(spent, learning).await,
            Step::Register => self.register().await,
            Step::Sweep { which } => self.sweep(which).await,
        }
        self.compare().await;
    }

    async fn compare(&mut self) {
        let looked = self.redis(self.scripts.counters.look((self.shard, EPOCH), false, None)).await;
        let looked = Looked::read(looked).unwrap();
        assert_eq!((looked.state, looked.settled), (self.model.state(), self.model.settled));
        let holds = self.fixture.places().holds(self.shard, EPOCH);
        let held: HashMap<String, Vec<u8>> = self.fixture.redis.hgetall(holds).await.unwrap();
        assert_eq!(held.len(), self.model.holds.len());
        for (call, written) in held {
            assert_eq!(Hold::read_all(&written), self.model.holds[&call]);
        }
        for (id, kept) in self.ids().into_iter().zip(self.model.budgets.clone()) {
            let counter = self.fixture.counter(id).await;
            assert_eq!(counter.version, kept.version);
            let window = counter.window.map(|it| (it.from_ms, it.until_ms));
            assert_eq!(window, kept.window);
            let mut others: Vec<_> = counter.after.into_iter().chain(counter.before).collect();
            let known = kept.others();
            // Of two on the same side of the present window we are told the later.
            assert!(others.iter().all(|it| known.contains(&it.from_ms)), "{others:?} {known:?}");
            assert_eq!(others.is_empty(), known.is_empty());
            others.extend(counter.window);
            for it in others {
                let taken = kept.all.get(&it.from_ms).copied().unwrap_or_default();
                let found = Taken { spent: it.spent, held: it.held, dead: it.held_by_the_dead };
                assert_eq!(found, taken);
            }
        }
    }
}

async fn check(steps: Vec<Step>) {
    let mut fixture = Fixture::new().await;
    for period in [Period::Day, Period::Week, Period::Total] {
        fixture.budget(BudgetScope::Organization, period, 1_000);
    }
    let kept = |it: &Budget| Kept {
        version: 1,
        is_hard: true,
        caps: [it.caps.money.map(|it| it.nanos()), None, None],
        ..Kept::default()
    };
    let model = Model {
        now: START,
        state: Some((State::Warm, 0)),
        incarnation: 1,
        budgets: fixture.budgets.iter().map(kept).collect(),
        ..Model::default()
    };
    let (scripts, shard) = (fixture.scripts(), fixture.shard());
    scripts.enter(&fixture.redis.history().await.unwrap());
    let () = scripts.load().exec_async(&mut fixture.redis).await.unwrap();
    fixture.open().await;
    let (open, told) = (Vec::new(), Vec::new());
    let mut run = Run { fixture, scripts, shard, model, open, told, next: 1, calls: 0 };
    for step in steps {
        run.step(step).await;
    }
}

#[test]
fn the_scripts_do_what_the_rules_say() {
    let runtime = Runtime::new().unwrap();
    proptest!(ProptestConfig::with_cases(128), |(steps in steps())| {
        runtime.block_on(check(steps));
    });
}
