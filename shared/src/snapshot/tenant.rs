//! What holds for everybody of an organization or of a project.

use serde::{Deserialize, Serialize};

use super::Limits;
use crate::ids::{OrganizationId, ProjectId};

/// An organization's own limits. One without any has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    pub organization: OrganizationId,
    pub limits: Limits,
}

/// A project's own limits. One without any has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub organization: OrganizationId,
    pub limits: Limits,
}
