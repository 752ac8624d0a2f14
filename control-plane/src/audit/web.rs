//! The pages of the audit log.

use actix_web::HttpResponse;
use askama::Template;
use serde::Deserialize;

use super::{
    csv,
    log::{AuditEntry, Change, Filter, Standing, standing},
    store,
};
use crate::{
    access::{Doors, Grant, may},
    web::{self, Failure, Frame, Moment, Page, Search, Section},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/audit", list);
    doors.get("/orgs/{org}/audit.csv", export);
}

/// How many entries a page shows.
const SHOWN: usize = 25;
/// How many entries an export holds at most: the newest.
const EXPORTED: i64 = 10_000;

#[derive(Template)]
#[template(path = "audit/list.html")]
struct AuditPage {
    frame: Frame,
    rows: Vec<Row>,
    /// Values and names for the select, the first of which is none.
    actions: Vec<(String, String)>,
    action: String,
    actor: String,
    standing: Standing,
    newer: Option<String>,
    older: Option<String>,
    csv: String,
}

impl AuditPage {
    fn is_filtered(&self) -> bool {
        !self.action.is_empty() || !self.actor.is_empty()
    }

    /// Which entries the page shows.
    fn status(&self) -> String {
        match (self.rows.first(), self.rows.last()) {
            (Some(first), Some(last)) => format!("Entries {} to {}", first.seq, last.seq),
            _ => "No entries".to_owned(),
        }
    }
}

struct Row {
    seq: i64,
    at: Moment,
    entry: AuditEntry,
    changes: Vec<Change>,
}

/// One question, asked of page and export alike.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditSearch {
    #[serde(default)]
    action: String,
    #[serde(default)]
    actor: String,
    /// Entries older than this one.
    before: Option<i64>,
    /// Entries newer than this one.
    after: Option<i64>,
}

impl AuditSearch {
    fn filter(&self) -> Filter {
        Filter::new(&self.action, &self.actor)
    }

    /// The address of a page of the same entries.
    fn address(&self, path: &str, cursor: Option<(&str, i64)>) -> String {
        let seq = cursor.map(|it| it.1.to_string()).unwrap_or_default();
        let cursor = cursor.map(|(name, _)| (name, seq.as_str()));
        let asked = [("action", self.action.as_str()), ("actor", &self.actor)];
        web::address(path, asked.into_iter().chain(cursor))
    }
}

/// A page's entries, newest first, and whether there are others on either side.
struct Slice {
    entries: Vec<AuditEntry>,
    has_newer: bool,
    has_older: bool,
}

async fn list(
    grant: Grant<may::ViewAudit>,
    search: Search<AuditSearch>,
) -> Result<Page<AuditPage>, Failure> {
    let slice = slice(&grant, &search).await?;
    let mut work = grant.begin().await?;
    let organization = work.organization;
    let actions = store::actions(&mut work, organization).await?;
    let standing = standing(&mut work).await?;

    let path = grant.path("/audit");
    let edge = |it: Option<&AuditEntry>| it.map(|it| it.seq);
    let (first, last) = (edge(slice.entries.first()), edge(slice.entries.last()));
    let link = |name, seq: Option<i64>| seq.map(|it| search.address(&path, Some((name, it))));
    let named = actions.into_iter().map(|it| (it.clone(), it));
    Ok(Page(AuditPage {
        frame: grant.frame(Section::Audit),
        newer: link("after", first.filter(|_| slice.has_newer)),
        older: link("before", last.filter(|_| slice.has_older)),
        csv: search.address(&grant.path("/audit.csv"), None),
        actions: [(String::new(), "Every action".to_owned())].into_iter().chain(named).collect(),
        action: search.action.clone(),
        actor: search.actor.clone(),
        rows: slice.entries.into_iter().map(|it| row(it, grant.zone())).collect(),
        standing,
    }))
}

fn row(entry: AuditEntry, zone: &str) -> Row {
    let at = Moment::new(entry.at, zone);
    Row { seq: entry.seq, at, changes: entry.changes(), entry }
}

async fn slice<P>(grant: &Grant<P>, search: &AuditSearch) -> Result<Slice, Failure> {
    let mut work = grant.begin().await?;
    let (organization, filter) = (work.organization, search.filter());
    let most = SHOWN as i64 + 1;
    let mut links = match search.after {
        Some(after) => store::after(&mut work, organization, &filter, after, most).await?,
        None => {
            let before = search.before.unwrap_or(i64::MAX);
            store::before(&mut work, organization, &filter, before, most).await?
        }
    };
    let has_more = links.len() > SHOWN;
    links.truncate(SHOWN);
    if search.after.is_some() {
        links.reverse();
    }
    let is_newest = search.after.is_none() && search.before.is_none();
    Ok(Slice {
        entries: links.into_iter().map(AuditEntry::from).collect(),
        has_newer: if search.after.is_some() { has_more } else { !is_newest },
        has_older: if search.after.is_some() { true } else { has_more },
    })
}

async fn export(
    grant: Grant<may::ViewAudit>,
    search: Search<AuditSearch>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let (organization, filter) = (work.organization, search.filter());
    let before = search.before.unwrap_or(i64::MAX);
    let links = store::before(&mut work, organization, &filter, before, EXPORTED).await?;
    let entries: Vec<_> = links.into_iter().map(AuditEntry::from).collect();
    let name = format!("audit-{}", grant.membership.slug);
    Ok(web::csv::file(&name, csv::write(&entries)))
}
