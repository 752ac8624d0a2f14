//! Until when a key works, and how people say that.

use time::{Date, Duration, OffsetDateTime, macros::format_description};

use super::BadTerm;

/// How long a key lives where nothing else is asked for.
pub(super) const USUAL_LIFE: Duration = Duration::days(90);
/// Nobody plans further ahead.
const LONGEST_LIFE: Duration = Duration::days(3660);

/// Until when: one of the offered numbers of days, `never`, `date` with the last day on
/// which the key works, or `keep` for what is there already.
pub(super) fn chosen(
    choice: &str,
    last_day: &str,
    kept: Option<Option<OffsetDateTime>>,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, BadTerm> {
    match (choice, kept) {
        ("7" | "30" | "90" | "365", _) => {
            let days = choice.parse().map_err(|_| BadTerm::Expiry)?;
            Ok(Some(now + Duration::days(days)))
        }
        ("never", _) => Ok(None),
        ("date", _) => {
            let format = format_description!("[year]-[month]-[day]");
            let day = Date::parse(last_day.trim(), format).map_err(|_| BadTerm::Date)?;
            let next = day.next_day().ok_or(BadTerm::TooFar)?;
            checked(next.midnight().assume_utc(), now).map(Some)
        }
        ("keep" | "", Some(kept)) => Ok(kept),
        ("", None) => Ok(Some(now + USUAL_LIFE)),
        _ => Err(BadTerm::Expiry),
    }
}

pub(super) fn checked(at: OffsetDateTime, now: OffsetDateTime) -> Result<OffsetDateTime, BadTerm> {
    if at <= now {
        Err(BadTerm::Past)
    } else if at > now + LONGEST_LIFE {
        Err(BadTerm::TooFar)
    } else {
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

    #[track_caller]
    fn check(choice: &str, day: &str, expected: Result<Option<OffsetDateTime>, BadTerm>) {
        assert_eq!(chosen(choice, day, None, NOW), expected);
    }

    #[test]
    fn a_key_expires_in_ninety_days_unless_something_else_is_chosen() {
        check("", "", Ok(Some(datetime!(2027-02-19 12:00 UTC))));
        check("7", "", Ok(Some(datetime!(2026-11-28 12:00 UTC))));
        check("never", "", Ok(None));
        check("keep", "", Err(BadTerm::Expiry));
        check("8", "", Err(BadTerm::Expiry));
    }

    #[test]
    fn a_key_works_until_the_end_of_its_last_day() {
        check("date", "2026-11-21", Ok(Some(datetime!(2026-11-22 0:00 UTC))));
        check("date", "2026-11-20", Err(BadTerm::Past));
        check("date", "2036-12-01", Err(BadTerm::TooFar));
        check("date", "9999-12-31", Err(BadTerm::TooFar));
        check("date", "31.1.2027", Err(BadTerm::Date));
    }

    #[test]
    fn what_is_kept_may_be_past() {
        let past = Some(datetime!(2026-01-01 0:00 UTC));
        assert_eq!(chosen("keep", "", Some(past), NOW), Ok(past));
        assert_eq!(chosen("", "", Some(None), NOW), Ok(None));
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(choice in "date|keep|[0-9]{1,3}|.{0,9}", text: String) {
            let _ = chosen(&choice, &text, None, NOW);
        }
    }
}
