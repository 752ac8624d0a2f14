//! The operators' pages of prices: books, what is in them, and what is to come into them.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{
    ids::{OrganizationId, PriceBookId, PriceDraftId},
    money::{Class, Price},
};
use time::OffsetDateTime;

use super::{
    Book, BookError, BookKind, Change, Difference, Draft, Kept, Move, NewDraft, PLATFORMS, Priced,
    approve, differences, draft, draft_of_catalogue, drafts, find, find_draft, list, open, prices,
    publish, put_on_plan, read, withdraw,
};
use crate::{
    access::{Doors, Operator, Work},
    upstreams::prices as unit,
    web::{
        Failure, Form, Frame, Moment, Nothing, Page, Problems, Search, instant, or_problems,
        see_other, see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/operator/prices", show_all);
    doors.post("/operator/prices/books", open_book);
    doors.post("/operator/prices/plans", change_plan);
    doors.get("/operator/prices/books/{price_book}", show_book);
    doors.get("/operator/prices/import", ask);
    doors.post("/operator/prices/import", import);
    doors.post("/operator/prices/catalogue", import_catalogue);
    doors.get("/operator/prices/drafts/{price_draft}", show_draft);
    doors.post("/operator/prices/drafts/{price_draft}/approve", approve_draft);
    doors.post("/operator/prices/drafts/{price_draft}/publish", publish_draft);
    doors.post("/operator/prices/drafts/{price_draft}/withdraw", withdraw_draft);
}

#[derive(Template)]
#[template(path = "operator_pages/prices.html")]
struct PricesPage {
    frame: Frame,
    books: Vec<Book>,
    drafts: Vec<DraftLine>,
    book: BookForm,
    plan: PlanForm,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "operator_pages/price_book.html")]
struct BookPage {
    frame: Frame,
    name: String,
    about: String,
    /// What the address of an import names it by.
    key: String,
    lines: Vec<PriceLine>,
}

#[derive(Template)]
#[template(path = "operator_pages/price_import.html")]
struct ImportPage {
    frame: Frame,
    books: Vec<(String, String)>,
    form: ImportForm,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "operator_pages/price_draft.html")]
