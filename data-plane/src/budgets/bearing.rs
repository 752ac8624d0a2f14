//! Which budgets a call counts against, and with how much of it.

use std::sync::Arc;

use shared::{
    counters::Amounts,
    snapshot::{Budget, BudgetScope as Scope, Key, Project, Split},
};

use crate::catalog::Snapshot;

/// All of it.
const WHOLE: u16 = 10_000;

/// A budget that bears a call, and its share in basis points: that of a cost center, by the
/// split in force, or all of it.
#[derive(Clone, Debug)]
pub struct Bearing {
    pub budget: Arc<Budget>,
    pub share: u16,
}

impl Bearing {
    pub fn amounts_of(&self, whole: Amounts) -> Amounts {
        share_of(self.share, whole)
    }

    /// How much a whole may be of which the share fits into `room`.
    pub fn whole_within(&self, room: i64) -> i64 {
        let whole = i128::from(room) * i128::from(WHOLE) / i128::from(self.share.max(1));
        i64::try_from(whole).unwrap_or(i64::MAX)
    }
}

/// Every budget that bears the calls of a key at a moment.
pub fn bearings(snapshot: &Snapshot, key: &Key, now_ms: i64) -> Vec<Bearing> {
    let all = snapshot.budgets(key.organization);
    if all.is_empty() {
        return Vec::new();
    }
    let project = snapshot.project(key.project);
    let share = |budget: &Budget| match budget.scope {
        Scope::Organization => WHOLE,
        Scope::Team(team) => whole_if(project.is_some_and(|it| it.team == Some(team))),
        Scope::Project(id) => whole_if(id == key.project),
        Scope::Key(id) => whole_if(id == key.id),
        Scope::CostCenter(center) => {
            let shares = project.and_then(|it| in_force(it, now_ms)).map(|it| it.shares.iter());
            let own = shares.into_iter().flatten().filter(|it| it.cost_center == center);
            own.map(|it| it.basis_points).fold(0, u16::saturating_add).min(WHOLE)
        }
    };
    let bearing = |it: &Arc<Budget>| Bearing { budget: it.clone(), share: share(it) };
    all.iter().map(bearing).filter(|it| it.share > 0).collect()
}

fn whole_if(is_borne: bool) -> u16 {
    if is_borne { WHOLE } else { 0 }
}

/// The split that shares what a project's calls cost at a moment.
fn in_force(project: &Project, now_ms: i64) -> Option<&Split> {
    project.splits.iter().filter(|it| it.from_ms <= now_ms).max_by_key(|it| it.from_ms)
}

/// A share in basis points, rounded up: what a budget is told is never less than its part.
pub(super) fn share_of(share: u16, whole: Amounts) -> Amounts {
    let part = |amount: i64| {
        let shared = i128::from(amount) * i128::from(share);
        let up = (shared + i128::from(WHOLE) - 1).div_euclid(WHOLE.into());
        i64::try_from(up).unwrap_or(i64::MAX)
    };
    let Amounts { money, requests, tokens } = whole;
    Amounts { money: part(money), requests: part(requests), tokens: part(tokens) }
}
