//! The demo's budgets: one of each sort, small enough that a few calls are seen on them.

use shared::{
    ids::{ApiKeyId, CostCenterId, ProjectId},
    money::{Money, Period, Zone},
    snapshot::{BudgetScope, Caps, OnRedisLoss, OnTight, Thresholds},
};

use super::DemoError;
use crate::{
    access::Work,
    budgets::{ALERTED, NewBudget, Terms, create},
};

pub async fn make(
    work: &mut Work,
    bot: ProjectId,
    laptop: ApiKeyId,
    engineering: CostCenterId,
) -> Result<(), DemoError> {
    let dollars = |dollars: i64| Caps {
        money: Some(Money::from_nanos(dollars * 1_000_000_000)),
        ..Caps::default()
    };
    let requests = Caps { requests: Some(500), ..Caps::default() };
    let (all, month, day) = (BudgetScope::Organization, Period::Month, Period::Day);
    for (name, scope, period, caps, is_hard) in [
        ("Everything", all, month, dollars(200), true),
        ("support-bot", BudgetScope::Project(bot), month, dollars(25), true),
        ("Laptop", BudgetScope::Key(laptop), day, requests, true),
        ("Engineering", BudgetScope::CostCenter(engineering), month, dollars(50), false),
    ] {
        let terms = Terms {
            caps,
            is_hard,
            thresholds: Thresholds::try_from(vec![50, 80, 100]).map_err(DemoError::Budget)?,
            on_tight: OnTight::Clamp,
            on_redis_loss: OnRedisLoss::Closed,
            alert_roles: ALERTED.to_vec(),
        };
        let name = name.parse()?;
        create(work, &NewBudget { name, scope, period, zone: Zone::UTC, terms }).await?;
    }
    Ok(())
}
