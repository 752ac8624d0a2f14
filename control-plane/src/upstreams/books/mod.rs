//! Price books: what customers pay for the platform's models, from when on.
//!
//! An organization pays what its contract says, or its own book, or the plan that it is on, or
//! the platform's own book: the first that says so. A price is a row that is never changed and
//! never begins before it was written; what replaces it is another row, and calls keep the one
//! that they were charged by. Prices come in as a draft, which shows what it would change. One
//! that moves a price by more than half, or takes one away, is published only when a second
//! operator has approved it; one that was overtaken is not published at all.
//!
//! Proxies have rows before they begin, and begin them by themselves.

pub mod change;
mod file;
mod published;
mod store;
#[cfg(test)]
mod tests;
mod web;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{
    failure::{Classified, Code, Kind, Problem},
    ids::{OrganizationId, PersonId, PriceBookId, PriceDraftId, UpstreamId},
    money::Price,
};
use time::OffsetDateTime;

use self::change::{BadMarkup, at, follow_ups, is_large, moves, said};
pub use self::{
    change::{Kept, Move, Said, Sell},
    file::{Line, Wrong, read},
    published::published,
};
use super::known::{self, known_models};
use crate::{
    access::{Doors, Work},
    audit::{self, Entry},
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
}

/// Whose prices a book has, beside the platform's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum BookKind {
    Contract,
    Organization,
    Plan,
}

