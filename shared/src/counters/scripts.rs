//! The scripts, and how each is asked.

use std::sync::{Arc, PoisonError, RwLock};

use redis::{Arg, Cmd, Pipeline, Script, cmd};
use uuid::Uuid;

use super::{Amounts, Counted, Epoch, Hold, Incarnation, Places, Shard, compact::compacted};
use crate::{
    ids::{ApiKeyId, BudgetId},
    snapshot::{Budget, Caps},
    wire::History,
};

/// The clock of Redis, which every script that has one begins with.
pub const CLOCK: &str = include_str!("lua/clock.lua");
const ALERTS: &str = include_str!("lua/alerts.lua");
const CHILL: &str = include_str!("lua/chill.lua");
const WARM: &str = include_str!("lua/warm.lua");
const PUBLISH: &str = include_str!("lua/publish.lua");
/// What a script that admits begins with, for whoever adds what else a call has to pass.
pub const COUNTER: &str = include_str!("lua/counter.lua");
pub const ADMISSION: &str = include_str!("lua/admission.lua");

/// A script that no store keeps over a restart, nor gets from another: where Redis does not
/// know it, it is not the Redis that it was, and may have lost something. It is [`Guarded`].
const BOOT: &str = "return 'the store of counters is the one it was'";

/// No window ends later: what is never reached, and exact in Redis all the same.
pub const LATEST: i64 = (1 << 53) - 1;

/// How many words a question has that are about no key, and how long a word is, as a rule.
const OTHERS: usize = 12;
const BYTES_EACH: usize = 80;
/// How many words say what a call came to.
const OF_SETTLEMENT: usize = 4;

/// A script and the name that Redis has for it.
pub struct Known {
    code: String,
    hash: String,
}

impl Known {
    /// With a clock, which tests can set, and the parts that it is made of.
    pub fn new(clock: &str, parts: &[&'static str]) -> Self {
        Self::as_it_is(clock.to_owned() + &compacted(parts))
    }

    fn as_it_is(code: String) -> Self {
        let hash = Script::new(&code).get_hash().to_owned();
        Self { code, hash }
    }

    pub fn ask(&self, keys: usize) -> Cmd {
        self.ask_of(keys, 0, 0)
    }

    /// The same with so many more words than keys, of so many bytes.
    fn ask_of(&self, keys: usize, words: usize, bytes: usize) -> Cmd {
        // As much as most questions take: there is at least one for each call.
        let (words, bytes) = (words + OTHERS + 2 * keys, bytes + BYTES_EACH * (OTHERS + keys));
        let mut ask = Cmd::with_capacity(words, bytes);
        ask.arg("EVALSHA").arg(&self.hash).arg(keys);
        ask
    }

    /// To be sent once over each new connection, and when Redis has forgotten.
    pub fn load(&self, into: &mut Pipeline) {
        into.cmd("SCRIPT").arg("LOAD").arg(&self.code).ignore();
    }
}

/// A script that is known by another name in each history. A store that has taken over from
/// another, even one that was in its place before and still knows what it knew then, does not
/// know it by the present one: so nothing is let through there before somebody has said that
/// something may be lost.
pub struct Guarded {
    code: String,
    names: RwLock<Names>,
}

struct Names {
    present: Arc<Known>,
    past: Vec<String>,
}

impl Guarded {
    pub fn new(clock: &str, parts: &[&'static str]) -> Self {
        Self::as_it_is(clock.to_owned() + &compacted(parts))
    }

    fn as_it_is(code: String) -> Self {
        let present = Arc::new(Known::as_it_is(code.clone()));
        Self { code, names: RwLock::new(Names { present, past: Vec::new() }) }
    }

    /// From here on it is known by its name in that history.
    pub fn enter(&self, history: &History) {
        let known = Known::as_it_is(["-- ", history.as_str(), "\n", &self.code].concat());
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if names.present.hash != known.hash {
            let before = std::mem::replace(&mut names.present, Arc::new(known));
            names.past.push(before.hash.clone());
        }
    }

    pub fn ask(&self, keys: usize) -> Cmd {
        self.present().ask(keys)
    }

    pub fn load(&self, into: &mut Pipeline) {
        self.present().load(into);
    }

    fn present(&self) -> Arc<Known> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).present.clone()
    }

