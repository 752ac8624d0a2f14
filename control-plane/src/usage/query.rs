//! Which usage is asked for. The address is the question: page, file and API read the same one.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use shared::{
    ids::{ApiKeyId, ProjectId},
    money::Money,
};
use time::{Date, Duration, OffsetDateTime, macros::format_description};
use utoipa::{IntoParams, ToSchema};

use crate::web::{self, Problems};

/// Names and titles of the periods.
pub(super) const PERIODS: [(&str, &str); 5] = [
    ("week", "Last 7 days"),
    ("days30", "Last 30 days"),
    ("month", "This month"),
    ("last_month", "Last month"),
    ("days90", "Last 90 days"),
];
const USUAL: &str = "days30";
/// No question is about more days.
const LONGEST: i64 = 400;

/// What usage is grouped by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Group {
    #[default]
    Model,
    Provider,
    Project,
    Team,
    Key,
    Source,
    Nothing,
}

impl Group {
    /// Those to choose from.
    pub const ALL: [Self; 6] =
        [Self::Model, Self::Provider, Self::Project, Self::Team, Self::Key, Self::Source];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Project => "project",
            Self::Team => "team",
            Self::Key => "key",
            Self::Source => "source",
            Self::Nothing => "",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Model => "Model",
            Self::Provider => "Provider",
            Self::Project => "Project",
            Self::Team => "Team",
            Self::Key => "API key",
            Self::Source => "Who counted",
            Self::Nothing => "All",
        }
    }
}

impl FromStr for Group {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        Self::ALL.into_iter().find(|it| it.name() == text).ok_or("choose what to group by")
    }
}

/// As it stands in the address. What is empty asks for nothing.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UsageSearch {
    /// `week`, `days30`, `month`, `last_month` or `days90`, in days of UTC; 30 days when left
    /// out.
    #[param(required = false)]
    pub period: String,
    /// The first day, like `2026-11-01`. Stands above `period`.
    #[param(required = false)]
    pub from: String,
    /// The last day; today when left out.
    #[param(required = false)]
    pub to: String,
    /// `model`, `provider`, `project`, `team`, `key` or `source`; by model when left out.
    #[param(required = false)]
    pub group: String,
    /// The id of a project.
    #[param(required = false)]
    pub project: String,
    /// The id of an API key.
    #[param(required = false)]
    pub key: String,
    /// The model that answered.
    #[param(required = false)]
    pub model: String,
    /// The provider that answered.
    #[param(required = false)]
    pub provider: String,
}

/// The same, understood.
#[derive(Clone, Debug)]
pub(super) struct UsageQuery {
    pub first: Date,
    pub last: Date,
    pub group: Group,
    pub project: Option<ProjectId>,
    pub key: Option<ApiKeyId>,
    pub model: Option<String>,
    pub provider: Option<String>,
}

impl UsageQuery {
    pub fn from(&self) -> OffsetDateTime {
        self.first.midnight().assume_utc()
    }

    pub fn until(&self) -> OffsetDateTime {
        self.last.next_day().unwrap_or(self.last).midnight().assume_utc()
    }

    pub fn days(&self) -> impl Iterator<Item = Date> {
        let last = self.last;
        std::iter::successors(Some(self.first), |it| it.next_day())
            .take_while(move |it| *it <= last)
    }
}

/// What was used and what it cost, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = UsageTotal)]
pub(super) struct Total {
    pub calls: i64,
    /// All that was put in, read from a cache or not.
    pub tokens_in: i64,
    /// Of those, what was read from a cache.
    pub cached: i64,
    pub tokens_out: i64,
    /// In nano-dollars.
    #[serde(rename = "cost_nano")]
    #[schema(value_type = i64)]
    pub cost: Money,
}

impl Total {
    pub fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            tokens_in: self.tokens_in.saturating_add(other.tokens_in),
            cached: self.cached.saturating_add(other.cached),
            tokens_out: self.tokens_out.saturating_add(other.tokens_out),
            cost: self.cost.saturating_add(other.cost),
        }
    }
}

/// One of what usage is grouped by.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    /// An id or a name; nothing where there is none.
    pub name: String,
    /// What it is called by now, where it has an id.
    pub title: Option<String>,
    pub total: Total,
}

/// A day of one of what usage is grouped by, or of all the others.
#[derive(Clone, Debug)]
pub(super) struct DayRow {
    pub day: Date,
    pub name: Option<String>,
    pub total: Total,
}