impl BookKind {
    pub const ALL: [Self; 3] = [Self::Contract, Self::Organization, Self::Plan];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::Organization => "organization",
            Self::Plan => "plan",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Contract => "Contract",
            Self::Organization => "Organization",
            Self::Plan => "Plan",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// A book, as the platform's staff see it.
#[derive(Clone, Debug)]
pub struct Book {
    pub id: PriceBookId,
    pub kind: BookKind,
    pub name: String,
    /// Whose it is; nobody's where it is a plan.
    pub organization: Option<String>,
    /// How many organizations it holds for now.
    pub holders: i64,
    /// Of how many models it ever said something.
    pub models: i64,
}

/// What the platform's own book is called.
pub const PLATFORMS: &str = "Platform";

pub async fn list(work: &mut Work) -> Result<Vec<Book>, BookError> {
    Ok(store::books(work).await?)
}

pub async fn find(work: &mut Work, book: PriceBookId) -> Result<Book, BookError> {
    let all = store::books(work).await?;
    all.into_iter().find(|it| it.id == book).ok_or(BookError::NotFound)
}

/// Opens a book: a plan, or the contract or own book of an organization.
pub async fn open(
    work: &mut Work,
    kind: BookKind,
    name: &str,
    organization: Option<OrganizationId>,
) -> Result<PriceBookId, BookError> {
    let name = name.trim();
    let is_name = (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if !is_name {
        return Err(Problems::one("name", "a name has 1 to 64 printable characters").into());
    }
    match (kind, organization) {
        (BookKind::Plan, Some(_)) => {
            return Err(Problems::one("organization", "a plan is for whoever is put on it").into());
        }
        (BookKind::Contract | BookKind::Organization, None) => {
            return Err(Problems::one("organization", "say whose it is").into());
        }
        (BookKind::Plan, None) | (BookKind::Contract | BookKind::Organization, Some(_)) => (),
    }
    let book = PriceBookId::generate();
    let by = person(work)?;
    store::insert_book(work, book, kind, name, organization, by).await?;
    let told = json!({ "kind": kind.name(), "organization": organization });
    audit::record(work, Entry::new("prices.book_opened", book, name).after(told)).await?;
    Ok(book)
}

/// Puts an organization on a plan, or on none, from a moment on.
pub async fn put_on_plan(
    work: &mut Work,
    organization: OrganizationId,
    plan: Option<PriceBookId>,
    from: Option<OffsetDateTime>,
) -> Result<(), BookError> {
    let name = match plan {
        None => "none".to_owned(),
        Some(plan) => {
            let book = find(work, plan).await?;
            if book.kind != BookKind::Plan {
                return Err(Problems::one("plan", "that book is no plan").into());
            }
            book.name
        }
    };
    let now = store::now(work).await?;
    let from = not_past(from, now)?;
    let by = person(work)?;
    store::insert_plan(work, organization, plan, from, by).await?;
    let told = json!({ "plan": name, "from": from.to_string() });
    audit::record(work, Entry::new("prices.plan_changed", organization, name).after(told)).await?;
    Ok(())
}

fn not_past(
    from: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<OffsetDateTime, BookError> {
    match from {
        Some(from) if from < now => Err(BookError::Past),
        from => Ok(from.unwrap_or(now)),
    }
}

/// A price of a book that is in force or planned.
#[derive(Clone, Debug)]
pub struct Priced {
    pub upstream: UpstreamId,
    pub provider: String,
    pub model: String,
    pub kept: Kept,
    pub by: Option<String>,
}

/// What a book says now, and what it will; the platform's own where none is named.
pub async fn prices(work: &mut Work, book: Option<PriceBookId>) -> Result<Vec<Priced>, BookError> {
    Ok(store::priced(work, book).await?)
}

/// What somebody wants to put into a book.
#[derive(Clone, Debug)]
pub struct NewDraft {
    pub book: Option<PriceBookId>,
    /// When they are published, where it is not said.
    pub from: Option<OffsetDateTime>,
    pub note: String,
    pub lines: Vec<Line>,
    /// Whether what a file does not name of a provider that it names loses its price.
    pub is_whole: bool,
}

/// A price of a draft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub upstream: UpstreamId,
    pub provider: String,
    pub model: String,
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub from: Option<OffsetDateTime>,
    pub list: Option<Price>,
    pub sell: Option<Sell>,
    /// The last price of it that the book had when the draft was made.
    pub was: Option<i64>,
}

/// Prices that are not in a book yet, or are since.
#[derive(Clone, Debug)]
pub struct Draft {
    pub id: PriceDraftId,
    pub book: Option<PriceBookId>,
    pub book_name: String,
    pub from: Option<OffsetDateTime>,
    pub note: String,
    pub rows: Vec<Row>,
    pub needs_approval: bool,
    pub created_by: PersonId,
    pub created: (String, OffsetDateTime),
    pub approved: Option<(String, OffsetDateTime)>,
    pub published: Option<(String, OffsetDateTime)>,
    pub withdrawn: Option<(String, OffsetDateTime)>,
}

impl Draft {
    pub fn is_open(&self) -> bool {
        self.published.is_none() && self.withdrawn.is_none()
    }

    pub fn awaits_approval(&self) -> bool {
        self.is_open() && self.needs_approval && self.approved.is_none()
    }
}

/// A platform's provider with a model that it serves.
#[derive(Clone, Debug)]
struct Place {
    upstream: UpstreamId,
    provider: String,
    vendor: String,
    model: String,
}

/// Makes a draft of a file. Changes nothing yet.
pub async fn draft(work: &mut Work, new: NewDraft) -> Result<PriceDraftId, BookError> {
    let places = store::places(work).await?;
    let (mut rows, mut wrongs) = (Vec::with_capacity(new.lines.len()), Vec::new());
    for line in &new.lines {
        match place_of(&places, line) {
            Ok(place) => rows.push(Row {
                upstream: place.upstream,
                provider: place.provider.clone(),
                model: place.model.clone(),
                from: line.from,
                list: line.list.clone(),
                sell: line.sell.clone(),
                was: None,
            }),
            Err(message) => wrongs.push(Wrong::new(line.number, message)),
        }
    }
    if !wrongs.is_empty() {
        return Err(BookError::Wrong(wrongs));
    }
    if new.is_whole {
        add_missing(work, new.book, &mut rows).await?;
    }
    keep(work, new.book, new.from, &new.note, rows).await
}

/// Where a line's model is: at the provider of that name, or the only one of that vendor.
fn place_of<'a>(places: &'a [Place], line: &Line) -> Result<&'a Place, String> {
    let is_named = |it: &&Place| it.provider.eq_ignore_ascii_case(&line.provider);
    let is_vendors = |it: &&Place| it.vendor == line.provider;
    let mut there: Vec<_> = places.iter().filter(is_named).collect();
    if there.is_empty() {
        there = places.iter().filter(is_vendors).collect();
        let upstreams: BTreeSet<_> = there.iter().map(|it| it.upstream).collect();
        if upstreams.len() > 1 {
            return Err(format!("several providers are {}’s: name one of them", line.provider));
        }
    }
    if there.is_empty() {
        return Err(format!("the platform has no provider called {:?}", line.provider));
    }
    let found = there.into_iter().find(|it| it.model == line.model);
    found.ok_or_else(|| format!("{} serves no model called {:?}", line.provider, line.model))
}

