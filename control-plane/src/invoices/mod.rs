//! Invoices: what an organization owes for a month, written once.
//!
//! A draft is computed whenever somebody looks. Closing a month writes its invoices, with numbers
//! that have no gaps, in one transaction, and from then on what comes late is the next month's.
//! Nothing of what was issued is changed: what was wrong is taken back by a credit note, or all
//! invoices of the month are voided, while none is paid, and the month is open again.
//!
//! Pages, files and programs all tell the same document. A month whose books do not agree is not
//! closed, and one that is unusual only when an operator says why.

mod api;
pub mod document;
mod draw;
mod files;
mod operator;
pub mod pdf;
mod run;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod web;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{
    failure::{Classified, Code, Kind as FailureKind, Problem},
    ids::{InvoiceId, PostingId},
    money::{Cents, largest_remainder},
    seal::Sealer,
};
use sqlx::PgConnection;
use time::{Date, Duration, OffsetDateTime};
use url::Url;
use uuid::Uuid;

pub use self::run::close_due;
use self::{
    document::{Document, Kind},
    draw::{Basis, Drawn},
    files::Told,
    pdf::NotPrinted,
};
use crate::{
    access::{Doors, Work},
    audit::{self, Entry},
    billing::{self, BillingError, Month},
    ledger::{
        self, Account, LedgerError, Posting, Reason,
        credits::{self, CreditKind, NewCredit},
    },
    mail::{self, Letter},
    web::{Part, Problems, Span},
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
    operator::doors(doors);
}

/// How long after its end a month waits for what is told late.
const GRACE: Duration = Duration::hours(48);

/// An invoice or a credit note, without what stands in it.
#[derive(Clone, Debug)]
pub struct Invoice {
    pub id: InvoiceId,
    pub number: String,
    pub kind: Kind,
    pub month: Month,
    pub scope: String,
    pub scope_id: Option<Uuid>,
    pub title: String,
    pub refers_to: Option<InvoiceId>,
    pub total: Cents,
    /// What was to be paid when it was issued; of a credit note, what it takes off that.
    pub due: Cents,
    pub posting: PostingId,
    pub issued_at: OffsetDateTime,
    pub due_on: Date,
    pub sent_at: Option<OffsetDateTime>,
    pub paid_at: Option<OffsetDateTime>,
    pub voided_at: Option<OffsetDateTime>,
    pub written_off_at: Option<OffsetDateTime>,
    pub hash: String,
    /// SHA-256 of its PDF, once it was printed.
    pub pdf_hash: Option<String>,
    pub paid: Cents,
    /// What credit notes took off what was to be paid, and what they took back in all.
    pub taken_back: Cents,
    pub noted: Cents,
}

impl Invoice {
    /// What is still to be paid.
    pub fn open(&self) -> Cents {
        if self.written_off_at.is_some() { Cents::ZERO } else { self.unpaid() }
    }

    /// The same, and what was given up: it may come nevertheless.
    pub fn unpaid(&self) -> Cents {
        match (self.kind, self.voided_at) {
            (Kind::Invoice, None) => self.due - self.paid - self.taken_back,
            (Kind::Invoice, Some(_)) | (Kind::CreditNote, _) => Cents::ZERO,
        }
    }

    /// Where what is not paid is kept.
    const fn owed(&self) -> Account {
        match self.written_off_at {
            Some(_) => Account::BadDebt,
            None => Account::Receivable,
        }
    }

    /// Whether something became of it already, so that it is taken back and not voided.
    fn is_settled(&self) -> bool {
        self.paid > Cents::ZERO
            || self.noted > Cents::ZERO
            || self.written_off_at.is_some()
            || (self.paid_at.is_some() && self.due > Cents::ZERO)
    }

