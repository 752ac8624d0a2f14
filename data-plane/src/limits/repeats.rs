//! Refusals that are repeated without asking: whoever was refused and comes again at once, as
//! clients do that do not listen, costs Redis nothing, and us little.
//!
//! Always holds: what is repeated is what Redis said of the same limits or caps; it is so only where
//! nothing but time, or a change of them, could have brought another answer: requests that
//! a minute's limit lets through come back with time, and what is spent is spent. Tokens and
//! places that calls under way give back, and what they hold of a budget, are always asked for. So it
//! never refuses what is within the limits, but for a cap that was raised or a sum that was
//! corrected less than a repetition's life ago.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shared::{
    ids::{ApiKeyId, BudgetId},
    snapshot::Limits,
};
use tokio::time::Instant;

use super::{
    charge::{Charge, Level, What},
    decision::{Decision, Kind, Refusal, Verdict},
    question::{Question, Wanted},
};

/// So that workers do not wait for each other.
const PARTS: usize = 64;

/// The last refusal of each key, for a moment.
pub struct Repeats {
    life: Duration,
    parts: [Mutex<HashMap<ApiKeyId, Refused>>; PARTS],
}

struct Refused {
    since: Instant,
    /// How long it holds, whatever others do.
    holds: Duration,
    by: By,
    decision: Decision,
}

/// What refused, as it was then.
enum By {
    Limits(Vec<(Level, Limits)>),
    /// The one of that index, as to that.
    Budgets(Vec<(BudgetId, i64)>, usize, Kind),
}

impl Repeats {
    /// Where their life is no time at all, nothing is repeated.
    pub fn new(life: Duration) -> Self {
        Self { life, parts: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Remembers what was decided, if it may be repeated.
    pub fn note(&self, decision: &Decision, charges: &[Charge], question: &Question<'_>) {
        let Some(refused) = Refused::by(decision, charges, question) else { return };
        if !refused.is_over(self.life) {
            self.part(question.key).insert(question.key, refused);
        }
    }

    /// What Redis would say to the same once more, where that is known.
    pub fn of(&self, charges: &[Charge], question: &Question<'_>) -> Option<Decision> {
        let mut part = self.part(question.key);
        let refused = part.get(&question.key)?;
        if refused.is_over(self.life) {
            part.remove(&question.key);
            return None;
        }
        refused.again(charges, question)
    }

    /// Forgets what is not repeated any more.
    pub fn sweep(&self) {
        (0..PARTS).for_each(|it| self.locked(it).retain(|_, it| !it.is_over(self.life)));
    }

    fn part(&self, key: ApiKeyId) -> MutexGuard<'_, HashMap<ApiKeyId, Refused>> {
        let [.., last] = *key.uuid().as_bytes();
        self.locked(usize::from(last))
    }

    fn locked(&self, number: usize) -> MutexGuard<'_, HashMap<ApiKeyId, Refused>> {
        self.parts[number % PARTS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refused {
    fn by(decision: &Decision, charges: &[Charge], question: &Question<'_>) -> Option<Self> {
        let (by, holds_ms) = match decision.verdict {
            Verdict::Limit(Refusal { what: What::Requests, wait, .. }) => {
                (By::Limits(charges.iter().map(limits).collect()), wait)
            }
            Verdict::Spent(index, kind) if is_spent(decision, (index, kind), question) => {
                let all = question.budgets.iter().map(caps).collect();
                let until = decision.standings.get(index)?.until_ms;
                let left = u64::try_from(until).ok()?.saturating_sub(decision.now);
                (By::Budgets(all, index, kind), left)
            }
            Verdict::Passed
            | Verdict::Limit(_)
            | Verdict::Stopped
            | Verdict::NotCounted
            | Verdict::OldTerms
            | Verdict::OtherWindow
            | Verdict::Spent(..) => return None,
        };
        let (since, holds) = (Instant::now(), Duration::from_millis(holds_ms));
        Some(Self { since, holds, by, decision: decision.clone() })
    }

    fn is_over(&self, life: Duration) -> bool {
        self.since.elapsed() >= life.min(self.holds)
    }

    fn again(&self, charges: &[Charge], question: &Question<'_>) -> Option<Decision> {
        let is_same = match &self.by {
            By::Limits(all) => all.iter().copied().eq(charges.iter().map(limits)),
            By::Budgets(all, index, kind) => {
                all.iter().copied().eq(question.budgets.iter().map(caps))
                    && is_spent(&self.decision, (*index, *kind), question)
            }
        };
        let mut decision = is_same.then(|| self.decision.clone())?;
        if let Verdict::Limit(Refusal { wait, .. }) = &mut decision.verdict {
            let passed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(*wait);
            *wait = wait.saturating_sub(passed);
        }
        Some(decision)
    }
}

/// Whether so much is spent already, without what calls under way hold, that what the question
/// wants of a budget does not fit.
fn is_spent(decision: &Decision, (index, kind): (usize, Kind), question: &Question<'_>) -> bool {
    let found = decision.standings.get(index).zip(question.budgets.get(index));
    found.is_some_and(|(standing, it)| {
        let with = kind.of(standing.spent).saturating_add(kind.of(it.wanted));
        standing.cap(kind).is_some_and(|cap| with > cap)
    })
}

fn limits(charge: &Charge) -> (Level, Limits) {
    (charge.level, charge.limits)
}

fn caps(it: &Wanted<'_>) -> (BudgetId, i64) {
    (it.budget.id, it.budget.version)
}
