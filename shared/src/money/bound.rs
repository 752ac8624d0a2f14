//! The most that a call can cost, before it is made.

use super::{
    Class, Money, Pico, Price, Rates,
    price::{Applied, ONCE_BP, picos},
};
use crate::usage::{MOST_PIECES, MOST_TOKENS, Usage};

/// What a call can use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// All that is put in, of whatever class.
    pub input_tokens: u64,
    /// All that comes out, thoughts included, for each of the choices.
    pub output_tokens_per_choice: u64,
    pub choices: u64,
    /// Pictures that are made.
    pub images: u64,
    pub searches: u64,
    pub may_write_cache: CacheWrites,
    /// Whether anything may be heard or spoken.
    pub audio: bool,
}

/// Whether and for how long what is put in may be written to a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheWrites {
    #[default]
    None,
    FiveMinutes,
    /// Or for five minutes.
    OneHour,
}

impl Bound {
    /// Of a call with one choice and nothing but text, that writes to no cache.
    pub const fn of_text(input_tokens: u64, output_tokens: u64) -> Self {
        Self {
            input_tokens,
            output_tokens_per_choice: output_tokens,
            choices: 1,
            images: 0,
            searches: 0,
            may_write_cache: CacheWrites::None,
            audio: false,
        }
    }

    /// All choices together.
    pub const fn output_tokens(&self) -> u64 {
        self.output_tokens_per_choice.saturating_mul(self.choices)
    }

    /// Whether that is not more than was thought possible.
    pub fn covers(&self, usage: &Usage) -> bool {
        let occurs = |it: &Class| it.count(usage) > 0;
        usage.total_input() <= self.input_tokens
            && usage.total_output() <= self.output_tokens()
            && usage.image_output <= self.images
            && usage.searches <= self.searches
            && Class::ALL.into_iter().filter(occurs).all(|it| self.allows(it))
    }

    fn allows(&self, class: Class) -> bool {
        match class {
            Class::Input
            | Class::CachedInput
            | Class::Output
            | Class::Reasoning
            | Class::Request => true,
            Class::CacheWrite => self.may_write_cache >= CacheWrites::FiveMinutes,
            Class::CacheWrite1h => self.may_write_cache >= CacheWrites::OneHour,
            Class::AudioInput | Class::CachedAudioInput | Class::AudioOutput => self.audio,
            Class::ImageOutputTokens | Class::ImageOutput => self.images > 0,
            Class::Search => self.searches > 0,
        }
    }

    /// The price of the dearest of these classes that may occur.
    fn dearest(&self, rates: &Rates, classes: &[Class]) -> i128 {
        let allowed = classes.iter().filter(|it| self.allows(**it));
        allowed.map(|it| rates.picos(*it)).max().unwrap_or_default()
    }
}

const INPUT: [Class; 6] = [
    Class::Input,
    Class::CachedInput,
    Class::CacheWrite,
    Class::CacheWrite1h,
    Class::AudioInput,
    Class::CachedAudioInput,
];
const OUTPUT: [Class; 4] =
    [Class::Output, Class::Reasoning, Class::AudioOutput, Class::ImageOutputTokens];

/// What cannot be charged is not reserved: a class has [`MOST_TOKENS`] at most.
const MOST_INPUT: u64 = INPUT.len() as u64 * MOST_TOKENS;
const MOST_OUTPUT: u64 = OUTPUT.len() as u64 * MOST_TOKENS;

/// What a bound costs at some rates, by what it depends on.
struct Worst<'a> {
    applied: Applied<'a>,
    input: i128,
    /// For each token of output.
    output: i128,
    pieces: i128,
}

impl<'a> Worst<'a> {
    fn new(applied: Applied<'a>, rates: &Rates, bound: &Bound) -> Self {
        let count = |count: u64, class| i128::from(count.min(MOST_PIECES)) * rates.picos(class);
        let input = i128::from(bound.input_tokens.min(MOST_INPUT));
        Self {
            applied,
            input: input * bound.dearest(rates, &INPUT),
            output: bound.dearest(rates, &OUTPUT),
            pieces: count(bound.images, Class::ImageOutput)
                + count(bound.searches, Class::Search)
                + rates.picos(Class::Request),
        }
    }

    fn cost(&self, output_tokens: u64) -> i128 {
        let output = i128::from(output_tokens.min(MOST_OUTPUT)) * self.output;
        self.applied.times(self.input + output) + self.pieces
    }

    /// How much output there may be for each of the choices, so that it costs at most
    /// `room` picos; all there can be where it costs nothing.
    fn output_within(&self, room: i128, choices: u64) -> u64 {
        let tokens = (room - self.pieces) * ONCE_BP / i128::from(self.applied.multiplier_bp);
        let each = self.output * i128::from(choices);
        let most = (tokens - self.input).checked_div(each);
        most.and_then(|it| u64::try_from(it).ok()).unwrap_or(u64::MAX)
    }
}

impl Price {
    /// What no call within the bound costs more than: at the dearest rates that its context
    /// can reach, with every token in the dearest class it can be in. Where the tier of
    /// service isn't settled, the dearest of all; a tier that is named must be the one that
    /// [`cost`](Price::cost) is asked for in the end.
    pub fn worst_case(&self, bound: &Bound, service_tier: Option<&str>) -> Pico {
        let all = self.worst(bound, service_tier);
        picos(all.iter().map(|it| it.cost(bound.output_tokens())).max().unwrap_or_default())
    }

    /// The most output for each choice, up to the bound's own, with which the worst case
    /// costs no more than `room`. `None` where even no output costs more.
    pub fn affordable_output(
        &self,
        bound: &Bound,
        room: Money,
        service_tier: Option<&str>,
    ) -> Option<u64> {
        let room = i128::from(room.nanos()) * i128::from(Pico::PER_NANO);
        let all = self.worst(bound, service_tier);
        let asked = bound.output_tokens_per_choice;
        if all.iter().all(|it| it.cost(bound.output_tokens()) <= room) {
            return Some(asked);
        }
        let is_enough = all.iter().all(|it| it.cost(0) <= room);
        let each = all.iter().map(|it| it.output_within(room, bound.choices));
        each.min().filter(|_| is_enough)
    }

    /// The classes that a call within the bound may use and nobody knows the price of.
    pub fn unpriced_within(&self, bound: &Bound, service_tier: Option<&str>) -> Vec<Class> {
        let rates = self.reachable(bound, service_tier);
        let unknown = |class: &Class| {
            bound.allows(*class) && rates.iter().any(|(_, it)| it.of(*class).is_none())
        };
        Class::ALL.into_iter().filter(unknown).collect()
    }

    fn worst<'a>(&'a self, bound: &Bound, service_tier: Option<&str>) -> Vec<Worst<'a>> {
        let rates = self.reachable(bound, service_tier);
        rates.into_iter().map(|(applied, rates)| Worst::new(applied, rates, bound)).collect()
    }

    fn reachable<'a>(
        &'a self,
        bound: &Bound,
        service_tier: Option<&str>,
    ) -> Vec<(Applied<'a>, &'a Rates)> {
        let mut all = Vec::new();
        for applied in self.settled(service_tier) {
            all.extend(applied.schedule.reachable(bound.input_tokens).map(|it| (applied, it)));
        }
        all
    }

    /// The tier of that name, or every one there is.
    fn settled(&self, service_tier: Option<&str>) -> Vec<Applied<'_>> {
        match service_tier {
            Some(_) => vec![self.applied(service_tier)],
            None => self.all_applied().collect(),
        }
    }
}
