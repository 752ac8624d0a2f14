//! Collecting what invoices say, by a payment provider.
//!
//! Our invoices and our ledger are the record; the provider is the rail. It is given a mirror of
//! each invoice, with our number and our total, and charges the card that the organization chose
//! there; no card number comes near us. What is to change at the provider is written down with its
//! key before it is asked for, so that a call whose answer nobody heard is made again and done
//! once. What the provider tells us is believed in one thing only: that it is worth looking. How
//! something is now is asked for, so events may come twice, late, in any order or never.
//!
//! An invoice that is not to be paid any more here is settled there, and what was paid there is
//! noted here, each payment once. Without a provider, operators record what came.

mod api;
mod collect;
mod events;
#[cfg(test)]
#[expect(dead_code, reason = "the server around it uses the rest")]
#[path = "../../../tests/fake_stripe/world/mod.rs"]
mod fake_stripe;
mod operator;
pub mod provider;
mod refunds;
mod store;
pub mod stripe;
#[cfg(test)]
pub(crate) mod tests;
mod web;
mod webhook;

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use shared::{
    failure::{Classified, Kind, Problem},
    ids::{InvoiceId, OrganizationId},
    money::Cents,
    seal::Sealer,
};
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::sync::Notify;
use url::Url;

pub use self::{
    collect::{collect_due, go_on},
    events::{handle_due, sweep},
    refunds::{Refund, State as RefundState, refundable, take_back},
    web::{CardPart, PaymentPart},
};
use self::{
    provider::{Pages, PaymentProvider, ProviderError},
    stripe::{Network, Stripe},
};
use crate::{
    access::{Actor, Doors, Origin, Work},
    config,
    egress::Egress,
    invoices::{Invoice, InvoiceError},
    ledger::LedgerError,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
    operator::doors(doors);
    webhook::doors(doors);
}

/// How often a card is charged for an invoice before somebody has to do something.
const MOST_TRIES: i32 = 4;
/// Less than this no provider charges a card for: it is paid by hand.
const LEAST: Cents = Cents::from_cents(50);

/// A provider, and how we know that it is the one who speaks.
pub struct Rail {
    pub provider: Box<dyn PaymentProvider>,
    /// What its webhooks are signed with: more than one while that changes.
    pub secrets: Vec<SecretString>,
    /// Whether real money moves.
    pub is_live: bool,
    pub letters: Letters,
}

/// How those who pay are written to.
pub struct Letters {
    pub sealer: Sealer,
    pub public_url: Url,
    pub nudge: Arc<Notify>,
}

impl Rail {
    pub fn of(settings: &config::Stripe, egress: &Egress, letters: Letters) -> Option<Self> {
        let key = settings.secret_key.clone()?;
        let is_live = key.expose_secret().contains("_live_");
        let network = Network { egress: egress.clone(), base: settings.url.clone(), key };
        Some(Self {
            provider: Box::new(Stripe { transport: network }),
            secrets: settings.webhook_secrets.clone(),
            is_live,
            letters,
        })
    }
}

/// How far an invoice is collected. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Stage {
    New,
    /// The provider has an invoice with our number, and nothing on it,
    Drafted,
    /// and then what it comes to.
    Lined,
    /// It can be paid.
    Open,
    Uncollectible,
    /// Not by the provider.
    ByHand,
    Void,
    Paid,
}

impl Stage {
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Drafted => "drafted",
            Self::Lined => "lined",
            Self::Open => "open",
            Self::Uncollectible => "uncollectible",
            Self::ByHand => "by_hand",
            Self::Void => "void",
            Self::Paid => "paid",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::New | Self::Drafted | Self::Lined => "On its way to the provider",
            Self::Open => "Can be paid",
            Self::Uncollectible => "Given up",
            Self::ByHand => "Paid by hand",
            Self::Void => "Void",
            Self::Paid => "Paid",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Collection {
    pub stage: Stage,
    /// The provider's name of its invoice, what we said that it comes to, and what is left of it.
    pub remote: Option<String>,
    pub total: Cents,
    pub remaining: Cents,
    pub hosted_url: Option<String>,
    /// How often the card was charged in vain, when it is again, and what its bank said.
    pub tries: i32,
    pub try_at: Option<OffsetDateTime>,
    pub declined: String,
    /// How often in a row it came to nothing, and why.
    pub failures: i32,
    pub reason: String,
}

/// An organization as the provider knows it.
#[derive(Clone, Debug)]
pub struct Customer {
    pub remote: Option<String>,
    pub payment_method: Option<String>,
    pub brand: String,
    pub last4: String,
    pub expires: String,
}

impl Customer {
    /// `Visa ending in 4242`, where there is a card.
    pub fn card(&self) -> Option<String> {
        self.payment_method.as_ref()?;
        let mut brand: Vec<_> = self.brand.replace('_', " ").chars().collect();
        if let Some(first) = brand.first_mut() {
            first.make_ascii_uppercase();
        }
        let brand: String = brand.into_iter().collect();
        Some(match self.last4.as_str() {
            "" => brand,
            last4 => format!("{brand} ending in {last4}"),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type, serde::Serialize, utoipa::ToSchema)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentOutcome)]
pub enum Outcome {
    Done,
    Declined,
    Failed,
}

impl Outcome {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Declined => "declined",
            Self::Failed => "failed",
        }
    }

