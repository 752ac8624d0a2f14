//! How the calls of a key, a project or an organization are routed that do not say so.

use serde::{Deserialize, Serialize};

use crate::ids::PolicyId;

/// By default nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routing {
    /// The model or policy, by the name that callers use, of calls that name none or `default`.
    /// The key's own is asked first, then the project's, then the organization's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_model: Option<String>,
    /// A policy that has to lead there as well, whatever a call asks for. Those of all three
    /// hold: who has less to say does not undo what others demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyId>,
}

impl Routing {
    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}
