//! What the scripts answer, and what is read of a budget.

use std::collections::HashMap;

use super::{Amounts, Epoch, Hold};
use crate::{event::FIELD, money::Money, random, snapshot::Caps};

/// How a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It counts.
    Warm,
    /// It lost something, was healed, and for a moment takes what proxies say they hold. Calls
    /// that a hard budget has to cover are not let through.
    Learning,
    /// It lost something, or is new, and waits to be healed.
    Cold,
}

impl State {
    pub fn read(letter: &str) -> Option<Self> {
        match letter {
            "W" => Some(Self::Warm),
            "L" => Some(Self::Learning),
            "C" => Some(Self::Cold),
            _ => None,
        }
    }

    /// What `GET` of a shard's incarnation answers, if anything is kept.
    pub fn of_shard(kept: &str, now_ms: i64) -> Self {
        let mut words = kept.split(' ').skip(1);
        let state = words.next().and_then(Self::read).unwrap_or(Self::Cold);
        let until_ms = words.next().and_then(|it| it.parse().ok()).unwrap_or(i64::MAX);
        if state == Self::Learning && now_ms >= until_ms { Self::Warm } else { state }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Learning => "learning",
            Self::Cold => "cold",
        }
    }
}

/// Which store a shard is in: another number after each loss, below 2^53. 0 is no store that
/// we know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// Another than any there was.
    pub fn fresh() -> Self {
        Self((u64::from_le_bytes(random::bytes()) >> 11).max(1))
    }
}

/// How far settlements are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub state: State,
    pub incarnation: Incarnation,
    pub last: u64,
}

impl Settled {
    /// What `settle.lua` answers.
    pub fn read((state, incarnation, last): (String, u64, u64)) -> Option<Self> {
        let (state, incarnation) = (State::read(&state)?, Incarnation(incarnation));
        Some(Self { state, incarnation, last })
    }
}

/// How a shard is, as `look.lua` tells a proxy's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    pub state: State,
    pub incarnation: Incarnation,
    /// The process' last settlement that is counted,
    pub settled: u64,
    /// and the last that is in the database.
    pub durable: u64,
    pub now_ms: i64,
}

impl Looked {
    pub fn read(
        (state, incarnation, settled, durable, now_ms): (String, u64, u64, u64, i64),
    ) -> Option<Self> {
        let (state, incarnation) = (State::read(&state)?, Incarnation(incarnation));
        Some(Self { state, incarnation, settled, durable, now_ms })
    }
}

/// What is kept of a budget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Of the terms that are in force; 0 where there are none yet.
    pub version: i64,
    /// What is in force but for a raise.
    pub caps: Caps,
    /// The last window that a call was counted in, which may be over.
    pub window: Option<Window>,
    /// The one before it.
    pub before: Option<Window>,
    /// One that something was said of before it began.
    pub after: Option<Window>,
    /// Whether it was opened: whoever put its first caps in force said what was spent before.
    pub is_opened: bool,
    /// In which window it was opened with what no event had counted on it, and that.
    pub opening: Option<(i64, Amounts)>,
}

/// What was spent and is held in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub from_ms: i64,
    /// 0 where it is not known any more.
    pub until_ms: i64,
    pub spent: Amounts,
    /// With what the dead hold.
    pub held: Amounts,
    /// Of the money held, what dead processes do.
    pub held_by_the_dead: i64,
}

/// The numbers that are kept of a budget, before its thresholds.
const TERMS: usize = 9;
const OF_WINDOW: usize = 9;
const OPENING: usize = 5;
const KEPT: usize = TERMS + OF_WINDOW + 2 + 2 * OF_WINDOW + OPENING;

impl Counter {
    /// Where in what is kept the amounts of the present window begin, in bytes: spent, held,
    /// and held by the dead.
    pub const AMOUNTS_AT: usize = 8 * (TERMS + 2);

