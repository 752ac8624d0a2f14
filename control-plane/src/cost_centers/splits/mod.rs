//! Splits: which cost centers bear a project's costs, and how much each.
//!
//! A split holds from a day until the day of the project's next one, and is replaced as
//! a whole. Its shares are basis points; what they leave is unallocated, which is shown
//! wherever the split is. So is what goes to a cost center on days on which that one
//! does not receive. The past may be replaced too, but not the days of a month that is closed:
//! they are invoiced.

mod api;
mod basis_points;
mod published;
mod store;
#[cfg(test)]
mod tests;
mod web;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use shared::{
    failure::{Classified, Code, Kind, Problem},
    ids::{CostCenterId, ProjectId},
};

pub use basis_points::{BadShare, BasisPoints};
pub use published::published;

use super::{BadDay, Day, Validity};
use crate::{
    access::{Doors, Work},
    audit::{self, Entry},
    projects::{self, ProjectError},
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    api::doors(doors);
}

/// More shares than a split has.
pub const MOST_SHARES: usize = 50;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Share {
    pub cost_center: CostCenterId,
    pub code: String,
    pub name: String,
    pub basis_points: BasisPoints,
    /// Whether the cost center receives it. If not, the share is unallocated.
    pub receives: bool,
}

/// Who bears a project's costs from a day on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Split {
    pub effective_from: Day,
    pub shares: Vec<Share>,
    /// What nobody receives.
    #[serde(rename = "unallocated_basis_points")]
    pub unallocated: BasisPoints,
}

impl Split {
    fn new(effective_from: Day, shares: Vec<Share>) -> Self {
        let received = shares.iter().filter(|it| it.receives).map(|it| it.basis_points);
        let unallocated = BasisPoints::left_by(received);
        Self { effective_from, shares, unallocated }
    }
}

/// A project's split on a day, and those planned for after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Splits {
    pub on: Day,
    /// None before the project's first split: everything is unallocated.
    pub in_force: Option<Split>,
    pub planned: Vec<Split>,
}

impl Splits {
    /// What nobody receives on the day.
    pub fn unallocated(&self) -> BasisPoints {
        self.in_force.as_ref().map_or(BasisPoints::WHOLE, |it| it.unallocated)
    }
}

/// Where a day's costs of a project go: the shares and what is unallocated make a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    pub shares: Vec<(CostCenterId, BasisPoints)>,
    pub unallocated: BasisPoints,
}

/// A split as it is asked for: each cost center once, and at most the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    effective_from: Day,
    shares: BTreeMap<CostCenterId, BasisPoints>,
}

impl Plan {
    pub fn new(
        effective_from: Day,
        list: &[(CostCenterId, BasisPoints)],
    ) -> Result<Self, SplitError> {
        let shares: BTreeMap<_, _> = list.iter().copied().collect();
        if list.len() > MOST_SHARES {
            return Err(SplitError::TooMany);
        }
        if shares.len() < list.len() {
            return Err(SplitError::Twice);
        }
        if shares.values().any(|it| *it == BasisPoints::NOTHING) {
            return Err(SplitError::Nothing);
        }
        let sum: BasisPoints = shares.values().copied().sum();
        if sum > BasisPoints::WHOLE {
            return Err(SplitError::MoreThanTheWhole(Some(sum)));
        }
        Ok(Self { effective_from, shares })
    }
}

/// The project's split on a day, and those that are planned for after it.
pub async fn of(work: &mut Work, project: ProjectId, on: Day) -> Result<Splits, SplitError> {
    let organization = work.organization;
    let mut planned = store::from(work, organization, project, on).await?;
    let is_in_force = planned.first().is_some_and(|it| it.effective_from <= on);
    let in_force = is_in_force.then(|| planned.remove(0));
    Ok(Splits { on, in_force, planned })
}

/// Who bears what the project costs on a day.
pub async fn shares_on(
    work: &mut Work,
    project: ProjectId,
    on: Day,
) -> Result<Allocation, SplitError> {
    let split = of(work, project, on).await?.in_force;
    let (shares, unallocated) =
        split.map_or((Vec::new(), BasisPoints::WHOLE), |it| (it.shares, it.unallocated));
    let received = shares.into_iter().filter(|it| it.receives);
    let shares = received.map(|it| (it.cost_center, it.basis_points)).collect();
    Ok(Allocation { shares, unallocated })
}

