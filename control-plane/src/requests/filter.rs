//! Which requests are asked for. The address is the filter: pages, export, live tail and
//! the API read the same one.

use std::str::FromStr;

use serde::Deserialize;
use shared::{
    event::Outcome,
    ids::{ApiKeyId, ProjectId, RequestId},
};
use time::{Duration, OffsetDateTime};
use utoipa::IntoParams;
use uuid::Uuid;

use crate::web::{self, Problems, instant};

/// How long ago the oldest request shown may have begun: names and titles.
pub(super) const RANGES: [(&str, &str); 4] = [
    ("hour", "Last hour"),
    ("day", "Last 24 hours"),
    ("week", "Last 7 days"),
    ("month", "Last 31 days"),
];
const USUAL: &str = "week";

/// As it stands in the address. What is empty asks for nothing.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RequestSearch {
    /// `hour`, `day`, `week` or `month`: those that began since; a week when left out.
    #[param(required = false)]
    pub range: String,
    /// Those that began then or later, like `2026-11-21T10:00:00Z`. Stands above `range`.
    #[param(required = false)]
    pub from: String,
    /// Those that began before then.
    #[param(required = false)]
    pub to: String,
    /// The id of a project.
    #[param(required = false)]
    pub project: String,
    /// The id of an API key.
    #[param(required = false)]
    pub key: String,
    /// The model or policy that was asked for.
    #[param(required = false)]
    pub asked: String,
    /// The model that answered.
    #[param(required = false)]
    pub model: String,
    /// The provider that answered.
    #[param(required = false)]
    pub provider: String,
    /// `success`, `client_error`, `server_error`, `broken`, `gone`, or `unserved` for all
    /// but the first.
    #[param(required = false)]
    pub outcome: String,
    /// The HTTP status of the answer.
    #[param(required = false)]
    pub status: String,
    /// The code of what went wrong.
    #[param(required = false)]
    pub error: String,
    /// Those that took so many milliseconds or more.
    #[param(required = false)]
    pub min_ms: String,
    /// What the page begins after: `next` of the page before.
    #[param(required = false)]
    pub after: String,
    /// Where the live tail goes on.
    #[param(ignore)]
    pub since: Option<i64>,
}

/// The same, understood.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// The first id that is asked for, and the first that is not any more.
    pub from: RequestId,
    pub to: Option<RequestId>,
    pub project: Option<ProjectId>,
    pub key: Option<ApiKeyId>,
    pub asked: Option<String>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub outcome: Option<Which>,
    pub status: Option<i16>,
    pub error: Option<String>,
    pub min_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Only(Outcome),
    /// All but those that were served.
    Unserved,
}

impl Which {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Only(outcome) => outcome.name(),
            Self::Unserved => "unserved",
        }
    }
}

impl FromStr for Which {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let known = Outcome::ALL.into_iter().map(Self::Only).chain([Self::Unserved]);
        known.into_iter().find(|it| it.name() == text).ok_or("choose one of the outcomes")
    }
}

impl RequestSearch {
    /// What is asked for, as of `now`; times without a zone are those of `zone`.
    pub fn filter(&self, now: OffsetDateTime, zone: &str) -> Result<Filter, Problems> {
        let mut problems = Problems::none();
        let mut at = |field, text: &str| {
            given(text).and_then(|it| {
                problems.take(field, instant(it, zone).ok_or("write a time like 2026-11-21T10:00"))
            })
        };
        let (from, to) = (at("from", &self.from), at("to", &self.to));
        let since = problems.take("range", self.since(now));
        let filter = Filter {
            from: first_at(from.or(since).unwrap_or(now)),
            to: to.map(first_at),
            project: parsed(&mut problems, "project", &self.project, "choose a project"),
            key: parsed(&mut problems, "key", &self.key, "choose a key"),
            asked: text(&self.asked),
            model: text(&self.model),
            provider: text(&self.provider),
            outcome: parsed(&mut problems, "outcome", &self.outcome, "choose an outcome"),
            status: parsed(&mut problems, "status", &self.status, "a status has three digits"),
            error: text(&self.error),
            min_ms: parsed(&mut problems, "min_ms", &self.min_ms, "write milliseconds in digits"),
        };
        problems.check()?;
        Ok(filter)
    }

