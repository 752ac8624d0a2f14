//! The list of requests, as a page and as a file.

use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use shared::{event::Outcome, ids::RequestId};
use time::OffsetDateTime;

use super::{
    RequestError, csv,
    filter::{Filter, RANGES, RequestSearch, Which},
    line::Line,
    list, live, store,
};
use crate::{
    access::{Doors, Grant, Work, may},
    keys, organizations, projects,
    web::{self, Failure, Frame, Page, Pager, Problems, Search, Section, Span},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/requests", index);
    doors.get("/orgs/{org}/requests.csv", export);
}

/// How many an export holds at most: the latest.
const EXPORTED: i64 = 10_000;

#[derive(Template)]
#[template(path = "requests/list.html")]
struct RequestsPage {
    frame: Frame,
    search: RequestSearch,
    rows: Vec<Line>,
    choices: Choices,
    pager: Pager,
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
        .and_then(|filter| Ok((filter, search.after()?)));
    match asked {
        Ok((filter, after)) => page(&grant, &mut work, search, choices, &filter, after).await,
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
        pager: Pager { first: None, next: None },
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
    after: Option<RequestId>,
) -> Result<HttpResponse, Failure> {
    let (organization, path) = (work.organization, grant.path("/requests"));
    // Before the list is read: what comes in between is then seen twice, and not never.
    let since = live::end(work).await?.to_string();
    let part = list(work, filter, Span::page(after)).await?;
    let is_empty = part.items.is_empty() && store::is_empty(work, organization).await?;
    let live = grant.path("/requests.live");
    let page = RequestsPage {
        rows: part.items.into_iter().map(|it| Line::of(it, grant.zone())).collect(),
        pager: Pager {
            first: after.map(|_| search.address(&path, None)),
            next: part.next.map(|it| search.address(&path, Some(("after", &it.to_string())))),
        },
        live: after.is_none().then(|| search.address(&live, Some(("since", &since)))),
        first_call: is_empty.then(|| organizations::first_call(&grant.visit.data_url)),
        ..blank(grant, search, choices)
    };
    Ok(Page(page).with(StatusCode::OK))
}

async fn choices(work: &mut Work) -> Result<Choices, RequestError> {
    let projects = projects::list(work, Span::long(None)).await?.items;
    let all = keys::Filter { which: keys::Which::All, project: None, span: Span::long(None) };
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
    let after = search.after()?;
    let mut work = grant.begin().await?;
    let organization = work.organization;
    let requests = store::list(&mut work, organization, &filter, after, EXPORTED).await?;
    let name = format!("requests-{}", grant.membership.slug);
    Ok(web::csv::file(&name, csv::write(&requests)))
}
