//! Every statement on invoices.

use std::collections::BTreeMap;

use shared::{
    counters::Shard,
    ids::{ApiKeyId, CostCenterId, InvoiceId, OrganizationId, PostingId, ProjectId},
    money::Cents,
};
use sqlx::PgConnection;
use time::Date;
use uuid::Uuid;

use super::{
    Invoice, NewPayment, Payment,
    document::Kind,
    draw::{Center, Charged, Splits},
};
use crate::{billing::Month, web::Span};

/// More projects than an organization has.
const MOST: i64 = 10_000;

/// Looking at all events of a month takes longer than a page may.
pub(super) async fn be_patient(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT set_config('statement_timeout', '60s', true) AS timeout")
        .fetch_one(conn)
        .await?;
    Ok(())
}

/// What was charged of a month, by the day.
pub(super) async fn charged(
    conn: &mut PgConnection,
    organization: OrganizationId,
    month: Month,
) -> Result<Vec<Charged>, sqlx::Error> {
    sqlx::query_as!(
        Charged,
        r#"
        SELECT (c.hour AT TIME ZONE 'UTC')::date AS "day!",
               (c.hour AT TIME ZONE o.time_zone)::date AS "local_day!",
               c.project_id AS "project: ProjectId", c.key_id AS "key: ApiKeyId", c.provider,
               c.model, c.usage_source AS source, c.is_own, c.class, c.unit_price,
               c.published_price, sum(c.quantity)::bigint AS "quantity!",
               sum(c.cost_nano)::bigint AS "nanos!"
          FROM charges c JOIN organizations o ON o.id = c.organization_id
         WHERE c.organization_id = $1 AND c.billing_month = $2
         GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
         ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        "#,
        organization as OrganizationId,
        month as Month,
    )
    .fetch_all(conn)
    .await
}

/// Who bears those projects' costs on those days.
pub(super) async fn splits(
    conn: &mut PgConnection,
    organization: OrganizationId,
    days: &[(ProjectId, Date)],
) -> Result<Splits, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT d.project_id AS "project!: ProjectId", d.day AS "day!",
               c.id AS "center: CostCenterId", c.code, c.name, h.basis_points
          FROM unnest($2::uuid[], $3::date[]) AS d (project_id, day)
          JOIN organizations o ON o.id = $1
          JOIN LATERAL (
              SELECT s.effective_from FROM project_splits s
               WHERE s.organization_id = $1 AND s.project_id = d.project_id
                 AND s.effective_from <= d.day
               ORDER BY s.effective_from DESC LIMIT 1) s ON true
          JOIN project_split_shares h
            ON h.organization_id = $1 AND h.project_id = d.project_id
           AND h.effective_from = s.effective_from
          JOIN cost_centers c ON c.organization_id = $1 AND c.id = h.cost_center_id
         WHERE c.valid_from <= d.day AND (c.valid_until IS NULL OR d.day < c.valid_until)
           AND (c.archived_at IS NULL OR d.day < (c.archived_at AT TIME ZONE o.time_zone)::date)
         ORDER BY 1, 2, c.code
        "#,
        organization as OrganizationId,
        &days.iter().map(|it| it.0.uuid()).collect::<Vec<_>>(),
        &days.iter().map(|it| it.1).collect::<Vec<_>>(),
    )
    .fetch_all(conn)
    .await?;
    let mut splits = Splits::new();
    for row in rows {
        let center = Center {
            id: row.center,
            code: row.code,
            name: row.name,
            basis_points: row.basis_points,
        };
        splits.entry((row.project, row.day)).or_default().push(center);
    }
    Ok(splits)
}

pub(super) async fn project_names(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<BTreeMap<ProjectId, String>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id: ProjectId", name FROM projects WHERE organization_id = $1 LIMIT $2"#,
        organization as OrganizationId,
        MOST,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.id, it.name)).collect())
}

pub(super) struct Place {
    pub name: String,
    pub slug: String,
}