    /// Its present name, if that is one it had before.
    fn renamed(&self, name: &[u8]) -> Option<String> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let was = names.past.iter().any(|it| it.as_bytes() == name);
        was.then(|| names.present.hash.clone())
    }

    /// The same question by the present name, where it has another.
    pub fn again(&self, question: &Cmd) -> Option<Cmd> {
        let mut words = question.args_iter().filter_map(|it| match it {
            Arg::Simple(word) => Some(word),
            Arg::Cursor | _ => None,
        });
        let (ask, name) = (words.next()?, words.next()?);
        let mut again = cmd(std::str::from_utf8(ask).ok()?);
        again.arg(self.renamed(name)?);
        words.for_each(|it| _ = again.arg(it));
        Some(again)
    }
}

/// All but the one that admits, which has more to ask than money.
pub struct Scripts {
    boot: Guarded,
    set_terms: Known,
    extend: Guarded,
    settle: Known,
    register: Known,
    look: Known,
    sweep: Known,
    forget: Known,
    chill: Known,
    heal: Known,
    read: Known,
    pub places: Places,
}

/// A budget's caps as the store keeps them, and its present window, where it is counted for
/// the first time.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    pub budget: &'a Budget,
    pub opening: Option<Opening>,
}

/// What [`Scripts::set_terms`] is answered where the budget is hard, and nobody has opened it.
pub const NOT_OPENED: i64 = -1;

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
    /// Of which budgets it may hold something. How much, the store knows.
    pub held: &'a [BudgetId],
    pub counted: &'a [Counted],
}

/// What is taken from a proxy's process that does not hold it any more.
#[derive(Clone, Copy, Debug)]
pub struct Sweeping<'a> {
    pub epoch: Epoch,
    /// What it is called where it is: the call, and among the dead's the epoch before it.
    pub call: &'a str,
    /// As it is written down: what [`Hold::read_all`] reads.
    pub written: &'a [u8],
    pub why: Swept,
}

/// Why a hold is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// Its process has given no sign of life since that moment, by the clock of Redis, in
    /// milliseconds since 1970. It counts on as held by the dead.
    Dead { silent_since_ms: i64 },
    /// Its call was settled before the store went back. It is let go.
    Settled,
    /// The same, of a hold that the dead have.
    Buried,
}

/// What the database knows of a shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Healing<'a> {
    /// As it was read; 0 where there was none.
    pub from: Incarnation,
    pub to: Incarnation,
    /// For how long proxies may say what they hold, until calls are let through again.
    pub learning_ms: u64,
    /// Processes that held something, which the shard learns from until all of them have said
    /// what they hold,
    pub awaited: &'a [Epoch],
    /// but no longer than this.
    pub longest_ms: u64,
    /// By process, its last settlement in the database.
    pub settled: &'a [(Epoch, u64)],
    /// What is added; of windows of the same budget the earlier first.
    pub windows: &'a [HealedWindow],
}

/// What was spent in a window that the store does not know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealedWindow {
    pub budget: BudgetId,
    pub from_ms: i64,
    /// 0 where it is not known: then the first call that comes says it.
    pub until_ms: i64,
    pub more: Amounts,
}

impl Scripts {
    pub fn new(places: Places) -> Self {
        Self::with(CLOCK, places)
    }

    /// Tests bring a clock that they can set.
    pub fn with(clock: &str, places: Places) -> Self {
        let known = |code: &'static str| Known::new(clock, &[COUNTER, code]);
        let with_alerts = |code: &'static str| Known::new(clock, &[COUNTER, ALERTS, code]);
        Self {
            boot: Guarded::new(clock, &[BOOT]),
            set_terms: with_alerts(include_str!("lua/set_terms.lua")),
            extend: Guarded::new(clock, &[COUNTER, include_str!("lua/extend.lua")]),
            settle: with_alerts(include_str!("lua/settle.lua")),
            register: known(include_str!("lua/register.lua")),
            look: known(include_str!("lua/look.lua")),
            sweep: known(include_str!("lua/sweep.lua")),
            forget: Known::new("", &[include_str!("lua/forget.lua")]),
            chill: Known::new(clock, &[CHILL]),
            heal: known(include_str!("lua/heal.lua")),
            read: known(include_str!("lua/read.lua")),
            places,
        }
    }

    /// What all else is said of: to be said over each new connection, before anything else.
    pub fn enter(&self, history: &History) {
        self.boot.enter(history);
        self.extend.enter(history);
    }

