//! What was done, by whom: a chain of entries that can be added to, not changed.
//!
//! An entry is written in the transaction of the change it tells of, so that neither
//! is there without the other. Each carries the hash of itself and the one before, so
//! that an edit shows; the ends of the chains are signed and kept elsewhere, so that a
//! chain cut short or written anew from some entry on shows too.

mod api;
mod chain;
mod checkpoints;
mod csv;
mod log;
mod store;
#[cfg(test)]
mod tests;
mod verify;
mod web;

use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    failure::{Classified, Kind},
    ids::OrganizationId,
};
use sqlx::PgConnection;
use uuid::Uuid;

pub use chain::Finding;
pub use checkpoints::checkpoint;
pub use verify::{Problem, Report, verify};

use crate::access::{Actor, Doors, Origin, Work};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

/// One thing done to one thing. `action` reads `team.created`.
#[derive(Clone, Debug)]
pub struct Entry {
    action: &'static str,
    target: String,
    target_name: String,
    before: Value,
    after: Value,
}

impl Entry {
    pub fn new(action: &'static str, target: impl ToString, name: impl ToString) -> Self {
        Self {
            action,
            target: target.to_string(),
            target_name: name.to_string(),
            before: Value::Null,
            after: Value::Null,
        }
    }

    /// What it was. Never a secret, nor anything derived from one.
    pub fn before(self, value: impl Serialize) -> Self {
        Self { before: json!(value), ..self }
    }

    /// What it is now. Never a secret, nor anything derived from one.
    pub fn after(self, value: impl Serialize) -> Self {
        Self { after: json!(value), ..self }
    }

    fn body(&self, actor: &Actor, origin: Origin) -> String {
        let (actor, actor_name) = match actor {
            Actor::Person { id, email } => (id.to_string(), email.clone()),
            Actor::Service { token, name } => (token.to_string(), name.clone()),
            Actor::System => ("system".to_owned(), "Turnpike".to_owned()),
        };
        json!({
            "action": self.action,
            "actor": actor,
            "actor_name": actor_name,
            "target": self.target,
            "target_name": self.target_name,
            "before": self.before,
            "after": self.after,
            "address": origin.address.map(|it| it.to_string()),
            "request": origin.request.to_string(),
        })
        .to_string()
    }
}

/// Adds to the organization's chain, as part of `work`.
pub async fn record(work: &mut Work, entry: Entry) -> Result<(), sqlx::Error> {
    let body = entry.body(&work.actor, work.origin);
    let organization = work.organization;
    store::append(work, organization, &body).await
}

/// Adds to the platform's own chain: what people do with their accounts, and operators
/// with the platform.
pub async fn record_platform(
    conn: &mut PgConnection,
    actor: &Actor,
    origin: Origin,
    entry: Entry,
) -> Result<(), sqlx::Error> {
    store::append(conn, PLATFORM, &entry.body(actor, origin)).await
}

/// Whose chain the platform's own entries are in.
pub const PLATFORM: OrganizationId = OrganizationId::from_uuid(Uuid::nil());

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the signing key is not an Ed25519 private key in PKCS #8, base64")]
    BadKey,
    #[error("the checkpoints in {path} cannot be read or written")]
    File {
        path: std::path::PathBuf,
        #[source]
        error: std::io::Error,
    },
    #[error("the store of audit entries failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for AuditError {
    fn kind(&self) -> Kind {
        match self {
            Self::BadKey | Self::File { .. } => Kind::Internal,
            Self::Store(error) => error.kind(),
        }
    }
}
