//! What is counted and priced apart, and the price of each.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{UnitPrice, price::BadPrice};
use crate::usage::Usage;

/// What is counted and priced apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Input,
    CachedInput,
    CacheWrite,
    #[serde(rename = "cache_write_1h")]
    CacheWrite1h,
    Output,
    Reasoning,
    AudioInput,
    CachedAudioInput,
    AudioOutput,
    ImageOutputTokens,
    ImageOutput,
    Search,
    Request,
}

impl Class {
    pub const ALL: [Self; 13] = [
        Self::Input,
        Self::CachedInput,
        Self::CacheWrite,
        Self::CacheWrite1h,
        Self::Output,
        Self::Reasoning,
        Self::AudioInput,
        Self::CachedAudioInput,
        Self::AudioOutput,
        Self::ImageOutputTokens,
        Self::ImageOutput,
        Self::Search,
        Self::Request,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CachedInput => "cached_input",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite1h => "cache_write_1h",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioInput => "audio_input",
            Self::CachedAudioInput => "cached_audio_input",
            Self::AudioOutput => "audio_output",
            Self::ImageOutputTokens => "image_output_tokens",
            Self::ImageOutput => "image_output",
            Self::Search => "search",
            Self::Request => "request",
        }
    }

    /// How much of it a call used. It is one request, whatever else it is.
    pub const fn count(self, usage: &Usage) -> u64 {
        match self {
            Self::Input => usage.input,
            Self::CachedInput => usage.cached_input,
            Self::CacheWrite => usage.cache_write,
            Self::CacheWrite1h => usage.cache_write_1h,
            Self::Output => usage.output,
            Self::Reasoning => usage.reasoning,
            Self::AudioInput => usage.audio_input,
            Self::CachedAudioInput => usage.cached_audio_input,
            Self::AudioOutput => usage.audio_output,
            Self::ImageOutputTokens => usage.image_output_tokens,
            Self::ImageOutput => usage.image_output,
            Self::Search => usage.searches,
            Self::Request => 1,
        }
    }

    /// Whether it is counted in tokens, and not in pieces.
    pub const fn is_tokens(self) -> bool {
        match self {
            Self::Input
            | Self::CachedInput
            | Self::CacheWrite
            | Self::CacheWrite1h
            | Self::Output
            | Self::Reasoning
            | Self::AudioInput
            | Self::CachedAudioInput
            | Self::AudioOutput
            | Self::ImageOutputTokens => true,
            Self::ImageOutput | Self::Search | Self::Request => false,
        }
    }
}

/// The price of each class. A class of tokens that has none costs what the class does that
/// it would be counted in by a vendor who doesn't tell the two apart, before any discount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rates {
    pub input: UnitPrice,
    pub output: UnitPrice,
    /// Or as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<UnitPrice>,
    /// Or as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<UnitPrice>,
    /// Or as `cache_write`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<UnitPrice>,
    /// Or as `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<UnitPrice>,
    /// Or as `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_input: Option<UnitPrice>,
    /// Or as `audio_input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_audio_input: Option<UnitPrice>,
    /// Or as `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<UnitPrice>,
    /// Or as `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_output_tokens: Option<UnitPrice>,
    /// A picture. Without it pictures are not priced, which is not the same as free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_output: Option<UnitPrice>,
    /// A search. Without it searches are not priced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<UnitPrice>,
    /// For each call, whatever it uses. Without it there is no such fee.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<UnitPrice>,
}

impl Rates {
    /// For text alone.
    pub fn of_text(input: UnitPrice, output: UnitPrice) -> Self {
        Self { input, output, ..Self::default() }
    }

    /// None where the class has no price and nothing to fall back to.
    pub fn of(&self, class: Class) -> Option<UnitPrice> {
        match class {
            Class::Input => Some(self.input),
            Class::CachedInput => self.cached_input.or(Some(self.input)),
            Class::CacheWrite => self.cache_write.or(Some(self.input)),
            Class::CacheWrite1h => self.cache_write_1h.or_else(|| self.of(Class::CacheWrite)),
            Class::Output => Some(self.output),
            Class::Reasoning => self.reasoning.or(Some(self.output)),
            Class::AudioInput => self.audio_input.or(Some(self.input)),
            Class::CachedAudioInput => {
                self.cached_audio_input.or_else(|| self.of(Class::AudioInput))
            }
            Class::AudioOutput => self.audio_output.or(Some(self.output)),
            Class::ImageOutputTokens => self.image_output_tokens.or(Some(self.output)),
            Class::ImageOutput => self.image_output,
            Class::Search => self.search,
            Class::Request => self.request.or(Some(UnitPrice::FREE)),
        }
    }

    /// In pico-dollars; what has no price counts as nothing, and `unpriced` tells of it.
    pub(super) fn picos(&self, class: Class) -> i128 {
        self.of(class).map_or(0, |it| i128::from(it.picos()))
    }

    fn check(&self) -> Result<(), BadPrice> {
        let tokens = Class::ALL.into_iter().filter(|it| it.is_tokens());
        let high = |class: &Class| self.of(*class) > Some(UnitPrice::TOKEN_CEILING);
        tokens.into_iter().find(high).map_or(Ok(()), |it| Err(BadPrice::TooHigh(it.name())))
    }
}

/// Rates, and others for calls with a long context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    pub rates: Rates,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context_tiers: Vec<ContextTier>,
}

/// What a whole call costs whose input is longer than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContextTier {
    pub above_tokens: u64,
    pub rates: Rates,
}

impl Schedule {
    /// What a call costs whose input has that many tokens, cached and written ones included.
    pub fn at(&self, input_tokens: u64) -> &Rates {
        self.reachable(input_tokens).last().unwrap_or(&self.rates)
    }

    /// The rates of every call whose input has at most that many tokens, in order.
    pub(super) fn reachable(&self, input_tokens: u64) -> impl Iterator<Item = &Rates> + use<'_> {
        let tiers = self.context_tiers.iter().filter(move |it| it.above_tokens < input_tokens);
        std::iter::once(&self.rates).chain(tiers.map(|it| &it.rates))
    }

    pub(super) fn checked(mut self) -> Result<Self, BadPrice> {
        self.rates.check()?;
        self.context_tiers.sort_by_key(|it| it.above_tokens);
        for tier in &self.context_tiers {
            tier.rates.check()?;
        }
        match twice(&self.context_tiers, |it| it.above_tokens) {
            Some(above) => Err(BadPrice::TwoTiers(above)),
            None => Ok(self),
        }
    }
}

/// What two neighbours of a sorted list have both.
pub(super) fn twice<T, K: PartialEq>(sorted: &[T], key: impl Fn(&T) -> K) -> Option<K> {
    let pairs = sorted.iter().zip(sorted.iter().skip(1));
    pairs
        .map(|(one, other)| (key(one), key(other)))
        .find(|(one, other)| one == other)
        .map(|it| it.0)
}
