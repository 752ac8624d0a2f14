//! The page that makes a key.

use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use time::OffsetDateTime;

use super::{
    form::{KeyForm, ScopeChoice, scope_choices},
    issued, project_choices,
};
use crate::{
    access::{Grant, Permission, may},
    keys::{self, KeyError, Reach, commit},
    web::{Failure, Form, Frame, Page, Problems, Section, or_problems},
};

#[derive(Template)]
#[template(path = "keys/new.html")]
pub(super) struct NewKeyPage {
    frame: Frame,
    form: KeyForm,
    projects: Vec<(String, String)>,
    scopes: Vec<ScopeChoice>,
    may_serve: bool,
    problems: Problems,
}

pub(super) async fn new(grant: Grant<may::CreateKeys>) -> Result<Page<NewKeyPage>, Failure> {
    Ok(Page(page(&grant, KeyForm::usual(), Problems::none()).await?))
}

pub(super) async fn create(
    grant: Grant<may::CreateKeys>,
    form: Form<KeyForm>,
) -> Result<HttpResponse, Failure> {
    let mut work = grant.begin().await?;
    let outcome = async {
        let new = form.new_key(&grant, OffsetDateTime::now_utc())?;
        let issued = keys::create(&mut work, Reach::of(&grant), &new).await?;
        Ok::<_, KeyError>((issued, new.terms))
    }
    .await;
    match or_problems(outcome)? {
        Ok((issued, terms)) => {
            let page = issued::page(&grant, &mut work, issued, &terms, None).await?;
            commit(&grant, work).await?;
            Ok(Page(page).with(StatusCode::OK))
        }
        Err(problems) => {
            drop(work);
            let mut form = form.0;
            if form.scopes_shown.is_empty() && form.scopes.is_empty() {
                form.scopes = KeyForm::usual().scopes;
            }
            Ok(Page(page(&grant, form, problems).await?).again())
        }
    }
}

async fn page<P>(
    grant: &Grant<P>,
    form: KeyForm,
    problems: Problems,
) -> Result<NewKeyPage, Failure> {
    let mut work = grant.begin().await?;
    Ok(NewKeyPage {
        frame: grant.frame(Section::Keys),
        projects: project_choices(&mut work).await?,
        scopes: scope_choices(&form.scopes),
        may_serve: grant.may(Permission::ManageKeys),
        form,
        problems,
    })
}
