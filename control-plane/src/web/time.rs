//! Instants as people read them: in their zone, which is always said.

use std::time::SystemTime;

use jiff::{Timestamp, tz::TimeZone};
use time::{Date, OffsetDateTime};

/// An instant and the zone to show it in.
#[derive(Clone, Debug)]
pub struct Moment {
    instant: Timestamp,
    zone: TimeZone,
}

impl Moment {
    pub fn new(at: OffsetDateTime, zone: &str) -> Self {
        let instant = Timestamp::try_from(SystemTime::from(at)).unwrap_or(Timestamp::UNIX_EPOCH);
        Self { instant, zone: TimeZone::get(zone).unwrap_or(TimeZone::UTC) }
    }

    /// For machines, in UTC.
    pub fn iso(&self) -> String {
        self.instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// `21 Nov 2026, 14:32:07 UTC`
    pub fn to_the_second(&self) -> String {
        let zoned = self.instant.to_zoned(self.zone.clone());
        zoned.strftime("%-d %b %Y, %H:%M:%S %Z").to_string()
    }

    /// `21 Nov 2026, 14:32 UTC`
    pub fn text(&self) -> String {
        let zoned = self.instant.to_zoned(self.zone.clone());
        zoned.strftime("%-d %b %Y, %H:%M %Z").to_string()
    }
}

/// What somebody meant by `2026-11-21T10:00`, where it is that time in their zone, or by a
/// time that says its own.
pub fn instant(text: &str, zone: &str) -> Option<OffsetDateTime> {
    let instant = text.parse::<Timestamp>().ok().or_else(|| {
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        Some(text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(zone).ok()?.timestamp())
    })?;
    OffsetDateTime::from_unix_timestamp_nanos(instant.as_nanosecond()).ok()
}

/// `21 Nov 2026`
pub fn day(date: Date) -> String {
    let month: String = date.month().to_string().chars().take(3).collect();
    format!("{} {month} {}", date.day(), date.year())
}

/// Today where the organization is.
pub fn today(now: OffsetDateTime, zone: &str) -> Date {
    let shown = Moment::new(now, zone);
    let local = shown.instant.to_zoned(shown.zone).date();
    let month = u8::try_from(local.month()).ok().and_then(|it| time::Month::try_from(it).ok());
    let day = u8::try_from(local.day()).ok();
    month
        .zip(day)
        .and_then(|(month, day)| Date::from_calendar_date(local.year().into(), month, day).ok())
        .unwrap_or_else(|| now.date())
}

/// The instant at which a day begins there, in milliseconds since 1970: after midnight where
/// clocks skip it.
pub fn midnight(day: Date, zone: &str) -> i64 {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let utc = day.midnight().assume_utc().unix_timestamp() * 1_000;
    let wall = Timestamp::from_millisecond(utc).map(|it| it.to_zoned(TimeZone::UTC).datetime());
    let there = wall.and_then(|it| it.to_zoned(zone));
    there.map_or(utc, |it| it.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;

    #[test]
    fn an_instant_reads_in_its_zone() {
        let at = datetime!(2026-11-21 23:30 UTC);
        assert_eq!(Moment::new(at, "UTC").text(), "21 Nov 2026, 23:30 UTC");
        assert_eq!(Moment::new(at, "Europe/Berlin").text(), "22 Nov 2026, 00:30 CET");
        assert_eq!(Moment::new(at, "Europe/Berlin").iso(), "2026-11-21T23:30:00Z");
        assert_eq!(Moment::new(at, "no such zone").text(), "21 Nov 2026, 23:30 UTC");
    }

    #[test]
    fn a_time_without_a_zone_is_the_readers() {
        let check = |text, zone, expected| assert_eq!(instant(text, zone), expected, "{text}");
        check("2026-11-21T10:00", "UTC", Some(datetime!(2026-11-21 10:00 UTC)));
        check("2026-11-21T10:00", "Europe/Berlin", Some(datetime!(2026-11-21 9:00 UTC)));
        check("2026-11-21T10:00:30", "UTC", Some(datetime!(2026-11-21 10:00:30 UTC)));
        check("2026-11-21T10:00:00+02:00", "UTC", Some(datetime!(2026-11-21 8:00 UTC)));
        check("2026-11-21T10:00:00Z", "Europe/Berlin", Some(datetime!(2026-11-21 10:00 UTC)));
        check("noon", "UTC", None);
        check("", "UTC", None);
    }

    #[test]
    fn a_day_begins_where_it_is() {
        let check = |day, zone, at: OffsetDateTime| {
            assert_eq!(midnight(day, zone), at.unix_timestamp() * 1_000, "{zone}");
        };
        check(date!(2026 - 11 - 21), "UTC", datetime!(2026-11-21 0:00 UTC));
        check(date!(2026 - 11 - 21), "Europe/Berlin", datetime!(2026-11-20 23:00 UTC));
        check(date!(2026 - 04 - 24), "Africa/Cairo", datetime!(2026-04-23 22:00 UTC));
    }

    #[test]
    fn today_depends_on_where() {
        let at = datetime!(2026-11-21 23:30 UTC);
        assert_eq!(today(at, "UTC"), date!(2026 - 11 - 21));
        assert_eq!(today(at, "Europe/Berlin"), date!(2026 - 11 - 22));
        assert_eq!(day(date!(2026 - 11 - 02)), "2 Nov 2026");
    }
}