/// Replaces the split of the plan's day, or adds it.
pub async fn replace(work: &mut Work, project: ProjectId, plan: &Plan) -> Result<(), SplitError> {
    let project = projects::find_to_change(work, project).await?;
    let organization = work.organization;
    let codes = check_receive(work, plan).await?;
    let before = store::of_day(work, organization, project.id, plan.effective_from).await?;
    let named = |(center, points): (&CostCenterId, &BasisPoints)| {
        (codes.get(center).cloned().unwrap_or_default(), *points)
    };
    let after: BTreeMap<String, BasisPoints> = plan.shares.iter().map(named).collect();
    if before.as_ref() == Some(&after) {
        return Ok(());
    }
    store::replace(work, organization, project.id, plan).await?;
    let entry = Entry::new("project.split_changed", project.id, &project.name)
        .before(before.map(|it| told(plan.effective_from, &it)))
        .after(told(plan.effective_from, &after));
    audit::record(work, entry).await?;
    Ok(())
}

/// Takes back the split planned from that day on, if there is one.
pub async fn withdraw(
    work: &mut Work,
    project: ProjectId,
    effective_from: Day,
    today: Day,
) -> Result<(), SplitError> {
    let project = projects::find_to_change(work, project).await?;
    let organization = work.organization;
    let before = store::of_day(work, organization, project.id, effective_from).await?;
    let Some(before) = before else { return Ok(()) };
    if effective_from <= today {
        return Err(SplitError::InForce);
    }
    store::delete(work, organization, project.id, effective_from).await?;
    let entry = Entry::new("project.split_withdrawn", project.id, &project.name)
        .before(told(effective_from, &before));
    audit::record(work, entry).await?;
    Ok(())
}

/// A split as the audit log tells it: by its day, so that a change says of which one.
fn told(effective_from: Day, shares: &BTreeMap<String, BasisPoints>) -> serde_json::Value {
    let unallocated = BasisPoints::left_by(shares.values().copied());
    let mut told: BTreeMap<_, _> =
        shares.iter().map(|(code, points)| (code.as_str(), format!("{points} %"))).collect();
    // No code is spelled with small letters.
    told.insert("unallocated", format!("{unallocated} %"));
    json!({ (effective_from.to_string()): told })
}

/// Refuses what would go to cost centers that receive nothing on the plan's day, and
/// returns the codes of the others.
async fn check_receive(
    work: &mut Work,
    plan: &Plan,
) -> Result<BTreeMap<CostCenterId, String>, SplitError> {
    let organization = work.organization;
    let ids: Vec<_> = plan.shares.keys().map(|it| it.uuid()).collect();
    let centers = store::validities(work, organization, &ids).await?;
    let mut problems = Problems::none();
    for center in &centers {
        if let Some(reason) = center.validity.refusal(plan.effective_from) {
            problems.add("shares", format!("{} {reason}", center.code));
        }
    }
    if centers.len() < ids.len() {
        problems.add("shares", SplitError::NotACostCenter);
    }
    problems.check()?;
    Ok(centers.into_iter().map(|it| (it.id, it.code)).collect())
}

#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    #[error("choose a cost center of the organization")]
    NotACostCenter,
    #[error("each cost center has one share: add up what goes to the same one")]
    Twice,
    #[error("a share of nothing is no share: leave the cost center out")]
    Nothing,
    #[error("a split has at most {MOST_SHARES} shares")]
    TooMany,
    #[error("the shares add up to {}, more than the whole", said(.0))]
    MoreThanTheWhole(Option<BasisPoints>),
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error(transparent)]
    BadDay(#[from] BadDay),
    #[error("the split is in force already: replace it, or plan another one")]
    InForce,
    #[error("that day is in a month that is closed and invoiced: choose a later one")]
    Closed,
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("the store of splits failed")]
    Store(#[from] sqlx::Error),
}

fn said(sum: &Option<BasisPoints>) -> String {
    sum.map_or_else(|| "over 100 %".to_owned(), |it| format!("{it} %"))
}

impl Classified for SplitError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotACostCenter
            | Self::Twice
            | Self::Nothing
            | Self::TooMany
            | Self::MoreThanTheWhole(_)
            | Self::BadDay(_)
            | Self::Closed
            | Self::Refused(_) => Kind::Invalid,
            Self::InForce => Kind::Conflict,
            Self::Project(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Project(error) => error.code(),
            Self::NotACostCenter
            | Self::Twice
            | Self::Nothing
            | Self::TooMany
            | Self::MoreThanTheWhole(_)
            | Self::BadDay(_)
            | Self::Refused(_)
            | Self::InForce
            | Self::Closed
            | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::NotACostCenter
            | Self::Twice
            | Self::Nothing
            | Self::TooMany
            | Self::MoreThanTheWhole(_) => {
                vec![Problem { field: "shares", message: self.to_string() }]
            }
            Self::Refused(problems) => problems.list().to_vec(),
            Self::BadDay(_) | Self::Closed => {
                vec![Problem { field: "effective_from", message: self.to_string() }]
            }
            Self::InForce | Self::Project(_) | Self::Store(_) => Vec::new(),
        }
    }
}
