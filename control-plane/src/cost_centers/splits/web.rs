//! The form of a project's split: rows of a cost center and a percentage each, with
//! some empty ones to add to, so that it works without scripts.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::ids::{CostCenterId, ProjectId};

use super::{BasisPoints, Day, Plan, Split, SplitError, of, replace, withdraw};
use crate::{
    access::{Doors, Grant, Work, may},
    cost_centers::{self, CostCenterError},
    projects::{self, Project, project_in},
    web::{
        Failure, Form, Frame, Page, Problems, Search, Section, Span, or_problems, see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/projects/{project}/split", edit);
    doors.post("/orgs/{org}/projects/{project}/split", save);
    doors.post("/orgs/{org}/projects/{project}/split/withdraw", take_back);
}

/// How many rows are offered to add shares in.
const EMPTY_ROWS: usize = 3;

#[derive(Template)]
#[template(path = "cost_centers/split.html")]
struct SplitPage {
    frame: Frame,
    project: Project,
    effective_from: String,
    rows: Vec<Row>,
    /// Of the shares shown; none while they are not all readable.
    unallocated: Option<BasisPoints>,
    centers: Vec<(String, String)>,
    problems: Problems,
}

/// One cost center and its percentage, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    cost_center: String,
    percent: String,
    problem: Option<String>,
}

impl Row {
    fn is_empty(&self) -> bool {
        self.cost_center.is_empty() && self.percent.trim().is_empty()
    }

