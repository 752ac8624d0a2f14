//! What a call used, in tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Tokens by class. A token counts in one class of its side only: what was read from a
/// cache is not in `input` as well, and what was thought is not in `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Usage {
    pub input: u64,
    pub cached_input: u64,
    pub cache_write: u64,
    pub output: u64,
    pub reasoning: u64,
}

impl Usage {
    pub fn total(&self) -> u64 {
        [self.input, self.cached_input, self.cache_write, self.output, self.reasoning]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}
