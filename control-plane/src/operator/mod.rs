//! What the platform's staff see: that organizations exist and how large they are,
//! nothing inside of them. Looking writes nothing.

mod store;
#[cfg(test)]
mod tests;
mod web;

use shared::ids::{CredentialId, OrganizationId};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::access::Doors;

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
}

/// An organization from outside.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub id: OrganizationId,
    pub slug: String,
    pub name: String,
    pub created_at: OffsetDateTime,
    pub archived_at: Option<OffsetDateTime>,
    pub members: i64,
    pub projects: i64,
    pub live_keys: i64,
}

impl Tenant {
    pub fn is_archived(&self) -> bool {
        self.archived_at.is_some()
    }
}

/// Organizations whose name or address holds a text, by name, after one of them.
pub async fn organizations(
    conn: &mut PgConnection,
    text: &str,
    after: Option<(&str, OrganizationId)>,
    most: i32,
) -> Result<Vec<Tenant>, sqlx::Error> {
    store::organizations(conn, &pattern(text), after, most).await
}

/// A place that calls go to with a credential. Of an organization's own: whose it is and
/// which vendor's, and nothing that people there wrote.
#[derive(Clone, Debug)]
pub struct Site {
    pub credential: CredentialId,
    pub provider: String,
    pub region: Option<String>,
    /// The credential's name, where it is the platform's.
    pub label: Option<String>,
    /// Whose it is; the platform's where nobody's.
    pub organization: Option<String>,
}

/// The sites of these credentials, as far as there still are any.
pub async fn sites(
    conn: &mut PgConnection,
    credentials: &[CredentialId],
) -> Result<Vec<Site>, sqlx::Error> {
    store::sites(conn, credentials).await
}

/// Matches texts that hold this one, in which nothing is a wildcard.
fn pattern(text: &str) -> String {
    let text: String = text.trim().chars().take(100).collect();
    if text.is_empty() {
        return text;
    }
    let mut pattern = String::from("%");
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern + "%"
}
