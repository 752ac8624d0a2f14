//! What a payment provider does for us, in our words. Who that is knows how to say it.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use shared::{
    ids::{InvoiceId, OrganizationId},
    money::Cents,
};
use time::OffsetDateTime;
use url::Url;

pub type Answering<'a, T> = BoxFuture<'a, Result<T, ProviderError>>;

/// Collects what our invoices say. Everything that changes something is a [`Call`] under a key:
/// the same call with the same key is done once, however often it is asked for.
pub trait PaymentProvider: Send + Sync {
    fn change<'a>(&'a self, call: &'a Call, key: &'a str) -> Answering<'a, Changed>;

    /// An invoice as it is now; none that was discarded.
    fn invoice<'a>(&'a self, remote: &'a str) -> Answering<'a, Option<RemoteInvoice>>;

    /// The customer's invoice that mirrors one of ours.
    fn find_invoice<'a>(
        &'a self,
        customer: &'a str,
        invoice: InvoiceId,
    ) -> Answering<'a, Option<RemoteInvoice>>;

    /// A customer of that organization that was made since then.
    fn find_customer(
        &self,
        organization: OrganizationId,
        since: OffsetDateTime,
    ) -> Answering<'_, Option<String>>;

    /// What a credit note of ours gave back of an invoice.
    fn find_refund<'a>(
        &'a self,
        remote: &'a str,
        note: InvoiceId,
    ) -> Answering<'a, Option<RemoteRefund>>;

    /// A refund as it is now.
    fn refund<'a>(&'a self, refund: &'a str) -> Answering<'a, RemoteRefund>;

    /// What the customer pays with: what they prefer, or the newest there is.
    fn card<'a>(&'a self, customer: &'a str) -> Answering<'a, Option<Card>>;

    /// Has the customer's invoices paid with that from now on.
    fn prefer<'a>(&'a self, customer: &'a str, method: &'a str) -> Answering<'a, ()>;

    /// A page of the provider's on which the customer says what they pay with.
    fn set_up<'a>(&'a self, customer: &'a str, pages: &'a Pages) -> Answering<'a, Url>;

    /// What was chosen on such a page, and by whom; nothing before they are done.
    fn chosen<'a>(&'a self, session: &'a str) -> Answering<'a, Option<Chosen>>;

    /// A page of the provider's on which the customer sees and changes what it knows of them.
    fn portal<'a>(&'a self, customer: &'a str, back: &'a Url) -> Answering<'a, Url>;

    /// What happened since then, after an event where there is one: a part of it.
    fn events<'a>(
        &'a self,
        since: OffsetDateTime,
        after: Option<&'a str>,
    ) -> Answering<'a, (Vec<Event>, bool)>;
}

/// What is to change at the provider. It is kept with its key before it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    Customer {
        organization: OrganizationId,
        name: String,
        email: Option<String>,
    },
    /// An invoice with our number and nothing on it.
    Draft {
        customer: String,
        invoice: InvoiceId,
        number: String,
        about: String,
    },
    /// What it comes to, line by line.
    Lines {
        remote: String,
        lines: Vec<(String, Cents)>,
    },
    /// From now on it can be paid, and is not changed.
    Finalize {
        remote: String,
        total: Cents,
    },
    Pay {
        remote: String,
        method: String,
    },
    /// It was paid elsewhere.
    Settle {
        remote: String,
    },
    Void {
        remote: String,
    },
    /// Throws a draft away.
    Discard {
        remote: String,
    },
    GiveUp {
        remote: String,
    },
    /// Less is to be paid: of so much, so much less.
    TakeOff {
        remote: String,
        amount: Cents,
        of: Cents,
    },
    /// Gives back a part of what was paid, by a credit note of ours.
    Refund {
        remote: String,
        note: InvoiceId,
        number: String,
        amount: Cents,
    },
}

impl Call {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Customer { .. } => "customer",
            Self::Draft { .. } => "draft",
            Self::Lines { .. } => "lines",
            Self::Finalize { .. } => "finalize",
            Self::Pay { .. } => "pay",
            Self::Settle { .. } => "settle",
            Self::Void { .. } => "void",
            Self::Discard { .. } => "discard",
            Self::GiveUp { .. } => "give_up",
            Self::TakeOff { .. } => "take_off",
            Self::Refund { .. } => "refund",
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    Customer(String),
    Invoice(RemoteInvoice),
    Refund(RemoteRefund),
    /// Thrown away.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteStatus {
    Draft,
    Open,
    Paid,
    Void,
    Uncollectible,
}

/// An invoice as the provider has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteInvoice {
    pub id: String,
    pub status: RemoteStatus,
    pub customer: String,
    /// Which of ours it mirrors.
    pub invoice: Option<InvoiceId>,
    pub number: Option<String>,
    pub currency: String,
    pub total: Cents,
    pub remaining: Cents,
    pub has_lines: bool,
    pub hosted_url: Option<String>,
    /// Money that came, each payment with its name there.
    pub received: Vec<(String, Cents)>,
}

/// Money on its way back to a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRefund {
    pub id: String,
    pub state: RefundState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundState {
    Pending,
    Done,
    /// And what is said of it.
    Failed(String),
}

/// What a customer pays with, as far as they may see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    pub method: String,
    pub brand: String,
    pub last4: String,
    /// `04/2029`
    pub expires: String,
    /// Whether the customer's invoices are paid with it already.
    pub is_preferred: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub customer: String,
    pub method: String,
}

/// Where somebody comes back to from the provider's page.
#[derive(Clone, Debug)]
pub struct Pages {
    /// With the session's name added to it, as its last query field.
    pub done: Url,
    pub cancelled: Url,
}

/// Something that happened there: what kind, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub refs: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Nobody knows whether it was done. It is asked for again, with the same key.
    #[error("the provider did not answer")]
    NoAnswer,
    /// Not now: it is asked for again, with the same key.
    #[error("the provider is busy ({0})")]
    Later(u16),
    /// Would be answered the same again: what came of it is looked up first.
    #[error("the provider failed ({0})")]
    Broken(u16),
    #[error("{0}")]
    Declined(String),
    #[error("the provider refused it ({status}): {about}")]
    Refused { status: u16, about: String },
    #[error("the provider's answer cannot be read")]
    Unreadable,
}

impl ProviderError {
    /// Whether the same call is to be made again as it is, and not looked up first.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::NoAnswer | Self::Later(_) => true,
            Self::Broken(_) | Self::Declined(_) | Self::Refused { .. } | Self::Unreadable => false,
        }
    }
}
