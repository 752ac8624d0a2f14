//! Cost centers: finance's codes, which receive the costs of projects.
//!
//! A cost center receives on the days between `valid_from` and `valid_until`, until it is
//! archived. What a project's split gives it on other days is unallocated: shown, and
//! never lost. It is archived, never deleted, so that the past still has its code.

mod api;
mod day;
pub mod splits;
mod store;
#[cfg(test)]
mod tests;
mod web;

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::{CostCenterId, PersonId},
};
use time::OffsetDateTime;

pub use day::{BadDay, Day};
pub use splits::{Allocation, BasisPoints, Share, Split, Splits, shares_on};

use crate::{
    access::{Doors, Work},
    audit::{self, Entry},
    names::{RULE, name},
    web::{Part, Problems, Span, today},
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
    splits::doors(doors);
}

/// Finance's own code: 1 to 32 capital letters, digits, `-`, `_` and `.`. Small letters
/// are made capital, for nobody means two by `eng` and `ENG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostCenterCode(String);

impl FromStr for CostCenterCode {
    type Err = CostCenterError;

    fn from_str(text: &str) -> Result<Self, CostCenterError> {
        let code = text.trim().to_ascii_uppercase();
        let is_allowed =
            |it: u8| it.is_ascii_uppercase() || it.is_ascii_digit() || b"-_.".contains(&it);
        if (1..=32).contains(&code.len()) && code.bytes().all(is_allowed) {
            Ok(Self(code))
        } else {
            Err(CostCenterError::BadCode)
        }
    }
}

impl fmt::Display for CostCenterCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for CostCenterCode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

name!(
    /// What people call a cost center, beside its code.
    CostCenterName, CostCenterError::BadName
);

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CostCenter {
    pub id: CostCenterId,
    pub code: String,
    pub name: String,
    /// The member who answers for it.
    pub owner: Option<PersonId>,
    pub owner_email: Option<String>,
    pub valid_from: Day,
    /// The first day on which it no longer receives costs.
    pub valid_until: Option<Day>,
    /// How many projects give it a share, now or from a later day on.
    pub projects: i64,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub archived_at: Option<OffsetDateTime>,
}

impl CostCenter {
    pub fn is_archived(&self) -> bool {
        self.archived_at.is_some()
    }

    pub fn starts_after(&self, day: &Day) -> bool {
        self.valid_from > *day
    }

    pub fn ended_by(&self, day: &Day) -> bool {
        self.valid_until.is_some_and(|it| it <= *day)
    }
}

/// When a cost center receives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    from: Day,
    until: Option<Day>,
    /// The day, where the organization is, on which it was archived.
    archived: Option<Day>,
}

impl Validity {
    fn new(from: Day, until: Option<Day>, archived: Option<OffsetDateTime>, zone: &str) -> Self {
        Self { from, until, archived: archived.map(|at| today(at, zone).into()) }
    }

    /// The days on which it begins or ceases to receive.
    fn changes(self) -> impl Iterator<Item = Day> {
        [Some(self.from), self.until, self.archived].into_iter().flatten()
    }

    fn receives_on(self, day: Day) -> bool {
        self.refusal(day).is_none()
    }

    /// Why it receives nothing on that day; reads after its code.
    fn refusal(self, day: Day) -> Option<String> {
        if self.archived.is_some_and(|it| it <= day) {
            return Some("is archived".to_owned());
        }
        if day < self.from {
            return Some(format!("receives costs from {} on", self.from.text()));
        }
        let until = self.until.filter(|it| *it <= day)?;
        Some(format!("receives no costs from {} on", until.text()))
    }
}

/// What a cost center is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Draft {
    pub code: CostCenterCode,
    pub name: CostCenterName,
    pub owner: Option<PersonId>,
    pub valid_from: Day,
    pub valid_until: Option<Day>,
}

impl Draft {
    fn check(&self) -> Result<(), CostCenterError> {
        match self.valid_until {
            Some(until) if until <= self.valid_from => Err(CostCenterError::EndsBeforeItStarts),
            Some(_) | None => Ok(()),
        }
    }
}

impl From<CostCenter> for Draft {
    fn from(center: CostCenter) -> Self {
        Self {
            code: CostCenterCode(center.code),
            name: CostCenterName::kept(center.name),
            owner: center.owner,
            valid_from: center.valid_from,
            valid_until: center.valid_until,
        }
    }
}

