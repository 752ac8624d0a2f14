//! Organizations: tenants, and who is a member of them.

mod name;
mod store;

use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::{OrganizationId, PersonId, ProjectId},
};
use sqlx::PgPool;

pub use name::OrganizationName;

use crate::{
    access::{Authority, Role, Work, scope},
    audit::{self, Entry},
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

/// Makes the organization that `work` was begun for, with a new id: whoever acts is its
/// first owner, and it has one project, so that a key can be made at once. Returns the
/// word for it in addresses.
pub async fn found(work: &mut Work, name: &OrganizationName) -> Result<String, OrganizationError> {
    let founder = work.actor.person().ok_or(OrganizationError::Nobody)?;
    let organization = work.organization;
    let slug = insert(work, name).await?;
    store::insert_owner(work, organization, founder).await?;
    let project = ProjectId::generate();
    store::insert_project(work, organization, project, FIRST_PROJECT).await?;
    audit::record(work, Entry::new("organization.created", organization, name)).await?;
    audit::record(work, Entry::new("project.created", project, FIRST_PROJECT)).await?;
    Ok(slug)
}

const FIRST_PROJECT: &str = "default";

async fn insert(work: &mut Work, name: &OrganizationName) -> Result<String, OrganizationError> {
    let organization = work.organization;
    for slug in name.slugs() {
        if store::insert(work, organization, &slug, name).await? {
            return Ok(slug);
        }
    }
    Err(OrganizationError::NameTaken)
}

#[derive(Debug, thiserror::Error)]
pub enum OrganizationError {
    #[error("an organization's name has 1 to 64 printable characters and is no link")]
    BadName,
    #[error("too many organizations have that name: choose another")]
    NameTaken,
    #[error("an organization is founded by a person")]
    Nobody,
    #[error("the organization store failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for OrganizationError {
    fn kind(&self) -> Kind {
        match self {
            Self::BadName => Kind::Invalid,
            Self::NameTaken => Kind::Conflict,
            Self::Nobody => Kind::Forbidden,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NameTaken => code::NAME_TAKEN,
            Self::BadName | Self::Nobody | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::BadName | Self::NameTaken => "name",
            Self::Nobody | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}

pub fn doors(_: &mut crate::access::Doors) {}

#[cfg(test)]
mod tests {
    use sqlx::PgPool;

    use super::*;
    use crate::{access::Origin, testing::Fixture};

    #[sqlx::test(migrations = "../migrations")]
    async fn whoever_founds_an_organization_owns_it(root: PgPool) {
        let fixture = Fixture::new(root).await;
        let founder = fixture.ours.person(Role::Viewer);
        let name = "Ours".parse().unwrap();
        let mut slugs = Vec::new();
        for _ in 0..2 {
            let id = OrganizationId::generate();
            let actor = fixture.ours.actor(Role::Viewer);
            let mut work = Work::begin(&fixture.db, id, actor, Origin::internal()).await.unwrap();
            slugs.push(found(&mut work, &name).await.unwrap());
            work.commit().await.unwrap();
        }
        assert_eq!(slugs, ["ours-2", "ours-3"]);
        let place = membership(&fixture.db, "ours-2", founder).await.unwrap().unwrap();
        assert_eq!((place.role, place.name.as_str()), (Role::Owner, "Ours"));
        let stranger = fixture.theirs.person(Role::Owner);
        assert!(membership(&fixture.db, "ours-2", stranger).await.unwrap().is_none());
        let projects: Vec<String> =
            sqlx::query_scalar("SELECT name FROM projects WHERE organization_id = $1")
                .bind(place.organization)
                .fetch_all(&fixture.root)
                .await
                .unwrap();
        assert_eq!(projects, ["default"]);
    }
}
