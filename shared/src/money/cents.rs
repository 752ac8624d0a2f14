//! What is billed: whole cents, rounded once.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use super::decimal::{self, NotAnAmount};

/// US dollars in cents. Programs are told it as a decimal: `-12.50`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct Cents(i64);

impl Cents {
    pub const ZERO: Self = Self(0);
    const NANOS: i128 = 10_000_000;
    const WHOLE: i128 = 10_000;
    const PLACES: u32 = 2;

    pub const fn from_cents(cents: i64) -> Self {
        Self(cents)
    }

    pub const fn cents(self) -> i64 {
        self.0
    }

    pub const fn nanos(self) -> i128 {
        self.0 as i128 * Self::NANOS
    }

    /// The nearest cent, of two the even one.
    pub fn of_nanos(nanos: i128) -> Self {
        Self(half_even(nanos, Self::NANOS))
    }

    /// So many basis points of an amount, to the nearest cent, of two the even one.
    pub fn share_of_nanos(nanos: i128, basis_points: u32) -> Self {
        Self(half_even(nanos * i128::from(basis_points), Self::NANOS * Self::WHOLE))
    }

    /// So many basis points of it, to the nearest cent, of two the even one.
    pub fn share(self, basis_points: u32) -> Self {
        Self(half_even(i128::from(self.0) * i128::from(basis_points), Self::WHOLE))
    }

    /// The same the other way.
    pub const fn negative(self) -> Self {
        Self(self.0.saturating_neg())
    }

    /// As programs are told it.
    pub fn exact(self) -> String {
        let (whole, rest) = (self.0.unsigned_abs() / 100, self.0.unsigned_abs() % 100);
        format!("{}{whole}.{rest:02}", if self.0 < 0 { "-" } else { "" })
    }
}

fn half_even(amount: i128, unit: i128) -> i64 {
    let (whole, rest) = (amount.div_euclid(unit), amount.rem_euclid(unit));
    let up = match (rest * 2).cmp(&unit) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => whole.rem_euclid(2),
        std::cmp::Ordering::Greater => 1,
    };
    i64::try_from(whole + up).unwrap_or(if amount.is_negative() { i64::MIN } else { i64::MAX })
}

/// Parts a total among exact amounts that it was rounded from, so that the parts add up to it
/// and each is the cent below or above its exact amount: all are cut, and what is left goes one
/// cent each to those that lost most, of equals to the first. That may be done again with the
/// amounts that a part is made of.
pub fn apportion(total: Cents, exact: &[i128]) -> Vec<Cents> {
    let cut = |it: &i128| i64::try_from(it.div_euclid(Cents::NANOS)).unwrap_or(i64::MAX);
    let mut parts: Vec<i64> = exact.iter().map(cut).collect();
    let mut order: Vec<_> = (0..parts.len()).collect();
    // A stable sort: of equals the first comes first.
    order.sort_by_key(|it| std::cmp::Reverse(exact[*it].rem_euclid(Cents::NANOS)));
    let sum = parts.iter().copied().fold(0_i64, i64::saturating_add);
    let mut left = total.0.saturating_sub(sum);
    for index in &order {
        let given = left.clamp(0, 1);
        parts[*index] += given;
        left -= given;
    }
    // Nothing, where the total was rounded from these.
    if let Some(first) = order.first() {
        parts[*first] += left;
    }
    parts.into_iter().map(Cents).collect()
}

impl std::ops::Add for Cents {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::ops::Sub for Cents {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::ops::Neg for Cents {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl std::iter::Sum for Cents {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, |sum, it| sum + it)
    }
}

/// As people read it: `$1,234.56`.
impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "\u{2212}" } else { "" };
        let digits = (self.0.unsigned_abs() / 100).to_string();
        write!(f, "{sign}$")?;
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        write!(f, ".{:02}", self.0.unsigned_abs() % 100)
    }
}

/// Dollars with up to two decimals, as people write them; not less than zero.
impl FromStr for Cents {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        decimal::read(text, Self::PLACES).map(Self)
    }
}

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.exact())
    }
}

impl<'de> Deserialize<'de> for Cents {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        match text.strip_prefix('-') {
            Some(rest) => rest.parse::<Self>().map(|it| -it),
            None => text.parse(),
        }
        .map_err(D::Error::custom)
    }
}

impl PartialSchema for Cents {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^-?\d+\.\d{2}$"))
            .description(Some("US dollars, to the cent."))
            .into()
    }
}

