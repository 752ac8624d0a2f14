//! The ledger: what organizations used, owe, paid and were given, in double entry.
//!
//! Always holds: the entries of a posting add up to nothing; nothing that was posted is changed;
//! what is posted twice under one key is posted once; a day that is over is sealed by its hash and
//! the one before. Usage is charged by the hour, from the events themselves, to the nano-dollar:
//! what was used with an organization's own credential is charged too, as something that it does
//! not owe us. Budgets only look ahead; this is what invoices are made of.

mod charging;
pub mod credits;
pub mod prepaid;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod web;

use shared::{
    failure::{Classified, Kind, Problem},
    ids::{OrganizationId, PostingId},
};
use sqlx::{PgConnection, PgPool};
use time::{Date, OffsetDateTime};

pub use self::charging::{charge_due, charged_until};
use crate::{
    access::{Actor, Doors, Origin, Work},
    budgets::BudgetError,
    usage::UsageError,
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
}

/// Where amounts are. Debits of the first four are what somebody has; credits of the others are
/// what somebody is owed or has earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// Used, and not invoiced yet.
    Accrued,
    /// Invoiced, and not paid yet.
    Receivable,
    Cash,
    /// What credits that were paid for are still worth.
    Wallet,
    /// What credits that were given are still worth.
    Promotions,
    PromotionExpense,
    Revenue,
    Discounts,
    TaxPayable,
    /// Between what was used, to the nano-dollar, and what is billed, in cents.
    Rounding,
    /// What credits were worth that ran out.
    Breakage,
    /// Invoiced, and given up.
    BadDebt,
}

impl Account {
    pub const ALL: [Self; 12] = [
        Self::Accrued,
        Self::Receivable,
        Self::Cash,
        Self::Wallet,
        Self::Promotions,
        Self::PromotionExpense,
        Self::Revenue,
        Self::Discounts,
        Self::TaxPayable,
        Self::Rounding,
        Self::Breakage,
        Self::BadDebt,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Accrued => "accrued",
            Self::Receivable => "receivable",
            Self::Cash => "cash",
            Self::Wallet => "wallet",
            Self::Promotions => "promotions",
            Self::PromotionExpense => "promotion_expense",
            Self::Revenue => "revenue",
            Self::Discounts => "discounts",
            Self::TaxPayable => "tax_payable",
            Self::Rounding => "rounding",
            Self::Breakage => "breakage",
            Self::BadDebt => "bad_debt",
        }
    }

    pub const fn about(self) -> &'static str {
        match self {
            Self::Accrued => "Used, and not invoiced yet",
            Self::Receivable => "Invoiced, and not paid yet",
            Self::Cash => "Received",
            Self::Wallet => "Credits that were paid for, still to be used",
            Self::Promotions => "Credits that were given, still to be used",
            Self::PromotionExpense => "What given credits cost us",
            Self::Revenue => "Earned",
            Self::Discounts => "Taken off what was earned",
            Self::TaxPayable => "Tax that we owe the state",
            Self::Rounding => "Between nano-dollars and cents",
            Self::Breakage => "Paid credits that ran out",
            Self::BadDebt => "Invoiced, and given up",
        }
    }
}

/// Why something is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Usage,
    CreditGranted,
    CreditExpired,
    Invoice,
    InvoiceVoided,
    Payment,
    CreditNote,
    WrittenOff,
    /// Money that was to go back to a card, and did not.
    RefundFailed,
}

impl Reason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::CreditGranted => "credit_granted",
            Self::CreditExpired => "credit_expired",
            Self::Invoice => "invoice",
            Self::InvoiceVoided => "invoice_voided",
            Self::Payment => "payment",
            Self::CreditNote => "credit_note",
            Self::WrittenOff => "written_off",
            Self::RefundFailed => "refund_failed",
        }
    }
}

/// What is to be posted.
#[derive(Clone, Debug)]
pub struct Posting {
    reason: Reason,
    key: String,
    about: String,
    entries: Vec<(Account, i128)>,
}

impl Posting {
    /// `key` makes posting it twice the same as posting it once.
    pub fn new(reason: Reason, key: impl Into<String>, about: impl Into<String>) -> Self {
        Self { reason, key: key.into(), about: about.into(), entries: Vec::new() }
    }

    /// In nano-dollars; below zero it is a credit.
    pub fn debit(mut self, account: Account, nanos: i128) -> Self {
        match self.entries.iter_mut().find(|it| it.0 == account) {
            Some(entry) => entry.1 += nanos,
            None => self.entries.push((account, nanos)),
        }
        self
    }

    pub fn credit(self, account: Account, nanos: i128) -> Self {
        self.debit(account, -nanos)
    }
}

