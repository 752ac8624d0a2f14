//! The dev mailbox: all mail, for whoever runs Turnpike on their own machine.

use askama::Template;
use secrecy::ExposeSecret;

use super::store;
use crate::{
    access::{AccessError, Doors, Visitor},
    web::{Failure, Frame, Moment, Page},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/dev/mailbox", mailbox);
}

#[derive(Template)]
#[template(path = "mail/mailbox.html")]
struct MailboxPage {
    frame: Frame,
    letters: Vec<LetterView>,
}

struct LetterView {
    to: String,
    subject: String,
    at: Moment,
    /// The text, parted into what is a link and what is not.
    parts: Vec<Part>,
}

struct Part {
    text: String,
    is_link: bool,
}

async fn mailbox(visitor: Visitor) -> Result<Page<MailboxPage>, Failure> {
    if !visitor.platform.is_dev {
        return Err(AccessError::NotFound.into());
    }
    let mut conn = visitor.platform.db.acquire().await?;
    let kept = store::latest(&mut conn).await?;
    let letters = kept.into_iter().map(|letter| {
        let opened =
            visitor.platform.secrets.mail.open_text(&letter.sealed_text, &letter.id.to_string());
        let text = opened.map(|it| it.expose_secret().to_owned());
        LetterView {
            to: letter.recipient,
            subject: letter.subject,
            at: Moment::new(letter.created_at, "UTC"),
            parts: parts(&text.unwrap_or_else(|_| "(sent, and no longer kept)".to_owned())),
        }
    });
    Ok(Page(MailboxPage { frame: visitor.frame(), letters: letters.collect() }))
}

/// Lines that are nothing but an address are links.
fn parts(text: &str) -> Vec<Part> {
    text.lines()
        .map(|line| Part {
            text: line.to_owned(),
            is_link: line.starts_with("http://") || line.starts_with("https://"),
        })
        .collect()
}
