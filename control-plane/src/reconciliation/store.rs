//! Every statement of the comparison.

use std::collections::{HashMap, HashSet};

use shared::{
    counters::{Amounts, Epoch, Shard},
    event::Event,
    ids::{BudgetId, OrganizationId},
};
use sqlx::{Connection, PgConnection, Postgres, Transaction};
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::{Difference, Equality, Report};

/// For how many days what was found is kept.
const KEPT_DAYS: i32 = 35;

/// A moment of the database, which nothing changes while it is looked at.
pub(super) async fn begin(
    conn: &mut PgConnection,
) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    let mut tx = conn.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    sqlx::query!("SELECT set_config('statement_timeout', '10min', true) AS timeout")
        .fetch_one(&mut *tx)
        .await?;
    Ok(tx)
}

/// Those that were ever told anything.
pub(super) async fn budgets(
    conn: &mut PgConnection,
) -> Result<Vec<(OrganizationId, BudgetId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT organization_id AS "organization!: OrganizationId", budget_id AS "budget!"
             FROM app.counted_organizations()"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.organization, BudgetId::from_uuid(it.budget))).collect())
}

pub(super) async fn days(conn: &mut PgConnection) -> Result<Vec<Date>, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT day AS "day!" FROM app.used_days() AS day"#).fetch_all(conn).await
}

/// What a day comes to, in nano-dollars but for `picos`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    pub events: i64,
    pub nanos: i128,
    pub picos: i128,
    pub line_nanos: i128,
    pub hours: i128,
    pub days: i128,
    pub counted: i128,
    pub windows: i128,
}

pub(super) async fn sums(conn: &mut PgConnection, day: Date) -> Result<Sums, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT events::bigint AS "events!", nanos::text AS "nanos!", picos::text AS "picos!",
                  line_nanos::text AS "line_nanos!", hours::text AS "hours!",
                  days::text AS "days!", counted::text AS "counted!", windows::text AS "windows!"
             FROM app.sums_of_day($1)"#,
        day,
    )
    .fetch_one(conn)
    .await?;
    let number = |text: String| text.parse().unwrap_or_default();
    Ok(Sums {
        events: row.events,
        nanos: number(row.nanos),
        picos: number(row.picos),
        line_nanos: number(row.line_nanos),
        hours: number(row.hours),
        days: number(row.days),
        counted: number(row.counted),
        windows: number(row.windows),
    })
}

/// What the request log says of a day's events that stand in it, and what they are billed, in
/// nano-dollars.
pub(super) async fn logged(
    conn: &mut PgConnection,
    day: Date,
) -> Result<(i128, i128), sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT logged::text AS "logged!", billed::text AS "billed!" FROM app.logged_of_day($1)"#,
        day,
    )
    .fetch_one(conn)
    .await?;
    Ok((row.logged.parse().unwrap_or_default(), row.billed.parse().unwrap_or_default()))
}

struct Row {
    row_key: String,
    amount: String,
    ours: i64,
    theirs: i64,
}

/// What differs on a day.
pub(super) async fn differing(
    conn: &mut PgConnection,
    equality: Equality,
    day: Date,
) -> Result<Vec<Difference>, sqlx::Error> {
    let rows = match equality {
        Equality::Windows => {
            sqlx::query_as!(
                Row,
                r#"SELECT row_key AS "row_key!", amount AS "amount!", ours::bigint AS "ours!",
                          theirs::bigint AS "theirs!" FROM app.differing_windows($1)"#,
                day
            )
            .fetch_all(conn)
            .await?
        }
        Equality::Hours => {
            sqlx::query_as!(
                Row,
                r#"SELECT row_key AS "row_key!", amount AS "amount!", ours::bigint AS "ours!",
                          theirs::bigint AS "theirs!" FROM app.differing_hours($1)"#,
                day
            )
            .fetch_all(conn)
            .await?
        }
        Equality::Days => {
            sqlx::query_as!(
                Row,
                r#"SELECT row_key AS "row_key!", amount AS "amount!", ours::bigint AS "ours!",
                          theirs::bigint AS "theirs!" FROM app.differing_days($1)"#,
                day
            )
            .fetch_all(conn)
            .await?
        }
        Equality::Costs => {
            sqlx::query_as!(
                Row,
                r#"SELECT row_key AS "row_key!", amount AS "amount!", ours::bigint AS "ours!",
                          theirs::bigint AS "theirs!" FROM app.differing_costs($1)"#,
                day
            )
            .fetch_all(conn)
            .await?
        }
        Equality::Log => {
            sqlx::query_as!(
                Row,
                r#"SELECT row_key AS "row_key!", amount AS "amount!", ours::bigint AS "ours!",
                          theirs::bigint AS "theirs!" FROM app.differing_log($1)"#,
                day
            )
            .fetch_all(conn)
            .await?
        }
        // Compared elsewhere: in Redis, and by the sums.
        Equality::Counters
        | Equality::Holds
        | Equality::Rounding
        | Equality::Charges
        | Equality::Ledger
        | Equality::Invoices => Vec::new(),
    };
    let difference = |it: Row| Difference {
        table: equality.tables().to_owned(),
        key: it.row_key,
        amount: it.amount,
        left: it.ours,
        right: it.theirs,
    };
    Ok(rows.into_iter().map(difference).collect())
}

/// What was told to a budget in a window.
type Told = ((BudgetId, i64), Amounts);

pub(super) async fn windows(
    conn: &mut PgConnection,
    organizations: &[OrganizationId],
) -> Result<Vec<Told>, sqlx::Error> {
    let organizations: Vec<_> = organizations.iter().map(|it| it.uuid()).collect();
    let rows = sqlx::query_as!(
        ToldRow,
        r#"SELECT budget AS "budget!", "window" AS "window!", money AS "money!",
                  requests AS "requests!", tokens AS "tokens!" FROM app.window_sums($1)"#,
        &organizations,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Told::from).collect())
}

