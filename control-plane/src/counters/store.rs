//! What the database knows of counters.

use std::collections::{HashMap, HashSet};

use shared::{
    counters::{Amounts, Epoch, HealedWindow, Incarnation, Shard},
    ids::{BudgetId, OrganizationId},
};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

/// A process of a proxy, in a shard.
pub type Process = (Shard, Epoch);

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

/// Whosever it is.
pub(super) async fn owner(
    conn: &mut PgConnection,
    budget: BudgetId,
) -> Result<Option<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT app.owner_of_budget($1) AS "owner: OrganizationId""#,
        budget as BudgetId,
    )
    .fetch_one(conn)
    .await
}

/// Those that held something, as it is noted.
pub(super) async fn living(conn: &mut PgConnection) -> Result<Vec<Process>, sqlx::Error> {
    let all = sqlx::query!("SELECT shard, epoch FROM counter_epochs").fetch_all(conn).await?;
    Ok(all.into_iter().filter_map(|it| process(it.shard, it.epoch)).collect())
}

pub(super) async fn note_living(
    conn: &mut PgConnection,
    new: &[Process],
    gone: &[Process],
) -> Result<(), sqlx::Error> {
    let (shards, epochs) = columns(new);
    sqlx::query!(
        "INSERT INTO counter_epochs SELECT * FROM unnest($1::smallint[], $2::bigint[])
             ON CONFLICT DO NOTHING",
        &shards,
        &epochs,
    )
    .execute(&mut *conn)
    .await?;
    let (shards, epochs) = columns(gone);
    sqlx::query!(
        "DELETE FROM counter_epochs
          WHERE (shard, epoch) IN (SELECT * FROM unnest($1::smallint[], $2::bigint[]))",
        &shards,
        &epochs,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Those that are not remembered any more since lately.
pub(super) async fn forgotten(conn: &mut PgConnection) -> Result<Vec<Process>, sqlx::Error> {
    let all = sqlx::query!(
        "SELECT shard, epoch FROM usage_watermarks
          WHERE NOT app.is_remembered(seen_at) AND app.is_remembered(seen_at + interval '35 days')"
    )
    .fetch_all(conn)
    .await?;
    Ok(all.into_iter().filter_map(|it| process(it.shard, it.epoch)).collect())
}

fn process(shard: i16, epoch: i64) -> Option<Process> {
    Some((Shard::from(u8::try_from(shard).ok()?), Epoch(epoch.cast_unsigned())))
}

fn columns(processes: &[Process]) -> (Vec<i16>, Vec<i64>) {
    processes.iter().map(|it| (i16::from(it.0.number()), it.1.0.cast_signed())).unzip()
}

/// Processes that settled something in a shard within the last month, which is longer than a
/// proxy keeps what it has to tell.
pub(super) async fn epochs(
    conn: &mut PgConnection,
    shard: Shard,
) -> Result<Vec<Epoch>, sqlx::Error> {
    let all = sqlx::query_scalar!(
        "SELECT epoch FROM usage_watermarks
          WHERE shard = $1 AND app.is_remembered(seen_at)",
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
          WHERE shard = $1 AND last > 0 AND app.is_remembered(seen_at)",
        number,
    )
    .fetch_all(&mut *tx)
    .await?;
    let windows = if settled.is_empty() {
        let organizations: Vec<_> = organizations.iter().map(|it| it.uuid()).collect();
        sqlx::query_as!(
            Row,
            r#"SELECT budget AS "budget!", "window" AS "window!", money AS "money!",
                      requests AS "requests!", tokens AS "tokens!"
                 FROM app.counted_in_shard($1, $2)"#,
            number,
            &organizations,
        )
        .fetch_all(&mut *tx)
        .await?
    } else {
        let (epochs, known): (Vec<_>, Vec<_>) =
            settled.iter().map(|(it, last)| (it.0.cast_signed(), last.cast_signed())).unzip();
        sqlx::query_as!(
            Row,
            r#"SELECT budget AS "budget!", "window" AS "window!", money AS "money!",
                      requests AS "requests!", tokens AS "tokens!"
                 FROM app.counted_beyond($1, $2, $3)"#,
            number,
            &epochs,
            &known,
        )
        .fetch_all(&mut *tx)
        .await?
    };
    let windows = windows.into_iter().map(HealedWindow::from).collect();
    tx.commit().await?;
    let settled =
        marks.into_iter().map(|it| (Epoch(it.epoch.cast_unsigned()), it.last.unsigned_abs()));
    Ok(Known { settled: settled.collect(), windows })
}

/// A window of a budget, and what is to be added to it.
struct Row {
    budget: Uuid,
    window: i64,
    money: i64,
    requests: i64,
    tokens: i64,
}

impl From<Row> for HealedWindow {
    fn from(it: Row) -> Self {
        Self {
            budget: BudgetId::from_uuid(it.budget),
            from_ms: it.window,
            until_ms: 0,
            more: Amounts { money: it.money, requests: it.requests, tokens: it.tokens },
        }
    }
}
