//! A transaction that knows whose rows it may see, and who acts.

use std::{
    net::IpAddr,
    ops::{Deref, DerefMut},
};

use shared::ids::{ApiTokenId, OrganizationId, PersonId, RequestId};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

/// Who acts, as the audit log names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    Person {
        id: PersonId,
        email: String,
    },
    Service {
        token: ApiTokenId,
        name: String,
    },
    /// The platform itself: seeding, jobs.
    System,
}

impl Actor {
    pub fn person(&self) -> Option<PersonId> {
        match self {
            Self::Person { id, .. } => Some(*id),
            Self::Service { .. } | Self::System => None,
        }
    }
}

/// Where a change came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    pub address: Option<IpAddr>,
    pub request: RequestId,
}

impl Origin {
    /// For what no request asked for.
    pub fn internal() -> Self {
        Self { address: None, request: RequestId::generate() }
    }
}

/// Inside, the database shows one organization's rows, whatever a query forgets to
/// say. Dropped without [`Work::commit`], nothing of it happened.
pub struct Work {
    tx: Transaction<'static, Postgres>,
    pub organization: OrganizationId,
    pub actor: Actor,
    pub origin: Origin,
}

impl Work {
    pub async fn begin(
        db: &PgPool,
        organization: OrganizationId,
        actor: Actor,
        origin: Origin,
    ) -> Result<Self, sqlx::Error> {
        Self::within(db.begin().await?, organization, actor, origin).await
    }

    /// Goes on with a transaction in which something was done already: a person joined
    /// the platform, say, and now founds an organization, whose id may be a new one.
    pub async fn within(
        mut tx: Transaction<'static, Postgres>,
        organization: OrganizationId,
        actor: Actor,
        origin: Origin,
    ) -> Result<Self, sqlx::Error> {
        scope(&mut tx, Some(organization), actor.person()).await?;
        Ok(Self { tx, organization, actor, origin })
    }

    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.tx.commit().await
    }
}

impl Deref for Work {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.tx
    }
}

impl DerefMut for Work {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.tx
    }
}

/// Says, until the transaction ends, whose rows are to be seen.
pub async fn scope(
    conn: &mut PgConnection,
    organization: Option<OrganizationId>,
    person: Option<PersonId>,
) -> Result<(), sqlx::Error> {
    let organization = organization.map(|it| it.uuid().to_string()).unwrap_or_default();
    let person = person.map(|it| it.uuid().to_string()).unwrap_or_default();
    sqlx::query!(
        "SELECT set_config('app.organization_id', $1, true) AS organization,
                set_config('app.person_id', $2, true) AS person",
        organization,
        person,
    )
    .fetch_one(conn)
    .await?;
    Ok(())
}
