use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::{Date, Month as Name, OffsetDateTime};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

/// A month of UTC, which is what invoices are of. Spelled `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
#[sqlx(transparent)]
pub struct Month(Date);

impl Month {
    /// The one that a moment is in.
    pub fn at(moment: OffsetDateTime) -> Self {
        Self::of(moment.to_offset(time::UtcOffset::UTC).date())
    }

    /// The one that a day is in.
    pub fn of(day: Date) -> Self {
        Self(day.replace_day(1).unwrap_or(day))
    }

    pub fn first(self) -> Date {
        self.0
    }

    /// The first day after it.
    pub fn end(self) -> Date {
        self.next().0
    }

    pub fn last(self) -> Date {
        self.end().previous_day().unwrap_or(self.0)
    }

    pub fn next(self) -> Self {
        let year = if self.0.month() == Name::December { self.0.year() + 1 } else { self.0.year() };
        Date::from_calendar_date(year, self.0.month().next(), 1).map_or(self, Self)
    }

    pub fn previous(self) -> Self {
        Self::of(self.0.previous_day().unwrap_or(self.0))
    }

    pub fn starts_at(self) -> OffsetDateTime {
        self.0.midnight().assume_utc()
    }

    pub fn ends_at(self) -> OffsetDateTime {
        self.end().midnight().assume_utc()
    }

    pub fn year(self) -> i32 {
        self.0.year()
    }

    /// `November 2026`
    pub fn title(&self) -> String {
        format!("{} {}", self.0.month(), self.0.year())
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), u8::from(self.0.month()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a month between 2000 and 2100 as year-month, like 2026-11")]
pub struct BadMonth;

impl FromStr for Month {
    type Err = BadMonth;

    fn from_str(text: &str) -> Result<Self, BadMonth> {
        let (year, month) = text.split_once('-').ok_or(BadMonth)?;
        if year.len() != 4 || month.len() != 2 {
            return Err(BadMonth);
        }
        let year = year.parse().ok().filter(|it| (2000..=2100).contains(it)).ok_or(BadMonth)?;
        let month: u8 = month.parse().map_err(|_| BadMonth)?;
        let month = Name::try_from(month).map_err(|_| BadMonth)?;
        Date::from_calendar_date(year, month, 1).map(Self).map_err(|_| BadMonth)
    }
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Month {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl PartialSchema for Month {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^\d{4}-\d{2}$"))
            .description(Some("A month of UTC."))
            .into()
    }
}

impl ToSchema for Month {
    fn name() -> std::borrow::Cow<'static, str> {
        "Month".into()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;

    #[test]
    fn months_follow_each_other() {
        let december: Month = "2026-12".parse().unwrap();
        assert_eq!(december.to_string(), "2026-12");
        assert_eq!(december.title(), "December 2026");
        assert_eq!(december.next().to_string(), "2027-01");
        assert_eq!(december.next().previous(), december);
        assert_eq!(
            (december.first(), december.last()),
            (date!(2026 - 12 - 01), date!(2026 - 12 - 31))
        );
        assert_eq!(Month::at(datetime!(2027-01-01 00:30 +01:00)), december);
        for bad in ["", "2026", "2026-13", "2026-1", "1999-12", "2026-00", "26-01", "2026-11-01"] {
            assert_eq!(bad.parse::<Month>(), Err(BadMonth), "{bad}");
        }
    }
}
