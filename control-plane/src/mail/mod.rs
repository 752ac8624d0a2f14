//! Mail: written with the change that is its reason, sent by a job after the commit.

mod store;

use shared::seal::Sealer;
use sqlx::PgConnection;

/// A letter to one person. Plain text: it is read everywhere and hides nothing.
#[derive(Clone, Debug)]
pub struct Letter {
    pub to: String,
    pub subject: String,
    pub text: String,
}

/// Puts a letter into the outbox, as part of the caller's transaction. The caller
/// nudges `platform.nudges.mail` after the commit.
pub async fn queue(
    conn: &mut PgConnection,
    sealer: &Sealer,
    letter: &Letter,
) -> Result<(), sqlx::Error> {
    let id = uuid::Uuid::now_v7();
    let sealed = sealer.seal(letter.text.as_bytes(), &id.to_string());
    store::insert(conn, id, letter, &sealed).await
}
