//! What is spent of budgets, and what is held of them by calls under way, in Redis.
//!
//! An organization has its counters, its holds and its events in one shard, and a shard
//! in one slot of a cluster: so one script changes all that a call concerns, or nothing.
//! Proxies admit, extend and settle; the control plane sets caps, sweeps what dead proxies
//! hold, and heals a store that lost something. The scripts are in `lua/`, and say what
//! they do; this names what they work on and puts their questions.
//!
//! In each shard, with `{s017}` for its number:
//!
//! | key | what |
//! |---|---|
//! | `e:{s017}` | *incarnation*: a number, then a state and a time. `W` counts, `L` counts again what was lost until then, `C` lost something and waits to be healed. None is like `C` |
//! | `b:{s017}:<budget>` | one text: the caps in force; of the present window and two others, the latest that anybody named, what is spent and held; what the budget was opened with; its thresholds. `lua/counter.lua` says what is where |
//! | `h:{s017}:<epoch>` | a hash of the holds of a proxy's process: by call, what it holds of which budgets: for [`Hold::read_all`] |
//! | `d:{s017}` | a hash of the holds of the dead, by epoch and call: since when, and the same |
//! | `q:{s017}` | a hash: by epoch, the last settlement that was counted |
//! | `x:{s017}` | a sorted set of epochs that hold something, by when they last said that they live |
//! | `k:{s017}` | a sorted set of keys that stopped, by when, each by its id without its prefix |
//! | `ev:{s017}` | a stream of events, each written by the settlement that counted it |
//! | `al:{s017}` | a stream of thresholds passed |
//! | `w:{s017}` | a hash: by epoch, the last event that is in the database: what a proxy need not keep |
//! | `l:{s017}` | a hash of the epochs that the shard learns from and has not heard yet, and *until* when it learns at least |
//!
//! Money is nano-dollars. Numbers are kept whole, in 64 bits. Lua's are exact up to 2^53, where
//! [`Caps::CEILING`] stays below; what is more than that is added in halves, and compared as
//! more than enough.
//!
//! [`Caps::CEILING`]: crate::snapshot::Caps::CEILING

mod answer;
mod compact;
mod scripts;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize, ser::SerializeStruct};
use uuid::{Uuid, fmt::Simple};

pub use self::{
    answer::{Counter, Incarnation, Looked, ReadAnswer, Reading, Settled, State, Window},
    scripts::{
        ADMISSION, CLOCK, COUNTER, Guarded, HealedWindow, Healing, Known, LATEST, NOT_OPENED,
        Opening, Scripts, Settlement, Sweeping, Swept, Terms, packed, unpacked, written,
    },
};
use crate::ids::{BudgetId, OrganizationId};

/// Which 256th of the organizations one belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shard(u8);

impl Shard {
    pub const COUNT: usize = 256;

    pub fn of(organization: OrganizationId) -> Self {
        let [.., last] = crc32fast::hash(organization.uuid().as_bytes()).to_be_bytes();
        Self(last)
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    pub const fn number(self) -> u8 {
        self.0
    }

    /// As keys have it.
    fn written(self) -> [u8; 6] {
        let digit = |of: u8| b'0' + of % 10;
        [b'{', b's', digit(self.0 / 100), digit(self.0 / 10), digit(self.0), b'}']
    }
}

impl From<u8> for Shard {
    fn from(number: u8) -> Self {
        Self(number)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.written()).unwrap_or_default())
    }
}

/// One process of a proxy, from its start to its end: whose settlements are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is 16 hexadecimal digits")]
pub struct BadEpoch;

impl std::str::FromStr for Epoch {
    type Err = BadEpoch;

    fn from_str(text: &str) -> Result<Self, BadEpoch> {
        let is_well_formed = text.len() == 16 && text.bytes().all(|it| it.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_well_formed);
        number.map(Self).ok_or(BadEpoch)
    }
}

impl Serialize for Epoch {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        std::borrow::Cow::<'de, str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// What a name has behind its prefix at most: that of a budget.
const LONGEST_NAME: usize = "b:{s000}:".len() + Simple::LENGTH;

/// The names of all this. Tests put something before them, so as to be apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    prefix: String,
}

