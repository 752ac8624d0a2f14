//! Every statement on the tables of alerts and webhooks.

use shared::{
    ids::{BudgetId, DeliveryId, OrganizationId, PersonId, WebhookId},
    money::Money,
};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Alert, Delivery, Outcome, Webhook, taker::Passed};
use crate::budgets::live::Counted;

/// Keeps others from a stream until the transaction ends; says whether nobody else has it.
pub(super) async fn claim(conn: &mut PgConnection, stream: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0)) AS "is_ours!""#,
        stream,
    )
    .fetch_one(conn)
    .await
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

/// Says whether it was not there yet.
pub(super) async fn insert_alert(
    conn: &mut PgConnection,
    organization: OrganizationId,
    passed: &Passed,
) -> Result<bool, sqlx::Error> {
    let added = sqlx::query!(
        r#"INSERT INTO budget_alerts
                  (organization_id, budget_id, "window", percent, spent, kind, amount, cap, version)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING"#,
        organization as OrganizationId,
        passed.budget as BudgetId,
        passed.window,
        passed.percent,
        passed.spent,
        passed.kind.name(),
        passed.amount,
        passed.cap,
        passed.version,
    )
    .execute(conn)
    .await?;
    Ok(added.rows_affected() > 0)
}

/// The latest first.
pub(super) async fn latest(
    conn: &mut PgConnection,
    organization: OrganizationId,
    budget: Option<BudgetId>,
) -> Result<Vec<Alert>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT a.budget_id AS "budget: BudgetId", b.name, a.percent, a.spent AS "spent: Money", a.at,
               a.kind, coalesce(a.amount, a.spent) AS "amount!", a.cap
          FROM budget_alerts a
          JOIN budgets b ON (b.organization_id, b.id) = (a.organization_id, a.budget_id)
         WHERE a.organization_id = $1 AND ($2::uuid IS NULL OR a.budget_id = $2)
         ORDER BY a.at DESC, a.percent DESC, a.version DESC
         LIMIT 50
        "#,
        organization as OrganizationId,
        budget as Option<BudgetId>,
    )
    .fetch_all(conn)
    .await?;
    let alerts = rows.into_iter().map(|row| {
        let kind: Counted = row.kind.parse().unwrap_or(Counted::Money);
        Alert {
            budget: row.budget,
            budget_name: row.name,
            percent: row.percent,
            spent_usd: row.spent.exact(),
            kind,
            amount: kind.exact(row.amount),
            cap: row.cap.map(|it| kind.exact(it)),
            how: match row.cap {
                Some(cap) => format!("{} of {}", kind.words(row.amount), kind.words(cap)),
                None => kind.words(row.amount),
            },
            at: row.at,
        }
    });
    Ok(alerts.collect())
}

