//! The windows that budgets renew in, in an organization's own zone.
//!
//! The database of zones is the one that is built in, so that every process of a release
//! agrees on where a day begins, whatever its machine has installed.

use std::{fmt, str::FromStr, sync::LazyLock};

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Weekday},
    tz::{TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A zone of the IANA database, under the name that this spells.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

impl Zone {
    pub const UTC: Self = Self(TimeZone::UTC);

    /// Offered while typing; every name is taken.
    pub const COMMON: &[&str] = &[
        "UTC",
        "America/Los_Angeles",
        "America/Denver",
        "America/Chicago",
        "America/New_York",
        "America/Toronto",
        "America/Mexico_City",
        "America/Sao_Paulo",
        "Europe/London",
        "Europe/Lisbon",
        "Europe/Madrid",
        "Europe/Paris",
        "Europe/Berlin",
        "Europe/Rome",
        "Europe/Stockholm",
        "Europe/Warsaw",
        "Europe/Kyiv",
        "Europe/Istanbul",
        "Africa/Cairo",
        "Africa/Lagos",
        "Africa/Nairobi",
        "Africa/Johannesburg",
        "Asia/Dubai",
        "Asia/Karachi",
        "Asia/Kolkata",
        "Asia/Jakarta",
        "Asia/Singapore",
        "Asia/Hong_Kong",
        "Asia/Shanghai",
        "Asia/Seoul",
        "Asia/Tokyo",
        "Australia/Sydney",
        "Pacific/Auckland",
    ];

    pub fn as_str(&self) -> &str {
        self.0.iana_name().expect("a zone is made of a name")
    }

    /// The last day that has begun there at an instant. Where clocks go back over midnight,
    /// the hour that comes again is of the new day.
    fn day_at(&self, at: Timestamp) -> Date {
        // Where clocks go forward over midnight, the date is new before the day begins.
        let mut day = before(self.0.to_datetime(at).date(), 1);
        while self.begins(after(day, 1)) <= at {
            day = after(day, 1);
        }
        day
    }

    /// When a day begins: at its first midnight; where clocks go forward over that, as long
    /// after it as they go; and one that is skipped when the next does.
    fn begins(&self, day: Date) -> Timestamp {
        let midnight = self.0.to_timestamp(day.at(0, 0, 0, 0));
        midnight.expect("days that are asked for are far from the end of time")
    }
}

fn before(day: Date, days: i32) -> Date {
    day.saturating_sub(days.days())
}

fn after(day: Date, days: i32) -> Date {
    day.saturating_add(days.days())
}

impl FromStr for Zone {
    type Err = BadZone;

    fn from_str(text: &str) -> Result<Self, BadZone> {
        let zone = DATABASE.get(text.trim()).map_err(|_| BadZone)?;
        let is_known = zone.iana_name().is_some_and(|it| it != "Etc/Unknown");
        is_known.then_some(Self(zone)).ok_or(BadZone)
    }
}

impl TryFrom<String> for Zone {
    type Error = BadZone;

    fn try_from(text: String) -> Result<Self, BadZone> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.as_str().to_owned()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({self})")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("enter the name of a time zone, like Europe/Berlin")]
pub struct BadZone;

/// From an instant to before another, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Span {
    pub start_ms: i64,
    /// Not in the span itself.
    pub end_ms: i64,
}

impl Span {
    /// All of it: from 1970, before which there is no call, to an end that never comes.
    pub const ALWAYS: Self = Self { start_ms: 0, end_ms: i64::MAX };

    pub const fn contains(&self, at_ms: i64) -> bool {
        self.start_ms <= at_ms && at_ms < self.end_ms
    }
}

/// How often a budget renews.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Day,
    /// From Monday on.
    Week,
    Month,
    /// Never.
    Total,
}

impl Period {
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Total];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    /// The span that an instant is in. Spans of a period follow each other without a gap
    /// and without an overlap. An instant before the year 1 or after the year 9000 counts
    /// as the first or last one between.
    pub fn span_at(self, zone: &Zone, at_ms: i64) -> Span {
        let at_ms = at_ms.clamp(EARLIEST_MS, LATEST_MS);
        let at = Timestamp::from_millisecond(at_ms).expect("it is between years that exist");
        let (first, next) = match self {
            Self::Total => return Span::ALWAYS,
            Self::Day => {
                let day = zone.day_at(at);
                (day, after(day, 1))
            }
            Self::Week => {
                let day = zone.day_at(at);
                let monday = before(day, day.weekday().since(Weekday::Monday).into());
                (monday, after(monday, 7))
            }
            Self::Month => {
                let day = zone.day_at(at);
                (day.first_of_month(), after(day.last_of_month(), 1))
            }
        };
        let ms = |day| zone.begins(day).as_millisecond();
        Span { start_ms: ms(first), end_ms: ms(next) }
    }
}

