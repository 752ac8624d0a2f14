//! The pages of limits.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::ids::ProjectId;

use super::{Limits, commit, of_organization, of_project, set_of_organization, set_of_project};
use crate::{
    access::{Doors, Grant, Permission, may},
    projects::{self, project_in},
    web::{Failure, Form, Frame, Page, Problems, Section, or_problems, see_other_saying},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/settings/limits", organization);
    doors.post("/orgs/{org}/settings/limits", change_organization);
    doors.get("/orgs/{org}/projects/{project}/limits", project);
    doors.post("/orgs/{org}/projects/{project}/limits", change_project);
}

#[derive(Template)]
#[template(path = "limits/organization.html")]
struct OrganizationPage {
    frame: Frame,
    form: LimitsForm,
    may_change: bool,
    problems: Problems,
}

#[derive(Template)]
#[template(path = "limits/project.html")]
struct ProjectPage {
    frame: Frame,
    id: ProjectId,
    name: String,
    form: LimitsForm,
    may_change: bool,
    problems: Problems,
}

/// What is typed: empty where there is no limit.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsForm {
    requests_per_minute: String,
    tokens_per_minute: String,
    concurrent_requests: String,
}

impl LimitsForm {
    fn of(limits: Limits) -> Self {
        let small = |it: Option<i32>| it.map(|it| it.to_string()).unwrap_or_default();
        Self {
            requests_per_minute: small(limits.requests_per_minute),
            tokens_per_minute: limits
                .tokens_per_minute
                .map(|it| it.to_string())
                .unwrap_or_default(),
            concurrent_requests: small(limits.concurrent_requests),
        }
    }

    fn limits(&self) -> Result<Limits, Problems> {
        let mut problems = Problems::none();
        let requests =
            problems.take("requests_per_minute", limit::<i32>(&self.requests_per_minute));
        let tokens = problems.take("tokens_per_minute", limit::<i64>(&self.tokens_per_minute));
        let concurrent =
            problems.take("concurrent_requests", limit::<i32>(&self.concurrent_requests));
        problems.check()?;
        Limits {
            requests_per_minute: requests.flatten(),
            tokens_per_minute: tokens.flatten(),
            concurrent_requests: concurrent.flatten(),
        }
        .checked()
    }
}

fn limit<T: std::str::FromStr>(text: &str) -> Result<Option<T>, &'static str> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| "enter a whole number, or nothing"),
    }
}

async fn organization(grant: Grant<may::ViewCatalogue>) -> Result<Page<OrganizationPage>, Failure> {
    let mut work = grant.begin().await?;
    let form = LimitsForm::of(of_organization(&mut work).await?);
    Ok(Page(organization_page(&grant, form, Problems::none())))
}

async fn change_organization(
    grant: Grant<may::ManageLimits>,
    form: Form<LimitsForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let outcome = async { set_of_organization(&mut work, form.limits()?).await }.await;
    match or_problems(outcome)? {
        Ok(()) => {
            commit(&grant, work).await?;
            Ok(see_other_saying(&grant.path("/settings/limits"), "Limits saved"))
        }
        Err(problems) => Ok(Page(organization_page(&grant, form.0, problems)).again()),
    }
}

async fn project(
    grant: Grant<may::ViewCatalogue>,
    path: Path<(String, String)>,
) -> Result<Page<ProjectPage>, Failure> {
    let project = project_in(&path.1)?;
    Ok(Page(project_page(&grant, project, None, Problems::none()).await?))
}

async fn change_project(
    grant: Grant<may::ManageLimits>,
    path: Path<(String, String)>,
    form: Form<LimitsForm>,
) -> Result<HttpResponse, Failure> {
    let project = project_in(&path.1)?;
    let mut work = grant.begin().await?;
    let outcome = async { set_of_project(&mut work, project, form.limits()?).await }.await;
    match or_problems(outcome)? {
        Ok(()) => {
            commit(&grant, work).await?;
            let path = grant.path(&format!("/projects/{project}/limits"));
            Ok(see_other_saying(&path, "Limits saved"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(project_page(&grant, project, Some(form.0), problems).await?).again())
        }
    }
}

fn organization_page<P>(
    grant: &Grant<P>,
    form: LimitsForm,
    problems: Problems,
) -> OrganizationPage {
    OrganizationPage {
        frame: grant.frame(Section::Settings),
        form,
        may_change: grant.may(Permission::ManageLimits) && !grant.membership.is_archived,
        problems,
    }
}

async fn project_page<P>(
    grant: &Grant<P>,
    id: ProjectId,
    typed: Option<LimitsForm>,
    problems: Problems,
) -> Result<ProjectPage, Failure> {
    let mut work = grant.begin().await?;
    let project = projects::find(&mut work, id).await?;
    let limits = of_project(&mut work, id).await?;
    Ok(ProjectPage {
        frame: grant.frame(Section::Projects),
        id,
        form: typed.unwrap_or_else(|| LimitsForm::of(limits)),
        may_change: grant.may(Permission::ManageLimits) && !project.is_archived(),
        name: project.name,
        problems,
    })
}
