//! The scripts, and how each is asked.

use redis::{Cmd, Pipeline, Script, cmd};

use super::{Amounts, Counted, Epoch, Hold, Incarnation, Places, Shard};
use crate::snapshot::{Budget, Caps};

const CLOCK: &str = include_str!("lua/clock.lua");
const COUNTER: &str = include_str!("lua/counter.lua");
const ADMISSION: &str = include_str!("lua/admission.lua");

/// A script that no store keeps over a restart, nor gets from another: where Redis does not
/// know it, it is not the Redis that it was, and may have lost something.
const BOOT: &str = "return 'the store of counters is the one it was'";

/// A script and the name that Redis has for it.
pub struct Known {
    code: String,
    hash: String,
}

impl Known {
    pub fn new(parts: &[&str]) -> Self {
        let code = parts.concat();
        let hash = Script::new(&code).get_hash().to_owned();
        Self { code, hash }
    }

    pub fn ask(&self, keys: usize) -> Cmd {
        let mut ask = cmd("EVALSHA");
        ask.arg(&self.hash).arg(keys);
        ask
    }

    /// To be sent once over each new connection, and when Redis has forgotten.
    pub fn load(&self, into: &mut Pipeline) {
        into.cmd("SCRIPT").arg("LOAD").arg(&self.code).ignore();
    }
}

/// What a script that admits begins with, for whoever adds what else a call has to pass.
pub fn admission(clock: &str) -> String {
    [clock, COUNTER, ADMISSION].concat()
}

/// All but the one that admits, which has more to ask than money.
pub struct Scripts {
    boot: Known,
    set_terms: Known,
    extend: Known,
    settle: Known,
    register: Known,
    look: Known,
    sweep: Known,
    chill: Known,
    heal: Known,
    pub places: Places,
}

/// A budget's caps as the store keeps them, and its present window, where it is counted for
/// the first time.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    pub budget: &'a Budget,
    pub opening: Option<Opening>,
}

/// What was spent in the present window by calls that did not count on the budget yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    pub from_ms: i64,
    pub until_ms: i64,
    pub spent: Amounts,
}

/// What a call came to.
#[derive(Clone, Copy, Debug)]
pub struct Settlement<'a> {
    /// Among the epoch's in this shard, from 1 on and without gaps.
    pub number: u64,
    pub call: &'a str,
    pub event: &'a [u8],
    pub held: &'a [Hold],
    /// Of the same budgets and windows, in the same order.
    pub counted: &'a [Counted],
}

impl Scripts {
    pub fn new(places: Places) -> Self {
        Self::with(CLOCK, places)
    }

    /// Tests bring a clock that they can set.
    pub fn with(clock: &str, places: Places) -> Self {
        let known = |code| Known::new(&[clock, COUNTER, code]);
        Self {
            boot: Known::new(&[BOOT]),
            set_terms: known(include_str!("lua/set_terms.lua")),
            extend: known(include_str!("lua/extend.lua")),
            settle: known(include_str!("lua/settle.lua")),
            register: known(include_str!("lua/register.lua")),
            look: known(include_str!("lua/look.lua")),
            sweep: known(include_str!("lua/sweep.lua")),
            chill: known(include_str!("lua/chill.lua")),
            heal: known(include_str!("lua/heal.lua")),
            places,
        }
    }

    /// Whether Redis is the one that it was when somebody last asked: `SCRIPT EXISTS`.
    pub fn is_booted(&self) -> Cmd {
        let mut ask = cmd("SCRIPT");
        ask.arg("EXISTS").arg(&self.boot.hash);
        ask
    }

    /// Of a Redis that is not the one it was: that every shard may have lost something. To be
    /// said before anything is loaded, since a script that is there says it was looked after.
    pub fn chill_all(&self, number: Incarnation) -> Pipeline {
        let mut pipeline = Pipeline::new();
        let mut code = CLOCK.to_owned() + COUNTER;
        code.push_str(include_str!("lua/chill.lua"));
        for shard in Shard::all() {
            let ask = pipeline.cmd("EVAL").arg(&code).arg(1);
            ask.arg(self.places.incarnation(shard)).arg(number.0).ignore();
        }
        pipeline
    }

    /// To be sent once over each new connection, and when Redis has forgotten.
    pub fn load(&self) -> Pipeline {
        let mut load = Pipeline::new();
        let all = [
            &self.set_terms,
            &self.extend,
            &self.settle,
            &self.register,
            &self.look,
            &self.sweep,
            &self.chill,
            &self.heal,
            // The last, so that whoever finds it finds the others.
            &self.boot,
        ];
        all.into_iter().for_each(|it| it.load(&mut load));
        load
    }