/// In the years 1 and 9000.
const EARLIEST_MS: i64 = -62_120_000_000_000;
const LATEST_MS: i64 = 221_850_000_000_000;

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn zone(name: &str) -> Zone {
        name.parse().unwrap()
    }

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[track_caller]
    fn check(period: Period, name: &str, at: &str, start: &str, end: &str) {
        let span = period.span_at(&zone(name), ms(at));
        let read = |ms| Timestamp::from_millisecond(ms).unwrap().to_string();
        assert_eq!((read(span.start_ms), read(span.end_ms)), (start.into(), end.into()));
        assert!(span.contains(ms(at)));
    }

    #[test]
    fn days_weeks_and_months_begin_where_the_organization_is() {
        let at = "2026-11-28T04:00:00Z";
        let berlin = "Europe/Berlin";
        check(Period::Day, berlin, at, "2026-11-27T23:00:00Z", "2026-11-28T23:00:00Z");
        check(Period::Week, berlin, at, "2026-11-22T23:00:00Z", "2026-11-29T23:00:00Z");
        check(Period::Month, berlin, at, "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z");
        check(Period::Day, "UTC", at, "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z");
        let angeles = "America/Los_Angeles";
        check(Period::Day, angeles, at, "2026-11-27T08:00:00Z", "2026-11-28T08:00:00Z");
        let month = "2026-11-01T07:00:00Z";
        check(Period::Month, angeles, month, month, "2026-12-01T08:00:00Z");
        check(
            Period::Week,
            "UTC",
            "2026-11-23T00:00:00Z",
            "2026-11-23T00:00:00Z",
            "2026-11-30T00:00:00Z",
        );
        check(
            Period::Month,
            "UTC",
            "2024-02-29T12:00:00Z",
            "2024-02-01T00:00:00Z",
            "2024-03-01T00:00:00Z",
        );
        assert_eq!(Period::Total.span_at(&zone(berlin), ms(at)), Span::ALWAYS);
    }

    #[test]
    fn a_day_without_a_midnight_begins_when_clocks_go_forward() {
        let santiago = "America/Santiago";
        let (gap, next) = ("2025-09-07T04:00:00Z", "2025-09-08T03:00:00Z");
        check(Period::Day, santiago, "2025-09-07T04:00:00Z", gap, next);
        check(Period::Day, santiago, "2025-09-07T03:59:59.999Z", "2025-09-06T04:00:00Z", gap);
    }

    #[test]
    fn a_day_with_two_midnights_begins_at_the_first() {
        let at = "2025-11-02T04:30:00Z";
        check(Period::Day, "America/Havana", at, "2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z");
        // Here a minute of the second came before the last hour of the first.
        let johns = "America/St_Johns";
        let (start, end) = ("2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z");
        check(Period::Day, johns, "2010-11-07T02:30:30Z", start, end);
        check(Period::Day, johns, "2010-11-07T02:45:00Z", start, end);
    }

    #[test]
    fn a_day_that_was_skipped_is_in_no_span() {
        let apia = "Pacific/Apia";
        let (start, skipped) = ("2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z");
        check(Period::Day, apia, "2011-12-30T09:59:59Z", start, skipped);
        check(Period::Day, apia, skipped, skipped, "2011-12-31T10:00:00Z");
    }

    #[test]
    fn clocks_that_went_forward_over_midnight_leave_no_gap() {
        // From 23:30 to 00:30; midnight counts as an hour after the first.
        let toronto = "America/Toronto";
        let (day, next) = ("1919-03-30T05:00:00Z", "1919-03-31T05:00:00Z");
        check(Period::Day, toronto, "1919-03-31T04:45:00Z", day, next);
        check(Period::Day, toronto, "1919-03-31T05:00:00Z", next, "1919-04-01T04:00:00Z");
    }

    /// Walks over the twenty years from 2010 on, from span to span, and checks that each
    /// begins where the one before ended and that its last millisecond is in it too.
    fn walk(period: Period, zone: &Zone) -> u32 {
        let (start, end) = (ms("2010-01-01T00:00:00Z"), ms("2030-01-01T00:00:00Z"));
        let mut span = period.span_at(zone, start);
        assert!(span.contains(start), "{zone}");
        let mut count = 1;
        while span.end_ms < end {
            assert_eq!(period.span_at(zone, span.end_ms - 1), span, "{zone}");
            let next = period.span_at(zone, span.end_ms);
            assert_eq!(next.start_ms, span.end_ms, "{zone}");
            assert!(next.end_ms > next.start_ms, "{zone}");
            span = next;
            count += 1;
        }
        count
    }

    #[test]
    fn spans_part_twenty_years_of_every_zone_there_is() {
        let mut zones = 0;
        for name in DATABASE.available().filter_map(|it| it.as_str().parse::<Zone>().ok()) {
            let months = walk(Period::Month, &name);
            assert!((240..=242).contains(&months), "{name}: {months}");
            let weeks = walk(Period::Week, &name);
            assert!((1_043..=1_046).contains(&weeks), "{name}: {weeks}");
            zones += 1;
        }
        assert!(zones >= 590, "{zones} zones");
    }

    #[test]
    fn days_part_twenty_years_of_every_kind_of_zone() {
        let odd =
            ["Pacific/Apia", "America/St_Johns", "America/Havana", "Asia/Beirut", "Africa/Cairo"];
        for name in Zone::COMMON.iter().chain(&odd) {
            let days = walk(Period::Day, &zone(name));
            assert!((7_304..=7_306).contains(&days), "{name}: {days}");
        }
    }

    fn any_zone() -> impl Strategy<Value = Zone> {
        let names: Vec<_> = DATABASE.available().map(|it| it.to_string()).collect();
        prop::sample::select(names).prop_filter_map("a zone", |it| it.parse().ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_instant_is_in_a_span_of_every_period(zone in any_zone(), at in EARLIEST_MS..LATEST_MS) {
            for period in Period::ALL {
                let span = period.span_at(&zone, at);
                prop_assert!(span.contains(at) || period == Period::Total);
                // What is beyond the first and the last instant counts as they do.
                if span.start_ms >= EARLIEST_MS {
                    prop_assert_eq!(period.span_at(&zone, span.start_ms), span);
                }
                if span.end_ms <= LATEST_MS {
                    prop_assert_eq!(period.span_at(&zone, span.end_ms).start_ms, span.end_ms);
                }
            }
        }

        #[test]
        fn days_are_about_as_long_as_days(zone in any_zone(), at in 0..4_000_000_000_000_i64) {
            let Span { start_ms, end_ms } = Period::Day.span_at(&zone, at);
            prop_assert!((20 * HOUR..=48 * HOUR).contains(&(end_ms - start_ms)));
        }
    }

    #[test]
    fn the_last_spans_end_behind_the_last_instant() {
        for period in [Period::Day, Period::Week, Period::Month] {
            let last = period.span_at(&Zone::UTC, LATEST_MS);
            assert!(last.contains(LATEST_MS));
            assert_eq!(period.span_at(&Zone::UTC, last.end_ms), last);
        }
    }

    #[test]
    fn time_before_and_after_all_is_no_panic() {
        for at in [i64::MIN, i64::MAX] {
            for period in Period::ALL {
                let span = period.span_at(&Zone::UTC, at);
                assert!(span.start_ms < span.end_ms);
            }
        }
        let first = Period::Day.span_at(&Zone::UTC, i64::MIN);
        assert_eq!(first, Period::Day.span_at(&Zone::UTC, EARLIEST_MS));
        let last = Period::Day.span_at(&Zone::UTC, i64::MAX);
        assert_eq!(last, Period::Day.span_at(&Zone::UTC, LATEST_MS));
        assert_eq!(Zone::UTC.day_at(Timestamp::UNIX_EPOCH), date(1970, 1, 1));
    }

    #[test]
    fn an_end_is_not_in_its_span() {
        let span = Span { start_ms: 10, end_ms: 20 };
        assert_eq!([9, 10, 19, 20].map(|it| span.contains(it)), [false, true, true, false]);
    }

    #[test]
    fn names_are_those_of_the_json() {
        for period in Period::ALL {
            let json = serde_json::to_string(&period).unwrap();
            assert_eq!(json, format!("\"{}\"", period.name()));
        }
        let berlin = zone(" europe/berlin ");
        assert_eq!(serde_json::to_string(&berlin).unwrap(), "\"Europe/Berlin\"");
        assert_eq!(serde_json::from_str::<Zone>("\"Europe/Berlin\"").unwrap(), berlin);
        assert!(serde_json::from_str::<Zone>("\"Mars/Base\"").is_err());
        assert_eq!(format!("{berlin} {berlin:?}"), "Europe/Berlin Zone(Europe/Berlin)");
    }

    #[test]
    fn every_zone_offered_is_one() {
        for name in Zone::COMMON {
            assert_eq!(zone(name).as_str(), *name);
        }
    }

    #[test]
    fn a_name_is_spelt_as_the_database_spells_it() {
        assert_eq!(zone(" europe/berlin ").as_str(), "Europe/Berlin");
        assert_eq!(zone("utc"), Zone::UTC);
        for bad in ["", "Mars/Olympus", "Etc/Unknown", "+02:00", "CET-1", "../etc/passwd"] {
            assert!(bad.parse::<Zone>().is_err(), "{bad}");
        }
    }
}