pub(super) async fn organization(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Option<Place>, sqlx::Error> {
    sqlx::query_as!(
        Place,
        "SELECT name, slug FROM organizations WHERE id = $1",
        organization as OrganizationId
    )
    .fetch_optional(conn)
    .await
}

/// What an organization's books of a month are about.
pub(super) struct Figures {
    pub calls: i64,
    /// Of the three months before, those with any: their average, in nano-dollars.
    pub usual_nano: i64,
    pub months_before: i64,
}

pub(super) async fn figures(
    conn: &mut PgConnection,
    organization: OrganizationId,
    month: Month,
) -> Result<Figures, sqlx::Error> {
    let before = month.previous().previous().previous();
    sqlx::query_as!(
        Figures,
        r#"
        SELECT (SELECT coalesce(sum(calls), 0)::bigint FROM usage_days
                 WHERE organization_id = $1 AND day >= $2 AND day < $3) AS "calls!",
               coalesce(avg(m.nano), 0)::bigint AS "usual_nano!",
               count(*) AS "months_before!"
          FROM (SELECT sum(cost_nano) AS nano FROM charges
                 WHERE organization_id = $1 AND billing_month >= $4 AND billing_month < $5
                   AND NOT is_own
                 GROUP BY billing_month) m
        "#,
        organization as OrganizationId,
        month.starts_at(),
        month.ends_at(),
        before as Month,
        month as Month,
    )
    .fetch_one(conn)
    .await
}

/// A day on which the books do not agree, in nano-dollars.
pub(super) struct OddDay {
    pub day: Date,
    pub events: i64,
    pub hours: i64,
    pub days: i64,
    pub charges: i64,
}

/// Those of a month: what events come to, hours, days and charges.
pub(super) async fn odd_days(
    conn: &mut PgConnection,
    organization: OrganizationId,
    month: Month,
) -> Result<Vec<OddDay>, sqlx::Error> {
    sqlx::query_as!(
        OddDay,
        r#"
        SELECT day AS "day!", events AS "events!", hours AS "hours!", days AS "days!",
               charges AS "charges!"
          FROM (SELECT s.day,
                       (SELECT coalesce(sum(e.cost_nano), 0)::bigint FROM usage_events e
                         WHERE e.organization_id = $1 AND e.billed_at >= s.first
                           AND e.billed_at < s.until) AS events,
                       (SELECT coalesce(sum(h.cost_nano), 0)::bigint FROM usage_hours h
                         WHERE h.organization_id = $1 AND h.hour >= s.first
                           AND h.hour < s.until) AS hours,
                       (SELECT coalesce(sum(d.cost_nano), 0)::bigint FROM usage_days d
                         WHERE d.organization_id = $1 AND d.day = s.first) AS days,
                       (SELECT coalesce(sum(c.cost_nano), 0)::bigint FROM charges c
                         WHERE c.organization_id = $1 AND c.hour >= s.first
                           AND c.hour < s.until) AS charges
                  FROM (SELECT g::date AS day, g AT TIME ZONE 'UTC' AS first,
                               (g + interval '1 day') AT TIME ZONE 'UTC' AS until
                          FROM generate_series($2::date::timestamp, $3::date::timestamp,
                                               interval '1 day') AS g) s) a
         WHERE (events, events, events) IS DISTINCT FROM (hours, days, charges)
         ORDER BY 1
        "#,
        organization as OrganizationId,
        month.first(),
        month.last(),
    )
    .fetch_all(conn)
    .await
}

/// By how much what was charged of a month is not what the ledger says of it.
pub(super) async fn unposted(
    conn: &mut PgConnection,
    organization: OrganizationId,
    month: Month,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT (coalesce((SELECT sum(cost_nano) FROM charges
                           WHERE organization_id = $1 AND billing_month = $2 AND NOT is_own), 0)
                - coalesce((SELECT sum(e.amount) FROM ledger_entries e
                             WHERE e.organization_id = $1 AND e.account = 'accrued'
                               AND e.posting_id IN (SELECT c.posting_id FROM charges c
                                                     WHERE c.organization_id = $1
                                                       AND c.billing_month = $2)), 0))::bigint
               AS "apart!"
        "#,
        organization as OrganizationId,
        month as Month,
    )
    .fetch_one(conn)
    .await
}

/// Settlements of the organization's shard that are missing before others.
pub(super) async fn missing(
    conn: &mut PgConnection,
    organization: OrganizationId,
    month: Month,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT app.missing_usage($1, $2) AS "missing!""#,
        i16::from(Shard::of(organization).number()),
        month.starts_at(),
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn is_closed(
    conn: &mut PgConnection,
    organization: OrganizationId,
    month: Month,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM closed_months
                           WHERE organization_id = $1 AND month = $2) AS "is_closed!""#,
        organization as OrganizationId,
        month as Month,
    )
    .fetch_one(conn)
    .await
}

