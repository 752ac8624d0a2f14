//! Every statement on what is collected.

use shared::{
    ids::{InvoiceId, OrganizationId},
    money::Cents,
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Attempt, Collection, Customer, Outcome, Refund, Stage, Stuck,
    provider::{Card, Event},
    refunds::State,
};

/// Begins to collect what nobody began to, and says how many that is.
pub(super) async fn uncollected(
    conn: &mut PgConnection,
    most: i32,
) -> Result<Vec<(OrganizationId, InvoiceId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT organization_id AS "organization!: OrganizationId",
                  invoice_id AS "invoice!: InvoiceId" FROM app.uncollected_invoices($1)"#,
        most,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.organization, it.invoice)).collect())
}

pub(super) async fn take_up(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO collections (organization_id, invoice_id) VALUES ($1, $2)
             ON CONFLICT DO NOTHING",
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Those with something to do.
pub(super) async fn due(
    conn: &mut PgConnection,
    now: OffsetDateTime,
    most: i32,
) -> Result<Vec<(OrganizationId, InvoiceId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT organization_id AS "organization!: OrganizationId",
                  invoice_id AS "invoice!: InvoiceId" FROM app.due_collections($1, $2)"#,
        now,
        most,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.organization, it.invoice)).collect())
}

/// One that has something to do and is in nobody's hands.
pub(super) async fn claim(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
    now: OffsetDateTime,
) -> Result<Option<Collection>, sqlx::Error> {
    sqlx::query_as!(
        Collection,
        r#"
        SELECT stage AS "stage: Stage", remote_id AS remote, cents AS "total: Cents",
               remaining_cents AS "remaining: Cents", hosted_url, tries, try_at, declined,
               failures, reason
          FROM collections
         WHERE organization_id = $1 AND invoice_id = $2 AND next_at <= $3
           FOR UPDATE SKIP LOCKED
        "#,
        organization as OrganizationId,
        invoice as InvoiceId,
        now,
    )
    .fetch_optional(conn)
    .await
}

