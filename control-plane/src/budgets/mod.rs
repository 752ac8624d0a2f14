//! Budgets: how much a scope may spend in each window of a period, in money, requests and
//! tokens.
//!
//! What is spent is counted in Redis, by proxies; here is what people decide, and what they
//! see of the counting. Caps bind on the next call after the answer that changed them: they
//! are put into Redis after the commit, and a job puts them there again where they are
//! missing. Scope, period and time zone never change, for what was counted would then have
//! been of something else. A budget is archived, never deleted, and every change of one is a
//! version that stays.

mod api;
pub mod caps;
mod form;
pub mod holds;
pub mod live;
pub mod preview;
mod published;
pub mod scope;
mod spent;
mod store;
pub mod terms;
#[cfg(test)]
pub(crate) mod tests;
pub mod web;

use std::collections::HashMap;

use serde::Serialize;
use serde_json::json;
use shared::{
    failure::{Classified, Code, Kind, Problem, code},
    ids::BudgetId,
    money::{Money, Period, Zone},
    snapshot::{BudgetScope, Caps, OnRedisLoss, OnTight, Thresholds},
};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use self::{caps::SaidCaps, live::SaidAmounts};
pub use self::{published::published, spent::hours};
use crate::{
    access::{Doors, Grant, Role, Work},
    audit::{self, Entry},
    names::{RULE, name},
    web::{Part, Problems, Span},
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    form::doors(doors);
    holds::doors(doors);
    api::doors(doors);
}

name!(
    /// What people call a budget. Refusals do too.
    BudgetName, BudgetError::BadName
);

/// Who may change budgets, as a refused caller is told.
pub const RAISED_BY: &str = "an owner, admin or billing member";

/// More than anybody has in force.
const MOST: i64 = 1_000;
/// For how long caps may be raised at most.
const LONGEST_RAISE: Duration = Duration::days(366);
/// How long a reason may be.
const LONGEST_REASON: usize = 200;

#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    pub id: BudgetId,
    pub name: String,
    pub scope: BudgetScope,
    /// What its scope is called.
    pub scope_name: String,
    pub period: Period,
    pub zone: Zone,
    pub terms: Terms,
    pub raise: Option<Raised>,
    pub version: i64,
    pub created_at: OffsetDateTime,
    pub archived_at: Option<OffsetDateTime>,
}

impl Budget {
    pub fn is_archived(&self) -> bool {
        self.archived_at.is_some()
    }

    /// The caps in force at a moment.
    pub fn caps_at(&self, now: OffsetDateTime) -> Caps {
        self.raise_at(now).map_or(self.terms.caps, |it| it.caps)
    }

    /// The raise in force at a moment.
    pub fn raise_at(&self, now: OffsetDateTime) -> Option<&Raised> {
        self.raise.as_ref().filter(|it| now < it.until)
    }
}

/// What may be changed of a budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    pub caps: Caps,
    pub is_hard: bool,
    pub thresholds: Thresholds,
    pub on_tight: OnTight,
    pub on_redis_loss: OnRedisLoss,
    /// Who is told when a threshold is passed: of owner, admin and billing.
    pub alert_roles: Vec<Role>,
}

/// Higher caps until a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Raised {
    pub caps: Caps,
    pub until: OffsetDateTime,
    pub reason: String,
    pub by: Option<String>,
}

/// A budget as it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBudget {
    pub name: BudgetName,
    pub scope: BudgetScope,
    pub period: Period,
    pub zone: Zone,
    pub terms: Terms,
}

/// Who can be told of thresholds: who can do something about them.
pub const ALERTED: [Role; 3] = [Role::Owner, Role::Admin, Role::Billing];

