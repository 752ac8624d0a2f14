//! One's own account: how things are shown, the password, the second factor, and where
//! one is signed in.

use actix_web::{HttpResponse, http::StatusCode, web::Path};
use askama::Template;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use time::OffsetDateTime;

use super::{
    EmailAddress, IdentityError, Session,
    attempts::{self, Bucket},
    second_factor::{self, Proposal},
    sessions, sign_in, sign_up,
    store::{self, Preferences, SessionRow},
};
use crate::{
    access::{Doors, SignedIn, Visitor},
    platform::Platform,
    web::{
        Cookies, Failure, Form, Frame, Moment, Nothing, Page, Problems, or_problems, see_other,
        see_other_saying,
    },
    zones::ZoneName,
};

const SECURITY: &str = "/account/security";

pub fn doors(doors: &mut Doors) {
    doors.get("/account", profile_page);
    doors.post("/account", do_change);
    doors.post("/account/verify", do_send_again);
    doors.post("/theme", do_choose_theme);
    doors.get(SECURITY, security_page);
    doors.post("/account/password", do_change_password);
    doors.post("/account/sessions/{session}/revoke", do_revoke);
    doors.post("/account/sessions/revoke-others", do_revoke_others);
    doors.post("/account/mfa", do_propose);
    doors.post("/account/mfa/confirm", do_confirm);
    doors.post("/account/mfa/codes", do_renew_codes);
    doors.post("/account/mfa/disable", do_disable);
}

#[derive(Template)]
#[template(path = "identity/profile.html")]
struct ProfilePage {
    frame: Frame,
    problems: Problems,
    email: String,
    is_verified: bool,
    time_zone: String,
    theme: String,
    time_zones: &'static [&'static str],
}

