//! What one unit costs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::decimal::{self, NotAnAmount};

/// The price of one token, picture, search or request, in pico-dollars. A dollar for a
/// million tokens is a million pico-dollars for one.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(try_from = "i64", into = "i64")]
#[schema(value_type = i64, minimum = 0)]
pub struct UnitPrice(i64);

impl UnitPrice {
    pub const FREE: Self = Self(0);
    /// Ten dollars for one unit.
    pub const CEILING: Self = Self(10_000_000_000_000);
    /// Two thousand dollars for a million tokens.
    pub const TOKEN_CEILING: Self = Self(2_000_000_000);

    /// How many decimals of a dollar a pico-dollar is at, for a million and for one.
    const PER_MILLION_PLACES: u32 = 6;
    const EACH_PLACES: u32 = 12;

    pub const fn picos(self) -> i64 {
        self.0
    }

    /// Dollars for a million units, with up to six decimals, as price lists have them.
    pub fn per_million(text: &str) -> Result<Self, BadUnitPrice> {
        decimal::read(text, Self::PER_MILLION_PLACES)?.try_into()
    }

    /// Dollars for one unit, with up to twelve decimals.
    pub fn each(text: &str) -> Result<Self, BadUnitPrice> {
        decimal::read(text, Self::EACH_PLACES)?.try_into()
    }

    /// In dollars for one unit, as [`each`](Self::each) reads it.
    pub fn dollars_each(self) -> String {
        decimal::written(self.0, Self::EACH_PLACES)
    }
}

/// In dollars for a million units, as [`UnitPrice::per_million`] reads it.
impl fmt::Display for UnitPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal::written(self.0, Self::PER_MILLION_PLACES))
    }
}

impl TryFrom<i64> for UnitPrice {
    type Error = BadUnitPrice;

    fn try_from(picos: i64) -> Result<Self, BadUnitPrice> {
        match picos {
            ..0 => Err(BadUnitPrice::Negative),
            _ if picos > Self::CEILING.0 => Err(BadUnitPrice::TooHigh),
            _ => Ok(Self(picos)),
        }
    }
}

impl From<UnitPrice> for i64 {
    fn from(price: UnitPrice) -> Self {
        price.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUnitPrice {
    #[error(transparent)]
    NotAnAmount(#[from] NotAnAmount),
    #[error("a price is never less than zero")]
    Negative,
    #[error("a unit costs $10 at most")]
    TooHigh,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn price_lists_are_read_to_the_pico() {
        let of = |text| UnitPrice::per_million(text).map(UnitPrice::picos);
        assert_eq!(of("2.50"), Ok(2_500_000));
        assert_eq!(of("0.000001"), Ok(1));
        assert_eq!(of("10000000"), Ok(UnitPrice::CEILING.picos()));
        assert_eq!(of("10000000.000001"), Err(BadUnitPrice::TooHigh));
        assert_eq!(of("-1"), Err(BadUnitPrice::NotAnAmount(NotAnAmount::Shape)));
        assert_eq!(of("0.0000001"), Err(BadUnitPrice::NotAnAmount(NotAnAmount::TooFine(6))));
        assert_eq!(UnitPrice::each("0.035").unwrap().picos(), 35_000_000_000);
        assert_eq!(UnitPrice::each("0.000000000001").unwrap().picos(), 1);
        assert_eq!(UnitPrice::each("0.035").unwrap().dollars_each(), "0.035");
        assert_eq!(UnitPrice::per_million("0.075").unwrap().to_string(), "0.075");
    }

    #[test]
    fn the_bound_sits_in_the_constructor() {
        let ceiling = UnitPrice::CEILING.picos();
        assert_eq!(UnitPrice::try_from(0), Ok(UnitPrice::FREE));
        assert_eq!(UnitPrice::try_from(-1), Err(BadUnitPrice::Negative));
        assert_eq!(UnitPrice::try_from(ceiling), Ok(UnitPrice::CEILING));
        assert_eq!(UnitPrice::try_from(ceiling + 1), Err(BadUnitPrice::TooHigh));
        assert_eq!(serde_json::from_str::<UnitPrice>("25").unwrap().picos(), 25);
        assert_eq!(serde_json::to_string(&UnitPrice(25)).unwrap(), "25");
        for bad in ["-1", "10000000000001", "1.5", "\"1\""] {
            assert!(serde_json::from_str::<UnitPrice>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(picos in 0..=UnitPrice::CEILING.picos()) {
            let price = UnitPrice::try_from(picos).unwrap();
            prop_assert_eq!(UnitPrice::per_million(&price.to_string()), Ok(price));
            prop_assert_eq!(UnitPrice::each(&price.dollars_each()), Ok(price));
            prop_assert_eq!(i64::from(price), picos);
        }
    }
}