impl Terms {
    /// Refuses what caps nothing, or what Redis could not count exactly.
    pub fn checked(self) -> Result<Self, Problems> {
        let mut problems = Problems::none();
        let Caps { money, requests, tokens } = self.caps;
        for (field, cap) in
            [("usd", money.map(|it| it.nanos())), ("requests", requests), ("tokens", tokens)]
        {
            if cap.is_some_and(|it| !(0..=Caps::CEILING).contains(&it)) {
                problems.add(field, format!("a cap is at most {}", caps::most(field)));
            }
        }
        if self.caps == Caps::default() {
            problems.add("usd", "cap something: money, requests or tokens");
        }
        if let OnRedisLoss::Bounded { allowance } = self.on_redis_loss
            && !(0..=Caps::CEILING).contains(&allowance.nanos())
        {
            problems.add("allowance", format!("an allowance is at most {}", caps::most("usd")));
        }
        // It is in dollars, and each proxy's own while nobody counts.
        if self.is_hard
            && matches!(self.on_redis_loss, OnRedisLoss::Bounded { .. })
            && (requests.is_some() || tokens.is_some())
        {
            problems.add(
                "allowance",
                "an allowance bounds dollars alone: cap neither requests nor tokens, or leave it out",
            );
        }
        if self.alert_roles.iter().any(|it| !ALERTED.contains(it)) {
            problems.add("alert_roles", "owners, admins and billing members can be told");
        }
        problems.check()?;
        let mut alert_roles = self.alert_roles;
        alert_roles.sort_by_key(|it| ALERTED.iter().position(|known| known == it));
        alert_roles.dedup();
        Ok(Self { alert_roles, ..self })
    }

    /// As the audit log and the history tell them.
    fn told(&self) -> serde_json::Value {
        let loss = match self.on_redis_loss {
            OnRedisLoss::Closed => "closed".to_owned(),
            OnRedisLoss::Bounded { allowance } => format!("bounded, {} USD", allowance.exact()),
        };
        json!({
            "caps": SaidCaps::from(self.caps), "hard": self.is_hard,
            "thresholds": self.thresholds, "on_tight": self.on_tight, "on_redis_loss": loss,
            "alert_roles": self.alert_roles,
        })
    }
}

impl Raised {
    fn told(&self) -> serde_json::Value {
        let until = self.until.format(&time::format_description::well_known::Rfc3339);
        json!({
            "raised_to": SaidCaps::from(self.caps), "until": until.unwrap_or_default(),
            "reason": self.reason,
        })
    }
}

/// One change of a budget.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BudgetVersion)]
pub struct Version {
    pub version: i64,
    /// `created`, `changed`, `raised`, `raise_ended` or `archived`.
    pub change: String,
    /// What holds from then on.
    pub terms: serde_json::Value,
    /// Why, where somebody had to say so.
    pub note: String,
    pub created_by: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
}

/// Budgets by name, the archived ones last.
pub async fn list(
    work: &mut Work,
    span: Span<BudgetId>,
) -> Result<Part<Budget, BudgetId>, BudgetError> {
    let organization = work.organization;
    Ok(span.part(store::list(work, organization, span).await?, |it| it.id))
}

pub async fn find(work: &mut Work, budget: BudgetId) -> Result<Budget, BudgetError> {
    let organization = work.organization;
    store::find(work, organization, budget).await?.ok_or(BudgetError::NotFound)
}

/// What budgets are called, as far as there are such.
pub async fn names_of(
    work: &mut Work,
    budgets: impl IntoIterator<Item = BudgetId>,
) -> Result<HashMap<BudgetId, String>, BudgetError> {
    let organization = work.organization;
    let ids: Vec<Uuid> = budgets.into_iter().map(|it| it.uuid()).collect();
    Ok(store::names_of(work, organization, &ids).await?)
}

/// The budgets on one scope that are in force, by name.
pub async fn on(work: &mut Work, scope: BudgetScope) -> Result<Vec<Budget>, BudgetError> {
    let organization = work.organization;
    Ok(store::on(work, organization, scope).await?)
}

/// Every budget in force, by name.
pub async fn in_force(work: &mut Work) -> Result<Vec<Budget>, BudgetError> {
    let organization = work.organization;
    Ok(store::in_force(work, organization).await?)
}

/// The latest first.
pub async fn history(work: &mut Work, budget: BudgetId) -> Result<Vec<Version>, BudgetError> {
    let organization = work.organization;
    Ok(store::versions(work, organization, budget).await?)
}

pub async fn create(work: &mut Work, new: &NewBudget) -> Result<BudgetId, BudgetError> {
    let organization = work.organization;
    scope::check(work, new.scope).await?;
    if store::count(work, organization).await? >= MOST {
        return Err(BudgetError::TooMany);
    }
    let budget = BudgetId::generate();
    store::insert(work, organization, budget, new).await?;
    let told = json!({
        "scope": new.scope, "period": new.period, "time_zone": new.zone, "terms": new.terms.told(),
    });
    note(work, budget, 1, "created", &told, "").await?;
    audit::record(work, Entry::new("budget.created", budget, &new.name).after(told)).await?;
    Ok(budget)
}