    pub fn state(&self, today: Date) -> State {
        match self.kind {
            Kind::CreditNote => State::Issued,
            Kind::Invoice if self.voided_at.is_some() => State::Void,
            Kind::Invoice if self.paid_at.is_some() => State::Paid,
            Kind::Invoice if self.written_off_at.is_some() => State::Uncollectible,
            Kind::Invoice if self.due_on < today => State::Overdue,
            Kind::Invoice => State::Open,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = InvoiceState)]
pub enum State {
    Open,
    Overdue,
    Paid,
    Void,
    /// Given up.
    Uncollectible,
    /// Of credit notes.
    Issued,
}

impl State {
    /// A badge's kind and words.
    pub const fn badge(self) -> (&'static str, &'static str) {
        match self {
            Self::Open => ("warn", "Open"),
            Self::Overdue => ("bad", "Overdue"),
            Self::Paid => ("ok", "Paid"),
            Self::Void => ("", "Void"),
            Self::Uncollectible => ("", "Uncollectible"),
            Self::Issued => ("", "Issued"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    BankTransfer,
    Card,
    Cheque,
    Other,
}

impl Method {
    pub const ALL: [Self; 4] = [Self::BankTransfer, Self::Card, Self::Cheque, Self::Other];

    pub const fn name(self) -> &'static str {
        match self {
            Self::BankTransfer => "bank_transfer",
            Self::Card => "card",
            Self::Cheque => "cheque",
            Self::Other => "other",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::BankTransfer => "Bank transfer",
            Self::Card => "Card",
            Self::Cheque => "Cheque",
            Self::Other => "Other",
        }
    }
}

/// Money that came for an invoice.
#[derive(Clone, Debug)]
pub struct NewPayment {
    pub amount: Cents,
    pub method: Method,
    pub reference: String,
    pub received_on: Date,
    /// Makes saying it twice the same as saying it once.
    pub once: String,
}

#[derive(Clone, Debug)]
pub struct Payment {
    pub amount: Cents,
    pub method: String,
    pub reference: String,
    pub received_on: Date,
}

impl Payment {
    fn how(&self) -> &'static str {
        let known = Method::ALL.into_iter().find(|it| it.name() == self.method);
        known.map_or("Other", Method::title)
    }
}

/// What stands in the way of closing a month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// What has to be put right first.
    pub parked: Vec<String>,
    /// What an operator may let pass.
    pub unusual: Vec<String>,
}

/// Invoices, the latest first.
pub async fn list(
    work: &mut Work,
    span: Span<InvoiceId>,
) -> Result<Part<Invoice, InvoiceId>, InvoiceError> {
    let organization = work.organization;
    Ok(span.part(store::list(work, organization, None, None, span).await?, |it| it.id))
}

pub async fn find(work: &mut Work, invoice: InvoiceId) -> Result<Invoice, InvoiceError> {
    let organization = work.organization;
    let found = store::list(work, organization, Some(invoice), None, Span::page(None)).await?;
    found.into_iter().next().ok_or(InvoiceError::NotFound)
}

/// The invoices of a month.
pub async fn of_month(work: &mut Work, month: Month) -> Result<Vec<Invoice>, InvoiceError> {
    let organization = work.organization;
    let months = Some((month.first(), month.end()));
    Ok(store::list(work, organization, None, months, Span::long(None)).await?)
}

/// What an invoice says, and what its lines are made of.
async fn told(work: &mut Work, invoice: InvoiceId) -> Result<Told, InvoiceError> {
    let organization = work.organization;
    let found = store::document(work, organization, invoice).await?;
    let (document, details) = found.ok_or(InvoiceError::NotFound)?;
    Ok(Told {
        document: serde_json::from_str(&document)?,
        details: serde_json::from_str(&details)?,
        only: None,
    })
}

/// What an invoice says.
pub async fn document_of(work: &mut Work, invoice: InvoiceId) -> Result<Document, InvoiceError> {
    Ok(told(work, invoice).await?.document)
}

/// What the organization is called.
pub async fn name_of(work: &mut Work) -> Result<String, InvoiceError> {
    let organization = work.organization;
    let place = store::organization(work, organization).await?;
    Ok(place.ok_or(InvoiceError::NotFound)?.name)
}

/// What the month's invoices would be if they were written now: one that says so where there
/// would be none.
async fn drafts(work: &mut Work, month: Month) -> Result<Vec<Drawn>, InvoiceError> {
    let basis = basis(work, month, OffsetDateTime::now_utc().date()).await?;
    let drawn = draw::draw(&basis);
    Ok(if drawn.is_empty() { vec![draw::empty(&basis)] } else { drawn })
}

async fn basis(work: &mut Work, month: Month, issued_on: Date) -> Result<Basis, InvoiceError> {
    let organization = work.organization;
    let place = store::organization(work, organization).await?.ok_or(InvoiceError::NotFound)?;
    let charged = store::charged(work, organization, month).await?;
    let days: BTreeSet<_> = charged.iter().map(|it| (it.project, it.local_day)).collect();
    let days: Vec<_> = days.into_iter().collect();
    let figures = store::figures(work, organization, month).await?;
    Ok(Basis {
        organization,
        organization_name: place.name,
        month,
        issued_on,
        seller: billing::seller(work).await?,
        settings: billing::settings(work).await?,
        terms: billing::terms(work).await?,
        names: store::project_names(work, organization).await?,
        splits: store::splits(work, organization, &days).await?,
        credits: credits::list(work).await?,
        calls: figures.calls,
        charged,
    })
}

/// Looks at everything that has to be so before a month is closed, and at what usually is.
async fn look(work: &mut Work, month: Month, drawn: &[Drawn]) -> Result<Gate, InvoiceError> {
    let organization = work.organization;
    let mut gate = Gate::default();
    for it in store::odd_days(work, organization, month).await? {
        let store::OddDay { day, events, hours, days, charges } = it;
        gate.parked.push(format!(
            "the books of {day} do not agree: events {events}, hours {hours}, days {days}, \
             charged {charges} nano-dollars"
        ));
    }
    let apart = store::unposted(work, organization, month).await?;
    if apart != 0 {
        gate.parked.push(format!("the ledger is {apart} nano-dollars off what was charged"));
    }
    if billing::seller(work).await?.is_none() {
        gate.parked.push("nobody said yet whom invoices are from".to_owned());
    }
    let figures = store::figures(work, organization, month).await?;
    let missing = store::missing(work, organization, month).await?;
    let usage: i128 = drawn.iter().map(|it| i128::from(it.document.usage_nano.nanos())).sum();
    let estimated: i128 =
        drawn.iter().map(|it| i128::from(it.document.estimated_nano.nanos())).sum();
    if OffsetDateTime::now_utc() < month.ends_at() + GRACE {
        gate.unusual.push("the month ended less than 48 hours ago: calls may come late".to_owned());
    }
    if usage == 0 {
        gate.unusual.push("nothing was used that is billed".to_owned());
    }
    let usual = i128::from(figures.usual_nano);
    if figures.months_before > 0 && usage > usual * 5 {
        gate.unusual.push("it is more than five times as much as in the months before".to_owned());
    }
    if estimated * 50 > usage {
        gate.unusual.push("more than 2 % of it is estimated".to_owned());
    }
    if missing * 1_000 > figures.calls {
        gate.unusual.push(format!("{missing} calls are not resolved, more than 0.1 %"));
    }
    Ok(gate)
}

/// Closes a month: writes its invoices, all in one transaction. `approval` is why what is unusual
/// may pass.
pub async fn close(
    work: &mut Work,
    month: Month,
    approval: &str,
    by: &str,
) -> Result<Vec<InvoiceId>, InvoiceError> {
    ledger::lock(work).await?;
    store::be_patient(work).await?;
    let organization = work.organization;
    let now = OffsetDateTime::now_utc();
    if store::is_closed(work, organization, month).await? {
        return Err(InvoiceError::Closed(month));
    }
    if now < month.ends_at() {
        return Err(InvoiceError::NotOver(month));
    }
    let basis = basis(work, month, now.date()).await?;
    let drawn = draw::draw(&basis);
    let Gate { parked, unusual } = look(work, month, &drawn).await?;
    if !parked.is_empty() {
        return Err(InvoiceError::Parked(parked));
    }
    let approval = approval.trim();
    if !unusual.is_empty() && approval.is_empty() {
        return Err(InvoiceError::Unusual(unusual));
    }
    if approval.chars().count() > 500 {
        return Err(Problems::one("approval", "say why in at most 500 characters").into());
    }
    let mut written = Vec::new();
    for it in drawn {
        written.push(write(work, it).await?);
    }
    store::close(work, organization, month, by, &unusual, approval).await?;
    let told = json!({ "invoices": written, "unusual": unusual, "reason": approval });
    audit::record(work, Entry::new("month.closed", month, month.title()).after(told)).await?;
    Ok(written)
}

async fn write(work: &mut Work, drawn: Drawn) -> Result<InvoiceId, InvoiceError> {
    let Drawn { mut document, details, uses } = drawn;
    let series = document.seller.as_ref().map(|it| it.series.clone());
    let series = series.ok_or_else(|| InvoiceError::Parked(Vec::new()))?;
    let number = number(work, &series).await?;
    document.number = Some(number.clone());
    let usage = i128::from(document.usage_nano.nanos());
    let reduced = document.discount.as_ref().map_or(Cents::ZERO, |it| -it.amount);
    let raised = document.minimum.as_ref().map_or(Cents::ZERO, |it| it.amount);
    let mut posting = Posting::new(Reason::Invoice, format!("invoice {number}"), &number)
        .debit(Account::Receivable, document.due.nanos())
        .credit(Account::Accrued, usage)
        .debit(Account::Rounding, usage - document.usage.nanos())
        .debit(Account::Discounts, reduced.nanos())
        .credit(Account::Revenue, raised.nanos())
        .credit(Account::TaxPayable, document.tax.amount.nanos());
    for it in &uses {
        posting = posting.debit(it.kind.account(), it.amount.nanos());
    }
    let id = InvoiceId::generate();
    let posting = ledger::post(work, &posting).await?.ok_or(InvoiceError::Twice)?;
    credits::spend(work, posting, &uses).await?;
    let written = store::Written {
        id,
        number: &number,
        kind: Kind::Invoice,
        month: document.month,
        scope: document.scope.name(),
        scope_id: document.scope.id(),
        title: &document.scope.title(),
        refers_to: None,
        total: document.total,
        due: document.due,
        posting,
        due_on: document.due_on.date(),
        document: &serde_json::to_string(&document)?,
        details: &serde_json::to_string(&details)?,
    };
    let organization = work.organization;
    store::insert(work, organization, &written).await?;
    if document.due == Cents::ZERO {
        store::set_paid(work, organization, id).await?;
    }
    let told = json!({ "month": document.month, "total_usd": document.total });
    audit::record(work, Entry::new("invoice.issued", id, &number).after(told)).await?;
    Ok(id)
}

/// `TP-2026-000042`
async fn number(work: &mut Work, series: &str) -> Result<String, InvoiceError> {
    let year = OffsetDateTime::now_utc().year();
    let next = store::next_number(work, series, year).await?;
    Ok(format!("{series}-{year}-{next:06}"))
}

/// Tells those who pay, by mail. May be done again. Says how many are told.
pub async fn send(
    work: &mut Work,
    sealer: &Sealer,
    public_url: &Url,
    invoice: InvoiceId,
) -> Result<usize, InvoiceError> {
    let organization = work.organization;
    let found = find(work, invoice).await?;
    let Payers { name, emails: to, link } = payers(work, public_url, invoice).await?;
    let Invoice { number, kind, month, total, due_on, .. } = &found;
    let due = match found.open() {
        Cents::ZERO => "Nothing is left to be paid.".to_owned(),
        open => format!("{open} is to be paid until {}.", crate::web::day(*due_on)),
    };
    for recipient in &to {
        let letter = Letter {
            to: recipient.clone(),
            subject: format!("{} {number} for {}", kind.title(), month.title()),
            text: format!(
                "{} {number} of {} for {} comes to {total}. {due}\n\nSee and download it: {link}\n",
                kind.title(),
                name,
                month.title(),
            ),
        };
        mail::queue(work, sealer, &letter).await?;
    }
    store::set_sent(work, organization, invoice).await?;
    audit::record(work, Entry::new("invoice.sent", invoice, number)).await?;
    Ok(to.len())
}

/// Who is told of an invoice: what they are called, where, and a link to it.
struct Payers {
    name: String,
    emails: Vec<String>,
    link: String,
}

/// Those whom the organization named, or else who bills there.
async fn payers(
    work: &mut Work,
    public_url: &Url,
    invoice: InvoiceId,
) -> Result<Payers, InvoiceError> {
    let organization = work.organization;
    let place = store::organization(work, organization).await?.ok_or(InvoiceError::NotFound)?;
    let mut emails = billing::settings(work).await?.emails;
    if emails.is_empty() {
        emails = store::billers(work, organization).await?;
    }
    let link = public_url.join(&format!("/orgs/{}/invoices/{invoice}", place.slug));
    let link = link.map(|it| it.to_string()).unwrap_or_default();
    Ok(Payers { name: place.name, emails, link })
}

/// Tells those who pay, by mail, that their card was declined, and what follows.
pub async fn tell_declined(
    work: &mut Work,
    sealer: &Sealer,
    public_url: &Url,
    invoice: InvoiceId,
    again_at: Option<OffsetDateTime>,
) -> Result<(), InvoiceError> {
    let found = find(work, invoice).await?;
    let Payers { name, emails, link } = payers(work, public_url, invoice).await?;
    let (number, open) = (&found.number, found.unpaid());
    let follows = match again_at {
        Some(at) => format!("It is charged again on {}.", crate::web::day(at.date())),
        None => "It is not charged again by itself.".to_owned(),
    };
    for recipient in emails {
        let letter = Letter {
            to: recipient,
            subject: format!("The card was declined: invoice {number}"),
            text: format!(
                "The card of {name} was declined when {open} were to be paid for invoice {number}. \
                 {follows}\n\nSee what the bank said, use another card or pay now: {link}\n"
            ),
        };
        mail::queue(work, sealer, &letter).await?;
    }
    Ok(())
}

/// Notes that money came.
pub async fn pay(
    work: &mut Work,
    invoice: InvoiceId,
    payment: &NewPayment,
    by: &str,
) -> Result<(), InvoiceError> {
    ledger::lock(work).await?;
    let found = find(work, invoice).await?;
    let nanos = payment.amount.nanos();
    let key = format!("payment {invoice} {}", payment.once);
    let posting = Posting::new(Reason::Payment, key, &found.number)
        .debit(Account::Cash, nanos)
        .credit(found.owed(), nanos);
    if found.voided_at.is_some() || found.kind == Kind::CreditNote {
        return Err(InvoiceError::NothingToPay);
    }
    let Some(posting) = ledger::post(work, &posting).await? else { return Ok(()) };
    if payment.amount <= Cents::ZERO || payment.amount > found.unpaid() {
        let most = format!("{} is still to be paid", found.unpaid());
        return Err(Problems::one("amount", most).into());
    }
    if payment.reference.chars().count() > 200 || payment.reference.contains(char::is_control) {
        return Err(Problems::one("reference", "a reference has at most 200 characters").into());
    }
    let organization = work.organization;
    store::insert_payment(work, organization, invoice, posting, payment, by).await?;
    if payment.amount == found.unpaid() {
        store::set_paid(work, organization, invoice).await?;
    }
    let told = json!({ "amount_usd": payment.amount, "method": payment.method,
                       "reference": payment.reference });
    let entry = Entry::new("invoice.payment_recorded", invoice, &found.number).after(told);
    audit::record(work, entry).await?;
    Ok(())
}

/// A credit note that was written, and how much of it goes back to where it was paid from.
#[derive(Clone, Debug)]
pub struct Taken {
    pub note: InvoiceId,
    pub returned: Cents,
}

/// Takes a part of an invoice back. What is still to be paid becomes less; what was paid already
/// becomes a credit.
pub async fn take_back(
    work: &mut Work,
    invoice: InvoiceId,
    amount: Cents,
    reason: &str,
) -> Result<InvoiceId, InvoiceError> {
    Ok(take_back_returning(work, invoice, amount, reason, Cents::ZERO).await?.note)
}

/// The same; of what was paid already, so much at most goes back to whoever paid. The ledger has
/// it as paid out: the caller sees to it that it is.
pub async fn take_back_returning(
    work: &mut Work,
    invoice: InvoiceId,
    amount: Cents,
    reason: &str,
    most_returned: Cents,
) -> Result<Taken, InvoiceError> {
    ledger::lock(work).await?;
    let found = find(work, invoice).await?;
    let reason = reason.trim();
    let mut problems = Problems::none();
    let most = found.total - found.noted;
    if amount <= Cents::ZERO || amount > most {
        problems.add("amount", format!("at most {most} can be taken back"));
    }
    let is_said = (1..=200).contains(&reason.chars().count());
    if !is_said || reason.contains(char::is_control) {
        problems.add("reason", "say why, in at most 200 characters");
    }
    if found.kind == Kind::CreditNote || found.voided_at.is_some() {
        return Err(InvoiceError::NothingToPay);
    }
    problems.check()?;
    let document = told(work, invoice).await?.document;
    let series = document.seller.as_ref().map(|it| it.series.clone()).unwrap_or_default();
    let number = number(work, &format!("{series}-CN")).await?;
    let note = note(document, &number, amount, found.unpaid(), reason);
    let returned = (amount - note.due).min(most_returned);
    let note = Document { returned: Some(returned).filter(|it| *it > Cents::ZERO), ..note };
    let rest = amount - note.due - returned;
    let posting = Posting::new(Reason::CreditNote, format!("invoice {number}"), &number)
        .debit(Account::Revenue, note.net.nanos())
        .debit(Account::TaxPayable, note.tax.amount.nanos())
        .credit(found.owed(), note.due.nanos())
        .credit(Account::Cash, returned.nanos())
        .credit(Account::Wallet, rest.nanos());
    let posting = ledger::post(work, &posting).await?.ok_or(InvoiceError::Twice)?;
    let id = InvoiceId::generate();
    let written = store::Written {
        id,
        number: &number,
        kind: Kind::CreditNote,
        month: found.month,
        scope: &found.scope,
        scope_id: found.scope_id,
        title: &found.title,
        refers_to: Some(invoice),
        total: amount,
        due: note.due,
        posting,
        due_on: note.due_on.date(),
        document: &serde_json::to_string(&note)?,
        details: "[]",
    };
    let organization = work.organization;
    store::insert(work, organization, &written).await?;
    if rest > Cents::ZERO {
        credits::keep(work, &refund(&number, rest)).await?;
    }
    if found.unpaid() > Cents::ZERO && note.due == found.unpaid() {
        store::set_paid(work, organization, invoice).await?;
    }
    let told = json!({ "invoice": found.number, "amount_usd": amount, "reason": reason,
                       "returned_usd": returned });
    audit::record(work, Entry::new("invoice.credited", id, &number).after(told)).await?;
    Ok(Taken { note: id, returned })
}

fn refund(number: &str, amount: Cents) -> NewCredit {
    NewCredit {
        kind: CreditKind::Paid,
        name: format!("Credit note {number}"),
        priority: 50,
        amount,
        effective_on: OffsetDateTime::now_utc().date(),
        expires_on: None,
        reference: number.to_owned(),
    }
}

/// The document of a credit note, from its invoice's. Tax is taken back in its proportion.
fn note(of: Document, number: &str, amount: Cents, open: Cents, reason: &str) -> Document {
    let weights = [of.net, of.tax.amount].map(|it| it.cents().unsigned_abs());
    let parts = largest_remainder(i128::from(amount.cents()), &weights);
    let part = |at: usize| {
        let cents = parts.get(at).and_then(|it| i64::try_from(*it).ok());
        Cents::from_cents(cents.unwrap_or_default())
    };
    let today = OffsetDateTime::now_utc().date();
    Document {
        number: Some(number.to_owned()),
        kind: Kind::CreditNote,
        issued_on: today.into(),
        due_on: today.into(),
        sections: Vec::new(),
        cost_centers: Vec::new(),
        own: Vec::new(),
        usage_nano: Default::default(),
        usage: Cents::ZERO,
        discount: None,
        minimum: None,
        net: part(0),
        tax: document::Tax { amount: part(1), ..of.tax },
        total: amount,
        credits: Vec::new(),
        due: amount.min(open),
        estimated_nano: Default::default(),
        refers_to: of.number,
        reason: Some(reason.to_owned()),
        ..of
    }
}

/// Gives up what is still to be paid. Should it come nevertheless, it is noted like any payment.
pub async fn write_off(
    work: &mut Work,
    invoice: InvoiceId,
    reason: &str,
) -> Result<Cents, InvoiceError> {
    ledger::lock(work).await?;
    let found = find(work, invoice).await?;
    let (open, reason) = (found.open(), reason.trim());
    if open == Cents::ZERO {
        return Err(InvoiceError::NothingToPay);
    }
    let is_said = (1..=200).contains(&reason.chars().count());
    if !is_said || reason.contains(char::is_control) {
        return Err(Problems::one("reason", "say why, in at most 200 characters").into());
    }
    let key = format!("written off {invoice}");
    let posting = Posting::new(Reason::WrittenOff, key, &found.number)
        .debit(Account::BadDebt, open.nanos())
        .credit(Account::Receivable, open.nanos());
    ledger::post(work, &posting).await?.ok_or(InvoiceError::Twice)?;
    let organization = work.organization;
    store::set_written_off(work, organization, invoice).await?;
    let told = json!({ "amount_usd": open, "reason": reason });
    let entry = Entry::new("invoice.written_off", invoice, &found.number).after(told);
    audit::record(work, entry).await?;
    Ok(open)
}

/// Voids all invoices of a month, of which none is paid, and opens it again. Their numbers stay
/// used.
pub async fn void(work: &mut Work, month: Month) -> Result<(), InvoiceError> {
    ledger::lock(work).await?;
    let organization = work.organization;
    let all = of_month(work, month).await?;
    let invoices: Vec<_> =
        all.iter().filter(|it| it.kind == Kind::Invoice && it.voided_at.is_none()).collect();
    if invoices.is_empty() {
        return Err(InvoiceError::NotFound);
    }
    if let Some(it) = invoices.iter().find(|it| it.is_settled()) {
        return Err(InvoiceError::Settled(it.number.clone()));
    }
    for it in invoices {
        let key = format!("void {}", it.number);
        let mut posting = Posting::new(Reason::InvoiceVoided, key, &it.number);
        for (account, nanos) in ledger::entries(work, it.posting).await? {
            posting = posting.credit(account, nanos);
        }
        let posting = ledger::post(work, &posting).await?.ok_or(InvoiceError::Twice)?;
        credits::give_back(work, it.posting, posting).await?;
        store::set_voided(work, organization, it.id).await?;
        audit::record(work, Entry::new("invoice.voided", it.id, &it.number)).await?;
    }
    store::reopen(work, organization, month).await?;
    audit::record(work, Entry::new("month.reopened", month, month.title())).await?;
    Ok(())
}

/// What has to be equal about invoices, of all organizations and months from a day on: what was
/// charged and what is invoiced, what they say and what they are made of, and what the ledger
/// says of them.
pub async fn sums(
    conn: &mut PgConnection,
    since: Date,
) -> Result<Vec<ledger::Differing>, sqlx::Error> {
    let rows = store::sums(conn, since).await?;
    let all = rows.into_iter().map(|(row_key, amount, ours, theirs)| ledger::Differing {
        row_key,
        amount,
        ours,
        theirs,
    });
    Ok(all.collect())
}

fn invoice_in(text: &str) -> Result<InvoiceId, InvoiceError> {
    text.parse().map_err(|_| InvoiceError::NotFound)
}

fn month_in(text: &str) -> Result<Month, InvoiceError> {
    text.parse().map_err(|_| InvoiceError::NotFound)
}

#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    #[error("there is no such invoice")]
    NotFound,
    #[error("{} is closed already", .0.title())]
    Closed(Month),
    #[error("{} is not over", .0.title())]
    NotOver(Month),
    #[error("the month cannot be closed: {}", .0.join("; "))]
    Parked(Vec<String>),
    #[error("say why this may pass: {}", .0.join("; "))]
    Unusual(Vec<String>),
    #[error("there is nothing to pay or to take back")]
    NothingToPay,
    #[error("{0} is paid or credited already: take it back by a credit note")]
    Settled(String),
    #[error("the number was used already")]
    Twice,
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error(transparent)]
    NotPrinted(#[from] NotPrinted),
    #[error("an invoice cannot be read or written")]
    Unreadable(#[from] serde_json::Error),
    #[error(transparent)]
    Billing(#[from] BillingError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("the store of invoices failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for InvoiceError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::NotFound => FailureKind::NotFound,
            Self::Closed(_)
            | Self::NotOver(_)
            | Self::Parked(_)
            | Self::NothingToPay
            | Self::Settled(_) => FailureKind::Conflict,
            Self::Unusual(_) | Self::Refused(_) => FailureKind::Invalid,
            Self::Twice | Self::Unreadable(_) => FailureKind::Internal,
            Self::NotPrinted(NotPrinted::NoPrinter) => FailureKind::Conflict,
            Self::NotPrinted(NotPrinted::Late) => FailureKind::Unavailable,
            Self::NotPrinted(NotPrinted::Refused(_) | NotPrinted::Broken(_)) => {
                FailureKind::Internal
            }
            Self::Billing(error) => error.kind(),
            Self::Ledger(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        self.kind().code()
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Refused(problems) => problems.list().to_vec(),
            Self::Unusual(_) => vec![Problem { field: "approval", message: self.to_string() }],
            Self::Billing(error) => error.problems(),
            Self::Ledger(error) => error.problems(),
            Self::NotFound
            | Self::Closed(_)
            | Self::NotOver(_)
            | Self::Parked(_)
            | Self::NothingToPay
            | Self::Settled(_)
            | Self::Twice
            | Self::NotPrinted(_)
            | Self::Unreadable(_)
            | Self::Store(_) => Vec::new(),
        }
    }
}