    pub fn set_terms(&self, shard: Shard, terms: Terms<'_>) -> Cmd {
        let Terms { budget, opening } = terms;
        let mut ask = self.set_terms.ask(1);
        ask.arg(self.places.budget(shard, budget.id));
        ask.arg(budget.version).arg(u8::from(budget.is_hard));
        say_caps(&mut ask, budget.caps);
        say_caps(&mut ask, budget.raise.map_or_else(Caps::default, |it| it.caps));
        ask.arg(budget.raise.map_or(0, |it| it.until_ms));
        let marks: Vec<_> = budget.thresholds.percents().iter().map(u16::to_string).collect();
        ask.arg(marks.join(","));
        if let Some(Opening { from_ms, until_ms, spent }) = opening {
            ask.arg(from_ms).arg(until_ms).arg(&spent.all());
        }
        ask
    }

    pub fn extend(
        &self,
        (shard, epoch, incarnation): (Shard, Epoch, Incarnation),
        call: &str,
        more: &[Hold],
    ) -> Cmd {
        let mut ask = self.extend.ask(2 + more.len());
        ask.arg(self.places.incarnation(shard)).arg(self.places.holds(shard, epoch));
        self.name_budgets(&mut ask, shard, more);
        ask.arg(call).arg(incarnation.0);
        more.iter().for_each(|it| _ = ask.arg(it.window).arg(&it.amounts.all()));
        ask
    }

    /// Settles several calls of one shard at once. In the order of their numbers.
    pub fn settle(&self, shard: Shard, epoch: Epoch, calls: &[Settlement<'_>]) -> Cmd {
        let mut budgets: Vec<_> =
            calls.iter().flat_map(|it| it.counted).map(|it| it.budget).collect();
        budgets.sort_unstable();
        budgets.dedup();
        let places = &self.places;
        let mut ask = self.settle.ask(6 + budgets.len());
        ask.arg(places.incarnation(shard))
            .arg(places.settled(shard))
            .arg(places.holds(shard, epoch))
            .arg(places.dead_holds(shard))
            .arg(places.events(shard))
            .arg(places.alerts(shard));
        budgets.iter().for_each(|it| _ = ask.arg(places.budget(shard, *it)));
        ask.arg(epoch.to_string()).arg(calls.len());
        for Settlement { number, call, event, held, counted } in calls {
            ask.arg(number).arg(call).arg(event).arg(counted.len());
            for counted in *counted {
                let is_same =
                    |it: &&Hold| (it.budget, it.window) == (counted.budget, counted.window);
                let held = held.iter().find(is_same).map_or_else(Amounts::default, |it| it.amounts);
                let place = budgets.binary_search(&counted.budget).map_or(0, |it| it + 1);
                ask.arg(place).arg(counted.window).arg(&held.all()).arg(&counted.amounts.all());
            }
        }
        ask
    }

    pub fn register(&self, shard: Shard, epoch: Epoch, call: &str, held: &[Hold]) -> Cmd {
        let mut ask = self.register.ask(2 + held.len());
        ask.arg(self.places.incarnation(shard)).arg(self.places.holds(shard, epoch));
        self.name_budgets(&mut ask, shard, held);
        ask.arg(call);
        held.iter().for_each(|it| _ = ask.arg(it.window).arg(&it.amounts.all()));
        ask
    }

    pub fn look(&self, shard: Shard, epoch: Epoch, holds_something: bool) -> Cmd {
        let places = &self.places;
        let mut ask = self.look.ask(4);
        ask.arg(places.incarnation(shard))
            .arg(places.settled(shard))
            .arg(places.living(shard))
            .arg(places.durable(shard))
            .arg(epoch.to_string())
            .arg(u8::from(holds_something));
        ask
    }

    fn name_budgets(&self, ask: &mut Cmd, shard: Shard, of: &[Hold]) {
        of.iter().for_each(|it| _ = ask.arg(self.places.budget(shard, it.budget)));
    }
}

fn say_caps(ask: &mut Cmd, caps: Caps) {
    for cap in [caps.money.map(|it| it.nanos()), caps.requests, caps.tokens] {
        match cap {
            Some(cap) => ask.arg(cap),
            None => ask.arg(""),
        };
    }
}
