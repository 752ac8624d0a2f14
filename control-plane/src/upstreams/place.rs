//! Where an upstream is and what it is called, as people write that down.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use shared::{
    reach::NotPermitted,
    snapshot::{Assurances, Dialect, Timeouts},
    vendors::{self, Vendor},
};
use url::Url;

use super::Upstream;
use crate::{
    egress::Egress,
    names::{RULE, name},
    web::Problems,
};

/// Everything about an upstream that can be changed, but for its models and secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The vendor, as answers, policies and logs name it.
    pub vendor: Slug,
    /// What people call it, to tell two of one vendor apart.
    pub name: UpstreamName,
    pub dialect: Dialect,
    pub base_url: BaseUrl,
    pub region: Option<Region>,
    pub timeouts: Timeouts,
    pub assurances: Assurances,
}

/// A place as somebody typed it. What is left empty of a vendor that we know is what we
/// know of it.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    pub vendor: String,
    pub name: String,
    pub dialect: Option<Dialect>,
    pub base_url: String,
    pub region: String,
    pub timeouts: TypedTimeouts,
    pub assurances: Assurances,
}

/// Each in seconds, or empty for what the proxies were configured with.
#[derive(Clone, Debug, Default)]
pub struct TypedTimeouts {
    pub first_byte: String,
    pub idle: String,
    pub total: String,
}

impl TypedTimeouts {
    pub fn of(timeouts: Timeouts) -> Self {
        let typed = |it: Option<u32>| it.map(|it| it.to_string()).unwrap_or_default();
        Self {
            first_byte: typed(timeouts.first_byte_seconds),
            idle: typed(timeouts.idle_seconds),
            total: typed(timeouts.total_seconds),
        }
    }

    fn read(&self, problems: &mut Problems) -> Timeouts {
        let mut take = |field, typed: &str| match typed.trim() {
            "" => None,
            typed => problems.take(field, seconds(typed)),
        };
        Timeouts {
            first_byte_seconds: take("first_byte_seconds", &self.first_byte),
            idle_seconds: take("idle_seconds", &self.idle),
            total_seconds: take("total_seconds", &self.total),
        }
    }
}

/// What is said of timeouts anew. What is not stays as it was; what is said to be empty is what
/// the proxies were configured with.
#[derive(Clone, Debug, Default)]
pub struct SaidTimeouts {
    pub first_byte: Option<String>,
    pub idle: Option<String>,
    pub total: Option<String>,
}

impl SaidTimeouts {
    pub fn over(&self, kept: Timeouts) -> TypedTimeouts {
        let kept = TypedTimeouts::of(kept);
        let said = |said: &Option<String>, kept| said.clone().unwrap_or(kept);
        TypedTimeouts {
            first_byte: said(&self.first_byte, kept.first_byte),
            idle: said(&self.idle, kept.idle),
            total: said(&self.total, kept.total),
        }
    }
}

fn seconds(typed: &str) -> Result<u32, BadPlace> {
    let seconds = typed.parse().ok().filter(|it| Timeouts::RANGE.contains(it));
    seconds.ok_or(BadPlace::Seconds)
}

/// Stands for whoever is not known; its upstreams are told apart by their names.
const ANOTHER: &str = "openai_compatible";

impl Draft {
    pub fn of(upstream: &Upstream) -> Self {
        Self {
            vendor: upstream.vendor.clone(),
            name: upstream.name.clone(),
            dialect: Some(upstream.dialect),
            base_url: upstream.base_url.clone(),
            region: upstream.region.clone().unwrap_or_default(),
            timeouts: TypedTimeouts::of(upstream.timeouts),
            assurances: upstream.assurances,
        }
    }

