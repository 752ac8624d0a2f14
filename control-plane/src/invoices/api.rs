//! Invoices in the management API.

use actix_web::{http::Method, web::Path};
use serde::{Deserialize, Serialize};
use shared::{ids::InvoiceId, money::Cents};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::{
    Invoice, InvoiceError, State,
    document::{Detail, Document, Kind},
    drafts, find, invoice_in, list, month_in,
    pdf::{self, Pdf},
    told,
};
use crate::{
    access::{Doors, Grant, may},
    billing::Month,
    cost_centers::Day,
    web::{After, Failure, Json, Search, Span, optional},
};

pub fn doors(doors: &mut Doors) {
    let invoices = "/api/v1/orgs/{org}/invoices";
    doors.api(Method::GET, invoices, "List invoices and credit notes", show_all);
    doors.api(
        Method::GET,
        "/api/v1/orgs/{org}/invoices/drafts",
        "Show what a month's invoices would be",
        show_drafts,
    );
    doors.api(Method::GET, "/api/v1/orgs/{org}/invoices/{invoice}", "Show an invoice", show);
    doors.api(
        Method::GET,
        "/api/v1/orgs/{org}/invoices/{invoice}/details",
        "List what an invoice's lines are made of",
        show_details,
    );
    doors.api(
        Method::GET,
        "/api/v1/orgs/{org}/invoices/{invoice}/pdf",
        "Download an invoice as a PDF",
        show_pdf,
    );
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct OfProject {
    /// The id of a project: its part, and not all of it.
    #[serde(default)]
    #[param(required = false)]
    project: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = InvoiceSummary)]
struct Summary {
    id: InvoiceId,
    number: String,
    kind: Kind,
    month: Month,
    /// What it is for: `organization`, `project` or `cost_center`.
    scope: String,
    title: String,
    state: State,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    issued_at: OffsetDateTime,
    due_on: Day,
    total: Cents,
    /// What is still to be paid.
    open: Cents,
    /// Of a credit note: its invoice.
    refers_to: Option<InvoiceId>,
    /// SHA-256 of what was written, in hexadecimal.
    hash: String,
    /// That of its PDF, once one was made.
    pdf_hash: Option<String>,
}

impl Summary {
    fn of(invoice: Invoice) -> Self {
        let (state, open) = (invoice.state(OffsetDateTime::now_utc().date()), invoice.open());
        Self {
            id: invoice.id,
            number: invoice.number,
            kind: invoice.kind,
            month: invoice.month,
            scope: invoice.scope,
            title: invoice.title,
            state,
            issued_at: invoice.issued_at,
            due_on: invoice.due_on.into(),
            total: invoice.total,
            open,
            refers_to: invoice.refers_to,
            hash: invoice.hash,
            pdf_hash: invoice.pdf_hash,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct Invoices {
    data: Vec<Summary>,
    /// What to give as `after` for the next page; null on the last.
    next: Option<InvoiceId>,
}

#[derive(Serialize, ToSchema)]
struct ShownInvoice {
    #[serde(flatten)]
    summary: Summary,
    document: Document,
}

#[derive(Serialize, ToSchema)]
struct InvoiceDetails {
    data: Vec<Detail>,
}

#[derive(Serialize, ToSchema)]
struct InvoiceDrafts {
    data: Vec<Document>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct OfMonth {
    /// Like `2026-11`; this one when left out.
    month: Option<String>,
}

async fn show_all(
    grant: Grant<may::ViewInvoices>,
    query: Search<After<InvoiceId>>,
) -> Result<Json<Invoices>, Failure> {
    let mut work = grant.begin().await?;
    let part = list(&mut work, Span::long(query.after)).await?;
    let data = part.items.into_iter().map(Summary::of).collect();
    Ok(Json(Invoices { data, next: part.next }))
}

async fn show_drafts(
    grant: Grant<may::ViewInvoices>,
    query: Search<OfMonth>,
) -> Result<Json<InvoiceDrafts>, Failure> {
    let month = match &query.month {
        Some(text) => month_in(text)?,
        None => Month::at(OffsetDateTime::now_utc()),
    };
    let mut work = grant.begin().await?;
    let drawn = drafts(&mut work, month).await?;
    Ok(Json(InvoiceDrafts { data: drawn.into_iter().map(|it| it.document).collect() }))
}

async fn show(
    grant: Grant<may::ViewInvoices>,
    path: Path<(String, String)>,
) -> Result<Json<ShownInvoice>, Failure> {
    let id = invoice_in(&path.1)?;
    let mut work = grant.begin().await?;
    let summary = Summary::of(find(&mut work, id).await?);
    Ok(Json(ShownInvoice { summary, document: told(&mut work, id).await?.document }))
}

async fn show_details(
    grant: Grant<may::ViewInvoices>,
    path: Path<(String, String)>,
) -> Result<Json<InvoiceDetails>, Failure> {
    let id = invoice_in(&path.1)?;
    let mut work = grant.begin().await?;
    Ok(Json(InvoiceDetails { data: told(&mut work, id).await?.details }))
}

async fn show_pdf(
    grant: Grant<may::ViewInvoices>,
    path: Path<(String, String)>,
    query: Search<OfProject>,
) -> Result<Pdf, Failure> {
    let id = invoice_in(&path.1)?;
    let project = optional(&query.project).map_err(|_| InvoiceError::NotFound)?;
    let mut work = grant.begin().await?;
    let invoice = find(&mut work, id).await?;
    let told = told(&mut work, id).await?.only(project)?;
    drop(work);
    Ok(pdf::issued(&grant, &invoice, &told).await?)
}
