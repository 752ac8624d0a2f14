//! The audit log in the management API.

use actix_web::http::Method;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    log::{AuditEntry, Filter},
    store,
};
use crate::{
    access::{Doors, Grant, may},
    web::{Failure, Json, Problems, Search},
};

pub fn doors(doors: &mut Doors) {
    doors.api(Method::GET, "/api/v1/orgs/{org}/audit", "Read the audit log, oldest first", list);
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct AuditSearch {
    /// Entries after this one. Begin with 0, go on with `next`.
    #[serde(default)]
    #[param(minimum = 0, default = 0)]
    after: i64,
    #[serde(default = "usual")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: i64,
    /// Entries of this action alone, like `team.created`.
    #[serde(default)]
    action: String,
    /// Entries of one actor: an id, or how the name begins.
    #[serde(default)]
    actor: String,
}

const fn usual() -> i64 {
    50
}

#[derive(Serialize, ToSchema)]
struct AuditEntries {
    data: Vec<AuditEntry>,
    /// To send as `after` for what follows; none where nothing does yet.
    next: Option<i64>,
}

async fn list(
    grant: Grant<may::ViewAudit>,
    search: Search<AuditSearch>,
) -> Result<Json<AuditEntries>, Failure> {
    if !(1..=200).contains(&search.limit) {
        return Err(Problems::one("limit", "a page has 1 to 200 entries").into());
    }
    let filter = Filter::new(&search.action, &search.actor);
    let mut work = grant.begin().await?;
    let organization = work.organization;
    let mut links =
        store::after(&mut work, organization, &filter, search.after, search.limit + 1).await?;
    let has_more = links.len() as i64 > search.limit;
    if has_more {
        links.pop();
    }
    let next = links.last().map(|it| it.seq).filter(|_| has_more);
    Ok(Json(AuditEntries { data: links.into_iter().map(AuditEntry::from).collect(), next }))
}