    pub fn place(&self, egress: &Egress) -> Result<Place, Problems> {
        let known = vendors::find(&self.vendor);
        let or_known = |typed: &str, known: Option<&str>| match typed.trim() {
            "" => known.unwrap_or_default().to_owned(),
            typed => typed.to_owned(),
        };
        let mut problems = Problems::none();
        let name = or_known(&self.name, known.map(|it| it.name));
        let vendor = problems.take("vendor", self.slug(known, &name));
        let name = problems.take("name", name.parse::<UpstreamName>());
        let base_url = or_known(&self.base_url, known.and_then(|it| it.base_url));
        let base_url = problems.take("base_url", BaseUrl::parse(&base_url, egress));
        let region = match self.region.trim() {
            "" => Some(None),
            region => problems.take("region", region.parse().map(Some)),
        };
        let dialect = self.dialect.or(known.map(|it| it.dialect)).unwrap_or_default();
        let timeouts = self.timeouts.read(&mut problems);
        problems.check()?;
        match (vendor, name, base_url, region) {
            (Some(vendor), Some(name), Some(base_url), Some(region)) => {
                let assurances = self.assurances;
                Ok(Place { vendor, name, dialect, base_url, region, timeouts, assurances })
            }
            _ => Err(problems),
        }
    }

    fn slug(&self, known: Option<&Vendor>, name: &str) -> Result<Slug, BadPlace> {
        match known {
            Some(known) if known.slug == ANOTHER => {
                Slug::near(name).map_or_else(|| ANOTHER.parse(), Ok)
            }
            Some(_) | None => self.vendor.parse(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    #[error("a provider's name {RULE}")]
    Name,
    #[error("use 1 to 63 small letters, digits, hyphens and underscores")]
    Slug,
    #[error("a region has 1 to 63 small letters, digits and hyphens")]
    Region,
    #[error("enter an address, like https://api.example.com/v1")]
    NoAddress,
    #[error("a timeout is a whole number of seconds from 1 to 86400, a day")]
    Seconds,
    #[error("an address has at most 200 characters")]
    LongAddress,
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
}

name!(
    /// What people call an upstream.
    UpstreamName, BadPlace::Name
);

/// A vendor's word for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slug(String);

impl FromStr for Slug {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let is_slug = (1..=63).contains(&text.len())
            && text.bytes().all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        if is_slug { Ok(Self(text.to_owned())) } else { Err(BadPlace::Slug) }
    }
}

/// A vendor's word for where it serves. Some build host names of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region(String);

impl FromStr for Region {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let is_region = (1..=63).contains(&text.len())
            && text.bytes().all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if is_region { Ok(Self(text.to_owned())) } else { Err(BadPlace::Region) }
    }
}

impl Region {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Slug {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest word to what people call a thing.
    pub fn near(text: &str) -> Option<Self> {
        let dashed: String = text
            .to_ascii_lowercase()
            .chars()
            .map(|it| if it.is_ascii_alphanumeric() { it } else { '-' })
            .take(63)
            .collect();
        dashed.trim_matches('-').parse().ok()
    }
}

/// An address that may be called. Ends without a slash: paths are appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    pub fn parse(text: &str, egress: &Egress) -> Result<Self, BadPlace> {
        let text = text.trim();
        if text.len() > 200 {
            return Err(BadPlace::LongAddress);
        }
        let url: Url = text.parse().map_err(|_| BadPlace::NoAddress)?;
        egress.permits(&url)?;
        Ok(Self(url))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }
}