#[derive(Template)]
#[template(path = "identity/security.html")]
struct SecurityPage {
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
struct ProfileForm {
    #[serde(default)]
    time_zone: String,
    #[serde(default)]
    theme: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThemeForm {
    #[serde(default)]
    theme: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordForm {
    #[serde(default)]
    current_password: SecretString,
    #[serde(default)]
    new_password: SecretString,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CurrentPasswordForm {
    #[serde(default)]
    current_password: SecretString,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeForm {
    #[serde(default)]
    code: String,
}

async fn profile_page(signed_in: SignedIn) -> Result<HttpResponse, Failure> {
    let preferences = preferences(&signed_in).await?;
    Ok(Page(profile(&signed_in, preferences, Problems::none())).with(StatusCode::OK))
}

async fn do_change(signed_in: SignedIn, form: Form<ProfileForm>) -> Result<HttpResponse, Failure> {
    let ProfileForm { time_zone, theme } = form.0;
    let mut problems = Problems::none();
    let zone = problems.take("time_zone", time_zone.parse::<ZoneName>());
    if !is_theme(&theme) {
        problems.add("theme", "choose one of the themes");
    }
    let Some(zone) = zone.filter(|_| problems.is_empty()) else {
        let typed = Preferences { time_zone, theme, ..preferences(&signed_in).await? };
        return Ok(Page(profile(&signed_in, typed, problems)).again());
    };
    let mut conn = signed_in.platform.db.acquire().await?;
    store::set_preferences(&mut conn, signed_in.session.person, zone.as_str(), &theme).await?;
    let mut response = see_other_saying("/account", "Saved");
    let _ = response.add_cookie(&theme_cookie(&theme));
    Ok(response)
}

async fn do_send_again(signed_in: SignedIn, _: Form<Nothing>) -> Result<HttpResponse, Failure> {
    let now = OffsetDateTime::now_utc();
    sign_up::send_again(&signed_in.platform, &signed_in.session, now).await?;
    Ok(see_other_saying("/account", "A new link is on its way"))
}

/// For everybody, signed in or not: a choice of this browser.
async fn do_choose_theme(visitor: Visitor, form: Form<ThemeForm>) -> Result<HttpResponse, Failure> {
    let theme = if is_theme(&form.theme) { form.0.theme } else { "system".to_owned() };
    let session = visitor.session.as_ref().filter(|it| !it.awaits_code);
    if let Some(session) = session {
        let mut conn = visitor.platform.db.acquire().await?;
        let zone = &session.time_zone;
        store::set_preferences(&mut conn, session.person, zone, &theme).await?;
    }
    let mut response = see_other(if session.is_some() { "/account" } else { "/" });
    let _ = response.add_cookie(&theme_cookie(&theme));
    Ok(response)
}

fn is_theme(text: &str) -> bool {
    ["system", "light", "dark"].contains(&text)
}

fn theme_cookie(theme: &str) -> actix_web::cookie::Cookie<'static> {
    let age = actix_web::cookie::time::Duration::days(365);
    Cookies::make(Cookies::THEME, theme.to_owned(), Some(age))
}

async fn preferences(signed_in: &SignedIn) -> Result<Preferences, sqlx::Error> {
    let mut conn = signed_in.platform.db.acquire().await?;
    store::preferences(&mut conn, signed_in.session.person).await
}

fn profile(signed_in: &SignedIn, it: Preferences, problems: Problems) -> ProfilePage {
    ProfilePage {
        frame: signed_in.frame(),
        problems,
        email: it.email,
        is_verified: it.is_verified,
        time_zone: it.time_zone,
        theme: it.theme,
        time_zones: ZoneName::COMMON,
    }
}

async fn security_page(signed_in: SignedIn) -> Result<HttpResponse, Failure> {
    Ok(Page(security(&signed_in, Problems::none()).await?).with(StatusCode::OK))
}

async fn security(signed_in: &SignedIn, problems: Problems) -> Result<SecurityPage, Failure> {
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

async fn do_change_password(
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
        Err(problems) => Ok(Page(security(&signed_in, problems).await?).again()),
    }
}

/// Ends every session, this one too, which goes on under a new secret.
async fn change_password(
    signed_in: &SignedIn,
    current: &SecretString,
    new: SecretString,
) -> Result<actix_web::cookie::Cookie<'static>, IdentityError> {
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

/// Who changes how an account is entered shows the password once more: a session left
/// open somewhere is not enough.
async fn confirm_password(
    platform: &Platform,
    session: &Session,
    password: &SecretString,
) -> Result<(), IdentityError> {
    let bucket = Bucket::code(&platform.secrets.marks, session.person);
    let now = OffsetDateTime::now_utc();
    let mut conn = platform.db.acquire().await?;
    attempts::check(&mut conn, &[&bucket], now).await?;
    let hash = store::password_hash(&mut conn, session.person).await?;
    drop(conn);
    let is_right = platform.passwords.verify(password, hash).await?;
    let mut conn = platform.db.acquire().await?;
    if is_right {
        attempts::forget(&mut conn, &bucket).await?;
        return Ok(());
    }
    attempts::count(&mut conn, &[&bucket], now).await?;
    Err(IdentityError::WrongPassword)
}

async fn do_revoke(
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

async fn do_revoke_others(signed_in: SignedIn, _: Form<Nothing>) -> Result<HttpResponse, Failure> {
    let session = &signed_in.session;
    let mut tx = signed_in.platform.db.begin().await?;
    store::end_sessions(&mut tx, session.person, Some(session.id)).await?;
    note(&mut tx, &signed_in, "session.others_revoked").await?;
    tx.commit().await?;
    Ok(see_other_saying(SECURITY, "Other sessions ended"))
}

async fn do_propose(
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
        Err(problems) => Ok(Page(security(&signed_in, problems).await?).again()),
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

async fn do_confirm(signed_in: SignedIn, form: Form<CodeForm>) -> Result<HttpResponse, Failure> {
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
) -> Result<(Vec<SecretString>, actix_web::cookie::Cookie<'static>), IdentityError> {
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

async fn do_renew_codes(
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
        Err(problems) => Ok(Page(security(&signed_in, problems).await?).again()),
    }
}

async fn do_disable(
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
        Err(problems) => Ok(Page(security(&signed_in, problems).await?).again()),
    }
}

async fn note(
    conn: &mut sqlx::PgConnection,
    signed_in: &SignedIn,
    action: &'static str,
) -> Result<(), sqlx::Error> {
    let session = &signed_in.session;
    match session.email.parse::<EmailAddress>() {
        Ok(email) => sign_in::note(conn, &signed_in.visit, session.person, &email, action).await,
        Err(_) => Ok(()),
    }
}
