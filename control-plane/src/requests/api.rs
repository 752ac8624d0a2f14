//! The request log in the management API.

use actix_web::{http::Method, web::Path};
use serde::Serialize;
use shared::ids::RequestId;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{Request, RequestError, filter::RequestSearch, find, store::Slice};
use crate::{
    access::{Doors, Grant, may},
    web::{Failure, Json, Problems, Search},
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
    /// To send as `before` for those that began earlier; null on the last page.
    next: Option<RequestId>,
}

async fn list(
    grant: Grant<may::ViewRequests>,
    search: Search<RequestSearch>,
) -> Result<Json<Requests>, Failure> {
    let most = search.limit.unwrap_or(50);
    if !(1..=200).contains(&most) {
        return Err(Problems::one("limit", "a page has 1 to 200 requests").into());
    }
    let filter = search.filter(OffsetDateTime::now_utc(), "UTC")?;
    let slice = Slice { before: search.before()?, most: most + 1 };
    let mut work = grant.begin().await?;
    let mut data = super::list(&mut work, &filter, slice).await?;
    let has_more = data.len() as i64 > most;
    if has_more {
        data.pop();
    }
    let next = data.last().map(|it| it.event.request).filter(|_| has_more);
    Ok(Json(Requests { data, next }))
}

async fn show(
    grant: Grant<may::ViewRequests>,
    path: Path<(String, String)>,
) -> Result<Json<Request>, Failure> {
    let id = path.1.parse().map_err(|_| RequestError::NotFound)?;
    let mut work = grant.begin().await?;
    Ok(Json(find(&mut work, id).await?))
}
