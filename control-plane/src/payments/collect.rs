//! The worker that collects: brings an invoice to the provider step by step, charges the card when
//! it is due, and tells the provider what became of the invoice here.
//!
//! A step is three parts, each of which the process may die after: the call is written down with
//! its key; it is made; what came of it is noted. Whoever goes on makes an open call again with the
//! same key. What would be answered the same again, or is older than keys are kept, is looked up
//! at the provider first, and another call follows only where that finds nothing.

use futures::{StreamExt, stream};
use shared::{
    ids::{InvoiceId, OrganizationId},
    money::Cents,
};
use sqlx::PgPool;
use time::{Duration, OffsetDateTime};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{
    Collection, Customer, LEAST, Letters, MOST_TRIES, Outcome, PaymentError, Rail, Stage, begin,
    provider::{Call, Changed, ProviderError, RemoteInvoice, RemoteStatus},
    refunds::{self, Refund, State},
    store::{self, OpenCall},
};
use crate::{
    access::Work,
    audit::{self, Entry},
    billing,
    invoices::{self, Invoice, Method, NewPayment, document::Document},
    ledger::{
        self,
        credits::{self, CreditKind, NewCredit},
    },
    platform::Platform,
};

/// How many are taken up and looked at at once, and how many calls are made at once.
const DUE: i32 = 200;
const AT_ONCE: usize = 4;
/// More steps than an invoice has, in one go.
const MOST_STEPS: usize = 16;
/// For how long a call may be under way before somebody else makes it again.
const LEASE: Duration = Duration::seconds(90);
/// Keys are kept for a day; later the same call would be another one.
const KEPT: Duration = Duration::hours(23);
/// After declines: days until the card is charged again.
const AGAIN: [i64; 3] = [1, 3, 5];
/// The most lines that a provider's invoice has.
const MOST_LINES: usize = 250;

/// Goes on with everything that has something to do. Any number may run at once.
pub async fn collect_due(platform: &Platform, now: OffsetDateTime) -> Result<(), PaymentError> {
    let Some(rail) = &platform.payments else { return Ok(()) };
    collect(rail, &platform.db, now).await
}

pub(super) async fn collect(
    rail: &Rail,
    db: &PgPool,
    now: OffsetDateTime,
) -> Result<(), PaymentError> {
    let new = {
        let mut conn = db.acquire().await?;
        store::uncollected(&mut conn, DUE).await?
    };
    for (organization, invoice) in new {
        let mut work = begin(db, organization).await?;
        store::take_up(&mut work, organization, invoice).await?;
        work.commit().await?;
    }
    let due = {
        let mut conn = db.acquire().await?;
        store::due(&mut conn, now, DUE).await?
    };
    let going = stream::iter(due).map(|(organization, invoice)| async move {
        // One that fails keeps no other from going on.
        if let Err(error) = go_on(rail, db, organization, invoice, now).await {
            error!(invoice.id = %invoice, "an invoice is not collected: {error}");
        }
    });
    going.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    Ok(())
}

/// Goes on with an invoice until something has to happen first.
pub async fn go_on(
    rail: &Rail,
    db: &PgPool,
    organization: OrganizationId,
    invoice: InvoiceId,
    now: OffsetDateTime,
) -> Result<(), PaymentError> {
    let place = Place { rail, db, organization, invoice, now };
    for _ in 0..MOST_STEPS {
        let Some(call) = place.prepare().await? else { return Ok(()) };
        place.make(call).await?;
    }
    Ok(())
}

/// The customer's name at the provider; makes one where there is none yet.
pub(super) async fn customer(
    rail: &Rail,
    db: &PgPool,
    organization: OrganizationId,
    now: OffsetDateTime,
) -> Result<String, PaymentError> {
    let subject = organization.uuid();
    let mut work = begin(db, organization).await?;
    if let Some(remote) = store::customer(&mut work, organization).await?.and_then(|it| it.remote) {
        return Ok(remote);
    }
    let call = match store::open_call(&mut work, organization, subject).await? {
        Some(call) => call,
        None => {
            let call = new_customer(&mut work).await?;
            write_down(&mut work, subject, &call, now).await?
        }
    };
    work.commit().await?;
    let place = Place { rail, db, organization, invoice: InvoiceId::from_uuid(subject), now };
    let asked = place.ask(&call).await;
    let mut work = begin(db, organization).await?;
    match asked {
        Ok(()) => {}
        Err(Failed::Ours(error)) => return Err(error),
        // Whoever comes next makes another call.
        Err(Failed::Nothing) => return Err(ProviderError::Later(409).into()),
        Err(Failed::Provider(error)) => {
            if !error.is_passing() {
                store::doubt(&mut work, organization, call.id, &error.to_string()).await?;
                work.commit().await?;
            }
            return Err(error.into());
        }
    }
    let found = store::customer(&mut work, organization).await?.and_then(|it| it.remote);
    found.ok_or(PaymentError::Provider(ProviderError::Unreadable))
}

