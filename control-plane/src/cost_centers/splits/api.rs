//! Splits in the management API.

use actix_web::{http::Method, web::Path};
use serde::Deserialize;
use shared::ids::CostCenterId;
use utoipa::{IntoParams, ToSchema};

use super::{BasisPoints, Day, Plan, SplitError, Splits};
use crate::{
    access::{Doors, Grant, may},
    projects::{self, project_in},
    web::{Deleted, Failure, Input, Json, Search},
};

pub fn doors(doors: &mut Doors) {
    doors.api(
        Method::GET,
        "/api/v1/orgs/{org}/projects/{project}/split",
        "Show a project's split, and those planned",
        show,
    );
    doors.api(
        Method::PUT,
        "/api/v1/orgs/{org}/projects/{project}/split",
        "Replace a project's split from a day on",
        replace,
    );
    doors.api(
        Method::DELETE,
        "/api/v1/orgs/{org}/projects/{project}/split/{day}",
        "Take back a planned split",
        withdraw,
    );
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct SplitSearch {
    /// The day to look at: today if left out.
    #[param(value_type = Option<String>)]
    on: Option<Day>,
}

/// The whole split: cost centers left out receive nothing from that day on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSplit {
    effective_from: Day,
    shares: Vec<NewShare>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewShare {
    cost_center: CostCenterId,
    /// Of the project's costs; 10000 are all of them.
    basis_points: BasisPoints,
}

async fn show(
    grant: Grant<may::ViewCostCenters>,
    path: Path<(String, String)>,
    search: Search<SplitSearch>,
) -> Result<Json<Splits>, Failure> {
    let on = search.on.unwrap_or_else(|| Day::today(&grant));
    let mut work = grant.begin().await?;
    let project = projects::find(&mut work, project_in(&path.1)?).await?;
    Ok(Json(super::of(&mut work, project.id, on).await?))
}

async fn replace(
    grant: Grant<may::ManageCostCenters>,
    path: Path<(String, String)>,
    input: Input<NewSplit>,
) -> Result<Json<Splits>, Failure> {
    let project = project_in(&path.1)?;
    let shares: Vec<_> = input.shares.iter().map(|it| (it.cost_center, it.basis_points)).collect();
    let plan = Plan::new(input.effective_from, &shares)?;
    let mut work = grant.begin().await?;
    super::replace(&mut work, project, &plan).await?;
    let splits = super::of(&mut work, project, input.effective_from).await?;
    work.commit().await?;
    Ok(Json(splits))
}

async fn withdraw(
    grant: Grant<may::ManageCostCenters>,
    path: Path<(String, String, String)>,
) -> Result<Deleted, Failure> {
    let project = project_in(&path.1)?;
    let day = path.2.parse().map_err(SplitError::BadDay)?;
    let mut work = grant.begin().await?;
    super::withdraw(&mut work, project, day, Day::today(&grant)).await?;
    work.commit().await?;
    Ok(Deleted)
}