    /// A badge's kind and words.
    pub const fn badge(self) -> (&'static str, &'static str) {
        match self {
            Self::Done => ("ok", "Paid"),
            Self::Declined => ("bad", "Declined"),
            Self::Failed => ("", "Not made"),
        }
    }
}

/// A try to charge a card. Without an outcome it is under way.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub asked_at: OffsetDateTime,
    pub outcome: Option<Outcome>,
    pub about: String,
}

/// What does not go on by itself.
#[derive(Clone, Debug)]
pub struct Stuck {
    pub organization: OrganizationId,
    pub organization_name: String,
    pub invoice: InvoiceId,
    pub number: String,
    pub stage: Stage,
    pub failures: i32,
    pub reason: String,
    pub changed_at: OffsetDateTime,
}

/// How an invoice is being paid, for whoever owes it.
pub struct Standing {
    pub collection: Collection,
    pub card: Option<String>,
    pub attempts: Vec<Attempt>,
    pub refunds: Vec<Refund>,
    /// When the card is charged by itself.
    pub charged_at: Option<OffsetDateTime>,
    pub can_be_paid: bool,
}

impl Standing {
    /// A badge's kind and words.
    pub fn badge(&self) -> (&'static str, &'static str) {
        let is_declined = !self.collection.declined.is_empty();
        match self.collection.stage {
            Stage::New | Stage::Drafted | Stage::Lined => ("", "Being prepared"),
            Stage::Open if is_declined && self.charged_at.is_none() => ("bad", "Declined"),
            Stage::Open if is_declined => ("warn", "Declined, tried again"),
            Stage::Open if self.card.is_none() => ("warn", "No card"),
            Stage::Open => ("", "Scheduled"),
            Stage::Uncollectible => ("", "Given up"),
            Stage::ByHand => ("", "Paid by hand"),
            Stage::Void => ("", "Void"),
            Stage::Paid => ("ok", "Paid"),
        }
    }
}

/// How an invoice is being paid; nothing where nobody collects it.
pub async fn standing(
    work: &mut Work,
    invoice: &Invoice,
) -> Result<Option<Standing>, PaymentError> {
    let organization = work.organization;
    let found = store::find(work, organization, invoice.id).await?;
    let Some(collection) = found else { return Ok(None) };
    let customer = store::customer(work, organization).await?;
    let card = customer.as_ref().and_then(Customer::card);
    let attempts = store::attempts(work, organization, invoice.id).await?;
    let refunds = store::refunds(work, organization, invoice.id).await?;
    let is_open = collection.stage == Stage::Open && invoice.unpaid() > Cents::ZERO;
    let goes_on = is_open && card.is_some() && collection.tries < MOST_TRIES;
    Ok(Some(Standing {
        charged_at: goes_on.then(|| collect::charged_from(&collection, invoice)),
        can_be_paid: is_open,
        collection,
        card,
        attempts,
        refunds,
    }))
}

pub async fn customer(work: &mut Work) -> Result<Option<Customer>, PaymentError> {
    let organization = work.organization;
    Ok(store::customer(work, organization).await?)
}

/// Charges the card for an invoice now, and says how it stands then.
pub async fn pay_now(
    rail: &Rail,
    db: &PgPool,
    mut work: Work,
    invoice: InvoiceId,
    now: OffsetDateTime,
) -> Result<Collection, PaymentError> {
    let organization = work.organization;
    let has_card = customer(&mut work).await?.is_some_and(|it| it.payment_method.is_some());
    if !has_card {
        return Err(PaymentError::NoCard);
    }
    if !store::hurry(&mut work, organization, invoice, MOST_TRIES, now).await? {
        return Err(PaymentError::NothingToPay);
    }
    work.commit().await?;
    go_on(rail, db, organization, invoice, now).await?;
    let mut work = begin(db, organization).await?;
    let found = store::find(&mut work, organization, invoice).await?;
    found.ok_or(PaymentError::NotFound)
}

