//! What becomes of prices: marked up, moved, and followed by those that are made of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use shared::money::{
    BadPrice, BadUnitPrice, Class, ContextTier, Price, Rates, Schedule, ServiceTier, Terms,
    UnitPrice,
};
use time::OffsetDateTime;

use crate::upstreams::prices;

/// What is paid, beside what the vendor asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a file has some thousand at most, and briefly")]
pub enum Sell {
    Price(Price),
    /// So much more than the list, in basis points; less where it is negative.
    MarkupBp(i32),
}

/// A hundred times the list at most, and never less than nothing.
pub(super) const MARKUPS: std::ops::RangeInclusive<i32> = -10_000..=1_000_000;

/// A list price with a markup: each of its rates for itself, rounded to the nearest pico-dollar
/// and to the even one where two are as near.
pub fn marked(list: &Price, markup_bp: i32) -> Result<Price, BadMarkup> {
    let tier = |it: &ContextTier| -> Result<_, BadMarkup> {
        Ok(ContextTier { above_tokens: it.above_tokens, rates: rates(&it.rates, markup_bp)? })
    };
    let schedule = |it: &Schedule| -> Result<_, BadMarkup> {
        let tiers: Result<Vec<_>, _> = it.context_tiers.iter().map(tier).collect();
        Ok(Schedule { rates: rates(&it.rates, markup_bp)?, context_tiers: tiers? })
    };
    let mut services = Vec::with_capacity(list.service_tiers().len());
    for ServiceTier { name, terms } in list.service_tiers() {
        let terms = match terms {
            Terms::Schedule(it) => Terms::Schedule(schedule(it)?),
            Terms::MultiplierBp(it) => Terms::MultiplierBp(*it),
        };
        services.push(ServiceTier { name: name.clone(), terms });
    }
    let Schedule { rates, context_tiers } = schedule(list.standard())?;
    Ok(Price::checked(rates, context_tiers, services)?)
}

fn rates(list: &Rates, markup_bp: i32) -> Result<Rates, BadMarkup> {
    let mut marked = Rates::default();
    for class in Class::ALL {
        if let Some(own) = prices::own(list, class) {
            marked = prices::with(marked, class, each(own, markup_bp)?);
        }
    }
    Ok(marked)
}

fn each(list: UnitPrice, markup_bp: i32) -> Result<UnitPrice, BadMarkup> {
    let product = i128::from(list.picos()) * (ONCE_BP + i128::from(markup_bp));
    let (whole, rest) = (product.div_euclid(ONCE_BP), product.rem_euclid(ONCE_BP));
    let up = match (rest * 2).cmp(&ONCE_BP) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => whole.rem_euclid(2),
        std::cmp::Ordering::Greater => 1,
    };
    let picos = i64::try_from(whole + up).map_err(|_| BadUnitPrice::TooHigh)?;
    Ok(picos.try_into()?)
}

const ONCE_BP: i128 = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum BadMarkup {
    #[error("marked up, {0}")]
    Amount(#[from] BadUnitPrice),
    #[error("marked up, {0}")]
    Price(#[from] BadPrice),
    #[error("it has no list price that a markup could be on")]
    NoList,
}

/// A price as a book keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub revision: i64,
    pub from: OffsetDateTime,
    /// What the vendor asks, where what is paid was said apart from it.
    pub list: Option<Price>,
    /// What is paid; nothing where the book says nothing from then on.
    pub price: Option<Price>,
    pub markup_bp: Option<i32>,
}

impl Kept {
    pub fn listed(&self) -> Option<&Price> {
        self.list.as_ref().or(self.price.as_ref())
    }
}

/// What is in force of a book at a moment: what began last, and of what began together what was
/// written last.
pub fn at(kept: &[Kept], now: OffsetDateTime) -> Option<&Kept> {
    kept.iter().filter(|it| it.from <= now).max_by_key(|it| (it.from, it.revision))
}

/// What a row says of a model: what it costs, or that it has no price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub list: Option<Price>,
    pub price: Option<Price>,
    pub markup_bp: Option<i32>,
}

impl Said {
    const NOTHING: Self = Self { list: None, price: None, markup_bp: None };

    fn marked(list: &Price, markup_bp: i32) -> Result<Self, BadMarkup> {
        let price = marked(list, markup_bp)?;
        Ok(Self { list: Some(list.clone()), price: Some(price), markup_bp: Some(markup_bp) })
    }
}