/// Changes its name and terms. A raise stays where it still is one.
pub async fn change(
    work: &mut Work,
    budget: BudgetId,
    name: &BudgetName,
    terms: &Terms,
) -> Result<(), BudgetError> {
    let before = find_to_change(work, budget).await?;
    if before.terms == *terms && before.name == name.as_str() {
        return Ok(());
    }
    let organization = work.organization;
    let raise = before.raise.as_ref().filter(|it| caps::are_higher(terms.caps, it.caps));
    store::update(work, organization, budget, name, terms, raise.is_some()).await?;
    let told = terms.told();
    note(work, budget, before.version + 1, "changed", &told, "").await?;
    let was = json!({ "name": before.name, "terms": before.terms.told() });
    let is = json!({ "name": name, "terms": told });
    let entry = Entry::new("budget.changed", budget, name).before(was).after(is);
    audit::record(work, entry).await?;
    Ok(())
}

/// Raises its caps for a while. Another raise takes the place of the one before.
pub async fn raise(
    work: &mut Work,
    budget: BudgetId,
    caps: Caps,
    until: OffsetDateTime,
    reason: &str,
) -> Result<(), BudgetError> {
    let before = find_to_change(work, budget).await?;
    let (reason, now) = (reason.trim(), OffsetDateTime::now_utc());
    let mut problems = Problems::none();
    if !caps::are_higher(before.terms.caps, caps) {
        problems.add(caps::field(caps), "a raise is above a cap, and below none of them");
    }
    if caps::is_beyond(caps) {
        problems.add(caps::field(caps), format!("a cap is at most {}", caps::most("usd")));
    }
    if until <= now || until > now + LONGEST_RAISE {
        problems.add("until", "a raise ends within a year from now");
    }
    let is_said = (1..=LONGEST_REASON).contains(&reason.chars().count())
        && !reason.chars().any(char::is_control);
    if !is_said {
        problems.add("reason", "say why, in at most 200 characters");
    }
    problems.check()?;
    let organization = work.organization;
    let by = work.actor.person();
    let raised = Raised { caps, until, reason: reason.to_owned(), by: None };
    store::set_raise(work, organization, budget, Some((&raised, by))).await?;
    note(work, budget, before.version + 1, "raised", &raised.told(), reason).await?;
    let entry = Entry::new("budget.raised", budget, &before.name);
    let was = json!({ "caps": SaidCaps::from(before.terms.caps) });
    audit::record(work, entry.before(was).after(raised.told())).await?;
    Ok(())
}

/// Ends a raise before its time.
pub async fn end_raise(work: &mut Work, budget: BudgetId) -> Result<(), BudgetError> {
    let before = find_to_change(work, budget).await?;
    let Some(raise) = &before.raise else { return Ok(()) };
    let organization = work.organization;
    store::set_raise(work, organization, budget, None).await?;
    note(work, budget, before.version + 1, "raise_ended", &before.terms.told(), "").await?;
    let entry = Entry::new("budget.raise_ended", budget, &before.name).before(raise.told());
    audit::record(work, entry).await?;
    Ok(())
}

/// Takes it out of force for good. What it counted is forgotten.
pub async fn archive(work: &mut Work, budget: BudgetId) -> Result<(), BudgetError> {
    let organization = work.organization;
    store::lock(work, organization, budget).await?;
    let before = find(work, budget).await?;
    if before.is_archived() {
        return Ok(());
    }
    if store::prepaid(work, organization).await? == Some(budget) {
        return Err(BudgetError::FollowsCredits);
    }
    store::archive(work, organization, budget).await?;
    let told = before.terms.told();
    note(work, budget, before.version + 1, "archived", &told, "").await?;
    audit::record(work, Entry::new("budget.archived", budget, before.name).before(told)).await?;
    Ok(())
}

/// Whether its alerts may be tried now, and not only a minute ago.
pub async fn may_be_tried(work: &mut Work, budget: BudgetId) -> Result<bool, BudgetError> {
    let organization = work.organization;
    Ok(store::note_try(work, organization, budget).await?)
}

async fn note(
    work: &mut Work,
    budget: BudgetId,
    version: i64,
    change: &'static str,
    terms: &serde_json::Value,
    why: &str,
) -> Result<(), BudgetError> {
    let (organization, by) = (work.organization, work.actor.person());
    Ok(store::add_version(work, organization, budget, version, (change, terms, why), by).await?)
}

