//! Signing up, and showing that an address is one's own.

use actix_web::cookie::Cookie;
use secrecy::{ExposeSecret, SecretString};
use shared::ids::OrganizationId;
use time::OffsetDateTime;

use super::{
    EmailAddress, IdentityError, Password,
    attempts::{self, Bucket},
    links::{self, Purpose},
    people, sessions, sign_in, store,
};
use crate::{
    access::{Actor, Work},
    mail::{self, Letter},
    organizations::{self, OrganizationName},
    platform::Platform,
    web::{Problems, Visit},
};

/// What somebody types to begin.
pub struct Application {
    pub email: String,
    pub password: SecretString,
    pub organization: String,
}

/// What they have then: a session, and an organization of their own.
pub struct Welcome {
    pub cookie: Cookie<'static>,
    pub slug: String,
}

/// Makes an account and an organization. Looks the same for an address that has an
/// account already: the newcomer works on, and who reads the mail is told.
pub async fn sign_up(
    platform: &Platform,
    visit: &Visit,
    application: Application,
    now: OffsetDateTime,
) -> Result<Welcome, IdentityError> {
    let Application { email, password, organization } = application;
    let mut problems = Problems::none();
    let context = [email.as_str(), organization.as_str(), "turnpike"];
    let password = problems.take("password", Password::new(password, &context));
    let email = problems.take("email", email.parse::<EmailAddress>());
    let name = problems.take("organization", organization.parse::<OrganizationName>());
    problems.check()?;
    let (Some(email), Some(password), Some(name)) = (email, password, name) else {
        return Err(problems.into());
    };

    let bucket = Bucket::address(&platform.secrets.marks, visit.address);
    let mut conn = platform.db.acquire().await?;
    attempts::check(&mut conn, &[&bucket], now).await?;
    drop(conn);
    let hash = platform.passwords.hash(password).await?;

    let mut tx = platform.db.begin().await?;
    let is_taken = people::verified(&mut tx, &email).await?.is_some();
    let person = people::insert(&mut tx, &email, &hash, false).await?;
    let cookie = sessions::start(&mut tx, visit, person, false).await?;
    let letter = if is_taken {
        already_there(platform, &email)
    } else {
        let token = links::make(&mut tx, person, Purpose::Verify).await?;
        please_confirm(platform, &email, &token)
    };
    mail::queue(&mut tx, &platform.secrets.mail, &letter).await?;
    sign_in::note(&mut tx, visit, person, &email, "person.signed_up").await?;
    let actor = Actor::Person { id: person, email: email.to_string() };
    let organization = OrganizationId::generate();
    let mut work = Work::within(tx, organization, actor, visit.origin()).await?;
    let slug = organizations::found(&mut work, &name).await?;
    work.commit().await?;
    platform.nudges.mail.notify_one();
    Ok(Welcome { cookie, slug })
}

/// Takes an address as shown to be the link's owner's.
pub async fn verify(
    platform: &Platform,
    visit: &Visit,
    token: &SecretString,
) -> Result<(), IdentityError> {
    let mut tx = platform.db.begin().await?;
    let person = links::redeem(&mut tx, token, Purpose::Verify).await?;
    let email = store::email_of(&mut tx, person).await?;
    if !store::verify_email(&mut tx, person).await? {
        return Err(IdentityError::DeadLink);
    }
    let email: EmailAddress = email.parse().map_err(|_| IdentityError::DeadLink)?;
    sign_in::note(&mut tx, visit, person, &email, "person.email_verified").await?;
    tx.commit().await?;
    Ok(())
}

/// Mails another link, to an address not shown to be theirs yet.
pub async fn send_again(
    platform: &Platform,
    session: &super::Session,
    now: OffsetDateTime,
) -> Result<(), IdentityError> {
    if session.is_verified {
        return Ok(());
    }
    let Ok(email) = session.email.parse::<EmailAddress>() else { return Ok(()) };
    let target = Bucket::mail(&platform.secrets.marks, email.as_str());
    let mut tx = platform.db.begin().await?;
    attempts::check(&mut tx, &[&target], now).await?;
    attempts::count(&mut tx, &[&target], now).await?;
    let letter = if people::verified(&mut tx, &email).await?.is_some() {
        already_there(platform, &email)
    } else {
        let token = links::make(&mut tx, session.person, Purpose::Verify).await?;
        please_confirm(platform, &email, &token)
    };
    mail::queue(&mut tx, &platform.secrets.mail, &letter).await?;
    tx.commit().await?;
    platform.nudges.mail.notify_one();
    Ok(())
}

fn please_confirm(platform: &Platform, email: &EmailAddress, token: &SecretString) -> Letter {
    let link = platform.link(&format!("/verify/{}", token.expose_secret()));
    Letter {
        to: email.to_string(),
        subject: "Confirm your e-mail address".to_owned(),
        text: format!(
            "Welcome to Turnpike. To confirm that this address is yours, open this link \
             within a day:\n\n{link}\n\nYour keys work meanwhile.\n"
        ),
    }
}

fn already_there(platform: &Platform, email: &EmailAddress) -> Letter {
    Letter {
        to: email.to_string(),
        subject: "You have an account already".to_owned(),
        text: format!(
            "Somebody signed up to Turnpike with this address, which has an account \
             already. If it was you, sign in instead:\n\n{}\n\nor set a new password:\n\n{}\n\n\
             If it was not, there is nothing to do: they cannot confirm your address.\n",
            platform.link("/login"),
            platform.link("/password/reset"),
        ),
    }
}
