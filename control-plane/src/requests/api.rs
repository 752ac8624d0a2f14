//! The request log in the management API.

use actix_web::{http::Method, web::Path};
use serde::Serialize;
use shared::ids::RequestId;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{Request, RequestError, filter::RequestSearch, find};
use crate::{
    access::{Doors, Grant, may},
    web::{Failure, Json, Search, Span},
};

pub fn doors(doors: &mut Doors) {
    let requests = "/api/v1/orgs/{org}/requests";
    doors.api(Method::GET, requests, "List requests, the latest first", list);
    doors.api(Method::GET, "/api/v1/orgs/{org}/requests/{request}", "Show a request", show);
}

#[derive(Serialize, ToSchema)]
#[schema(as = LoggedRequests)]
struct Requests {
    data: Vec<Request>,
    /// To send as `after` for those that began earlier; null on the last page.
    next: Option<RequestId>,
}

async fn list(
    grant: Grant<may::ViewRequests>,
    search: Search<RequestSearch>,
) -> Result<Json<Requests>, Failure> {
    let filter = search.filter(OffsetDateTime::now_utc(), "UTC")?;
    let span = Span::long(search.after()?);
    let mut work = grant.begin().await?;
    let part = super::list(&mut work, &filter, span).await?;
    Ok(Json(Requests { data: part.items, next: part.next }))
}

async fn show(
    grant: Grant<may::ViewRequests>,
    path: Path<(String, String)>,
) -> Result<Json<Request>, Failure> {
    let id = path.1.parse().map_err(|_| RequestError::NotFound)?;
    let mut work = grant.begin().await?;
    Ok(Json(find(&mut work, id).await?))
}
