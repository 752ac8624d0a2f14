//! Budgets in the management API.

use actix_web::{http::Method, web::Path};
use serde::{Deserialize, Serialize};
use shared::{
    ids::BudgetId,
    money::{BadZone, Money, Period, Zone},
    snapshot::{BudgetScope, Caps, OnRedisLoss, OnTight, Thresholds},
};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::{
    ALERTED, Budget, BudgetName, NewBudget, SaidCaps, Terms, Version, archive, budget_in, change,
    commit, create, end_raise, find, history,
    live::{SaidUsage, usage},
    preview::{Question, SaidPreview, look_back},
    raise,
};
use crate::{
    access::{Doors, Grant, Role, may},
    web::{After, Created, Failure, Input, Json, Problems, Search, Span, given},
};

pub fn doors(doors: &mut Doors) {
    let all = "/api/v1/orgs/{org}/budgets";
    let one = "/api/v1/orgs/{org}/budgets/{budget}";
    let raise = "/api/v1/orgs/{org}/budgets/{budget}/raise";
    doors.api(Method::GET, all, "List budgets", list);
    doors.api(Method::POST, all, "Create a budget", post);
    doors.api(
        Method::POST,
        "/api/v1/orgs/{org}/budgets/preview",
        "Look back at what caps would have refused since last month began",
        preview,
    );
    doors.api(Method::GET, one, "Show a budget", show);
    doors.api(Method::PATCH, one, "Change or archive a budget", patch);
    doors.api(Method::PUT, raise, "Raise a budget's caps for a while", put_raise);
    doors.api(Method::DELETE, raise, "End a raise before its time", delete_raise);
    doors.api(
        Method::GET,
        "/api/v1/orgs/{org}/budgets/{budget}/usage",
        "Show what is spent of a budget now",
        show_usage,
    );
    doors.api(
        Method::GET,
        "/api/v1/orgs/{org}/budgets/{budget}/versions",
        "List the changes of a budget",
        versions,
    );
}

#[derive(Serialize, ToSchema)]
#[schema(as = Budget)]
struct SaidBudget {
    id: BudgetId,
    name: String,
    scope: BudgetScope,
    /// What its scope is called.
    scope_name: String,
    period: Period,
    time_zone: String,
    #[serde(flatten)]
    terms: SaidTerms,
    raise: Option<SaidRaise>,
    /// Grows with every change.
    version: i64,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    archived_at: Option<OffsetDateTime>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = BudgetTerms)]
struct SaidTerms {
    caps: SaidCaps,
    /// Whether calls beyond a cap are refused. If not, people are only told.
    hard: bool,
    /// At which percentages of a cap people are told.
    #[schema(value_type = Vec<u16>)]
    thresholds: Thresholds,
    on_tight: OnTight,
    /// In US dollars, what may pass uncounted while nobody can count. Null: nothing may.
    allowance_usd: Option<String>,
    /// Who is told: of `owner`, `admin` and `billing`.
    alert_roles: Vec<Role>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = BudgetRaise)]
struct SaidRaise {
    caps: SaidCaps,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    until: OffsetDateTime,
    reason: String,
    by: Option<String>,
}

