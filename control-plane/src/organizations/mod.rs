//! Organizations: tenants, and who is a member of them.

mod store;

use shared::ids::{OrganizationId, PersonId};
use sqlx::PgPool;

use crate::{
    access::{Authority, Role, scope},
    web::{FrameOrganization, Section},
};

/// Somebody's place in an organization, with what every page of it needs.
#[derive(Clone, Debug)]
pub struct Membership {
    pub organization: OrganizationId,
    pub slug: String,
    pub name: String,
    pub role: Role,
    pub time_zone: String,
    pub is_archived: bool,
    pub requires_second_factor: bool,
}

impl Membership {
    pub fn frame(&self, authority: Authority, section: Section) -> FrameOrganization {
        FrameOrganization {
            name: self.name.clone(),
            slug: self.slug.clone(),
            authority,
            is_archived: self.is_archived,
            section,
        }
    }
}

/// The person's place in the organization of that name, if they have one.
pub async fn membership(
    db: &PgPool,
    slug: &str,
    person: PersonId,
) -> Result<Option<Membership>, sqlx::Error> {
    let mut tx = db.begin().await?;
    scope(&mut tx, None, Some(person)).await?;
    store::membership(&mut tx, slug, person).await
}

pub fn doors(_: &mut crate::access::Doors) {}