impl UsageSearch {
    pub fn understood(&self, today: Date) -> Result<UsageQuery, Problems> {
        let mut problems = Problems::none();
        let (from, to) =
            (day(&mut problems, "from", &self.from), day(&mut problems, "to", &self.to));
        let period = problems.take("period", self.days(today)).unwrap_or((today, today));
        let first = from.unwrap_or(period.0);
        let last = to.unwrap_or(if from.is_some() { today } else { period.1 });
        if last < first {
            problems.add("to", "choose a day that is not before the first");
        } else if (last - first).whole_days() >= LONGEST {
            problems.add("from", format!("choose at most {LONGEST} days"));
        }
        let query = UsageQuery {
            first,
            last,
            group: parsed(&mut problems, "group", &self.group, "choose what to group by")
                .unwrap_or_default(),
            project: parsed(&mut problems, "project", &self.project, "choose a project"),
            key: parsed(&mut problems, "key", &self.key, "choose a key"),
            model: given(&self.model).map(str::to_owned),
            provider: given(&self.provider).map(str::to_owned),
        };
        problems.check()?;
        Ok(query)
    }

    fn days(&self, today: Date) -> Result<(Date, Date), &'static str> {
        let ago = |days| today.checked_sub(Duration::days(days)).unwrap_or(today);
        let month = today.replace_day(1).unwrap_or(today);
        let before = month.previous_day().unwrap_or(month);
        match self.period() {
            "week" => Ok((ago(6), today)),
            "days30" => Ok((ago(29), today)),
            "days90" => Ok((ago(89), today)),
            "month" => Ok((month, today)),
            "last_month" => Ok((before.replace_day(1).unwrap_or(before), before)),
            _ => Err("choose one of the periods"),
        }
    }

    pub fn period(&self) -> &str {
        given(&self.period).unwrap_or(USUAL)
    }

    fn fields(&self) -> [(&'static str, &str); 8] {
        [
            ("period", &self.period),
            ("from", &self.from),
            ("to", &self.to),
            ("group", &self.group),
            ("project", &self.project),
            ("key", &self.key),
            ("model", &self.model),
            ("provider", &self.provider),
        ]
    }

    /// Whether anything is asked for but when, and by what to group.
    pub fn is_filtered(&self) -> bool {
        self.fields()
            .iter()
            .any(|(name, value)| !matches!(*name, "period" | "group") && given(value).is_some())
    }

    /// The address at which the same is asked of `path`, with one thing otherwise.
    pub fn address(&self, path: &str, other: Option<(&str, &str)>) -> String {
        let asked = self.fields().into_iter().map(|(name, value)| {
            let other = other.filter(|it| it.0 == name);
            other.unwrap_or((name, value))
        });
        web::address(path, asked)
    }
}

fn given(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|it| !it.is_empty())
}

fn parsed<T: FromStr>(
    problems: &mut Problems,
    field: &'static str,
    text: &str,
    wrong: &'static str,
) -> Option<T> {
    given(text).and_then(|it| problems.take(field, it.parse().map_err(|_| wrong)))
}

fn day(problems: &mut Problems, field: &'static str, text: &str) -> Option<Date> {
    let parts = format_description!("[year]-[month]-[day]");
    let read = |it| Date::parse(it, parts).map_err(|_| "write a day like 2026-11-01");
    given(text).and_then(|it| problems.take(field, read(it)))
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    fn query(text: &str) -> Result<UsageQuery, Problems> {
        let search: UsageSearch = serde_html_form::from_str(text).unwrap();
        search.understood(date!(2026 - 11 - 28))
    }

    #[track_caller]
    fn check(text: &str, first: Date, last: Date) {
        let query = query(text).unwrap();
        assert_eq!((query.first, query.last), (first, last), "{text}");
    }

    #[test]
    fn periods_are_whole_days() {
        let today = date!(2026 - 11 - 28);
        check("", date!(2026 - 10 - 30), today);
        check("period=week", date!(2026 - 11 - 22), today);
        check("period=month", date!(2026 - 11 - 01), today);
        check("period=last_month", date!(2026 - 10 - 01), date!(2026 - 10 - 31));
        check("from=2026-11-03", date!(2026 - 11 - 03), today);
        check("from=2026-11-03&to=2026-11-03", date!(2026 - 11 - 03), date!(2026 - 11 - 03));
        assert_eq!(query("period=week").unwrap().days().count(), 7);
    }

    #[test]
    fn what_cannot_be_asked_is_named() {
        for (text, field) in [
            ("period=year", "period"),
            ("from=yesterday", "from"),
            ("from=2026-11-03&to=2026-11-02", "to"),
            ("from=2020-01-01", "from"),
            ("group=colour", "group"),
            ("project=nonsense", "project"),
        ] {
            assert!(query(text).unwrap_err().of(field).is_some(), "{text}");
        }
    }

    #[test]
    fn an_address_keeps_what_was_asked() {
        let search: UsageSearch = serde_html_form::from_str("period=week&model=a%26b").unwrap();
        assert_eq!(search.address("/usage", None), "/usage?period=week&model=a%26b");
        assert_eq!(
            search.address("/usage", Some(("group", "key"))),
            "/usage?period=week&group=key&model=a%26b"
        );
        assert!(search.is_filtered());
    }
}
