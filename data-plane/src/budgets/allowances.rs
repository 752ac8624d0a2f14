//! What passes a hard budget while nobody counts, where its owners allow that. Each proxy has its
//! part of it, by how many were last seen, for each window anew. It is in memory, so whoever starts
//! anew has their part anew: by the allowance the cap is exceeded, and by a part for each such
//! proxy.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use shared::{counters::Counted, ids::BudgetId, money::Money};

#[derive(Default)]
pub struct Allowances(Mutex<HashMap<BudgetId, Used>>);

#[derive(Clone, Copy, Default)]
struct Used {
    window: i64,
    money: i64,
}

impl Allowances {
    /// Takes `amount` of this proxy's part, if there is as much left.
    pub fn take(
        &self,
        (budget, window): (BudgetId, i64),
        amount: i64,
        allowance: Money,
        proxies: u32,
    ) -> bool {
        let part = allowance.nanos() / i64::from(proxies.max(1));
        let mut all = self.all();
        let used = all.entry(budget).or_default();
        if used.window != window {
            *used = Used { window, money: 0 };
        }
        let is_within = used.money.saturating_add(amount) <= part;
        if is_within {
            used.money = used.money.saturating_add(amount);
        }
        is_within
    }

    /// A call that took so much came to what was counted. In an earlier window it does not
    /// matter any more.
    pub fn correct(&self, budget: BudgetId, taken: i64, counted: &[Counted]) {
        let counted = counted.iter().find(|it| it.budget == budget);
        let mut all = self.all();
        let Some(used) = all.get_mut(&budget) else { return };
        if counted.is_none_or(|it| it.window == used.window) {
            let spent = counted.map_or(0, |it| it.amounts.money);
            used.money = used.money.saturating_sub(taken).saturating_add(spent).max(0);
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<BudgetId, Used>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use shared::counters::Amounts;

    use super::*;

    #[test]
    fn a_proxy_gives_out_its_part_in_each_window() {
        let (allowances, budget) = (Allowances::default(), BudgetId::generate());
        let take =
            |window, amount| allowances.take((budget, window), amount, Money::from_nanos(1_000), 2);
        assert!(take(1, 300) && !take(1, 201) && take(1, 200));
        let counted =
            Counted { budget, window: 1, amounts: Amounts { money: 50, ..Amounts::default() } };
        allowances.correct(budget, 300, &[counted]);
        assert!(take(1, 250) && !take(1, 1));
        allowances.correct(budget, 200, &[]);
        assert!(take(1, 200) && take(2, 500) && !take(2, 1));
    }
}