/// Finds one that may be changed, and keeps other writers away from it until `work` ends.
async fn find_to_change(work: &mut Work, budget: BudgetId) -> Result<Budget, BudgetError> {
    let organization = work.organization;
    store::lock(work, organization, budget).await?;
    let found = find(work, budget).await?;
    if store::prepaid(work, organization).await? == Some(budget) {
        return Err(BudgetError::FollowsCredits);
    }
    if found.is_archived() { Err(BudgetError::Archived) } else { Ok(found) }
}

/// What the budget is called that credits are.
const PREPAID: &str = "Prepaid balance";

/// Has a budget of all that is ever spent be as much as credits cover, and no hand change it;
/// none where there is no cap. Says which one has to be told of.
pub async fn follow_credits(
    work: &mut Work,
    cap: Option<Money>,
) -> Result<Option<BudgetId>, BudgetError> {
    let organization = work.organization;
    let kept = store::prepaid(work, organization).await?;
    let Some(cap) = cap else {
        let Some(budget) = kept else { return Ok(None) };
        store::forget_prepaid(work, organization).await?;
        archive(work, budget).await?;
        return Ok(Some(budget));
    };
    let terms = Terms {
        caps: Caps { money: Some(cap), ..Caps::default() },
        is_hard: true,
        thresholds: Thresholds::try_from(vec![80, 95, 100]).unwrap_or_default(),
        on_tight: OnTight::Clamp,
        on_redis_loss: OnRedisLoss::Closed,
        alert_roles: ALERTED.to_vec(),
    };
    let Some(budget) = kept else {
        let name = PREPAID.parse()?;
        let (scope, period) = (BudgetScope::Organization, Period::Total);
        let new = NewBudget { name, scope, period, zone: Zone::UTC, terms };
        let budget = create(work, &new).await?;
        store::keep_prepaid(work, organization, budget).await?;
        return Ok(Some(budget));
    };
    store::lock(work, organization, budget).await?;
    let before = find(work, budget).await?;
    if before.terms.caps == terms.caps {
        return Ok(None);
    }
    let name = BudgetName::kept(before.name);
    store::update(work, organization, budget, &name, &terms, false).await?;
    note(work, budget, before.version + 1, "changed", &terms.told(), "follows credits").await?;
    Ok(Some(budget))
}

/// Ends `work`, and has the caps bind before anybody is answered.
async fn commit<P>(grant: &Grant<P>, work: Work, budget: BudgetId) -> Result<(), sqlx::Error> {
    work.commit().await?;
    terms::tell(&grant.platform, budget).await;
    grant.platform.nudges.snapshot.notify_one();
    Ok(())
}

/// An id that is none of ours is a budget that nobody has.
fn budget_in(text: &str) -> Result<BudgetId, BudgetError> {
    text.parse().map_err(|_| BudgetError::NotFound)
}

#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    #[error("a budget's name {RULE}")]
    BadName,
    #[error("there is already a budget of that name")]
    NameTaken,
    #[error(transparent)]
    Refused(#[from] Problems),
    #[error(
        "choose what the budget is on: the organization, or a team, project, key or cost center of it"
    )]
    NoScope,
    #[error("you have {MOST} budgets, which is the most")]
    TooMany,
    #[error("there is no such budget")]
    NotFound,
    #[error("the budget is archived: create another one")]
    Archived,
    #[error("this budget is as much as credits cover: it changes with them, and not by hand")]
    FollowsCredits,
    #[error("the store of budgets failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for BudgetError {
    fn kind(&self) -> Kind {
        match self {
            Self::BadName | Self::Refused(_) | Self::NoScope => Kind::Invalid,
            Self::NameTaken | Self::TooMany | Self::Archived | Self::FollowsCredits => {
                Kind::Conflict
            }
            Self::NotFound => Kind::NotFound,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NameTaken => code::NAME_TAKEN,
            Self::Archived => code::ARCHIVED,
            Self::BadName
            | Self::Refused(_)
            | Self::NoScope
            | Self::TooMany
            | Self::NotFound
            | Self::FollowsCredits
            | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::Refused(problems) => return problems.list().to_vec(),
            Self::BadName | Self::NameTaken | Self::TooMany => "name",
            Self::NoScope => "scope",
            Self::NotFound | Self::Archived | Self::FollowsCredits | Self::Store(_) => {
                return Vec::new();
            }
        };
        vec![Problem { field, message: self.to_string() }]
    }
}
