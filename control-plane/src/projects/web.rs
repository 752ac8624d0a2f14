//! The pages of projects.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{
    ids::{ProjectId, TeamId},
    snapshot::BudgetScope,
};

use super::{Change, Project, ProjectError, ProjectName, archive, project_in, restore};
use crate::{
    access::{Doors, Grant, Permission, Work, may},
    budgets::{self, web::BudgetsOf},
    cost_centers::{Day, Splits, splits},
    snapshots, teams,
    web::{
        After, Failure, Form, Frame, Nothing, Page, Pager, Problems, Search, Section, Span,
        or_problems, see_other_saying,
    },
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/projects", list);
    doors.get("/orgs/{org}/projects/new", new);
    doors.post("/orgs/{org}/projects", create);
    doors.get("/orgs/{org}/projects/{project}", show);
    doors.post("/orgs/{org}/projects/{project}", change);
    doors.post("/orgs/{org}/projects/{project}/archive", put_away);
    doors.post("/orgs/{org}/projects/{project}/restore", bring_back);
}

#[derive(Template)]
#[template(path = "projects/list.html")]
struct ProjectsPage {
    frame: Frame,
    projects: Vec<Project>,
    pager: Pager,
}

#[derive(Template)]
#[template(path = "projects/new.html")]
struct NewProjectPage {
    frame: Frame,
    form: ProjectForm,
    teams: Vec<(String, String)>,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "projects/show.html")]
struct ProjectPage {
    frame: Frame,
    project: Project,
    form: ProjectForm,
    teams: Vec<(String, String)>,
    /// None for readers who may not see cost centers.
    splits: Option<Splits>,
    budgets: Option<BudgetsOf>,
    problems: Problems,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectForm {
    #[serde(default)]
    name: String,
    /// Empty for none.
    #[serde(default)]
    team: String,
}

impl ProjectForm {
    fn of(project: &Project) -> Self {
        let team = project.team.map(|it| it.to_string()).unwrap_or_default();
        Self { name: project.name.clone(), team }
    }

    fn parse(&self) -> Result<(ProjectName, Option<TeamId>), ProjectError> {
        let mut problems = Problems::none();
        let name = problems.take("name", self.name.parse::<ProjectName>());
        let team = match self.team.as_str() {
            "" => Some(None),
            team => {
                problems.take("team", team.parse().map_err(|_| ProjectError::NotATeam)).map(Some)
            }
        };
        problems.check()?;
        name.zip(team).ok_or_else(|| problems.into())
    }
}

async fn list(
    grant: Grant<may::ViewOrganization>,
    query: Search<After<ProjectId>>,
) -> Result<Page<ProjectsPage>, Failure> {
    let mut work = grant.begin().await?;
    let part = super::list(&mut work, Span::page(query.after)).await?;
    let pager = Pager::new(&grant.path("/projects"), query.after, part.next);
    let frame = grant.frame(Section::Projects);
    Ok(Page(ProjectsPage { frame, projects: part.items, pager }))
}

async fn new(grant: Grant<may::ManageProjects>) -> Result<Page<NewProjectPage>, Failure> {
    let mut work = grant.begin().await?;
    let teams = choices(&mut work, None).await?;
    let (frame, form) = (grant.frame(Section::Projects), ProjectForm::default());
    Ok(Page(NewProjectPage { frame, form, teams, problems: Problems::none() }))
}

async fn create(
    grant: Grant<may::ManageProjects>,
    form: Form<ProjectForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let outcome = async {
        let (name, team) = form.parse()?;
        super::create(&mut work, &name, team).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(project) => {
            work.commit().await?;
            Ok(back(&grant, project, "Project created"))
        }
        Err(problems) => {
            drop(work);
            let teams = choices(&mut grant.begin().await?, None).await?;
            let frame = grant.frame(Section::Projects);
            Ok(Page(NewProjectPage { frame, form: form.0, teams, problems }).again())
        }
    }
}

async fn show(
    grant: Grant<may::ViewOrganization>,
    path: Path<(String, String)>,
) -> Result<Page<ProjectPage>, Failure> {
    let project = project_in(&path.1)?;
    Ok(Page(page(&grant, project, None, Problems::none()).await?))
}

async fn change(
    grant: Grant<may::ManageProjects>,
    path: Path<(String, String)>,
    form: Form<ProjectForm>,
) -> Result<HttpResponse, Failure> {
    let project = project_in(&path.1)?;
    let mut work = grant.begin().await?;
    let outcome = async {
        let (name, team) = form.parse()?;
        let change = Change { name: Some(name), team: Some(team) };
        super::change(&mut work, project, change).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(()) => {
            work.commit().await?;
            Ok(back(&grant, project, "Project saved"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(&grant, project, Some(form.0), problems).await?).again())
        }
    }
}

async fn put_away(
    grant: Grant<may::ManageProjects>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let project = project_in(&path.1)?;
    let mut work = grant.begin().await?;
    archive(&mut work, project).await?;
    work.commit().await?;
    let told = snapshots::tell(&grant.platform).await;
    Ok(back(&grant, project, &told.beside("Project archived, and its keys with it")))
}

async fn bring_back(
    grant: Grant<may::ManageProjects>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let project = project_in(&path.1)?;
    let mut work = grant.begin().await?;
    restore(&mut work, project).await?;
    work.commit().await?;
    snapshots::tell(&grant.platform).await;
    Ok(back(&grant, project, "Project restored: its keys work again"))
}

/// The project's page, with what was typed into its form where that was refused.
async fn page<P>(
    grant: &Grant<P>,
    project: ProjectId,
    typed: Option<ProjectForm>,
    problems: Problems,
) -> Result<ProjectPage, Failure> {
    let mut work = grant.begin().await?;
    let project = super::find(&mut work, project).await?;
    let teams = choices(&mut work, project.team).await?;
    let splits = match grant.may(Permission::ViewCostCenters) {
        true => Some(splits::of(&mut work, project.id, Day::today(grant)).await?),
        false => None,
    };
    drop(work);
    let budgets = budgets::web::of(grant, BudgetScope::Project(project.id)).await?;
    Ok(ProjectPage {
        frame: grant.frame(Section::Projects),
        form: typed.unwrap_or_else(|| ProjectForm::of(&project)),
        project,
        teams,
        splits,
        budgets,
        problems,
    })
}

/// The teams a project may be given to, and the one that it is in; the first is none.
async fn choices(
    work: &mut Work,
    present: Option<TeamId>,
) -> Result<Vec<(String, String)>, ProjectError> {
    let teams = teams::list(work, Span::long(None)).await?.items;
    let offered = teams.into_iter().filter(|it| !it.is_archived() || Some(it.id) == present);
    let none = (String::new(), "No team".to_owned());
    Ok([none].into_iter().chain(offered.map(|it| (it.id.to_string(), it.name))).collect())
}

fn back<P>(grant: &Grant<P>, project: ProjectId, notice: &str) -> HttpResponse {
    see_other_saying(&grant.path(&format!("/projects/{project}")), notice)
}