/// What a row comes to. Where it says a list price alone, what is paid stays as it was said: the
/// same markup, or the same price. `listed` is what the vendor asks as far as we know.
pub fn said(
    list: Option<&Price>,
    sell: Option<&Sell>,
    present: Option<&Kept>,
    listed: Option<&Price>,
) -> Result<Said, BadMarkup> {
    match (list.or(listed), sell) {
        (_, None) if list.is_none() => Ok(Said::NOTHING),
        (list, Some(Sell::Price(price))) => {
            let list = Some(list.unwrap_or(price).clone());
            Ok(Said { list, price: Some(price.clone()), markup_bp: None })
        }
        (Some(list), Some(Sell::MarkupBp(markup_bp))) => Said::marked(list, *markup_bp),
        (None, Some(Sell::MarkupBp(_))) => Err(BadMarkup::NoList),
        (Some(list), None) => match present {
            Some(Kept { markup_bp: Some(markup_bp), .. }) => Said::marked(list, *markup_bp),
            Some(Kept { list: Some(_), price: Some(price), .. }) => {
                Ok(Said { list: Some(list.clone()), price: Some(price.clone()), markup_bp: None })
            }
            Some(_) | None => Ok(Said { list: None, price: Some(list.clone()), markup_bp: None }),
        },
        (None, None) => Ok(Said::NOTHING),
    }
}

/// The rows that a book needs beside its own, so that whatever is marked up in it is so from the
/// list price of each moment from `now` on. They have no numbers yet.
pub fn follow_ups(
    platform: &[Kept],
    book: &[Kept],
    now: OffsetDateTime,
) -> Result<Vec<Kept>, BadMarkup> {
    let all = platform.iter().chain(book).map(|it| it.from).filter(|it| *it > now);
    let moments: BTreeSet<_> = all.chain([now]).collect();
    let (mut rows, mut added) = (book.to_vec(), Vec::new());
    for from in moments {
        let Some(rule) = at(&rows, from) else { continue };
        let (Some(markup_bp), revision) = (rule.markup_bp, rule.revision) else { continue };
        let said = match at(platform, from).and_then(Kept::listed) {
            Some(list) => Said::marked(list, markup_bp)?,
            None => Said { markup_bp: Some(markup_bp), ..Said::NOTHING },
        };
        if rule.price != said.price || rule.list != said.list {
            let Said { list, price, markup_bp } = said;
            // After the row that it follows, whatever its number will be.
            let latest = rows.iter().map(|it| it.revision).max().unwrap_or(revision);
            let row = Kept { revision: latest + 1, from, list, price, markup_bp };
            rows.push(row.clone());
            added.push(row);
        }
    }
    Ok(added)
}

/// By how much a price of one class changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub class: Class,
    pub from: UnitPrice,
    pub to: UnitPrice,
}

impl Move {
    /// In percent, towards nothing; `None` where it cost nothing before.
    pub fn percent(&self) -> Option<i128> {
        let (from, to) = (i128::from(self.from.picos()), i128::from(self.to.picos()));
        ((to - from) * 100).checked_div(from)
    }
}

/// The classes whose standard rates change, each with both.
pub fn moves(before: &Price, after: &Price) -> Vec<Move> {
    let (before, after) = (&before.standard().rates, &after.standard().rates);
    let both = Class::ALL.into_iter().filter_map(|class| {
        let (from, to) = (before.of(class)?, after.of(class)?);
        let is_own = prices::own(before, class).or(prices::own(after, class)).is_some();
        (is_own && from != to).then_some(Move { class, from, to })
    });
    both.collect()
}

/// Whether anything that a call may be charged moves by more than half of what it was, up or
/// down, or loses its price: for any class, length of context and tier of service.
pub fn is_large(before: &Price, after: &Price) -> bool {
    let both = [before, after];
    let services = both.iter().flat_map(|it| it.service_tiers()).map(|it| Some(it.name.as_str()));
    let services: BTreeSet<_> = services.chain([None]).collect();
    let tiers = both.iter().flat_map(|it| all_tiers(it)).map(|it| it + 1);
    let lengths: BTreeSet<_> = tiers.chain([0]).collect();
    services.iter().any(|service| {
        lengths.iter().any(|length| {
            Class::ALL.into_iter().any(|class| {
                let of = |price| charged(price, *service, *length, class);
                match (of(before), of(after)) {
                    (Some(from), Some(to)) => (to - from).abs() * 2 > from,
                    (Some(_), None) => true,
                    (None, _) => false,
                }
            })
        })
    })
}

