//! What callers wish of who answers them. Wishes narrow what an admin allows, and never widen it.

use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shared::money::{Money, UnitPrice};

use super::{
    NotAnAsk,
    members::{self, Members},
};

/// As many names as a list of wishes may have, and as long as one may be.
const MOST_NAMES: usize = 64;
const LONGEST_NAME: usize = 200;

/// What is best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sort {
    Price,
    Throughput,
    Latency,
}

/// By default nothing is wished.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// Providers that are asked before others,
    pub order: Vec<String>,
    /// that alone are asked,
    pub only: Vec<String>,
    /// and that are not.
    pub ignore: Vec<String>,
    /// Nobody is asked but who is asked first, or who is named in `order`.
    pub no_fallbacks: bool,
    /// Whether a model has to be known for all that the call asks for.
    pub require_parameters: bool,
    pub no_training: bool,
    pub zero_retention: bool,
    pub quantizations: Vec<String>,
    pub sort: Option<Sort>,
    pub most_input_price: Option<UnitPrice>,
    pub most_output_price: Option<UnitPrice>,
    pub most_request_price: Option<UnitPrice>,
    /// Who is slower, as far as we saw, is asked after the others: in tokens a second,
    pub least_throughput: Option<u32>,
    /// and until the first one comes.
    pub most_latency: Option<Duration>,
    /// A policy that has to lead there as well.
    pub policy: Option<String>,
    /// For all attempts together.
    pub most_cost: Option<Money>,
}

/// What `provider` may hold, as callers are told.
pub(super) const KNOWN: &str = "order, only, ignore, allow_fallbacks, require_parameters, \
     data_collection, zdr, quantizations, sort, max_price, preferred_min_throughput and \
     preferred_max_latency";

impl Wishes {
    /// As they are kept; nothing where nothing is wished.
    pub fn written(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        serde_json::to_string(self).ok()
    }

    /// Of the body's `provider`, which begins at `start` of a text that is JSON.
    pub(super) fn read(&mut self, text: &str, start: usize) -> Result<(), NotAnAsk> {
        match text.as_bytes().get(start) {
            Some(b'{') => (),
            Some(b'n') => return Ok(()),
            Some(_) | None => {
                return Err(NotAnAsk::BadField { field: "provider", what: "an object" });
            }
        }
        let mut seen = Vec::new();
        for member in Members::of(text, start) {
            let field = key(text, &member);
            if seen.contains(&field) {
                return Err(bad(field, "said once"));
            }
            let is_said = self.take(&field, text, &member);
            is_said.map_err(|what| bad(field.clone(), what))?;
            seen.push(field);
        }
        Ok(())
    }

    /// Says what the value should have been.
    fn take(
        &mut self,
        field: &str,
        text: &str,
        member: &members::Member,
    ) -> Result<(), &'static str> {
        const NAMES: &str = "a list of at most 64 names";
        const YES: &str = "true or false";
        let value = &text[member.value.clone()];
        let yes = |what| said::<bool>(value, what).map(Option::unwrap_or_default);
        match field {
            "order" => self.order = names(value).ok_or(NAMES)?,
            "only" => self.only = names(value).ok_or(NAMES)?,
            "ignore" => self.ignore = names(value).ok_or(NAMES)?,
            "quantizations" => self.quantizations = names(value).ok_or(NAMES)?,
            "allow_fallbacks" => self.no_fallbacks = said(value, YES)? == Some(false),
            "require_parameters" => self.require_parameters = yes(YES)?,
            "zdr" => self.zero_retention = yes(YES)?,
            "data_collection" => {
                self.no_training = match value {
                    "\"deny\"" => true,
                    "\"allow\"" | "null" => false,
                    _ => return Err("\"allow\" or \"deny\""),
                }
            }
            "sort" => {
                self.sort = match value {
                    "\"price\"" => Some(Sort::Price),
                    "\"throughput\"" => Some(Sort::Throughput),
                    "\"latency\"" => Some(Sort::Latency),
                    "null" => None,
                    _ => return Err("\"price\", \"throughput\" or \"latency\""),
                }
            }
            "max_price" => self.take_prices(text, member.value.start)?,
            "preferred_min_throughput" => {
                let least = preferred(text, member, "tokens a second, as a number")?;
                self.least_throughput = least.map(|it| it.clamp(0.0, 1e6) as u32);
            }
            "preferred_max_latency" => {
                let most = preferred(text, member, "seconds, as a number")?;
                self.most_latency = most.map(|it| Duration::from_secs_f64(it.clamp(0.0, 1e6)));
            }
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }

    /// In dollars for a million tokens, and for one request.
    fn take_prices(&mut self, text: &str, start: usize) -> Result<(), &'static str> {
        const PRICES: &str = "an object of prompt, completion and request, each in dollars, with six decimals at most";
        match text.as_bytes().get(start) {
            Some(b'{') => (),
            Some(b'n') => return Ok(()),
            Some(_) | None => return Err(PRICES),
        }
        for member in Members::of(text, start) {
            let value = text[member.value.clone()].trim_matches('"');
            let million = || UnitPrice::per_million(value).map(Some).map_err(|_| PRICES);
            match &*key(text, &member) {
                "prompt" => self.most_input_price = million()?,
                "completion" => self.most_output_price = million()?,
                "request" => {
                    self.most_request_price = Some(UnitPrice::each(value).map_err(|_| PRICES)?);
                }
                _ => return Err(PRICES),
            }
        }
        Ok(())
    }

    /// What `x-turnpike-policy` and `x-turnpike-max-cost-usd` say.
    pub(super) fn heads(
        &mut self,
        policy: Option<&str>,
        most_cost: Option<&str>,
    ) -> Result<(), NotAnAsk> {
        self.policy = policy.map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
        let cost = most_cost.map(|it| it.trim().parse::<Money>()).transpose();
        self.most_cost = cost.map_err(|_| NotAnAsk::BadHeader {
            header: "x-turnpike-max-cost-usd",
            what: "dollars, such as 0.05, with nine decimals at most",
        })?;
        Ok(())
    }
}

