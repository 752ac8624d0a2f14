//! Amounts, which are whole nano-dollars.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::decimal::{self, NotAnAmount};

/// US dollars in nano-dollars: 1 USD is 1_000_000_000.
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
pub struct Money(i64);

impl Money {
    pub const ZERO: Self = Self(0);
    const PER_DOLLAR: u64 = 1_000_000_000;
    const PLACES: u32 = 9;

    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    pub const fn nanos(self) -> i64 {
        self.0
    }

    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(nanos) => Some(Self(nanos)),
            None => None,
        }
    }

    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(nanos) => Some(Self(nanos)),
            None => None,
        }
    }

    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The exact amount with nine decimals, as exports and headers carry it.
    pub fn exact(self) -> String {
        let (sign, whole, fraction) = self.parts();
        format!("{}{whole}.{fraction:09}", if sign { "-" } else { "" })
    }

    fn parts(self) -> (bool, u64, u64) {
        let nanos = self.0.unsigned_abs();
        (self.0 < 0, nanos / Self::PER_DOLLAR, nanos % Self::PER_DOLLAR)
    }
}

/// Dollars with up to nine decimals, as people write them; not less than zero.
impl FromStr for Money {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        decimal::read(text, Self::PLACES).map(Self)
    }
}

/// As people read it: two decimals from a dollar up, as many as it takes below, so
/// that an amount that is not nothing never reads $0.00. Digits beyond are cut, never
/// rounded up.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (negative, whole, fraction) = self.parts();
        if negative {
            f.write_str("\u{2212}")?;
        }
        if whole > 0 || fraction == 0 {
            return write!(f, "${}.{:02}", Grouped(whole), fraction / 10_000_000);
        }
        let digits = format!("{fraction:09}");
        let shown = if fraction >= 1_000 { &digits[..6] } else { &digits[..] };
        let trimmed = shown.trim_end_matches('0');
        write!(f, "$0.{trimmed:0<2}")
    }
}

/// A whole number with its thousands parted by commas.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(nanos: i64, shown: &str) {
        assert_eq!(Money::from_nanos(nanos).to_string(), shown);
    }

    #[test]
    fn amounts_read_as_people_expect() {
        check(0, "$0.00");
        check(1_000_000_000, "$1.00");
        check(18_412_370_000_000, "$18,412.37");
        check(999_999_999, "$0.999999");
        check(500_000_000, "$0.50");
        check(412_000, "$0.000412");
        check(7, "$0.000000007");
        check(-2_500_000_000, "\u{2212}$2.50");
    }

    proptest! {
        #[test]
        fn something_never_reads_as_nothing(nanos: i64) {
            prop_assume!(nanos != 0);
            let shown = Money::from_nanos(nanos).to_string();
            prop_assert!(shown.chars().any(|it| ('1'..='9').contains(&it)), "{}", shown);
        }

        #[test]
        fn the_exact_form_loses_nothing(nanos: i64) {
            let digits: String = Money::from_nanos(nanos).exact().replace('.', "");
            prop_assert_eq!(digits.parse::<i64>().unwrap(), nanos);
        }
    }
}