    /// Whether Redis is the one that it was when somebody last asked: `SCRIPT EXISTS`.
    pub fn is_booted(&self) -> Cmd {
        let mut ask = cmd("SCRIPT");
        ask.arg("EXISTS").arg(&self.boot.present().hash);
        ask
    }

    /// The same, and which of the others it knows: another version of us may have been there
    /// alone, whose scripts are others.
    pub fn are_known(&self) -> Cmd {
        let mut ask = self.is_booted();
        self.known().iter().for_each(|it| _ = ask.arg(&it.hash));
        ask.arg(&self.extend.present().hash);
        ask
    }

    /// A question that was put by a name of before, by the present one.
    pub fn again(&self, question: &Cmd) -> Option<Cmd> {
        self.extend.again(question)
    }

    /// Whether another Redis than the one that was there before answers, or one that forgot:
    /// what [`is_booted`](Self::is_booted) says.
    pub fn is_another([exists]: [bool; 1]) -> bool {
        !exists
    }

    /// Of a Redis that is not the one it was: that every shard may have lost something. To be
    /// said before anything is loaded, since a script that is there says it was looked after.
    pub fn chill_all(&self, number: Incarnation) -> Pipeline {
        let mut pipeline = Pipeline::new();
        let code = CLOCK.to_owned() + CHILL;
        for shard in Shard::all() {
            let ask = pipeline.cmd("EVAL").arg(&code).arg(1);
            ask.arg(self.places.incarnation(shard)).arg(number.0).ignore();
        }
        pipeline
    }

    /// To be sent once over each new connection, and when Redis has forgotten.
    pub fn load(&self) -> Pipeline {
        let mut load = Pipeline::new();
        self.load_into(&mut load);
        load
    }

    /// The same behind what somebody else has to make known.
    pub fn load_into(&self, load: &mut Pipeline) {
        self.known().into_iter().for_each(|it| it.load(load));
        self.extend.load(load);
        // The last, so that whoever finds it finds the others.
        self.boot.load(load);
    }

    /// All that have one name.
    fn known(&self) -> [&Known; 9] {
        [
            &self.set_terms,
            &self.settle,
            &self.register,
            &self.look,
            &self.sweep,
            &self.forget,
            &self.chill,
            &self.heal,
            &self.read,
        ]
    }

    /// Loads the script that sets terms and no other: whoever does so says nothing of whether
    /// Redis is the one it was.
    pub fn load_terms(&self) -> Pipeline {
        let mut load = Pipeline::new();
        self.set_terms.load(&mut load);
        load
    }