/// All of them, or the one that is named.
pub(super) async fn webhooks(
    conn: &mut PgConnection,
    organization: OrganizationId,
    only: Option<WebhookId>,
) -> Result<Vec<Webhook>, sqlx::Error> {
    sqlx::query_as!(
        Webhook,
        r#"
        SELECT w.id AS "id: WebhookId", w.url, w.budget_id AS "budget: BudgetId",
               b.name AS "budget_name?", p.email AS "created_by?", w.created_at
          FROM webhooks w
          LEFT JOIN budgets b ON (b.organization_id, b.id) = (w.organization_id, w.budget_id)
          LEFT JOIN people p ON p.id = w.created_by
         WHERE w.organization_id = $1 AND ($2::uuid IS NULL OR w.id = $2)
         ORDER BY w.created_at, w.id
         LIMIT 100
        "#,
        organization as OrganizationId,
        only as Option<WebhookId>,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn count(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM webhooks WHERE organization_id = $1"#,
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// With its address, what it is told of, and its sealed secret.
pub(super) async fn insert(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: WebhookId,
    (url, budget, sealed): (&str, Option<BudgetId>, &[u8]),
    by: Option<PersonId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO webhooks (organization_id, id, url, budget_id, sealed_secret, created_by)
         VALUES ($1, $2, $3, $4, $5, $6)",
        organization as OrganizationId,
        id as WebhookId,
        url,
        budget as Option<BudgetId>,
        sealed,
        by as Option<PersonId>,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn delete(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: WebhookId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM webhooks WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        id as WebhookId,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn deliveries(
    conn: &mut PgConnection,
    organization: OrganizationId,
    webhook: WebhookId,
) -> Result<Vec<Delivery>, sqlx::Error> {
    sqlx::query_as!(
        Delivery,
        r#"
        SELECT id AS "id: DeliveryId", event, attempts, last_status, created_at, delivered_at,
               CASE WHEN delivered_at IS NULL AND given_up_at IS NULL
                    THEN next_attempt_at END AS next_attempt_at
          FROM webhook_deliveries
         WHERE organization_id = $1 AND webhook_id = $2
         ORDER BY id DESC
         LIMIT 50
        "#,
        organization as OrganizationId,
        webhook as WebhookId,
    )
    .fetch_all(conn)
    .await
}

pub(super) async fn tries_of_a_minute(
    conn: &mut PgConnection,
    organization: OrganizationId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM webhook_deliveries
            WHERE organization_id = $1 AND event = 'test'
              AND created_at > now() - interval '1 minute'"#,
        organization as OrganizationId,
    )
    .fetch_one(conn)
    .await
}

/// With what happened, and the message.
pub(super) async fn queue(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: DeliveryId,
    webhook: WebhookId,
    (event, body): (&str, &str),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO webhook_deliveries (organization_id, id, webhook_id, event, body)
         VALUES ($1, $2, $3, $4, $5)",
        organization as OrganizationId,
        id as DeliveryId,
        webhook as WebhookId,
        event,
        body,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whosever they are.
pub(super) async fn due(
    conn: &mut PgConnection,
    most: i32,
) -> Result<Vec<(OrganizationId, DeliveryId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT organization_id AS "organization!: OrganizationId", id AS "id!: DeliveryId"
             FROM app.due_deliveries($1)"#,
        most,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|it| (it.organization, it.id)).collect())
}

pub(super) struct Message {
    pub webhook: WebhookId,
    pub url: String,
    pub sealed_secret: Vec<u8>,
    pub body: String,
    pub attempts: i32,
}

/// One that is due and in nobody's hands.
pub(super) async fn lock_due(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: DeliveryId,
) -> Result<Option<Message>, sqlx::Error> {
    sqlx::query_as!(
        Message,
        r#"
        SELECT d.webhook_id AS "webhook: WebhookId", w.url, w.sealed_secret, d.body, d.attempts
          FROM webhook_deliveries d
          JOIN webhooks w ON (w.organization_id, w.id) = (d.organization_id, d.webhook_id)
         WHERE d.organization_id = $1 AND d.id = $2 AND d.delivered_at IS NULL
           AND d.given_up_at IS NULL AND d.next_attempt_at <= now()
           FOR UPDATE OF d SKIP LOCKED
        "#,
        organization as OrganizationId,
        id as DeliveryId,
    )
    .fetch_optional(conn)
    .await
}

/// What came of an attempt, and when there is another where there is to be one.
pub(super) async fn note(
    conn: &mut PgConnection,
    organization: OrganizationId,
    id: DeliveryId,
    outcome: Outcome,
    next: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    let (status, is_delivered, goes_on) = match outcome {
        Outcome::Delivered(status) => (Some(status), true, false),
        Outcome::Refused(status, again) => (Some(status), false, again),
        Outcome::Unanswered(again) => (None, false, again),
        Outcome::NotDue => return Ok(()),
    };
    sqlx::query!(
        "UPDATE webhook_deliveries
            SET attempts = attempts + 1, last_status = $3, next_attempt_at = $4,
                delivered_at = CASE WHEN $5 THEN now() END,
                given_up_at = CASE WHEN NOT $5 AND NOT $6 THEN now() END
          WHERE organization_id = $1 AND id = $2",
        organization as OrganizationId,
        id as DeliveryId,
        status.and_then(|it| i16::try_from(it).ok()),
        next,
        is_delivered,
        goes_on,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whosever they are.
pub(super) async fn forget(
    conn: &mut PgConnection,
    before: OffsetDateTime,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT app.forget_deliveries($1) AS "count!""#, before)
        .fetch_one(conn)
        .await
}