/// Cost centers by code, the archived ones last, each with the number of projects that
/// give it a share `on` that day or later.
pub async fn list(
    work: &mut Work,
    on: Day,
    span: Span<CostCenterId>,
) -> Result<Part<CostCenter, CostCenterId>, CostCenterError> {
    let organization = work.organization;
    Ok(span.part(store::list(work, organization, on, span).await?, |it| it.id))
}

pub async fn find(
    work: &mut Work,
    center: CostCenterId,
    on: Day,
) -> Result<CostCenter, CostCenterError> {
    let organization = work.organization;
    store::find(work, organization, center, on).await?.ok_or(CostCenterError::NotFound)
}

/// Members who may be its owner.
pub async fn candidates(work: &mut Work) -> Result<Vec<(PersonId, String)>, CostCenterError> {
    let organization = work.organization;
    Ok(store::candidates(work, organization).await?)
}

pub async fn create(work: &mut Work, draft: &Draft) -> Result<CostCenterId, CostCenterError> {
    draft.check()?;
    let center = CostCenterId::generate();
    let organization = work.organization;
    store::insert(work, organization, center, draft).await?;
    audit::record(work, Entry::new("cost_center.created", center, &draft.code).after(draft))
        .await?;
    Ok(center)
}

pub async fn change(
    work: &mut Work,
    center: CostCenterId,
    draft: &Draft,
) -> Result<(), CostCenterError> {
    draft.check()?;
    let before = lock(work, center).await?;
    if before.is_archived() {
        return Err(CostCenterError::Archived);
    }
    let before = Draft::from(before);
    if before == *draft {
        return Ok(());
    }
    let organization = work.organization;
    store::update(work, organization, center, draft).await?;
    let entry = Entry::new("cost_center.changed", center, &draft.code).before(before).after(draft);
    audit::record(work, entry).await?;
    Ok(())
}

/// Puts it away: from today on its shares are unallocated.
pub async fn archive(work: &mut Work, center: CostCenterId) -> Result<(), CostCenterError> {
    set_archived(work, center, true, "cost_center.archived").await
}

pub async fn restore(work: &mut Work, center: CostCenterId) -> Result<(), CostCenterError> {
    set_archived(work, center, false, "cost_center.restored").await
}

async fn set_archived(
    work: &mut Work,
    center: CostCenterId,
    archived: bool,
    action: &'static str,
) -> Result<(), CostCenterError> {
    let before = lock(work, center).await?;
    if before.is_archived() == archived {
        return Ok(());
    }
    let organization = work.organization;
    store::set_archived(work, organization, center, archived).await?;
    audit::record(work, Entry::new(action, center, before.code)).await?;
    Ok(())
}

/// Keeps other writers away from it until `work` ends.
async fn lock(work: &mut Work, center: CostCenterId) -> Result<CostCenter, CostCenterError> {
    let organization = work.organization;
    store::lock(work, organization, center).await?;
    find(work, center, OffsetDateTime::now_utc().date().into()).await
}

/// An id that is none of ours is a cost center that nobody has.
fn center_in(text: &str) -> Result<CostCenterId, CostCenterError> {
    text.parse().map_err(|_| CostCenterError::NotFound)
}

#[derive(Debug, thiserror::Error)]
pub enum CostCenterError {
    #[error("a code has 1 to 32 letters, digits, hyphens, underscores and dots")]
    BadCode,
    #[error("there is already a cost center of that code")]
    CodeTaken,
    #[error("a cost center's name {RULE}")]
    BadName,
    #[error("choose a member of the organization")]
    NotAMember,
    #[error("the end has to come after the start")]
    EndsBeforeItStarts,
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error("there is no such cost center")]
    NotFound,
    #[error("the cost center is archived: restore it first")]
    Archived,
    #[error("the store of cost centers failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for CostCenterError {
    fn kind(&self) -> Kind {
        match self {
            Self::BadCode
            | Self::BadName
            | Self::NotAMember
            | Self::EndsBeforeItStarts
            | Self::Refused(_) => Kind::Invalid,
            Self::CodeTaken | Self::Archived => Kind::Conflict,
            Self::NotFound => Kind::NotFound,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::CodeTaken => code::NAME_TAKEN,
            Self::Archived => code::ARCHIVED,
            Self::BadCode
            | Self::BadName
            | Self::NotAMember
            | Self::EndsBeforeItStarts
            | Self::Refused(_)
            | Self::NotFound
            | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::BadCode | Self::CodeTaken => "code",
            Self::BadName => "name",
            Self::NotAMember => "owner",
            Self::EndsBeforeItStarts => "valid_until",
            Self::Refused(problems) => return problems.list().to_vec(),
            Self::NotFound | Self::Archived | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}