impl From<Budget> for SaidBudget {
    fn from(it: Budget) -> Self {
        let allowance_usd = match it.terms.on_redis_loss {
            OnRedisLoss::Closed => None,
            OnRedisLoss::Bounded { allowance } => Some(allowance.exact()),
        };
        let raise = it.raise.map(|it| SaidRaise {
            caps: it.caps.into(),
            until: it.until,
            reason: it.reason,
            by: it.by,
        });
        Self {
            id: it.id,
            name: it.name,
            scope: it.scope,
            scope_name: it.scope_name,
            period: it.period,
            time_zone: it.zone.to_string(),
            terms: SaidTerms {
                caps: it.terms.caps.into(),
                hard: it.terms.is_hard,
                thresholds: it.terms.thresholds,
                on_tight: it.terms.on_tight,
                allowance_usd,
                alert_roles: it.terms.alert_roles,
            },
            raise,
            version: it.version,
            created_at: it.created_at,
            archived_at: it.archived_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct Budgets {
    data: Vec<SaidBudget>,
    /// What to give as `after` for the next page; null on the last.
    next: Option<BudgetId>,
}

#[derive(Serialize, ToSchema)]
struct BudgetVersions {
    /// The latest first.
    data: Vec<Version>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBudget)]
struct NewBudgetBody {
    name: String,
    scope: BudgetScope,
    period: Period,
    /// A name of the IANA database. The organization's when left out.
    time_zone: Option<String>,
    caps: SaidCaps,
    /// Hard when left out.
    hard: Option<bool>,
    /// 80 and 100 when left out.
    thresholds: Option<Vec<u16>>,
    /// `clamp` when left out.
    on_tight: Option<OnTight>,
    allowance_usd: Option<String>,
    /// All of them when left out.
    alert_roles: Option<Vec<Role>>,
}

/// What is left out stays as it is. An archived budget stays so.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct BudgetChange {
    name: Option<String>,
    caps: Option<SaidCaps>,
    hard: Option<bool>,
    thresholds: Option<Vec<u16>>,
    on_tight: Option<OnTight>,
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    allowance_usd: Option<Option<String>>,
    alert_roles: Option<Vec<Role>>,
    archived: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRaise {
    /// What they are until then. A kind that has a cap and is left out has none meanwhile.
    caps: SaidCaps,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    until: OffsetDateTime,
    reason: String,
}

/// A budget that there is not, or not with these caps.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Supposed {
    scope: BudgetScope,
    period: Period,
    /// A name of the IANA database. The organization's when left out.
    time_zone: Option<String>,
    caps: SaidCaps,
}

/// What is said of terms, and the rest as it was.
fn terms(before: Terms, body: &BudgetChange) -> Result<Terms, Problems> {
    let mut problems = Problems::none();
    let caps = match &body.caps {
        None => before.caps,
        Some(caps) => match caps.read() {
            Ok(caps) => caps,
            Err(more) => {
                more.list().iter().for_each(|it| problems.add(it.field, &it.message));
                Caps::default()
            }
        },
    };
    let thresholds = body.thresholds.clone().map(Thresholds::try_from).transpose();
    let thresholds = problems.take("thresholds", thresholds).flatten();
    let loss = match &body.allowance_usd {
        None => Some(before.on_redis_loss),
        Some(None) => Some(OnRedisLoss::Closed),
        Some(Some(text)) => problems
            .take("allowance_usd", text.parse::<Money>())
            .map(|allowance| OnRedisLoss::Bounded { allowance }),
    };
    problems.check()?;
    Terms {
        caps,
        is_hard: body.hard.unwrap_or(before.is_hard),
        thresholds: thresholds.unwrap_or(before.thresholds),
        on_tight: body.on_tight.unwrap_or(before.on_tight),
        on_redis_loss: loss.unwrap_or_default(),
        alert_roles: body.alert_roles.clone().unwrap_or(before.alert_roles),
    }
    .checked()
}

async fn list(
    grant: Grant<may::ViewBudgets>,
    query: Search<After<BudgetId>>,
) -> Result<Json<Budgets>, Failure> {
    let mut work = grant.begin().await?;
    let part = super::list(&mut work, Span::long(query.after)).await?;
    let data = part.items.into_iter().map(SaidBudget::from).collect();
    Ok(Json(Budgets { data, next: part.next }))
}

async fn post(
    grant: Grant<may::ManageBudgets>,
    input: Input<NewBudgetBody>,
) -> Result<Created<SaidBudget>, Failure> {
    let body = input.0;
    let usual = Terms {
        caps: Caps::default(),
        is_hard: true,
        thresholds: Thresholds::try_from(vec![80, 100]).unwrap_or_default(),
        on_tight: OnTight::default(),
        on_redis_loss: OnRedisLoss::default(),
        alert_roles: ALERTED.to_vec(),
    };
    let said = BudgetChange {
        caps: Some(body.caps),
        hard: body.hard,
        thresholds: body.thresholds,
        on_tight: body.on_tight,
        allowance_usd: body.allowance_usd.map(Some),
        alert_roles: body.alert_roles,
        ..BudgetChange::default()
    };
    let zone = zone(&grant, body.time_zone.as_deref())?;
    let name: BudgetName = body.name.parse()?;
    let terms = terms(usual, &said)?;
    let new = NewBudget { name, scope: body.scope, period: body.period, zone, terms };
    let mut work = grant.begin().await?;
    let budget = create(&mut work, &new).await?;
    let made = find(&mut work, budget).await?;
    commit(&grant, work, budget).await?;
    Ok(Created(made.into()))
}

/// The one that is named, or the organization's.
fn zone<P>(grant: &Grant<P>, named: Option<&str>) -> Result<Zone, Problems> {
    let name = named.unwrap_or(&grant.membership.time_zone);
    name.parse().map_err(|it: BadZone| Problems::one("time_zone", it))
}

async fn preview(
    grant: Grant<may::ManageBudgets>,
    input: Input<Supposed>,
) -> Result<Json<SaidPreview>, Failure> {
    let question = Question {
        scope: input.scope,
        period: input.period,
        zone: zone(&grant, input.time_zone.as_deref())?,
        caps: input.caps.read()?,
    };
    let mut work = grant.begin().await?;
    let seen = look_back(&mut work, &question, OffsetDateTime::now_utc()).await?;
    Ok(Json(seen.into()))
}

async fn show(
    grant: Grant<may::ViewBudgets>,
    path: Path<(String, String)>,
) -> Result<Json<SaidBudget>, Failure> {
    let mut work = grant.begin().await?;
    Ok(Json(find(&mut work, budget_in(&path.1)?).await?.into()))
}

async fn patch(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
    input: Input<BudgetChange>,
) -> Result<Json<SaidBudget>, Failure> {
    let budget = budget_in(&path.1)?;
    let mut work = grant.begin().await?;
    let before = find(&mut work, budget).await?;
    let name: BudgetName = input.name.as_ref().unwrap_or(&before.name).parse()?;
    let terms = terms(before.terms, &input)?;
    if before.archived_at.is_none() || input.archived != Some(true) {
        change(&mut work, budget, &name, &terms).await?;
    }
    if input.archived == Some(true) {
        archive(&mut work, budget).await?;
    }
    let changed = find(&mut work, budget).await?;
    commit(&grant, work, budget).await?;
    Ok(Json(changed.into()))
}

async fn put_raise(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
    input: Input<NewRaise>,
) -> Result<Json<SaidBudget>, Failure> {
    let budget = budget_in(&path.1)?;
    let caps = input.caps.read()?;
    let mut work = grant.begin().await?;
    raise(&mut work, budget, caps, input.until, &input.reason).await?;
    let raised = find(&mut work, budget).await?;
    commit(&grant, work, budget).await?;
    Ok(Json(raised.into()))
}

async fn delete_raise(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
) -> Result<Json<SaidBudget>, Failure> {
    let budget = budget_in(&path.1)?;
    let mut work = grant.begin().await?;
    end_raise(&mut work, budget).await?;
    let lowered = find(&mut work, budget).await?;
    commit(&grant, work, budget).await?;
    Ok(Json(lowered.into()))
}

async fn show_usage(
    grant: Grant<may::ViewBudgets>,
    path: Path<(String, String)>,
) -> Result<Json<SaidUsage>, Failure> {
    let mut work = grant.begin().await?;
    let budget = find(&mut work, budget_in(&path.1)?).await?;
    drop(work);
    let all = usage(&grant.platform, grant.organization(), std::slice::from_ref(&budget)).await?;
    let said = all.first().map(|it| SaidUsage::of(&budget, it));
    Ok(Json(said.ok_or(super::live::Away)?))
}

async fn versions(
    grant: Grant<may::ViewBudgets>,
    path: Path<(String, String)>,
) -> Result<Json<BudgetVersions>, Failure> {
    let mut work = grant.begin().await?;
    let budget = find(&mut work, budget_in(&path.1)?).await?;
    Ok(Json(BudgetVersions { data: history(&mut work, budget.id).await? }))
}