fn all_tiers(price: &Price) -> Vec<u64> {
    let own = price.service_tiers().iter().filter_map(|it| match &it.terms {
        Terms::Schedule(schedule) => Some(schedule),
        Terms::MultiplierBp(_) => None,
    });
    let schedules = std::iter::once(price.standard()).chain(own);
    schedules.flat_map(|it| it.context_tiers.iter().map(|it| it.above_tokens)).collect()
}

/// What one of a class costs, in basis points of pico-dollars.
fn charged(price: &Price, service: Option<&str>, length: u64, class: Class) -> Option<i128> {
    let named = price.service_tiers().iter().find(|it| Some(it.name.as_str()) == service);
    let (schedule, multiplier) = match named.map(|it| &it.terms) {
        Some(Terms::Schedule(schedule)) => (schedule, ONCE_BP),
        Some(Terms::MultiplierBp(it)) if class.is_tokens() => (price.standard(), i128::from(*it)),
        Some(Terms::MultiplierBp(_)) | None => (price.standard(), ONCE_BP),
    };
    Some(i128::from(schedule.at(length).of(class)?.picos()) * multiplier)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(picos: i64) -> UnitPrice {
        picos.try_into().unwrap()
    }

    fn flat(input: i64, output: i64) -> Price {
        Price::flat(Rates::of_text(unit(input), unit(output))).unwrap()
    }

    fn day(day: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(day * 86_400).unwrap()
    }

    #[test]
    fn a_markup_is_rounded_to_the_nearest_and_to_even_between_two() {
        let marked = |picos, bp| each(unit(picos), bp).unwrap().picos();
        assert_eq!(marked(1_250_000, 2_000), 1_500_000);
        assert_eq!(marked(1_250_000, -10_000), 0);
        assert_eq!([1, 3, 5, 7].map(|it| marked(it, 5_000)), [2, 4, 8, 10]);
        assert_eq!(marked(3, 1_000), 3);
        assert!(each(UnitPrice::CEILING, 1).is_err());
    }

    #[test]
    fn every_rate_is_marked_up_and_what_multiplies_is_not() {
        let tier = ContextTier { above_tokens: 10, rates: Rates::of_text(unit(200), unit(400)) };
        let (batch, fast) = (
            Terms::MultiplierBp(5_000),
            Terms::Schedule(Schedule {
                rates: Rates::of_text(unit(1_000), unit(2_000)),
                context_tiers: vec![tier],
            }),
        );
        let service = |name: &str, terms| ServiceTier { name: name.into(), terms };
        let services = vec![service("batch", batch.clone()), service("fast", fast)];
        let rates = Rates { search: Some(unit(50)), ..Rates::of_text(unit(100), unit(300)) };
        let list = Price::checked(rates, vec![tier], services).unwrap();
        let sold = marked(&list, 1_000).unwrap();
        assert_eq!(sold.standard().rates.search, Some(unit(55)));
        assert_eq!(sold.standard().rates.cached_input, None);
        assert_eq!(sold.standard().at(11).output, unit(440));
        assert_eq!(sold.service_tiers()[0].terms, batch);
        let Terms::Schedule(fast) = &sold.service_tiers()[1].terms else { panic!("a schedule") };
        assert_eq!((fast.at(0).input, fast.at(11).input), (unit(1_100), unit(220)));
    }

    #[test]
    fn more_than_half_is_much_in_either_direction() {
        let check = |from, to, expected| {
            assert_eq!(is_large(&flat(100, from), &flat(100, to)), expected, "{from} to {to}");
        };
        check(100, 150, false);
        check(100, 151, true);
        check(100, 50, false);
        check(100, 49, true);
        check(0, 0, false);
        check(0, 1, true);
        let of_search = Rates { search: Some(unit(10)), ..Rates::of_text(unit(100), unit(100)) };
        let searches = Price::flat(of_search).unwrap();
        assert!(is_large(&searches, &flat(100, 100)), "searches lose their price");
        assert!(!is_large(&flat(100, 100), &searches), "searches get one");
        let tier = ContextTier { above_tokens: 9, rates: Rates::of_text(unit(100), unit(300)) };
        let long = Price::checked(Rates::of_text(unit(100), unit(100)), vec![tier], vec![]);
        assert!(is_large(&flat(100, 100), &long.unwrap()), "long contexts cost thrice as much");
        let fast = ServiceTier { name: "fast".into(), terms: Terms::MultiplierBp(20_000) };
        let fast = Price::checked(Rates::of_text(unit(100), unit(100)), vec![], vec![fast]);
        assert!(is_large(&flat(100, 100), &fast.unwrap()), "a tier of service costs twice as much");
    }

    #[test]
    fn a_list_price_alone_leaves_what_is_paid_as_it_was_said() {
        let (old, new) = (flat(100, 100), flat(120, 120));
        let kept = |list: Option<&Price>, price: &Price, markup_bp| Kept {
            revision: 1,
            from: day(0),
            list: list.cloned(),
            price: Some(price.clone()),
            markup_bp,
        };
        let paid = |present: Option<&Kept>| said(Some(&new), None, present, None).unwrap();
        assert_eq!(paid(None), Said { list: None, price: Some(new.clone()), markup_bp: None });
        assert_eq!(paid(Some(&kept(None, &old, None))).price, Some(new.clone()));
        let marked_up = paid(Some(&kept(Some(&old), &flat(150, 150), Some(5_000))));
        assert_eq!((marked_up.price, marked_up.markup_bp), (Some(flat(180, 180)), Some(5_000)));
        let fixed = paid(Some(&kept(Some(&old), &flat(130, 130), None)));
        assert_eq!((fixed.list, fixed.price), (Some(new), Some(flat(130, 130))));
        assert_eq!(said(None, None, None, Some(&old)).unwrap(), Said::NOTHING);
        let bare = said(None, Some(&Sell::MarkupBp(1)), None, None).unwrap_err();
        assert!(bare.to_string().contains("no list price"));
    }

    /// What a book says of one model on some days: a markup, a price, or nothing any more.
    fn book() -> impl Strategy<Value = Vec<(i64, Option<i32>, bool)>> {
        let row = (0..8_i64, prop::option::of(0..3_000_i32), any::<bool>());
        prop::collection::vec(row, 0..5)
    }

    proptest! {
        /// However list prices and markups are planned: from now on what is marked up is so from
        /// the list price of the day, and nothing else of the book has changed.
        #[test]
        fn what_is_marked_up_follows_the_list(
            lists in prop::collection::vec((0..8_i64, prop::option::of(100..900_i64)), 0..5),
            rows in book(), now in 0..4_i64,
        ) {
            let dated = |(revision, (from, picos)): (i64, (i64, Option<i64>))| Kept {
                revision, from: day(from), list: None,
                price: picos.map(|it| flat(it, it)), markup_bp: None,
            };
            let platform: Vec<_> = (1..).zip(lists).map(dated).collect();
            let ruled = |(revision, (from, markup_bp, is_priced)): (i64, (i64, Option<i32>, bool))| Kept {
                revision, from: day(from), list: None,
                price: is_priced.then(|| flat(7, 7)), markup_bp,
            };
            let mut rows: Vec<_> = (1..).zip(rows).map(ruled).collect();
            let before = rows.clone();
            let added = follow_ups(&platform, &rows, day(now)).unwrap();
            prop_assert!(added.iter().all(|it| it.from >= day(now)), "never in the past");
            rows.extend(added);
            for today in now..10 {
                let (was, is) = (at(&before, day(today)), at(&rows, day(today)));
                let rule = was.and_then(|it| it.markup_bp);
                prop_assert_eq!(rule, is.and_then(|it| it.markup_bp));
                match rule {
                    Some(markup_bp) => {
                        let list = at(&platform, day(today)).and_then(Kept::listed);
                        let expected = list.map(|it| marked(it, markup_bp).unwrap());
                        prop_assert_eq!(is.and_then(|it| it.price.clone()), expected);
                    }
                    None => prop_assert_eq!(was.map(|it| &it.price), is.map(|it| &it.price)),
                }
            }
            prop_assert_eq!(follow_ups(&platform, &rows, day(now)).unwrap(), [], "once is enough");
        }

        /// A markup never lowers a price, nor does a discount raise one, and both are within
        /// half a pico-dollar of exact.
        #[test]
        fn a_markup_is_as_near_as_can_be(picos in 0..1_000_000_000_i64, bp in -10_000..20_000_i32) {
            let sold = i128::from(each(unit(picos), bp).unwrap().picos());
            let exact = i128::from(picos) * (10_000 + i128::from(bp));
            prop_assert!((sold * 10_000 - exact).abs() * 2 <= 10_000);
            prop_assert!((sold >= i128::from(picos)) == (bp >= 0) || sold == i128::from(picos));
        }
    }
}
