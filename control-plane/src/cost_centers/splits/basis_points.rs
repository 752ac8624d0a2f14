use std::{fmt, iter::Sum, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// A share of a whole, in hundredths of a percent: 10,000 are all of it.
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
    sqlx::Type,
    utoipa::ToSchema,
)]
#[sqlx(transparent)]
#[schema(minimum = 0, maximum = 10_000)]
pub struct BasisPoints(i32);

impl BasisPoints {
    pub const NOTHING: Self = Self(0);
    pub const WHOLE: Self = Self(10_000);

    pub const fn get(self) -> i32 {
        self.0
    }

    /// What the shares leave of the whole, which is nothing where they exceed it.
    pub fn left_by(shares: impl Iterator<Item = Self>) -> Self {
        Self((Self::WHOLE.0 - shares.map(Self::get).sum::<i32>()).max(0))
    }

    /// Whole percents, for a meter.
    pub const fn whole_percents(self) -> i32 {
        self.0 / 100
    }
}

impl TryFrom<i32> for BasisPoints {
    type Error = BadShare;

    fn try_from(points: i32) -> Result<Self, BadShare> {
        if (0..=Self::WHOLE.0).contains(&points) { Ok(Self(points)) } else { Err(BadShare) }
    }
}

/// Reads a percentage as people type it, `33.33`, with at most two decimals.
impl FromStr for BasisPoints {
    type Err = BadShare;

    fn from_str(text: &str) -> Result<Self, BadShare> {
        let text = text.trim();
        let text = text.strip_suffix('%').unwrap_or(text).trim_end();
        let (whole, part) = text.split_once(['.', ',']).unwrap_or((text, "0"));
        let is_number = |it: &str, most: usize| {
            (1..=most).contains(&it.len()) && it.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !is_number(whole, 3) || !is_number(part, 2) {
            return Err(BadShare);
        }
        let hundredths: i32 = format!("{whole}{part:0<2}").parse().map_err(|_| BadShare)?;
        hundredths.try_into()
    }
}

/// The percentage, without its sign: `33.33`.
impl fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Sum for BasisPoints {
    fn sum<I: Iterator<Item = Self>>(shares: I) -> Self {
        Self(shares.map(Self::get).sum())
    }
}

impl<'de> Deserialize<'de> for BasisPoints {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        i32::deserialize(from)?.try_into().map_err(|_| {
            D::Error::custom("a share is a whole number of basis points, from 0 to 10000")
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a percentage between 0 and 100 with at most two decimals, like 33.33")]
pub struct BadShare;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, points: i32) {
        assert_eq!(text.parse(), Ok(BasisPoints(points)), "{text}");
    }

    #[test]
    fn a_percentage_is_read_as_it_is_typed() {
        check("100", 10_000);
        check("33.33", 3_333);
        check("33,3", 3_330);
        check(" 0.01 % ", 1);
        check("07.5%", 750);
    }

    #[test]
    fn what_is_no_exact_share_is_refused() {
        for text in [
            "", "%", ".5", "5.", "33.333", "100.01", "-1", "+1", "1e1", "1 0", "1000", "٣", "1.2.3",
        ] {
            assert_eq!(text.parse::<BasisPoints>(), Err(BadShare), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_share_survives_printing(points in 0..=10_000) {
            let share = BasisPoints(points);
            prop_assert_eq!(share.to_string().parse(), Ok(share));
        }

        #[test]
        fn shares_and_what_they_leave_make_the_whole(points in prop::collection::vec(0..=2_000, 0..5)) {
            let shares = points.into_iter().map(BasisPoints);
            let left = BasisPoints::left_by(shares.clone());
            prop_assert_eq!(shares.sum::<BasisPoints>().get() + left.get(), 10_000);
        }
    }
}
