//! Credits: given, paid for in advance, or committed to. They pay for invoices, in a fixed order:
//! by priority, then what expires first, then what is oldest.
//!
//! A credit pays for the months in which it was worth something, so it runs out when the last of
//! them was invoiced.

use serde::{Deserialize, Serialize};
use shared::{
    ids::{CreditId, PostingId},
    money::Cents,
};
use sqlx::PgPool;
use time::{Date, Duration, OffsetDateTime};

use super::{Account, LedgerError, Posting, Reason, begin, post, store};
use crate::{
    access::Work,
    audit::{self, Entry},
    billing::Month,
    web::Problems,
};

/// How long what has expired waits for its last month to be invoiced.
const LONGEST_WAIT: Duration = Duration::days(62);

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum CreditKind {
    Promotional,
    Paid,
    Commitment,
}

impl CreditKind {
    pub const ALL: [Self; 3] = [Self::Paid, Self::Promotional, Self::Commitment];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Promotional => "promotional",
            Self::Paid => "paid",
            Self::Commitment => "commitment",
        }
    }

    pub const fn title(self) -> &'static str {
        match self {
            Self::Promotional => "Given",
            Self::Paid => "Top-up",
            Self::Commitment => "Commitment",
        }
    }

    /// Where what it is still worth stands.
    pub const fn account(self) -> Account {
        match self {
            Self::Promotional => Account::Promotions,
            Self::Paid | Self::Commitment => Account::Wallet,
        }
    }

    /// Where it comes from.
    const fn source(self) -> Account {
        match self {
            Self::Promotional => Account::PromotionExpense,
            Self::Paid | Self::Commitment => Account::Cash,
        }
    }

    /// Where what nobody used goes.
    const fn rest(self) -> Account {
        match self {
            Self::Promotional => Account::PromotionExpense,
            Self::Paid | Self::Commitment => Account::Breakage,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Credit {
    pub id: CreditId,
    pub kind: CreditKind,
    pub name: String,
    pub priority: i16,
    pub amount: Cents,
    pub left: Cents,
    pub effective_on: Date,
    pub expires_on: Option<Date>,
    pub reference: String,
    pub created_at: OffsetDateTime,
}

impl Credit {
    /// Whether it was worth something in that month.
    pub fn pays_for(&self, month: Month) -> bool {
        self.effective_on < month.end() && self.expires_on.is_none_or(|it| it > month.first())
    }

    pub fn is_over(&self, today: Date) -> bool {
        self.expires_on.is_some_and(|it| it <= today)
    }
}

/// A credit as it is granted.
#[derive(Clone, Debug)]
pub struct NewCredit {
    pub kind: CreditKind,
    pub name: String,
    /// The lower the sooner it is used.
    pub priority: i16,
    pub amount: Cents,
    pub effective_on: Date,
    pub expires_on: Option<Date>,
    pub reference: String,
}

impl NewCredit {
    fn check(&self) -> Result<(), Problems> {
        let mut problems = Problems::none();
        let fits = |text: &str, least| {
            (least..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control)
        };
        if !fits(&self.name, 1) {
            problems.add("name", "say what it is for, in at most 200 characters");
        }
        if !fits(&self.reference, 0) {
            problems.add("reference", "a reference has at most 200 characters");
        }
        if !(0..=100).contains(&self.priority) {
            problems.add("priority", "a priority is from 0 to 100");
        }
        if !(1..=100_000_000_000).contains(&self.amount.cents()) {
            problems.add("amount", "a credit is from one cent to a billion dollars");
        }
        if self.expires_on.is_some_and(|it| it <= self.effective_on) {
            problems.add("expires_on", "the end has to come after the start");
        }
        problems.check()
    }
}

/// What is used of a credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    pub credit: CreditId,
    pub kind: CreditKind,
    pub name: String,
    pub amount: Cents,
}

/// Those there are, used up or not, in the order in which they are used.
pub async fn list(work: &mut Work) -> Result<Vec<Credit>, LedgerError> {
    let organization = work.organization;
    Ok(store::credits(work, organization).await?)
}

/// Grants a credit; for what was paid the money is in. `once` makes granting it twice the same
/// as granting it once, and then nothing is said.
pub async fn grant(
    work: &mut Work,
    new: &NewCredit,
    once: &str,
) -> Result<Option<CreditId>, LedgerError> {
    new.check()?;
    let nanos = new.amount.nanos();
    let posting = Posting::new(Reason::CreditGranted, format!("credit {once}"), &new.name)
        .debit(new.kind.source(), nanos)
        .credit(new.kind.account(), nanos);
    if post(work, &posting).await?.is_none() {
        return Ok(None);
    }
    keep(work, new).await.map(Some)
}

/// A credit whose money another posting puts into the wallet.
pub async fn keep(work: &mut Work, new: &NewCredit) -> Result<CreditId, LedgerError> {
    new.check()?;
    let id = CreditId::generate();
    let organization = work.organization;
    store::insert_credit(work, organization, id, new).await?;
    let told = serde_json::json!({
        "kind": new.kind, "amount_usd": new.amount, "priority": new.priority,
        "effective_on": new.effective_on.to_string(),
        "expires_on": new.expires_on.map(|it| it.to_string()), "reference": new.reference,
    });
    audit::record(work, Entry::new("credit.granted", id, &new.name).after(told)).await?;
    Ok(id)
}

/// What is used of which credits to pay for `due` of a month. They have to be in their order.
pub fn plan(credits: &mut [Credit], due: Cents, month: Month) -> Vec<Use> {
    let (mut rest, mut uses) = (due, Vec::new());
    for credit in credits.iter_mut().filter(|it| it.pays_for(month)) {
        let amount = credit.left.min(rest);
        if amount > Cents::ZERO {
            credit.left = credit.left - amount;
            rest = rest - amount;
            let Credit { id, kind, name, .. } = credit;
            uses.push(Use { credit: *id, kind: *kind, name: name.clone(), amount });
        }
    }
    uses
}

/// Writes down what a posting uses; the database refuses what is not there.
pub async fn spend(work: &mut Work, posting: PostingId, uses: &[Use]) -> Result<(), LedgerError> {
    let organization = work.organization;
    for it in uses {
        store::use_credit(work, organization, it.credit, posting, it.amount).await?;
    }
    Ok(())
}

/// Gives back what a posting used, by another one.
pub async fn give_back(
    work: &mut Work,
    used_by: PostingId,
    posting: PostingId,
) -> Result<(), LedgerError> {
    let organization = work.organization;
    for (credit, amount) in store::uses(work, organization, used_by).await? {
        store::use_credit(work, organization, credit, posting, -amount).await?;
    }
    Ok(())
}

/// Takes out what is worth nothing any more, of all organizations.
pub async fn expire_due(db: &PgPool) -> Result<(), LedgerError> {
    let today = OffsetDateTime::now_utc().date();
    let due = {
        let mut conn = db.acquire().await?;
        store::with_expired_credits(&mut conn, today).await?
    };
    for organization in due {
        let mut work = begin(db, organization).await?;
        store::lock(&mut work, organization).await?;
        for credit in list(&mut work).await? {
            if credit.left > Cents::ZERO && is_due(&mut work, &credit, today).await? {
                expire(&mut work, &credit).await?;
            }
        }
        work.commit().await?;
    }
    Ok(())
}

async fn is_due(work: &mut Work, credit: &Credit, today: Date) -> Result<bool, LedgerError> {
    let Some(expires_on) = credit.expires_on.filter(|it| *it <= today) else { return Ok(false) };
    let last = expires_on.previous_day().unwrap_or(expires_on);
    let organization = work.organization;
    let is_invoiced = store::is_closed(work, organization, Month::of(last)).await?;
    Ok(is_invoiced || expires_on + LONGEST_WAIT <= today)
}

async fn expire(work: &mut Work, credit: &Credit) -> Result<(), LedgerError> {
    let nanos = credit.left.nanos();
    // Nothing is left the second time; what a voided invoice gives back expires once more.
    let key = format!("expiry {}", PostingId::generate());
    let posting = Posting::new(Reason::CreditExpired, key, &credit.name)
        .debit(credit.kind.account(), nanos)
        .credit(credit.kind.rest(), nanos);
    if let Some(id) = post(work, &posting).await? {
        let organization = work.organization;
        store::use_credit(work, organization, credit.id, id, credit.left).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::date;

    use super::*;

    fn credit(left: i64, expires_on: Option<Date>) -> Credit {
        Credit {
            id: CreditId::generate(),
            kind: CreditKind::Paid,
            name: "top-up".to_owned(),
            priority: 10,
            amount: Cents::from_cents(left),
            left: Cents::from_cents(left),
            effective_on: date!(2026 - 10 - 15),
            expires_on,
            reference: String::new(),
            created_at: OffsetDateTime::now_utc(),
        }
    }

    #[test]
    fn a_credit_pays_for_the_months_in_which_it_was_worth_something() {
        let credit = credit(5, Some(date!(2026 - 12 - 01)));
        for (month, pays) in
            [("2026-09", false), ("2026-10", true), ("2026-11", true), ("2026-12", false)]
        {
            assert_eq!(credit.pays_for(month.parse().unwrap()), pays, "{month}");
        }
    }

    proptest! {
        #[test]
        fn no_more_is_used_than_is_due_nor_than_there_is(
            worth in proptest::collection::vec(0..1_000_i64, 0..8), due in 0..5_000_i64,
        ) {
            let mut credits: Vec<_> = worth.iter().map(|it| credit(*it, None)).collect();
            let month: Month = "2026-11".parse().unwrap();
            let uses = plan(&mut credits, Cents::from_cents(due), month);
            let used: i64 = uses.iter().map(|it| it.amount.cents()).sum();
            let all: i64 = worth.iter().sum();
            prop_assert_eq!(used, due.min(all));
            prop_assert!(credits.iter().all(|it| it.left >= Cents::ZERO));
            // The first are used up before the next is touched.
            let untouched = credits.iter().zip(&worth).skip_while(|(it, _)| it.left == Cents::ZERO);
            prop_assert!(untouched.skip(1).all(|(it, was)| it.left.cents() == *was));
        }
    }
}
