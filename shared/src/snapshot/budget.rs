//! How much a scope may spend in a window, as proxies need to know it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    ids::{ApiKeyId, BudgetId, CostCenterId, OrganizationId, ProjectId, TeamId},
    money::{Money, Period, Zone},
};

/// A cap on what a scope may spend in each window of a period. The scope, the period and
/// its time zone never change: another of them is another budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub id: BudgetId,
    pub organization: OrganizationId,
    /// As people call it; refusals do too.
    pub name: String,
    pub scope: Scope,
    pub period: Period,
    pub zone: Zone,
    pub caps: Caps,
    /// Higher caps for a while.
    #[serde(default)]
    pub raise: Option<Raise>,
    /// Whether calls are refused that the caps do not cover. A budget that is not hard only
    /// counts and alerts.
    pub is_hard: bool,
    #[serde(default)]
    pub thresholds: Thresholds,
    #[serde(default)]
    pub on_tight: OnTight,
    #[serde(default)]
    pub on_redis_loss: OnRedisLoss,
    /// Grows with every change of the caps. Who knows a newer one than a proxy is right.
    pub version: i64,
    /// Who may raise it, in words for a refusal: `an owner, admin or billing member`.
    #[serde(default)]
    pub raised_by: String,
}

/// What a budget is on. A call counts against the budgets of everything it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
#[schema(as = BudgetScope)]
pub enum Scope {
    Organization,
    Team(TeamId),
    Project(ProjectId),
    Key(ApiKeyId),
    /// Bears a share of a project's calls, which counts rounded up.
    CostCenter(CostCenterId),
}

impl Scope {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Team(_) => "team",
            Self::Project(_) => "project",
            Self::Key(_) => "key",
            Self::CostCenter(_) => "cost_center",
        }
    }

    /// Of what is one of many.
    pub fn id(self) -> Option<Uuid> {
        match self {
            Self::Organization => None,
            Self::Team(id) => Some(id.uuid()),
            Self::Project(id) => Some(id.uuid()),
            Self::Key(id) => Some(id.uuid()),
            Self::CostCenter(id) => Some(id.uuid()),
        }
    }
}

/// What may be spent. What is `None` is not capped; one at least is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Caps {
    /// In nano-dollars.
    #[schema(value_type = Option<i64>)]
    pub money: Option<Money>,
    pub requests: Option<i64>,
    /// Input and output together.
    pub tokens: Option<i64>,
}

impl Caps {
    /// The highest cap of each kind: below 2^53, where Redis counts exactly. In money that
    /// is nine million dollars.
    pub const CEILING: i64 = 9_000_000_000_000_000;
}

/// Other caps until a moment, by the clock of Redis, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raise {
    pub caps: Caps,
    pub until_ms: i64,
}

/// At which percentages of the caps people are told: 1 to 1,000 each, at most eight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u16>", into = "Vec<u16>")]
pub struct Thresholds(Vec<u16>);

impl Thresholds {
    pub const MOST: usize = 8;

    pub fn percents(&self) -> &[u16] {
        &self.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("thresholds are at most eight percentages from 1 to 1000")]
pub struct BadThresholds;

impl TryFrom<Vec<u16>> for Thresholds {
    type Error = BadThresholds;

    fn try_from(percents: Vec<u16>) -> Result<Self, BadThresholds> {
        let sorted: BTreeSet<u16> = percents.into_iter().collect();
        if sorted.len() > Self::MOST || !sorted.iter().all(|it| (1..=1_000).contains(it)) {
            return Err(BadThresholds);
        }
        Ok(Self(sorted.into_iter().collect()))
    }
}

impl From<Thresholds> for Vec<u16> {
    fn from(thresholds: Thresholds) -> Self {
        thresholds.0
    }
}

/// What becomes of a call whose worst case is more than what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnTight {
    /// It is refused.
    Deny,
    /// It gets a shorter answer, if what is left is enough for a useful one.
    #[default]
    Clamp,
}

/// What becomes of a call while nobody can count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRedisLoss {
    /// It is refused, so that the cap holds.
    #[default]
    Closed,
    /// It passes while what passed this way stays within an allowance, in nano-dollars for
    /// all proxies together: by so much at most the cap may be exceeded.
    Bounded {
        #[schema(value_type = i64)]
        allowance: Money,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_sorted_and_each_is_there_once() {
        let read = |text| serde_json::from_str::<Thresholds>(text);
        assert_eq!(read("[90,50,90]").unwrap().percents(), [50, 90]);
        assert!(read("[0]").is_err() && read("[1001]").is_err());
        assert!(read("[1,2,3,4,5,6,7,8,9]").is_err());
    }

    #[test]
    fn a_scope_is_written_by_its_kind() {
        let scope = Scope::Project(ProjectId::generate());
        let text = serde_json::to_string(&scope).unwrap();
        assert!(text.starts_with(r#"{"kind":"project","id":"prj_"#), "{text}");
        assert_eq!(serde_json::from_str::<Scope>(&text).unwrap(), scope);
        let all = serde_json::to_string(&Scope::Organization).unwrap();
        assert_eq!(all, r#"{"kind":"organization"}"#);
    }
}
