//! Who has an account.

use std::{fmt, str::FromStr};

use shared::ids::PersonId;
use sqlx::PgConnection;

/// An address that mail can be sent to, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailAddress(String);

impl EmailAddress {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EmailAddress {
    type Err = BadEmailAddress;

    fn from_str(text: &str) -> Result<Self, BadEmailAddress> {
        let text = text.trim().to_lowercase();
        let is_address = text.len() <= 254
            && !text.contains(|it: char| it.is_control() || it.is_whitespace())
            && text.parse::<lettre::Address>().is_ok();
        if is_address { Ok(Self(text)) } else { Err(BadEmailAddress) }
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("enter an e-mail address, like ada@example.com")]
pub struct BadEmailAddress;

/// Adds a person. `is_verified` where they have just shown that the address is theirs.
pub async fn insert(
    conn: &mut PgConnection,
    email: &EmailAddress,
    password_hash: &str,
    is_verified: bool,
) -> Result<PersonId, sqlx::Error> {
    let id = PersonId::generate();
    sqlx::query!(
        "INSERT INTO people (id, email, password_hash, email_verified_at)
         VALUES ($1, $2, $3, CASE WHEN $4 THEN now() END)",
        id as PersonId,
        email.0,
        password_hash,
        is_verified,
    )
    .execute(conn)
    .await?;
    Ok(id)
}

/// Notes that they have shown that the address is theirs. Says whether it now is: not
/// where somebody else has shown it before.
pub async fn verify(conn: &mut PgConnection, person: PersonId) -> Result<bool, sqlx::Error> {
    super::store::verify_email(conn, person).await
}

/// The person who has shown that the address is theirs.
pub async fn verified(
    conn: &mut PgConnection,
    email: &EmailAddress,
) -> Result<Option<PersonId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT id AS "id: PersonId" FROM people
            WHERE email = $1 AND email_verified_at IS NOT NULL AND disabled_at IS NULL"#,
        email.0,
    )
    .fetch_optional(conn)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_texts() {
        assert_eq!(
            " Ada@Example.com ".parse::<EmailAddress>().unwrap().as_str(),
            "ada@example.com"
        );
        for bad in ["", "ada", "ada@", "@example.com", "a da@example.com", "ada@example.com\nx"] {
            assert_eq!(bad.parse::<EmailAddress>(), Err(BadEmailAddress), "{bad}");
        }
    }
}