async fn add_missing(
    work: &mut Work,
    book: Option<PriceBookId>,
    rows: &mut Vec<Row>,
) -> Result<(), BookError> {
    let named: BTreeSet<_> = rows.iter().map(|it| it.upstream).collect();
    let said: BTreeSet<_> = rows.iter().map(|it| (it.upstream, it.model.clone())).collect();
    let mut missing = BTreeMap::new();
    for it in store::priced(work, book).await? {
        let key = (it.upstream, it.model);
        if named.contains(&it.upstream) && !said.contains(&key) && it.kept.price.is_some() {
            missing.insert(key, it.provider);
        }
    }
    rows.extend(missing.into_iter().map(|((upstream, model), provider)| Row {
        upstream,
        provider,
        model,
        from: None,
        list: None,
        sell: None,
        was: None,
    }));
    Ok(())
}

/// Makes a draft of what the catalogue that we ship lists otherwise than the platform's own
/// book, or of nothing where they agree. Of what is unpriced there nothing changes.
pub async fn draft_of_catalogue(work: &mut Work) -> Result<Option<PriceDraftId>, BookError> {
    let mut rows = Vec::new();
    let places = store::places(work).await?;
    let upstreams: BTreeSet<_> = places.iter().map(|it| it.upstream).collect();
    let all = store::kept(work, &upstreams.into_iter().collect::<Vec<_>>()).await?;
    let now = store::now(work).await?;
    let vendors: BTreeSet<_> = places.iter().map(|it| it.vendor.as_str()).collect();
    let known: HashMap<_, _> = vendors
        .into_iter()
        .flat_map(|vendor| {
            known_models(vendor).into_iter().map(move |it| ((vendor, it.name.clone()), it))
        })
        .collect();
    for place in &places {
        let Some(model) = known.get(&(place.vendor.as_str(), place.model.clone())) else {
            continue;
        };
        let Some(listed) = &model.price else { continue };
        let row = |from, list: &Price| Row {
            upstream: place.upstream,
            provider: place.provider.clone(),
            model: place.model.clone(),
            from,
            list: Some(list.clone()),
            sell: None,
            was: None,
        };
        let kept = of_book(&all, place.upstream, &place.model, None);
        let is_listed = |at_ms: OffsetDateTime, price: &Price| {
            at(&kept, at_ms).and_then(Kept::listed) == Some(price)
        };
        if !is_listed(now, &listed.price) {
            rows.push(row(None, &listed.price));
        }
        for (from, price) in known::planned(&place.vendor, &place.model) {
            if from > now && !is_listed(from, &price) {
                rows.push(row(Some(from), &price));
            }
        }
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let note = "From the catalogue that Turnpike ships";
    keep(work, None, None, note, rows).await.map(Some)
}

async fn keep(
    work: &mut Work,
    book: Option<PriceBookId>,
    from: Option<OffsetDateTime>,
    note: &str,
    mut rows: Vec<Row>,
) -> Result<PriceDraftId, BookError> {
    let by = person(work)?;
    let name = name_of(work, book).await?;
    let note = note.trim();
    if note.chars().count() > 500 {
        return Err(Problems::one("note", "a note has at most 500 characters").into());
    }
    let now = store::now(work).await?;
    not_past(from, now)?;
    let all = kept_of(work, &rows).await?;
    for row in &mut rows {
        not_past(row.from, now)?;
        row.was = of_book(&all, row.upstream, &row.model, book).last().map(|it| it.revision);
    }
    let changes = differences_of(&rows, from, book, now, &all)?;
    if changes.iter().all(|it| it.kind == Change::None) {
        return Err(Problems::one("file", "the book says all of it already").into());
    }
    let needs_approval = changes.iter().any(|it| it.is_large);
    let id = PriceDraftId::generate();
    store::insert_draft(work, id, book, from, note, &rows, needs_approval, by).await?;
    let told = json!({ "book": name, "prices": rows.len(), "needs_approval": needs_approval });
    audit::record(work, Entry::new("prices.drafted", id, name).after(told)).await?;
    Ok(id)
}

async fn name_of(work: &mut Work, book: Option<PriceBookId>) -> Result<String, BookError> {
    match book {
        None => Ok(PLATFORMS.to_owned()),
        Some(book) => Ok(find(work, book).await?.name),
    }
}

/// The latest first.
pub async fn drafts(work: &mut Work) -> Result<Vec<Draft>, BookError> {
    Ok(store::drafts(work, None).await?)
}

pub async fn find_draft(work: &mut Work, draft: PriceDraftId) -> Result<Draft, BookError> {
    store::drafts(work, Some(draft)).await?.pop().ok_or(BookError::NoDraft)
}

/// What becomes of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Moved,
    Vanished,
    None,
}

