//! What a key may do, and how people write that down.

use std::{collections::BTreeMap, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::Serialize;
use shared::{keys::Brand, snapshot::Scope};
use time::OffsetDateTime;

use crate::names::{RULE, name};

name!(
    /// What people call a key of theirs.
    KeyName, BadTerm::Name
);

/// Whether calls are for real.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema, sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Mode {
    Live,
    Test,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    pub const fn brand(self) -> Brand {
        match self {
            Self::Live => Brand::Live,
            Self::Test => Brand::Test,
        }
    }
}

impl FromStr for Mode {
    type Err = BadTerm;

    fn from_str(text: &str) -> Result<Self, BadTerm> {
        [Self::Live, Self::Test].into_iter().find(|it| it.name() == text).ok_or(BadTerm::Mode)
    }
}

/// Everything about a key that can be changed while it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Terms {
    #[schema(value_type = String)]
    pub name: KeyName,
    /// The endpoints that the key is for.
    pub scopes: Vec<Scope>,
    /// The models that the key may ask for; every model when null.
    pub allowed_models: Option<Vec<String>>,
    /// The networks that the key may be used from; everywhere when empty.
    #[schema(value_type = Vec<String>)]
    pub allowed_addresses: Vec<IpNet>,
    pub tags: BTreeMap<String, String>,
    pub requests_per_minute: Option<i32>,
    pub tokens_per_minute: Option<i64>,
    pub concurrent_requests: Option<i32>,
    /// When the key stops; never when null.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<OffsetDateTime>,
}

impl Terms {
    /// A key for everything, until it is revoked.
    pub fn named(name: KeyName) -> Self {
        Self {
            name,
            scopes: Scope::ALL.to_vec(),
            allowed_models: None,
            allowed_addresses: Vec::new(),
            tags: BTreeMap::new(),
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrent_requests: None,
            expires_at: None,
        }
    }
}

const MOST_MODELS: usize = 100;
const MOST_ADDRESSES: usize = 100;
const MOST_TAGS: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTerm {
    #[error("a key's name {RULE}")]
    Name,
    #[error("a key is live or test")]
    Mode,
    #[error("choose at least one endpoint")]
    NoScope,
    #[error(
        "a scope is one of chat, completions, responses, messages, embeddings, moderations, models"
    )]
    Scope,
    #[error("a model's name has 1 to 128 characters and no spaces: {0}")]
    Model(String),
    #[error("name at least one model, or none at all by leaving this out")]
    NoModel,
    #[error("at most {MOST_MODELS} models")]
    TooManyModels,
    #[error("an address looks like 203.0.113.7 or 203.0.113.0/24: {0}")]
    Address(String),
    #[error("{0} is inside of {1}: write that, or the single address")]
    HostBits(String, IpNet),
    #[error("at most {MOST_ADDRESSES} addresses")]
    TooManyAddresses,
    #[error("write a tag as name=value: {0}")]
    Tag(String),
    #[error("a tag's name has 1 to 40 letters, digits and - _ . /: {0}")]
    TagName(String),
    #[error("a tag's value has at most 128 printable characters: {0}")]
    TagValue(String),
    #[error("the tag {0} is there twice")]
    TagTwice(String),
    #[error("at most {MOST_TAGS} tags")]
    TooManyTags,
    #[error("a limit is a whole number from 1 to {0}")]
    Limit(i64),
    #[error("choose one of the listed states")]
    State,
    #[error("choose when the key expires")]
    Expiry,
    #[error("enter a date, like 2027-01-31")]
    Date,
    #[error("choose a day that is still to come")]
    Past,
    #[error("choose a day within ten years, or never")]
    TooFar,
    #[error("an overlap is a whole number of hours from 0 to 168")]
    Overlap,
}

pub(super) fn scopes<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<Scope>, BadTerm> {
    let scopes: Result<Vec<Scope>, _> = names.map(str::parse).collect();
    distinct(scopes.map_err(|_| BadTerm::Scope)?)
}

/// In the order in which they are always told.
pub(super) fn distinct(mut scopes: Vec<Scope>) -> Result<Vec<Scope>, BadTerm> {
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() { Err(BadTerm::NoScope) } else { Ok(scopes) }
}

/// The words of a text that has one a line, or separated by commas.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '\n']).map(str::trim).filter(|it| !it.is_empty())
}

pub(super) fn models<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<String>, BadTerm> {
    let mut models = Vec::new();
    for name in names {
        let is_name = (1..=128).contains(&name.chars().count())
            && !name.contains(|it: char| it.is_control() || it.is_whitespace() || it == ',');
        if !is_name {
            return Err(BadTerm::Model(shortened(name)));
        }
        if !models.iter().any(|it| it == name) {
            models.push(name.to_owned());
        }
    }
    match models.len() {
        0 => Err(BadTerm::NoModel),
        1..=MOST_MODELS => Ok(models),
        _ => Err(BadTerm::TooManyModels),
    }
}

pub(super) fn addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<IpNet>, BadTerm> {
    let mut nets = Vec::new();
    for text in texts {
        let net = address(text)?;
        if !nets.contains(&net) {
            nets.push(net);
        }
    }
    if nets.len() > MOST_ADDRESSES { Err(BadTerm::TooManyAddresses) } else { Ok(nets) }
}