macro_rules! told {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }
    )*};
}
told!(Slug, Region, BaseUrl);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::reach::Reach;

    use super::*;

    #[test]
    fn a_word_in_an_address_builds_no_other_host() {
        for bad in ["", "evil#", "a/b", "a@b", "a.b", "a\r\nb", "A", "é", &"x".repeat(64)] {
            assert_eq!(bad.parse::<Slug>(), Err(BadPlace::Slug), "{bad:?}");
            assert_eq!(bad.parse::<Region>(), Err(BadPlace::Region), "{bad:?}");
        }
        for good in ["a", "eu-west-1", &"x".repeat(63)] {
            assert_eq!(good.parse::<Slug>().unwrap().to_string(), good);
            assert_eq!(good.parse::<Region>().unwrap().to_string(), good);
        }
        assert_eq!("eu_west".parse::<Region>(), Err(BadPlace::Region));
        assert_eq!(Slug::near("My vLLM (Berlin)").unwrap().to_string(), "my-vllm--berlin");
        assert_eq!(Slug::near("日本"), None);
    }

    #[test]
    fn a_vendor_that_we_know_needs_no_more_than_its_word() {
        let egress = Egress::new(Reach::default());
        let draft = |vendor: &str| Draft { vendor: vendor.to_owned(), ..Draft::default() };
        let place = draft("anthropic").place(&egress).unwrap();
        let seen = (place.name.as_str(), place.dialect, place.base_url.as_str());
        assert_eq!(seen, ("Anthropic", Dialect::Anthropic, "https://api.anthropic.com/v1"));
        // Everybody has an address of their own there, and nobody knows this vendor.
        assert!(draft("vllm").place(&egress).unwrap_err().of("base_url").is_some());
        let problems = draft("acme").place(&egress).unwrap_err();
        assert!(problems.of("name").is_some() && problems.of("base_url").is_some());
    }

    #[test]
    fn whoever_is_not_known_is_told_apart_by_name() {
        let draft = Draft {
            vendor: ANOTHER.to_owned(),
            name: "House LLM".to_owned(),
            base_url: "https://llm.example.com/v1".to_owned(),
            ..Draft::default()
        };
        let place = draft.place(&Egress::new(Reach::default())).unwrap();
        assert_eq!(place.vendor.as_str(), "house-llm");
    }

    #[test]
    fn a_timeout_is_a_second_to_a_day() {
        let place = |typed: &str| {
            let timeouts = TypedTimeouts { idle: typed.to_owned(), ..TypedTimeouts::default() };
            let draft = Draft { vendor: "openai".to_owned(), timeouts, ..Draft::default() };
            draft.place(&Egress::new(Reach::default()))
        };
        for (typed, kept) in [("", None), (" 1 ", Some(1)), ("86400", Some(86_400))] {
            let timeouts = Timeouts { idle_seconds: kept, ..Timeouts::default() };
            assert_eq!(place(typed).unwrap().timeouts, timeouts, "{typed:?}");
        }
        for bad in ["0", "-1", "1.5", "86401", "99999999999", "a minute"] {
            assert!(place(bad).unwrap_err().of("idle_seconds").is_some(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_said_of_timeouts_stays() {
        let kept =
            Timeouts { idle_seconds: Some(7), total_seconds: Some(9), ..Timeouts::default() };
        let none = SaidTimeouts::default().over(kept);
        assert_eq!(
            (none.first_byte.as_str(), none.idle.as_str(), none.total.as_str()),
            ("", "7", "9")
        );
        let some = SaidTimeouts {
            first_byte: Some("3".to_owned()),
            idle: Some(String::new()),
            total: None,
        };
        let some = some.over(kept);
        assert_eq!(
            (some.first_byte.as_str(), some.idle.as_str(), some.total.as_str()),
            ("3", "", "9")
        );
    }

    #[test]
    fn an_address_is_kept_as_it_is_called() {
        let egress = Egress::new(Reach::default());
        let kept = |text| BaseUrl::parse(text, &egress).map(|it| it.to_string());
        assert_eq!(kept(" https://API.example.com/v1/ ").unwrap(), "https://api.example.com/v1");
        assert_eq!(kept("https://api.example.com").unwrap(), "https://api.example.com");
        assert_eq!(kept("api.example.com"), Err(BadPlace::NoAddress));
        assert_eq!(kept("https://10.0.0.1"), Err(NotPermitted::Private.into()));
        let long = format!("https://example.com/{}", "a".repeat(200));
        assert_eq!(kept(&long), Err(BadPlace::LongAddress));
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text: String) {
            let _ = text.parse::<UpstreamName>();
            let _ = text.parse::<Slug>();
            let _ = text.parse::<Region>();
            let _ = Slug::near(&text);
            let _ = BaseUrl::parse(&text, &Egress::new(Reach::with_this_machine()));
        }

        #[test]
        fn what_is_kept_is_parsed_to_itself(host in "[a-z]{1,10}\\.example", path in "[a-z/]{0,10}") {
            let egress = Egress::new(Reach::default());
            if let Ok(once) = BaseUrl::parse(&format!("https://{host}/{path}"), &egress) {
                let again = BaseUrl::parse(once.as_str(), &egress).unwrap();
                prop_assert_eq!(once.as_str(), again.as_str());
            }
        }
    }
}
