//! What the scripts answer.

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

/// Which store a shard is in: another number after each loss. 0 is no store that we know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incarnation(pub u64);

/// How far settlements are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub state: State,
    pub last: u64,
}

impl Settled {
    /// What `settle.lua` answers.
    pub fn read((state, last): (String, u64)) -> Option<Self> {
        Some(Self { state: State::read(&state)?, last })
    }
}
