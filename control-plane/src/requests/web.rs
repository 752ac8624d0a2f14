//! The list of requests, as a page and as a file.

use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use shared::{event::Outcome, ids::RequestId};
use time::OffsetDateTime;

use super::{
    RequestError, csv,
    filter::{Filter, RANGES, RequestSearch, Which, first_at},
    line::Line,
    list,
    store::{self, Slice},
};
use crate::{
    access::{Doors, Grant, Work, may},
    keys, organizations, projects,
    web::{self, Failure, Frame, Page, Problems, Search, Section, Span},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/requests", index);
    doors.get("/orgs/{org}/requests.csv", export);
}

/// How many requests a page shows.
pub(super) const SHOWN: i64 = 50;
/// How many an export holds at most: the latest.
const EXPORTED: i64 = 10_000;

#[derive(Template)]
#[template(path = "requests/list.html")]
struct RequestsPage {
    frame: Frame,
    search: RequestSearch,
    rows: Vec<Line>,
    choices: Choices,
    /// Back to the first page, where this is another.
    newer: Option<String>,
    older: Option<String>,
    /// The page as it is now.
    again: String,
    csv: String,
    /// Where what comes can be followed; only the first page goes on.
    live: Option<String>,
    /// A first call, where there has been none.
    first_call: Option<String>,
    problems: Problems,
}

/// What the selects of the filter offer.
#[derive(Default)]
struct Choices {
    projects: Vec<(String, String)>,
    keys: Vec<(String, String)>,
}

impl RequestsPage {
    fn outcomes(&self) -> Vec<(&'static str, &'static str)> {
        let each = Outcome::ALL.into_iter().map(|it| (it.name(), it.title()));
        let all = [("", "Every outcome"), (Which::Unserved.name(), "All but success")];
        all.into_iter().chain(each).collect()
    }

    fn ranges(&self) -> [(&'static str, &'static str); 4] {
        RANGES
    }
}

async fn index(
    grant: Grant<may::ViewRequests>,
    search: Search<RequestSearch>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let choices = choices(&mut work).await?;
    let search = search.0;
    let asked = search
        .filter(OffsetDateTime::now_utc(), grant.zone())
        .and_then(|filter| Ok((filter, search.before()?)));
    match asked {
        Ok((filter, before)) => page(&grant, &mut work, search, choices, &filter, before).await,
        Err(problems) => {
            let page = RequestsPage { problems, ..blank(&grant, search, choices) };
            Ok(Page(page).with(StatusCode::UNPROCESSABLE_ENTITY))
        }
    }
}

/// The page before anything was looked up.
fn blank(
    grant: &Grant<may::ViewRequests>,
    search: RequestSearch,
    choices: Choices,
) -> RequestsPage {
    let path = grant.path("/requests");
    RequestsPage {
        frame: grant.frame(Section::Requests),
        rows: Vec::new(),
        choices,
        newer: None,
        older: None,
        again: search.address(&path, None),
        csv: search.address(&grant.path("/requests.csv"), None),
        live: None,
        first_call: None,
        problems: Problems::none(),
        search,
    }
}

async fn page(
    grant: &Grant<may::ViewRequests>,
    work: &mut Work,
    search: RequestSearch,
    choices: Choices,
    filter: &Filter,
    before: Option<RequestId>,
) -> Result<HttpResponse, Failure> {
    let (organization, path) = (work.organization, grant.path("/requests"));
    // Before the list is read: what comes in between is then seen twice, and not never.
    let from = first_at(OffsetDateTime::now_utc() - time::Duration::days(1));
    let since = store::end(work, organization, from).await?.to_string();
    let mut requests = list(work, filter, Slice { before, most: SHOWN + 1 }).await?;
    let has_older = requests.len() as i64 > SHOWN;
    if has_older {
        requests.pop();
    }
    let last = requests.last().map(|it| it.event.request.to_string()).filter(|_| has_older);
    let is_empty = requests.is_empty() && store::is_empty(work, organization).await?;
    let live = grant.path("/requests.live");
    let page = RequestsPage {
        rows: requests.into_iter().map(|it| Line::of(it, grant.zone())).collect(),
        newer: before.map(|_| search.address(&path, None)),
        older: last.map(|it| search.address(&path, Some(("before", &it)))),
        live: before.is_none().then(|| search.address(&live, Some(("since", &since)))),
        first_call: is_empty.then(|| organizations::first_call(&grant.visit.data_url)),
        ..blank(grant, search, choices)
    };
    Ok(Page(page).with(StatusCode::OK))
}

async fn choices(work: &mut Work) -> Result<Choices, RequestError> {
    let projects = projects::list(work, Span::long(None)).await?.items;
    let span = Span::long(None);
    let all = keys::Filter { which: keys::Which::All, project: None, span };
    let keys = keys::list(work, &all).await?.items;
    let named = |all: &str| vec![(String::new(), all.to_owned())];
    let mut choices = Choices { projects: named("Every project"), keys: named("Every key") };
    choices.projects.extend(projects.into_iter().map(|it| (it.id.to_string(), it.name)));
    choices.keys.extend(keys.iter().map(|it| (it.id.to_string(), it.terms.name.to_string())));
    Ok(choices)
}

async fn export(
    grant: Grant<may::ViewRequests>,
    search: Search<RequestSearch>,
) -> Result<HttpResponse, Failure> {
    let filter = search.filter(OffsetDateTime::now_utc(), grant.zone())?;
    let slice = Slice { before: search.before()?, most: EXPORTED };
    let mut work = grant.begin().await?;
    let requests = list(&mut work, &filter, slice).await?;
    let name = format!("requests-{}", grant.membership.slug);
    Ok(web::csv::file(&name, csv::write(&requests)))
}
