//! A key's page, and what is done there.

use actix_web::{HttpResponse, http::StatusCode, web::Path};
use askama::Template;
use serde::Deserialize;
use shared::{ids::ApiKeyId, snapshot::BudgetScope};
use time::OffsetDateTime;

use super::{
    KeyLine,
    form::{KeyForm, ScopeChoice, scope_choices},
    issued,
};
use crate::{
    access::{Grant, SignedIn, may},
    budgets::{self, web::BudgetsOf},
    fleet::{self, Revocation},
    keys::{
        self, KeyError, Overlap, Reach, SecretHint, commit, edit, end_overlap, key_in, revoke,
        rotate, secrets,
    },
    web::{
        Failure, Form, Frame, Moment, Nothing, Page, Problems, Section, or_problems, see_other,
        see_other_saying,
    },
};

#[derive(Template)]
#[template(path = "keys/show.html")]
pub(super) struct KeyPage {
    frame: Frame,
    key: KeyLine,
    secrets: Vec<SecretLine>,
    has_overlap: bool,
    created_by: String,
    revoked: Option<(Moment, String)>,
    /// How far the revocation has come.
    revocation: Option<Revocation>,
    form: KeyForm,
    scopes: Vec<ScopeChoice>,
    overlap_hours: String,
    may_change: bool,
    budgets: Option<BudgetsOf>,
    problems: Problems,
}

struct SecretLine {
    hint: String,
    created: Moment,
    valid_until: Option<Moment>,
}

impl SecretLine {
    fn of(secret: SecretHint, zone: &str) -> Self {
        Self {
            hint: secret.hint,
            created: Moment::new(secret.created_at, zone),
            valid_until: secret.valid_until.map(|it| Moment::new(it, zone)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateForm {
    #[serde(default)]
    overlap_hours: String,
}

pub(super) async fn show(
    grant: Grant<may::ViewKeys>,
    path: Path<(String, String)>,
) -> Result<Page<KeyPage>, Failure> {
    let key = key_in(&path.1)?;
    Ok(Page(page(&grant, key, Typed::default(), Problems::none()).await?))
}

pub(super) async fn change(
    grant: Grant<may::CreateKeys>,
    path: Path<(String, String)>,
    form: Form<KeyForm>,
) -> Result<HttpResponse, Failure> {
    let key = key_in(&path.1)?;
    let mut work = grant.begin().await?;
    let now = OffsetDateTime::now_utc();
    let outcome = edit(&mut work, Reach::of(&grant), key, |kept| form.change(kept, now)).await;
    match or_problems(outcome)? {
        Ok(()) => {
            commit(&grant, work).await?;
            Ok(back(&grant, key, "Key changed"))
        }
        Err(problems) => {
            drop(work);
            let typed = Typed { form: Some(form.0), overlap_hours: None };
            Ok(Page(page(&grant, key, typed, problems).await?).again())
        }
    }
}

pub(super) async fn renew(
    grant: Grant<may::CreateKeys>,
    path: Path<(String, String)>,
    form: Form<RotateForm>,
) -> Result<HttpResponse, Failure> {
    let key = key_in(&path.1)?;
    let mut work = grant.begin().await?;
    let outcome = async {
        let overlap = form.overlap_hours.parse::<Overlap>();
        let overlap = overlap.map_err(|error| Problems::one("overlap_hours", error))?;
        let issued = rotate(&mut work, Reach::of(&grant), key, overlap).await?;
        Ok::<_, KeyError>((issued, overlap))
    }
    .await;
    match or_problems(outcome)? {
        Ok((issued, overlap)) => {
            let terms = keys::find(&mut work, key).await?.terms;
            let hours = Some(overlap.hours());
            let page = issued::page(&grant, &mut work, issued, &terms, hours).await?;
            let told = commit(&grant, work).await?;
            Ok(Page(page.told(told)).with(StatusCode::OK))
        }
        Err(problems) => {
            drop(work);
            let typed = Typed { form: None, overlap_hours: Some(form.0.overlap_hours) };
            Ok(Page(page(&grant, key, typed, problems).await?).again())
        }
    }
}

pub(super) async fn end_old(
    grant: Grant<may::CreateKeys>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let key = key_in(&path.1)?;
    let mut work = grant.begin().await?;
    end_overlap(&mut work, Reach::of(&grant), key).await?;
    let told = commit(&grant, work).await?;
    Ok(back(&grant, key, &told.beside("Earlier secrets stopped")))
}

pub(super) async fn close(
    grant: Grant<may::CreateKeys>,
    path: Path<(String, String)>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let key = key_in(&path.1)?;
    let mut work = grant.begin().await?;
    revoke(&mut work, Reach::of(&grant), key).await?;
    let told = commit(&grant, work).await?;
    Ok(back(&grant, key, &told.beside("Key revoked")))
}

/// Where links of errors lead: to the key's page in its organization.
pub(super) async fn find(signed_in: SignedIn, path: Path<String>) -> Result<HttpResponse, Failure> {
    let key = key_in(&path)?;
    let place = keys::place(&signed_in.platform.db, key, signed_in.session.person).await?;
    let slug = place.ok_or(KeyError::NotFound)?;
    Ok(see_other(&format!("/orgs/{slug}/keys/{key}")))
}

/// What was typed into a form of the key's page that was refused.
#[derive(Default)]
struct Typed {
    form: Option<KeyForm>,
    overlap_hours: Option<String>,
}

async fn page<P>(
    grant: &Grant<P>,
    id: ApiKeyId,
    typed: Typed,
    problems: Problems,
) -> Result<KeyPage, Failure> {
    let mut work = grant.begin().await?;
    let key = keys::find(&mut work, id).await?;
    let secrets = secrets::working(&mut work, id).await?;
    drop(work);
    let budgets = budgets::web::of(grant, BudgetScope::Key(id)).await?;
    let zone = grant.zone();
    let form = typed.form.unwrap_or_else(|| KeyForm::of(&key.terms));
    let is_revoked = key.revoked_at.is_some();
    let by = key.revoked_by.clone().unwrap_or_else(|| "a service".to_owned());
    let revocation = match is_revoked {
        true => fleet::revocation(&grant.platform, id).await,
        false => None,
    };
    Ok(KeyPage {
        frame: grant.frame(Section::Keys),
        revocation,
        has_overlap: !is_revoked && secrets.iter().any(|it| it.valid_until.is_some()),
        secrets: secrets.into_iter().map(|it| SecretLine::of(it, zone)).collect(),
        created_by: key.created_by.clone().unwrap_or_else(|| "a service".to_owned()),
        revoked: key.revoked_at.map(|at| (Moment::new(at, zone), by)),
        scopes: scope_choices(&form.scopes),
        form,
        overlap_hours: typed.overlap_hours.unwrap_or_else(|| Overlap::USUAL.hours().to_string()),
        may_change: !is_revoked && Reach::of(grant).covers(key.owner),
        key: KeyLine::of(&key, zone, OffsetDateTime::now_utc()),
        budgets,
        problems,
    })
}

fn back<P>(grant: &Grant<P>, key: ApiKeyId, notice: &str) -> HttpResponse {
    see_other_saying(&grant.path(&format!("/keys/{key}")), notice)
}