/// What a row would change.
#[derive(Clone, Debug)]
pub struct Difference {
    pub row: Row,
    pub from: OffsetDateTime,
    /// What is paid without it, and what the vendor asks as far as we knew.
    pub before: Option<Price>,
    pub list_before: Option<Price>,
    pub after: Said,
    pub kind: Change,
    pub moves: Vec<Move>,
    /// Whether a second operator has to look at it.
    pub is_large: bool,
}

type AllKept = HashMap<(UpstreamId, String), Vec<(Option<PriceBookId>, Kept)>>;

async fn kept_of(work: &mut Work, rows: &[Row]) -> Result<AllKept, sqlx::Error> {
    let upstreams: BTreeSet<_> = rows.iter().map(|it| it.upstream).collect();
    store::kept(work, &upstreams.into_iter().collect::<Vec<_>>()).await
}

/// In the order of their numbers.
fn of_book(
    all: &AllKept,
    upstream: UpstreamId,
    model: &str,
    book: Option<PriceBookId>,
) -> Vec<Kept> {
    let rows = all.get(&(upstream, model.to_owned())).into_iter().flatten();
    rows.filter(|it| it.0 == book).map(|it| it.1.clone()).collect()
}

/// What a draft would change, as things are now.
pub async fn differences(work: &mut Work, draft: &Draft) -> Result<Vec<Difference>, BookError> {
    let (all, now) = (kept_of(work, &draft.rows).await?, store::now(work).await?);
    differences_of(&draft.rows, draft.from, draft.book, now, &all)
}

