//! The pages of cost centers.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{
    ids::{CostCenterId, PersonId},
    snapshot::BudgetScope,
};

use super::{CostCenter, CostCenterError, Day, Draft, archive, center_in, restore};
use crate::{
    access::{Doors, Grant, Work, may},
    budgets::{self, web::BudgetsOf},
    web::{
        After, Failure, Form, Frame, Nothing, Page, Pager, Problems, Search, Section, Span,
        optional, or_problems, see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/cost-centers", list);
    doors.get("/orgs/{org}/cost-centers/new", new);
    doors.post("/orgs/{org}/cost-centers", create);
    doors.get("/orgs/{org}/cost-centers/{center}", show);
    doors.post("/orgs/{org}/cost-centers/{center}", change);
    doors.post("/orgs/{org}/cost-centers/{center}/archive", put_away);
    doors.post("/orgs/{org}/cost-centers/{center}/restore", bring_back);
}

#[derive(Template)]
#[template(path = "cost_centers/list.html")]
struct CostCentersPage {
    frame: Frame,
    centers: Vec<CostCenter>,
    pager: Pager,
    today: Day,
}

#[derive(Template)]
#[template(path = "cost_centers/new.html")]
struct NewCostCenterPage {
    frame: Frame,
    form: CostCenterForm,
    people: Vec<(String, String)>,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "cost_centers/show.html")]
struct CostCenterPage {
    frame: Frame,
    center: CostCenter,
    form: CostCenterForm,
    people: Vec<(String, String)>,
    today: Day,
    budgets: Option<BudgetsOf>,
    problems: Problems,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CostCenterForm {
    #[serde(default)]
    code: String,
    #[serde(default)]
    name: String,
    /// Empty for nobody.
    #[serde(default)]
    owner: String,
    #[serde(default)]
    valid_from: String,
    /// Empty for no end.
    #[serde(default)]
    valid_until: String,
}

impl CostCenterForm {
    fn starting(day: Day) -> Self {
        Self { valid_from: day.to_string(), ..Self::default() }
    }

    fn of(center: &CostCenter) -> Self {
        Self {
            code: center.code.clone(),
            name: center.name.clone(),
            owner: center.owner.map(|it| it.to_string()).unwrap_or_default(),
            valid_from: center.valid_from.to_string(),
            valid_until: center.valid_until.map(|it| it.to_string()).unwrap_or_default(),
        }
    }

    fn parse(&self) -> Result<Draft, CostCenterError> {
        let mut problems = Problems::none();
        let code = problems.take("code", self.code.parse());
        let name = problems.take("name", self.name.parse());
        let owner = optional::<PersonId>(&self.owner).map_err(|_| CostCenterError::NotAMember);
        let owner = problems.take("owner", owner);
        let valid_from = problems.take("valid_from", self.valid_from.parse::<Day>());
        let valid_until = problems.take("valid_until", optional::<Day>(&self.valid_until));
        problems.check()?;
        let parts = code.zip(name).zip(owner).zip(valid_from).zip(valid_until);
        let ((((code, name), owner), valid_from), valid_until) = parts.ok_or(problems)?;
        Ok(Draft { code, name, owner, valid_from, valid_until })
    }
}

async fn list(
    grant: Grant<may::ViewCostCenters>,
    query: Search<After<CostCenterId>>,
) -> Result<Page<CostCentersPage>, Failure> {
    let mut work = grant.begin().await?;
    let today = Day::today(&grant);
    let part = super::list(&mut work, today, Span::page(query.after)).await?;
    let pager = Pager::new(&grant.path("/cost-centers"), query.after, part.next);
    let frame = grant.frame(Section::CostCenters);
    Ok(Page(CostCentersPage { frame, centers: part.items, pager, today }))
}

async fn new(grant: Grant<may::ManageCostCenters>) -> Result<Page<NewCostCenterPage>, Failure> {
    let people = people(&mut grant.begin().await?).await?;
    let (frame, form) =
        (grant.frame(Section::CostCenters), CostCenterForm::starting(Day::today(&grant)));
    Ok(Page(NewCostCenterPage { frame, form, people, problems: Problems::none() }))
}

async fn create(
    grant: Grant<may::ManageCostCenters>,
    form: Form<CostCenterForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let outcome = async { super::create(&mut work, &form.parse()?).await }.await;
    match or_problems(outcome)? {
        Ok(center) => {
            work.commit().await?;
            Ok(back(&grant, center, "Cost center created"))
        }
        Err(problems) => {
            drop(work);
            let people = people(&mut grant.begin().await?).await?;
            let frame = grant.frame(Section::CostCenters);
            Ok(Page(NewCostCenterPage { frame, form: form.0, people, problems }).again())
        }
    }
}

async fn show(
    grant: Grant<may::ViewCostCenters>,
    path: Path<(String, String)>,
) -> Result<Page<CostCenterPage>, Failure> {
    let center = center_in(&path.1)?;
    Ok(Page(page(&grant, center, None, Problems::none()).await?))
}

async fn change(
    grant: Grant<may::ManageCostCenters>,
    path: Path<(String, String)>,
    form: Form<CostCenterForm>,
) -> Result<HttpResponse, Failure> {
    let center = center_in(&path.1)?;
    let mut work = grant.begin().await?;
    let outcome = async { super::change(&mut work, center, &form.parse()?).await }.await;
    match or_problems(outcome)? {
        Ok(()) => {
            work.commit().await?;
            Ok(back(&grant, center, "Cost center saved"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(&grant, center, Some(form.0), problems).await?).again())
        }
    }
}

async fn put_away(
    grant: Grant<may::ManageCostCenters>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let center = center_in(&path.1)?;
    let mut work = grant.begin().await?;
    archive(&mut work, center).await?;
    work.commit().await?;
    Ok(back(&grant, center, "Cost center archived: its shares are unallocated from today on"))
}

async fn bring_back(
    grant: Grant<may::ManageCostCenters>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let center = center_in(&path.1)?;
    let mut work = grant.begin().await?;
    restore(&mut work, center).await?;
    work.commit().await?;
    Ok(back(&grant, center, "Cost center restored"))
}

/// Its page, with what was typed into its form where that was refused.
async fn page<P>(
    grant: &Grant<P>,
    center: CostCenterId,
    typed: Option<CostCenterForm>,
    problems: Problems,
) -> Result<CostCenterPage, Failure> {
    let mut work = grant.begin().await?;
    let today = Day::today(grant);
    let center = super::find(&mut work, center, today).await?;
    let people = people(&mut work).await?;
    drop(work);
    let budgets = budgets::web::of(grant, BudgetScope::CostCenter(center.id)).await?;
    Ok(CostCenterPage {
        frame: grant.frame(Section::CostCenters),
        people,
        budgets,
        form: typed.unwrap_or_else(|| CostCenterForm::of(&center)),
        center,
        today,
        problems,
    })
}

/// The choices of an owner, the first of which is none.
async fn people(work: &mut Work) -> Result<Vec<(String, String)>, CostCenterError> {
    let people = super::candidates(work).await?;
    let nobody = (String::new(), "Nobody".to_owned());
    let people = people.into_iter().map(|(id, email)| (id.to_string(), email));
    Ok([nobody].into_iter().chain(people).collect())
}

fn back<P>(grant: &Grant<P>, center: CostCenterId, notice: &str) -> HttpResponse {
    see_other_saying(&grant.path(&format!("/cost-centers/{center}")), notice)
}