/// What stands for a field that nobody knows.
const UNKNOWN: &str = "";

fn bad(field: String, what: &'static str) -> NotAnAsk {
    let field = field.chars().filter(|it| !it.is_control()).take(LONGEST_NAME).collect();
    match what {
        UNKNOWN => NotAnAsk::UnknownWish { field },
        _ => NotAnAsk::BadWish { field, what },
    }
}

fn key(text: &str, member: &members::Member) -> String {
    serde_json::from_str(&text[member.key.clone()]).unwrap_or_default()
}

fn said<T: DeserializeOwned>(value: &str, what: &'static str) -> Result<Option<T>, &'static str> {
    serde_json::from_str(value).map_err(|_| what)
}

fn names(value: &str) -> Option<Vec<String>> {
    let names: Option<Vec<String>> = serde_json::from_str(value).ok()?;
    let names = names.unwrap_or_default();
    let fit = names.len() <= MOST_NAMES && names.iter().all(|it| it.len() <= LONGEST_NAME);
    fit.then_some(names)
}

/// A number, or the first of several for shares of the calls: we know one figure of each.
fn preferred(
    text: &str,
    member: &members::Member,
    what: &'static str,
) -> Result<Option<f64>, &'static str> {
    let value = &text[member.value.clone()];
    if !value.starts_with('{') {
        return said(value, what);
    }
    let shares = Members::of(text, member.value.start);
    let first = shares.map(|it| &text[it.value]).find(|it| *it != "null");
    first.map_or(Ok(None), |it| said(it, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(provider: &str) -> Result<Wishes, NotAnAsk> {
        let mut wishes = Wishes::default();
        wishes.read(provider, 0).map(|()| wishes)
    }

    #[test]
    fn every_wish_is_read() {
        let wishes = read(
            r#"{"order":["a","b"],"only":["a"],"ignore":["c"],"allow_fallbacks":false,
                "require_parameters":true,"data_collection":"deny","zdr":true,
                "quantizations":["fp8"],"sort":"price","preferred_min_throughput":{"p50":40},
                "max_price":{"prompt":0.5,"completion":"2.25","request":0},
                "preferred_max_latency":1.5}"#,
        );
        let names = |all: &[&str]| -> Vec<_> { all.iter().map(|&it| it.to_owned()).collect() };
        let price = |it| Some(UnitPrice::per_million(it).unwrap());
        let expected = Wishes {
            order: names(&["a", "b"]),
            only: names(&["a"]),
            ignore: names(&["c"]),
            no_fallbacks: true,
            require_parameters: true,
            no_training: true,
            zero_retention: true,
            quantizations: names(&["fp8"]),
            sort: Some(Sort::Price),
            most_input_price: price("0.5"),
            most_output_price: price("2.25"),
            most_request_price: Some(UnitPrice::FREE),
            least_throughput: Some(40),
            most_latency: Some(Duration::from_millis(1_500)),
            policy: None,
            most_cost: None,
        };
        assert_eq!(wishes.unwrap(), expected);
        let nothing = r#"{"order":null,"sort":null,"zdr":null,"max_price":null,"data_collection":"allow",
            "allow_fallbacks":true,"preferred_max_latency":null}"#;
        for nothing in ["null", "{}", nothing] {
            assert_eq!(read(nothing).unwrap(), Wishes::default(), "{nothing}");
        }
    }

    #[test]
    fn what_is_not_a_wish_is_named() {
        for (provider, words) in [
            (r#"{"region":"eu"}"#, "There is no `provider.region`"),
            (r#"{"order":"a"}"#, "`provider.order` has to be a list"),
            (r#"{"zdr":1}"#, "`provider.zdr` has to be true or false"),
            (r#"{"sort":"quality"}"#, "`provider.sort` has to be \"price\""),
            (r#"{"data_collection":true}"#, "`provider.data_collection` has to be"),
            (r#"{"max_price":{"image":1}}"#, "`provider.max_price` has to be"),
            (r#"{"max_price":{"prompt":-1}}"#, "`provider.max_price` has to be"),
            (r#"{"preferred_max_latency":"1"}"#, "`provider.preferred_max_latency` has to be"),
            (r#"{"zdr":true,"zdr":false}"#, "`provider.zdr` has to be said once"),
            ("7", "`provider` has to be an object"),
        ] {
            let told = read(provider).unwrap_err().to_string();
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn headers_are_read_to_the_nano_dollar() {
        let mut wishes = Wishes::default();
        wishes.heads(Some(" eu-only "), Some("0.000000001")).unwrap();
        assert_eq!(wishes.policy.as_deref(), Some("eu-only"));
        assert_eq!(wishes.most_cost, Some(Money::from_nanos(1)));
        for bad in ["", "-1", "a lot", "1e-3", "0.0000000001"] {
            assert!(wishes.heads(None, Some(bad)).is_err(), "{bad}");
        }
    }
}