impl Places {
    pub fn with_prefix(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub fn incarnation(&self, shard: Shard) -> String {
        self.of("e", shard)
    }

    pub fn budget(&self, shard: Shard, budget: BudgetId) -> String {
        self.of_id(shard, budget.uuid())
    }

    pub fn holds(&self, shard: Shard, epoch: Epoch) -> String {
        let mut name = self.all_holds(shard);
        name.push_str(&epoch.to_string());
        name
    }

    pub fn dead_holds(&self, shard: Shard) -> String {
        self.of("d", shard)
    }

    pub fn settled(&self, shard: Shard) -> String {
        self.of("q", shard)
    }

    pub fn living(&self, shard: Shard) -> String {
        self.of("x", shard)
    }

    pub fn stopped_keys(&self, shard: Shard) -> String {
        self.of("k", shard)
    }

    pub fn events(&self, shard: Shard) -> String {
        self.of("ev", shard)
    }

    pub fn alerts(&self, shard: Shard) -> String {
        self.of("al", shard)
    }

    pub fn durable(&self, shard: Shard) -> String {
        self.of("w", shard)
    }

    pub fn awaited(&self, shard: Shard) -> String {
        self.of("l", shard)
    }

    /// What the names of holds begin with, behind which an epoch follows.
    pub fn all_holds(&self, shard: Shard) -> String {
        let mut name = self.of("h", shard);
        name.push(':');
        name
    }

    /// Put together by hand, as every call names many.
    fn of(&self, name: &str, shard: Shard) -> String {
        let mut all = String::with_capacity(self.prefix.len() + LONGEST_NAME);
        all.push_str(&self.prefix);
        all.push_str(name);
        all.push(':');
        all.push_str(std::str::from_utf8(&shard.written()).unwrap_or_default());
        all
    }

    fn of_id(&self, shard: Shard, id: Uuid) -> String {
        let mut name = self.of("b", shard);
        name.push(':');
        name.push_str(id.simple().encode_lower(&mut Uuid::encode_buffer()));
        name
    }
}

/// Money, requests and tokens: what is capped, spent and held. Money is nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Amounts {
    pub money: i64,
    pub requests: i64,
    pub tokens: i64,
}

impl Amounts {
    /// Both together.
    pub const fn plus(self, other: Self) -> Self {
        Self {
            money: self.money.saturating_add(other.money),
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }

    pub const fn all(self) -> [i64; 3] {
        [self.money, self.requests, self.tokens]
    }
}

/// What one call was counted for in a window of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
pub struct Counted {
    pub budget: BudgetId,
    /// When the window began, by which it is known: in milliseconds since 1970.
    pub window: i64,
    #[serde(flatten)]
    pub amounts: Amounts,
}

/// As it would be derived, without the detour that serde takes for what is flattened.
impl Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { budget, window, amounts: Amounts { money, requests, tokens } } = self;
        let mut members = to.serialize_struct("Counted", 5)?;
        members.serialize_field("budget", budget)?;
        members.serialize_field("window", window)?;
        members.serialize_field("money", money)?;
        members.serialize_field("requests", requests)?;
        members.serialize_field("tokens", tokens)?;
        members.end()
    }
}

/// What a call holds in a window of a budget, from before it is sent until it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub budget: BudgetId,
    pub window: i64,
    #[serde(flatten)]
    pub amounts: Amounts,
}

impl Hold {
    /// How many bytes one takes: a budget, and four numbers.
    const SIZE: usize = 32 + 4 * 8;

    /// What is written down of a call in a hash of holds. Since when a hold is the dead's
    /// stands before it, which is passed over; what cannot be read is, too.
    pub fn read_all(written: &[u8]) -> Vec<Self> {
        let (_, pieces) = written.split_at(written.len() % Self::SIZE);
        pieces.chunks_exact(Self::SIZE).filter_map(Self::read).collect()
    }

    /// Since when the dead have a hold, in milliseconds since 1970.
    pub fn dead_since(written: &[u8]) -> Option<i64> {
        unpacked(written).next().filter(|_| written.len() % Self::SIZE == 8)
    }

    fn read(piece: &[u8]) -> Option<Self> {
        let (budget, numbers) = piece.split_at_checked(32)?;
        let budget = BudgetId::from_uuid(Uuid::try_parse_ascii(budget).ok()?);
        let mut numbers = unpacked(numbers);
        let mut next = || numbers.next();
        let (window, money, requests, tokens) = (next()?, next()?, next()?, next()?);
        Some(Self { budget, window, amounts: Amounts { money, requests, tokens } })
    }
}
