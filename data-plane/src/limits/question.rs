//! What Redis is asked of a call's budgets when it is asked of its limits.

use shared::{
    counters::{Amounts, Epoch, Hold, Shard},
    ids::{ApiKeyId, BudgetId, RequestId},
    snapshot::Budget,
};

use super::{
    charge::Charge,
    decision::Decision,
    leases::{Lease, Leases},
};
use crate::budgets::Edges;

/// Whose call it is, and what it wants to hold of which budgets.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub shard: Shard,
    pub epoch: Epoch,
    pub call: RequestId,
    pub key: ApiKeyId,
    pub budgets: &'a [Wanted<'a>],
}

/// What a call wants to hold of a budget, and between which moments its windows are, as far
/// as we know.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub budget: &'a Budget,
    pub wanted: Amounts,
    pub edges: Edges,
}

/// All that one call asks, kept until it is asked.
#[derive(Clone, Debug)]
pub struct Asking {
    pub call: RequestId,
    pub key: ApiKeyId,
    pub has_hard: bool,
    pub budgets: Vec<Wish>,
    pub charges: Vec<Charge>,
    pub lease: Option<Lease>,
    /// What its places under limits on calls at once are called.
    pub places: String,
}

/// What is wanted of a budget, with the version of its caps that we know.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub budget: BudgetId,
    pub version: i64,
    pub wanted: Amounts,
    pub edges: Edges,
}

impl Asking {
    pub fn new(
        question: &Question<'_>,
        (charges, lease): (Vec<Charge>, Option<Lease>),
        leases: &Leases,
    ) -> Self {
        let wish = |it: &Wanted<'_>| Wish {
            budget: it.budget.id,
            version: it.budget.version,
            wanted: it.wanted,
            edges: it.edges,
        };
        Self {
            call: question.call,
            key: question.key,
            has_hard: question.budgets.iter().any(|it| it.budget.is_hard),
            budgets: question.budgets.iter().map(wish).collect(),
            charges,
            lease,
            places: leases.name(lease),
        }
    }

    /// How many keys it names at most.
    pub fn size(&self) -> usize {
        self.budgets.len() + 2 * self.charges.len()
    }

    /// What its budgets hold after that decision, if they do.
    pub fn holds(&self, decision: &Decision) -> Vec<Hold> {
        if !decision.is_passed() {
            return Vec::new();
        }
        let each = self.budgets.iter().zip(&decision.standings);
        let hold = |(it, standing): (&Wish, &super::Standing)| Hold {
            budget: it.budget,
            window: standing.from_ms,
            amounts: it.wanted,
        };
        each.map(hold).collect()
    }
}
