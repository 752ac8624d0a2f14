//! Organizations: tenants. Founded by a person, renamed, archived and restored; never
//! deleted, so that what was done and spent in one can always be told.

mod api;
mod name;
mod setup;
mod store;
mod web;

use serde::Serialize;
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::{OrganizationId, PersonId},
    money::{BadZone, Zone},
};
use sqlx::PgPool;
use time::OffsetDateTime;

pub use name::OrganizationName;
pub use setup::first_call;

use crate::{
    access::{Authority, Doors, Role, Work, scope},
    audit::{self, Entry},
    names::RULE,
    projects::{self, ProjectError},
    web::{FrameOrganization, Section},
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

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

/// An organization as its members see it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Organization {
    pub id: OrganizationId,
    pub slug: String,
    pub name: String,
    pub time_zone: String,
    pub requires_second_factor: bool,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub archived_at: Option<OffsetDateTime>,
}

/// Somebody's place in an organization, as they choose among theirs.
#[derive(Clone, Debug)]
pub struct Place {
    pub slug: String,
    pub name: String,
    pub role: Role,
    pub is_archived: bool,
}

impl Place {
    /// Where its members begin: those who bill with what they came for.
    pub fn home(&self) -> String {
        match self.role {
            Role::Billing => format!("/orgs/{}/invoices", self.slug),
            Role::Owner | Role::Admin | Role::Developer | Role::Viewer => {
                format!("/orgs/{}", self.slug)
            }
        }
    }
}

/// Everywhere the person is a member.
pub async fn places(db: &PgPool, person: PersonId) -> Result<Vec<Place>, sqlx::Error> {
    let mut tx = db.begin().await?;
    scope(&mut tx, None, Some(person)).await?;
    store::places(&mut tx, person).await
}

pub async fn find(work: &mut Work) -> Result<Organization, sqlx::Error> {
    let organization = work.organization;
    store::find(work, organization).await
}

/// Makes others who change the organization, or anybody's place in it, wait until this
/// transaction has ended. To be called before anything is changed, so that none waits
/// for another who waits for it.
pub async fn hold(work: &mut Work) -> Result<(), sqlx::Error> {
    let organization = work.organization;
    store::hold(work, organization).await
}

/// Makes the organization that `work` was begun for, with a new id: whoever acts is its
/// first owner, and it has one project, so that a key can be made at once. Returns the
/// word for it in addresses.
pub async fn found(work: &mut Work, name: &OrganizationName) -> Result<String, OrganizationError> {
    let founder = work.actor.person().ok_or(OrganizationError::Nobody)?;
    let organization = work.organization;
    if store::count_owned(work, founder).await? >= MOST_OWNED {
        return Err(OrganizationError::TooMany);
    }
    let slug = insert(work, name).await?;
    store::insert_owner(work, organization, founder).await?;
    audit::record(work, Entry::new("organization.created", organization, name)).await?;
    projects::create(work, &FIRST_PROJECT.parse()?, None).await?;
    Ok(slug)
}

const FIRST_PROJECT: &str = "default";

/// More than anybody runs, and few enough that nobody fills the table.
const MOST_OWNED: i64 = 20;

async fn insert(work: &mut Work, name: &OrganizationName) -> Result<String, OrganizationError> {
    let organization = work.organization;
    for slug in name.slugs() {
        if store::insert(work, organization, &slug, name).await? {
            return Ok(slug);
        }
    }
    Err(OrganizationError::NameTaken)
}

pub async fn rename(work: &mut Work, name: &OrganizationName) -> Result<(), OrganizationError> {
    let before = find_to_change(work).await?;
    if before.name == name.as_str() {
        return Ok(());
    }
    store::rename(work, before.id, name).await?;
    let entry = Entry::new("organization.renamed", before.id, name);
    audit::record(work, entry.before(before.name).after(name.as_str())).await?;
    Ok(())
}

/// Moves the organization to the zone whose days are its days.
pub async fn set_zone(work: &mut Work, zone: &Zone) -> Result<(), OrganizationError> {
    let before = find_to_change(work).await?;
    if before.time_zone == zone.as_str() {
        return Ok(());
    }
    store::set_zone(work, before.id, zone).await?;
    let entry = Entry::new("organization.time_zone_changed", before.id, before.name);
    audit::record(work, entry.before(before.time_zone).after(zone.as_str())).await?;
    Ok(())
}

