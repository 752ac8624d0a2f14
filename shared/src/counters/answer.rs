//! What the scripts answer, and what is read of a budget.

use std::collections::HashMap;

use super::{Amounts, Epoch};
use crate::{event::FIELD, random};

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
    /// The last window that a call was counted in, which may be over.
    pub window: Option<Window>,
    /// The one before it.
    pub before: Option<Window>,
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

impl Counter {
    /// What `HGETALL` answers.
    pub fn read(fields: &HashMap<String, String>) -> Self {
        let number = |name: &str| fields.get(name).and_then(|it| it.parse::<i64>().ok());
        let amounts = |of: &str| {
            let amount = |kind| number(&format!("{of}{kind}")).unwrap_or_default();
            Amounts { money: amount('m'), requests: amount('r'), tokens: amount('t') }
        };
        let window = |from_ms: i64, until_ms: i64, before: &str| Window {
            from_ms,
            until_ms,
            spent: amounts(&format!("{before}s")),
            held: amounts(&format!("{before}r")),
            held_by_the_dead: number(&format!("{before}hm")).unwrap_or_default(),
        };
        Self {
            version: number("v").unwrap_or_default(),
            window: number("ws").map(|it| window(it, number("we").unwrap_or_default(), "")),
            before: number("pw").map(|it| window(it, 0, &format!("{it}:"))),
            opening: number("ow").map(|it| (it, amounts("o"))),
        }
    }

    /// The window of this one that `now_ms` is in, if anything was counted in it.
    pub fn at(&self, now_ms: i64) -> Option<&Window> {
        self.window.as_ref().filter(|it| now_ms < it.until_ms)
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
}

/// What [`Reading::read`] takes.
pub type ReadAnswer = (
    String,
    u64,
    HashMap<String, u64>,
    u64,
    Vec<(String, HashMap<String, Vec<u8>>)>,
    Vec<HashMap<String, String>>,
);

impl Reading {
    pub fn read((state, number, settled, waiting, events, budgets): ReadAnswer) -> Option<Self> {
        let settled = settled.into_iter().filter_map(|(it, last)| Some((it.parse().ok()?, last)));
        Some(Self {
            state: State::read(&state)?,
            incarnation: Incarnation(number),
            settled: settled.collect(),
            waiting,
            events: events.into_iter().filter_map(|(_, mut it)| it.remove(FIELD)).collect(),
            counters: budgets.iter().map(Counter::read).collect(),
        })
    }
}
