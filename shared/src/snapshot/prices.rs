//! What a model costs from when on, and whom a book of other prices is for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ids::{PriceBookId, UpstreamId},
    money::PinnedPrice,
};

/// A price from a moment on, until the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatedPrice {
    /// In milliseconds since 1970.
    pub from_ms: i64,
    /// Nothing where there is none from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PinnedPrice>,
}

/// The one in force: what began last, and of what began together what was written last. They
/// stand in the order in which they were written.
pub fn in_force(prices: &[DatedPrice], now_ms: i64) -> Option<&DatedPrice> {
    prices.iter().filter(|it| it.from_ms <= now_ms).max_by_key(|it| it.from_ms)
}

/// Prices of the platform's models that hold for some organizations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceBook {
    pub id: PriceBookId,
    pub prices: Vec<BookPrices>,
}

/// What a book says of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookPrices {
    pub upstream: UpstreamId,
    pub model: String,
    /// Where one has no price, the next book says, or the platform.
    pub prices: Vec<DatedPrice>,
}

/// A book that holds for an organization, and while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBook {
    pub book: PriceBookId,
    pub from_ms: i64,
    /// From then on it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
}

impl HeldBook {
    pub fn is_held(&self, now_ms: i64) -> bool {
        self.from_ms <= now_ms && self.until_ms.is_none_or(|it| now_ms < it)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::money::{Price, Rates};

    fn dated((revision, from_ms, is_priced): (i64, i64, bool)) -> DatedPrice {
        let price = || PinnedPrice { revision, price: Price::flat(Rates::default()).unwrap() };
        DatedPrice { from_ms, price: is_priced.then(price) }
    }

    proptest! {
        /// Whatever was planned and planned anew: nothing is in force before it begins, and
        /// what is was not overtaken by anything that has begun.
        #[test]
        fn what_began_last_is_in_force(
            begins in prop::collection::vec((0..20_i64, any::<bool>()), 0..12), now in 0..20_i64,
        ) {
            let all = (1..).zip(begins).map(|(revision, (from, priced))| (revision, from, priced));
            let all: Vec<_> = all.map(dated).collect();
            match in_force(&all, now) {
                None => prop_assert!(all.iter().all(|it| it.from_ms > now)),
                Some(it) => {
                    prop_assert!(it.from_ms <= now);
                    let at = all.iter().position(|other| std::ptr::eq(other, it)).unwrap();
                    let begun = |it: &&DatedPrice| it.from_ms <= now;
                    prop_assert!(all.iter().filter(begun).all(|other| other.from_ms <= it.from_ms));
                    let later = all[at + 1..].iter().filter(begun);
                    prop_assert!(later.into_iter().all(|other| other.from_ms < it.from_ms));
                }
            }
        }

        /// Time only goes on: what is in force changes at the moments that were said, and at
        /// no other.
        #[test]
        fn a_price_changes_when_one_begins(
            begins in prop::collection::vec((0..20_i64, any::<bool>()), 0..12), now in 1..20_i64,
        ) {
            let all = (1..).zip(begins).map(|(revision, (from, priced))| (revision, from, priced));
            let all: Vec<_> = all.map(dated).collect();
            if all.iter().all(|it| it.from_ms != now) {
                prop_assert_eq!(in_force(&all, now), in_force(&all, now - 1));
            }
        }
    }

    #[test]
    fn a_book_is_held_from_its_first_moment_to_before_its_last() {
        let held = HeldBook { book: PriceBookId::generate(), from_ms: 10, until_ms: Some(20) };
        assert_eq!([9, 10, 19, 20].map(|it| held.is_held(it)), [false, true, true, false]);
        assert!(HeldBook { until_ms: None, ..held }.is_held(i64::MAX));
    }
}