fn differences_of(
    rows: &[Row],
    from: Option<OffsetDateTime>,
    book: Option<PriceBookId>,
    now: OffsetDateTime,
    all: &AllKept,
) -> Result<Vec<Difference>, BookError> {
    let difference = |row: &Row| -> Result<_, BookError> {
        let from = row.from.or(from).unwrap_or(now);
        let (own, platform) = (
            of_book(all, row.upstream, &row.model, book),
            of_book(all, row.upstream, &row.model, None),
        );
        let (present, base) = (at(&own, from), at(&platform, from));
        let listed = base.and_then(Kept::listed);
        let after = said(row.list.as_ref(), row.sell.as_ref(), present, listed)
            .map_err(|why| BookError::Markup(row.model.clone(), why))?;
        let before = present.and_then(|it| it.price.as_ref());
        let paid = before.or_else(|| base.and_then(|it| it.price.as_ref()));
        let is_same = present.is_some_and(|it| {
            (&it.list, &it.price, it.markup_bp) == (&after.list, &after.price, after.markup_bp)
        });
        let kind = match (before, &after.price) {
            _ if is_same => Change::None,
            (None, None) => Change::None,
            (None, Some(_)) => Change::Added,
            (Some(_), Some(_)) => Change::Moved,
            (Some(_), None) => Change::Vanished,
        };
        let lists = listed.zip(after.list.as_ref().or(after.price.as_ref()));
        let is_large = match (paid, &after.price) {
            _ if kind == Change::None => false,
            (Some(before), Some(after)) => {
                is_large(before, after) || lists.is_some_and(|it| is_large(it.0, it.1))
            }
            (Some(_), None) => true,
            (None, _) => false,
        };
        let moved = paid.zip(after.price.as_ref()).map(|(before, after)| moves(before, after));
        Ok(Difference {
            row: row.clone(),
            from,
            before: paid.cloned(),
            list_before: listed.cloned(),
            kind,
            moves: moved.unwrap_or_default(),
            is_large,
            after,
        })
    };
    rows.iter().map(difference).collect()
}

/// Says that a draft may be published, as somebody else than who made it.
pub async fn approve(work: &mut Work, draft: PriceDraftId) -> Result<(), BookError> {
    let found = open_draft(work, draft).await?;
    let by = person(work)?;
    if by == found.created_by {
        return Err(BookError::Own);
    }
    if found.approved.is_some() {
        return Ok(());
    }
    store::approve(work, draft, by).await?;
    audit::record(work, Entry::new("prices.approved", draft, found.book_name)).await?;
    Ok(())
}

pub async fn withdraw(work: &mut Work, draft: PriceDraftId) -> Result<(), BookError> {
    let found = open_draft(work, draft).await?;
    let by = person(work)?;
    store::withdraw(work, draft, by).await?;
    audit::record(work, Entry::new("prices.withdrawn", draft, found.book_name)).await?;
    Ok(())
}

async fn open_draft(work: &mut Work, draft: PriceDraftId) -> Result<Draft, BookError> {
    store::lock_draft(work, draft).await?;
    let found = find_draft(work, draft).await?;
    if found.is_open() { Ok(found) } else { Err(BookError::Ended) }
}

/// Puts a draft into its book, and what follows from it into the others. Says how many prices
/// were written.
pub async fn publish(work: &mut Work, draft: PriceDraftId) -> Result<usize, BookError> {
    let found = open_draft(work, draft).await?;
    let by = person(work)?;
    let upstreams: BTreeSet<_> = found.rows.iter().map(|it| it.upstream).collect();
    for upstream in &upstreams {
        super::store::lock(work, audit::PLATFORM, *upstream).await?;
    }
    let now = store::now(work).await?;
    not_past(found.from, now)?;
    let all = kept_of(work, &found.rows).await?;
    for row in &found.rows {
        not_past(row.from, now)?;
        let latest =
            of_book(&all, row.upstream, &row.model, found.book).last().map(|it| it.revision);
        if latest != row.was {
            return Err(BookError::Overtaken(row.model.clone()));
        }
    }
    let changes = differences_of(&found.rows, found.from, found.book, now, &all)?;
    let is_large = changes.iter().any(|it| it.is_large);
    if (is_large || found.needs_approval) && found.approved.is_none() {
        return Err(BookError::NotApproved);
    }
    let (mut written, mut told, mut models) = (0, Vec::new(), BTreeSet::new());
    for it in changes.iter().filter(|it| it.kind != Change::None) {
        let place = (it.row.upstream, it.row.model.as_str());
        store::insert(work, place, found.book, &it.after, it.from, Some(draft), by).await?;
        models.insert((it.row.upstream, it.row.model.clone()));
        told.push(json!({
            "provider": it.row.provider, "model": it.row.model, "from": it.from.to_string(),
            "before": it.before, "after": it.after.price, "list": it.after.list,
        }));
        written += 1;
    }
    let all = kept_of(work, &found.rows).await?;
    for (upstream, model) in &models {
        written += follow(work, &all, (*upstream, model), now, draft, by).await?;
    }
    store::publish(work, draft, by).await?;
    let entry = Entry::new("prices.published", draft, found.book_name).after(told);
    audit::record(work, entry).await?;
    Ok(written)
}