/// Keeps others from it until the transaction ends.
pub(super) async fn lock(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<Option<Collection>, sqlx::Error> {
    sqlx::query_as!(
        Collection,
        r#"
        SELECT stage AS "stage: Stage", remote_id AS remote, cents AS "total: Cents",
               remaining_cents AS "remaining: Cents", hosted_url, tries, try_at, declined,
               failures, reason
          FROM collections WHERE organization_id = $1 AND invoice_id = $2 FOR UPDATE
        "#,
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn find(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<Option<Collection>, sqlx::Error> {
    sqlx::query_as!(
        Collection,
        r#"
        SELECT stage AS "stage: Stage", remote_id AS remote, cents AS "total: Cents",
               remaining_cents AS "remaining: Cents", hosted_url, tries, try_at, declined,
               failures, reason
          FROM collections WHERE organization_id = $1 AND invoice_id = $2
        "#,
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .fetch_optional(conn)
    .await
}

/// When there is something to do again; never, where something has to happen first.
pub(super) async fn wait(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
    until: Option<OffsetDateTime>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE collections SET next_at = $3 WHERE organization_id = $1 AND invoice_id = $2",
        organization as OrganizationId,
        invoice as InvoiceId,
        until,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// There is something to do now.
pub(super) async fn wake(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE collections SET next_at = '-infinity'
          WHERE organization_id = $1 AND invoice_id = $2",
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// It came to nothing, and why.
pub(super) async fn failed(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
    reason: &str,
    until: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE collections SET failures = failures + 1, reason = $3, next_at = $4,
                changed_at = now()
          WHERE organization_id = $1 AND invoice_id = $2",
        organization as OrganizationId,
        invoice as InvoiceId,
        reason,
        until,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// It goes on: nothing is in its way, and there may be more to do.
pub(super) async fn recovered(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE collections
            SET failures = 0, reason = '', next_at = '-infinity', changed_at = now()
          WHERE organization_id = $1 AND invoice_id = $2",
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What the provider says of it, and that there may be more to do.
pub(super) async fn advance(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
    to: &Collection,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE collections
            SET stage = $3, remote_id = $4, remaining_cents = $5, hosted_url = $6, failures = $7,
                reason = $8, next_at = '-infinity', changed_at = now()
          WHERE organization_id = $1 AND invoice_id = $2",
        organization as OrganizationId,
        invoice as InvoiceId,
        to.stage.name(),
        to.remote.as_deref(),
        to.remaining as Cents,
        to.hosted_url.as_deref(),
        to.failures,
        to.reason,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What we say that it comes to.
pub(super) async fn set_total(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
    total: Cents,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE collections SET cents = $3 WHERE organization_id = $1 AND invoice_id = $2",
        organization as OrganizationId,
        invoice as InvoiceId,
        total as Cents,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The card was charged in vain, and is again then, or not by itself.
pub(super) async fn declined(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
    about: &str,
    again_at: Option<OffsetDateTime>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE collections
            SET tries = tries + 1, try_at = $4, declined = $3, failures = 0, reason = '',
                next_at = $4, changed_at = now()
          WHERE organization_id = $1 AND invoice_id = $2",
        organization as OrganizationId,
        invoice as InvoiceId,
        about,
        again_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Has the card charged now, once more than it would be.
pub(super) async fn hurry(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
    most_tries: i32,
    now: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let found = sqlx::query!(
        "UPDATE collections
            SET try_at = $4, tries = least(tries, $3 - 1), next_at = '-infinity'
          WHERE organization_id = $1 AND invoice_id = $2
            AND stage IN ('new', 'drafted', 'lined', 'open', 'uncollectible')",
        organization as OrganizationId,
        invoice as InvoiceId,
        most_tries,
        now,
    )
    .execute(conn)
    .await?;
    Ok(found.rows_affected() > 0)
}

/// Another card: what was declined is charged again, at once.
pub(super) async fn begin_anew(
    conn: &mut PgConnection,
    organization: OrganizationId,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE collections
            SET next_at = '-infinity', try_at = CASE WHEN tries > 0 THEN $2 ELSE try_at END,
                tries = 0, declined = ''
          WHERE organization_id = $1 AND stage IN ('new', 'drafted', 'lined', 'open')",
        organization as OrganizationId,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

// ---- Calls ----------------------------------------------------------------------

/// A call whose end nobody knows yet.
pub(super) struct OpenCall {
    pub id: Uuid,
    pub key: String,
    pub call: String,
    pub asked_at: OffsetDateTime,
    pub in_doubt: bool,
}

/// The latest of an invoice, or of its organization's customer.
pub(super) async fn open_call(
    conn: &mut PgConnection,
    organization: OrganizationId,
    subject: Uuid,
) -> Result<Option<OpenCall>, sqlx::Error> {
    sqlx::query_as!(
        OpenCall,
        "SELECT id, idempotency_key AS key, call, asked_at, in_doubt
           FROM payment_calls
          WHERE organization_id = $1 AND subject = $2 AND ended_at IS NULL",
        organization as OrganizationId,
        subject,
    )
    .fetch_optional(conn)
    .await
}

/// Writes a call down before it is made. Its key is made of what it is for and of how often that
/// was tried. Where somebody else wrote one down for the same meanwhile, nothing is written.
pub(super) async fn insert_call(
    conn: &mut PgConnection,
    organization: OrganizationId,
    subject: Uuid,
    operation: &str,
    call: &str,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO payment_calls
                (organization_id, id, subject, operation, attempt, idempotency_key, call, asked_at)
         SELECT $1::uuid, $2::uuid, $3::uuid, $4::text, n.attempt,
                encode(sha256(convert_to(
                    concat_ws('|', $1::uuid, $3::uuid, $4::text, n.attempt), 'UTF8')), 'hex'),
                $5::text, $6::timestamptz
           FROM (SELECT coalesce(max(attempt), 0) + 1 AS attempt FROM payment_calls
                  WHERE organization_id = $1 AND subject = $3 AND operation = $4) n
             ON CONFLICT DO NOTHING",
        organization as OrganizationId,
        Uuid::now_v7(),
        subject,
        operation,
        call,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says whether it was not ended yet.
pub(super) async fn end_call(
    conn: &mut PgConnection,
    organization: OrganizationId,
    call: Uuid,
    outcome: Outcome,
    about: &str,
    now: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let ended = sqlx::query!(
        "UPDATE payment_calls SET ended_at = $3, outcome = $4, about = $5
          WHERE organization_id = $1 AND id = $2 AND ended_at IS NULL",
        organization as OrganizationId,
        call,
        now,
        outcome.name(),
        about,
    )
    .execute(conn)
    .await?;
    Ok(ended.rows_affected() > 0)
}

pub(super) async fn doubt(
    conn: &mut PgConnection,
    organization: OrganizationId,
    call: Uuid,
    about: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE payment_calls SET in_doubt = true, about = $3
          WHERE organization_id = $1 AND id = $2 AND ended_at IS NULL",
        organization as OrganizationId,
        call,
        about,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How often the card was charged for an invoice, and what came of it; the latest first.
pub(super) async fn attempts(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<Vec<Attempt>, sqlx::Error> {
    sqlx::query_as!(
        Attempt,
        r#"SELECT asked_at, outcome AS "outcome: Outcome", about FROM payment_calls
            WHERE organization_id = $1 AND subject = $2 AND operation = 'pay'
            ORDER BY attempt DESC LIMIT 20"#,
        organization as OrganizationId,
        invoice.uuid(),
    )
    .fetch_all(conn)
    .await
}

/// Notes that money came, and says whether that is new.
pub(super) async fn insert_receipt(
    conn: &mut PgConnection,
    organization: OrganizationId,
    remote: &str,
    invoice: InvoiceId,
    amount: Cents,
) -> Result<bool, sqlx::Error> {
    let added = sqlx::query!(
        "INSERT INTO payment_receipts (organization_id, remote_id, invoice_id, cents)
         VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        organization as OrganizationId,
        remote,
        invoice as InvoiceId,
        amount as Cents,
    )
    .execute(conn)
    .await?;
    Ok(added.rows_affected() > 0)
}

// ---- Refunds --------------------------------------------------------------------

/// What was received for an invoice and was not given back.
pub(super) async fn refundable(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<Cents, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT ((SELECT coalesce(sum(cents), 0) FROM payment_receipts
                     WHERE organization_id = $1 AND invoice_id = $2)
                 - (SELECT coalesce(sum(cents), 0) FROM payment_refunds
                     WHERE organization_id = $1 AND invoice_id = $2
                       AND state <> 'failed'))::bigint AS "left!: Cents""#,
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .fetch_one(conn)
    .await
}

pub(super) async fn insert_refund(
    conn: &mut PgConnection,
    organization: OrganizationId,
    note: InvoiceId,
    invoice: InvoiceId,
    amount: Cents,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO payment_refunds (organization_id, note_id, invoice_id, cents)
         VALUES ($1, $2, $3, $4)",
        organization as OrganizationId,
        note as InvoiceId,
        invoice as InvoiceId,
        amount as Cents,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Those of an invoice, the oldest first.
pub(super) async fn refunds(
    conn: &mut PgConnection,
    organization: OrganizationId,
    invoice: InvoiceId,
) -> Result<Vec<Refund>, sqlx::Error> {
    sqlx::query_as!(
        Refund,
        r#"SELECT r.note_id AS "note: InvoiceId", i.number, r.cents AS "amount: Cents",
                  r.state AS "state: State", r.about, r.asked_at, r.remote_id AS remote
             FROM payment_refunds r
             JOIN invoices i ON (i.organization_id, i.id) = (r.organization_id, r.note_id)
            WHERE r.organization_id = $1 AND r.invoice_id = $2 ORDER BY r.asked_at, r.note_id"#,
        organization as OrganizationId,
        invoice as InvoiceId,
    )
    .fetch_all(conn)
    .await
}

/// Keeps others from it until the transaction ends.
pub(super) async fn lock_refund(
    conn: &mut PgConnection,
    organization: OrganizationId,
    note: InvoiceId,
) -> Result<Option<Refund>, sqlx::Error> {
    sqlx::query_as!(
        Refund,
        r#"SELECT r.note_id AS "note: InvoiceId", i.number, r.cents AS "amount: Cents",
                  r.state AS "state: State", r.about, r.asked_at, r.remote_id AS remote
             FROM payment_refunds r
             JOIN invoices i ON (i.organization_id, i.id) = (r.organization_id, r.note_id)
            WHERE r.organization_id = $1 AND r.note_id = $2 FOR UPDATE OF r"#,
        organization as OrganizationId,
        note as InvoiceId,
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn set_refund(
    conn: &mut PgConnection,
    organization: OrganizationId,
    note: InvoiceId,
    state: State,
    remote: Option<&str>,
    about: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE payment_refunds
            SET state = $3, remote_id = coalesce($4, remote_id), about = $5, changed_at = now()
          WHERE organization_id = $1 AND note_id = $2",
        organization as OrganizationId,
        note as InvoiceId,
        state.name(),
        remote,
        about,
    )
    .execute(conn)
    .await?;
    Ok(())
}

// ---- Customers ------------------------------------------------------------------

pub(super) async fn customer(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<Option<Customer>, sqlx::Error> {
    sqlx::query_as!(
        Customer,
        "SELECT remote_id AS remote, payment_method, card_brand AS brand, card_last4 AS last4,
                card_expires AS expires
           FROM payment_customers WHERE organization_id = $1",
        organization as OrganizationId,
    )
    .fetch_optional(conn)
    .await
}

pub(super) async fn put_customer(
    conn: &mut PgConnection,
    organization: OrganizationId,
    remote: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO payment_customers AS c (organization_id, remote_id) VALUES ($1, $2)
             ON CONFLICT (organization_id) DO UPDATE SET remote_id = coalesce(c.remote_id, $2)",
        organization as OrganizationId,
        remote,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says whether it is another one than before.
pub(super) async fn set_card(
    conn: &mut PgConnection,
    organization: OrganizationId,
    card: Option<&Card>,
) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query!(
        "UPDATE payment_customers
            SET payment_method = $2, card_brand = $3, card_last4 = $4, card_expires = $5,
                changed_at = now()
          WHERE organization_id = $1 AND payment_method IS DISTINCT FROM $2",
        organization as OrganizationId,
        card.map(|it| it.method.as_str()),
        card.map_or("", |it| &it.brand),
        card.map_or("", |it| &it.last4),
        card.map_or("", |it| &it.expires),
    )
    .execute(conn)
    .await?;
    Ok(changed.rows_affected() > 0)
}

// ---- Events ---------------------------------------------------------------------

/// Says whether it is new.
pub(super) async fn insert_event(
    conn: &mut PgConnection,
    event: &Event,
    told_by: &str,
    now: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    let added = sqlx::query!(
        "INSERT INTO payment_events (id, kind, refs, told_by, received_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        event.id,
        event.kind,
        &event.refs,
        told_by,
        now,
    )
    .execute(conn)
    .await?;
    Ok(added.rows_affected() > 0)
}

pub(super) async fn due_events(
    conn: &mut PgConnection,
    now: OffsetDateTime,
    most: i64,
) -> Result<Vec<Event>, sqlx::Error> {
    sqlx::query_as!(
        Event,
        "SELECT id, kind, refs FROM payment_events
          WHERE handled_at IS NULL AND next_at <= $1 ORDER BY next_at, id LIMIT $2",
        now,
        most,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn event_handled(
    conn: &mut PgConnection,
    event: &str,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE payment_events SET handled_at = $2, problem = '' WHERE id = $1",
        event,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts it off: some seconds, then ever longer, a quarter of an hour at most.
pub(super) async fn event_failed(
    conn: &mut PgConnection,
    event: &str,
    problem: &str,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE payment_events
            SET attempts = attempts + 1, problem = left($2, 300),
                next_at = $3::timestamptz
                    + least(interval '5 seconds' * power(3, least(attempts, 6)), interval '15 minutes')
          WHERE id = $1",
        event,
        problem,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets what was handled long ago: longer than the provider tells of it.
pub(super) async fn forget_events(
    conn: &mut PgConnection,
    before: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM payment_events WHERE handled_at < $1", before).execute(conn).await?;
    Ok(())
}

/// Whose those are: an invoice's, or an organization's.
pub(super) async fn owners(
    conn: &mut PgConnection,
    refs: &[String],
) -> Result<Vec<(OrganizationId, Option<InvoiceId>)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT organization_id AS "organization!: OrganizationId",
                  invoice_id AS "invoice?: InvoiceId" FROM app.owners_of_remote($1)"#,
        refs,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.organization, it.invoice)).collect())
}

pub(super) async fn swept_until(
    conn: &mut PgConnection,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar!("SELECT swept_until FROM payment_sweeps").fetch_optional(conn).await
}

pub(super) async fn set_swept(
    conn: &mut PgConnection,
    until: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO payment_sweeps (swept_until) VALUES ($1)
             ON CONFLICT (singleton) DO UPDATE SET swept_until = $1",
        until,
    )
    .execute(conn)
    .await?;
    Ok(())
}

// ---- For operators --------------------------------------------------------------

pub(super) async fn stuck(conn: &mut PgConnection) -> Result<Vec<Stuck>, sqlx::Error> {
    sqlx::query_as!(
        Stuck,
        r#"SELECT organization_id AS "organization!: OrganizationId",
                  organization AS "organization_name!", invoice_id AS "invoice!: InvoiceId",
                  number AS "number!", stage AS "stage!: Stage", failures AS "failures!",
                  reason AS "reason!", changed_at AS "changed_at!"
             FROM app.stuck_collections()"#
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn counted(conn: &mut PgConnection) -> Result<Vec<(Stage, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT stage AS "stage!: Stage", count AS "count!" FROM app.counted_collections()"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.stage, it.count)).collect())
}

/// Events that were not handled although that was tried, the longest tried first.
pub(super) async fn unhandled(
    conn: &mut PgConnection,
) -> Result<Vec<(String, String, i32, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT id, kind, attempts, problem FROM payment_events
          WHERE handled_at IS NULL AND attempts > 0 ORDER BY attempts DESC, id LIMIT 50"
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.id, it.kind, it.attempts, it.problem)).collect())
}
