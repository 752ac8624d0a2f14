//! Every statement on the outbox.

use sqlx::PgConnection;
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
