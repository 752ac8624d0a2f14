//! Addresses as people paste them: from a table, a mail client, one a line.

use crate::identity::EmailAddress;

/// More than a form of people is; each gets a letter.
pub const MOST: usize = 50;

/// What was pasted, each address once, and what is none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pasted {
    pub emails: Vec<EmailAddress>,
    pub not_emails: Vec<String>,
}

impl Pasted {
    /// Reads `ada@example.com, "Bob" <bob@example.com>; …`.
    pub fn read(text: &str) -> Self {
        let mut pasted = Self::default();
        for part in text.split([',', ';', '\n', '\r']) {
            match part.split_once('<') {
                Some((_, rest)) => pasted.take(rest.split('>').next().unwrap_or_default()),
                None => part.split_whitespace().for_each(|it| pasted.take(it)),
            }
        }
        pasted
    }

    fn take(&mut self, text: &str) {
        match text.parse::<EmailAddress>() {
            Ok(email) if self.emails.contains(&email) => (),
            Ok(email) => self.emails.push(email),
            Err(_) => self.not_emails.push(text.trim().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, emails: &[&str], not_emails: &[&str]) {
        let pasted = Pasted::read(text);
        let read: Vec<_> = pasted.emails.iter().map(EmailAddress::as_str).collect();
        assert_eq!(
            (read.as_slice(), pasted.not_emails.as_slice()),
            (emails, not_emails.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>().as_slice())
        );
    }

    #[test]
    fn addresses_are_read_as_they_are_pasted() {
        check("", &[], &[]);
        check("a@x.test b@x.test\r\nA@X.test", &["a@x.test", "b@x.test"], &[]);
        check(
            "\"Lovelace, Ada\" <ada@x.test>; Bob B <bob@x.test>",
            &["ada@x.test", "bob@x.test"],
            &["\"Lovelace"],
        );
        check("Ada <ada@x.test>, nobody, <>", &["ada@x.test"], &["nobody", ""]);
    }
}
