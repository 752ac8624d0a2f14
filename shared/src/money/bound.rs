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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{
            ContextTier, Schedule, ServiceTier, Terms, UnitPrice,
            samples::{bounded, bounds, price, prices, service_tiers},
        },
        *,
    };

    fn text(input: i64, output: i64) -> Rates {
        Rates::of_text(price(input), price(output))
    }

    fn flat(rates: Rates) -> Price {
        Price::flat(rates).unwrap()
    }

    /// Each class at a price of its own, the dearer the rarer.
    fn each() -> Rates {
        Rates {
            cached_input: Some(price(1)),
            cache_write: Some(price(4)),
            cache_write_1h: Some(price(5)),
            audio_input: Some(price(6)),
            cached_audio_input: Some(price(7)),
            reasoning: Some(price(30)),
            audio_output: Some(price(50)),
            image_output_tokens: Some(price(70)),
            image_output: Some(price(1_000)),
            search: Some(price(10_000)),
            request: Some(price(100_000)),
            ..text(2, 20)
        }
    }

    #[track_caller]
    fn worst(price: &Price, bound: Bound, expected: i64) {
        assert_eq!(price.worst_case(&bound, None).picos(), expected, "{bound:?}");
    }

    #[test]
    fn every_token_may_be_of_the_dearest_class_that_may_occur() {
        let (each, bound) = (flat(each()), Bound::of_text(10, 100));
        worst(&each, Bound::of_text(0, 0), 100_000);
        worst(&each, bound, 100_000 + 20 + 3_000);
        worst(&each, Bound { choices: 3, ..bound }, 100_000 + 20 + 9_000);
        worst(&each, Bound { searches: 2, ..bound }, 100_000 + 20 + 3_000 + 20_000);
        worst(&each, Bound { images: 3, ..bound }, 100_000 + 20 + 7_000 + 3_000);
        worst(&each, Bound { audio: true, ..bound }, 100_000 + 70 + 5_000);
        let writes = |may_write_cache| Bound { may_write_cache, ..bound };
        worst(&each, writes(CacheWrites::FiveMinutes), 100_000 + 40 + 3_000);
        worst(&each, writes(CacheWrites::OneHour), 100_000 + 50 + 3_000);
        // A cache that costs more than none is dearer still.
        worst(&flat(Rates { cached_input: Some(price(9)), ..text(2, 20) }), bound, 2_090);
    }

    fn tiered() -> Price {
        let tier = ContextTier { above_tokens: 100, rates: text(2, 30) };
        let service = |name: &str, terms| ServiceTier { name: name.to_owned(), terms };
        let own = Schedule { rates: text(5, 50), ..Schedule::default() };
        let services = vec![
            service("flex", Terms::MultiplierBp(5_000)),
            service("priority", Terms::Schedule(own)),
        ];
        Price::checked(text(1, 20), vec![tier], services).unwrap()
    }

    #[test]
    fn the_dearest_rates_within_reach_count() {
        let (short, long) = (Bound::of_text(100, 10), Bound::of_text(101, 10));
        let worst = |bound, tier| tiered().worst_case(&bound, tier).picos();
        assert_eq!(worst(short, Some("default")), 300);
        assert_eq!(worst(long, Some("default")), 202 + 300);
        assert_eq!(worst(long, Some("flex")), 251);
        assert_eq!(worst(long, Some("priority")), 505 + 500);
        assert_eq!(worst(long, None), 505 + 500);
        assert_eq!(worst(Bound::of_text(3, 0), Some("flex")), 2);
        // A longer context may cost less; a shorter one is within the bound as well.
        let tier = ContextTier { above_tokens: 100, rates: text(1, 1) };
        let cheaper = Price::checked(text(2, 20), vec![tier], Vec::new()).unwrap();
        assert_eq!(cheaper.worst_case(&long, None).picos(), 202 + 200);
    }

    #[test]
    fn no_more_is_reserved_than_can_be_charged() {
        let most = UnitPrice::TOKEN_CEILING.picos();
        let price = flat(text(most, most));
        let all = Bound { choices: u64::MAX, ..Bound::of_text(u64::MAX, u64::MAX) };
        let tokens = i64::try_from(10 * MOST_TOKENS).unwrap();
        worst(&price, all, tokens * most);
        let pieces = Bound { images: u64::MAX, searches: u64::MAX, ..Bound::of_text(0, 0) };
        worst(&flat(each()), pieces, 100_000 + 8_192 * 11_000);
    }

    #[test]
    fn what_fits_into_the_room_is_told_to_the_token() {
        let price = flat(Rates { request: Some(price(100)), ..text(1_000, 3_000) });
        let bound = Bound { choices: 2, ..Bound::of_text(5, 1_000) };
        let fits = |bound, nanos| price.affordable_output(&bound, Money::from_nanos(nanos), None);
        // 5,100 picos for the input and the fee, 6,000 for a token of each choice.
        assert_eq!(fits(bound, 5), None);
        assert_eq!(fits(bound, 6), Some(0));
        assert_eq!(fits(bound, 11), Some(0));
        assert_eq!(fits(bound, 12), Some(1));
        assert_eq!(fits(bound, 6_006), Some(1_000));
        assert_eq!(fits(bound, 6_005), Some(999));
        assert_eq!(fits(bound, i64::MAX), Some(1_000));
        assert_eq!(fits(bound, -1), None);
        assert_eq!(fits(Bound { choices: 0, ..bound }, 6), Some(1_000));
        assert_eq!(fits(Bound { choices: 0, ..bound }, 5), None);
        let free = flat(text(0, 0));
        assert_eq!(free.affordable_output(&bound, Money::ZERO, None), Some(1_000));
        assert_eq!(free.affordable_output(&bound, Money::from_nanos(-1), None), None);
        let flex = Some("flex");
        let bound = Bound::of_text(101, 1_000_000);
        let room = Money::from_nanos(1);
        assert_eq!(tiered().affordable_output(&bound, room, flex), Some((2_000 - 202) / 30));
        assert_eq!(tiered().affordable_output(&bound, room, None), Some((1_000 - 505) / 50));
        let dearer = Money::from_nanos(0);
        assert_eq!(tiered().affordable_output(&bound, dearer, flex), None);
    }

    #[test]
    fn what_nobody_knows_the_price_of_is_told_before() {
        let plain = flat(text(1, 1));
        let bound = Bound::of_text(1, 1);
        assert_eq!(plain.unpriced_within(&bound, None), []);
        let pieces = Bound { images: 1, searches: 1, ..bound };
        assert_eq!(plain.unpriced_within(&pieces, None), [Class::ImageOutput, Class::Search]);
        assert_eq!(flat(each()).unpriced_within(&pieces, None), []);
        let above = ContextTier { above_tokens: 5, rates: each() };
        let tiers = Price::checked(text(1, 1), vec![above], Vec::new()).unwrap();
        let long = Bound { input_tokens: 9, ..pieces };
        assert_eq!(tiers.unpriced_within(&long, None).len(), 2);
    }

    #[test]
    fn a_bound_covers_what_it_allows() {
        let usage = Usage::default();
        let bound = Bound {
            choices: 2,
            images: 1,
            searches: 1,
            may_write_cache: CacheWrites::OneHour,
            audio: true,
            ..Bound::of_text(10, 5)
        };
        let fits = Usage { input: 10, output: 10, image_output: 1, searches: 1, ..usage };
        assert!(bound.covers(&fits));
        for more in [
            Usage { cached_input: 1, ..fits },
            Usage { reasoning: 1, ..fits },
            Usage { image_output: 2, ..fits },
            Usage { searches: 2, ..fits },
        ] {
            assert!(!bound.covers(&more), "{more:?}");
        }
        let text = Bound::of_text(10, 5);
        let five = Bound { may_write_cache: CacheWrites::FiveMinutes, ..text };
        let hour = Bound { may_write_cache: CacheWrites::OneHour, ..text };
        let heard = Bound { audio: true, ..text };
        let drawn = Bound { images: 1, ..text };
        for (used, allows) in [
            (Usage { cached_input: 1, reasoning: 1, ..usage }, [true; 5]),
            (Usage { cache_write: 1, ..usage }, [false, true, true, false, false]),
            (Usage { cache_write_1h: 1, ..usage }, [false, false, true, false, false]),
            (Usage { audio_input: 1, ..usage }, [false, false, false, true, false]),
            (Usage { cached_audio_input: 1, ..usage }, [false, false, false, true, false]),
            (Usage { audio_output: 1, ..usage }, [false, false, false, true, false]),
            (Usage { image_output_tokens: 1, ..usage }, [false, false, false, false, true]),
            (Usage { image_output: 1, ..usage }, [false, false, false, false, true]),
            (Usage { searches: 1, ..usage }, [false; 5]),
        ] {
            let found = [text, five, hour, heard, drawn].map(|it| it.covers(&used));
            assert_eq!(found, allows, "{used:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_500))]

        #[test]
        fn no_call_within_its_bound_costs_more_than_the_worst_case(
            price in prices(),
            (bound, usage) in bounded(),
            tier in service_tiers(),
        ) {
            prop_assert!(bound.covers(&usage));
            prop_assert!(price.cost(&usage, tier) <= price.worst_case(&bound, tier));
            prop_assert!(price.cost(&usage, tier) <= price.worst_case(&bound, None));
            if price.unpriced_within(&bound, None).is_empty() {
                prop_assert_eq!(price.unpriced(&usage, tier), []);
            }
        }

        #[test]
        fn the_largest_output_that_fits_fits_and_one_more_does_not(
            price in prices(),
            bound in bounds(),
            tier in service_tiers(),
            room in prop_oneof![0..1_000_000_i64, 0..=i64::MAX, -9..9_i64],
            part in 0..=1_000_i64,
        ) {
            // Often about what the bound costs, so that there is something to cut.
            let worst = price.worst_case(&bound, tier).to_money().nanos();
            let room = if part < 700 { worst / 1_000 * part } else { room };
            let room = Money::from_nanos(room);
            let with = |output_tokens_per_choice| {
                let bound = Bound { output_tokens_per_choice, ..bound };
                price.worst_case(&bound, tier).to_money()
            };
            match price.affordable_output(&bound, room, tier) {
                Some(most) => {
                    prop_assert!(most <= bound.output_tokens_per_choice);
                    prop_assert!(with(most) <= room);
                    let is_all = most == bound.output_tokens_per_choice;
                    prop_assert!(is_all || with(most + 1) > room);
                }
                None => prop_assert!(with(0) > room),
            }
        }

        #[test]
        fn a_wider_bound_costs_no_less(price in prices(), bound in bounds(), more in 0..1_000_u64) {
            let least = price.worst_case(&bound, None);
            for wider in [
                Bound { input_tokens: bound.input_tokens.saturating_add(more), ..bound },
                Bound { choices: bound.choices + more, ..bound },
                Bound { images: bound.images.saturating_add(more), ..bound },
                Bound { audio: true, ..bound },
                Bound { may_write_cache: CacheWrites::OneHour, ..bound },
            ] {
                prop_assert!(price.worst_case(&wider, None) >= least);
            }
        }
    }
}