    pub fn set_terms(&self, shard: Shard, terms: Terms<'_>) -> Cmd {
        let Terms { budget, opening } = terms;
        let mut ask = self.set_terms.ask(1);
        ask.arg(self.places.budget(shard, budget.id));
        let [money, requests, tokens] = said(budget.caps);
        let raise = budget.raise.map_or_else(Caps::default, |it| it.caps);
        let [more_money, more_requests, more_tokens] = said(raise);
        let until_ms = budget.raise.map_or(0, |it| it.until_ms);
        let hard = i64::from(budget.is_hard);
        let caps = [money, requests, tokens, more_money, more_requests, more_tokens];
        ask.arg(packed([&[budget.version, hard], &caps[..], &[until_ms]].concat()));
        let marks = budget.thresholds.percents().iter().flat_map(|it| it.to_le_bytes());
        ask.arg(marks.collect::<Vec<_>>());
        if let Some(Opening { from_ms, until_ms, spent }) = opening {
            ask.arg(packed([&[from_ms, until_ms.min(LATEST)], &spent.all()[..]].concat()));
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
        say(&mut ask, more);
        ask
    }

    /// Settles several calls of one shard at once. In the order of their numbers.
    pub fn settle(&self, shard: Shard, epoch: Epoch, calls: &[Settlement<'_>]) -> Cmd {
        let counted = calls.iter().flat_map(|it| it.counted).map(|it| it.budget);
        let mut budgets: Vec<_> =
            calls.iter().flat_map(|it| it.held).copied().chain(counted).collect();
        budgets.sort_unstable();
        budgets.dedup();
        let places = &self.places;
        let of_call = |it: &Settlement<'_>| BYTES_EACH * (1 + it.counted.len()) + it.event.len();
        let bytes = calls.iter().map(of_call).sum();
        let mut ask = self.settle.ask_of(6 + budgets.len(), OF_SETTLEMENT * calls.len(), bytes);
        ask.arg(places.settled(shard))
            .arg(places.holds(shard, epoch))
            .arg(places.dead_holds(shard))
            .arg(places.events(shard))
            .arg(places.alerts(shard))
            .arg(places.incarnation(shard));
        budgets.iter().for_each(|it| _ = ask.arg(places.budget(shard, *it)));
        ask.arg(epoch.to_string()).arg(calls.len());
        for Settlement { number, call, event, counted, .. } in calls {
            let each = counted.iter().flat_map(|it| {
                let place = budgets.partition_point(|other| *other <= it.budget);
                let [money, requests, tokens] = it.amounts.all();
                [i64::try_from(place).unwrap_or(0), it.window, money, requests, tokens]
            });
            ask.arg(number).arg(call).arg(event).arg(packed(each));
        }
        ask
    }

    pub fn register(&self, shard: Shard, epoch: Epoch, call: &str, held: &[Hold]) -> Cmd {
        let places = &self.places;
        let mut ask = self.register.ask(4 + held.len());
        ask.arg(places.incarnation(shard))
            .arg(places.holds(shard, epoch))
            .arg(places.dead_holds(shard))
            .arg(places.living(shard));
        self.name_budgets(&mut ask, shard, held);
        ask.arg(epoch.to_string()).arg(call);
        say(&mut ask, held);
        ask
    }

    /// `has_said` to which store all is said that the process holds, and what it has settled.
    pub fn look(
        &self,
        (shard, epoch): (Shard, Epoch),
        holds_something: bool,
        has_said: Option<Incarnation>,
    ) -> Cmd {
        let places = &self.places;
        let mut ask = self.look.ask(5);
        ask.arg(places.incarnation(shard))
            .arg(places.settled(shard))
            .arg(places.living(shard))
            .arg(places.durable(shard))
            .arg(places.awaited(shard))
            .arg(epoch.to_string())
            .arg(u8::from(holds_something))
            .arg(has_said.unwrap_or_default().0);
        ask
    }

    /// Answers 1 where the hold was taken away; 0 where it is gone already, or its process
    /// lives after all.
    pub fn sweep(&self, shard: Shard, sweeping: Sweeping<'_>) -> Cmd {
        let Sweeping { epoch, call, written, why } = sweeping;
        let held = Hold::read_all(written);
        let places = &self.places;
        let mut ask = self.sweep.ask(3 + held.len());
        let (why, since, place) = match why {
            Swept::Dead { silent_since_ms } => {
                ("dead", silent_since_ms, places.holds(shard, epoch))
            }
            Swept::Settled => ("settled", 0, places.holds(shard, epoch)),
            Swept::Buried => ("buried", 0, places.dead_holds(shard)),
        };
        ask.arg(place).arg(places.dead_holds(shard)).arg(places.living(shard));
        self.name_budgets(&mut ask, shard, &held);
        ask.arg(why).arg(epoch.to_string()).arg(since).arg(call).arg(written);
        ask
    }

    /// Forgets a process that has been silent since then and holds nothing.
    pub fn forget(&self, shard: Shard, epoch: Epoch, silent_since_ms: i64) -> Cmd {
        let mut ask = self.forget.ask(2);
        ask.arg(self.places.holds(shard, epoch)).arg(self.places.living(shard));
        ask.arg(epoch.to_string()).arg(silent_since_ms);
        ask
    }

    /// Says of processes which of their events is the last that is in the database.
    pub fn publish(&self, shard: Shard, durable: &[(Epoch, u64)]) -> Cmd {
        // Whole, for it is no matter whether this Redis is the one it was.
        let mut ask = cmd("EVAL");
        ask.arg(PUBLISH).arg(1).arg(self.places.durable(shard));
        durable.iter().for_each(|(epoch, last)| _ = ask.arg(epoch.to_string()).arg(*last));
        ask
    }

    /// All that is compared with the database, at one moment: for [`Reading`](super::Reading).
    pub fn read(&self, shard: Shard, budgets: &[BudgetId], most_events: usize) -> Cmd {
        let places = &self.places;
        let mut ask = self.read.ask(5 + budgets.len());
        ask.arg(places.incarnation(shard))
            .arg(places.settled(shard))
            .arg(places.events(shard))
            .arg(places.living(shard))
            .arg(places.dead_holds(shard));
        budgets.iter().for_each(|it| _ = ask.arg(places.budget(shard, *it)));
        ask.arg(most_events).arg(places.all_holds(shard));
        ask
    }

    /// That a key opens nothing any more, from the next call on, whoever has not heard of it.
    pub fn stop_key(&self, shard: Shard, key: ApiKeyId, at_ms: i64) -> Cmd {
        let mut ask = cmd("ZADD");
        ask.arg(self.places.stopped_keys(shard)).arg(at_ms).arg(key.uuid().simple().to_string());
        ask
    }

    /// Says of one shard that it may have lost something.
    pub fn chill(&self, shard: Shard, number: Incarnation) -> Cmd {
        let mut ask = self.chill.ask(1);
        ask.arg(self.places.incarnation(shard)).arg(number.0);
        ask
    }

    /// Answers 1 where the shard was healed; 0 where it is another one meanwhile, or is not
    /// cold.
    pub fn heal(&self, shard: Shard, healing: Healing<'_>) -> Cmd {
        let Healing { from, to, learning_ms, awaited, longest_ms, settled, windows } = healing;
        let places = &self.places;
        let mut ask = self.heal.ask(4 + windows.len());
        ask.arg(places.incarnation(shard))
            .arg(places.settled(shard))
            .arg(places.durable(shard))
            .arg(places.awaited(shard));
        windows.iter().for_each(|it| _ = ask.arg(places.budget(shard, it.budget)));
        ask.arg(from.0).arg(to.0).arg(learning_ms).arg(longest_ms);
        ask.arg(awaited.len()).arg(settled.len());
        awaited.iter().for_each(|it| _ = ask.arg(it.to_string()));
        settled.iter().for_each(|(epoch, last)| _ = ask.arg(epoch.to_string()).arg(last));
        for HealedWindow { from_ms, until_ms, more, .. } in windows {
            ask.arg(packed([&[*from_ms, LATEST.min(*until_ms)], &more.all()[..]].concat()));
        }
        ask
    }

    /// Of a shard that learns: waits for nobody any more. Answers who was waited for.
    pub fn warm(&self, shard: Shard) -> Cmd {
        let mut ask = cmd("EVAL");
        ask.arg(WARM).arg(2);
        ask.arg(self.places.incarnation(shard)).arg(self.places.awaited(shard));
        ask
    }

    /// All that is kept of a budget, for [`Counter::read`](super::Counter::read).
    pub fn budget(&self, shard: Shard, budget: BudgetId) -> Cmd {
        let mut ask = cmd("GET");
        ask.arg(self.places.budget(shard, budget));
        ask
    }

    fn name_budgets(&self, ask: &mut Cmd, shard: Shard, of: &[Hold]) {
        of.iter().for_each(|it| _ = ask.arg(self.places.budget(shard, it.budget)));
    }
}

/// Of each budget that is held something of, its window and how much.
fn say(ask: &mut Cmd, holds: &[Hold]) {
    for Hold { window, amounts, .. } in holds {
        ask.arg(packed([&[*window], &amounts.all()[..]].concat()));
    }
}

/// -1 is no cap.
fn said(caps: Caps) -> [i64; 3] {
    [caps.money.map(|it| it.nanos()), caps.requests, caps.tokens].map(|it| it.unwrap_or(-1))
}

/// Numbers as the scripts read and write them, which costs them less than text: in eight
/// bytes each, the lowest first.
pub fn packed(numbers: impl IntoIterator<Item = i64>) -> Vec<u8> {
    let numbers = numbers.into_iter();
    let mut bytes = Vec::with_capacity(MOST_NUMBERS.max(numbers.size_hint().0) * size_of::<i64>());
    numbers.for_each(|it| bytes.extend_from_slice(&it.to_le_bytes()));
    bytes
}

/// Holds as they are written down of a call that was let through, for
/// [`Hold::read_all`] to read.
pub fn written(holds: &[Hold]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Hold { budget, window, amounts } in holds {
        let id = budget.uuid().simple();
        bytes.extend_from_slice(id.encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        bytes.extend(packed([*window].into_iter().chain(amounts.all())));
    }
    bytes
}

/// So many there is room for, where nobody says how many come.
const MOST_NUMBERS: usize = 8;

/// What [`packed`] makes, read again; what is too short for a number is left out.
pub fn unpacked(bytes: &[u8]) -> impl Iterator<Item = i64> {
    let (numbers, _) = bytes.as_chunks();
    numbers.iter().map(|it| i64::from_le_bytes(*it))
}
