//! What calls of dead proxies hold of budgets: it stays held until they are settled.

use std::{collections::HashMap, time::Duration};

use askama::Template;
use serde::Serialize;
use shared::{
    counters::{Hold, Shard},
    ids::{BudgetId, OrganizationId, RequestId},
    money::Money,
};
use time::OffsetDateTime;
use tokio::time::timeout;
use tracing::warn;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{in_force, live::Away};
use crate::{
    access::{Doors, Grant, may},
    platform::Platform,
    upstreams::words::grouped,
    web::{Failure, Frame, Json, Moment, Page, Section},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/budgets/holds", show);
    doors.api(
        actix_web::http::Method::GET,
        "/api/v1/orgs/{org}/holds",
        "List what calls of dead proxies hold of budgets",
        list,
    );
}

/// All that the dead hold in a shard is looked at, for others' stands between.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many are shown.
const SHOWN: usize = 200;

/// What a call of a dead proxy holds of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = UnresolvedHold)]
pub struct Unresolved {
    pub request: RequestId,
    pub budget: BudgetId,
    /// In US dollars.
    pub usd: String,
    pub requests: i64,
    pub tokens: i64,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub since: OffsetDateTime,
}

#[derive(Serialize, ToSchema)]
struct Holds {
    /// The first two hundred.
    data: Vec<Unresolved>,
}

#[derive(Template)]
#[template(path = "budgets/holds.html")]
struct HoldsPage {
    frame: Frame,
    holds: Vec<Line>,
    has_more: bool,
    is_away: bool,
}

struct Line {
    request: RequestId,
    budget: BudgetId,
    budget_name: String,
    money: String,
    requests: String,
    tokens: String,
    since: Moment,
}

/// Of those of the organization's budgets that are named.
pub async fn unresolved(
    platform: &Platform,
    organization: OrganizationId,
    budgets: &HashMap<BudgetId, String>,
) -> Result<Vec<Unresolved>, Away> {
    match timeout(PATIENCE, look(platform, organization, budgets)).await {
        Ok(Ok(mut all)) => {
            all.sort_by_key(|it| it.since);
            all.truncate(SHOWN + 1);
            Ok(all)
        }
        Ok(Err(error)) => {
            warn!(%error, "could not look at unresolved holds");
            Err(Away)
        }
        Err(_) => Err(Away),
    }
}

/// Among the holds of the dead in the organization's shard those of its budgets. More than are
/// shown are not looked for.
async fn look(
    platform: &Platform,
    organization: OrganizationId,
    budgets: &HashMap<BudgetId, String>,
) -> Result<Vec<Unresolved>, super::terms::TermsError> {
    let place = platform.counters.places.dead_holds(Shard::of(organization));
    let mut redis = platform.redis.get().await?;
    let (mut cursor, mut ours) = (0_u64, Vec::new());
    loop {
        let mut ask = redis::cmd("HSCAN");
        ask.arg(&place).arg(cursor).arg("COUNT").arg(1_000);
        let (next, some): (u64, Vec<(String, Vec<u8>)>) = ask.query_async(&mut redis).await?;
        let all = some.iter().flat_map(|(call, held)| read(call, held));
        ours.extend(all.filter(|it| budgets.contains_key(&it.budget)));
        cursor = next;
        if cursor == 0 || ours.len() > SHOWN {
            return Ok(ours);
        }
    }
}

/// An epoch and a call, and since when it holds what of which budgets.
fn read(call: &str, held: &[u8]) -> Vec<Unresolved> {
    let request = call.split_once(' ').and_then(|it| Uuid::try_parse(it.1).ok());
    let since = Hold::dead_since(held)
        .and_then(|it| OffsetDateTime::from_unix_timestamp_nanos(i128::from(it) * 1_000_000).ok());
    let Some((request, since)) = request.zip(since) else { return Vec::new() };
    let one = |it: Hold| Unresolved {
        request: RequestId::from_uuid(request),
        budget: it.budget,
        usd: Money::from_nanos(it.amounts.money).exact(),
        requests: it.amounts.requests,
        tokens: it.amounts.tokens,
        since,
    };
    Hold::read_all(held).into_iter().map(one).collect()
}

async fn show(grant: Grant<may::ViewBudgets>) -> Result<Page<HoldsPage>, Failure> {
    let names = names(&grant).await?;
    let found = unresolved(&grant.platform, grant.organization(), &names).await;
    let is_away = found.is_err();
    let mut found = found.unwrap_or_default();
    let has_more = found.len() > SHOWN;
    found.truncate(SHOWN);
    let line = |it: Unresolved| Line {
        budget_name: names.get(&it.budget).cloned().unwrap_or_default(),
        money: it.usd.parse::<Money>().map_or_else(|_| it.usd.clone(), |money| money.to_string()),
        requests: grouped(&it.requests),
        tokens: grouped(&it.tokens),
        since: Moment::new(it.since, grant.zone()),
        request: it.request,
        budget: it.budget,
    };
    let holds = found.into_iter().map(line).collect();
    Ok(Page(HoldsPage { frame: grant.frame(Section::Budgets), holds, has_more, is_away }))
}

async fn names<P>(grant: &Grant<P>) -> Result<HashMap<BudgetId, String>, Failure> {
    let mut work = grant.begin().await?;
    let budgets = in_force(&mut work).await?;
    Ok(budgets.into_iter().map(|it| (it.id, it.name)).collect())
}

async fn list(grant: Grant<may::ViewBudgets>) -> Result<Json<Holds>, Failure> {
    let names = names(&grant).await?;
    let mut data = unresolved(&grant.platform, grant.organization(), &names).await?;
    data.truncate(SHOWN);
    Ok(Json(Holds { data }))
}

#[cfg(test)]
mod tests {
    use shared::counters::packed;

    use super::*;

    #[test]
    fn a_hold_of_the_dead_is_read_as_the_sweeper_wrote_it() {
        let (request, budget) = (Uuid::now_v7(), Uuid::now_v7());
        let call = format!("00000000000000ff {}", request.simple());
        let (since, piece) = (packed([1_793_487_600_000]), budget.simple().to_string());
        let amounts = packed([1_793_487_600_000, 1_500_000_000, 1, 900]);
        let held = [since, piece.into_bytes(), amounts].concat();
        let all = read(&call, &held);
        let [hold] = &all[..] else { panic!("{all:?}") };
        assert_eq!(hold.request, RequestId::from_uuid(request));
        assert_eq!((hold.usd.as_str(), hold.requests, hold.tokens), ("1.500000000", 1, 900));
        assert_eq!(hold.since.unix_timestamp(), 1_793_487_600);
        assert!(read("nonsense", &held).is_empty());
    }
}
