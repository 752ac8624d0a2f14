//! Cost centers in the management API.

use actix_web::{http::Method, web::Path};
use serde::{Deserialize, Serialize};
use shared::ids::{CostCenterId, PersonId};
use utoipa::ToSchema;

use super::{CostCenter, CostCenterError, Day, Draft, archive, center_in, restore};
use crate::{
    access::{Doors, Grant, may},
    web::{After, Created, Failure, Input, Json, Problems, Search, Span, given},
};

pub fn doors(doors: &mut Doors) {
    doors.api(Method::GET, "/api/v1/orgs/{org}/cost-centers", "List cost centers", list);
    doors.api(Method::POST, "/api/v1/orgs/{org}/cost-centers", "Create a cost center", create);
    doors.api(Method::GET, "/api/v1/orgs/{org}/cost-centers/{center}", "Show a cost center", show);
    doors.api(
        Method::PATCH,
        "/api/v1/orgs/{org}/cost-centers/{center}",
        "Change or archive a cost center",
        change,
    );
}

#[derive(Serialize, ToSchema)]
struct CostCenters {
    data: Vec<CostCenter>,
    /// What to give as `after` for the next page; null on the last.
    next: Option<CostCenterId>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCostCenter {
    /// Finance's own code, like `ENG-100`.
    code: String,
    name: String,
    owner: Option<PersonId>,
    /// Today if left out.
    valid_from: Option<Day>,
    /// The first day on which it no longer receives costs.
    valid_until: Option<Day>,
}

/// What is left out stays as it is; `null` empties.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CostCenterChange {
    code: Option<String>,
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<PersonId>)]
    owner: Option<Option<PersonId>>,
    valid_from: Option<Day>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Day>)]
    valid_until: Option<Option<Day>>,
    archived: Option<bool>,
}

impl CostCenterChange {
    fn applied_to(&self, center: CostCenter) -> Result<Draft, CostCenterError> {
        let mut problems = Problems::none();
        let mut draft = Draft::from(center);
        if let Some(code) = &self.code {
            draft.code = problems.take("code", code.parse()).unwrap_or(draft.code);
        }
        if let Some(name) = &self.name {
            draft.name = problems.take("name", name.parse()).unwrap_or(draft.name);
        }
        draft.owner = self.owner.unwrap_or(draft.owner);
        draft.valid_from = self.valid_from.unwrap_or(draft.valid_from);
        draft.valid_until = self.valid_until.unwrap_or(draft.valid_until);
        problems.check()?;
        Ok(draft)
    }
}

async fn list(
    grant: Grant<may::ViewCostCenters>,
    query: Search<After<CostCenterId>>,
) -> Result<Json<CostCenters>, Failure> {
    let mut work = grant.begin().await?;
    let part = super::list(&mut work, Day::today(&grant), Span::long(query.after)).await?;
    Ok(Json(CostCenters { data: part.items, next: part.next }))
}

async fn create(
    grant: Grant<may::ManageCostCenters>,
    input: Input<NewCostCenter>,
) -> Result<Created<CostCenter>, Failure> {
    let today = Day::today(&grant);
    let draft = parse(&input, today)?;
    let mut work = grant.begin().await?;
    let center = super::create(&mut work, &draft).await?;
    let center = super::find(&mut work, center, today).await?;
    work.commit().await?;
    Ok(Created(center))
}

async fn show(
    grant: Grant<may::ViewCostCenters>,
    path: Path<(String, String)>,
) -> Result<Json<CostCenter>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(super::find(&mut work, center_in(&path.1)?, Day::today(&grant)).await?))
}

async fn change(
    grant: Grant<may::ManageCostCenters>,
    path: Path<(String, String)>,
    input: Input<CostCenterChange>,
) -> Result<Json<CostCenter>, Failure> {
    let (center, today) = (center_in(&path.1)?, Day::today(&grant));
    let mut work = grant.begin().await?;
    if input.archived == Some(false) {
        restore(&mut work, center).await?;
    }
    let before = super::find(&mut work, center, today).await?;
    let draft = input.applied_to(before.clone())?;
    if draft != Draft::from(before) {
        super::change(&mut work, center, &draft).await?;
    }
    if input.archived == Some(true) {
        archive(&mut work, center).await?;
    }
    let center = super::find(&mut work, center, today).await?;
    work.commit().await?;
    Ok(Json(center))
}

fn parse(input: &NewCostCenter, today: Day) -> Result<Draft, CostCenterError> {
    let mut problems = Problems::none();
    let code = problems.take("code", input.code.parse());
    let name = problems.take("name", input.name.parse());
    problems.check()?;
    let (code, name) = code.zip(name).ok_or(problems)?;
    let valid_from = input.valid_from.unwrap_or(today);
    Ok(Draft { code, name, owner: input.owner, valid_from, valid_until: input.valid_until })
}
