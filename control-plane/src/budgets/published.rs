//! Budgets as proxies are given them.

use shared::{
    ids::{BudgetId, OrganizationId},
    snapshot,
};
use sqlx::PgConnection;
use tracing::error;

use super::{Budget, RAISED_BY, store};

/// Every budget in force, or those of `only` that are. One that cannot be read is left out,
/// for it must not keep everybody's changes from being published.
pub async fn published(
    conn: &mut PgConnection,
    only: Option<&[BudgetId]>,
) -> Result<Vec<snapshot::Budget>, sqlx::Error> {
    if only.is_some_and(<[_]>::is_empty) {
        return Ok(Vec::new());
    }
    let rows = store::published(conn, only).await?;
    let read = rows.into_iter().filter_map(|it| {
        let id = it.row.id;
        let budget = it.row.read();
        let budget = budget.inspect_err(|cause| error!(budget.id = %id, %cause, "left out {id}"));
        Some(record(it.organization, budget.ok()?))
    });
    Ok(read.collect())
}

fn record(organization: OrganizationId, budget: Budget) -> snapshot::Budget {
    let raise = budget.raise.map(|it| snapshot::Raise {
        caps: it.caps,
        until_ms: i64::try_from(it.until.unix_timestamp_nanos() / 1_000_000).unwrap_or_default(),
    });
    snapshot::Budget {
        id: budget.id,
        organization,
        name: budget.name,
        scope: budget.scope,
        period: budget.period,
        zone: budget.zone,
        caps: budget.terms.caps,
        raise,
        is_hard: budget.terms.is_hard,
        thresholds: budget.terms.thresholds,
        on_tight: budget.terms.on_tight,
        on_redis_loss: budget.terms.on_redis_loss,
        version: budget.version,
        raised_by: RAISED_BY.to_owned(),
    }
}