    fn since(&self, now: OffsetDateTime) -> Result<OffsetDateTime, &'static str> {
        let ago = match self.range() {
            "hour" => Duration::hours(1),
            "day" => Duration::days(1),
            "week" => Duration::days(7),
            "month" => Duration::days(31),
            _ => return Err("choose one of the ranges"),
        };
        Ok(now.checked_sub(ago).unwrap_or(now))
    }

    pub fn range(&self) -> &str {
        given(&self.range).unwrap_or(USUAL)
    }

    /// What the page begins after.
    pub fn after(&self) -> Result<Option<RequestId>, Problems> {
        let wrong = |_| Problems::one("after", "use `next` of the page before");
        given(&self.after).map(|it| it.parse().map_err(wrong)).transpose()
    }

    fn fields(&self) -> [(&'static str, &str); 12] {
        [
            ("range", &self.range),
            ("from", &self.from),
            ("to", &self.to),
            ("project", &self.project),
            ("key", &self.key),
            ("asked", &self.asked),
            ("model", &self.model),
            ("provider", &self.provider),
            ("outcome", &self.outcome),
            ("status", &self.status),
            ("error", &self.error),
            ("min_ms", &self.min_ms),
        ]
    }

    /// Whether anything is asked for but when.
    pub fn is_filtered(&self) -> bool {
        self.fields().iter().skip(1).any(|(_, value)| given(value).is_some())
    }

    /// Whether anything is asked for that stands among the rarer questions.
    pub fn asks_more(&self) -> bool {
        let rarer = [&self.from, &self.to, &self.key, &self.asked, &self.model, &self.provider];
        let rarer = rarer.into_iter().chain([&self.status, &self.error, &self.min_ms]);
        rarer.into_iter().any(|it| given(it).is_some())
    }

    /// The address at which the same is asked of `path`, and `more` with it.
    pub fn address(&self, path: &str, more: Option<(&str, &str)>) -> String {
        web::address(path, self.fields().into_iter().chain(more))
    }
}

fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|it| !it.is_empty())
}

fn text(text: &str) -> Option<String> {
    given(text).map(str::to_owned)
}

fn parsed<T: FromStr>(
    problems: &mut Problems,
    field: &'static str,
    text: &str,
    wrong: &'static str,
) -> Option<T> {
    given(text).and_then(|it| problems.take(field, it.parse().map_err(|_| wrong)))
}

/// The first id of a request that begins then: ids grow with time.
pub fn first_at(at: OffsetDateTime) -> RequestId {
    let milliseconds = u128::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    RequestId::from_uuid(Uuid::from_u128(milliseconds << 80))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

    fn search(query: &str) -> RequestSearch {
        serde_html_form::from_str(query).unwrap()
    }

    fn filter(query: &str) -> Result<Filter, Problems> {
        search(query).filter(NOW, "Europe/Berlin")
    }

    #[test]
    fn a_range_is_a_week_unless_said_otherwise() {
        let from = |query| filter(query).unwrap().from;
        assert_eq!(from(""), first_at(datetime!(2026-11-14 12:00 UTC)));
        assert_eq!(from("range=hour"), first_at(datetime!(2026-11-21 11:00 UTC)));
        assert_eq!(
            from("range=day&from=2026-11-01T10:00"),
            first_at(datetime!(2026-11-01 9:00 UTC))
        );
        assert_eq!(from("from=2026-11-01T10:00:00Z"), first_at(datetime!(2026-11-01 10:00 UTC)));
    }

    #[test]
    fn ids_grow_with_time() {
        let earlier = first_at(OffsetDateTime::now_utc() - Duration::milliseconds(5));
        let later = first_at(OffsetDateTime::now_utc() + Duration::seconds(5));
        let id = RequestId::generate();
        assert!(earlier < id && id < later);
    }

    #[test]
    fn what_is_not_understood_is_said_all_at_once() {
        let query = "range=year&project=x&key=y&outcome=fine&status=abc&min_ms=fast&from=noon";
        let problems = filter(query).unwrap_err();
        let fields: Vec<_> = problems.list().iter().map(|it| it.field).collect();
        assert_eq!(fields, ["from", "range", "project", "key", "outcome", "status", "min_ms"]);
        assert!(search("after=nonsense").after().is_err());
    }

    #[test]
    fn the_address_says_what_was_asked_and_no_more() {
        let search = search("outcome=unserved&model=a+b&status=&after=req_1&range=day");
        assert_eq!(search.address("/r", None), "/r?range=day&model=a+b&outcome=unserved");
        assert_eq!(
            search.address("/r", Some(("after", "x"))),
            "/r?range=day&model=a+b&outcome=unserved&after=x"
        );
        assert!(search.is_filtered() && search.asks_more());
        assert_eq!(RequestSearch::default().address("/r", None), "/r");
        assert!(!RequestSearch { range: "day".into(), ..Default::default() }.is_filtered());
    }
}
