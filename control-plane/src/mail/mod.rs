//! Mail: written with the change that is its reason, sent by a job after the commit.
//!
//! Without a mail server letters stay in the outbox, where the dev mailbox shows them.

mod store;
#[cfg(test)]
mod tests;
mod web;

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
};
use secrecy::{ExposeSecret, SecretString};
use shared::seal::{CannotOpen, Sealer};
use sqlx::PgConnection;
use tracing::warn;
use uuid::Uuid;

use crate::{access::Doors, platform::Platform};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
}

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
    let id = Uuid::now_v7();
    let sealed = sealer.seal(letter.text.as_bytes(), &id.to_string());
    store::insert(conn, id, letter, &sealed).await
}

/// Sends what is due, and with a failure tries again later, ever less often. A letter
/// is locked while it is sent, so that two processes do not both send it; a process
/// that dies between sending and noting it sends it twice.
pub async fn send_due(
    platform: &Platform,
    carrier: Option<&(SecretString, Mailbox)>,
) -> Result<(), MailError> {
    let Some((url, from)) = carrier else { return Ok(()) };
    let smtp = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret())?.build();
    loop {
        let mut tx = platform.db.begin().await?;
        let Some(due) = store::next_due(&mut tx).await? else { return Ok(()) };
        let text = platform.secrets.mail.open_text(&due.sealed_text, &due.id.to_string())?;
        let sent = async {
            let message = Message::builder()
                .from(from.clone())
                .to(due.recipient.parse()?)
                .subject(&due.subject)
                .header(ContentType::TEXT_PLAIN)
                .body(text.expose_secret().to_owned())?;
            smtp.send(message).await?;
            Ok::<_, MailError>(())
        }
        .await;
        match sent {
            Ok(()) => store::sent(&mut tx, due.id).await?,
            Err(error) => {
                warn!(mail.id = %due.id, attempts = due.attempts + 1, "a letter was not sent");
                store::failed(&mut tx, due.id, &error.to_string()).await?;
            }
        }
        tx.commit().await?;
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error("the mail server refused or could not be reached")]
    Smtp(#[from] lettre::transport::smtp::Error),
    #[error("a letter has no valid recipient")]
    Address(#[from] lettre::address::AddressError),
    #[error("a letter could not be written")]
    Write(#[from] lettre::error::Error),
    #[error("a letter could not be opened")]
    Open(#[from] CannotOpen),
    #[error("the outbox failed")]
    Store(#[from] sqlx::Error),
}
