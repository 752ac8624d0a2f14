//! The page that lists keys.

use askama::Template;
use serde::Deserialize;
use shared::ids::ApiKeyId;
use time::OffsetDateTime;

use super::{KeyLine, project_choices};
use crate::{
    access::{Grant, may},
    keys::{self, Filter, KeyError, Status, Which},
    web::{Failure, Frame, Page, Problems, Search, Section, Span, optional},
};

#[derive(Template)]
#[template(path = "keys/list.html")]
pub(super) struct KeysPage {
    frame: Frame,
    keys: Vec<KeyLine>,
    status: String,
    project: String,
    statuses: Vec<(String, String)>,
    projects: Vec<(String, String)>,
    /// Back to the first page, where this is another.
    newer: Option<String>,
    /// Where the next page begins, as its address.
    older: Option<String>,
    is_filtered: bool,
    problems: Problems,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    #[serde(default)]
    status: String,
    #[serde(default)]
    project: String,
    #[serde(default)]
    after: String,
}

impl Query {
    fn filter(&self) -> Result<Filter, Problems> {
        let mut problems = Problems::none();
        let which = problems.take("status", self.status.parse());
        let project = problems.take("project", optional(&self.project));
        let after = problems.take("after", optional(&self.after));
        let (Some(which), Some(project), Some(after)) = (which, project, after) else {
            return Err(problems);
        };
        Ok(Filter { which, project, span: Span::page(after) })
    }

    /// The address of the page that begins after a key, or of the first one.
    fn page(&self, base: &str, after: Option<ApiKeyId>) -> String {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("status", &self.status)
            .append_pair("project", &self.project)
            .append_pair("after", &after.map(|it| it.to_string()).unwrap_or_default())
            .finish();
        format!("{base}?{query}")
    }
}

pub(super) async fn list(
    grant: Grant<may::ViewKeys>,
    query: Search<Query>,
) -> Result<Page<KeysPage>, Failure> {
    let filter = query.filter().map_err(KeyError::from)?;
    let mut work = grant.begin().await?;
    let listing = keys::list(&mut work, &filter).await?;
    let projects = project_choices(&mut work).await?;
    let now = OffsetDateTime::now_utc();
    let states = [("", "All but revoked"), ("all", "All")];
    let states = states.map(|(value, label)| (value.to_owned(), label.to_owned()));
    let statuses = Status::ALL.map(|it| (it.name().to_owned(), it.title().to_owned()));
    let base = grant.path("/keys");
    Ok(Page(KeysPage {
        frame: grant.frame(Section::Keys),
        keys: listing.items.iter().map(|it| KeyLine::of(it, grant.zone(), now)).collect(),
        newer: filter.span.after.map(|_| query.page(&base, None)),
        older: listing.next.map(|after| query.page(&base, Some(after))),
        problems: Problems::none(),
        is_filtered: filter.which != Which::Current || filter.project.is_some(),
        status: query.0.status,
        project: query.0.project,
        statuses: states.into_iter().chain(statuses).collect(),
        projects,
    }))
}
