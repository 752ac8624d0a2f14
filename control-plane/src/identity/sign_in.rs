//! Signing in and out, and getting back in.

use actix_web::cookie::{Cookie, time::Duration};
use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use secrecy::{ExposeSecret, SecretString};
use shared::{ids::PersonId, random};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{
    EmailAddress, IdentityError, Password, Session,
    attempts::{self, Bucket},
    links::{self, Purpose},
    second_factor, sessions, store,
};
use crate::{
    access::Actor,
    audit::{self, Entry},
    mail::{self, Letter},
    platform::Platform,
    web::{Cookies, Problems, Visit},
};

/// What a browser is given that signed in.
pub struct SignedInBrowser {
    pub cookies: Vec<Cookie<'static>>,
    /// Whether a code is to be shown next.
    pub awaits_code: bool,
}

pub async fn sign_in(
    platform: &Platform,
    visit: &Visit,
    email: &str,
    password: &SecretString,
    now: OffsetDateTime,
) -> Result<SignedInBrowser, IdentityError> {
    let marks = &platform.secrets.marks;
    // Not an address: the same answer as for one without an account.
    let email: EmailAddress = email.parse().map_err(|_| IdentityError::WrongCredentials)?;
    let device = known_device(marks, visit, &email);
    let account = Bucket::account(marks, email.as_str(), device.as_deref());
    let address = Bucket::address(marks, visit.address);

    let mut tx = platform.db.begin().await?;
    attempts::check(&mut tx, &[&account, &address], now).await?;
    let candidates = store::candidates(&mut tx, &email).await?;
    tx.commit().await?;

    // Always two, so that time tells nothing of how many there are.
    let mut candidates = candidates.into_iter();
    let mut matched = None;
    for candidate in [candidates.next(), candidates.next()] {
        let hash = candidate.as_ref().map(|it| it.password_hash.clone());
        let is_right = platform.passwords.verify(password, hash).await?;
        if is_right && matched.is_none() {
            matched = candidate;
        }
    }

    let mut tx = platform.db.begin().await?;
    let Some(person) = matched else {
        attempts::count(&mut tx, &[&account, &address], now).await?;
        tx.commit().await?;
        return Err(IdentityError::WrongCredentials);
    };
    attempts::forget(&mut tx, &account).await?;
    let session = sessions::start(&mut tx, visit, person.id, false).await?;
    if !person.has_factor {
        note(&mut tx, visit, person.id, &email, "session.started").await?;
    }
    tx.commit().await?;
    let device = device_cookie(marks, &email);
    Ok(SignedInBrowser { cookies: vec![session, device], awaits_code: person.has_factor })
}

/// Shows the code that a session awaits, or a recovery code instead.
pub async fn show_code(
    platform: &Platform,
    visit: &Visit,
    session: &Session,
    code: &SecretString,
    now: OffsetDateTime,
) -> Result<Cookie<'static>, IdentityError> {
    let (marks, person) = (&platform.secrets.marks, session.person);
    let bucket = Bucket::code(marks, person);
    let mut tx = platform.db.begin().await?;
    attempts::check(&mut tx, &[&bucket], now).await?;
    let plain = code.expose_secret();
    let is_recovery = plain.contains('-');
    let shown = if is_recovery {
        second_factor::recover(&mut tx, marks, person, code).await
    } else {
        second_factor::check(&mut tx, &platform.secrets.seeds, person, plain, now).await
    };
    if let Err(IdentityError::WrongCode) = shown {
        attempts::count(&mut tx, &[&bucket], now).await?;
        tx.commit().await?;
        return Err(IdentityError::WrongCode);
    }
    shown?;
    attempts::forget(&mut tx, &bucket).await?;
    let cookie = sessions::start(&mut tx, visit, person, true).await?;
    let action = if is_recovery { "session.started_by_recovery" } else { "session.started" };
    let email = session.email.parse().map_err(|_| IdentityError::WrongCode)?;
    note(&mut tx, visit, person, &email, action).await?;
    tx.commit().await?;
    Ok(cookie)
}

pub async fn sign_out(platform: &Platform, visit: &Visit) -> Result<(), IdentityError> {
    let Some(token) = &visit.session else { return Ok(()) };
    let mut conn = platform.db.acquire().await?;
    Ok(sessions::end(&mut conn, token).await?)
}

