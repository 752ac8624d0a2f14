//! What a model costs, and what a call of it cost.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Pico, UnitPrice};
use crate::usage::{MOST_PIECES, MOST_TOKENS, Usage};

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

    fn checked(mut self) -> Result<Self, BadPrice> {
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

/// What the vendor's tier of service of that name costs, like `priority` or `flex`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceTier {
    pub name: String,
    #[serde(flatten)]
    pub terms: Terms,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PriceTerms)]
pub enum Terms {
    /// Instead of the standard rates and tiers.
    Schedule(Schedule),
    /// What tokens cost at the standard rates times this, in basis points: 10,000 is as it
    /// was. Pieces and the call itself cost what they do.
    MultiplierBp(u32),
}

/// What a model costs. It can only be had checked: [`Price::checked`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "Draft")]
pub struct Price {
    #[serde(flatten)]
    standard: Schedule,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    service_tiers: Vec<ServiceTier>,
}

/// A price as somebody wrote it.
#[derive(Deserialize)]
struct Draft {
    #[serde(flatten)]
    standard: Schedule,
    #[serde(default)]
    service_tiers: Vec<ServiceTier>,
}

impl TryFrom<Draft> for Price {
    type Error = BadPrice;

    fn try_from(draft: Draft) -> Result<Self, BadPrice> {
        let Draft { standard: Schedule { rates, context_tiers }, service_tiers } = draft;
        Self::checked(rates, context_tiers, service_tiers)
    }
}

/// Rates, and by how much their tokens are multiplied.
#[derive(Clone, Copy)]
pub(super) struct Applied<'a> {
    pub(super) schedule: &'a Schedule,
    pub(super) multiplier_bp: u32,
}

impl Applied<'_> {
    /// What tokens of that cost come to, rounded up to a pico-dollar.
    pub(super) fn times(&self, tokens: i128) -> i128 {
        let product = tokens * i128::from(self.multiplier_bp);
        product.div_euclid(ONCE_BP) + i128::from(product.rem_euclid(ONCE_BP) != 0)
    }
}

/// What multiplies nothing.
pub(super) const ONCE_BP: i128 = 10_000;
const ONCE: u32 = 10_000;

/// Says that no cost of a usage within the limits is beyond a [`Pico`].
const _: () = {
    let tokens = 10 * MOST_TOKENS as i128 * UnitPrice::TOKEN_CEILING.picos() as i128;
    let pieces = (2 * MOST_PIECES as i128 + 1) * UnitPrice::CEILING.picos() as i128;
    let most = tokens * Price::MULTIPLIER_CEILING_BP as i128 / ONCE_BP + pieces;
    assert!(most <= i64::MAX as i128);
};

impl Price {
    /// Ten times the standard rates.
    pub const MULTIPLIER_CEILING_BP: u32 = 100_000;

    /// Sorts the tiers, and refuses what would make a cost ambiguous or too large.
    pub fn checked(
        rates: Rates,
        context_tiers: Vec<ContextTier>,
        service_tiers: Vec<ServiceTier>,
    ) -> Result<Self, BadPrice> {
        let standard = Schedule { rates, context_tiers }.checked()?;
        let checked = |ServiceTier { name, terms }| match terms {
            _ if name.is_empty() => Err(BadPrice::NoName),
            Terms::Schedule(schedule) => {
                Ok(ServiceTier { name, terms: Terms::Schedule(schedule.checked()?) })
            }
            Terms::MultiplierBp(1..=Self::MULTIPLIER_CEILING_BP) => Ok(ServiceTier { name, terms }),
            Terms::MultiplierBp(_) => Err(BadPrice::Multiplier(name)),
        };
        let tiers: Result<Vec<_>, _> = service_tiers.into_iter().map(checked).collect();
        let mut service_tiers = tiers?;
        service_tiers.sort_by(|one, other| one.name.cmp(&other.name));
        match twice(&service_tiers, |it| it.name.clone()) {
            Some(name) => Err(BadPrice::TwoServices(name)),
            None => Ok(Self { standard, service_tiers }),
        }
    }

