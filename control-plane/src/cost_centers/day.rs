use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::{Date, OffsetDateTime, macros::format_description};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

use crate::{access::Grant, web};

/// A day of the organization's calendar, without a time. Spelled `2026-11-21`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct Day(Date);

impl Day {
    /// The day it is where the organization is.
    pub fn today<P>(grant: &Grant<P>) -> Self {
        Self(web::today(OffsetDateTime::now_utc(), &grant.membership.time_zone))
    }

    /// The instant at which it begins there, in milliseconds since 1970.
    pub fn begins(self, zone: &str) -> i64 {
        web::midnight(self.0, zone)
    }

    pub const fn date(self) -> Date {
        self.0
    }

    pub fn next(self) -> Self {
        Self(self.0.next_day().unwrap_or(self.0))
    }

    /// As people read it: `21 Nov 2026`.
    pub fn text(self) -> String {
        web::day(self.0)
    }
}

impl From<Date> for Day {
    fn from(date: Date) -> Self {
        Self(date)
    }
}

impl FromStr for Day {
    type Err = BadDay;

    fn from_str(text: &str) -> Result<Self, BadDay> {
        let format = format_description!("[year]-[month]-[day]");
        let date = Date::parse(text.trim(), format).map_err(|_| BadDay)?;
        if (2000..=2100).contains(&date.year()) { Ok(Self(date)) } else { Err(BadDay) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a day between 2000 and 2100 as year-month-day, like 2026-11-21")]
pub struct BadDay;

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.0.to_calendar_date();
        write!(f, "{year:04}-{:02}-{day:02}", u8::from(month))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl PartialSchema for Day {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)))
            .into()
    }
}

impl ToSchema for Day {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_one_spelling() {
        let day: Day = "2026-02-28".parse().unwrap();
        assert_eq!(day.to_string(), "2026-02-28");
        assert_eq!(day.text(), "28 Feb 2026");
        for wrong in ["2026-02-29", "28.2.2026", "1999-12-31", "2101-01-01", "2026-2-3", ""] {
            assert_eq!(wrong.parse::<Day>(), Err(BadDay), "{wrong}");
        }
    }
}
