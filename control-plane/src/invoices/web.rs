//! Finance's pages of invoices, and the files that can be had of each.

use actix_web::{HttpRequest, HttpResponse, Responder, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{
    ids::{InvoiceId, ProjectId},
    money::Cents,
};
use time::{Date, OffsetDateTime};

use super::{
    Invoice, InvoiceError, Payment, State,
    document::{Document, Kind, Section},
    drafts,
    files::{self, Told},
    find, invoice_in, list, month_in,
    pdf::{self, NotPrinted},
    store, told,
};
use crate::{
    access::{Doors, Grant, Work, may},
    billing::Month,
    payments::{self, PaymentPart},
    web::{
        self, After, Failure, Frame, Moment, Page, Pager, Problems, Search, Section as Place, Span,
        optional,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/invoices", show_all);
    doors.get("/orgs/{org}/invoices.zip", year);
    doors.get("/orgs/{org}/invoices/draft", draft);
    doors.get("/orgs/{org}/invoices/draft/document", draft_document);
    doors.get("/orgs/{org}/invoices/draft/download", draft_file);
    doors.get("/orgs/{org}/invoices/{invoice}", show);
    doors.get("/orgs/{org}/invoices/{invoice}/document", document);
    doors.get("/orgs/{org}/invoices/{invoice}/download", file);
}

/// Which months are drafts: those with something charged, and this one.
#[derive(Template)]
#[template(path = "invoices/list.html")]
struct InvoicesPage {
    frame: Frame,
    drafts: Vec<DraftRow>,
    rows: Vec<Row>,
    years: Vec<i32>,
    pager: Pager,
    /// Whether PDFs are made here.
    prints: bool,
}

struct DraftRow {
    month: Month,
    count: usize,
    total: Cents,
    is_over: bool,
}

pub(super) struct Row {
    pub invoice: Invoice,
    pub state: State,
    pub issued: Moment,
}

impl Row {
    pub fn new(invoice: Invoice, zone: &str, today: Date) -> Self {
        let (state, issued) = (invoice.state(today), Moment::new(invoice.issued_at, zone));
        Self { invoice, state, issued }
    }

    pub fn due_on(&self) -> String {
        web::day(self.invoice.due_on)
    }
}

#[derive(Template)]
#[template(path = "invoices/show.html")]
struct InvoicePage {
    frame: Frame,
    row: Row,
    shown: Shown,
    /// Where its documents and files are.
    path: String,
    query: String,
    payments: Vec<PaidRow>,
    notes: Vec<Row>,
    refers_to: Option<Invoice>,
    /// How it is being paid, where somebody collects it.
    payment: Option<PaymentPart>,
    prints: bool,
}

struct PaidRow {
    payment: Payment,
    day: String,
}

#[derive(Template)]
#[template(path = "invoices/draft.html")]
struct DraftPage {
    frame: Frame,
    month: Month,
    others: Vec<OtherDraft>,
    shown: Shown,
    path: String,
    query: String,
    charged_until: Moment,
    prints: bool,
}

/// Another draft of the month.
struct OtherDraft {
    title: String,
    total: Cents,
    address: String,
    is_present: bool,
}

/// For printing, and to keep: nothing around it.
#[derive(Template)]
#[template(path = "invoices/document.html")]
struct DocumentPage {
    frame: Frame,
    shown: Shown,
    back: String,
}

/// A document as pages show it, or what is one project's of it.
pub(super) struct Shown {
    told: Told,
}

impl Shown {
    pub fn new(told: Told) -> Self {
        Self { told }
    }

    pub fn document(&self) -> &Document {
        &self.told.document
    }

    pub fn sections(&self) -> Vec<&Section> {
        self.told.sections().collect()
    }

    pub fn scope(&self) -> String {
        self.told.scope()
    }

    pub fn title(&self) -> String {
        self.told.title()
    }

    pub fn is_note(&self) -> bool {
        self.document().kind == Kind::CreditNote
    }

    /// Whether only one project's part is shown.
    pub fn is_part(&self) -> bool {
        self.told.only.is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.document().sections.is_empty() && self.document().own.is_empty()
    }

    pub fn part_total(&self) -> Cents {
        self.told.part_total()
    }

    pub fn grouped(&self, number: &i64) -> String {
        crate::requests::grouped(number.unsigned_abs())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    month: String,
    /// Which of several drafts.
    #[serde(default)]
    part: usize,
    #[serde(default)]
    project: String,
    #[serde(default)]
    format: String,
}

#[derive(Clone, Copy)]
enum Format {
    Pdf,
    Text(Text),
}

/// What is written here, and not printed.
#[derive(Clone, Copy)]
enum Text {
    Csv,
    Lines,
    Focus,
    Json,
}

impl Which {
    fn month(&self) -> Result<Month, InvoiceError> {
        match self.month.as_str() {
            "" => Ok(Month::at(OffsetDateTime::now_utc())),
            text => month_in(text),
        }
    }

    fn project(&self) -> Result<Option<ProjectId>, InvoiceError> {
        optional(&self.project).map_err(|_| InvoiceError::NotFound)
    }

    fn format(&self) -> Result<Format, Problems> {
        match self.format.as_str() {
            "" | "csv" => Ok(Format::Text(Text::Csv)),
            "pdf" => Ok(Format::Pdf),
            "lines" => Ok(Format::Text(Text::Lines)),
            "focus" => Ok(Format::Text(Text::Focus)),
            "json" => Ok(Format::Text(Text::Json)),
            _ => Err(Problems::one("format", "choose pdf, csv, lines, focus or json")),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Year {
    year: Option<i32>,
}

async fn show_all(
    grant: Grant<may::ViewInvoices>,
    query: Search<After<InvoiceId>>,
) -> Result<Page<InvoicesPage>, Failure> {
    let mut work = grant.begin().await?;
    let today = OffsetDateTime::now_utc().date();
    let part = list(&mut work, Span::page(query.after)).await?;
    let drafts = match query.after {
        None => draft_rows(&mut work, Month::of(today)).await?,
        Some(_) => Vec::new(),
    };
    let mut years: Vec<_> = part.items.iter().map(|it| it.month.year()).collect();
    years.dedup();
    let row = |it| Row::new(it, grant.zone(), today);
    Ok(Page(InvoicesPage {
        frame: grant.frame(Place::Invoices),
        drafts,
        pager: Pager::new(&grant.path("/invoices"), query.after, part.next),
        rows: part.items.into_iter().map(row).collect(),
        years,
        prints: grant.platform.printer.is_there(),
    }))
}

async fn draft_rows(work: &mut Work, present: Month) -> Result<Vec<DraftRow>, InvoiceError> {
    let organization = work.organization;
    let mut months = store::open_months(work, organization).await?;
    if !months.contains(&present) && !store::is_closed(work, organization, present).await? {
        months.insert(0, present);
    }
    let mut rows = Vec::new();
    for month in months {
        let drawn = drafts(work, month).await?;
        rows.push(DraftRow {
            month,
            count: drawn.len(),
            total: drawn.iter().map(|it| it.document.total).sum(),
            is_over: month < present,
        });
    }
    Ok(rows)
}

async fn show(
    grant: Grant<may::ViewInvoices>,
    path: Path<(String, String)>,
) -> Result<Page<InvoicePage>, Failure> {
    let id = invoice_in(&path.1)?;
    let mut work = grant.begin().await?;
    let (organization, today) = (work.organization, OffsetDateTime::now_utc().date());
    let invoice = find(&mut work, id).await?;
    let told = told(&mut work, id).await?;
    let payments =
        store::payments(&mut work, organization, id).await.map_err(InvoiceError::from)?;
    let of_month = super::of_month(&mut work, invoice.month).await?;
    let refers_to = match invoice.refers_to {
        Some(of) => Some(find(&mut work, of).await?),
        None => None,
    };
    let standing = payments::standing(&mut work, &invoice).await?;
    let payment = standing.map(|it| PaymentPart::new(it, grant.zone()));
    let row = |it| Row::new(it, grant.zone(), today);
    let notes = of_month.into_iter().filter(|it| it.refers_to == Some(id)).map(row).collect();
    let paid = |payment: Payment| PaidRow { day: web::day(payment.received_on), payment };
    Ok(Page(InvoicePage {
        frame: grant.frame(Place::Invoices),
        path: grant.path(&format!("/invoices/{id}")),
        query: String::new(),
        shown: Shown::new(told),
        payments: payments.into_iter().map(paid).collect(),
        notes,
        refers_to,
        payment,
        prints: grant.platform.printer.is_there(),
        row: row(invoice),
    }))
}

async fn document(
    grant: Grant<may::ViewInvoices>,
    path: Path<(String, String)>,
    which: Search<Which>,
) -> Result<Page<DocumentPage>, Failure> {
    let id = invoice_in(&path.1)?;
    let mut work = grant.begin().await?;
    let told = told(&mut work, id).await?;
    let shown = Shown::new(told.only(which.project()?)?);
    let back = grant.path(&format!("/invoices/{id}"));
    Ok(Page(DocumentPage { frame: grant.frame(Place::Invoices), shown, back }))
}

async fn file(
    grant: Grant<may::ViewInvoices>,
    request: HttpRequest,
    path: Path<(String, String)>,
    which: Search<Which>,
) -> Result<HttpResponse, Failure> {
    let id = invoice_in(&path.1)?;
    let mut work = grant.begin().await?;
    let invoice = find(&mut work, id).await?;
    let told = told(&mut work, id).await?.only(which.project()?)?;
    // Printing may take a moment; the database need not wait for it.
    drop(work);
    Ok(match which.format()? {
        Format::Pdf => pdf::issued(&grant, &invoice, &told).await?.respond_to(&request),
        Format::Text(text) => text.download(&told)?,
    })
}

async fn draft(
    grant: Grant<may::ViewInvoices>,
    which: Search<Which>,
) -> Result<Page<DraftPage>, Failure> {
    let month = which.month()?;
    let mut work = grant.begin().await?;
    let drawn = drafts(&mut work, month).await?;
    let path = grant.path("/invoices/draft");
    let address = |at: usize| format!("{path}?month={month}&part={at}");
    let other = |(at, it): (usize, &super::Drawn)| OtherDraft {
        title: it.document.scope.title(),
        total: it.document.total,
        address: address(at),
        is_present: at == which.part,
    };
    let others = drawn.iter().enumerate().map(other).collect();
    let chosen = drawn.into_iter().nth(which.part).ok_or(InvoiceError::NotFound)?;
    let now = OffsetDateTime::now_utc();
    let charged_until = crate::ledger::charged_until(now).min(month.ends_at());
    Ok(Page(DraftPage {
        frame: grant.frame(Place::Invoices),
        month,
        others,
        shown: Shown::new(whole(chosen)),
        query: format!("&month={month}&part={}", which.part),
        path,
        charged_until: Moment::new(charged_until, "UTC"),
        prints: grant.platform.printer.is_there(),
    }))
}

async fn draft_document(
    grant: Grant<may::ViewInvoices>,
    which: Search<Which>,
) -> Result<Page<DocumentPage>, Failure> {
    let month = which.month()?;
    let mut work = grant.begin().await?;
    let drawn = drafts(&mut work, month).await?.into_iter().nth(which.part);
    let told = whole(drawn.ok_or(InvoiceError::NotFound)?);
    let shown = Shown::new(told.only(which.project()?)?);
    let back = grant.path(&format!("/invoices/draft?month={month}&part={}", which.part));
    Ok(Page(DocumentPage { frame: grant.frame(Place::Invoices), shown, back }))
}

async fn draft_file(
    grant: Grant<may::ViewInvoices>,
    request: HttpRequest,
    which: Search<Which>,
) -> Result<HttpResponse, Failure> {
    let month = which.month()?;
    let mut work = grant.begin().await?;
    let drawn = drafts(&mut work, month).await?.into_iter().nth(which.part);
    let told = whole(drawn.ok_or(InvoiceError::NotFound)?).only(which.project()?)?;
    drop(work);
    Ok(match which.format()? {
        Format::Pdf => pdf::draft(&grant.platform.printer, &told).await?.respond_to(&request),
        Format::Text(text) => text.download(&told)?,
    })
}

fn whole(drawn: super::Drawn) -> Told {
    Told { document: drawn.document, details: drawn.details, only: None }
}

impl Text {
    fn download(self, told: &Told) -> Result<HttpResponse, InvoiceError> {
        let name = told.file_name();
        let named = format!("attachment; filename=\"{name}.json\"");
        Ok(match self {
            Self::Csv => web::csv::file(&name, files::simple(told)),
            Self::Lines => web::csv::file(&format!("{name}-lines"), files::lines(told)),
            Self::Focus => web::csv::file(&format!("{name}-focus"), files::focus(told)),
            Self::Json => HttpResponse::Ok()
                .content_type("application/json")
                .insert_header(("content-disposition", named))
                .body(json(told)?),
        })
    }
}

/// All of it, or one project's section.
fn json(told: &Told) -> Result<String, InvoiceError> {
    let mut document = told.document.clone();
    if told.only.is_some() {
        document.sections = told.sections().cloned().collect();
        return Ok(serde_json::to_string_pretty(&serde_json::json!({
            "part_of": document.number, "month": document.month, "sections": document.sections,
        }))?);
    }
    Ok(serde_json::to_string_pretty(&document)?)
}

/// More than anybody gets in a year.
const MOST_A_YEAR: usize = 2_000;

async fn year(
    grant: Grant<may::ViewInvoices>,
    which: Search<Year>,
) -> Result<HttpResponse, Failure> {
    let year = which.year.unwrap_or_else(|| OffsetDateTime::now_utc().year());
    let first: Month = format!("{year:04}-01").parse().map_err(|_| InvoiceError::NotFound)?;
    let last: Month = format!("{year:04}-12").parse().map_err(|_| InvoiceError::NotFound)?;
    let mut work = grant.begin().await?;
    let organization = work.organization;
    let (mut files, mut issued, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let span = Span::long(after);
        let months = Some((first.first(), last.end()));
        let found = store::list(&mut work, organization, None, months, span)
            .await
            .map_err(InvoiceError::from)?;
        let part = span.part(found, |it| it.id);
        for invoice in part.items {
            let told = told(&mut work, invoice.id).await?;
            files.extend(year_files(&told)?);
            issued.push(invoice);
        }
        after = part.next;
        if after.is_none() || issued.len() > MOST_A_YEAR {
            break;
        }
    }
    drop(work);
    files.extend(year_prints(&grant, &issued).await?);
    let name = format!("invoices-{}-{year}", grant.membership.slug);
    Ok(HttpResponse::Ok()
        .content_type("application/zip")
        .insert_header(("content-disposition", format!("attachment; filename=\"{name}.zip\"")))
        .body(files::zip(&files)))
}

fn year_files(told: &Told) -> Result<[(String, Vec<u8>); 4], InvoiceError> {
    let name = told.file_name();
    let files = [
        (format!("{name}.csv"), files::simple(told)),
        (format!("{name}-lines.csv"), files::lines(told)),
        (format!("{name}-focus.csv"), files::focus(told)),
        (format!("{name}.json"), json(told)?),
    ];
    Ok(files.map(|(name, text)| (name, text.into_bytes())))
}

/// The year's PDFs; where none are made here, none.
async fn year_prints(
    grant: &Grant<may::ViewInvoices>,
    issued: &[Invoice],
) -> Result<Vec<(String, Vec<u8>)>, InvoiceError> {
    let mut prints = Vec::new();
    for invoice in issued {
        // Each anew, rather than all at once in memory.
        let mut work = grant.begin().await?;
        let told = told(&mut work, invoice.id).await?;
        drop(work);
        match pdf::issued(grant, invoice, &told).await {
            Ok(print) => prints.push((format!("{}.pdf", print.name), print.bytes)),
            Err(InvoiceError::NotPrinted(NotPrinted::NoPrinter)) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(prints)
}