    /// The same for every call.
    pub fn flat(rates: Rates) -> Result<Self, BadPrice> {
        Self::checked(rates, Vec::new(), Vec::new())
    }

    pub const fn standard(&self) -> &Schedule {
        &self.standard
    }

    pub fn service_tiers(&self) -> &[ServiceTier] {
        &self.service_tiers
    }

    /// What a call cost that was served at a tier of the vendor's, `None` and names without
    /// an entry of their own being the standard one. Summed exactly; only a multiplier
    /// rounds, once, up to a pico-dollar. Of what is beyond belief
    /// ([`Usage::clamped`]) the most that is believed is charged.
    pub fn cost(&self, usage: &Usage, service_tier: Option<&str>) -> Pico {
        let (usage, _) = usage.clamped(MOST_TOKENS);
        let applied = self.applied(service_tier);
        let rates = applied.schedule.at(usage.total_input());
        let (mut tokens, mut pieces) = (0, 0);
        for class in Class::ALL {
            let cost = i128::from(class.count(&usage)) * rates.picos(class);
            if class.is_tokens() { tokens += cost } else { pieces += cost }
        }
        picos(applied.times(tokens) + pieces)
    }

    /// The classes of a usage that nobody knows the price of. They cost nothing, and are
    /// not free.
    pub fn unpriced(&self, usage: &Usage, service_tier: Option<&str>) -> Vec<Class> {
        let rates = self.applied(service_tier).schedule.at(usage.total_input());
        let unknown = |it: &Class| it.count(usage) > 0 && rates.of(*it).is_none();
        Class::ALL.into_iter().filter(unknown).collect()
    }

    /// At the tier of that name, or the standard one.
    pub(super) fn applied(&self, service_tier: Option<&str>) -> Applied<'_> {
        let named = |it: &&ServiceTier| Some(it.name.as_str()) == service_tier;
        let standard = Applied { schedule: &self.standard, multiplier_bp: ONCE };
        self.service_tiers.iter().find(named).map_or(standard, |it| self.of_terms(&it.terms))
    }

    /// At every tier there is.
    pub(super) fn all_applied(&self) -> impl Iterator<Item = Applied<'_>> {
        let others = self.service_tiers.iter().map(|it| self.of_terms(&it.terms));
        std::iter::once(self.applied(None)).chain(others)
    }

    fn of_terms<'a>(&'a self, terms: &'a Terms) -> Applied<'a> {
        match terms {
            Terms::Schedule(schedule) => Applied { schedule, multiplier_bp: ONCE },
            Terms::MultiplierBp(multiplier_bp) => {
                Applied { schedule: &self.standard, multiplier_bp: *multiplier_bp }
            }
        }
    }
}

/// What two neighbours of a sorted list have both.
fn twice<T, K: PartialEq>(sorted: &[T], key: impl Fn(&T) -> K) -> Option<K> {
    let pairs = sorted.iter().zip(sorted.iter().skip(1));
    pairs
        .map(|(one, other)| (key(one), key(other)))
        .find(|(one, other)| one == other)
        .map(|it| it.0)
}

pub(super) fn picos(cost: i128) -> Pico {
    let cost = i64::try_from(cost).expect("the ceilings keep every cost within i64");
    Pico::from_picos(cost)
}

/// A price, and which one it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PinnedPrice {
    pub revision: i64,
    pub price: Price,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPrice {
    #[error("a million tokens cost $2,000 at most, {0} too")]
    TooHigh(&'static str),
    #[error("there are two tiers above {0} tokens")]
    TwoTiers(u64),
    #[error("there are two service tiers called {0}")]
    TwoServices(String),
    #[error("a service tier needs a name")]
    NoName,
    #[error("a tier multiplies by 1 to 100,000 basis points, {0} too")]
    Multiplier(String),
}