struct DraftPage {
    frame: Frame,
    draft: Draft,
    state: (&'static str, &'static str),
    from: Option<Moment>,
    story: Vec<(&'static str, String, Moment)>,
    lines: Vec<DifferenceLine>,
    unchanged: usize,
    needs_approval: bool,
    /// Whether the reader made it, and so cannot approve it.
    is_own: bool,
    problems: Problems,
}

/// A draft in a list.
struct DraftLine {
    draft: Draft,
    state: (&'static str, &'static str),
    created: Moment,
}

impl DraftLine {
    fn of(draft: Draft, zone: &str) -> Self {
        let created = Moment::new(draft.created.1, zone);
        Self { state: state(&draft), created, draft }
    }
}

fn state(draft: &Draft) -> (&'static str, &'static str) {
    match draft {
        Draft { published: Some(_), .. } => ("ok", "Published"),
        Draft { withdrawn: Some(_), .. } => ("", "Withdrawn"),
        it if it.awaits_approval() => ("warn", "Awaits approval"),
        _ => ("", "Not published"),
    }
}

/// A price in a book.
struct PriceLine {
    priced: Priced,
    list: String,
    paid: String,
    how: String,
    from: Moment,
    is_planned: bool,
}

impl PriceLine {
    fn of(priced: Priced, now: OffsetDateTime, zone: &str) -> Self {
        let Kept { from, markup_bp, list, .. } = &priced.kept;
        Self {
            list: priced.kept.listed().map(in_words).unwrap_or_default(),
            paid: priced.kept.price.as_ref().map(in_words).unwrap_or_default(),
            how: how(*markup_bp, list.is_some()),
            from: Moment::new(*from, zone),
            is_planned: *from > now,
            priced,
        }
    }
}

/// How what is paid was said.
fn how(markup_bp: Option<i32>, is_apart: bool) -> String {
    match markup_bp {
        Some(bp) => format!("list {:+}.{:02} %", bp / 100, bp.abs() % 100),
        None if is_apart => "said apart".to_owned(),
        None => "as listed".to_owned(),
    }
}

/// Every rate of its own, in the order in which price lists have them, with how many tiers there
/// are beside them.
fn in_words(price: &Price) -> String {
    let rates = &price.standard().rates;
    let own = |class: Class| {
        let own = unit::own(rates, class)?;
        Some(format!("{} ${}", class.name().replace('_', " "), unit::written(class, own)))
    };
    let tiers = price.standard().context_tiers.iter().map(|it| {
        let (input, output) = (it.rates.input, it.rates.output);
        format!("above {} tokens ${input} and ${output}", it.above_tokens)
    });
    let services = price.service_tiers().iter().map(|it| format!("tier {}", it.name));
    let own = Class::ALL.into_iter().filter_map(own);
    own.chain(tiers).chain(services).collect::<Vec<_>>().join(", ")
}

/// What a row of a draft would change.
struct DifferenceLine {
    difference: Difference,
    badge: (&'static str, &'static str),
    before: String,
    after: String,
    how: String,
    moves: Vec<String>,
    from: Option<Moment>,
}

impl DifferenceLine {
    fn of(difference: Difference, zone: &str) -> Self {
        let Difference { before, after, kind, moves, row, .. } = &difference;
        let badge = match kind {
            Change::Added => ("ok", "New"),
            Change::Moved => ("", "Moved"),
            Change::Vanished => ("bad", "Vanishes"),
            Change::None => ("", "As it is"),
        };
        Self {
            badge,
            before: before.as_ref().map(in_words).unwrap_or_default(),
            after: after.price.as_ref().map(in_words).unwrap_or_default(),
            how: how(after.markup_bp, after.list.is_some()),
            moves: moves.iter().map(moved).collect(),
            from: row.from.map(|it| Moment::new(it, zone)),
            difference,
        }
    }
}

fn moved(it: &Move) -> String {
    let (name, written) = (it.class.name().replace('_', " "), |to| unit::written(it.class, to));
    let percent = it.percent().map_or_else(|| "from nothing".to_owned(), |it| format!("{it:+} %"));
    format!("{name} ${} → ${} ({percent})", written(it.from), written(it.to))
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BookForm {
    kind: String,
    name: String,
    organization: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PlanForm {
    organization: String,
    plan: String,
    from: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ImportForm {
    book: String,
    file: String,
    from: String,
    note: String,
    whole: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BookQuery {
    #[serde(default)]
    book: String,
}

/// The platform's own book, in an address.
const PLATFORM_KEY: &str = "platform";

fn book_in(text: &str) -> Result<Option<PriceBookId>, BookError> {
    match text {
        PLATFORM_KEY => Ok(None),
        id => id.parse().map(Some).map_err(|_| BookError::NotFound),
    }
}

fn draft_in(text: &str) -> Result<PriceDraftId, BookError> {
    text.parse().map_err(|_| BookError::NoDraft)
}

fn moment_in(text: &str, zone: &str) -> Result<Option<OffsetDateTime>, Problems> {
    match text.trim() {
        "" => Ok(None),
        text => match instant(text, zone) {
            Some(at) => Ok(Some(at)),
            None => Err(Problems::one("from", "enter a time, like 2027-01-01T00:00")),
        },
    }
}

fn organization_in(text: &str) -> Result<Option<OrganizationId>, Problems> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|it| Problems::one("organization", it)),
    }
}

async fn show_all(operator: Operator) -> Result<Page<PricesPage>, Failure> {
    let (book, plan) = (BookForm::default(), PlanForm::default());
    Ok(Page(all_page(&operator, book, plan, Problems::none()).await?))
}

async fn all_page(
    operator: &Operator,
    book: BookForm,
    plan: PlanForm,
    problems: Problems,
) -> Result<PricesPage, Failure> {
    let mut work = operator.begin().await?;
    let (books, drafts) = (list(&mut work).await?, drafts(&mut work).await?);
    let zone = &operator.0.session.time_zone;
    let drafts = drafts.into_iter().map(|it| DraftLine::of(it, zone)).collect();
    Ok(PricesPage { frame: operator.0.frame(), books, drafts, book, plan, problems })
}

async fn open_book(operator: Operator, form: Form<BookForm>) -> Result<HttpResponse, Failure> {
    let mut work = operator.begin().await?;
    let outcome = async {
        let kind = BookKind::named(&form.kind).ok_or(Problems::one("kind", "choose what it is"))?;
        let organization = organization_in(&form.organization)?;
        open(&mut work, kind, &form.name, organization).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(book) => {
            commit(&operator, work).await?;
            Ok(see_other_saying(&format!("/operator/prices/books/{book}"), "Price book opened"))
        }
        Err(problems) => {
            drop(work);
            let page = all_page(&operator, form.0, PlanForm::default(), problems).await?;
            Ok(Page(page).again())
        }
    }
}

async fn change_plan(operator: Operator, form: Form<PlanForm>) -> Result<HttpResponse, Failure> {
    let mut work = operator.begin().await?;
    let zone = &operator.0.session.time_zone;
    let outcome = async {
        let organization = organization_in(&form.organization)?;
        let organization =
            organization.ok_or(Problems::one("organization", "say whose plan it is"))?;
        let plan = match form.plan.as_str() {
            "" => None,
            plan => book_in(plan)?,
        };
        put_on_plan(&mut work, organization, plan, moment_in(&form.from, zone)?).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(()) => {
            commit(&operator, work).await?;
            Ok(see_other_saying("/operator/prices", "Plan changed"))
        }
        Err(problems) => {
            drop(work);
            let page = all_page(&operator, BookForm::default(), form.0, problems).await?;
            Ok(Page(page).again())
        }
    }
}

async fn show_book(operator: Operator, path: Path<String>) -> Result<Page<BookPage>, Failure> {
    let book = book_in(&path)?;
    let mut work = operator.begin().await?;
    let (name, about) = match book {
        None => (PLATFORMS.to_owned(), "What everybody pays whom no other book is for.".to_owned()),
        Some(book) => {
            let Book { name, kind, organization, holders, .. } = find(&mut work, book).await?;
            let about = match (kind, organization) {
                (BookKind::Contract, Some(whose)) => format!("The contract of {whose}."),
                (_, Some(whose)) => format!("The own book of {whose}."),
                (_, None) => format!("A plan, on which {holders} organizations are now."),
            };
            (name, about)
        }
    };
    let (zone, now) = (&operator.0.session.time_zone, OffsetDateTime::now_utc());
    let lines = prices(&mut work, book).await?;
    let lines = lines.into_iter().map(|it| PriceLine::of(it, now, zone)).collect();
    Ok(Page(BookPage { frame: operator.0.frame(), name, about, key: path.into_inner(), lines }))
}

async fn ask(operator: Operator, query: Search<BookQuery>) -> Result<Page<ImportPage>, Failure> {
    let form = ImportForm { book: query.0.book, ..ImportForm::default() };
    Ok(Page(import_page(&operator, form, Problems::none()).await?))
}

async fn import_page(
    operator: &Operator,
    form: ImportForm,
    problems: Problems,
) -> Result<ImportPage, Failure> {
    let mut work = operator.begin().await?;
    let own = std::iter::once((PLATFORM_KEY.to_owned(), PLATFORMS.to_owned()));
    let others = list(&mut work).await?.into_iter().map(|it| {
        let name = format!("{}: {}", it.kind.title(), it.name);
        (it.id.to_string(), name)
    });
    Ok(ImportPage { frame: operator.0.frame(), books: own.chain(others).collect(), form, problems })
}

async fn import(operator: Operator, form: Form<ImportForm>) -> Result<HttpResponse, Failure> {
    let mut work = operator.begin().await?;
    let zone = &operator.0.session.time_zone;
    let outcome = async {
        let book = match form.book.as_str() {
            "" => None,
            book => book_in(book)?,
        };
        let from = moment_in(&form.from, zone)?;
        let lines = read(&form.file, zone).map_err(BookError::Wrong)?;
        let new = NewDraft { book, from, note: form.note.clone(), lines, is_whole: form.whole };
        draft(&mut work, new).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(made) => {
            commit(&operator, work).await?;
            Ok(see_other(&format!("/operator/prices/drafts/{made}")))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(import_page(&operator, form.0, problems).await?).again())
        }
    }
}

async fn import_catalogue(operator: Operator, _: Form<Nothing>) -> Result<HttpResponse, Failure> {
    let mut work = operator.begin().await?;
    let made = draft_of_catalogue(&mut work).await?;
    commit(&operator, work).await?;
    Ok(match made {
        Some(made) => see_other(&format!("/operator/prices/drafts/{made}")),
        None => see_other_saying("/operator/prices", "The catalogue lists nothing otherwise"),
    })
}

async fn show_draft(operator: Operator, path: Path<String>) -> Result<Page<DraftPage>, Failure> {
    let draft = draft_in(&path)?;
    Ok(Page(draft_page(&operator, draft, Problems::none()).await?))
}

async fn draft_page(
    operator: &Operator,
    id: PriceDraftId,
    problems: Problems,
) -> Result<DraftPage, Failure> {
    let mut work = operator.begin().await?;
    let draft = find_draft(&mut work, id).await?;
    // What was published is in the book: nothing of it is different from itself.
    let all = if draft.is_open() { differences(&mut work, &draft).await? } else { Vec::new() };
    let zone = &operator.0.session.time_zone;
    let needs_approval = draft.needs_approval || all.iter().any(|it| it.is_large);
    let (same, changes): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.kind == Change::None);
    let told = |(what, who): (&'static str, &Option<(String, OffsetDateTime)>)| {
        who.as_ref().map(|(by, at)| (what, by.clone(), Moment::new(*at, zone)))
    };
    let created = Some(draft.created.clone());
    let story = [
        ("Imported", &created),
        ("Approved", &draft.approved),
        ("Published", &draft.published),
        ("Withdrawn", &draft.withdrawn),
    ];
    Ok(DraftPage {
        frame: operator.0.frame(),
        state: state(&draft),
        from: draft.from.map(|it| Moment::new(it, zone)),
        story: story.into_iter().filter_map(told).collect(),
        lines: changes.into_iter().map(|it| DifferenceLine::of(it, zone)).collect(),
        unchanged: same.len(),
        needs_approval,
        is_own: work.actor.person() == Some(draft.created_by),
        draft,
        problems,
    })
}

