//! The operators' pages of billing: closing months, invoices and what becomes of them, credits,
//! terms, and whom invoices are from.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{
    ids::{BudgetId, InvoiceId, OrganizationId, PostingId},
    money::Cents,
};
use time::OffsetDateTime;

use super::{
    Gate, InvoiceError, Method, NewPayment,
    document::Kind,
    drafts, invoice_in, look, month_in, of_month, pay,
    run::{Run, close_and_send},
    send, store, take_back_returning, void,
    web::Row,
    write_off,
};
use crate::{
    access::{Doors, Operator, Work},
    billing::{self, BillingError, CreditRow, Month, Seller, Terms},
    budgets,
    cost_centers::{BasisPoints, Day},
    ledger::{
        credits::{self, CreditKind, NewCredit},
        prepaid,
    },
    payments::{self, PaymentError},
    web::{Failure, Form, Frame, Page, Problems, Search, optional, or_problems, see_other_saying},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/operator/billing", run);
    doors.post("/operator/billing/close", close_all);
    doors.get("/operator/billing/seller", show_seller);
    doors.post("/operator/billing/seller", change_seller);
    doors.get("/operator/billing/{organization}", show);
    doors.post("/operator/billing/{organization}/close", close_one);
    doors.post("/operator/billing/{organization}/terms", change_terms);
    doors.post("/operator/billing/{organization}/credits", grant_credit);
    doors.post("/operator/billing/{organization}/invoices/{invoice}/send", send_one);
    doors.post("/operator/billing/{organization}/invoices/{invoice}/payments", record_payment);
    doors.post("/operator/billing/{organization}/invoices/{invoice}/credit-notes", credit);
    doors.post("/operator/billing/{organization}/invoices/{invoice}/write-off", give_up);
    doors.post("/operator/billing/{organization}/invoices/{invoice}/void", void_month);
}

#[derive(Template)]
#[template(path = "operator_pages/billing.html")]
struct RunPage {
    frame: Frame,
    month: Month,
    previous: Month,
    next: Option<Month>,
    is_over: bool,
    has_seller: bool,
    has_open: bool,
    closes_by_itself: bool,
    rows: Vec<RunRow>,
    total: Cents,
}

/// An organization in a month.
struct RunRow {
    id: OrganizationId,
    name: String,
    count: usize,
    total: Cents,
    open: Cents,
    is_closed: bool,
    gate: Gate,
}

#[derive(Template)]
#[template(path = "operator_pages/billing_of.html")]
struct OrganizationPage {
    frame: Frame,
    id: OrganizationId,
    name: String,
    month: Month,
    previous: Month,
    next: Option<Month>,
    is_over: bool,
    is_closed: bool,
    gate: Gate,
    drafts: Vec<(String, Cents)>,
    rows: Vec<Row>,
    /// What can go back to the card that paid, of those of which anything can.
    refundable: Vec<(InvoiceId, Cents)>,
    credits: Vec<CreditRow>,
    terms: TermsForm,
    problems: Problems,
    /// Makes a form that is sent twice one thing.
    once: String,
    today: String,
}

impl OrganizationPage {
    fn methods(&self) -> [(&'static str, &'static str); 4] {
        Method::ALL.map(|it| (it.name(), it.title()))
    }

    fn kinds(&self) -> [(&'static str, &'static str); 3] {
        CreditKind::ALL.map(|it| (it.name(), it.title()))
    }

    fn can_be_paid(&self, row: &Row) -> bool {
        row.invoice.unpaid() > Cents::ZERO
    }

    fn can_be_written_off(&self, row: &Row) -> bool {
        row.invoice.open() > Cents::ZERO
    }

    fn is_invoice(&self, row: &Row) -> bool {
        row.invoice.kind == Kind::Invoice && row.invoice.voided_at.is_none()
    }

    fn refundable(&self, row: &Row) -> Option<Cents> {
        self.refundable.iter().find(|it| it.0 == row.invoice.id).map(|it| it.1)
    }