impl ToSchema for Cents {
    fn name() -> Cow<'static, str> {
        "Cents".into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn what_no_number_holds_is_the_most_or_the_least_there_is() {
        let most = i128::from(i64::MAX) * Cents::NANOS;
        assert_eq!(Cents::of_nanos(2 * most), Cents(i64::MAX));
        assert_eq!(Cents::of_nanos(-2 * most), Cents(i64::MIN));
        assert_eq!(Cents::from_cents(-7).cents(), -7);
        assert_eq!(Cents::name(), "Cents");
    }

    #[test]
    fn half_a_cent_goes_to_the_even_one() {
        for (nanos, cents) in [
            (4_999_999, 0),
            (5_000_000, 0),
            (5_000_001, 1),
            (15_000_000, 2),
            (25_000_000, 2),
            (-5_000_000, 0),
            (-15_000_000, -2),
            (-15_000_001, -2),
        ] {
            assert_eq!(Cents::of_nanos(nanos), Cents(cents), "{nanos}");
        }
        assert_eq!(Cents(1_050).share(1_900), Cents(200));
        assert_eq!(Cents(50).share(1_000), Cents(5));
        assert_eq!(Cents(50).share(1_900), Cents(10));
        assert_eq!(Cents::share_of_nanos(1_000_000_000, 50), Cents(0));
        assert_eq!(Cents::share_of_nanos(1_000_000_001, 50), Cents(1));
    }

    #[test]
    fn amounts_are_said_to_people_and_to_programs() {
        assert_eq!(Cents(123_456_789).to_string(), "$1,234,567.89");
        assert_eq!(Cents(-5).to_string(), "\u{2212}$0.05");
        assert_eq!(Cents(0).to_string(), "$0.00");
        assert_eq!(Cents(12_345).to_string(), "$123.45");
        assert_eq!(Cents(-5).exact(), "-0.05");
        assert_eq!("12.5".parse(), Ok(Cents(1_250)));
        assert!("0.001".parse::<Cents>().is_err());
        let json = serde_json::to_string(&Cents(-1_205)).unwrap();
        assert_eq!(json, "\"-12.05\"");
        assert_eq!(serde_json::from_str::<Cents>(&json).unwrap(), Cents(-1_205));
    }

    #[test]
    fn what_is_taken_off_is_less() {
        assert_eq!(Cents(5) - Cents(3), Cents(2));
        assert_eq!(Cents(i64::MIN) - Cents(1), Cents(i64::MIN));
    }

    #[test]
    fn a_total_that_is_of_other_amounts_is_parted_too() {
        assert_eq!(apportion(Cents(5), &[0]), [Cents(5)]);
        assert_eq!(apportion(Cents(-5), &[0, 30_000_000]), [Cents(-8), Cents(3)]);
        assert_eq!(apportion(Cents(5), &[]), []);
    }

    fn amounts() -> impl Strategy<Value = Vec<i128>> {
        vec(prop_oneof![0..50_000_000_i128, 0..10_000_000_000_000_i128], 1..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn parts_add_up_and_none_is_a_cent_off(exact in amounts(), by in any::<prop::sample::Index>()) {
            let total = Cents::of_nanos(exact.iter().sum());
            let parts = apportion(total, &exact);
            prop_assert_eq!(parts.iter().copied().sum::<Cents>(), total);
            for (part, exact) in parts.iter().zip(&exact) {
                prop_assert!((part.nanos() - exact).abs() < Cents::NANOS);
            }
            // A part is parted again, and still no piece is a cent off.
            let at = by.index(exact.len());
            let pieces = [exact[at] / 3, exact[at] / 5, exact[at] - exact[at] / 3 - exact[at] / 5];
            let parted = apportion(parts[at], &pieces);
            prop_assert_eq!(parted.iter().copied().sum::<Cents>(), parts[at]);
            for (part, exact) in parted.iter().zip(&pieces) {
                prop_assert!((part.nanos() - exact).abs() < Cents::NANOS);
            }
            prop_assert_eq!(apportion(total, &exact), parts);
        }

        #[test]
        fn who_is_named_first_does_not_matter_but_among_equals(
            exact in amounts(), by in any::<prop::sample::Index>(),
        ) {
            let total = Cents::of_nanos(exact.iter().sum());
            let mut turned = exact.clone();
            turned.rotate_left(by.index(exact.len()));
            let sorted = |exact: &[i128]| {
                let mut all: Vec<_> = exact.iter().copied().zip(apportion(total, exact)).collect();
                all.sort_unstable();
                all
            };
            prop_assert_eq!(sorted(&exact), sorted(&turned));
        }
    }
}
