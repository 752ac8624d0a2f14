//! Teams: groups of members and projects.
//!
//! A team is archived, never deleted, so that what it did still has a name.

mod api;
mod store;
#[cfg(test)]
mod tests;
mod web;

use serde::Serialize;
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::{PersonId, TeamId},
};
use time::OffsetDateTime;

use crate::{
    access::{Doors, Work},
    audit::{self, Entry},
    names::{RULE, name},
    web::{Part, Span},
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

name!(
    /// What people call a team.
    TeamName, TeamError::BadName
);

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Team {
    pub id: TeamId,
    pub name: String,
    pub members: i64,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub archived_at: Option<OffsetDateTime>,
}

impl Team {
    pub fn is_archived(&self) -> bool {
        self.archived_at.is_some()
    }
}

/// Somebody in a team.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TeamMember {
    pub id: PersonId,
    pub email: String,
}

/// Teams by name, the archived ones last.
pub async fn list(work: &mut Work, span: Span<TeamId>) -> Result<Part<Team, TeamId>, TeamError> {
    let organization = work.organization;
    Ok(span.part(store::list(work, organization, span).await?, |it| it.id))
}

pub async fn find(work: &mut Work, team: TeamId) -> Result<Team, TeamError> {
    let organization = work.organization;
    store::find(work, organization, team).await?.ok_or(TeamError::NotFound)
}

pub async fn create(work: &mut Work, name: &TeamName) -> Result<TeamId, TeamError> {
    let team = TeamId::generate();
    let organization = work.organization;
    store::insert(work, organization, team, name).await?;
    audit::record(work, Entry::new("team.created", team, name)).await?;
    Ok(team)
}

pub async fn rename(work: &mut Work, team: TeamId, name: &TeamName) -> Result<(), TeamError> {
    let before = find_live(work, team).await?;
    let organization = work.organization;
    store::rename(work, organization, team, name).await?;
    let entry = Entry::new("team.renamed", team, name).before(before.name).after(name.to_string());
    audit::record(work, entry).await?;
    Ok(())
}

pub async fn archive(work: &mut Work, team: TeamId) -> Result<(), TeamError> {
    set_archived(work, team, true, "team.archived").await
}

pub async fn restore(work: &mut Work, team: TeamId) -> Result<(), TeamError> {
    set_archived(work, team, false, "team.restored").await
}

async fn set_archived(
    work: &mut Work,
    team: TeamId,
    archived: bool,
    action: &'static str,
) -> Result<(), TeamError> {
    let before = find(work, team).await?;
    if before.is_archived() == archived {
        return Ok(());
    }
    let organization = work.organization;
    store::set_archived(work, organization, team, archived).await?;
    audit::record(work, Entry::new(action, team, before.name)).await?;
    Ok(())
}

pub async fn members(work: &mut Work, team: TeamId) -> Result<Vec<TeamMember>, TeamError> {
    let organization = work.organization;
    Ok(store::members(work, organization, team).await?)
}

/// Members of the organization who are not in the team yet.
pub async fn candidates(work: &mut Work, team: TeamId) -> Result<Vec<TeamMember>, TeamError> {
    let organization = work.organization;
    Ok(store::candidates(work, organization, team).await?)
}

pub async fn add(work: &mut Work, team: TeamId, person: PersonId) -> Result<(), TeamError> {
    let team = find_live(work, team).await?;
    let organization = work.organization;
    if store::add(work, organization, team.id, person).await? {
        let entry = Entry::new("team.member_added", team.id, team.name).after(person);
        audit::record(work, entry).await?;
    }
    Ok(())
}

pub async fn remove(work: &mut Work, team: TeamId, person: PersonId) -> Result<(), TeamError> {
    let team = find_live(work, team).await?;
    let organization = work.organization;
    if !store::remove(work, organization, team.id, person).await? {
        return Err(TeamError::NotFound);
    }
    let entry = Entry::new("team.member_removed", team.id, team.name).before(person);
    audit::record(work, entry).await?;
    Ok(())
}

async fn find_live(work: &mut Work, team: TeamId) -> Result<Team, TeamError> {
    let team = find(work, team).await?;
    if team.is_archived() { Err(TeamError::Archived) } else { Ok(team) }
}

/// An id that is none of ours is a team that nobody has.
fn team_in(text: &str) -> Result<TeamId, TeamError> {
    text.parse().map_err(|_| TeamError::NotFound)
}

#[derive(Debug, thiserror::Error)]
pub enum TeamError {
    #[error("a team's name {RULE}")]
    BadName,
    #[error("there is already a team of that name")]
    NameTaken,
    #[error("choose a member of the organization")]
    NotAMember,
    #[error("there is no such team")]
    NotFound,
    #[error("the team is archived: restore it first")]
    Archived,
    #[error("the team store failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for TeamError {
    fn kind(&self) -> Kind {
        match self {
            Self::BadName | Self::NotAMember => Kind::Invalid,
            Self::NameTaken | Self::Archived => Kind::Conflict,
            Self::NotFound => Kind::NotFound,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NameTaken => code::NAME_TAKEN,
            Self::Archived => code::ARCHIVED,
            Self::BadName | Self::NotAMember | Self::NotFound | Self::Store(_) => {
                self.kind().code()
            }
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::BadName | Self::NameTaken => "name",
            Self::NotAMember => "person",
            Self::NotFound | Self::Archived | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}
