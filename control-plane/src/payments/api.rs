//! Paying invoices in the management API.

use actix_web::{http::Method, web::Path};
use serde::Serialize;
use shared::{ids::InvoiceId, money::Cents};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{Attempt, Outcome, PaymentError, Refund, RefundState, Stage, pay_now, standing};
use crate::{
    access::{Doors, Grant, Work, may},
    invoices::{self, InvoiceError},
    web::{Failure, Json},
};

pub fn doors(doors: &mut Doors) {
    let payment = "/api/v1/orgs/{org}/invoices/{invoice}/payment";
    doors.api(Method::GET, payment, "Show how an invoice is being paid", show);
    doors.api(Method::POST, payment, "Charge the card for an invoice now", pay);
}

#[derive(Serialize, ToSchema)]
#[schema(as = InvoicePayment)]
struct Payment {
    /// How far the payment provider has it: `new`, `drafted`, `lined`, `open`, `uncollectible`,
    /// `by_hand`, `void` or `paid`. Null where nobody collects it.
    stage: Option<&'static str>,
    /// What it is paid with, as `Visa ending in 4242`.
    card: Option<String>,
    /// When the card is charged by itself.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    charged_at: Option<OffsetDateTime>,
    /// What the bank said the last time, where it declined.
    declined: String,
    /// A page of the provider's on which it can be paid by whoever has its address.
    page: Option<String>,
    /// The latest first.
    attempts: Vec<ShownAttempt>,
    /// What goes back to the card, by credit notes; the oldest first.
    refunds: Vec<ShownRefund>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PaymentRefund)]
struct ShownRefund {
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    at: OffsetDateTime,
    credit_note: InvoiceId,
    number: String,
    amount: Cents,
    /// What failed became a credit.
    state: RefundState,
    /// What the bank said of one that failed.
    about: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PaymentAttempt)]
struct ShownAttempt {
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    at: OffsetDateTime,
    /// Null while it is under way.
    outcome: Option<Outcome>,
    about: String,
}

async fn payment(work: &mut Work, id: InvoiceId) -> Result<Payment, PaymentError> {
    let invoice = invoices::find(work, id).await?;
    let Some(it) = standing(work, &invoice).await? else {
        return Ok(Payment {
            stage: None,
            card: None,
            charged_at: None,
            declined: String::new(),
            page: None,
            attempts: Vec::new(),
            refunds: Vec::new(),
        });
    };
    let is_open = it.collection.stage == Stage::Open;
    let attempt =
        |it: Attempt| ShownAttempt { at: it.asked_at, outcome: it.outcome, about: it.about };
    let refund = |it: Refund| ShownRefund {
        at: it.asked_at,
        credit_note: it.note,
        number: it.number,
        amount: it.amount,
        state: it.state,
        about: it.about,
    };
    Ok(Payment {
        stage: Some(it.collection.stage.name()),
        card: it.card,
        charged_at: it.charged_at,
        declined: it.collection.declined,
        page: it.collection.hosted_url.filter(|_| is_open),
        attempts: it.attempts.into_iter().map(attempt).collect(),
        refunds: it.refunds.into_iter().map(refund).collect(),
    })
}

fn invoice_in(text: &str) -> Result<InvoiceId, InvoiceError> {
    text.parse().map_err(|_| InvoiceError::NotFound)
}

async fn show(
    grant: Grant<may::ViewInvoices>,
    path: Path<(String, String)>,
) -> Result<Json<Payment>, Failure> {
    let id = invoice_in(&path.1)?;
    let mut work = grant.begin().await?;
    Ok(Json(payment(&mut work, id).await?))
}

async fn pay(
    grant: Grant<may::ManageBilling>,
    path: Path<(String, String)>,
) -> Result<Json<Payment>, Failure> {
    let id = invoice_in(&path.1)?;
    let mut work = grant.begin().await?;
    invoices::find(&mut work, id).await?;
    let rail = grant.platform.payments.as_ref().ok_or(PaymentError::NotCollected)?;
    pay_now(rail, &grant.platform.db, work, id, OffsetDateTime::now_utc()).await?;
    let mut work = grant.begin().await?;
    Ok(Json(payment(&mut work, id).await?))
}