    /// Whether something of it can still be taken back.
    fn can_be_credited(&self, row: &Row) -> bool {
        self.is_invoice(row) && row.invoice.noted < row.invoice.total
    }

    fn can_be_voided(&self, row: &Row) -> bool {
        self.is_invoice(row) && !row.invoice.is_settled()
    }
}

#[derive(Template)]
#[template(path = "operator_pages/seller.html")]
struct SellerPage {
    frame: Frame,
    form: SellerForm,
    problems: Problems,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SellerForm {
    name: String,
    address: String,
    tax_id: String,
    series: String,
    remittance: String,
    contact: String,
}

impl From<Seller> for SellerForm {
    fn from(seller: Seller) -> Self {
        let Seller { name, address, tax_id, series, remittance, contact } = seller;
        Self { name, address, tax_id, series, remittance, contact }
    }
}

impl From<SellerForm> for Seller {
    fn from(form: SellerForm) -> Self {
        let SellerForm { name, address, tax_id, series, remittance, contact } = form;
        let series = series.trim().to_owned();
        Self { name, address, tax_id, series, remittance, contact }
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TermsForm {
    payment_days: String,
    discount: String,
    minimum: String,
    tax_name: String,
    tax: String,
    reverse_charge: bool,
    prepaid: bool,
}

impl TermsForm {
    fn of(terms: &Terms) -> Self {
        let percent = |points: i32| {
            BasisPoints::try_from(points).map(|it| it.to_string()).unwrap_or_default()
        };
        Self {
            payment_days: terms.payment_days.to_string(),
            discount: percent(terms.discount_basis_points),
            minimum: terms.minimum.exact(),
            tax_name: terms.tax_name.clone(),
            tax: percent(terms.tax_basis_points),
            reverse_charge: terms.reverse_charge,
            prepaid: terms.prepaid,
        }
    }

    fn parse(&self) -> Result<Terms, Problems> {
        let mut problems = Problems::none();
        let days = problems.take("payment_days", whole(&self.payment_days));
        let discount = problems.take("discount", self.discount.parse::<BasisPoints>());
        let minimum = problems.take("minimum", self.minimum.parse::<Cents>());
        let tax = problems.take("tax", self.tax.parse::<BasisPoints>());
        problems.check()?;
        let (((days, discount), minimum), tax) =
            days.zip(discount).zip(minimum).zip(tax).ok_or(problems)?;
        Ok(Terms {
            payment_days: days,
            discount_basis_points: discount.get(),
            minimum,
            tax_name: self.tax_name.trim().to_owned(),
            tax_basis_points: tax.get(),
            reverse_charge: self.reverse_charge,
            prepaid: self.prepaid,
        })
    }
}

fn whole<T: std::str::FromStr>(text: &str) -> Result<T, &'static str> {
    text.trim().parse().map_err(|_| "write a whole number")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfMonth {
    #[serde(default)]
    month: String,
}

impl OfMonth {
    /// Last month where nothing is said: the one that is to be closed.
    fn month(&self) -> Result<Month, InvoiceError> {
        match self.month.as_str() {
            "" => Ok(Month::at(OffsetDateTime::now_utc()).previous()),
            text => month_in(text),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct CloseForm {
    month: String,
    approval: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CreditForm {
    kind: String,
    name: String,
    amount: String,
    priority: String,
    effective_on: String,
    expires_on: String,
    reference: String,
    once: String,
    month: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PaymentForm {
    amount: String,
    method: String,
    reference: String,
    received_on: String,
    once: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NoteForm {
    amount: String,
    reason: String,
    /// Whether what was paid by card goes back there.
    to_card: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WriteOffForm {
    reason: String,
}

fn organization_in(text: &str) -> Result<OrganizationId, InvoiceError> {
    text.parse().map_err(|_| InvoiceError::NotFound)
}

/// As the operator, in an organization's books.
async fn begin(operator: &Operator, organization: OrganizationId) -> Result<Work, InvoiceError> {
    let Operator(staff) = operator;
    let origin = staff.visit.origin();
    Ok(Work::begin(&staff.platform.db, organization, staff.actor(), origin).await?)
}

fn next(month: Month) -> Option<Month> {
    Some(month.next()).filter(|it| *it <= Month::at(OffsetDateTime::now_utc()))
}

async fn run(operator: Operator, which: Search<OfMonth>) -> Result<Page<RunPage>, Failure> {
    let month = which.month()?;
    let (billed, has_seller) = {
        let mut conn = operator.0.platform.db.acquire().await?;
        let billed = store::billed(&mut conn, month).await.map_err(InvoiceError::from)?;
        (billed, billing::seller(&mut conn).await?.is_some())
    };
    let mut rows = Vec::new();
    for it in billed {
        let mut work = begin(&operator, it.id).await?;
        rows.push(row(&mut work, it, month).await?);
    }
    Ok(Page(RunPage {
        frame: operator.0.frame(),
        month,
        previous: month.previous(),
        next: next(month),
        is_over: month.ends_at() <= OffsetDateTime::now_utc(),
        has_seller,
        has_open: rows.iter().any(|it| !it.is_closed),
        closes_by_itself: operator.0.platform.closes_months,
        total: rows.iter().map(|it| it.total).sum(),
        rows,
    }))
}

async fn row(work: &mut Work, it: store::Billed, month: Month) -> Result<RunRow, InvoiceError> {
    let store::Billed { id, name } = it;
    let is_closed = store::is_closed(work, id, month).await?;
    if is_closed {
        let all = of_month(work, month).await?;
        let valid: Vec<_> =
            all.iter().filter(|it| it.kind == Kind::Invoice && it.voided_at.is_none()).collect();
        return Ok(RunRow {
            id,
            name,
            count: valid.len(),
            total: valid.iter().map(|it| it.total).sum(),
            open: valid.iter().map(|it| it.open()).sum(),
            is_closed,
            gate: Gate::default(),
        });
    }
    let drawn = drafts(work, month).await?;
    let gate = gate(work, month, &drawn).await?;
    let total = drawn.iter().map(|it| it.document.total).sum();
    Ok(RunRow { id, name, count: drawn.len(), total, open: Cents::ZERO, is_closed, gate })
}

/// What stands in the way, of a month that is over: another is charged up to this hour only.
async fn gate(work: &mut Work, month: Month, drawn: &[super::Drawn]) -> Result<Gate, InvoiceError> {
    match month.ends_at() <= OffsetDateTime::now_utc() {
        true => {
            store::be_patient(work).await?;
            look(work, month, drawn).await
        }
        false => Ok(Gate::default()),
    }
}

/// Closes what is as usual, of all organizations, and leaves the rest for somebody to look at.
async fn close_all(operator: Operator, form: Form<CloseForm>) -> Result<HttpResponse, Failure> {
    let month = month_in(&form.month).map_err(|_| Problems::one("month", "choose a month"))?;
    let billed = {
        let mut conn = operator.0.platform.db.acquire().await?;
        store::billed(&mut conn, month).await.map_err(InvoiceError::from)?
    };
    let mut done = Run::default();
    for it in billed {
        done.counts(close_of(&operator, it.id, month, "").await)?;
    }
    let Run { closed, left } = done;
    let notice = format!("{closed} closed, {left} left to be looked at");
    Ok(see_other_saying(&format!("/operator/billing?month={month}"), &notice))
}

async fn close_of(
    operator: &Operator,
    organization: OrganizationId,
    month: Month,
    approval: &str,
) -> Result<usize, InvoiceError> {
    let work = begin(operator, organization).await?;
    let staff = &operator.0;
    close_and_send(&staff.platform, work, month, approval, &staff.session.email).await
}

async fn show(
    operator: Operator,
    path: Path<String>,
    which: Search<OfMonth>,
) -> Result<Page<OrganizationPage>, Failure> {
    let organization = organization_in(&path)?;
    let month = which.month()?;
    Ok(Page(page(&operator, organization, month, None, Problems::none()).await?))
}

async fn page(
    operator: &Operator,
    organization: OrganizationId,
    month: Month,
    terms: Option<TermsForm>,
    problems: Problems,
) -> Result<OrganizationPage, Failure> {
    let mut work = begin(operator, organization).await?;
    let place = store::organization(&mut work, organization).await.map_err(InvoiceError::from)?;
    let place = place.ok_or(InvoiceError::NotFound)?;
    let is_closed =
        store::is_closed(&mut work, organization, month).await.map_err(InvoiceError::from)?;
    let drawn = if is_closed { Vec::new() } else { drafts(&mut work, month).await? };
    let gate = match is_closed {
        true => Gate::default(),
        false => gate(&mut work, month, &drawn).await?,
    };
    let (now, zone) = (OffsetDateTime::now_utc(), &operator.0.session.time_zone);
    let shown = |it| Row::new(it, zone, now.date());
    let terms = match terms {
        Some(typed) => typed,
        None => TermsForm::of(&billing::terms(&mut work).await?),
    };
    let invoices = of_month(&mut work, month).await?;
    let mut refundable = Vec::new();
    for it in invoices.iter().filter(|it| it.paid > Cents::ZERO) {
        let most = payments::refundable(&mut work, it.id).await?.min(it.total - it.noted);
        if most > Cents::ZERO {
            refundable.push((it.id, most));
        }
    }
    Ok(OrganizationPage {
        frame: operator.0.frame(),
        id: organization,
        name: place.name,
        month,
        previous: month.previous(),
        next: next(month),
        is_over: month.ends_at() <= now,
        is_closed,
        gate,
        drafts: drawn.iter().map(|it| (it.document.scope.title(), it.document.total)).collect(),
        rows: invoices.into_iter().map(shown).collect(),
        refundable,
        credits: CreditRow::all(credits::list(&mut work).await?),
        terms,
        problems,
        once: PostingId::generate().to_string(),
        today: now.date().to_string(),
    })
}

/// To the organization's page, with a line that says what was done; or the page again with what
/// is wrong.
async fn answer(
    operator: &Operator,
    organization: OrganizationId,
    month: Month,
    outcome: Result<String, InvoiceError>,
) -> Result<HttpResponse, Failure> {
    say(operator, organization, month, or_problems(outcome)?).await
}

async fn say(
    operator: &Operator,
    organization: OrganizationId,
    month: Month,
    outcome: Result<String, Problems>,
) -> Result<HttpResponse, Failure> {
    match outcome {
        Ok(notice) => {
            let path = format!("/operator/billing/{organization}?month={month}");
            Ok(see_other_saying(&path, &notice))
        }
        Err(problems) => {
            Ok(Page(page(operator, organization, month, None, problems).await?).again())
        }
    }
}

async fn close_one(
    operator: Operator,
    path: Path<String>,
    form: Form<CloseForm>,
) -> Result<HttpResponse, Failure> {
    let organization = organization_in(&path)?;
    let month = month_in(&form.month).map_err(|_| Problems::one("month", "choose a month"))?;
    let closed = close_of(&operator, organization, month, &form.approval).await;
    let outcome = closed.map(|it| format!("{} closed, {it} invoices issued", month.title()));
    answer(&operator, organization, month, outcome).await
}

async fn change_terms(
    operator: Operator,
    path: Path<String>,
    form: Form<TermsForm>,
) -> Result<HttpResponse, Failure> {
    let organization = organization_in(&path)?;
    let month = Month::at(OffsetDateTime::now_utc()).previous();
    let mut work = begin(&operator, organization).await?;
    exists(&mut work).await?;
    let outcome = async { billing::change_terms(&mut work, form.parse()?).await }.await;
    match or_problems(outcome)? {
        Ok(()) => {
            let followed = prepaid::follow(&mut work).await?;
            work.commit().await?;
            tell(&operator, followed).await;
            answer(&operator, organization, month, Ok("Terms saved".to_owned())).await
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(&operator, organization, month, Some(form.0), problems).await?).again())
        }
    }
}

/// Has what credits are worth bind on the next call.
async fn tell(operator: &Operator, budget: Option<BudgetId>) {
    let platform = &operator.0.platform;
    if let Some(budget) = budget {
        budgets::terms::tell(platform, budget).await;
        platform.nudges.snapshot.notify_one();
    }
}

async fn exists(work: &mut Work) -> Result<(), InvoiceError> {
    let organization = work.organization;
    store::organization(work, organization).await?.map(drop).ok_or(InvoiceError::NotFound)
}

async fn grant_credit(
    operator: Operator,
    path: Path<String>,
    form: Form<CreditForm>,
) -> Result<HttpResponse, Failure> {
    let organization = organization_in(&path)?;
    let shown = OfMonth { month: form.month.clone() }.month()?;
    let outcome = async {
        let new = credit_of(&form)?;
        let mut work = begin(&operator, organization).await?;
        exists(&mut work).await?;
        credits::grant(&mut work, &new, &form.once).await?;
        let followed = prepaid::follow(&mut work).await?;
        work.commit().await?;
        tell(&operator, followed).await;
        Ok::<_, InvoiceError>(format!("{} granted", new.amount))
    };
    answer(&operator, organization, shown, outcome.await).await
}

fn credit_of(form: &CreditForm) -> Result<NewCredit, Problems> {
    let mut problems = Problems::none();
    let kind = CreditKind::ALL.into_iter().find(|it| it.name() == form.kind);
    let kind = problems.take("kind", kind.ok_or("choose a kind"));
    let amount = problems.take("credit_amount", form.amount.parse::<Cents>());
    let priority = problems.take("priority", whole(&form.priority));
    let effective = problems.take("effective_on", form.effective_on.parse::<Day>());
    let expires = problems.take("expires_on", optional::<Day>(&form.expires_on));
    if form.once.is_empty() {
        problems.add("name", "open the page again and send the form from there");
    }
    problems.check()?;
    let parts = kind.zip(amount).zip(priority).zip(effective).zip(expires);
    let ((((kind, amount), priority), effective), expires) = parts.ok_or(problems)?;
    Ok(NewCredit {
        kind,
        name: form.name.trim().to_owned(),
        priority,
        amount,
        effective_on: effective.date(),
        expires_on: expires.map(Day::date),
        reference: form.reference.trim().to_owned(),
    })
}

/// The invoice of a path, and whose it is.
async fn begin_at(
    operator: &Operator,
    path: &(String, String),
) -> Result<(Work, InvoiceId, Month), InvoiceError> {
    let (organization, invoice) = (organization_in(&path.0)?, invoice_in(&path.1)?);
    let mut work = begin(operator, organization).await?;
    let month = super::find(&mut work, invoice).await?.month;
    Ok((work, invoice, month))
}

async fn send_one(
    operator: Operator,
    path: Path<(String, String)>,
    _: Form<crate::web::Nothing>,
) -> Result<HttpResponse, Failure> {
    let (mut work, invoice, month) = begin_at(&operator, &path).await?;
    let (organization, platform) = (work.organization, &operator.0.platform);
    let told = send(&mut work, &platform.secrets.mail, &platform.public_url, invoice).await?;
    work.commit().await?;
    platform.nudges.mail.notify_one();
    answer(&operator, organization, month, Ok(format!("Sent to {told}"))).await
}

async fn record_payment(
    operator: Operator,
    path: Path<(String, String)>,
    form: Form<PaymentForm>,
) -> Result<HttpResponse, Failure> {
    let (mut work, invoice, month) = begin_at(&operator, &path).await?;
    let organization = work.organization;
    let outcome = async {
        let payment = payment_of(&form)?;
        pay(&mut work, invoice, &payment, &operator.0.session.email).await?;
        work.commit().await?;
        Ok::<_, InvoiceError>(format!("{} received", payment.amount))
    };
    let outcome = outcome.await;
    answer(&operator, organization, month, outcome).await
}

fn payment_of(form: &PaymentForm) -> Result<NewPayment, Problems> {
    let mut problems = Problems::none();
    let method = Method::ALL.into_iter().find(|it| it.name() == form.method);
    let method = problems.take("method", method.ok_or("choose how it came"));
    let amount = problems.take("amount", form.amount.parse::<Cents>());
    let received = problems.take("received_on", form.received_on.parse::<Day>());
    if form.once.is_empty() {
        problems.add("amount", "open the page again and send the form from there");
    }
    problems.check()?;
    let ((method, amount), received) = method.zip(amount).zip(received).ok_or(problems)?;
    Ok(NewPayment {
        amount,
        method,
        reference: form.reference.trim().to_owned(),
        received_on: received.date(),
        once: form.once.clone(),
    })
}

async fn credit(
    operator: Operator,
    path: Path<(String, String)>,
    form: Form<NoteForm>,
) -> Result<HttpResponse, Failure> {
    let (mut work, invoice, month) = begin_at(&operator, &path).await?;
    let (organization, platform) = (work.organization, &operator.0.platform);
    let outcome = async {
        let amount = form.amount.parse::<Cents>();
        let amount = amount.map_err(|it| InvoiceError::from(Problems::one("amount", it)))?;
        let taken = match form.to_card {
            true => payments::take_back(&mut work, invoice, amount, &form.reason).await?,
            false => {
                let none = Cents::ZERO;
                take_back_returning(&mut work, invoice, amount, &form.reason, none).await?
            }
        };
        send(&mut work, &platform.secrets.mail, &platform.public_url, taken.note).await?;
        work.commit().await?;
        platform.nudges.mail.notify_one();
        platform.nudges.collections.notify_one();
        Ok::<_, PaymentError>(match taken.returned {
            Cents::ZERO => format!("{amount} taken back by a credit note"),
            back => format!("{amount} taken back by a credit note; {back} goes back to the card"),
        })
    };
    let outcome = or_problems(outcome.await)?;
    say(&operator, organization, month, outcome).await
}

async fn give_up(
    operator: Operator,
    path: Path<(String, String)>,
    form: Form<WriteOffForm>,
) -> Result<HttpResponse, Failure> {
    let (mut work, invoice, month) = begin_at(&operator, &path).await?;
    let organization = work.organization;
    let outcome = async {
        let amount = write_off(&mut work, invoice, &form.reason).await?;
        work.commit().await?;
        Ok::<_, InvoiceError>(format!("{amount} given up"))
    };
    let outcome = outcome.await;
    answer(&operator, organization, month, outcome).await
}

async fn void_month(
    operator: Operator,
    path: Path<(String, String)>,
    _: Form<crate::web::Nothing>,
) -> Result<HttpResponse, Failure> {
    let (mut work, _, month) = begin_at(&operator, &path).await?;
    let organization = work.organization;
    void(&mut work, month).await?;
    work.commit().await?;
    let notice = format!("The invoices of {} are void, and it is open again", month.title());
    answer(&operator, organization, month, Ok(notice)).await
}

async fn show_seller(operator: Operator) -> Result<Page<SellerPage>, Failure> {
    let mut conn = operator.0.platform.db.acquire().await?;
    let form = billing::seller(&mut conn).await?.map(SellerForm::from).unwrap_or_default();
    Ok(Page(SellerPage { frame: operator.0.frame(), form, problems: Problems::none() }))
}

async fn change_seller(
    operator: Operator,
    form: Form<SellerForm>,
) -> Result<HttpResponse, Failure> {
    let Operator(staff) = &operator;
    let mut tx = staff.platform.db.begin().await?;
    let (actor, origin) = (staff.actor(), staff.visit.origin());
    let changed =
        billing::change_seller(&mut tx, &actor, origin, Seller::from(form.0.clone())).await;
    match or_problems::<_, BillingError>(changed)? {
        Ok(()) => {
            tx.commit().await?;
            Ok(see_other_saying("/operator/billing", "Saved: invoices are from there from now on"))
        }
        Err(problems) => {
            Ok(Page(SellerPage { frame: staff.frame(), form: form.0, problems }).again())
        }
    }
}
