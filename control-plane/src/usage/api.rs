//! Usage in the management API.

use actix_web::http::Method;
use serde::Serialize;
use shared::ids::{ApiKeyId, ProjectId, TeamId};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    UsageError,
    query::{Group, Total, UsageSearch},
    store,
};
use crate::{
    access::{Doors, Grant, may},
    web::{Failure, Json, Search},
};

pub fn doors(doors: &mut Doors) {
    let usage = "/api/v1/orgs/{org}/usage";
    doors.api(Method::GET, usage, "Show what was used and what it cost", show);
}

/// How many of what usage is grouped by are told of: the dearest.
const MOST: i64 = 1_000;
/// How many days of those.
const MOST_DAYS: i64 = 20_000;

#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
struct Usage {
    /// The first day and the last, of UTC.
    from: String,
    to: String,
    total: Total,
    /// By what was asked for, the dearest first.
    groups: Vec<UsageGroup>,
    /// The same by the day.
    days: Vec<UsageDay>,
}

#[derive(Serialize, ToSchema)]
struct UsageGroup {
    /// An id or a name; empty for what has none, like calls that nobody answered.
    group: String,
    /// What it is called by now.
    name: Option<String>,
    #[serde(flatten)]
    total: Total,
}

#[derive(Serialize, ToSchema)]
struct UsageDay {
    day: String,
    group: String,
    #[serde(flatten)]
    total: Total,
}

async fn show(
    grant: Grant<may::ViewUsage>,
    search: Search<UsageSearch>,
) -> Result<Json<Usage>, Failure> {
    let query = search.understood(OffsetDateTime::now_utc().date())?;
    let mut work = grant.begin().await?;
    let organization = work.organization;
    let total = store::total(&mut work, organization, &query).await.map_err(UsageError::from)?;
    let slices = store::slices(&mut work, organization, &query, query.group, MOST)
        .await
        .map_err(UsageError::from)?;
    let days = store::by_day(&mut work, organization, &query, None, MOST_DAYS)
        .await
        .map_err(UsageError::from)?;
    let is_id = matches!(query.group, Group::Project | Group::Team | Group::Key);
    let said = |name: String| if is_id { said_id(query.group, &name) } else { name };
    let groups = slices.into_iter().map(|it| UsageGroup {
        group: said(it.name),
        name: it.title,
        total: it.total,
    });
    let days = days.into_iter().map(|it| UsageDay {
        day: it.day.to_string(),
        group: said(it.name.unwrap_or_default()),
        total: it.total,
    });
    Ok(Json(Usage {
        from: query.first.to_string(),
        to: query.last.to_string(),
        total,
        groups: groups.collect(),
        days: days.collect(),
    }))
}

/// An id as everybody else says it, with its prefix.
pub(super) fn said_id(group: Group, text: &str) -> String {
    let id = || text.parse::<Uuid>().ok();
    let said = match group {
        Group::Project => id().map(|it| ProjectId::from_uuid(it).to_string()),
        Group::Team => id().map(|it| TeamId::from_uuid(it).to_string()),
        Group::Key => id().map(|it| ApiKeyId::from_uuid(it).to_string()),
        Group::Model | Group::Provider | Group::Source | Group::Nothing => Some(text.to_owned()),
    };
    said.unwrap_or_default()
}