/// Where somebody says what the organization pays with.
pub async fn set_up(
    rail: &Rail,
    db: &PgPool,
    organization: OrganizationId,
    pages: &Pages,
    now: OffsetDateTime,
) -> Result<Url, PaymentError> {
    let customer = collect::customer(rail, db, organization, now).await?;
    Ok(rail.provider.set_up(&customer, pages).await?)
}

/// Where somebody sees what the provider knows of the organization.
pub async fn portal(
    rail: &Rail,
    db: &PgPool,
    organization: OrganizationId,
    back: &Url,
    now: OffsetDateTime,
) -> Result<Url, PaymentError> {
    let customer = collect::customer(rail, db, organization, now).await?;
    Ok(rail.provider.portal(&customer, back).await?)
}

/// Takes up what was chosen on the provider's page. Whoever brings another organization's session
/// brings nothing.
pub async fn take_up_choice(
    rail: &Rail,
    db: &PgPool,
    organization: OrganizationId,
    session: &str,
    now: OffsetDateTime,
) -> Result<bool, PaymentError> {
    let customer = {
        let mut work = begin(db, organization).await?;
        store::customer(&mut work, organization).await?.and_then(|it| it.remote)
    };
    let chosen = rail.provider.chosen(session).await?;
    let chosen = chosen.filter(|it| Some(&it.customer) == customer.as_ref());
    let Some(chosen) = chosen else { return Ok(false) };
    rail.provider.prefer(&chosen.customer, &chosen.method).await?;
    look_at_card(rail, db, organization, now).await?;
    Ok(true)
}

/// Notes what the organization pays with now.
async fn look_at_card(
    rail: &Rail,
    db: &PgPool,
    organization: OrganizationId,
    now: OffsetDateTime,
) -> Result<(), PaymentError> {
    let remote = {
        let mut work = begin(db, organization).await?;
        store::customer(&mut work, organization).await?.and_then(|it| it.remote)
    };
    let Some(remote) = remote else { return Ok(()) };
    let card = rail.provider.card(&remote).await?;
    if let Some(card) = card.as_ref().filter(|it| !it.is_preferred) {
        rail.provider.prefer(&remote, &card.method).await?;
    }
    let mut work = begin(db, organization).await?;
    if store::set_card(&mut work, organization, card.as_ref()).await? {
        store::begin_anew(&mut work, organization, now).await?;
    }
    work.commit().await?;
    Ok(())
}

/// A transaction of the platform's own doing.
async fn begin(db: &PgPool, organization: OrganizationId) -> Result<Work, sqlx::Error> {
    Work::begin(db, organization, Actor::System, Origin::internal()).await
}

#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    #[error("there is no such invoice")]
    NotFound,
    #[error("nobody collects invoices here: pay as it stands on the invoice")]
    NotCollected,
    #[error("no card is known: add one in billing")]
    NoCard,
    #[error("there is nothing to pay, or it cannot be paid yet")]
    NothingToPay,
    #[error("a webhook was not signed by the payment provider")]
    Forged,
    #[error("a call that was written down cannot be read")]
    Unreadable(#[from] serde_json::Error),
    #[error("the payment provider is away: {0}")]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Billing(#[from] crate::billing::BillingError),
    #[error("the store of payments failed: {0}")]
    Store(#[from] sqlx::Error),
}

impl Classified for PaymentError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::NotCollected | Self::NoCard | Self::NothingToPay => Kind::Conflict,
            Self::Forged => Kind::Invalid,
            Self::Unreadable(_) => Kind::Internal,
            Self::Provider(_) => Kind::Unavailable,
            Self::Invoice(error) => error.kind(),
            Self::Ledger(error) => error.kind(),
            Self::Billing(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Invoice(error) => error.problems(),
            Self::Ledger(error) => error.problems(),
            Self::Billing(error) => error.problems(),
            Self::NotFound
            | Self::NotCollected
            | Self::NoCard
            | Self::NothingToPay
            | Self::Forged
            | Self::Unreadable(_)
            | Self::Provider(_)
            | Self::Store(_) => Vec::new(),
        }
    }
}