/// Asks every member for a second factor, or no longer. Only who has shown one
/// (`is_shown`) may ask it of the others, or they would shut themselves out.
pub async fn require_second_factor(
    work: &mut Work,
    required: bool,
    is_shown: bool,
) -> Result<(), OrganizationError> {
    let before = find_to_change(work).await?;
    if before.requires_second_factor == required {
        return Ok(());
    }
    if required && !is_shown {
        return Err(OrganizationError::NoSecondFactor);
    }
    store::require_second_factor(work, before.id, required).await?;
    let entry = Entry::new("organization.second_factor_rule_changed", before.id, before.name);
    audit::record(work, entry.before(before.requires_second_factor).after(required)).await?;
    Ok(())
}

/// From now on it can be read, not changed, and its keys open nothing.
pub async fn archive(work: &mut Work) -> Result<(), OrganizationError> {
    set_archived(work, true, "organization.archived").await
}

pub async fn restore(work: &mut Work) -> Result<(), OrganizationError> {
    set_archived(work, false, "organization.restored").await
}

async fn set_archived(
    work: &mut Work,
    archived: bool,
    action: &'static str,
) -> Result<(), OrganizationError> {
    let before = find_to_change(work).await?;
    if before.archived_at.is_some() == archived {
        return Ok(());
    }
    store::set_archived(work, before.id, archived).await?;
    audit::record(work, Entry::new(action, before.id, before.name)).await?;
    Ok(())
}

/// Puts the checklist away for everybody.
pub async fn dismiss_setup(work: &mut Work) -> Result<(), OrganizationError> {
    let organization = find_to_change(work).await?;
    if store::dismiss_setup(work, organization.id).await? {
        let entry = Entry::new("organization.setup_dismissed", organization.id, organization.name);
        audit::record(work, entry).await?;
    }
    Ok(())
}

async fn find_to_change(work: &mut Work) -> Result<Organization, sqlx::Error> {
    hold(work).await?;
    find(work).await
}

