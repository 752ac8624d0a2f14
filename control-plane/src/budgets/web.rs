//! The pages of budgets.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{
    ids::BudgetId,
    money::{Money, Period, Zone},
    snapshot::{BudgetScope, Caps, OnRedisLoss, OnTight, Thresholds},
};
use time::OffsetDateTime;

use super::{
    ALERTED, Budget, BudgetError, BudgetName, NewBudget, Terms, Version, archive, budget_in,
    caps::words,
    change, commit, create, end_raise, find, history,
    live::{self, Bar, Usage, resets_at},
    raise,
    scope::{self, Group},
};
use crate::{
    access::{Doors, Grant, Permission, Role, Work, may},
    web::{
        After, Failure, Form, Frame, Moment, Nothing, Page, Pager, Problems, Search, Section, Span,
        instant, optional, or_problems, see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/budgets", list);
    doors.get("/orgs/{org}/budgets/new", new);
    doors.post("/orgs/{org}/budgets", add);
    doors.get("/orgs/{org}/budgets/{budget}", show);
    doors.get("/orgs/{org}/budgets/{budget}/edit", edit);
    doors.post("/orgs/{org}/budgets/{budget}", save);
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
#[template(path = "budgets/form.html")]
struct BudgetFormPage {
    frame: Frame,
    form: BudgetForm,
    /// What it is on cannot be changed afterwards.
    fixed: Option<Fixed>,
    scopes: Vec<Group>,
    zones: &'static [&'static str],
    problems: Problems,
}

impl BudgetFormPage {
    fn has_role(&self, role: &Role) -> bool {
        self.form.alert_roles.iter().any(|it| it == role.name())
    }
}

/// A budget that is edited.
struct Fixed {
    id: BudgetId,
    name: String,
    about: String,
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
    details: Vec<(String, String)>,
}

const fn period_words(period: Period) -> &'static str {
    match period {
        Period::Day => "a day",
        Period::Week => "a week",
        Period::Month => "a month",
        Period::Total => "in all",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewQuery {
    #[serde(default)]
    scope: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BudgetForm {
    name: String,
    scope: String,
    period: String,
    time_zone: String,
    usd: String,
    requests: String,
    tokens: String,
    hard: bool,
    clamp: bool,
    thresholds: String,
    allowance: String,
    alert_roles: Vec<String>,
}

impl BudgetForm {
    fn usual(scope: &str, zone: &str) -> Self {
        Self {
            scope: scope.to_owned(),
            period: "month".to_owned(),
            time_zone: zone.to_owned(),
            hard: true,
            clamp: true,
            thresholds: "80, 100".to_owned(),
            alert_roles: ALERTED.iter().map(|it| it.name().to_owned()).collect(),
            ..Self::default()
        }
    }

    fn of(budget: &Budget) -> Self {
        let terms = &budget.terms;
        let allowance = match terms.on_redis_loss {
            OnRedisLoss::Closed => String::new(),
            OnRedisLoss::Bounded { allowance } => plain(allowance),
        };
        Self {
            name: budget.name.clone(),
            scope: scope::written(budget.scope),
            period: budget.period.name().to_owned(),
            time_zone: budget.zone.to_string(),
            usd: terms.caps.money.map(plain).unwrap_or_default(),
            requests: terms.caps.requests.map(|it| it.to_string()).unwrap_or_default(),
            tokens: terms.caps.tokens.map(|it| it.to_string()).unwrap_or_default(),
            hard: terms.is_hard,
            clamp: terms.on_tight == OnTight::Clamp,
            thresholds: percents(&terms.thresholds),
            allowance,
            alert_roles: terms.alert_roles.iter().map(|it| it.name().to_owned()).collect(),
        }
    }

    fn name_and_terms(&self) -> Result<(BudgetName, Terms), BudgetError> {
        let mut problems = Problems::none();
        let name = problems.take("name", self.name.parse::<BudgetName>());
        let caps = caps_in(&mut problems, "usd", &self.usd, &self.requests, &self.tokens);
        let thresholds = problems.take("thresholds", thresholds_in(&self.thresholds));
        let allowance = problems.take("allowance", optional::<Money>(&self.allowance)).flatten();
        let loss = allowance.map(|allowance| OnRedisLoss::Bounded { allowance });
        let roles = self.alert_roles.iter().map(|it| it.parse::<Role>());
        let roles = problems.take("alert_roles", roles.collect::<Result<Vec<_>, _>>());
        let terms = Terms {
            caps,
            is_hard: self.hard,
            thresholds: thresholds.unwrap_or_default(),
            on_tight: if self.clamp { OnTight::Clamp } else { OnTight::Deny },
            on_redis_loss: loss.unwrap_or_default(),
            alert_roles: roles.unwrap_or_default(),
        };
        // What could not be read is no cap, and not complained of twice.
        let checked = if problems.is_empty() { terms.checked() } else { Ok(terms) };
        let (terms, ()) = Problems::both(checked, problems.check())?;
        Ok((name.ok_or(BudgetError::BadName)?, terms))
    }

    fn budget(&self) -> Result<NewBudget, BudgetError> {
        let mut problems = Problems::none();
        let scope = scope::read(&self.scope).ok_or(BudgetError::NoScope);
        let scope = problems.take("scope", scope);
        let period = Period::ALL.into_iter().find(|it| it.name() == self.period);
        let period = problems.take("period", period.ok_or("choose how often it renews"));
        let zone = problems.take("time_zone", self.time_zone.parse::<Zone>());
        let rest = match self.name_and_terms() {
            Err(BudgetError::Refused(more)) => Err(more),
            Err(BudgetError::BadName) => Err(Problems::one("name", BudgetError::BadName)),
            Err(error) => return Err(error),
            Ok(rest) => Ok(rest),
        };
        let ((name, terms), ()) = Problems::both(rest, problems.check())?;
        match (scope, period, zone) {
            (Some(scope), Some(period), Some(zone)) => {
                Ok(NewBudget { name, scope, period, zone, terms })
            }
            _ => Err(problems.into()),
        }
    }
}

/// Without the zeros that nobody types.
fn plain(money: Money) -> String {
    let exact = money.exact();
    let (whole, fraction) = exact.split_once('.').unwrap_or((&exact, ""));
    format!("{whole}.{:0<2}", fraction.trim_end_matches('0'))
}

fn percents(thresholds: &Thresholds) -> String {
    let all: Vec<_> = thresholds.percents().iter().map(u16::to_string).collect();
    all.join(", ")
}

fn thresholds_in(text: &str) -> Result<Thresholds, String> {
    let words = text.split([',', ' ', '%']).filter(|it| !it.is_empty());
    let percents: Result<Vec<u16>, _> = words.map(str::parse).collect();
    let percents =
        percents.map_err(|_| "write percentages with commas, like 80, 100".to_owned())?;
    Thresholds::try_from(percents).map_err(|it| it.to_string())
}

/// Caps as they were typed. What cannot be read is noted and no cap.
fn caps_in(
    problems: &mut Problems,
    usd: &'static str,
    money: &str,
    requests: &str,
    tokens: &str,
) -> Caps {
    let is_raise = usd != "usd";
    let count = |text: &str| {
        let digits = text.replace([',', '_', ' '], "");
        optional::<i64>(&digits).map_err(|_| "enter a whole number, or nothing")
    };
    let names =
        if is_raise { ["raised_requests", "raised_tokens"] } else { ["requests", "tokens"] };
    Caps {
        money: problems.take(usd, optional::<Money>(&money.replace(',', ""))).flatten(),
        requests: problems.take(names[0], count(requests)).flatten(),
        tokens: problems.take(names[1], count(tokens)).flatten(),
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

async fn new(
    grant: Grant<may::ManageBudgets>,
    query: Search<NewQuery>,
) -> Result<Page<BudgetFormPage>, Failure> {
    let form = BudgetForm::usual(&query.scope, &grant.membership.time_zone);
    Ok(Page(form_page(&grant, form, None, Problems::none()).await?))
}

async fn add(
    grant: Grant<may::ManageBudgets>,
    form: Form<BudgetForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let outcome = async { create(&mut work, &form.budget()?).await }.await;
    match or_problems(outcome)? {
        Ok(budget) => {
            commit(&grant, work, budget).await?;
            Ok(back(&grant, budget, "Budget created: it binds from the next call on"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(form_page(&grant, form.0, None, problems).await?).again())
        }
    }
}

async fn form_page<P>(
    grant: &Grant<P>,
    form: BudgetForm,
    fixed: Option<Fixed>,
    problems: Problems,
) -> Result<BudgetFormPage, Failure> {
    let scopes = match fixed {
        Some(_) => Vec::new(),
        None => scope::choices(grant, &mut grant.begin().await?).await?,
    };
    let (frame, zones) = (grant.frame(Section::Budgets), Zone::COMMON);
    Ok(BudgetFormPage { frame, form, fixed, scopes, zones, problems })
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
    let mut details: Vec<_> = caps.into_iter().map(|it| ("caps".to_owned(), it)).collect();
    let hard = terms.get("hard").and_then(serde_json::Value::as_bool);
    let hard = hard.map(|it| if it { "refuses calls beyond" } else { "only alerts" });
    details.extend(hard.map(|it| ("kind".to_owned(), it.to_owned())));
    let until = terms.get("until").and_then(|it| it.as_str()).and_then(|it| instant(it, zone));
    details.extend(until.map(|it| ("until".to_owned(), Moment::new(it, zone).text())));
    if !version.note.is_empty() {
        details.push(("because".to_owned(), version.note.clone()));
    }
    VersionLine { at: Moment::new(version.created_at, zone), words: said, details, version }
}

async fn edit(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
) -> Result<Page<BudgetFormPage>, Failure> {
    let mut work = grant.begin().await?;
    let budget = find(&mut work, budget_in(&path.1)?).await?;
    drop(work);
    let form = BudgetForm::of(&budget);
    Ok(Page(form_page(&grant, form, Some(Fixed::of(&budget)), Problems::none()).await?))
}

impl Fixed {
    fn of(budget: &Budget) -> Self {
        let on = match budget.scope {
            BudgetScope::Organization => format!("all of {}", budget.scope_name),
            BudgetScope::Team(_)
            | BudgetScope::Project(_)
            | BudgetScope::Key(_)
            | BudgetScope::CostCenter(_) => {
                let kind = scope::title(budget.scope);
                // The first word of a name like "API key" stays as it is.
                let kind = if kind == "API key" { kind.to_owned() } else { kind.to_lowercase() };
                format!("{kind} {}", budget.scope_name)
            }
        };
        let about = match budget.period {
            Period::Total => format!("On {on}, never renewed."),
            Period::Day | Period::Week | Period::Month => {
                format!("On {on}, renewed every {} ({}).", budget.period.name(), budget.zone)
            }
        };
        Self { id: budget.id, name: budget.name.clone(), about }
    }
}

async fn save(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
    form: Form<BudgetForm>,
) -> Result<HttpResponse, Failure> {
    let budget = budget_in(&path.1)?;
    let mut work = grant.begin().await?;
    let before = find(&mut work, budget).await?;
    let outcome = async {
        let (name, terms) = form.name_and_terms()?;
        change(&mut work, budget, &name, &terms).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(()) => {
            commit(&grant, work, budget).await?;
            Ok(back(&grant, budget, "Budget saved: it binds from the next call on"))
        }
        Err(problems) => {
            drop(work);
            let fixed = Some(Fixed::of(&before));
            Ok(Page(form_page(&grant, form.0, fixed, problems).await?).again())
        }
    }
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

fn back<P>(grant: &Grant<P>, budget: BudgetId, notice: &str) -> HttpResponse {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_as_people_write_them() {
        let read = |text| thresholds_in(text).map(|it| percents(&it));
        assert_eq!(read("100%, 80 %"), Ok("80, 100".to_owned()));
        assert_eq!(read(""), Ok(String::new()));
        assert!(read("most").is_err() && read("0").is_err());
    }

    #[test]
    fn money_is_shown_as_it_is_typed() {
        for (nanos, text) in [(500_000_000_000, "500.00"), (1, "0.000000001"), (0, "0.00")] {
            assert_eq!(plain(Money::from_nanos(nanos)), text);
        }
    }
}