    /// What `GET` answers, where `lua/counter.lua` says what is where. Nothing where nothing
    /// is kept.
    pub fn read(kept: &[u8]) -> Self {
        let numbers: Vec<_> = super::unpacked(kept).take(KEPT).collect();
        let (terms, rest) = numbers.split_at_checked(TERMS).unwrap_or_default();
        let (present, rest) = rest.split_at_checked(OF_WINDOW).unwrap_or_default();
        let (ends, rest) = rest.split_at_checked(2).unwrap_or_default();
        let (others, opening) = rest.split_at_checked(2 * OF_WINDOW).unwrap_or_default();
        let until_ms = ends.first().copied().unwrap_or_default();
        let window = Window::read(present).map(|it| Window { until_ms, ..it });
        let began = window.map_or(i64::MAX, |it| it.from_ms);
        let others: Vec<_> = others.chunks(OF_WINDOW).filter_map(Window::read).collect();
        // The latest stands first.
        let mut before = others.iter().filter(|it| it.from_ms < began);
        let mut after = others.iter().filter(|it| it.from_ms > began);
        let (is_opened, opening) = match *opening {
            [1, from_ms, money, requests, tokens] if from_ms >= 0 => {
                (true, Some((from_ms, Amounts { money, requests, tokens })))
            }
            [is_opened, ..] => (is_opened == 1, None),
            [] => (false, None),
        };
        let cap = |at: usize| terms.get(at).copied().filter(|it| *it >= 0);
        let caps = Caps { money: cap(2).map(Money::from_nanos), requests: cap(3), tokens: cap(4) };
        Self {
            version: terms.first().copied().unwrap_or_default(),
            caps,
            window,
            before: before.next().copied(),
            after: after.next().copied(),
            is_opened,
            opening,
        }
    }

    /// The window of this one that `now_ms` is in, if anything was counted in it.
    pub fn at(&self, now_ms: i64) -> Option<&Window> {
        self.window.as_ref().filter(|it| now_ms < it.until_ms)
    }
}

impl Window {
    fn read(numbers: &[i64]) -> Option<Self> {
        let amounts = |of: [i64; 3]| {
            let [money, requests, tokens] = of;
            Amounts { money, requests, tokens }
        };
        match *numbers {
            [from_ms, _, sm, sr, st, rm, rr, rt, held_by_the_dead] if from_ms >= 0 => Some(Self {
                from_ms,
                until_ms: 0,
                spent: amounts([sm, sr, st]),
                held: amounts([rm, rr, rt]),
                held_by_the_dead,
            }),
            _ => None,
        }
    }
}

/// A shard at one moment, as `read.lua` tells it.
#[derive(Clone, Debug)]
pub struct Reading {
    pub state: State,
    pub incarnation: Incarnation,
    /// By process, the last settlement that is counted.
    pub settled: HashMap<Epoch, u64>,
    /// How many events wait to be taken,
    pub waiting: u64,
    /// and those, unless they are too many.
    pub events: Vec<Vec<u8>>,
    /// In the order that was asked for.
    pub counters: Vec<Counter>,
    /// What the living hold, and what the dead do, a hold of a budget each.
    pub held: Vec<Hold>,
    pub held_by_the_dead: Vec<Hold>,
}

/// What [`Reading::read`] takes.
pub type ReadAnswer = (
    String,
    u64,
    HashMap<String, u64>,
    u64,
    Vec<(String, HashMap<String, Vec<u8>>)>,
    Vec<Vec<u8>>,
    Vec<Vec<u8>>,
    Vec<Vec<u8>>,
);

impl Reading {
    pub fn read(answer: ReadAnswer) -> Option<Self> {
        let (state, number, settled, waiting, events, budgets, living, dead) = answer;
        let holds = |of: Vec<Vec<u8>>| of.iter().flat_map(|it| Hold::read_all(it)).collect();
        let settled = settled.into_iter().filter_map(|(it, last)| Some((it.parse().ok()?, last)));
        Some(Self {
            state: State::read(&state)?,
            incarnation: Incarnation(number),
            settled: settled.collect(),
            waiting,
            events: events.into_iter().filter_map(|(_, mut it)| it.remove(FIELD)).collect(),
            counters: budgets.iter().map(|it| Counter::read(it)).collect(),
            held: holds(living),
            held_by_the_dead: holds(dead),
        })
    }
}