async fn approve_draft(
    operator: Operator,
    path: Path<String>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let draft = draft_in(&path)?;
    let mut work = operator.begin().await?;
    let outcome = approve(&mut work, draft).await;
    ended(&operator, work, draft, outcome.map(|()| "Prices approved".to_owned())).await
}

async fn publish_draft(
    operator: Operator,
    path: Path<String>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let draft = draft_in(&path)?;
    let mut work = operator.begin().await?;
    let outcome = publish(&mut work, draft).await;
    let notice = |count| format!("Prices published: {count} in all books");
    ended(&operator, work, draft, outcome.map(notice)).await
}

async fn withdraw_draft(
    operator: Operator,
    path: Path<String>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let draft = draft_in(&path)?;
    let mut work = operator.begin().await?;
    let outcome = withdraw(&mut work, draft).await;
    ended(&operator, work, draft, outcome.map(|()| "Prices withdrawn".to_owned())).await
}

async fn ended(
    operator: &Operator,
    work: Work,
    draft: PriceDraftId,
    outcome: Result<String, BookError>,
) -> Result<HttpResponse, Failure> {
    match or_problems(outcome)? {
        Ok(notice) => {
            commit(operator, work).await?;
            Ok(see_other_saying(&format!("/operator/prices/drafts/{draft}"), &notice))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(draft_page(operator, draft, problems).await?).again())
        }
    }
}

/// Ends `work` and has the proxies told.
async fn commit(operator: &Operator, work: Work) -> Result<(), sqlx::Error> {
    work.commit().await?;
    operator.0.platform.nudges.snapshot.notify_one();
    Ok(())
}
