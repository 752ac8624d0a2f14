//! Prices, usages and bounds for the tests of this module.

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::usage::Usage;

pub fn price(picos: i64) -> UnitPrice {
    UnitPrice::try_from(picos).unwrap()
}

fn token_prices() -> impl Strategy<Value = UnitPrice> {
    let any = 0..=UnitPrice::TOKEN_CEILING.picos();
    prop_oneof![Just(0), 0..100_i64, any, Just(UnitPrice::TOKEN_CEILING.picos())].prop_map(price)
}

fn piece_prices() -> impl Strategy<Value = UnitPrice> {
    prop_oneof![0..100_i64, 0..=UnitPrice::CEILING.picos()].prop_map(price)
}

pub fn rates() -> impl Strategy<Value = Rates> {
    let tokens = vec(option::of(token_prices()), 8);
    let pieces = vec(option::of(piece_prices()), 3);
    (token_prices(), token_prices(), tokens, pieces).prop_map(|(input, output, tokens, pieces)| {
        Rates {
            input,
            output,
            cached_input: tokens[0],
            cache_write: tokens[1],
            cache_write_1h: tokens[2],
            reasoning: tokens[3],
            audio_input: tokens[4],
            cached_audio_input: tokens[5],
            audio_output: tokens[6],
            image_output_tokens: tokens[7],
            image_output: pieces[0],
            search: pieces[1],
            request: pieces[2],
        }
    })
}

/// A count, small ones and absurd ones more often than any.
pub fn counts() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..50_u64, 0..400_000_u64, any::<u64>()]
}

fn context_tiers() -> impl Strategy<Value = Vec<ContextTier>> {
    let tier = (prop_oneof![0..50_u64, 0..400_000_u64], rates());
    let tier = tier.prop_map(|(above_tokens, rates)| ContextTier { above_tokens, rates });
    vec(tier, 0..3).prop_map(|mut tiers| {
        tiers.sort_by_key(|it| it.above_tokens);
        tiers.dedup_by_key(|it| it.above_tokens);
        tiers
    })
}

pub fn prices() -> impl Strategy<Value = Price> {
    let schedule = (rates(), context_tiers())
        .prop_map(|(rates, context_tiers)| Terms::Schedule(Schedule { rates, context_tiers }));
    let times = (1..=Price::MULTIPLIER_CEILING_BP).prop_map(Terms::MultiplierBp);
    let terms = prop_oneof![schedule, times];
    (rates(), context_tiers(), vec(terms, 0..3)).prop_map(|(rates, context_tiers, terms)| {
        let named = terms.into_iter().zip(NAMES);
        let tiers = named.map(|(terms, name)| ServiceTier { name: name.to_owned(), terms });
        Price::checked(rates, context_tiers, tiers.collect()).unwrap()
    })
}

/// Tiers of service that a price may have, and one that it doesn't.
pub const NAMES: [&str; 3] = ["flex", "priority", "unknown"];

pub fn service_tiers() -> impl Strategy<Value = Option<&'static str>> {
    option::of(prop::sample::select(&NAMES[..]))
}

pub fn bounds() -> impl Strategy<Value = Bound> {
    let writes = [CacheWrites::None, CacheWrites::FiveMinutes, CacheWrites::OneHour];
    let writes = prop::sample::select(writes.to_vec());
    (counts(), counts(), 0..9_u64, counts(), counts(), writes, any::<bool>()).prop_map(
        |(input, output, choices, images, searches, may_write_cache, audio)| Bound {
            input_tokens: input,
            output_tokens_per_choice: output,
            choices,
            images,
            searches,
            may_write_cache,
            audio,
        },
    )
}

/// A part of what is left of `room`, by thousandths: all of it more often than not.
fn take(room: &mut u64, part: u16) -> u64 {
    let thousandths = u128::from(part.min(1_000));
    let taken = u128::from(*room) * thousandths / 1_000;
    let taken = u64::try_from(taken).unwrap();
    *room -= taken;
    taken
}

/// A bound, and a usage within it.
pub fn bounded() -> impl Strategy<Value = (Bound, Usage)> {
    (bounds(), any::<[bool; 12]>(), vec(0..2_000_u16, 12)).prop_map(|(bound, occurs, parts)| {
        let part = |index: usize, may: bool| if occurs[index] && may { parts[index] } else { 0 };
        let (mut input, mut output) = (bound.input_tokens, bound.output_tokens());
        let writes = bound.may_write_cache;
        let images = bound.images > 0;
        let (mut pieces, mut searches) = (bound.images, bound.searches);
        let usage = Usage {
            cache_write_1h: take(&mut input, part(0, writes == CacheWrites::OneHour)),
            cache_write: take(&mut input, part(1, writes != CacheWrites::None)),
            audio_input: take(&mut input, part(2, bound.audio)),
            cached_audio_input: take(&mut input, part(3, bound.audio)),
            cached_input: take(&mut input, part(4, true)),
            input: take(&mut input, part(5, true)),
            audio_output: take(&mut output, part(6, bound.audio)),
            image_output_tokens: take(&mut output, part(7, images)),
            reasoning: take(&mut output, part(8, true)),
            output: take(&mut output, part(9, true)),
            image_output: take(&mut pieces, part(10, true)),
            searches: take(&mut searches, part(11, true)),
        };
        (bound, usage)
    })
}
