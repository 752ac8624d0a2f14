//! What the database knows of counters.

use std::collections::{HashMap, HashSet};

use shared::{
    counters::{Amounts, Epoch, HealedWindow, Incarnation, Shard},
    ids::{BudgetId, OrganizationId},
};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// What a shard is healed with.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub settled: Vec<(Epoch, u64)>,
    pub windows: Vec<HealedWindow>,
}

/// Whose budgets were ever told anything.
pub(super) async fn counted_organizations(
    conn: &mut PgConnection,
) -> Result<HashSet<OrganizationId>, sqlx::Error> {
    let all = sqlx::query_scalar!(
        r#"SELECT DISTINCT organization_id AS "id!: OrganizationId" FROM app.counted_organizations()"#
    )
    .fetch_all(conn)
    .await?;
    Ok(all.into_iter().collect())
}

pub(super) async fn healed_shards(conn: &mut PgConnection) -> Result<HashSet<Shard>, sqlx::Error> {
    let all = sqlx::query_scalar!("SELECT shard FROM counter_shards").fetch_all(conn).await?;
    Ok(all.into_iter().filter_map(|it| u8::try_from(it).ok()).map(Shard::from).collect())
}

pub(super) async fn note_healed(
    conn: &mut PgConnection,
    shard: Shard,
    incarnation: Incarnation,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO counter_shards (shard, incarnation) VALUES ($1, $2)
             ON CONFLICT (shard) DO UPDATE SET incarnation = $2, healed_at = now()",
        i16::from(shard.number()),
        incarnation.0.cast_signed(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Processes that settled something in a shard within the last month, which is longer than a
/// proxy keeps what it has to tell.
pub(super) async fn epochs(
    conn: &mut PgConnection,
    shard: Shard,
) -> Result<Vec<Epoch>, sqlx::Error> {
    let all = sqlx::query_scalar!(
        "SELECT epoch FROM usage_watermarks
          WHERE shard = $1 AND seen_at > now() - interval '35 days'",
        i16::from(shard.number()),
    )
    .fetch_all(conn)
    .await?;
    Ok(all.into_iter().map(|it| Epoch(it.cast_unsigned())).collect())
}

pub(super) async fn settled_calls(
    conn: &mut PgConnection,
    calls: &[Uuid],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if calls.is_empty() {
        return Ok(HashSet::new());
    }
    let all = sqlx::query_scalar!(r#"SELECT id AS "id!" FROM app.settled_calls($1) AS id"#, calls)
        .fetch_all(conn)
        .await?;
    Ok(all.into_iter().collect())
}

/// What the database knows of a shard beyond what its store does, at one moment.
pub(super) async fn known(
    conn: &mut PgConnection,
    shard: Shard,
    settled: &HashMap<Epoch, u64>,
    organizations: &[OrganizationId],
) -> Result<Known, sqlx::Error> {
    let mut tx = conn.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    sqlx::query!("SELECT set_config('statement_timeout', '60s', true) AS timeout")
        .fetch_one(&mut *tx)
        .await?;
    let number = i16::from(shard.number());
    let marks = sqlx::query!(
        "SELECT epoch, last FROM usage_watermarks
          WHERE shard = $1 AND last > 0 AND seen_at > now() - interval '35 days'",
        number,
    )
    .fetch_all(&mut *tx)
    .await?;
    let window = |budget, from_ms, money, requests, tokens| HealedWindow {
        budget: BudgetId::from_uuid(budget),
        from_ms,
        until_ms: 0,
        more: Amounts { money, requests, tokens },
    };
    let windows = if settled.is_empty() {
        let organizations: Vec<_> = organizations.iter().map(|it| it.uuid()).collect();
        let rows = sqlx::query!(
            r#"SELECT budget AS "budget!", "window" AS "window!", money AS "money!",
                      requests AS "requests!", tokens AS "tokens!"
                 FROM app.counted_in_shard($1, $2)"#,
            number,
            &organizations,
        )
        .fetch_all(&mut *tx)
        .await?;
        let rows = rows.into_iter();
        rows.map(|it| window(it.budget, it.window, it.money, it.requests, it.tokens)).collect()
    } else {
        let (epochs, known): (Vec<_>, Vec<_>) =
            settled.iter().map(|(it, last)| (it.0.cast_signed(), last.cast_signed())).unzip();
        let rows = sqlx::query!(
            r#"SELECT budget AS "budget!", "window" AS "window!", money AS "money!",
                      requests AS "requests!", tokens AS "tokens!"
                 FROM app.counted_beyond($1, $2, $3)"#,
            number,
            &epochs,
            &known,
        )
        .fetch_all(&mut *tx)
        .await?;
        let rows = rows.into_iter();
        rows.map(|it| window(it.budget, it.window, it.money, it.requests, it.tokens)).collect()
    };
    tx.commit().await?;
    let settled =
        marks.into_iter().map(|it| (Epoch(it.epoch.cast_unsigned()), it.last.unsigned_abs()));
    Ok(Known { settled: settled.collect(), windows })
}