/// Writes what books with markups need after a price of a model changed.
async fn follow(
    work: &mut Work,
    all: &AllKept,
    place: (UpstreamId, &str),
    now: OffsetDateTime,
    draft: PriceDraftId,
    by: PersonId,
) -> Result<usize, BookError> {
    let platform = of_book(all, place.0, place.1, None);
    let rows = all.get(&(place.0, place.1.to_owned())).into_iter().flatten();
    let books: BTreeSet<_> = rows.filter_map(|it| it.0).collect();
    let mut written = 0;
    for book in books {
        let own = of_book(all, place.0, place.1, Some(book));
        let added = follow_ups(&platform, &own, now)
            .map_err(|why| BookError::Markup(place.1.to_owned(), why))?;
        for Kept { from, list, price, markup_bp, .. } in added {
            let said = Said { list, price, markup_bp };
            store::insert(work, place, Some(book), &said, from, Some(draft), by).await?;
            written += 1;
        }
    }
    Ok(written)
}

fn person(work: &Work) -> Result<PersonId, BookError> {
    work.actor.person().ok_or(BookError::Nobody)
}

#[derive(Debug, thiserror::Error)]
pub enum BookError {
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error("{}", all(.0))]
    Wrong(Vec<Wrong>),
    #[error("{0}: {1}")]
    Markup(String, BadMarkup),
    #[error("there is no such price book")]
    NotFound,
    #[error("there are no such prices")]
    NoDraft,
    #[error("there is already a book of that name, or the organization has one of that kind")]
    Taken,
    #[error("there is no such organization")]
    NoOrganization,
    #[error("prices never begin in the past: say a later moment, or none")]
    Past,
    #[error("these prices were published or withdrawn before")]
    Ended,
    #[error("who made a draft cannot approve it: ask another operator")]
    Own,
    #[error(
        "a price moves by more than half or vanishes: another operator has to approve it first"
    )]
    NotApproved,
    #[error("the price of {0} was changed since: withdraw these and import them again")]
    Overtaken(String),
    #[error("only a person can do that")]
    Nobody,
    #[error("the store of price books failed")]
    Store(#[from] sqlx::Error),
}

/// The first few; the rest is likely to be wrong for the same reason.
fn all(wrongs: &[Wrong]) -> String {
    const SHOWN: usize = 20;
    let shown = wrongs.iter().take(SHOWN).map(Wrong::to_string);
    let more = wrongs.len().saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("and {more} more"));
    shown.chain(more).collect::<Vec<_>>().join("; ")
}

impl Classified for BookError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused(_) | Self::Wrong(_) | Self::Markup(..) | Self::NoOrganization => {
                Kind::Invalid
            }
            Self::Taken
            | Self::Past
            | Self::Ended
            | Self::Own
            | Self::NotApproved
            | Self::Overtaken(_)
            | Self::Nobody => Kind::Conflict,
            Self::NotFound | Self::NoDraft => Kind::NotFound,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        self.kind().code()
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::Refused(problems) => return problems.list().to_vec(),
            Self::Wrong(wrongs) => {
                let told = wrongs.iter().take(20).map(Wrong::to_string);
                return told.map(|message| Problem { field: "file", message }).collect();
            }
            Self::Markup(..) => "file",
            Self::Taken => "name",
            Self::NoOrganization => "organization",
            Self::Past => "from",
            Self::Ended | Self::Own | Self::NotApproved | Self::Overtaken(_) => "draft",
            Self::NotFound | Self::NoDraft | Self::Nobody | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}
