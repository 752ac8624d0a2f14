//! What was used and what it cost, as a page and as a file.

use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use shared::money::Money;
use time::OffsetDateTime;

use super::{
    UsageError,
    api::said_id,
    chart::{COLOURS, Chart, class},
    csv,
    query::{Group, PERIODS, Slice, Total, UsageQuery, UsageSearch},
    store,
};
use crate::{
    access::{Doors, Grant, Work, may},
    projects,
    web::{self, Failure, Frame, Page, Problems, Search, Section, Span},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/usage", show);
    doors.get("/orgs/{org}/usage.csv", export);
}

/// How many of what usage is grouped by a page shows: the dearest.
const SHOWN: i64 = 50;
/// How many rows a file has at most.
const EXPORTED: i64 = 50_000;

#[derive(Template)]
#[template(path = "usage/show.html")]
struct UsagePage {
    frame: Frame,
    search: UsageSearch,
    projects: Vec<(String, String)>,
    problems: Problems,
    csv: String,
    shown: Option<Shown>,
}

/// What was found.
struct Shown {
    days: String,
    total: Total,
    group: Group,
    groups: Vec<Choice>,
    chart: Chart,
    rows: Vec<Row>,
    has_more: bool,
}

/// Something else to group by.
struct Choice {
    title: &'static str,
    address: String,
    is_present: bool,
}

/// One of what usage is grouped by.
struct Row {
    title: String,
    /// Where only it is asked for.
    address: Option<String>,
    colour: &'static str,
    total: Total,
    /// Of the whole cost.
    percent: String,
}

impl UsagePage {
    fn periods(&self) -> [(&'static str, &'static str); 5] {
        PERIODS
    }
}

async fn show(
    grant: Grant<may::ViewUsage>,
    search: Search<UsageSearch>,
) -> Result<HttpResponse, Failure> {
    let search = search.0;
    let mut work = grant.begin().await?;
    let mut page = UsagePage {
        frame: grant.frame(Section::Usage),
        projects: projects(&mut work).await?,
        problems: Problems::none(),
        csv: search.address(&grant.path("/usage.csv"), None),
        shown: None,
        search,
    };
    match page.search.understood(OffsetDateTime::now_utc().date()) {
        Ok(query) => {
            let shown = look(&mut work, &query, &page.search, &grant.path("/usage")).await?;
            page.shown = Some(shown);
            Ok(Page(page).with(StatusCode::OK))
        }
        Err(problems) => {
            page.problems = problems;
            Ok(Page(page).with(StatusCode::UNPROCESSABLE_ENTITY))
        }
    }
}

async fn projects(work: &mut Work) -> Result<Vec<(String, String)>, UsageError> {
    let all = projects::list(work, Span::long(None)).await?.items;
    let mut choices = vec![(String::new(), "Every project".to_owned())];
    choices.extend(all.into_iter().map(|it| (it.id.to_string(), it.name)));
    Ok(choices)
}

async fn look(
    work: &mut Work,
    query: &UsageQuery,
    search: &UsageSearch,
    path: &str,
) -> Result<Shown, UsageError> {
    let organization = work.organization;
    let mut slices = store::slices(work, organization, query, query.group, SHOWN + 1).await?;
    let has_more = i64::try_from(slices.len()).is_ok_and(|it| it > SHOWN);
    slices.truncate(usize::try_from(SHOWN).unwrap_or_default());
    let named: Vec<_> = slices.iter().take(COLOURS).map(|it| it.name.clone()).collect();
    let rows = store::by_day(work, organization, query, Some(&named), EXPORTED).await?;
    let total = rows.iter().fold(Total::default(), |sum, it| sum.plus(it.total));
    let row = |(at, slice): (usize, Slice)| Row {
        address: narrowed(search, path, query.group, &slice.name),
        colour: class(at),
        percent: percent(slice.total.cost, total.cost),
        title: title(query.group, &slice),
        total: slice.total,
    };
    Ok(Shown {
        days: format!("{} to {}, days of UTC", web::day(query.first), web::day(query.last)),
        total,
        group: query.group,
        groups: groups(search, path, query.group),
        chart: Chart::of(query, &rows, &named),
        rows: slices.into_iter().enumerate().map(row).collect(),
        has_more,
    })
}

