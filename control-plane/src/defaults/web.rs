//! The pages of defaults, one for each whose they are.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;

use super::{Defaults, Of, commit, set, show};
use crate::{
    access::{Doors, Grant, Permission, may},
    keys::{self, key_in},
    policies,
    projects::{self, project_in},
    web::{Failure, Form, Frame, Page, Problems, Section, or_problems, see_other_saying},
};

pub fn doors(doors: &mut Doors) {
    doors.get("/orgs/{org}/settings/routing", organization);
    doors.post("/orgs/{org}/settings/routing", change_organization);
    doors.get("/orgs/{org}/projects/{project}/routing", project);
    doors.post("/orgs/{org}/projects/{project}/routing", change_project);
    doors.get("/orgs/{org}/keys/{key}/routing", key);
    doors.post("/orgs/{org}/keys/{key}/routing", change_key);
}

#[derive(Template)]
#[template(path = "defaults/show.html")]
struct DefaultsPage {
    frame: Frame,
    /// The page before it, with its title.
    above: (String, String),
    /// Empty for the organization.
    name: String,
    here: String,
    form: DefaultsForm,
    /// What may be the default.
    names: Vec<String>,
    policies: Vec<(String, String)>,
    may_change: bool,
    problems: Problems,
}

impl DefaultsPage {
    fn policy_name(&self) -> &str {
        let chosen = self.policies.iter().find(|it| it.0 == self.form.policy);
        chosen.map_or("", |it| it.1.as_str())
    }
}

/// What is typed: empty where nothing is said.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DefaultsForm {
    default_model: String,
    policy: String,
}

impl DefaultsForm {
    fn of(defaults: Defaults) -> Self {
        Self {
            default_model: defaults.default_model.unwrap_or_default(),
            policy: defaults.policy.map(|it| it.to_string()).unwrap_or_default(),
        }
    }

    fn defaults(&self) -> Result<Defaults, Problems> {
        let mut problems = Problems::none();
        let policy = match self.policy.trim() {
            "" => None,
            text => problems.take("policy", text.parse().map_err(|_| "there is no such policy")),
        };
        problems.check()?;
        let model = self.default_model.trim();
        let default_model = (!model.is_empty()).then(|| model.to_owned());
        Ok(Defaults { default_model, policy })
    }
}

async fn organization(grant: Grant<may::ViewCatalogue>) -> Result<Page<DefaultsPage>, Failure> {
    Ok(Page(page(&grant, Of::Organization, None).await?))
}

async fn change_organization(
    grant: Grant<may::ManagePolicies>,
    form: Form<DefaultsForm>,
) -> Result<HttpResponse, Failure> {
    change(&grant, Of::Organization, form.0).await
}

async fn project(
    grant: Grant<may::ViewCatalogue>,
    path: Path<(String, String)>,
) -> Result<Page<DefaultsPage>, Failure> {
    Ok(Page(page(&grant, Of::Project(project_in(&path.1)?), None).await?))
}

async fn change_project(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    form: Form<DefaultsForm>,
) -> Result<HttpResponse, Failure> {
    change(&grant, Of::Project(project_in(&path.1)?), form.0).await
}

async fn key(
    grant: Grant<may::ViewKeys>,
    path: Path<(String, String)>,
) -> Result<Page<DefaultsPage>, Failure> {
    Ok(Page(page(&grant, Of::Key(key_in(&path.1)?), None).await?))
}

async fn change_key(
    grant: Grant<may::ManagePolicies>,
    path: Path<(String, String)>,
    form: Form<DefaultsForm>,
) -> Result<HttpResponse, Failure> {
    change(&grant, Of::Key(key_in(&path.1)?), form.0).await
}

async fn change<P>(grant: &Grant<P>, of: Of, form: DefaultsForm) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let outcome = async { set(&mut work, of, &form.defaults()?).await }.await;
    match or_problems(outcome)? {
        Ok(()) => {
            commit(grant, work).await?;
            Ok(see_other_saying(&here(grant, of), "Routing saved"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(grant, of, Some((form, problems))).await?).again())
        }
    }
}

fn here<P>(grant: &Grant<P>, of: Of) -> String {
    grant.path(&match of {
        Of::Organization => "/settings/routing".to_owned(),
        Of::Project(it) => format!("/projects/{it}/routing"),
        Of::Key(it) => format!("/keys/{it}/routing"),
    })
}

async fn page<P>(
    grant: &Grant<P>,
    of: Of,
    typed: Option<(DefaultsForm, Problems)>,
) -> Result<DefaultsPage, Failure> {
    let mut work = grant.begin().await?;
    let (section, above, name, is_gone) = match of {
        Of::Organization => {
            let above = (grant.path("/settings"), "Settings".to_owned());
            (Section::Settings, above, String::new(), grant.membership.is_archived)
        }
        Of::Project(id) => {
            let project = projects::find(&mut work, id).await?;
            let above = (grant.path(&format!("/projects/{id}")), project.name.clone());
            (Section::Projects, above, project.name.clone(), project.is_archived())
        }
        Of::Key(id) => {
            let key = keys::find(&mut work, id).await?;
            let name = key.terms.name.to_string();
            let above = (grant.path(&format!("/keys/{id}")), name.clone());
            (Section::Keys, above, name, key.revoked_at.is_some())
        }
    };
    let saved = show(&mut work, of).await?;
    let known = policies::known(&mut work).await?;
    let mut names: Vec<_> = known.models.into_iter().map(|it| it.model.name).collect();
    names.extend(known.policies);
    names.sort_unstable();
    names.dedup();
    let live = policies::list(&mut work).await?.into_iter().filter(|it| !it.is_archived());
    let none = (String::new(), "None".to_owned());
    let policies = [none].into_iter().chain(live.map(|it| (it.id.to_string(), it.name)));
    let (form, problems) = typed.unwrap_or_else(|| (DefaultsForm::of(saved), Problems::none()));
    Ok(DefaultsPage {
        frame: grant.frame(section),
        above,
        name,
        here: here(grant, of),
        form,
        names,
        policies: policies.collect(),
        may_change: grant.may(Permission::ManagePolicies) && !is_gone,
        problems,
    })
}