/// Mails a link for a new password to whoever has the address, if anybody has. Says
/// nothing of it, and takes as long either way.
pub async fn ask_for_reset(
    platform: &Platform,
    visit: &Visit,
    email: &str,
    now: OffsetDateTime,
) -> Result<(), IdentityError> {
    let mut problems = Problems::none();
    let email = problems.take("email", email.parse::<EmailAddress>());
    problems.check()?;
    let Some(email) = email else { return Ok(()) };

    let marks = &platform.secrets.marks;
    let (address, target) =
        (Bucket::address(marks, visit.address), Bucket::mail(marks, email.as_str()));
    let mut tx = platform.db.begin().await?;
    attempts::check(&mut tx, &[&address], now).await?;
    let may_mail = attempts::check(&mut tx, &[&target], now).await.is_ok();
    attempts::count(&mut tx, &[&address, &target], now).await?;
    let person = store::candidates(&mut tx, &email).await?.into_iter().next();
    if let Some(person) = person.filter(|_| may_mail) {
        let token = links::make(&mut tx, person.id, Purpose::Reset).await?;
        let link = platform.link(&format!("/password/reset/{}", token.expose_secret()));
        let letter = Letter {
            to: email.to_string(),
            subject: "Set a new password".to_owned(),
            text: format!(
                "Somebody asked for a new password for your Turnpike account. To set one, \
                 open this link within an hour:\n\n{link}\n\nIf it was not you, there is \
                 nothing to do: the password stays as it is.\n"
            ),
        };
        mail::queue(&mut tx, &platform.secrets.mail, &letter).await?;
    }
    tx.commit().await?;
    platform.nudges.mail.notify_one();
    Ok(())
}

/// Sets a new password by a link that was mailed. Every session ends, and none begins:
/// the link shows who reads the mail, not that they have the second factor.
pub async fn reset(
    platform: &Platform,
    visit: &Visit,
    token: &SecretString,
    password: SecretString,
) -> Result<(), IdentityError> {
    let mut conn = platform.db.acquire().await?;
    let person = links::look(&mut conn, token, Purpose::Reset).await?;
    let email = store::email_of(&mut conn, person).await?;
    drop(conn);
    let password = checked(password, "password", &[&email])?;
    let hash = platform.passwords.hash(password).await?;

    let mut tx = platform.db.begin().await?;
    let person = links::redeem(&mut tx, token, Purpose::Reset).await?;
    store::set_password(&mut tx, person, &hash).await?;
    store::verify_email(&mut tx, person).await?;
    store::forget_links(&mut tx, person, Purpose::Reset).await?;
    store::end_sessions(&mut tx, person, None).await?;
    tell_of_new_password(&mut tx, platform, &email).await?;
    let email: EmailAddress = email.parse().map_err(|_| IdentityError::DeadLink)?;
    note(&mut tx, visit, person, &email, "password.reset").await?;
    tx.commit().await?;
    platform.nudges.mail.notify_one();
    Ok(())
}

pub(super) async fn tell_of_new_password(
    conn: &mut PgConnection,
    platform: &Platform,
    email: &str,
) -> Result<(), sqlx::Error> {
    let letter = Letter {
        to: email.to_owned(),
        subject: "Your password was changed".to_owned(),
        text: format!(
            "The password of your Turnpike account was changed just now, and other \
             sessions were ended. If it was not you, set a new one at once:\n\n{}\n",
            platform.link("/password/reset")
        ),
    };
    mail::queue(conn, &platform.secrets.mail, &letter).await
}

/// A password good enough to keep, or the problem to show beside its field.
pub(super) fn checked(
    text: SecretString,
    field: &'static str,
    context: &[&str],
) -> Result<Password, IdentityError> {
    Password::new(text, context).map_err(|weak| Problems::one(field, weak).into())
}

/// Tells the platform's chain what somebody did with their account.
pub(super) async fn note(
    conn: &mut PgConnection,
    visit: &Visit,
    person: PersonId,
    email: &EmailAddress,
    action: &'static str,
) -> Result<(), sqlx::Error> {
    let actor = Actor::Person { id: person, email: email.to_string() };
    let entry = Entry::new(action, person, email);
    audit::record_platform(conn, &actor, visit.origin(), entry).await
}

/// The mark of a browser in which this account has signed in before.
fn known_device(marks: &hmac::Key, visit: &Visit, email: &EmailAddress) -> Option<String> {
    let (id, tag) = visit.device.as_deref()?.split_once('.')?;
    let tag = BASE64.decode(tag).ok()?;
    hmac::verify(marks, device_text(id, email).as_bytes(), &tag).ok()?;
    Some(id.to_owned())
}

fn device_cookie(marks: &hmac::Key, email: &EmailAddress) -> Cookie<'static> {
    let id = random::base62(16);
    let tag = hmac::sign(marks, device_text(&id, email).as_bytes());
    let value = format!("{id}.{}", BASE64.encode(tag.as_ref()));
    Cookies::make(Cookies::DEVICE, value, Some(Duration::days(180)))
}

fn device_text(id: &str, email: &EmailAddress) -> String {
    format!("device|{id}|{email}")
}