#[derive(Debug, thiserror::Error)]
pub enum OrganizationError {
    #[error("an organization's name {RULE} and is no link")]
    BadName,
    #[error("too many organizations have that name: choose another")]
    NameTaken,
    #[error("you own {MOST_OWNED} organizations, which is the most")]
    TooMany,
    #[error("an organization is founded by a person")]
    Nobody,
    #[error(transparent)]
    BadZone(#[from] BadZone),
    #[error("set up a second factor and sign in with it first, or you would shut yourself out")]
    NoSecondFactor,
    #[error("type the organization's name as it is")]
    NotConfirmed,
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("the organization store failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for OrganizationError {
    fn kind(&self) -> Kind {
        match self {
            Self::BadName | Self::BadZone(_) | Self::NotConfirmed => Kind::Invalid,
            Self::NameTaken | Self::TooMany | Self::NoSecondFactor => Kind::Conflict,
            Self::Nobody => Kind::Forbidden,
            Self::Project(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NameTaken => code::NAME_TAKEN,
            Self::NoSecondFactor => code::MFA_REQUIRED,
            Self::BadName
            | Self::TooMany
            | Self::Nobody
            | Self::BadZone(_)
            | Self::NotConfirmed
            | Self::Store(_) => self.kind().code(),
            Self::Project(error) => error.code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::BadName | Self::NameTaken | Self::TooMany => "name",
            Self::BadZone(_) => "time_zone",
            Self::NoSecondFactor => "requires_second_factor",
            Self::NotConfirmed => "confirm",
            Self::Nobody | Self::Project(_) | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}

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

    #[sqlx::test(migrations = "../migrations")]
    async fn what_changes_is_told_once(root: PgPool) {
        let fixture = Fixture::new(root).await;
        let mut work = fixture.work(Role::Owner).await;
        for _ in 0..2 {
            rename(&mut work, &"Ours, Ltd".parse().unwrap()).await.unwrap();
            set_zone(&mut work, &"Europe/Berlin".parse().unwrap()).await.unwrap();
            require_second_factor(&mut work, true, true).await.unwrap();
            dismiss_setup(&mut work).await.unwrap();
            archive(&mut work).await.unwrap();
        }
        let seen = find(&mut work).await.unwrap();
        assert_eq!((seen.name.as_str(), seen.time_zone.as_str()), ("Ours, Ltd", "Europe/Berlin"));
        assert!(seen.requires_second_factor && seen.archived_at.is_some());
        assert!(store::progress(&mut work, seen.id).await.unwrap().is_dismissed);
        restore(&mut work).await.unwrap();
        assert!(find(&mut work).await.unwrap().archived_at.is_none());
        let latest = store::latest(&mut work, seen.id).await.unwrap();
        let actions: Vec<_> = latest.iter().map(|it| it.action.as_str()).collect();
        assert_eq!(
            actions,
            [
                "organization.restored",
                "organization.archived",
                "organization.setup_dismissed",
                "organization.second_factor_rule_changed",
                "organization.time_zone_changed",
                "organization.renamed",
            ]
        );
    }

    #[sqlx::test(migrations = "../migrations")]
    async fn nobody_shuts_themselves_out(root: PgPool) {
        let fixture = Fixture::new(root).await;
        let mut work = fixture.work(Role::Owner).await;
        let refused = require_second_factor(&mut work, true, false).await.unwrap_err();
        assert_eq!(refused.code(), code::MFA_REQUIRED);
        require_second_factor(&mut work, true, true).await.unwrap();
        require_second_factor(&mut work, false, false).await.unwrap();
    }

    #[sqlx::test(migrations = "../migrations")]
    async fn organizations_of_others_are_out_of_reach(root: PgPool) {
        let fixture = Fixture::new(root).await;
        let theirs = fixture.theirs.id;
        let mut work = fixture.work(Role::Owner).await;
        // Even where a statement names the wrong organization.
        assert!(store::find(&mut work, theirs).await.is_err());
        store::rename(&mut work, theirs, &"Stolen".parse().unwrap()).await.unwrap();
        store::set_archived(&mut work, theirs, true).await.unwrap();
        assert!(store::latest(&mut work, theirs).await.unwrap().is_empty());
        work.commit().await.unwrap();
        let mut work = fixture.work_of(&fixture.theirs, Role::Owner).await;
        let seen = find(&mut work).await.unwrap();
        assert!(seen.name == "theirs" && seen.archived_at.is_none());
        let places = places(&fixture.db, fixture.ours.person(Role::Viewer)).await.unwrap();
        assert_eq!(places.iter().map(|it| it.slug.as_str()).collect::<Vec<_>>(), ["ours"]);
    }

    #[sqlx::test(migrations = "../migrations")]
    async fn the_checklist_is_ticked_off_by_what_is_there(root: PgPool) {
        let fixture = Fixture::new(root).await;
        let id = OrganizationId::generate();
        let actor = fixture.ours.actor(Role::Owner);
        let mut work = Work::begin(&fixture.db, id, actor, Origin::internal()).await.unwrap();
        found(&mut work, &"Fresh".parse().unwrap()).await.unwrap();
        let fresh = store::progress(&mut work, id).await.unwrap();
        assert!(fresh.is_shown() && fresh.done() == 0);
        let figures = store::figures(&mut work, id).await.unwrap();
        assert_eq!((figures.members, figures.projects, figures.live_keys), (1, 1, 0));
        for (statement, done) in [
            (
                "INSERT INTO api_keys (organization_id, id, project_id, name, brand, scopes)
                 SELECT $1, id, id, 'ci', 'live', '{chat}' FROM projects
                  WHERE organization_id = $1",
                1,
            ),
            ("UPDATE api_keys SET last_used_at = now() WHERE organization_id = $1", 2),
            (
                "INSERT INTO cost_centers (organization_id, id, code, name, valid_from)
                 VALUES ($1, $1, 'ENG', 'Engineering', '2020-01-01')",
                3,
            ),
            (
                "INSERT INTO memberships SELECT $1, id, 'viewer' FROM people
                  WHERE email = 'viewer@ours.test'",
                4,
            ),
        ] {
            sqlx::query(statement).bind(id).execute(&mut *work).await.unwrap();
            assert_eq!(store::progress(&mut work, id).await.unwrap().done(), done);
        }
    }
}
