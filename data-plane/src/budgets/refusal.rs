//! That a budget, or not knowing what a call costs, stands against it; told so that whoever
//! reads it knows what to do.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use shared::{
    failure::{Classified, Code, Kind as FailureKind, code},
    money::{Money, Period},
    snapshot::{Budget, BudgetScope},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

use crate::limits::{Kind, Standing};

/// A budget has not enough left for a call.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.message())]
pub struct BudgetExceeded {
    pub budget: Arc<Budget>,
    pub kind: Kind,
    pub standing: Standing,
    /// What the call would have held.
    pub wanted: i64,
}

/// A call whose cost nobody can bound, where a hard budget has to hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{model:?} cannot be used here, since {why}, and the budget {budget:?} is a hard one. Use \
     another model, or ask an admin to price it."
)]
pub struct NotPriced {
    pub model: String,
    pub why: &'static str,
    pub budget: String,
}

/// Nobody can count at present, and a hard budget has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store that budgets are counted in is away, or was lost and is being counted again")]
pub struct NotCounted {
    pub retry_after: Duration,
}

impl BudgetExceeded {
    fn message(&self) -> String {
        let Self { budget, kind, standing, wanted } = self;
        let (cap, spent, held) = (
            kind.of(standing.caps),
            self.amount(kind.of(standing.spent)),
            self.amount(kind.of(standing.held)),
        );
        let (period, scope) = (period(budget.period), scope(budget.scope));
        let of = match kind {
            Kind::Money => "",
            Kind::Requests => " requests",
            Kind::Tokens => " tokens",
        };
        let (cap, wanted) = (self.amount(cap), self.amount(*wanted));
        let resets = match self.resets_at() {
            Some(at) => format!(" It resets on {}.", day(at)),
            None => " It never resets.".to_owned(),
        };
        let by = match budget.raised_by.as_str() {
            "" => "an owner, admin or billing member",
            by => by,
        };
        format!(
            "The {period} budget {:?} of this {scope} is {cap}{of}: {spent} spent, {held} held by \
             calls under way, and this call may come to {wanted}.{resets} Ask {by} to raise it.",
            budget.name
        )
    }

    fn amount(&self, amount: i64) -> String {
        match self.kind {
            Kind::Money => Money::from_nanos(amount).to_string(),
            Kind::Requests | Kind::Tokens => amount.to_string(),
        }
    }

    fn resets_at(&self) -> Option<OffsetDateTime> {
        resets_at(&self.budget, &self.standing)
    }

    /// The same for programs. Money is in nano-dollars.
    pub fn details(&self) -> Value {
        let Self { budget, kind, standing, wanted } = self;
        json!({
            "budget": budget.id,
            "name": budget.name,
            "scope": budget.scope,
            "period": budget.period,
            "counts": what(*kind),
            "cap": kind.of(standing.caps),
            "spent": kind.of(standing.spent),
            "held": kind.of(standing.held),
            "wanted": wanted,
            "resets_at": self.resets_at().and_then(|it| it.format(&Rfc3339).ok()),
            "raised_by": budget.raised_by,
        })
    }

    pub fn headers(&self) -> Vec<(&'static str, String)> {
        headers(&self.budget, &self.standing)
    }
}

/// What of money is left of a budget, in dollars, and when it renews.
pub fn headers(budget: &Budget, standing: &Standing) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    if let Some(room) = standing.room(Kind::Money) {
        headers.push(("x-turnpike-budget-remaining", Money::from_nanos(room).exact()));
    }
    if let Some(at) = resets_at(budget, standing).and_then(|it| it.format(&Rfc3339).ok()) {
        headers.push(("x-turnpike-budget-reset", at));
    }
    headers
}

pub const fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::Money => "money",
        Kind::Requests => "requests",
        Kind::Tokens => "tokens",
    }
}

fn resets_at(budget: &Budget, standing: &Standing) -> Option<OffsetDateTime> {
    if budget.period == Period::Total {
        return None;
    }
    let at = i128::from(standing.until_ms) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(at).ok()
}

fn period(period: Period) -> &'static str {
    match period {
        Period::Day => "daily",
        Period::Week => "weekly",
        Period::Month => "monthly",
        Period::Total => "total",
    }
}

fn scope(scope: BudgetScope) -> &'static str {
    match scope {
        BudgetScope::Organization => "organization",
        BudgetScope::Team(_) => "team",
        BudgetScope::Project(_) => "project",
        BudgetScope::Key(_) => "key",
        BudgetScope::CostCenter(_) => "project's cost center",
    }
}

fn day(at: OffsetDateTime) -> String {
    let format = format_description!(
        version = 2,
        "[day padding:none] [month repr:short] [year] [hour]:[minute] UTC"
    );
    at.format(format).unwrap_or_default()
}

impl Classified for BudgetExceeded {
    fn kind(&self) -> FailureKind {
        FailureKind::OutOfCredit
    }

    fn code(&self) -> Code {
        code::BUDGET_EXCEEDED
    }
}

impl Classified for NotPriced {
    fn kind(&self) -> FailureKind {
        FailureKind::Invalid
    }

    fn code(&self) -> Code {
        code::MODEL_NOT_PRICED
    }
}

impl NotCounted {
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        vec![("retry-after", self.retry_after.as_secs().max(1).to_string())]
    }
}

impl Classified for NotCounted {
    fn kind(&self) -> FailureKind {
        FailureKind::Unavailable
    }

    fn code(&self) -> Code {
        code::BUDGET_BACKEND_UNAVAILABLE
    }
}
