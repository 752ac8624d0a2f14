//! The catalogue in the management API.

use actix_web::http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use super::ModelQuery;
use crate::{
    access::{Doors, Grant, may},
    upstreams::CatalogueModel,
    web::{Failure, Json, Search},
};

pub fn doors(doors: &mut Doors) {
    doors.api(Method::GET, "/api/v1/orgs/{org}/models", "List models", list);
}

#[derive(Serialize, ToSchema)]
struct Models {
    data: Vec<CatalogueModel>,
}

async fn list(
    grant: Grant<may::ViewCatalogue>,
    query: Search<ModelQuery>,
) -> Result<Json<Models>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(Models { data: super::list(&mut work, &query).await? }))
}