/// From when on the card is charged by itself: when it is due, or when it was said.
pub(super) fn charged_from(it: &Collection, ours: &Invoice) -> OffsetDateTime {
    it.try_at.unwrap_or_else(|| ours.due_on.midnight().assume_utc())
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    Ask(Call),
    /// What it comes to is to be put together first.
    Lines(String),
    Customer,
    Draft(String),
    /// Nothing, until then or until something happens.
    Wait(Option<OffsetDateTime>),
    /// It is no matter of the provider's.
    ByHand(&'static str),
    Stuck(String),
}

/// Decides by what is known here and was last heard from there.
fn next(
    it: &Collection,
    ours: &Invoice,
    customer: Option<&Customer>,
    refund: Option<Refund>,
    now: OffsetDateTime,
) -> Next {
    let unpaid = ours.unpaid();
    let is_over = ours.voided_at.is_some() || unpaid == Cents::ZERO;
    let remote = it.remote.clone();
    match (it.stage, remote) {
        (Stage::Paid, Some(remote)) => match refund {
            Some(Refund { note, number, amount, .. }) => {
                Next::Ask(Call::Refund { remote, note, number, amount })
            }
            None => Next::Wait(None),
        },
        (Stage::Paid | Stage::Void | Stage::ByHand, _) => Next::Wait(None),
        (Stage::New, _) if is_over => Next::ByHand("it was paid or void before"),
        (Stage::New, _) if ours.written_off_at.is_some() => Next::ByHand("it was given up before"),
        (Stage::New, _) if unpaid < LEAST => Next::ByHand("it is less than cards are charged for"),
        (Stage::New, _) => match customer.and_then(|it| it.remote.clone()) {
            None => Next::Customer,
            Some(customer) => Next::Draft(customer),
        },
        (_, None) => Next::Stuck("the provider's invoice has no name".to_owned()),
        (Stage::Drafted | Stage::Lined, Some(remote)) if is_over => {
            Next::Ask(Call::Discard { remote })
        }
        (Stage::Drafted, Some(remote)) => Next::Lines(remote),
        (Stage::Lined, Some(remote)) => Next::Ask(Call::Finalize { remote, total: it.total }),
        (Stage::Open | Stage::Uncollectible, Some(remote)) if ours.voided_at.is_some() => {
            Next::Ask(Call::Void { remote })
        }
        (Stage::Open | Stage::Uncollectible, Some(remote)) if is_over => {
            Next::Ask(Call::Settle { remote })
        }
        (Stage::Uncollectible, _) => Next::Wait(None),
        (Stage::Open, Some(remote)) if ours.written_off_at.is_some() => {
            Next::Ask(Call::GiveUp { remote })
        }
        (Stage::Open, Some(remote)) if it.remaining > unpaid => {
            let amount = it.remaining - unpaid;
            Next::Ask(Call::TakeOff { remote, amount, of: it.remaining })
        }
        (Stage::Open, _) if it.remaining < unpaid => Next::Stuck(format!(
            "the provider says that {} is to be paid, and we that {unpaid} is",
            it.remaining
        )),
        (Stage::Open, Some(remote)) => {
            let method = customer.and_then(|it| it.payment_method.clone());
            match method {
                None => Next::Wait(None),
                // What is left is no matter for a card any more.
                Some(_) if unpaid < LEAST => Next::Wait(None),
                Some(_) if it.tries >= MOST_TRIES => Next::Wait(None),
                Some(method) => match charged_from(it, ours) {
                    from if from <= now => Next::Ask(Call::Pay { remote, method }),
                    from => Next::Wait(Some(from)),
                },
            }
        }
    }
}

/// After so many failures in a row: three times as long as before the last, a quarter of an hour
/// at most.
fn patience(failures: i32) -> Duration {
    let exponent = u32::try_from(failures).unwrap_or(0).min(6);
    Duration::seconds(5 * i64::from(3_u32.pow(exponent))).min(Duration::minutes(15))
}

/// Why a call came to nothing.
enum Failed {
    Provider(ProviderError),
    /// What was in doubt was not done.
    Nothing,
    Ours(PaymentError),
}

impl<E: Into<PaymentError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Ours(error.into())
    }
}

