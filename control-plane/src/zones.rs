//! The zones that days begin in and times are shown in: an organization's, and a person's.

use std::{fmt, str::FromStr};

use jiff::tz::TimeZone;

/// A name of the IANA database, as that spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneName(String);

impl ZoneName {
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
        &self.0
    }
}

impl FromStr for ZoneName {
    type Err = BadZone;

    fn from_str(text: &str) -> Result<Self, BadZone> {
        let zone = TimeZone::get(text.trim()).map_err(|_| BadZone)?;
        let name = zone.iana_name().filter(|it| *it != "Etc/Unknown");
        name.map(|it| Self(it.to_owned())).ok_or(BadZone)
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("enter the name of a time zone, like Europe/Berlin")]
pub struct BadZone;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_offered_is_one() {
        for name in ZoneName::COMMON {
            assert_eq!(name.parse::<ZoneName>().unwrap().as_str(), *name);
        }
    }

    #[test]
    fn a_zone_is_spelt_as_the_database_spells_it() {
        assert_eq!(" europe/berlin ".parse::<ZoneName>().unwrap().as_str(), "Europe/Berlin");
        for bad in ["", "Berlin", "Etc/Unknown", "../etc/passwd", "+02:00"] {
            assert!(bad.parse::<ZoneName>().is_err(), "{bad}");
        }
    }
}
