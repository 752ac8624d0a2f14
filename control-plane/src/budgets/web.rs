//! The pages of budgets.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{
    ids::BudgetId,
    money::Period,
    snapshot::{BudgetScope, Caps, OnRedisLoss, OnTight},
};
use time::OffsetDateTime;

use super::{
    Budget, BudgetError, Version, archive, budget_in,
    caps::words,
    commit, end_raise, find,
    form::{caps_in, percents},
    history,
    live::{self, Bar, Usage, resets_at},
    raise, scope,
};
use crate::{
    access::{Doors, Grant, Permission, Work, may},
    web::{
        After, Failure, Form, Frame, Moment, Nothing, Page, Pager, Problems, Search, Section, Span,
        instant, or_problems, see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/budgets", list);
    doors.get("/orgs/{org}/budgets/{budget}", show);
    doors.post("/orgs/{org}/budgets/{budget}/raise", lift);
    doors.post("/orgs/{org}/budgets/{budget}/raise/end", lower);
    doors.post("/orgs/{org}/budgets/{budget}/archive", put_away);
}

#[derive(Template)]
#[template(path = "budgets/list.html")]
struct BudgetsPage {
    frame: Frame,
    lines: Vec<Line>,
    is_away: bool,
    pager: Pager,
}

#[derive(Template)]
#[template(path = "budgets/show.html")]
struct BudgetPage {
    frame: Frame,
    line: Line,
    is_away: bool,
    may_change: bool,
    loss: String,
    alerted: String,
    thresholds: String,
    raise: RaiseForm,
    until_hint: String,
    versions: Vec<VersionLine>,
    problems: Problems,
}

/// A budget as lists show it.
pub struct Line {
    pub budget: Budget,
    pub place: Option<String>,
    pub scope: &'static str,
    pub period: &'static str,
    pub bars: Vec<Bar>,
    pub resets: Option<Moment>,
    pub raised: Option<(String, Moment)>,
    pub caps: String,
}

impl Line {
    pub fn of(budget: Budget, usage: Option<&Usage>, now: OffsetDateTime, zone: &str) -> Self {
        let raised = budget.raise_at(now);
        let raised = raised.map(|it| (words(it.caps), Moment::new(it.until, zone)));
        let resets = usage.and_then(|it| resets_at(&budget, it));
        Self {
            place: scope::place(budget.scope),
            scope: scope::title(budget.scope),
            period: period_words(budget.period),
            bars: usage.map(|it| Bar::all(&budget, it, now)).unwrap_or_default(),
            resets: resets.map(|it| Moment::new(it, budget.zone.as_str())),
            caps: words(budget.terms.caps),
            raised,
            budget,
        }
    }

    /// Whether calls of dead proxies hold something of it.
    fn has_dead(&self) -> bool {
        self.bars.iter().any(|it| it.dead > 0)
    }

    /// The worst that can be said of it.
    pub fn state(&self) -> (&'static str, &'static str) {
        let most = self.bars.iter().map(Bar::percent).max();
        match most {
            _ if self.budget.is_archived() => ("", "Archived"),
            None => ("", "Not known"),
            Some(100..) => ("bad", "Used up"),
            Some(80..) => ("warn", "Nearly used up"),
            Some(_) if self.bars.iter().any(Bar::is_outrun) => ("warn", "Ahead of pace"),
            Some(_) => ("ok", "Within"),
        }
    }
}

/// A change as the history shows it.
struct VersionLine {
    version: Version,
    at: Moment,
    words: &'static str,
    details: Vec<String>,
}

const fn period_words(period: Period) -> &'static str {
    match period {
        Period::Day => "a day",
        Period::Week => "a week",
        Period::Month => "a month",
        Period::Total => "in all",
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RaiseForm {
    raised_usd: String,
    raised_requests: String,
    raised_tokens: String,
    until: String,
    reason: String,
}

impl RaiseForm {
    /// A kind that has no cap, or is left empty, stays as it is.
    fn caps(&self, before: Caps) -> Result<Caps, Problems> {
        let mut problems = Problems::none();
        let typed = caps_in(
            &mut problems,
            "raised_usd",
            &self.raised_usd,
            &self.raised_requests,
            &self.raised_tokens,
        );
        problems.check()?;
        Ok(Caps {
            money: before.money.map(|it| typed.money.unwrap_or(it)),
            requests: before.requests.map(|it| typed.requests.unwrap_or(it)),
            tokens: before.tokens.map(|it| typed.tokens.unwrap_or(it)),
        })
    }
}

async fn list(
    grant: Grant<may::ViewBudgets>,
    query: Search<After<BudgetId>>,
) -> Result<Page<BudgetsPage>, Failure> {
    let mut work = grant.begin().await?;
    let part = super::list(&mut work, Span::page(query.after)).await?;
    drop(work);
    let pager = Pager::new(&grant.path("/budgets"), query.after, part.next);
    let (lines, is_away) = lines(&grant, part.items).await;
    Ok(Page(BudgetsPage { frame: grant.frame(Section::Budgets), lines, is_away, pager }))
}

/// Budgets with what is spent of them, and whether that could not be told.
pub async fn lines<P>(grant: &Grant<P>, budgets: Vec<Budget>) -> (Vec<Line>, bool) {
    let (now, zone) = (OffsetDateTime::now_utc(), grant.zone());
    let usage = live::usage(&grant.platform, grant.organization(), &budgets).await;
    let is_away = usage.is_err();
    let usage = usage.unwrap_or_default();
    let line = |(place, it): (usize, Budget)| Line::of(it, usage.get(place), now, zone);
    (budgets.into_iter().enumerate().map(line).collect(), is_away)
}

async fn show(
    grant: Grant<may::ViewBudgets>,
    path: Path<(String, String)>,
) -> Result<Page<BudgetPage>, Failure> {
    let budget = budget_in(&path.1)?;
    Ok(Page(page(&grant, budget, None, Problems::none()).await?))
}

async fn page<P>(
    grant: &Grant<P>,
    budget: BudgetId,
    typed: Option<RaiseForm>,
    problems: Problems,
) -> Result<BudgetPage, Failure> {
    let mut work = grant.begin().await?;
    let budget = find(&mut work, budget).await?;
    let versions = history(&mut work, budget.id).await?;
    drop(work);
    let zone = grant.zone().to_owned();
    let (mut lines, is_away) = lines(grant, vec![budget]).await;
    let line = lines.pop().ok_or(BudgetError::NotFound)?;
    let terms = &line.budget.terms;
    let loss = match terms.on_redis_loss {
        OnRedisLoss::Closed => "Calls are refused".to_owned(),
        OnRedisLoss::Bounded { allowance } => format!("Calls pass, up to {allowance} together"),
    };
    let alerted: Vec<_> = terms.alert_roles.iter().map(|it| it.title()).collect();
    Ok(BudgetPage {
        frame: grant.frame(Section::Budgets),
        may_change: grant.may(Permission::ManageBudgets)
            && !line.budget.is_archived()
            && !grant.membership.is_archived,
        loss,
        alerted: if alerted.is_empty() { "Nobody".to_owned() } else { alerted.join(", ") },
        thresholds: percents(&terms.thresholds),
        until_hint: format!("Your time zone is {zone}."),
        raise: typed.unwrap_or_default(),
        versions: versions.into_iter().map(|it| version_line(it, &zone)).collect(),
        line,
        is_away,
        problems,
    })
}

fn version_line(version: Version, zone: &str) -> VersionLine {
    let said = match version.change.as_str() {
        "created" => "Created",
        "changed" => "Changed",
        "raised" => "Raised for a while",
        "raise_ended" => "Raise ended",
        "archived" => "Archived",
        _ => "Changed",
    };
    let terms = version.terms.get("terms").unwrap_or(&version.terms);
    let caps = terms.get("caps").or_else(|| terms.get("raised_to"));
    let caps = caps.and_then(|it| serde_json::from_value::<super::SaidCaps>(it.clone()).ok());
    let caps = caps.and_then(|it| it.read().ok()).map(words);
    let hard = terms.get("hard").and_then(serde_json::Value::as_bool);
    let kind = hard.map(|it| if it { "refuses calls beyond" } else { "only alerts" });
    let until = terms.get("until").and_then(|it| it.as_str()).and_then(|it| instant(it, zone));
    let until = until.map(|it| format!("until {}", Moment::new(it, zone).text()));
    let told: Vec<_> = [caps, kind.map(str::to_owned), until].into_iter().flatten().collect();
    let mut details = vec![told.join(", ")];
    if !version.note.is_empty() {
        details.push(format!("\u{201c}{}\u{201d}", version.note));
    }
    VersionLine { at: Moment::new(version.created_at, zone), words: said, details, version }
}

async fn lift(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
    form: Form<RaiseForm>,
) -> Result<HttpResponse, Failure> {
    let budget = budget_in(&path.1)?;
    let mut work = grant.begin().await?;
    let outcome = lift_to(&mut work, budget, &form, grant.zone()).await;
    match or_problems(outcome)? {
        Ok(()) => {
            commit(&grant, work, budget).await?;
            Ok(back(&grant, budget, "Caps raised: they bind from the next call on"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(&grant, budget, Some(form.0), problems).await?).again())
        }
    }
}

async fn lift_to(
    work: &mut Work,
    budget: BudgetId,
    form: &RaiseForm,
    zone: &str,
) -> Result<(), BudgetError> {
    let before = find(work, budget).await?;
    let caps = form.caps(before.terms.caps)?;
    let until = instant(form.until.trim(), zone);
    let until = until.ok_or_else(|| Problems::one("until", "enter a day and a time"))?;
    raise(work, budget, caps, until, &form.reason).await
}

async fn lower(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let budget = budget_in(&path.1)?;
    let mut work = grant.begin().await?;
    end_raise(&mut work, budget).await?;
    commit(&grant, work, budget).await?;
    Ok(back(&grant, budget, "The raise has ended"))
}

async fn put_away(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let budget = budget_in(&path.1)?;
    let mut work = grant.begin().await?;
    archive(&mut work, budget).await?;
    commit(&grant, work, budget).await?;
    Ok(back(&grant, budget, "Budget archived"))
}

pub(super) fn back<P>(grant: &Grant<P>, budget: BudgetId, notice: &str) -> HttpResponse {
    see_other_saying(&grant.path(&format!("/budgets/{budget}")), notice)
}

/// What a page of something says of the budgets on it.
pub struct BudgetsOf {
    pub lines: Vec<Line>,
    pub is_away: bool,
    /// Where another one is made.
    pub new: String,
}

/// The budgets on something, for its own page; nothing where the reader may not see them.
pub async fn of<P>(grant: &Grant<P>, scope: BudgetScope) -> Result<Option<BudgetsOf>, BudgetError> {
    if !grant.may(Permission::ViewBudgets) {
        return Ok(None);
    }
    let mut work = grant.begin().await?;
    let budgets = super::on(&mut work, scope).await?;
    drop(work);
    let (lines, is_away) = lines(grant, budgets).await;
    let mut query = form_urlencoded::Serializer::new(String::new());
    let query = query.append_pair("scope", &scope::written(scope)).finish();
    Ok(Some(BudgetsOf { lines, is_away, new: grant.path(&format!("/budgets/new?{query}")) }))
}

/// The budgets that are used most, for the first page.
pub async fn tightest<P>(grant: &Grant<P>, most: usize) -> Result<(Vec<Line>, bool), BudgetError> {
    let mut work = grant.begin().await?;
    let budgets = super::in_force(&mut work).await?;
    drop(work);
    let (mut lines, is_away) = lines(grant, budgets).await;
    let percent = |it: &Line| it.bars.iter().map(Bar::percent).max().unwrap_or_default();
    lines.sort_by_key(|it| std::cmp::Reverse(percent(it)));
    lines.truncate(most);
    Ok((lines, is_away))
}