/// One invoice at one moment.
#[derive(Clone, Copy)]
struct Place<'a> {
    rail: &'a Rail,
    db: &'a PgPool,
    organization: OrganizationId,
    invoice: InvoiceId,
    now: OffsetDateTime,
}

impl Place<'_> {
    /// The call that is to be made: an open one, or the next, written down. Nothing, where there
    /// is nothing to do or somebody else does it.
    async fn prepare(&self) -> Result<Option<OpenCall>, PaymentError> {
        let Self { organization, invoice, now, .. } = *self;
        let mut work = begin(self.db, organization).await?;
        let claimed = store::claim(&mut work, organization, invoice, now).await?;
        let Some(it) = claimed else { return Ok(None) };
        let call = match store::open_call(&mut work, organization, invoice.uuid()).await? {
            Some(call) => Some(self.reconsider(&mut work, call).await?),
            None => self.decide(&mut work, &it).await?,
        };
        if call.is_some() {
            store::wait(&mut work, organization, invoice, Some(now + LEASE)).await?;
        }
        work.commit().await?;
        Ok(call)
    }

    /// A card is not charged again in ignorance for what was paid or voided here meanwhile: whether
    /// it was is looked up, and if not, the provider's invoice ends so that it cannot be any more.
    async fn reconsider(
        &self,
        work: &mut Work,
        mut call: OpenCall,
    ) -> Result<OpenCall, PaymentError> {
        if let Call::Pay { .. } = serde_json::from_str(&call.call)? {
            let ours = invoices::find(work, self.invoice).await?;
            call.in_doubt |= ours.unpaid() == Cents::ZERO;
        }
        Ok(call)
    }

    async fn decide(
        &self,
        work: &mut Work,
        it: &Collection,
    ) -> Result<Option<OpenCall>, PaymentError> {
        let Self { organization, invoice, now, .. } = *self;
        let ours = invoices::find(work, invoice).await?;
        let customer = store::customer(work, organization).await?;
        let refunds = store::refunds(work, organization, invoice).await?;
        let refund = refunds.into_iter().find(|it| it.state == State::Asked);
        let call = match next(it, &ours, customer.as_ref(), refund, now) {
            Next::Ask(call) => call,
            Next::Lines(remote) => {
                let document = invoices::document_of(work, invoice).await?;
                store::set_total(work, organization, invoice, ours.unpaid()).await?;
                Call::Lines { remote, lines: lines(&document, ours.unpaid()) }
            }
            Next::Draft(customer) => Call::Draft {
                customer,
                invoice,
                number: ours.number.clone(),
                about: format!("{}, {}", ours.month.title(), ours.title),
            },
            Next::Customer => {
                let subject = organization.uuid();
                if let Some(call) = store::open_call(work, organization, subject).await? {
                    return Ok(Some(call));
                }
                let call = new_customer(work).await?;
                return write_down(work, subject, &call, now).await.map(Some);
            }
            Next::Wait(until) => {
                store::wait(work, organization, invoice, until).await?;
                return Ok(None);
            }
            Next::ByHand(reason) => {
                let to = Collection {
                    stage: Stage::ByHand,
                    failures: 0,
                    reason: reason.to_owned(),
                    ..it.clone()
                };
                store::advance(work, organization, invoice, &to).await?;
                store::wait(work, organization, invoice, None).await?;
                return Ok(None);
            }
            Next::Stuck(reason) => {
                let until = now + patience(it.failures);
                store::failed(work, organization, invoice, &reason, until).await?;
                return Ok(None);
            }
        };
        write_down(work, invoice.uuid(), &call, now).await.map(Some)
    }

    /// Makes a call and notes what came of it.
    async fn make(&self, call: OpenCall) -> Result<(), PaymentError> {
        let failed = match self.ask(&call).await {
            Ok(()) => return Ok(()),
            Err(Failed::Ours(error)) => return Err(error),
            // What follows is another call, at once.
            Err(Failed::Nothing) => {
                let mut work = begin(self.db, self.organization).await?;
                store::wake(&mut work, self.organization, self.invoice).await?;
                work.commit().await?;
                return Ok(());
            }
            Err(Failed::Provider(error)) => error,
        };
        let Self { organization, invoice, now, .. } = *self;
        let mut work = begin(self.db, organization).await?;
        let asked: Call = serde_json::from_str(&call.call)?;
        ledger::lock(&mut work).await?;
        let it = store::lock(&mut work, organization, invoice).await?;
        let Some(it) = it else { return Ok(()) };
        match (&asked, &failed) {
            (Call::Pay { .. }, ProviderError::Declined(about)) => {
                let ended = Outcome::Declined;
                if store::end_call(&mut work, organization, call.id, ended, about, now).await? {
                    self.note_decline(&mut work, &it, about).await?;
                }
                self.rail.letters.nudge.notify_one();
            }
            (
                Call::Refund { note, .. },
                ProviderError::Declined(about) | ProviderError::Refused { status: 400, about },
            ) => {
                let ended = Outcome::Declined;
                store::end_call(&mut work, organization, call.id, ended, about, now).await?;
                refunds::fail(&mut work, *note, None, about).await?;
                store::recovered(&mut work, organization, invoice).await?;
            }
            _ => {
                let (reason, until) = (failed.to_string(), now + patience(it.failures));
                if !failed.is_passing() {
                    store::doubt(&mut work, organization, call.id, &reason).await?;
                }
                store::failed(&mut work, organization, invoice, &reason, until).await?;
            }
        }
        work.commit().await?;
        warn!(invoice.id = %invoice, failures = it.failures + 1, "a payment call failed: {failed}");
        Ok(())
    }

    async fn note_decline(
        &self,
        work: &mut Work,
        it: &Collection,
        about: &str,
    ) -> Result<(), PaymentError> {
        let Self { organization, invoice, now, .. } = *self;
        let wait = usize::try_from(it.tries).ok().and_then(|tries| AGAIN.get(tries));
        let again = wait.map(|days| now + Duration::days(*days));
        store::declined(work, organization, invoice, about, again).await?;
        let ours = invoices::find(work, invoice).await?;
        let told = serde_json::json!({ "bank": about });
        let entry = Entry::new("invoice.payment_declined", invoice, &ours.number).after(told);
        audit::record(work, entry).await?;
        let Letters { sealer, public_url, .. } = &self.rail.letters;
        Ok(invoices::tell_declined(work, sealer, public_url, invoice, again).await?)
    }

    /// Makes the call, or looks up what came of it where asking would tell nothing, and notes it.
    async fn ask(&self, open: &OpenCall) -> Result<(), Failed> {
        let call: Call = serde_json::from_str(&open.call)?;
        let is_old = self.now - open.asked_at > KEPT;
        let changed = if open.in_doubt || is_old {
            match self.look(&call, open).await? {
                Some(changed) => changed,
                None => {
                    let mut work = begin(self.db, self.organization).await?;
                    let ended = Outcome::Failed;
                    store::end_call(&mut work, self.organization, open.id, ended, "", self.now)
                        .await?;
                    work.commit().await?;
                    return Err(Failed::Nothing);
                }
            }
        } else {
            self.check(&call).await?;
            self.rail.provider.change(&call, &open.key).await.map_err(Failed::Provider)?
        };
        Ok(self.note(open, &call, changed).await?)
    }

    /// What is finalized comes to what we say, or is not finalized.
    async fn check(&self, call: &Call) -> Result<(), Failed> {
        let Call::Finalize { remote, total } = call else { return Ok(()) };
        let found = self.rail.provider.invoice(remote).await.map_err(Failed::Provider)?;
        let is_ours = found.as_ref().is_some_and(|it| {
            it.total == *total && it.currency == "usd" && it.invoice == Some(self.invoice)
        });
        if is_ours {
            return Ok(());
        }
        let theirs = found.map(|it| it.total.to_string()).unwrap_or_default();
        let about = format!("it comes to {total} here and to {theirs} there: it is not finalized");
        Err(Failed::Provider(ProviderError::Refused { status: 200, about }))
    }

    /// What came of a call, by how things are at the provider; nothing where it was not done.
    async fn look(&self, call: &Call, open: &OpenCall) -> Result<Option<Changed>, Failed> {
        let provider = &self.rail.provider;
        let found = match call {
            Call::Customer { organization, .. } => {
                let since = open.asked_at - Duration::hours(1);
                let found = provider.find_customer(*organization, since).await;
                found.map_err(Failed::Provider)?.map(Changed::Customer)
            }
            Call::Draft { customer, invoice, .. } => {
                let found = provider.find_invoice(customer, *invoice).await;
                found.map_err(Failed::Provider)?.map(Changed::Invoice)
            }
            Call::Refund { remote, note, .. } => {
                let found = provider.find_refund(remote, *note).await;
                found.map_err(Failed::Provider)?.map(Changed::Refund)
            }
            Call::Lines { remote, .. }
            | Call::Finalize { remote, .. }
            | Call::Pay { remote, .. }
            | Call::Settle { remote }
            | Call::Void { remote }
            | Call::Discard { remote }
            | Call::GiveUp { remote }
            | Call::TakeOff { remote, .. } => {
                let now = provider.invoice(remote).await.map_err(Failed::Provider)?;
                now.map_or_else(
                    || matches!(call, Call::Discard { .. }).then_some(Changed::Gone),
                    |now| is_done(call, &now).then_some(Changed::Invoice(now)),
                )
            }
        };
        Ok(found)
    }

    async fn note(
        &self,
        open: &OpenCall,
        call: &Call,
        changed: Changed,
    ) -> Result<(), PaymentError> {
        let Self { organization, invoice, now, .. } = *self;
        let mut work = begin(self.db, organization).await?;
        match changed {
            Changed::Customer(remote) => {
                store::put_customer(&mut work, organization, &remote).await?;
                store::wake(&mut work, organization, invoice).await?;
            }
            Changed::Invoice(remote) => apply(&mut work, invoice, &remote).await?,
            Changed::Refund(remote) => {
                if let Call::Refund { note, .. } = call {
                    refunds::note(&mut work, *note, &remote).await?;
                }
                store::recovered(&mut work, organization, invoice).await?;
            }
            Changed::Gone => {
                let it = store::lock(&mut work, organization, invoice).await?;
                let it = it.ok_or(PaymentError::NotFound)?;
                let reason = "it was paid or void before".to_owned();
                let to = Collection { stage: Stage::ByHand, failures: 0, reason, ..it };
                store::advance(&mut work, organization, invoice, &to).await?;
            }
        }
        store::end_call(&mut work, organization, open.id, Outcome::Done, "", now).await?;
        work.commit().await?;
        info!(invoice.id = %invoice, "payment call {} is done", call.name());
        Ok(())
    }
}