    /// Its share; nothing where the row is empty, and where it notes a problem.
    fn read(&mut self) -> Option<(CostCenterId, BasisPoints)> {
        if self.is_empty() {
            return None;
        }
        let center = self.cost_center.parse().map_err(|_| SplitError::NotACostCenter.to_string());
        let share = self.percent.parse::<BasisPoints>().map_err(|error| error.to_string());
        match (center, share) {
            (Ok(center), Ok(share)) => return Some((center, share)),
            (Err(problem), _) | (_, Err(problem)) => self.problem = Some(problem),
        }
        None
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitForm {
    #[serde(default)]
    effective_from: String,
    #[serde(default)]
    cost_center: Vec<String>,
    #[serde(default)]
    percent: Vec<String>,
}

impl SplitForm {
    fn rows(&self) -> Vec<Row> {
        let pairs = self.cost_center.iter().zip(&self.percent);
        pairs
            .map(|(cost_center, percent)| Row {
                cost_center: cost_center.clone(),
                percent: percent.clone(),
                problem: None,
            })
            .collect()
    }

    fn parse(&self, rows: &mut [Row]) -> Result<Plan, SplitError> {
        let mut problems = Problems::none();
        let day = problems.take("effective_from", self.effective_from.parse());
        let shares: Vec<_> = rows.iter_mut().filter_map(Row::read).collect();
        for (index, row) in rows.iter().enumerate() {
            if let Some(problem) = &row.problem {
                problems.add("shares", format!("Row {}: {problem}", index + 1));
            }
        }
        problems.check()?;
        Plan::new(day.ok_or(problems)?, &shares)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EditSearch {
    /// The first day of the split to edit: today if left out.
    from: Option<Day>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithdrawForm {
    #[serde(default)]
    effective_from: String,
}

async fn edit(
    grant: Grant<may::ManageCostCenters>,
    path: Path<(String, String)>,
    search: Search<EditSearch>,
) -> Result<Page<SplitPage>, Failure> {
    let day = search.from.unwrap_or_else(|| Day::today(&grant));
    let mut work = grant.begin().await?;
    let project = projects::find(&mut work, project_in(&path.1)?).await?;
    let present = of(&mut work, project.id, day).await?.in_force;
    let rows = present.map(|it| rows_of(&it)).unwrap_or_default();
    Ok(Page(page(&grant, work, project, day.to_string(), rows, Problems::none()).await?))
}

async fn save(
    grant: Grant<may::ManageCostCenters>,
    path: Path<(String, String)>,
    form: Form<SplitForm>,
) -> Result<HttpResponse, Failure> {
    let project = project_in(&path.1)?;
    let mut rows = form.rows();
    let mut work = grant.begin().await?;
    let outcome = async { replace(&mut work, project, &form.parse(&mut rows)?).await }.await;
    match or_problems(outcome)? {
        Ok(()) => {
            work.commit().await?;
            Ok(back(&grant, project, "Split saved"))
        }
        Err(problems) => {
            drop(work);
            let mut work = grant.begin().await?;
            let project = projects::find(&mut work, project).await?;
            let day = form.0.effective_from;
            Ok(Page(page(&grant, work, project, day, rows, problems).await?).again())
        }
    }
}

async fn take_back(
    grant: Grant<may::ManageCostCenters>,
    path: Path<(String, String)>,
    form: Form<WithdrawForm>,
) -> Result<HttpResponse, Failure> {
    let project = project_in(&path.1)?;
    let day = form.effective_from.parse().map_err(SplitError::BadDay)?;
    let mut work = grant.begin().await?;
    withdraw(&mut work, project, day, Day::today(&grant)).await?;
    work.commit().await?;
    Ok(back(&grant, project, "Planned split taken back"))
}

async fn page<P>(
    grant: &Grant<P>,
    mut work: Work,
    project: Project,
    effective_from: String,
    mut rows: Vec<Row>,
    problems: Problems,
) -> Result<SplitPage, Failure> {
    let shares: Vec<_> =
        rows.iter().filter(|it| !it.is_empty()).map(|it| it.percent.parse()).collect();
    let shares: Result<Vec<BasisPoints>, _> = shares.into_iter().collect();
    let empty = rows.iter().filter(|it| it.is_empty()).count();
    let added = EMPTY_ROWS.saturating_sub(empty).min(super::MOST_SHARES.saturating_sub(rows.len()));
    rows.extend(std::iter::repeat_n(Row::default(), added));
    Ok(SplitPage {
        frame: grant.frame(Section::Projects),
        centers: choices(&mut work, Day::today(grant), &rows).await?,
        project,
        effective_from,
        rows,
        unallocated: shares.ok().map(|it| BasisPoints::left_by(it.into_iter())),
        problems,
    })
}

fn rows_of(split: &Split) -> Vec<Row> {
    let row = |(center, percent): (CostCenterId, BasisPoints)| Row {
        cost_center: center.to_string(),
        percent: percent.to_string(),
        problem: None,
    };
    split.shares.iter().map(|it| row((it.cost_center, it.basis_points))).collect()
}

/// The cost centers that may receive, and those that the rows name already; the first
/// choice is none.
async fn choices(
    work: &mut Work,
    today: Day,
    rows: &[Row],
) -> Result<Vec<(String, String)>, CostCenterError> {
    let centers = cost_centers::list(work, today, Span::long(None)).await?.items;
    let is_named = |id: &str| rows.iter().any(|row| row.cost_center == id);
    let offered = centers.into_iter().filter_map(|it| {
        let id = it.id.to_string();
        let is_offered = !it.is_archived() && !it.ended_by(&today);
        (is_offered || is_named(&id)).then(|| (id, format!("{} · {}", it.code, it.name)))
    });
    let none = (String::new(), "None".to_owned());
    Ok([none].into_iter().chain(offered).collect())
}

fn back<P>(grant: &Grant<P>, project: ProjectId, notice: &str) -> HttpResponse {
    see_other_saying(&grant.path(&format!("/projects/{project}")), notice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(rows: &[(&str, &str)]) -> SplitForm {
        SplitForm {
            effective_from: "2026-12-01".to_owned(),
            cost_center: rows.iter().map(|it| it.0.to_owned()).collect(),
            percent: rows.iter().map(|it| it.1.to_owned()).collect(),
        }
    }

    #[track_caller]
    fn problems(rows: &[(&str, &str)]) -> Vec<String> {
        let form = form(rows);
        let error = form.parse(&mut form.rows()).err();
        let list = error.map(|it| shared::failure::Classified::problems(&it)).unwrap_or_default();
        list.into_iter().map(|it| it.message).collect()
    }

    #[test]
    fn empty_rows_are_passed_over_and_half_empty_ones_named() {
        let id = CostCenterId::generate().to_string();
        assert_eq!(problems(&[(&id, "50"), ("", ""), ("", " ")]), [""; 0]);
        let told = problems(&[(&id, "50"), ("", "20"), (&id, "")]);
        assert!(told[0].starts_with("Row 2: choose"), "{told:?}");
        assert!(told[1].starts_with("Row 3: write a percentage"), "{told:?}");
    }

    #[test]
    fn a_split_shares_out_at_most_the_whole_and_names_a_center_once() {
        let ids = [CostCenterId::generate().to_string(), CostCenterId::generate().to_string()];
        assert_eq!(problems(&[(&ids[0], "99.99"), (&ids[1], "0.01")]), [""; 0]);
        let told = problems(&[(&ids[0], "99.99"), (&ids[1], "0.02")]);
        assert_eq!(told, ["the shares add up to 100.01 %, more than the whole"]);
        assert!(problems(&[(&ids[0], "1"), (&ids[0], "1")])[0].contains("one share"));
        assert!(problems(&[(&ids[0], "0")])[0].contains("leave the cost center out"));
    }
}
