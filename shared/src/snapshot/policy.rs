//! Which models answer to a name.

use serde::{Deserialize, Serialize};

use crate::ids::{OrganizationId, PolicyId};

/// A name that callers ask for instead of a model, and where it leads: an alias has one
/// target; a split, several in one tier; a list of fallbacks, several tiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub id: PolicyId,
    /// Whose callers it is for; everybody's when `None`. An organization's own wins.
    pub organization: Option<OrganizationId>,
    pub name: String,
    /// Grows with every change. Answers say by which one they were routed.
    pub version: u32,
    /// Tried in this order: a tier is left when all its targets have failed.
    pub tiers: Vec<Tier>,
}

/// Targets that share the calls by their weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Tier {
    pub targets: Vec<Target>,
}

/// A model, by the name that callers would use, and at one provider where it says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Target {
    pub model: String,
    pub provider: Option<String>,
    pub weight: u16,
}
