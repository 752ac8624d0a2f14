//! Every statement on the outbox.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Letter;

pub(super) async fn insert(
    conn: &mut PgConnection,
    id: Uuid,
    letter: &Letter,
    sealed_text: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO mail_outbox (id, recipient, subject, sealed_text) VALUES ($1, $2, $3, $4)",
        id,
        letter.to,
        letter.subject,
        sealed_text,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) struct Due {
    pub id: Uuid,
    pub recipient: String,
    pub subject: String,
    pub sealed_text: Vec<u8>,
    pub attempts: i32,
}

/// The next letter that is due and in nobody's hands.
pub(super) async fn next_due(conn: &mut PgConnection) -> Result<Option<Due>, sqlx::Error> {
    sqlx::query_as!(
        Due,
        "SELECT id, recipient, subject, sealed_text, attempts FROM mail_outbox
          WHERE sent_at IS NULL AND next_attempt_at <= now()
          ORDER BY next_attempt_at
          LIMIT 1
            FOR UPDATE SKIP LOCKED"
    )
    .fetch_optional(conn)
    .await
}

/// Notes that it went out, and forgets what it said: it held links.
pub(super) async fn sent(conn: &mut PgConnection, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r"UPDATE mail_outbox SET sent_at = now(), sealed_text = '\x', last_error = NULL
           WHERE id = $1",
        id
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts it off: a minute, two, four, a day at most.
pub(super) async fn failed(
    conn: &mut PgConnection,
    id: Uuid,
    error: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE mail_outbox
            SET attempts = attempts + 1, last_error = left($2, 500),
                next_attempt_at = now()
                    + least(interval '1 minute' * power(2, least(attempts, 11)), interval '1 day')
          WHERE id = $1",
        id,
        error,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) struct Kept {
    pub id: Uuid,
    pub recipient: String,
    pub subject: String,
    pub sealed_text: Vec<u8>,
    pub created_at: OffsetDateTime,
}

/// The latest letters, for the dev mailbox.
pub(super) async fn latest(conn: &mut PgConnection) -> Result<Vec<Kept>, sqlx::Error> {
    sqlx::query_as!(
        Kept,
        "SELECT id, recipient, subject, sealed_text, created_at FROM mail_outbox
          ORDER BY created_at DESC LIMIT 50"
    )
    .fetch_all(conn)
    .await
}
