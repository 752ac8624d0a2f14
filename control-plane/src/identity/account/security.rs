//! The password, and where one is signed in.

use actix_web::{HttpResponse, cookie::Cookie, http::StatusCode, web::Path};
use askama::Template;
use secrecy::SecretString;
use serde::Deserialize;

use super::{SECURITY, confirm_password, note};
use crate::{
    access::SignedIn,
    identity::{
        IdentityError, Session, sessions, sign_in,
        store::{self, SessionRow},
    },
    web::{Failure, Form, Frame, Moment, Nothing, Page, Problems, or_problems, see_other_saying},
};

#[derive(Template)]
#[template(path = "identity/security.html")]
pub(super) struct SecurityPage {
    frame: Frame,
    problems: Problems,
    has_second_factor: bool,
    recovery_codes_left: i64,
    sessions: Vec<SessionView>,
}

struct SessionView {
    id: String,
    is_this: bool,
    address: String,
    browser: String,
    started: Moment,
    seen: Moment,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordForm {
    #[serde(default)]
    current_password: SecretString,
    #[serde(default)]
    new_password: SecretString,
}

pub(super) async fn show(signed_in: SignedIn) -> Result<HttpResponse, Failure> {
    Ok(Page(page(&signed_in, Problems::none()).await?).with(StatusCode::OK))
}

pub(super) async fn page(
    signed_in: &SignedIn,
    problems: Problems,
) -> Result<SecurityPage, Failure> {
    let session = &signed_in.session;
    let mut conn = signed_in.platform.db.acquire().await?;
    let factor = store::factor(&mut conn, session.person).await?;
    let rows = store::sessions(&mut conn, session.person).await?;
    Ok(SecurityPage {
        frame: signed_in.frame(),
        problems,
        has_second_factor: factor.is_some_and(|it| it.is_confirmed),
        recovery_codes_left: store::recovery_codes_left(&mut conn, session.person).await?,
        sessions: rows.into_iter().map(|it| view(it, session)).collect(),
    })
}

fn view(row: SessionRow, this: &Session) -> SessionView {
    SessionView {
        id: row.id.to_string(),
        is_this: row.id == this.id,
        address: row.address,
        browser: browser(&row.user_agent).to_owned(),
        started: Moment::new(row.created_at, &this.time_zone),
        seen: Moment::new(row.last_seen_at, &this.time_zone),
    }
}

/// The browser's name, as far as it says: most claim to be several.
fn browser(user_agent: &str) -> &str {
    let known = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("HeadlessChrome/", "Chrome without a window"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    let name = known.iter().find(|(mark, _)| user_agent.contains(mark));
    name.map_or("Unknown browser", |(_, name)| name)
}

pub(super) async fn do_change_password(
    signed_in: SignedIn,
    form: Form<PasswordForm>,
) -> Result<HttpResponse, Failure> {
    let PasswordForm { current_password, new_password } = form.0;
    match or_problems(change_password(&signed_in, &current_password, new_password).await)? {
        Ok(cookie) => {
            let notice = "Password changed. Other sessions were ended";
            let mut response = see_other_saying(SECURITY, notice);
            let _ = response.add_cookie(&cookie);
            Ok(response)
        }
        Err(problems) => Ok(Page(page(&signed_in, problems).await?).again()),
    }
}

/// Ends every session, this one too, which goes on under a new secret.
async fn change_password(
    signed_in: &SignedIn,
    current: &SecretString,
    new: SecretString,
) -> Result<Cookie<'static>, IdentityError> {
    let SignedIn { visit, session, platform } = signed_in;
    confirm_password(platform, session, current).await?;
    let new = sign_in::checked(new, "new_password", &[&session.email])?;
    let hash = platform.passwords.hash(new).await?;
    let mut tx = platform.db.begin().await?;
    store::set_password(&mut tx, session.person, &hash).await?;
    store::end_sessions(&mut tx, session.person, None).await?;
    let cookie = sessions::start(&mut tx, visit, session.person, session.has_second_factor).await?;
    sign_in::tell_of_new_password(&mut tx, platform, &session.email).await?;
    note(&mut tx, signed_in, "password.changed").await?;
    tx.commit().await?;
    platform.nudges.mail.notify_one();
    Ok(cookie)
}

pub(super) async fn do_revoke(
    signed_in: SignedIn,
    session: Path<String>,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let session = session.parse().map_err(|_| IdentityError::NoSuchSession)?;
    let mut tx = signed_in.platform.db.begin().await?;
    if !store::end_session(&mut tx, signed_in.session.person, session).await? {
        return Err(IdentityError::NoSuchSession.into());
    }
    note(&mut tx, &signed_in, "session.revoked").await?;
    tx.commit().await?;
    Ok(see_other_saying(SECURITY, "Session ended"))
}

pub(super) async fn do_revoke_others(
    signed_in: SignedIn,
    _: Form<Nothing>,
) -> Result<HttpResponse, Failure> {
    let session = &signed_in.session;
    let mut tx = signed_in.platform.db.begin().await?;
    store::end_sessions(&mut tx, session.person, Some(session.id)).await?;
    note(&mut tx, &signed_in, "session.others_revoked").await?;
    tx.commit().await?;
    Ok(see_other_saying(SECURITY, "Other sessions ended"))
}
