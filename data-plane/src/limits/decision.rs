//! All levels at once: a call passes every one of them, or is charged on none.
//!
//! `scripts/admit.lua` decides the same for all proxies; this decides for one proxy alone,
//! and is what the script is tested against.

use shared::counters::{Amounts, Incarnation, State, unpacked};

use super::{
    charge::{Charge, What},
    gcra::Used,
};

/// When to come back to a proxy where too many calls are under way: nobody knows when one
/// of them ends.
const CALLS_WAIT: u64 = 1_000;

/// What is used of the limits of one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    pub requests: Used,
    pub tokens: Used,
    pub under_way: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    /// In milliseconds, by the clock of who decided.
    pub now: u64,
    /// After the decision, in the order of the charges.
    pub levels: Vec<Level>,
    pub shard: State,
    pub incarnation: Incarnation,
    /// The budgets, in the order that they were asked for; none where nobody counts.
    pub standings: Vec<Standing>,
}

/// What stands against a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Limit(Refusal),
    /// Its key opens nothing any more.
    Stopped,
    /// Its shard lost something, and a budget that is hard cannot be counted.
    NotCounted,
    /// Redis has older caps of a budget than we have.
    OldTerms,
    /// We do not know the window that a budget is in now.
    OtherWindow,
    /// A budget has not enough: its index among those asked for, and of what.
    Spent(usize, Kind),
}

/// What of a budget is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Money,
    Requests,
    Tokens,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Money, Self::Requests, Self::Tokens];

    pub const fn of(self, amounts: Amounts) -> i64 {
        match self {
            Self::Money => amounts.money,
            Self::Requests => amounts.requests,
            Self::Tokens => amounts.tokens,
        }
    }
}

/// How a budget stands after a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub from_ms: i64,
    pub until_ms: i64,
    /// -1 where there is no cap.
    pub caps: Amounts,
    pub spent: Amounts,
    pub held: Amounts,
}

impl Standing {
    pub fn cap(&self, kind: Kind) -> Option<i64> {
        Some(kind.of(self.caps)).filter(|it| *it >= 0)
    }

    /// What is left under the cap of that kind, if there is one; never less than nothing.
    pub fn room(&self, kind: Kind) -> Option<i64> {
        let taken = kind.of(self.spent).saturating_add(kind.of(self.held));
        self.cap(kind).map(|it| it.saturating_sub(taken).max(0))
    }
}

/// The one that takes longest to go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Among the charges.
    pub index: usize,
    pub what: What,
    /// In milliseconds.
    pub wait: u64,
}

/// `levels` are what is used of each charge's limits at `now`.
pub fn decide(charges: &[Charge], mut levels: Vec<Level>, now: u64) -> Decision {
    let mut refusal: Option<Refusal> = None;
    for (index, (charge, level)) in charges.iter().zip(&levels).enumerate() {
        for what in What::ALL {
            let wait = level.wait(charge, what);
            if wait > refusal.map_or(0, |it| it.wait) {
                refusal = Some(Refusal { index, what, wait });
            }
        }
    }
    if refusal.is_none() {
        for (charge, level) in charges.iter().zip(&mut levels) {
            level.take(charge);
        }
    }
    let verdict = refusal.map_or(Verdict::Passed, Verdict::Limit);
    let (shard, incarnation) = (State::Warm, Incarnation::default());
    Decision { verdict, now, levels, shard, incarnation, standings: Vec::new() }
}

impl Level {
    fn wait(&self, charge: &Charge, what: What) -> u64 {
        let Some(limit) = charge.limit(what) else { return 0 };
        match what {
            What::Requests => self.requests.wait(1, limit),
            What::Tokens => self.tokens.wait(charge.tokens, limit),
            What::Concurrent if self.under_way >= limit => CALLS_WAIT,
            What::Concurrent => 0,
        }
    }

