//! What a call used: tokens, and what is counted in pieces.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The most tokens of one class that a call is believed to have, over three times the
/// largest context window there is. What says more lies.
pub const MOST_TOKENS: u64 = 1 << 25;

/// The most pictures or searches that a call is believed to have.
pub const MOST_PIECES: u64 = 1 << 13;

/// Tokens by class, and pieces. What was used counts in one class only: what was read from
/// a cache is not in `input` as well, what was thought is not in `output`, and what was
/// heard or spoken is in neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Usage {
    pub input: u64,
    pub cached_input: u64,
    /// Written to a cache, for five minutes or however long is usual.
    pub cache_write: u64,
    pub output: u64,
    pub reasoning: u64,
    /// Written to a cache for an hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_input: u64,
    /// Heard before, and read from a cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cached_audio_input: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_output: u64,
    /// Tokens of pictures made, where the vendor counts these.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_output_tokens: u64,
    /// Pictures made, where the vendor counts these.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_output: u64,
    /// Searches of the web that the vendor ran.
    #[serde(skip_serializing_if = "is_zero")]
    pub searches: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// All tokens, and no pieces.
    pub fn total(&self) -> u64 {
        self.total_input().saturating_add(self.total_output())
    }

    /// All that was put in, which is what tiers by context length go by.
    pub fn total_input(&self) -> u64 {
        sum([
            self.input,
            self.cached_input,
            self.cache_write,
            self.cache_write_1h,
            self.audio_input,
            self.cached_audio_input,
        ])
    }

    pub fn total_output(&self) -> u64 {
        sum([self.output, self.reasoning, self.audio_output, self.image_output_tokens])
    }

    /// With no class above what is believed, and whether one was: `most_tokens` is the most
    /// that this call could have had, which is [`MOST_TOKENS`] at most.
    pub fn clamped(self, most_tokens: u64) -> (Self, bool) {
        let tokens = most_tokens.min(MOST_TOKENS);
        let clamped = Self {
            input: self.input.min(tokens),
            cached_input: self.cached_input.min(tokens),
            cache_write: self.cache_write.min(tokens),
            output: self.output.min(tokens),
            reasoning: self.reasoning.min(tokens),
            cache_write_1h: self.cache_write_1h.min(tokens),
            audio_input: self.audio_input.min(tokens),
            cached_audio_input: self.cached_audio_input.min(tokens),
            audio_output: self.audio_output.min(tokens),
            image_output_tokens: self.image_output_tokens.min(tokens),
            image_output: self.image_output.min(MOST_PIECES),
            searches: self.searches.min(MOST_PIECES),
        };
        (clamped, clamped != self)
    }
}

fn sum<const N: usize>(counts: [u64; N]) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}
