//! Decimals that people write, read exactly.

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAmount {
    #[error("write an amount like 12.50")]
    Shape,
    #[error("write at most {0} decimals")]
    TooFine(u32),
    #[error("that is more than can be counted")]
    TooLarge,
}

/// How many units of ten to the minus `places` an amount of zero or more is. Nothing is
/// rounded: what has more decimals than that is refused.
pub(super) fn read(text: &str, places: u32) -> Result<i64, NotAnAmount> {
    let text = text.trim();
    let text = text.strip_prefix('$').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    for digits in [whole, fraction] {
        if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
            return Err(NotAnAmount::Shape);
        }
    }
    let fraction = fraction.trim_end_matches('0');
    let width = usize::try_from(places).unwrap_or(usize::MAX);
    if fraction.len() > width {
        return Err(NotAnAmount::TooFine(places));
    }
    format!("{whole}{fraction:0<width$}").parse().map_err(|_| NotAnAmount::TooLarge)
}

/// The shortest way to write that many units, with two decimals at least.
pub(super) fn written(units: i64, places: u32) -> String {
    let width = usize::try_from(places).unwrap_or(usize::MAX);
    let digits = format!("{units:0>least$}", least = width.saturating_add(1));
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(width));
    format!("{whole}.{:0<2}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, places: u32, expected: Result<i64, NotAnAmount>) {
        assert_eq!(read(text, places), expected, "{text}");
    }

    #[test]
    fn what_people_write_is_read_exactly_or_not_at_all() {
        check("2.50", 6, Ok(2_500_000));
        check(" $2.5 ", 6, Ok(2_500_000));
        check("0.000001", 6, Ok(1));
        check("0.0000010", 6, Ok(1));
        check("7", 2, Ok(700));
        check("0", 9, Ok(0));
        check("0.0000001", 6, Err(NotAnAmount::TooFine(6)));
        for bad in ["", "$", ".", ".5", "5.", "-1", "+1", "1,5", "1e3", "1.2.3", "1 000", "\u{663}"]
        {
            check(bad, 6, Err(NotAnAmount::Shape));
        }
        check("9223372036854.775807", 6, Ok(i64::MAX));
        check("9223372036854.775808", 6, Err(NotAnAmount::TooLarge));
        check(&"9".repeat(40), 6, Err(NotAnAmount::TooLarge));
    }

    #[test]
    fn two_decimals_at_least_are_written() {
        assert_eq!(written(2_500_000, 6), "2.50");
        assert_eq!(written(0, 6), "0.00");
        assert_eq!(written(1, 6), "0.000001");
        assert_eq!(written(35_000_000_000, 12), "0.035");
        assert_eq!(written(1_234_000_000, 6), "1234.00");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(units in 0..=i64::MAX, places in 2..=12_u32) {
            prop_assert_eq!(read(&written(units, places), places), Ok(units));
        }
    }
}