/// Months of which something was charged and that were not closed, the latest first.
pub(super) async fn open_months(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<Month>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT DISTINCT c.billing_month AS "month: Month" FROM charges c
         WHERE c.organization_id = $1
           AND NOT EXISTS (SELECT FROM closed_months m
                            WHERE (m.organization_id, m.month) = (c.organization_id, c.billing_month))
         ORDER BY 1 DESC LIMIT 24
        "#,
        organization as OrganizationId,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn close(
    conn: &mut PgConnection,
    organization: OrganizationId,
    month: Month,
    by: &str,
    approved: &[String],
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO closed_months (organization_id, month, closed_by, approved, reason)
         VALUES ($1, $2, $3, $4, $5)",
        organization as OrganizationId,
        month as Month,
        by,
        approved,
        reason,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn reopen(
    conn: &mut PgConnection,
    organization: OrganizationId,
    month: Month,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM closed_months WHERE organization_id = $1 AND month = $2",
        organization as OrganizationId,
        month as Month,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The next number of a series in a year. Nobody else gets one until the transaction ends, and
/// if that is undone, so is this.
pub(super) async fn next_number(
    conn: &mut PgConnection,
    series: &str,
    year: i32,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO invoice_numbers AS n VALUES ($1, $2, 1)
             ON CONFLICT (series, year) DO UPDATE SET last = n.last + 1
         RETURNING last",
        series,
        year,
    )
    .fetch_one(conn)
    .await
}

/// An invoice as it is written down, once.
pub(super) struct Written<'a> {
    pub id: InvoiceId,
    pub number: &'a str,
    pub kind: Kind,
    pub month: Month,
    pub scope: &'a str,
    pub scope_id: Option<Uuid>,
    pub title: &'a str,
    pub refers_to: Option<InvoiceId>,
    pub total: Cents,
    pub due: Cents,
    pub posting: PostingId,
    pub due_on: Date,
    pub document: &'a str,
    pub details: &'a str,
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    organization: OrganizationId,
    it: &Written<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r"INSERT INTO invoices (organization_id, id, number, kind, month, scope, scope_id, title,
                                refers_to, total_cents, due_cents, posting_id, due_on, document,
                                details, hash)
          VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
                  sha256(convert_to($14::text || E'\n' || $15::text, 'UTF8')))",
        organization as OrganizationId,
        it.id as InvoiceId,
        it.number,
        it.kind.name(),
        it.month as Month,
        it.scope,
        it.scope_id,
        it.title,
        it.refers_to as Option<InvoiceId>,
        it.total as Cents,
        it.due as Cents,
        it.posting as PostingId,
        it.due_on,
        it.document,
        it.details,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The latest first; of one month or year, or that one.
pub(super) async fn list(
    conn: &mut PgConnection,
    organization: OrganizationId,
    only: Option<InvoiceId>,
    months: Option<(Date, Date)>,
    span: Span<InvoiceId>,
) -> Result<Vec<Invoice>, sqlx::Error> {
    let (first, until) = months.unzip();
    sqlx::query_as!(
        Invoice,
        r#"
        SELECT i.id AS "id: InvoiceId", i.number, i.kind AS "kind: Kind",
               i.month AS "month: Month", i.scope, i.scope_id, i.title,
               i.refers_to AS "refers_to: InvoiceId", i.total_cents AS "total: Cents",
               i.due_cents AS "due: Cents", i.posting_id AS "posting: PostingId", i.issued_at,
               i.due_on, i.sent_at, i.paid_at, i.voided_at, i.written_off_at, encode(i.hash, 'hex') AS "hash!",
               (SELECT encode(p.hash, 'hex') FROM invoice_prints p
                 WHERE (p.organization_id, p.invoice_id) = (i.organization_id, i.id))
                   AS pdf_hash,
               (SELECT coalesce(sum(p.cents), 0)::bigint FROM invoice_payments p
                 WHERE (p.organization_id, p.invoice_id) = (i.organization_id, i.id))
                   AS "paid!: Cents",
               (SELECT coalesce(sum(n.due_cents), 0)::bigint FROM invoices n
                 WHERE (n.organization_id, n.refers_to) = (i.organization_id, i.id))
                   AS "taken_back!: Cents",
               (SELECT coalesce(sum(n.total_cents), 0)::bigint FROM invoices n
                 WHERE (n.organization_id, n.refers_to) = (i.organization_id, i.id))
                   AS "noted!: Cents"
          FROM invoices i
         WHERE i.organization_id = $1
           AND ($2::uuid IS NULL OR i.id = $2)
           AND ($3::date IS NULL OR i.month >= $3) AND ($4::date IS NULL OR i.month < $4)
           AND ($5::uuid IS NULL
                OR (i.issued_at, i.id) < (SELECT a.issued_at, a.id FROM invoices a
                                           WHERE a.organization_id = $1 AND a.id = $5))
         ORDER BY i.issued_at DESC, i.id DESC
         LIMIT $6
        "#,
        organization as OrganizationId,
        only as Option<InvoiceId>,
        first,
        until,
        span.after as Option<InvoiceId>,
        span.limit(),
    )
    .fetch_all(conn)
    .await
}

