//! Costs, which are finer than a nano-dollar.

use serde::{Deserialize, Serialize};

use super::Money;

/// US dollars in pico-dollars: 1 USD is 1_000_000_000_000. A cost is never less than zero.
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
    sqlx::Type,
    utoipa::ToSchema,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct Pico(i64);

impl Pico {
    pub const ZERO: Self = Self(0);
    pub(super) const PER_NANO: i64 = 1_000;

    pub const fn from_picos(picos: i64) -> Self {
        Self(picos)
    }

    pub const fn picos(self) -> i64 {
        self.0
    }

    /// In nano-dollars, rounded up: what is counted is never less than what was used.
    pub const fn to_money(self) -> Money {
        let whole = self.0.div_euclid(Self::PER_NANO);
        let begun = self.0.rem_euclid(Self::PER_NANO) != 0;
        Money::from_nanos(whole + begun as i64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_nano_that_has_begun_is_counted_whole() {
        for (picos, nanos) in [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (2_000, 2)] {
            assert_eq!(Pico::from_picos(picos).to_money(), Money::from_nanos(nanos), "{picos}");
        }
        assert_eq!(Pico::from_picos(i64::MAX).to_money().nanos(), 9_223_372_036_854_776);
        assert_eq!(serde_json::to_string(&Pico::from_picos(7)).unwrap(), "7");
    }

    proptest! {
        #[test]
        fn rounding_up_adds_less_than_a_nano(picos in 0..=i64::MAX) {
            let nanos = Pico::from_picos(picos).to_money().nanos();
            let above = i128::from(nanos) * 1_000 - i128::from(picos);
            prop_assert!((0..1_000).contains(&above));
            prop_assert_eq!(Pico::from_picos(picos).picos(), picos);
        }
    }
}
