//! The form that makes and changes budgets, and what it says of last month.

use actix_web::{HttpResponse, http::StatusCode, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{
    ids::BudgetId,
    money::{Money, Period, Zone},
    snapshot::{BudgetScope, Caps, OnRedisLoss, OnTight, Thresholds},
};
use time::OffsetDateTime;

use super::{
    ALERTED, Budget, BudgetError, BudgetName, NewBudget, Terms, budget_in, change, commit, create,
    find,
    live::Counted,
    preview::{Preview, Question, Window, look_back},
    scope::{self, Group},
    web::back,
};
use crate::{
    access::{Doors, Grant, Role, may},
    upstreams::words::grouped,
    web::{Failure, Form, Frame, Moment, Page, Problems, Search, Section, optional, or_problems},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/budgets/new", new);
    doors.post("/orgs/{org}/budgets", add);
    doors.post("/orgs/{org}/budgets/preview", look);
    doors.get("/orgs/{org}/budgets/{budget}/edit", edit);
    doors.post("/orgs/{org}/budgets/{budget}", save);
    doors.post("/orgs/{org}/budgets/{budget}/preview", look_otherwise);
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
    seen: Option<Seen>,
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

/// What caps would have refused, in words.
struct Seen {
    from: Moment,
    is_hard: bool,
    calls: String,
    money: String,
    /// Nothing where nothing would have been refused.
    refused: Option<Refused>,
    is_empty: bool,
}

struct Refused {
    calls: String,
    money: String,
    windows: String,
    lines: Vec<SeenWindow>,
}

struct SeenWindow {
    from: Moment,
    spent: String,
    since: Option<Moment>,
    calls: String,
    money: String,
}

impl Seen {
    fn of(seen: &Preview, question: &Question, is_hard: bool) -> Self {
        let zone = question.zone.as_str();
        let requests = |it| Counted::Requests.words(it);
        let money = |it| Money::from_nanos(it).to_string();
        let line = |it: &Window| SeenWindow {
            from: Moment::new(it.from, zone),
            spent: money(it.spent.money),
            since: it.since.map(|at| Moment::new(at, zone)),
            calls: grouped(&it.refused.requests),
            money: money(it.refused.money),
        };
        let lines: Vec<_> = seen.touched().map(line).collect();
        let refused = (!lines.is_empty()).then(|| Refused {
            calls: requests(seen.refused.requests),
            money: money(seen.refused.money),
            windows: windows(question.period, lines.len(), seen.windows.len()),
            lines,
        });
        Self {
            from: Moment::new(seen.from, zone),
            is_hard,
            calls: requests(seen.spent.requests),
            money: money(seen.spent.money),
            refused,
            is_empty: seen.spent.requests == 0,
        }
    }
}

/// In how many of how many windows.
fn windows(period: Period, touched: usize, all: usize) -> String {
    let plural = if all == 1 { "" } else { "s" };
    match period {
        Period::Total => String::new(),
        Period::Day | Period::Week | Period::Month => {
            format!(", in {touched} of {all} {}{plural}", period.name())
        }
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

    fn name(&self) -> Result<BudgetName, Problems> {
        self.name.parse().map_err(|it: BudgetError| Problems::one("name", it))
    }

    fn terms(&self) -> Result<Terms, Problems> {
        let mut problems = Problems::none();
        let caps = caps_in(&mut problems, "usd", &self.usd, &self.requests, &self.tokens);
        let thresholds = problems.take("thresholds", thresholds_in(&self.thresholds));
        let allowance = problems.take("allowance", optional::<Money>(&self.allowance)).flatten();
        let loss = allowance.map(|allowance| OnRedisLoss::Bounded { allowance });
        let roles = self.alert_roles.iter().map(|it| it.parse::<Role>());
        let roles = problems.take("alert_roles", roles.collect::<Result<Vec<_>, _>>());
        // What could not be read is no cap, and not complained of twice.
        problems.check()?;
        Terms {
            caps,
            is_hard: self.hard,
            thresholds: thresholds.unwrap_or_default(),
            on_tight: if self.clamp { OnTight::Clamp } else { OnTight::Deny },
            on_redis_loss: loss.unwrap_or_default(),
            alert_roles: roles.unwrap_or_default(),
        }
        .checked()
    }

    /// What it is on, and when it renews.
    fn place(&self) -> Result<(BudgetScope, Period, Zone), Problems> {
        let mut problems = Problems::none();
        let scope = scope::read(&self.scope).ok_or(BudgetError::NoScope);
        let scope = problems.take("scope", scope);
        let period = Period::ALL.into_iter().find(|it| it.name() == self.period);
        let period = problems.take("period", period.ok_or("choose how often it renews"));
        let zone = problems.take("time_zone", self.time_zone.parse::<Zone>());
        scope
            .zip(period)
            .zip(zone)
            .map(|((scope, period), zone)| (scope, period, zone))
            .ok_or(problems)
    }

    fn name_and_terms(&self) -> Result<(BudgetName, Terms), Problems> {
        Problems::both(self.name(), self.terms())
    }

    fn budget(&self) -> Result<NewBudget, Problems> {
        let ((name, (scope, period, zone)), terms) =
            Problems::both(Problems::both(self.name(), self.place()), self.terms())?;
        Ok(NewBudget { name, scope, period, zone, terms })
    }

    /// What there is to look back at: it needs no name.
    fn question(&self) -> Result<Question, Problems> {
        let ((scope, period, zone), terms) = Problems::both(self.place(), self.terms())?;
        Ok(Question { scope, period, zone, caps: terms.caps })
    }
}

/// Without the zeros that nobody types.
fn plain(money: Money) -> String {
    let exact = money.exact();
    let (whole, fraction) = exact.split_once('.').unwrap_or((&exact, ""));
    format!("{whole}.{:0<2}", fraction.trim_end_matches('0'))
}

pub(super) fn percents(thresholds: &Thresholds) -> String {
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
pub(super) fn caps_in(
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
    Ok(BudgetFormPage { frame, form, fixed, scopes, zones, problems, seen: None })
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

/// Says of the budget that is typed what it would have refused.
async fn look(
    grant: Grant<may::ManageBudgets>,
    form: Form<BudgetForm>,
) -> Result<HttpResponse, Failure> {
    let question = form.question().map_err(BudgetError::from);
    look_at(&grant, form.0, None, question).await
}

async fn look_otherwise(
    grant: Grant<may::ManageBudgets>,
    path: Path<(String, String)>,
    form: Form<BudgetForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let budget = find(&mut work, budget_in(&path.1)?).await?;
    drop(work);
    let fixed = Some(Fixed::of(&budget));
    let question = form.terms().map_err(BudgetError::from).map(|terms| Question {
        scope: budget.scope,
        period: budget.period,
        zone: budget.zone,
        caps: terms.caps,
    });
    look_at(&grant, form.0, fixed, question).await
}

async fn look_at(
    grant: &Grant<may::ManageBudgets>,
    form: BudgetForm,
    fixed: Option<Fixed>,
    question: Result<Question, BudgetError>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let is_hard = form.hard;
    let outcome: Result<_, BudgetError> = async {
        let question = question?;
        let seen = look_back(&mut work, &question, OffsetDateTime::now_utc()).await?;
        Ok(Seen::of(&seen, &question, is_hard))
    }
    .await;
    drop(work);
    match or_problems(outcome)? {
        Ok(seen) => {
            let page = form_page(grant, form, fixed, Problems::none()).await?;
            Ok(Page(BudgetFormPage { seen: Some(seen), ..page }).with(StatusCode::OK))
        }
        Err(problems) => Ok(Page(form_page(grant, form, fixed, problems).await?).again()),
    }
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
