//! Caps as people and programs say them: money as exact decimals of a dollar.

use serde::{Deserialize, Serialize};
use shared::{money::Money, snapshot::Caps};

use super::live::Counted;
use crate::{upstreams::words::grouped, web::Problems};

/// Null where there is no cap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Caps)]
#[serde(deny_unknown_fields, default)]
pub struct SaidCaps {
    /// US dollars with up to nine decimals, like `500.00`.
    pub usd: Option<String>,
    pub requests: Option<i64>,
    /// Input and output together.
    pub tokens: Option<i64>,
}

impl From<Caps> for SaidCaps {
    fn from(caps: Caps) -> Self {
        Self { usd: caps.money.map(Money::exact), requests: caps.requests, tokens: caps.tokens }
    }
}

impl SaidCaps {
    pub fn read(&self) -> Result<Caps, Problems> {
        let mut problems = Problems::none();
        let money = self.usd.as_ref().map(|it| it.parse::<Money>()).transpose();
        let money = problems.take("usd", money).flatten();
        problems.check()?;
        Ok(Caps { money, requests: self.requests, tokens: self.tokens })
    }
}

/// Caps as people read them: `$500.00 and 1,000 requests`.
pub fn words(caps: Caps) -> String {
    let money = caps.money.map(|it| it.to_string());
    let requests = caps.requests.map(|it| Counted::Requests.words(it));
    let tokens = caps.tokens.map(|it| Counted::Tokens.words(it));
    let all: Vec<_> = [money, requests, tokens].into_iter().flatten().collect();
    all.join(" and ")
}

/// The highest cap of a kind, in words.
pub(super) fn most(field: &str) -> String {
    match field {
        "usd" | "raised_usd" => Money::from_nanos(Caps::CEILING).to_string(),
        _ => grouped(&Caps::CEILING),
    }
}

/// The first input of a form that raises them.
pub(super) const fn field(caps: Caps) -> &'static str {
    match caps {
        Caps { money: Some(_), .. } => "raised_usd",
        Caps { requests: Some(_), .. } => "raised_requests",
        Caps { .. } => "raised_tokens",
    }
}

pub(super) fn is_beyond(caps: Caps) -> bool {
    let all = [caps.money.map(|it| it.nanos()), caps.requests, caps.tokens];
    all.into_iter().flatten().any(|it| !(0..=Caps::CEILING).contains(&it))
}

/// Whether the second caps are above the first: none of them below, and one of them above.
/// No cap is above every cap.
pub(super) fn are_higher(than: Caps, caps: Caps) -> bool {
    let pairs = [
        (than.money.map(|it| it.nanos()), caps.money.map(|it| it.nanos())),
        (than.requests, caps.requests),
        (than.tokens, caps.tokens),
    ];
    let none = |cap: Option<i64>| cap.map_or(i64::MAX, |it| it);
    pairs.iter().all(|(than, cap)| none(*cap) >= none(*than))
        && pairs.iter().any(|(than, cap)| none(*cap) > none(*than))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(usd: Option<&str>, requests: Option<i64>) -> Caps {
        SaidCaps { usd: usd.map(str::to_owned), requests, tokens: None }.read().unwrap()
    }

    #[test]
    fn a_raise_is_above_one_cap_and_below_none() {
        let check =
            |than, is, expected| assert_eq!(are_higher(than, is), expected, "{than:?} {is:?}");
        check(caps(Some("5"), None), caps(Some("6"), None), true);
        check(caps(Some("5"), None), caps(Some("5"), None), false);
        check(caps(Some("5"), Some(3)), caps(Some("6"), Some(2)), false);
        check(caps(Some("5"), Some(3)), caps(None, Some(3)), true);
        check(caps(Some("5"), None), caps(Some("6"), Some(9)), false);
    }

    #[test]
    fn caps_read_as_a_list() {
        assert_eq!(words(caps(Some("500"), Some(1_000))), "$500.00 and 1,000 requests");
        assert_eq!(words(caps(None, Some(1))), "1 request");
    }

    #[test]
    fn money_is_said_exactly() {
        let said = SaidCaps::from(caps(Some("0.000000001"), None));
        assert_eq!(said.usd.as_deref(), Some("0.000000001"));
        let fine = SaidCaps { usd: Some("0.0000000001".to_owned()), ..SaidCaps::default() };
        assert!(fine.read().unwrap_err().of("usd").is_some());
    }
}
