//! The pages of an upstream's credentials.

use actix_web::{HttpResponse, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::ids::{CredentialId, UpstreamId};

use super::{CredentialLine, back, page, upstream_in};
use crate::{
    access::{Doors, Grant, may},
    fleet,
    upstreams::{
        Upstream, UpstreamError, commit, connection,
        credentials::{Change, NewCredential, add, label, one, remove, rotate, secret, weight},
        find,
    },
    web::{Failure, Form, Frame, Nothing, Page, Problems, Section, or_problems, see_other_saying},
};

pub fn doors(doors: &mut Doors) {
    let credential = "/orgs/{org}/providers/{provider}/credentials/{credential}";
    doors.post("/orgs/{org}/providers/{provider}/credentials", create);
    doors.get(credential, show);
    doors.post(credential, change);
    doors.post("/orgs/{org}/providers/{provider}/credentials/{credential}/rotate", renew);
    doors.post("/orgs/{org}/providers/{provider}/credentials/{credential}/remove", forget);
    doors.post("/orgs/{org}/providers/{provider}/credentials/{credential}/test", test);
}

#[derive(Template)]
#[template(path = "upstreams/credential.html")]
struct CredentialPage {
    frame: Frame,
    upstream: Upstream,
    line: CredentialLine,
    form: CredentialForm,
    problems: Problems,
}

/// What is typed about a credential. What a secret was is never put into a form.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CredentialForm {
    pub label: String,
    pub weight: String,
    secret: String,
    pub enabled: bool,
}

impl CredentialForm {
    pub fn usual() -> Self {
        Self { weight: "1".to_owned(), ..Self::default() }
    }

    fn terms(&self) -> Result<(String, i16), Problems> {
        let mut problems = Problems::none();
        let label = problems.take("label", label(&self.label));
        let number = self.weight.trim().parse().unwrap_or(-1);
        let weight = problems.take("weight", weight(number));
        problems.check()?;
        label.zip(weight).ok_or(problems)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretForm {
    #[serde(default)]
    secret: String,
}

async fn create(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String)>,
    form: Form<CredentialForm>,
) -> Result<HttpResponse, Failure> {
    let upstream = upstream_in(&path.1)?;
    let mut work = grant.begin().await?;
    let outcome = async {
        let (terms, secret) = Problems::both(form.terms(), secret(&form.secret))?;
        let new = NewCredential { label: terms.0, weight: terms.1 };
        add(&mut work, &grant.platform.secrets.credentials, upstream, &new, &secret).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(_) => {
            commit(&grant, work).await?;
            Ok(back(&grant, upstream, "Credential added"))
        }
        Err(problems) => {
            drop(work);
            Ok(Page(page(&grant, upstream, None, form.0, problems).await?).again())
        }
    }
}

async fn show(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String, String)>,
) -> Result<Page<CredentialPage>, Failure> {
    let (upstream, credential) = (upstream_in(&path.1)?, credential_in(&path.2)?);
    Ok(Page(credential_page(&grant, upstream, credential, None, Problems::none()).await?))
}

async fn change(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String, String)>,
    form: Form<CredentialForm>,
) -> Result<HttpResponse, Failure> {
    let (upstream, credential) = (upstream_in(&path.1)?, credential_in(&path.2)?);
    let mut work = grant.begin().await?;
    let outcome = async {
        let (label, weight) = form.terms()?;
        let change =
            Change { label: Some(label), weight: Some(weight), enabled: Some(form.enabled) };
        crate::upstreams::credentials::change(&mut work, upstream, credential, change).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(()) => {
            commit(&grant, work).await?;
            Ok(to_credential(&grant, upstream, credential, "Credential saved"))
        }
        Err(problems) => {
            drop(work);
            let page = credential_page(&grant, upstream, credential, Some(form.0), problems);
            Ok(Page(page.await?).again())
        }
    }
}

async fn renew(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String, String)>,
    form: Form<SecretForm>,
) -> Result<HttpResponse, Failure> {
    let (upstream, credential) = (upstream_in(&path.1)?, credential_in(&path.2)?);
    let mut work = grant.begin().await?;
    let outcome = async {
        let secret = secret(&form.secret)?;
        let sealer = &grant.platform.secrets.credentials;
        rotate(&mut work, sealer, upstream, credential, &secret).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(()) => {
            commit(&grant, work).await?;
            Ok(to_credential(&grant, upstream, credential, "Secret replaced: test the connection"))
        }
        Err(problems) => {
            drop(work);
            let page = credential_page(&grant, upstream, credential, None, problems);
            Ok(Page(page.await?).again())
        }
    }
}

async fn forget(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let (upstream, credential) = (upstream_in(&path.1)?, credential_in(&path.2)?);
    let mut work = grant.begin().await?;
    remove(&mut work, upstream, credential).await?;
    commit(&grant, work).await?;
    Ok(back(&grant, upstream, "Credential removed"))
}

async fn test(
    grant: Grant<may::ManageProviders>,
    path: Path<(String, String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let (upstream, credential) = (upstream_in(&path.1)?, credential_in(&path.2)?);
    let seen = connection::test(&grant, upstream, credential).await?;
    Ok(back(&grant, upstream, seen.about()))
}

async fn credential_page<P>(
    grant: &Grant<P>,
    upstream: UpstreamId,
    credential: CredentialId,
    typed: Option<CredentialForm>,
    problems: Problems,
) -> Result<CredentialPage, Failure> {
    let mut work = grant.begin().await?;
    let upstream = find(&mut work, upstream).await?;
    let credential = one(&mut work, upstream.id, credential).await?;
    let form = typed.unwrap_or_else(|| CredentialForm {
        label: credential.label.clone(),
        weight: credential.weight.to_string(),
        secret: String::new(),
        enabled: credential.enabled,
    });
    let left_alone = fleet::known_left_alone(&grant.platform).await.remove(&credential.id);
    Ok(CredentialPage {
        frame: grant.frame(Section::Providers),
        upstream,
        line: CredentialLine::of(credential, left_alone, grant.zone()),
        form,
        problems,
    })
}

pub(in crate::upstreams) fn credential_in(text: &str) -> Result<CredentialId, UpstreamError> {
    text.parse().map_err(|_| UpstreamError::NoCredential)
}

fn to_credential<P>(
    grant: &Grant<P>,
    upstream: UpstreamId,
    credential: CredentialId,
    notice: &str,
) -> HttpResponse {
    let path = grant.path(&format!("/providers/{upstream}/credentials/{credential}"));
    see_other_saying(&path, notice)
}
