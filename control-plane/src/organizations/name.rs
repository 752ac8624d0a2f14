//! What an organization is called, and the word for it in addresses.

use std::{fmt, str::FromStr};

use shared::random;

use super::OrganizationError;
use crate::names;

/// A name that stands in mail which we send to strangers, so it holds no link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationName(String);

impl OrganizationName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Words for addresses, the best first: `northwind`, `northwind-2`, …, and at last
    /// ones that nobody has.
    pub(super) fn slugs(&self) -> impl Iterator<Item = String> {
        let stem = stem(&self.0);
        let (numbered, drawn) = (stem.clone(), stem.clone());
        // `/orgs/new` is a page.
        let itself = (stem != "new").then_some(stem);
        itself
            .into_iter()
            .chain((2..=9).map(move |n| format!("{numbered}-{n}")))
            .chain((0..3).map(move |_| format!("{drawn}-{}", random::base62(8).to_lowercase())))
    }
}

/// Letters and digits, the rest as single hyphens, and no more than a line of it.
fn stem(name: &str) -> String {
    let words: Vec<String> = name
        .to_lowercase()
        .split(|it: char| !it.is_ascii_alphanumeric())
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect();
    let stem: String = words.join("-").chars().take(36).collect();
    let stem = stem.trim_end_matches('-');
    if stem.len() < 2 { "organization".to_owned() } else { stem.to_owned() }
}

impl FromStr for OrganizationName {
    type Err = OrganizationError;

    fn from_str(text: &str) -> Result<Self, OrganizationError> {
        let name = names::checked(text).filter(|it| !it.contains("://"));
        name.map(Self).ok_or(OrganizationError::BadName)
    }
}

impl fmt::Display for OrganizationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, slug: &str) {
        let name: OrganizationName = name.parse().unwrap();
        assert_eq!(name.slugs().next().unwrap(), slug);
        for slug in name.slugs() {
            let is_word = |it: &str| {
                !it.is_empty()
                    && it.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
            };
            assert!(slug.len() <= 48 && slug.split('-').all(is_word), "{slug}");
        }
    }

    #[test]
    fn a_name_becomes_a_word_for_addresses() {
        check("Northwind Traders", "northwind-traders");
        check("  A/B -- Tests, Inc. ", "a-b-tests-inc");
        check("株式会社", "organization");
        check("X", "organization");
        check("New", "new-2");
        check(&"long ".repeat(12), "long-long-long-long-long-long-long-l");
    }

    #[test]
    fn names_for_mail_hold_no_tricks() {
        for bad in ["", "abc\u{202e}fdp", "see https://evil.test"] {
            assert!(bad.parse::<OrganizationName>().is_err(), "{bad}");
        }
    }
}
