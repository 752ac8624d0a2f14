//! The second factor: setting it up, its recovery codes, and turning it off.

use actix_web::{HttpResponse, cookie::Cookie, http::StatusCode};
use askama::Template;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use time::OffsetDateTime;

use super::{SECURITY, confirm_password, note, security};
use crate::{
    access::SignedIn,
    identity::{
        IdentityError,
        attempts::{self, Bucket},
        second_factor::{self, Proposal},
        sessions, store,
    },
    web::{Failure, Form, Frame, Page, Problems, or_problems, see_other_saying},
};

#[derive(Template)]
#[template(path = "identity/enroll.html")]
struct EnrollPage {
    frame: Frame,
    problems: Problems,
    seed: String,
    picture: String,
}

#[derive(Template)]
#[template(path = "identity/recovery_codes.html")]
struct RecoveryCodesPage {
    frame: Frame,
    codes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CurrentPasswordForm {
    #[serde(default)]
    current_password: SecretString,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeForm {
    #[serde(default)]
    code: String,
}

pub(super) async fn do_propose(
    signed_in: SignedIn,
    form: Form<CurrentPasswordForm>,
) -> Result<HttpResponse, Failure> {
    let SignedIn { session, platform, .. } = &signed_in;
    let outcome = async {
        confirm_password(platform, session, &form.current_password).await?;
        let mut conn = platform.db.acquire().await?;
        let seeds = &platform.secrets.seeds;
        second_factor::propose(&mut conn, seeds, session.person, &session.email).await
    }
    .await;
    match or_problems(outcome)? {
        Ok(proposal) => {
            Ok(Page(enroll(&signed_in, proposal, Problems::none())).with(StatusCode::OK))
        }
        Err(problems) => Ok(Page(security::page(&signed_in, problems).await?).again()),
    }
}

fn enroll(signed_in: &SignedIn, proposal: Proposal, problems: Problems) -> EnrollPage {
    let seed = proposal.seed.expose_secret();
    let groups: Vec<&str> =
        (0..seed.len()).step_by(4).map(|at| &seed[at..(at + 4).min(seed.len())]).collect();
    EnrollPage {
        frame: signed_in.frame(),
        problems,
        seed: groups.join(" "),
        picture: proposal.picture,
    }
}

pub(super) async fn do_confirm(
    signed_in: SignedIn,
    form: Form<CodeForm>,
) -> Result<HttpResponse, Failure> {
    let SignedIn { session, platform, .. } = &signed_in;
    match or_problems(confirm(&signed_in, &form.code).await)? {
        Ok((codes, cookie)) => {
            let mut response = recovery_codes(&signed_in, &codes);
            let _ = response.add_cookie(&cookie);
            Ok(response)
        }
        Err(problems) => {
            let mut conn = platform.db.acquire().await?;
            let seeds = &platform.secrets.seeds;
            let proposal =
                second_factor::proposed(&mut conn, seeds, session.person, &session.email).await?;
            Ok(Page(enroll(&signed_in, proposal, problems)).again())
        }
    }
}

/// A first code shown: the factor counts from now on, in this session already.
async fn confirm(
    signed_in: &SignedIn,
    code: &str,
) -> Result<(Vec<SecretString>, Cookie<'static>), IdentityError> {
    let SignedIn { visit, session, platform } = signed_in;
    let secrets = &platform.secrets;
    let bucket = Bucket::code(&secrets.marks, session.person);
    let now = OffsetDateTime::now_utc();
    let mut tx = platform.db.begin().await?;
    attempts::check(&mut tx, &[&bucket], now).await?;
    let shown = second_factor::check(&mut tx, &secrets.seeds, session.person, code, now).await;
    if let Err(IdentityError::WrongCode) = shown {
        attempts::count(&mut tx, &[&bucket], now).await?;
        tx.commit().await?;
        return Err(IdentityError::WrongCode);
    }
    shown?;
    let codes = second_factor::new_recovery_codes(&mut tx, &secrets.marks, session.person).await?;
    store::end_sessions(&mut tx, session.person, None).await?;
    let cookie = sessions::start(&mut tx, visit, session.person, true).await?;
    note(&mut tx, signed_in, "second_factor.enabled").await?;
    tx.commit().await?;
    Ok((codes, cookie))
}

fn recovery_codes(signed_in: &SignedIn, codes: &[SecretString]) -> HttpResponse {
    let codes = codes.iter().map(|it| it.expose_secret().to_owned()).collect();
    Page(RecoveryCodesPage { frame: signed_in.frame(), codes }).with(StatusCode::OK)
}

pub(super) async fn do_renew_codes(
    signed_in: SignedIn,
    form: Form<CurrentPasswordForm>,
) -> Result<HttpResponse, Failure> {
    let SignedIn { session, platform, .. } = &signed_in;
    let outcome = async {
        confirm_password(platform, session, &form.current_password).await?;
        let mut tx = platform.db.begin().await?;
        let factor = store::factor(&mut tx, session.person).await?;
        factor.filter(|it| it.is_confirmed).ok_or(IdentityError::NothingToConfirm)?;
        let marks = &platform.secrets.marks;
        let codes = second_factor::new_recovery_codes(&mut tx, marks, session.person).await?;
        note(&mut tx, &signed_in, "second_factor.codes_renewed").await?;
        tx.commit().await?;
        Ok::<_, IdentityError>(codes)
    }
    .await;
    match or_problems(outcome)? {
        Ok(codes) => Ok(recovery_codes(&signed_in, &codes)),
        Err(problems) => Ok(Page(security::page(&signed_in, problems).await?).again()),
    }
}

pub(super) async fn do_disable(
    signed_in: SignedIn,
    form: Form<CurrentPasswordForm>,
) -> Result<HttpResponse, Failure> {
    let SignedIn { session, platform, .. } = &signed_in;
    match or_problems(confirm_password(platform, session, &form.current_password).await)? {
        Ok(()) => {
            let mut tx = platform.db.begin().await?;
            store::remove_factor(&mut tx, session.person).await?;
            store::end_sessions(&mut tx, session.person, Some(session.id)).await?;
            note(&mut tx, &signed_in, "second_factor.disabled").await?;
            tx.commit().await?;
            Ok(see_other_saying(SECURITY, "The second factor is off"))
        }
        Err(problems) => Ok(Page(security::page(&signed_in, problems).await?).again()),
    }
}