/// Whether an invoice is as the call would have it.
fn is_done(call: &Call, now: &RemoteInvoice) -> bool {
    let status = now.status;
    match call {
        Call::Customer { .. } | Call::Draft { .. } | Call::Refund { .. } => false,
        Call::Lines { .. } => now.has_lines,
        Call::Finalize { .. } => status != RemoteStatus::Draft,
        Call::Pay { .. } | Call::Settle { .. } => status == RemoteStatus::Paid,
        Call::Void { .. } => status == RemoteStatus::Void,
        Call::Discard { .. } => false,
        Call::GiveUp { .. } => !matches!(status, RemoteStatus::Draft | RemoteStatus::Open),
        Call::TakeOff { amount, of, .. } => now.remaining <= *of - *amount,
    }
}

async fn new_customer(work: &mut Work) -> Result<Call, PaymentError> {
    let settings = billing::settings(work).await?;
    let name = match settings.legal_name.as_str() {
        "" => invoices::name_of(work).await?,
        name => name.to_owned(),
    };
    let organization = work.organization;
    Ok(Call::Customer { organization, name, email: settings.emails.first().cloned() })
}

/// With its key, before it is made.
async fn write_down(
    work: &mut Work,
    subject: Uuid,
    call: &Call,
    now: OffsetDateTime,
) -> Result<OpenCall, PaymentError> {
    let (organization, text) = (work.organization, serde_json::to_string(call)?);
    store::insert_call(work, organization, subject, call.name(), &text, now).await?;
    // Ours, or the one that somebody else wrote down at the same moment.
    let open = store::open_call(work, organization, subject).await?;
    open.ok_or(PaymentError::Provider(ProviderError::Later(409)))
}