    fn take(&mut self, charge: &Charge) {
        let limits = &charge.limits;
        if limits.requests_per_minute.is_some() {
            self.requests = self.requests.with(1);
        }
        if limits.tokens_per_minute.is_some() {
            self.tokens = self.tokens.with(charge.tokens);
        }
        if limits.concurrent.is_some() {
            self.under_way += 1;
        }
    }
}

/// What of the answer there is of each level and of each budget.
const OF_LEVEL: usize = 3;
const OF_BUDGET: usize = 11;

impl Decision {
    /// What `scripts/admit.lua` answers on so many levels. `None` if it is not that.
    pub fn read(answer: &[u8], levels: usize) -> Option<Self> {
        let answer: Vec<_> = unpacked(answer).collect();
        let (&[verdict, index, what, wait, now, shard, incarnation], rest) =
            answer.split_first_chunk()?;
        let (levels, budgets) = rest.split_at_checked(levels * OF_LEVEL)?;
        let place = |it: i64| usize::try_from(it).ok()?.checked_sub(1);
        let verdict = match verdict {
            0 => Verdict::Passed,
            1 => Verdict::Limit(Refusal {
                index: place(index)?,
                what: *What::ALL.get(place(what)?)?,
                wait: wait.try_into().ok()?,
            }),
            2 => Verdict::Stopped,
            3 => Verdict::NotCounted,
            4 => Verdict::OldTerms,
            5 => Verdict::OtherWindow,
            6 => Verdict::Spent(place(index)?, *Kind::ALL.get(place(what)?)?),
            _ => return None,
        };
        let shard = match shard {
            0 => State::Warm,
            1 => State::Cold,
            2 => State::Learning,
            _ => return None,
        };
        let (budgets, []) = budgets.as_chunks::<OF_BUDGET>() else { return None };
        let (levels, _) = levels.as_chunks::<OF_LEVEL>();
        Some(Self {
            verdict,
            now: now.try_into().ok()?,
            levels: levels.iter().map(Level::read).collect::<Option<_>>()?,
            shard,
            incarnation: Incarnation(incarnation.try_into().ok()?),
            standings: budgets.iter().map(Standing::read).collect(),
        })
    }

    /// The limit that refuses.
    pub fn refusal(&self) -> Option<Refusal> {
        match self.verdict {
            Verdict::Limit(refusal) => Some(refusal),
            Verdict::Passed
            | Verdict::Stopped
            | Verdict::NotCounted
            | Verdict::OldTerms
            | Verdict::OtherWindow
            | Verdict::Spent(..) => None,
        }
    }

    pub fn is_passed(&self) -> bool {
        self.verdict == Verdict::Passed
    }

    /// Whether more than half of a limit is used that a call gives something back to.
    pub fn is_tight(&self, charges: &[Charge]) -> bool {
        let half = |limit: u64| limit / 2;
        charges.iter().zip(&self.levels).any(|(charge, level)| {
            let has_few = |limit| level.under_way > half(limit);
            let has_little = |limit| level.tokens.remaining(limit) < half(limit);
            charge.limit(What::Concurrent).is_some_and(has_few)
                || charge.limit(What::Tokens).is_some_and(has_little)
        })
    }
}

impl Level {
    fn read(answer: &[i64; OF_LEVEL]) -> Option<Self> {
        let [requests, tokens, under_way] = answer.map(|it| u64::try_from(it).ok());
        Some(Self { requests: Used(requests?), tokens: Used(tokens?), under_way: under_way? })
    }
}

impl Standing {
    fn read(answer: &[i64; OF_BUDGET]) -> Self {
        let [from_ms, until_ms, cm, sm, rm, cr, sr, rr, ct, st, rt] = *answer;
        let amounts = |money, requests, tokens| Amounts { money, requests, tokens };
        Self {
            from_ms,
            until_ms,
            caps: amounts(cm, cr, ct),
            spent: amounts(sm, sr, st),
            held: amounts(rm, rr, rt),
        }
    }
}