fn groups(search: &UsageSearch, path: &str, present: Group) -> Vec<Choice> {
    let choice = |it: Group| Choice {
        title: it.title(),
        address: search.address(path, Some(("group", it.name()))),
        is_present: it == present,
    };
    Group::ALL.into_iter().map(choice).collect()
}

fn title(group: Group, slice: &Slice) -> String {
    if let Some(title) = &slice.title {
        return title.clone();
    }
    match (group, slice.name.as_str()) {
        (Group::Team, "") => "No team".to_owned(),
        (Group::Source, "upstream") => "The provider".to_owned(),
        (Group::Source, "estimated") => "We did: the provider did not say".to_owned(),
        (Group::Source, "interrupted") => "We did: the answer broke off".to_owned(),
        (Group::Source, "none") | (Group::Model | Group::Provider, "") => "Not served".to_owned(),
        (Group::Project | Group::Team | Group::Key, id) => said_id(group, id),
        (_, name) => name.to_owned(),
    }
}

/// Where only that one is asked for, by model where it was by something else.
fn narrowed(search: &UsageSearch, path: &str, group: Group, name: &str) -> Option<String> {
    let field = match group {
        Group::Model | Group::Provider | Group::Project | Group::Key => group.name(),
        Group::Team | Group::Source | Group::Nothing => return None,
    };
    let value = said_id(group, name);
    let value = if value.is_empty() { return None } else { value };
    Some(search.address(path, Some((field, &value))))
}

/// `37.4 %`
fn percent(part: Money, whole: Money) -> String {
    let permille = i128::from(part.nanos()) * 1_000 / i128::from(whole.nanos().max(1));
    format!("{}.{} %", permille / 10, permille % 10)
}

/// `1,038`
pub(super) fn grouped(number: &i64) -> String {
    crate::requests::grouped(number.unsigned_abs())
}

/// `12.4M`, for cells that have no room for all of it.
pub(super) fn short(number: &i64) -> String {
    let (number, unit) = match *number {
        it @ ..10_000 => return grouped(&it),
        it @ 10_000..1_000_000 => (it / 100, "K"),
        it @ 1_000_000..1_000_000_000 => (it / 100_000, "M"),
        it => (it / 100_000_000, "B"),
    };
    format!("{}.{}{unit}", grouped(&(number / 10)), number % 10)
}

async fn export(
    grant: Grant<may::ViewUsage>,
    search: Search<UsageSearch>,
) -> Result<HttpResponse, Failure> {
    let query = search.understood(OffsetDateTime::now_utc().date())?;
    let mut work = grant.begin().await?;
    let organization = work.organization;
    let slices = store::slices(&mut work, organization, &query, query.group, EXPORTED)
        .await
        .map_err(UsageError::from)?;
    let rows = store::by_day(&mut work, organization, &query, None, EXPORTED)
        .await
        .map_err(UsageError::from)?;
    let name = format!("usage-{}", grant.membership.slug);
    Ok(web::csv::file(&name, csv::write(query.group, &rows, &slices)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_figures_are_short_and_none_is_lost_below() {
        for (number, text) in [
            (0, "0"),
            (9_999, "9,999"),
            (12_345, "12.3K"),
            (999_999, "999.9K"),
            (1_940_000_000, "1.9B"),
        ] {
            assert_eq!(short(&number), text);
        }
        assert_eq!(percent(Money::from_nanos(374), Money::from_nanos(1_000)), "37.4 %");
        assert_eq!(percent(Money::ZERO, Money::ZERO), "0.0 %");
    }
}