pub(super) async fn counted_since(
    conn: &mut PgConnection,
    shard: Shard,
    settled: &HashMap<Epoch, u64>,
) -> Result<Vec<Told>, sqlx::Error> {
    let (epochs, known): (Vec<_>, Vec<_>) =
        settled.iter().map(|(it, last)| (it.0.cast_signed(), last.cast_signed())).unzip();
    let rows = sqlx::query_as!(
        ToldRow,
        r#"SELECT budget AS "budget!", "window" AS "window!", money AS "money!",
                  requests AS "requests!", tokens AS "tokens!" FROM app.counted_since($1, $2, $3)"#,
        i16::from(shard.number()),
        &epochs,
        &known,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Told::from).collect())
}

struct ToldRow {
    budget: Uuid,
    window: i64,
    money: i64,
    requests: i64,
    tokens: i64,
}

impl From<ToldRow> for Told {
    fn from(it: ToldRow) -> Self {
        let amounts = Amounts { money: it.money, requests: it.requests, tokens: it.tokens };
        ((BudgetId::from_uuid(it.budget), it.window), amounts)
    }
}

/// Which of those events are in the database.
pub(super) async fn known_usage(
    conn: &mut PgConnection,
    events: &[Event],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if events.is_empty() {
        return Ok(HashSet::new());
    }
    let requests: Vec<_> = events.iter().map(|it| it.request.uuid()).collect();
    let at = |it: &Event| {
        let nanos = i128::from(it.billed_at_ms) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    let billed: Vec<_> = events.iter().map(at).collect();
    let known = sqlx::query_scalar!(
        r#"SELECT id AS "id!" FROM app.known_usage($1, $2) AS id"#,
        &requests,
        &billed,
    )
    .fetch_all(conn)
    .await?;
    Ok(known.into_iter().collect())
}

/// The number of the next run; nothing where somebody else ran a moment ago.
pub(super) async fn next_run(conn: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT nextval('reconciliation_runs') AS "run!"
            WHERE NOT EXISTS (SELECT FROM reconciliations
                               WHERE began_at > now() - interval '4 minutes')"#
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn keep(
    conn: &mut PgConnection,
    run: i64,
    began_at: OffsetDateTime,
    report: &Report,
) -> Result<(), sqlx::Error> {
    let mut tx = conn.begin().await?;
    for it in &report.equalities {
        sqlx::query!(
            "INSERT INTO reconciliations (run, equality, began_at, is_whole, left_sum, right_sum,
                                          differs, left_out)
             VALUES ($1, $2, $3, $4, $5::text::numeric, $6::text::numeric, $7, $8)",
            run,
            it.equality.name(),
            began_at,
            report.is_whole,
            it.left.to_string(),
            it.right.to_string(),
            i64::try_from(it.differs).unwrap_or(i64::MAX),
            it.left_out,
        )
        .execute(&mut *tx)
        .await?;
        for (place, difference) in (0_i32..).zip(&it.differences) {
            sqlx::query!(
                "INSERT INTO reconciliation_differences
                        (run, equality, place, in_table, row_key, amount, left_value, right_value)
                 VALUES ($1, $2, $3, $4, $5, $6, $7::bigint, $8::bigint)",
                run,
                it.equality.name(),
                place,
                difference.table,
                difference.key,
                difference.amount,
                difference.left,
                difference.right,
            )
            .execute(&mut *tx)
            .await?;
        }
    }
    sqlx::query!(
        "DELETE FROM reconciliations WHERE began_at < now() - make_interval(days => $1)",
        KEPT_DAYS
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// How an equality was found last.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub run: i64,
    pub began_at: OffsetDateTime,
    pub left: i128,
    pub right: i128,
    pub differs: i64,
    pub left_out: Option<String>,
    /// When it was first found so, without having been otherwise since.
    pub since: OffsetDateTime,
}

pub(super) async fn latest(
    conn: &mut PgConnection,
    equality: Equality,
) -> Result<Option<Found>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT l.run, l.began_at, l.left_sum::text AS "left!", l.right_sum::text AS "right!",
               l.differs, l.left_out,
               (SELECT min(r.began_at) FROM reconciliations r
                 WHERE r.equality = l.equality
                   AND r.run > coalesce((SELECT max(o.run) FROM reconciliations o
                                          WHERE o.equality = l.equality
                                            AND (o.differs = 0, o.left_out IS NULL)
                                             <> (l.differs = 0, l.left_out IS NULL)), 0)
               ) AS "since!"
          FROM reconciliations l WHERE l.equality = $1
         ORDER BY l.run DESC LIMIT 1
        "#,
        equality.name(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Found {
        run: row.run,
        began_at: row.began_at,
        left: row.left.parse().unwrap_or_default(),
        right: row.right.parse().unwrap_or_default(),
        differs: row.differs,
        left_out: row.left_out,
        since: row.since,
    }))
}

pub(super) async fn differences(
    conn: &mut PgConnection,
    equality: Equality,
    run: i64,
) -> Result<Vec<Difference>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT in_table, row_key, amount, left_value::bigint AS "left!",
                  right_value::bigint AS "right!"
             FROM reconciliation_differences WHERE equality = $1 AND run = $2 ORDER BY place"#,
        equality.name(),
        run,
    )
    .fetch_all(conn)
    .await?;
    let difference = rows.into_iter().map(|it| Difference {
        table: it.in_table,
        key: it.row_key,
        amount: it.amount,
        left: it.left,
        right: it.right,
    });
    Ok(difference.collect())
}