/// What a mirrored invoice says: what each project came to, and what stands beside that. The rest
/// is in our own documents. It adds up to what is to be paid.
fn lines(document: &Document, unpaid: Cents) -> Vec<(String, Cents)> {
    let mut lines: Vec<_> =
        document.sections.iter().map(|it| (it.name.clone(), it.amount)).collect();
    // Room for what follows.
    let most = MOST_LINES - document.credits.len().min(100) - 8;
    if lines.len() > most {
        let others: Cents = lines[most - 1..].iter().map(|it| it.1).sum();
        lines.truncate(most - 1);
        lines.push(("Other projects".to_owned(), others));
    }
    for it in [&document.discount, &document.minimum].into_iter().flatten() {
        lines.push((it.label.clone(), it.amount));
    }
    lines.push((document.tax.label(), document.tax.amount));
    for it in document.credits.iter().take(99) {
        lines.push((format!("Credit: {}", it.name), it.amount.negative()));
    }
    let sum: Cents = lines.iter().map(|it| it.1).sum();
    lines.push(("Paid or taken back before".to_owned(), unpaid - sum));
    lines.retain(|it| it.1 != Cents::ZERO);
    for (about, _) in &mut lines {
        *about = about.chars().take(250).collect();
    }
    lines
}

/// Notes how an invoice is at the provider: how far it is, and money that came, each payment once.
/// What was heard late changes nothing that is further.
pub(super) async fn apply(
    work: &mut Work,
    invoice: InvoiceId,
    remote: &RemoteInvoice,
) -> Result<(), PaymentError> {
    // In the order in which everybody locks who writes what became of invoices.
    ledger::lock(work).await?;
    let organization = work.organization;
    let it = store::lock(work, organization, invoice).await?;
    let it = it.ok_or(PaymentError::NotFound)?;
    let is_ours = remote.invoice == Some(invoice)
        && it.remote.as_ref().is_none_or(|known| *known == remote.id);
    if !is_ours {
        return Err(PaymentError::NotFound);
    }
    for (id, amount) in &remote.received {
        if store::insert_receipt(work, organization, id, invoice, *amount).await? {
            receive(work, invoice, id, *amount).await?;
        }
    }
    let stage = stage_of(remote);
    if stage < it.stage {
        return Ok(());
    }
    let is_unexplained =
        stage == Stage::Paid && invoices::find(work, invoice).await?.unpaid() > Cents::ZERO;
    let reason = match is_unexplained {
        true => "the provider says that it is paid, without money that it received",
        false => "",
    };
    let to = Collection {
        stage,
        remote: Some(remote.id.clone()),
        remaining: remote.remaining,
        hosted_url: remote.hosted_url.clone(),
        failures: is_unexplained.into(),
        reason: reason.to_owned(),
        ..it
    };
    Ok(store::advance(work, organization, invoice, &to).await?)
}

