//! What holds for everybody of an organization or of a project.

use serde::{Deserialize, Serialize};

use super::{Goal, HeldBook, Limits, Routing};
use crate::ids::{CostCenterId, OrganizationId, PolicyId, ProjectId, TeamId, UpstreamId};

/// What holds for all of an organization. One for which nothing does has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    pub organization: OrganizationId,
    pub limits: Limits,
    /// What of the platform's its calls do not go to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled: Vec<Disabled>,
    /// The books that say what it pays for the platform's models, the first that says so first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub books: Vec<HeldBook>,
    #[serde(default, skip_serializing_if = "Routing::is_silent")]
    pub routing: Routing,
    /// How many of a thousand calls that policies compare models for go to one drawn by chance.
    #[serde(default, skip_serializing_if = "is_none")]
    pub explore_per_mille: u16,
    /// What its policies spend a dollar for, where its calls have told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worths: Vec<Worth>,
}

/// What a policy spends a dollar for, so that all calls of an organization that it decides come to
/// a goal together: one that it helps much may cost more, and another then costs less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Worth {
    #[schema(value_type = String)]
    pub policy: PolicyId,
    pub goal: Goal,
    /// How much likelier a good answer has to be, in millionths. Nothing where that is not known,
    /// and each call comes to the goal by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_a_dollar: Option<u64>,
}

/// So many of a thousand calls are explored at most.
pub const MOST_EXPLORED: u16 = 100;

fn is_none(per_mille: &u16) -> bool {
    *per_mille == 0
}

/// A model at an upstream that an organization does not want, or all that it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    pub upstream: UpstreamId,
    /// Every model when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// What of a project matters to its calls. One of which nothing does has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub organization: OrganizationId,
    pub limits: Limits,
    #[serde(default)]
    pub team: Option<TeamId>,
    /// Who bears its costs: what is in force and what is planned, by the day it begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<Split>,
    #[serde(default, skip_serializing_if = "Routing::is_silent")]
    pub routing: Routing,
}

/// Who bears a project's costs from a moment on, until the next split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// In milliseconds since 1970.
    pub from_ms: i64,
    pub shares: Vec<Share>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub cost_center: CostCenterId,
    pub basis_points: u16,
}