fn address(text: &str) -> Result<IpNet, BadTerm> {
    if let Ok(single) = text.parse::<IpAddr>() {
        return Ok(single.to_canonical().into());
    }
    let net: IpNet = text.parse().map_err(|_| BadTerm::Address(shortened(text)))?;
    // Somebody who writes 10.1.2.3/8 means one of two things, and we do not guess.
    if net != net.trunc() {
        return Err(BadTerm::HostBits(text.to_owned(), net.trunc()));
    }
    Ok(net)
}

pub(super) fn tag_lines(text: &str) -> Result<BTreeMap<String, String>, BadTerm> {
    let mut pairs = Vec::new();
    for line in text.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let (name, value) = line.split_once('=').ok_or_else(|| BadTerm::Tag(shortened(line)))?;
        pairs.push((name.trim(), value.trim()));
    }
    tags(pairs.into_iter())
}

pub(super) fn tags<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<BTreeMap<String, String>, BadTerm> {
    let mut tags = BTreeMap::new();
    for (name, value) in pairs {
        let is_name = (1..=40).contains(&name.len())
            && name.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_./".contains(&it));
        if !is_name {
            return Err(BadTerm::TagName(shortened(name)));
        }
        if value.chars().count() > 128 || value.chars().any(char::is_control) {
            return Err(BadTerm::TagValue(shortened(name)));
        }
        if tags.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(BadTerm::TagTwice(name.to_owned()));
        }
    }
    if tags.len() > MOST_TAGS { Err(BadTerm::TooManyTags) } else { Ok(tags) }
}

/// A limit as typed: none where nothing was.
pub(super) fn limit<T>(text: &str) -> Result<Option<T>, BadTerm>
where
    T: FromStr + TryInto<i64> + Copy + Bounded,
{
    match text.trim() {
        "" => Ok(None),
        text => checked_limit(text.parse().map_err(|_| BadTerm::Limit(T::MOST))?).map(Some),
    }
}

pub(super) fn checked_limit<T>(limit: T) -> Result<T, BadTerm>
where
    T: TryInto<i64> + Copy + Bounded,
{
    match limit.try_into() {
        Ok(1..) => Ok(limit),
        Ok(_) | Err(_) => Err(BadTerm::Limit(T::MOST)),
    }
}

/// A number with an end.
pub(super) trait Bounded {
    const MOST: i64;
}

impl Bounded for i32 {
    const MOST: i64 = i32::MAX as i64;
}

impl Bounded for i64 {
    const MOST: i64 = i64::MAX;
}

/// Enough of what was typed to find it again.
fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scopes_are_told_once_and_in_order() {
        let names = ["models", "chat", "models"];
        assert_eq!(scopes(names.into_iter()), Ok(vec![Scope::Chat, Scope::Models]));
        assert_eq!(scopes(["chat", "*"].into_iter()), Err(BadTerm::Scope));
        assert_eq!(scopes([].into_iter()), Err(BadTerm::NoScope));
    }

    #[test]
    fn models_are_one_a_line_or_by_comma() {
        let typed = "gpt-5, claude-x\r\n\r\nanthropic/claude:beta\ngpt-5";
        let expected = ["gpt-5", "claude-x", "anthropic/claude:beta"].map(str::to_owned);
        assert_eq!(models(words(typed)), Ok(expected.to_vec()));
        assert!(matches!(models(words("gpt 5")), Err(BadTerm::Model(_))));
        assert_eq!(models(words(" \n,")), Err(BadTerm::NoModel));
    }

    #[track_caller]
    fn check_address(text: &str, expected: Result<&str, BadTerm>) {
        let seen = addresses(words(text)).map(|it| it[0].to_string());
        assert_eq!(seen, expected.map(str::to_owned));
    }

    #[test]
    fn addresses_are_networks_or_single() {
        check_address("203.0.113.7", Ok("203.0.113.7/32"));
        check_address("10.0.0.0/8", Ok("10.0.0.0/8"));
        check_address("2001:db8::/32", Ok("2001:db8::/32"));
        check_address("::ffff:10.0.0.1", Ok("10.0.0.1/32"));
        check_address("10.0.0.256", Err(BadTerm::Address("10.0.0.256".to_owned())));
        check_address("10.0.0.0/33", Err(BadTerm::Address("10.0.0.0/33".to_owned())));
        let inside = BadTerm::HostBits("10.1.2.3/8".to_owned(), "10.0.0.0/8".parse().unwrap());
        check_address("10.1.2.3/8", Err(inside));
    }

    #[test]
    fn tags_are_pairs() {
        let tags = tag_lines("team=search\n cost/center = R&D = 7 \n\nempty=").unwrap();
        let expected = [("team", "search"), ("cost/center", "R&D = 7"), ("empty", "")];
        assert_eq!(tags, expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
        assert_eq!(tag_lines("team"), Err(BadTerm::Tag("team".to_owned())));
        assert_eq!(tag_lines("a=1\na=2"), Err(BadTerm::TagTwice("a".to_owned())));
        assert_eq!(tag_lines("a b=1"), Err(BadTerm::TagName("a b".to_owned())));
    }

    #[test]
    fn a_limit_is_positive_or_absent() {
        assert_eq!(limit::<i32>(" "), Ok(None));
        assert_eq!(limit::<i32>("60"), Ok(Some(60)));
        for bad in ["0", "-1", "1.5", "x", "2147483648"] {
            assert_eq!(limit::<i32>(bad), Err(BadTerm::Limit(2_147_483_647)), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text: String) {
            let _ = models(words(&text));
            let _ = addresses(words(&text));
            let _ = tag_lines(&text);
            let _ = limit::<i64>(&text);
        }
    }
}
