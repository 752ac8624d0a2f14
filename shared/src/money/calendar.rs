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

    /// The day it is there at an instant, in the order in which days begin. Where clocks go
    /// back over midnight, the hour that comes again is of the new day.
    fn day_at(&self, at: Timestamp) -> Date {
        let mut day = self.0.to_datetime(at).date();
        while self.begins(day) > at {
            day = before(day, 1);
        }
        while self.begins(after(day, 1)) <= at {
            day = after(day, 1);
        }
        day
    }

    /// The first instant of a day; of one that was skipped, of the day after.
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