/// What was written: the document, and what its lines are made of.
pub(super) async fn document(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<Option<(String, String)>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT document, details FROM invoices WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|it| (it.document, it.details)))
}

/// What was printed of it first.
pub(super) async fn print(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT pdf FROM invoice_prints WHERE organization_id = $1 AND invoice_id = $2",
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .fetch_optional(conn)
    .await
}

/// Keeps what was printed, unless something is kept already.
pub(super) async fn keep_print(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
    pdf: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO invoice_prints (organization_id, invoice_id, pdf, hash)
         VALUES ($1, $2, $3, sha256($3)) ON CONFLICT DO NOTHING",
        organization as OrganizationId,
        invoice as InvoiceId,
        pdf,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn set_sent(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE invoices SET sent_at = now()
          WHERE organization_id = $1 AND id = $2 AND sent_at IS NULL",
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn set_paid(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE invoices SET paid_at = now()
          WHERE organization_id = $1 AND id = $2 AND paid_at IS NULL",
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn set_voided(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE invoices SET voided_at = now() WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn set_written_off(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE invoices SET written_off_at = now() WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn insert_payment(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
    posting: PostingId,
    new: &NewPayment,
    by: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO invoice_payments (organization_id, posting_id, invoice_id, cents, method,
                                       reference, received_on, recorded_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        organization as OrganizationId,
        posting as PostingId,
        invoice as InvoiceId,
        new.amount as Cents,
        new.method.name(),
        new.reference,
        new.received_on,
        by,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn payments(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<Vec<Payment>, sqlx::Error> {
    sqlx::query_as!(
        Payment,
        r#"SELECT cents AS "amount: Cents", method, reference, received_on
             FROM invoice_payments WHERE organization_id = $1 AND invoice_id = $2
            ORDER BY received_on, recorded_at LIMIT 200"#,
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .fetch_all(conn)
    .await
}

/// Who bills there, for where no addresses were given.
pub(super) async fn billers(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT p.email FROM memberships m JOIN people p ON p.id = m.person_id
          WHERE m.organization_id = $1 AND m.role IN ('billing', 'owner')
          ORDER BY m.role = 'owner', p.email LIMIT 10",
        organization as OrganizationId,
    )
    .fetch_all(conn)
    .await
}

pub(super) struct Billed {
    pub id: OrganizationId,
    pub name: String,
}

/// Organizations that a month is about.
pub(super) async fn billed(
    conn: &mut PgConnection,
    month: Month,
) -> Result<Vec<Billed>, sqlx::Error> {
    sqlx::query_as!(
        Billed,
        r#"SELECT id AS "id!: OrganizationId", name AS "name!"
             FROM app.billed_organizations($1)"#,
        month.first(),
    )
    .fetch_all(conn)
    .await
}

/// Organizations that a month is about and that it is not closed for.
pub(super) async fn unclosed(
    conn: &mut PgConnection,
    month: Month,
) -> Result<Vec<OrganizationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id!: OrganizationId" FROM app.unclosed_organizations($1) AS id"#,
        month.first(),
    )
    .fetch_all(conn)
    .await
}

/// What has to be equal about invoices, and is not.
pub(super) async fn sums(
    conn: &mut PgConnection,
    since: Date,
) -> Result<Vec<(String, String, i64, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT row_key AS "row_key!", amount AS "amount!", ours::bigint AS "ours!",
                  theirs::bigint AS "theirs!" FROM app.invoice_sums($1)"#,
        since
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.row_key, it.amount, it.ours, it.theirs)).collect())
}
