//! Links sent by mail: the link holds a secret, the table its hash. Each works once.

use secrecy::{ExposeSecret, SecretString};
use shared::{ids::PersonId, keys::KeyHash, random};
use sqlx::PgConnection;

use super::{IdentityError, store};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Verify,
    Reset,
}

impl Purpose {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Reset => "reset",
        }
    }

    const fn hours(self) -> i32 {
        match self {
            Self::Verify => 24,
            Self::Reset => 1,
        }
    }
}

/// Makes a link for `person` and returns the secret to put into it.
pub async fn make(
    conn: &mut PgConnection,
    person: PersonId,
    purpose: Purpose,
) -> Result<SecretString, sqlx::Error> {
    let token = random::base62(32);
    let hash = KeyHash::of(&token);
    store::insert_link(conn, &hash.0, person, purpose, purpose.hours()).await?;
    Ok(token.into())
}

/// Whose link that is. Looking does not use it up: mail scanners look.
pub async fn look(
    conn: &mut PgConnection,
    token: &SecretString,
    purpose: Purpose,
) -> Result<PersonId, IdentityError> {
    let hash = KeyHash::of(token.expose_secret());
    store::find_link(conn, &hash.0, purpose).await?.ok_or(IdentityError::DeadLink)
}

/// Uses the link up. Of several who try at once, one succeeds.
pub async fn redeem(
    conn: &mut PgConnection,
    token: &SecretString,
    purpose: Purpose,
) -> Result<PersonId, IdentityError> {
    let hash = KeyHash::of(token.expose_secret());
    store::use_link(conn, &hash.0, purpose).await?.ok_or(IdentityError::DeadLink)
}
