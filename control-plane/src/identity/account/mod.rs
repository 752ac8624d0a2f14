//! One's own account: how things are shown, the password, the second factor, and where
//! one is signed in.

mod factor;
mod profile;
mod security;

use secrecy::SecretString;
use time::OffsetDateTime;

use super::{
    EmailAddress, IdentityError, Session,
    attempts::{self, Bucket},
    sign_in, store,
};
use crate::{
    access::{Doors, SignedIn},
    platform::Platform,
};

const SECURITY: &str = "/account/security";

pub fn doors(doors: &mut Doors) {
    doors.get("/account", profile::show);
    doors.post("/account", profile::do_change);
    doors.post("/account/verify", profile::do_send_again);
    doors.post("/theme", profile::do_choose_theme);
    doors.get(SECURITY, security::show);
    doors.post("/account/password", security::do_change_password);
    doors.post("/account/sessions/{session}/revoke", security::do_revoke);
    doors.post("/account/sessions/revoke-others", security::do_revoke_others);
    doors.post("/account/mfa", factor::do_propose);
    doors.post("/account/mfa/confirm", factor::do_confirm);
    doors.post("/account/mfa/codes", factor::do_renew_codes);
    doors.post("/account/mfa/disable", factor::do_disable);
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