/// Writes it, if nothing was written under its key before. The database refuses at the commit
/// what does not add up to nothing.
pub async fn post(work: &mut Work, posting: &Posting) -> Result<Option<PostingId>, LedgerError> {
    let organization = work.organization;
    store::lock(work, organization).await?;
    let id = PostingId::generate();
    let Posting { reason, key, about, entries } = posting;
    if !store::insert(work, organization, id, *reason, key, about).await? {
        return Ok(None);
    }
    let mut narrow = Vec::new();
    for (account, nanos) in entries.iter().filter(|it| it.1 != 0) {
        narrow.push((*account, i64::try_from(*nanos).map_err(|_| LedgerError::TooMuch)?));
    }
    store::insert_entries(work, organization, id, &narrow).await?;
    Ok(Some(id))
}

/// Keeps other writers away from the organization's ledger until `work` ends.
pub async fn lock(work: &mut Work) -> Result<(), LedgerError> {
    let organization = work.organization;
    Ok(store::lock(work, organization).await?)
}

/// What is in an organization's accounts, in nano-dollars: debits less credits.
pub async fn balances(work: &mut Work) -> Result<Vec<(Account, i128)>, LedgerError> {
    let organization = work.organization;
    let found = store::balances(work, organization).await?;
    let of = |account: Account| {
        let kept = found.iter().find(|it| it.0 == account.name());
        (account, kept.map_or(0, |it| it.1))
    };
    Ok(Account::ALL.into_iter().map(of).collect())
}

/// The entries of a posting.
pub async fn entries(
    work: &mut Work,
    posting: PostingId,
) -> Result<Vec<(Account, i128)>, LedgerError> {
    let organization = work.organization;
    let rows = store::entries(work, organization, posting).await?;
    let known = |(name, nanos): (String, i64)| {
        Account::ALL.into_iter().find(|it| it.name() == name).map(|it| (it, i128::from(nanos)))
    };
    Ok(rows.into_iter().filter_map(known).collect())
}

/// Seals the days that are over, of all organizations.
pub async fn seal_due(db: &PgPool) -> Result<(), LedgerError> {
    let today = OffsetDateTime::now_utc().date();
    let due = {
        let mut conn = db.acquire().await?;
        store::unsealed(&mut conn, today).await?
    };
    for organization in due {
        let mut work = begin(db, organization).await?;
        store::lock(&mut work, organization).await?;
        store::seal(&mut work, organization, today).await?;
        work.commit().await?;
    }
    Ok(())
}

/// A transaction of the platform's own doing.
async fn begin(db: &PgPool, organization: OrganizationId) -> Result<Work, sqlx::Error> {
    Work::begin(db, organization, Actor::System, Origin::internal()).await
}

/// What the books come to on a day, in nano-dollars, for whoever compares them.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    pub used: i128,
    pub charged: i128,
    /// Of that, what is owed to us.
    pub owed: i128,
    pub accrued: i128,
    /// Hours that ended two hours ago or more and were not charged yet.
    pub behind: i64,
}

pub async fn sums(conn: &mut PgConnection, day: Date) -> Result<Sums, sqlx::Error> {
    store::sums(conn, day).await
}

/// One amount that two sides tell differently.
#[derive(Clone, Debug)]
pub struct Differing {
    pub row_key: String,
    pub amount: String,
    pub ours: i64,
    pub theirs: i64,
}

/// What was used of a day and not charged so.
pub async fn differing_charges(
    conn: &mut PgConnection,
    day: Date,
) -> Result<Vec<Differing>, sqlx::Error> {
    store::differing_charges(conn, day).await
}

/// What was charged of a day and not posted so.
pub async fn differing_accruals(
    conn: &mut PgConnection,
    day: Date,
) -> Result<Vec<Differing>, sqlx::Error> {
    store::differing_accruals(conn, day).await
}

/// Postings that do not add up to nothing, and days that are not what was sealed, from a day on.
pub async fn broken(conn: &mut PgConnection, since: Date) -> Result<Vec<Differing>, sqlx::Error> {
    store::broken(conn, since).await
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("an amount is more than the ledger can tell")]
    TooMuch,
    #[error("an hour of {0} was charged for more than was used")]
    Shrunk(OrganizationId),
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error("there is no such credit")]
    NotFound,
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Budget(#[from] BudgetError),
    #[error("the ledger's store failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for LedgerError {
    fn kind(&self) -> Kind {
        match self {
            Self::Refused(_) => Kind::Invalid,
            Self::NotFound => Kind::NotFound,
            Self::TooMuch | Self::Shrunk(_) => Kind::Internal,
            Self::Usage(error) => error.kind(),
            Self::Budget(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Refused(problems) => problems.list().to_vec(),
            Self::TooMuch
            | Self::Shrunk(_)
            | Self::NotFound
            | Self::Usage(_)
            | Self::Budget(_)
            | Self::Store(_) => Vec::new(),
        }
    }
}
