//! Giving money back to the card it came from.
//!
//! A refund is a part of a credit note: written with it, in its transaction, and made at the
//! provider by the worker that collects. The ledger has it as paid out from then on. One that the
//! provider refuses, or that the card's bank sends back days later, becomes a credit.

use shared::{
    ids::{InvoiceId, OrganizationId},
    money::Cents,
};
use sqlx::PgPool;
use time::OffsetDateTime;

use super::{
    PaymentError, Rail, Stage, begin,
    provider::{RefundState, RemoteRefund},
    store,
};
use crate::{
    access::Work,
    audit::{self, Entry},
    invoices::{self, Taken},
    ledger::{
        self, Account, Posting, Reason,
        credits::{self, CreditKind, NewCredit},
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type, serde::Serialize, utoipa::ToSchema)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
#[schema(as = RefundState)]
pub enum State {
    Asked,
    Made,
    Failed,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Made => "made",
            Self::Failed => "failed",
        }
    }

    /// A badge's kind and words.
    pub const fn badge(self) -> (&'static str, &'static str) {
        match self {
            Self::Asked => ("", "On its way"),
            Self::Made => ("ok", "Given back"),
            Self::Failed => ("warn", "Became a credit"),
        }
    }
}

/// What goes back to a card.
#[derive(Clone, Debug)]
pub struct Refund {
    /// The credit note that it is a part of,
    pub note: InvoiceId,
    pub number: String,
    pub amount: Cents,
    pub state: State,
    /// and why it came to nothing.
    pub about: String,
    pub asked_at: OffsetDateTime,
    pub remote: Option<String>,
}

/// How much of an invoice can go back to the card that paid it.
pub async fn refundable(work: &mut Work, invoice: InvoiceId) -> Result<Cents, PaymentError> {
    let organization = work.organization;
    let found = store::find(work, organization, invoice).await?;
    match found {
        Some(it) if it.stage == Stage::Paid => {
            Ok(store::refundable(work, organization, invoice).await?)
        }
        Some(_) | None => Ok(Cents::ZERO),
    }
}

/// Takes a part of an invoice back; what was paid of it by card goes back to the card.
pub async fn take_back(
    work: &mut Work,
    invoice: InvoiceId,
    amount: Cents,
    reason: &str,
) -> Result<Taken, PaymentError> {
    ledger::lock(work).await?;
    let most = refundable(work, invoice).await?;
    let taken = invoices::take_back_returning(work, invoice, amount, reason, most).await?;
    if taken.returned > Cents::ZERO {
        let organization = work.organization;
        store::insert_refund(work, organization, taken.note, invoice, taken.returned).await?;
    }
    Ok(taken)
}

/// Notes what the provider says of a refund. What failed once has ended.
pub(super) async fn note(
    work: &mut Work,
    note: InvoiceId,
    remote: &RemoteRefund,
) -> Result<(), PaymentError> {
    match &remote.state {
        RefundState::Failed(why) => fail(work, note, Some(&remote.id), why).await,
        RefundState::Pending | RefundState::Done => {
            ledger::lock(work).await?;
            let organization = work.organization;
            let found = store::lock_refund(work, organization, note).await?;
            if found.is_some_and(|it| it.state != State::Failed) {
                let made = State::Made;
                store::set_refund(work, organization, note, made, Some(&remote.id), "").await?;
            }
            Ok(())
        }
    }
}

/// The money stays here, and pays for what comes.
pub(super) async fn fail(
    work: &mut Work,
    note: InvoiceId,
    remote: Option<&str>,
    why: &str,
) -> Result<(), PaymentError> {
    ledger::lock(work).await?;
    let organization = work.organization;
    let found = store::lock_refund(work, organization, note).await?;
    let Some(refund) = found.filter(|it| it.state != State::Failed) else { return Ok(()) };
    let nanos = refund.amount.nanos();
    let posting = Posting::new(Reason::RefundFailed, format!("refund {note}"), &refund.number)
        .debit(Account::Cash, nanos)
        .credit(Account::Wallet, nanos);
    ledger::post(work, &posting).await?;
    let credit = NewCredit {
        kind: CreditKind::Paid,
        name: format!("Not given back to a card: {}", refund.number),
        priority: 50,
        amount: refund.amount,
        effective_on: OffsetDateTime::now_utc().date(),
        expires_on: None,
        reference: refund.number.clone(),
    };
    credits::keep(work, &credit).await?;
    store::set_refund(work, organization, note, State::Failed, remote, why).await?;
    let told = serde_json::json!({ "amount_usd": refund.amount, "bank": why });
    let entry = Entry::new("invoice.refund_failed", note, &refund.number).after(told);
    Ok(audit::record(work, entry).await?)
}

/// Notes how those refunds of an invoice are at the provider now that somebody told of.
pub(super) async fn look(
    rail: &Rail,
    db: &PgPool,
    organization: OrganizationId,
    invoice: InvoiceId,
    refs: &[String],
) -> Result<(), PaymentError> {
    let refunds = {
        let mut work = begin(db, organization).await?;
        store::refunds(&mut work, organization, invoice).await?
    };
    for it in refunds {
        let Some(remote) = it.remote.filter(|it| refs.contains(it)) else { continue };
        let found = rail.provider.refund(&remote).await?;
        let mut work = begin(db, organization).await?;
        note(&mut work, it.note, &found).await?;
        work.commit().await?;
    }
    Ok(())
}
