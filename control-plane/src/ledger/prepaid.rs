//! Paying in advance: what credits are worth is a budget of all that is ever spent, which is hard,
//! so what was paid for cannot be overspent by any number of proxies.
//!
//! Its cap is what was charged so far and what is left to be used: what is used beyond what was
//! charged makes no difference to it, and what is charged changes both alike.

use shared::{
    ids::{BudgetId, OrganizationId},
    money::{Cents, Money},
    snapshot::Caps,
};
use sqlx::PgPool;
use time::OffsetDateTime;
use tracing::error;

use super::{Account, LedgerError, balances, begin, credits, store};
use crate::{
    access::Work,
    billing::{self, Month},
    budgets,
};

/// Brings the budget of an organization that pays in advance up to date. Says which one, where
/// its cap is another.
pub async fn follow(work: &mut Work) -> Result<Option<BudgetId>, LedgerError> {
    let organization = work.organization;
    store::lock(work, organization).await?;
    let is_prepaid = billing::is_prepaid(work).await?;
    let cap = if is_prepaid { Some(cap(work).await?) } else { None };
    Ok(budgets::follow_credits(work, cap).await?)
}

async fn cap(work: &mut Work) -> Result<Money, LedgerError> {
    let month = Month::at(OffsetDateTime::now_utc());
    let credits = credits::list(work).await?;
    let worth: Cents = credits.iter().filter(|it| it.pays_for(month)).map(|it| it.left).sum();
    let balances = balances(work).await?;
    let owed: i128 = balances
        .iter()
        .filter(|it| matches!(it.0, Account::Accrued | Account::Receivable))
        .map(|it| it.1)
        .sum();
    let organization = work.organization;
    let charged = i128::from(store::charged_ever(work, organization).await?);
    let cap = (worth.nanos() - owed + charged).clamp(0, i128::from(Caps::CEILING));
    Ok(Money::from_nanos(i64::try_from(cap).unwrap_or_default()))
}

/// The same for every organization that does, or did.
pub async fn follow_all(db: &PgPool) -> Result<(), LedgerError> {
    let all = {
        let mut conn = db.acquire().await?;
        store::prepaid(&mut conn).await?
    };
    for organization in all {
        // One that cannot follow keeps no other from it.
        if let Err(error) = follow_one(db, organization).await {
            error!(organization.id = %organization, "a prepaid balance was not followed: {error}");
        }
    }
    Ok(())
}

async fn follow_one(db: &PgPool, organization: OrganizationId) -> Result<(), LedgerError> {
    let mut work = begin(db, organization).await?;
    follow(&mut work).await?;
    work.commit().await?;
    Ok(())
}
