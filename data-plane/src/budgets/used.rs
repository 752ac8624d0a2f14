//! How much of budgets is used up, as far as this proxy heard when it last let a call through
//! that they bear. Routes may go by it; what is let through is asked of Redis anew.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use shared::ids::BudgetId;

use super::Bearing;
use crate::limits::{Kind, Standing};

/// So many are remembered before those are forgotten whose window is over.
const MANY: usize = 50_000;

#[derive(Debug, Default)]
pub struct Used(Mutex<HashMap<BudgetId, Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    until_ms: i64,
    percent: u64,
}

impl Used {
    pub fn note(&self, bearings: &[Bearing], standings: &[Standing], now_ms: i64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MANY {
            all.retain(|_, it| now_ms < it.until_ms);
        }
        for (bearing, standing) in bearings.iter().zip(standings) {
            let (until_ms, percent) = (standing.until_ms, percent(standing));
            all.insert(bearing.budget.id, Seen { until_ms, percent });
        }
    }

    /// Of the one that is used up most.
    pub fn most(&self, bearings: &[Bearing], now_ms: i64) -> u64 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = bearings.iter().filter_map(|it| all.get(&it.budget.id));
        seen.filter(|it| now_ms < it.until_ms).map(|it| it.percent).max().unwrap_or(0)
    }
}

/// By whichever it counts of which least is left.
fn percent(standing: &Standing) -> u64 {
    let of = |kind| {
        let (cap, room) = (standing.cap(kind)?, standing.room(kind)?);
        let taken = i128::from(cap) - i128::from(room);
        u64::try_from(taken * 100 / i128::from(cap.max(1))).ok()
    };
    Kind::ALL.into_iter().filter_map(of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use shared::counters::Amounts;

    use super::*;

    #[test]
    fn what_is_nearest_to_its_end_counts() {
        let standing = |money: i64, requests: i64| Standing {
            from_ms: 0,
            until_ms: 9,
            caps: Amounts { money: 200, requests: 10, tokens: -1 },
            spent: Amounts { money, requests, tokens: 7 },
            held: Amounts { money: 10, ..Amounts::default() },
        };
        assert_eq!(percent(&standing(90, 0)), 50);
        assert_eq!(percent(&standing(90, 8)), 80);
        assert_eq!(percent(&standing(999, 0)), 100);
    }
}
