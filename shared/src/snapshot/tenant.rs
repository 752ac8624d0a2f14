//! What holds for everybody of an organization or of a project.

use serde::{Deserialize, Serialize};

use super::Limits;
use crate::ids::{OrganizationId, ProjectId, UpstreamId};

/// What holds for all of an organization. One for which nothing does has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    pub organization: OrganizationId,
    pub limits: Limits,
    /// What of the platform's its calls do not go to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled: Vec<Disabled>,
}

/// A model at an upstream that an organization does not want, or all that it serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    pub upstream: UpstreamId,
    /// Every model when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A project's own limits. One without any has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub organization: OrganizationId,
    pub limits: Limits,
}