fn stage_of(remote: &RemoteInvoice) -> Stage {
    match remote.status {
        RemoteStatus::Draft if remote.has_lines => Stage::Lined,
        RemoteStatus::Draft => Stage::Drafted,
        RemoteStatus::Open => Stage::Open,
        RemoteStatus::Uncollectible => Stage::Uncollectible,
        RemoteStatus::Void => Stage::Void,
        RemoteStatus::Paid => Stage::Paid,
    }
}

/// Money for an invoice. What is more than is owed, since somebody else paid meanwhile, becomes a
/// credit.
async fn receive(
    work: &mut Work,
    invoice: InvoiceId,
    id: &str,
    amount: Cents,
) -> Result<(), PaymentError> {
    let ours = invoices::find(work, invoice).await?;
    let part = amount.min(ours.unpaid());
    let today = OffsetDateTime::now_utc().date();
    if part > Cents::ZERO {
        let payment = NewPayment {
            amount: part,
            method: Method::Card,
            reference: id.to_owned(),
            received_on: today,
            once: id.to_owned(),
        };
        invoices::pay(work, invoice, &payment, "Stripe").await?;
    }
    let rest = amount - part;
    if rest > Cents::ZERO {
        let credit = NewCredit {
            kind: CreditKind::Paid,
            name: format!("Paid twice: {}", ours.number),
            priority: 50,
            amount: rest,
            effective_on: today,
            expires_on: None,
            reference: id.to_owned(),
        };
        credits::grant(work, &credit, id).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_longer_and_none_is_longer_than_a_quarter_of_an_hour() {
        let waits: Vec<_> = (0..20).map(patience).collect();
        assert_eq!(waits[0], Duration::seconds(5));
        assert!(waits.is_sorted());
        assert_eq!(waits[19], Duration::minutes(15));
    }
}
