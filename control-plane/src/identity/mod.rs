//! People: how they sign up, prove who they are, and stay signed in.
//!
//! Nobody learns from us whether an address has an account. Several people may claim
//! an address when they sign up, and each gets an account at once; the one who opens
//! the link we mail there has it from then on, and links to the others die.

mod account;
mod attempts;
mod links;
mod passwords;
pub mod people;
mod second_factor;
pub mod sessions;
mod sign_in;
mod sign_up;
mod store;
#[cfg(test)]
mod tests;
mod web;

use shared::failure::{Classified, Code, Kind, Problem, code};

pub use passwords::{Password, PasswordError, Passwords, WeakPassword};
pub use people::EmailAddress;
pub use sessions::Session;

use crate::{
    access::{Actor, Doors, Origin},
    audit::{self, Entry},
    organizations::OrganizationError,
    web::Problems,
};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
    account::doors(doors);
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{0}")]
    Problems(#[from] Problems),
    #[error("that address and password do not match an account")]
    WrongCredentials,
    #[error("that is not the code, or it was used already")]
    WrongCode,
    #[error("the password is wrong")]
    WrongPassword,
    #[error("too many tries: wait {seconds} seconds, then try again")]
    TooManyTries { seconds: i64 },
    #[error("the link has expired or was used already: ask for a new one")]
    DeadLink,
    #[error("start again: there is nothing to confirm")]
    NothingToConfirm,
    #[error("there is no such session")]
    NoSuchSession,
    #[error("there is no operator of that address")]
    NotOperator,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Organization(#[from] OrganizationError),
    #[error("a seed could not be opened")]
    Seed(#[from] shared::seal::CannotOpen),
    #[error("the store of people failed")]
    Store(#[from] sqlx::Error),
}

impl Classified for IdentityError {
    fn kind(&self) -> Kind {
        match self {
            Self::Problems(_) | Self::WrongCode | Self::WrongPassword => Kind::Invalid,
            Self::WrongCredentials | Self::NotOperator => Kind::Invalid,
            Self::TooManyTries { .. } => Kind::RateLimited,
            Self::DeadLink | Self::NothingToConfirm | Self::NoSuchSession => Kind::NotFound,
            Self::Password(error) => error.kind(),
            Self::Organization(error) => error.kind(),
            Self::Seed(_) => Kind::Internal,
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::WrongCredentials => code::WRONG_CREDENTIALS,
            Self::Organization(error) => error.code(),
            Self::Problems(_)
            | Self::WrongCode
            | Self::WrongPassword
            | Self::TooManyTries { .. }
            | Self::DeadLink
            | Self::NothingToConfirm
            | Self::NoSuchSession
            | Self::NotOperator
            | Self::Password(_)
            | Self::Seed(_)
            | Self::Store(_) => self.kind().code(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let field = match self {
            Self::Problems(problems) => return problems.list().to_vec(),
            Self::Organization(error) => return error.problems(),
            Self::WrongCredentials => "email",
            Self::WrongCode => "code",
            Self::WrongPassword => "current_password",
            Self::TooManyTries { .. }
            | Self::DeadLink
            | Self::NothingToConfirm
            | Self::NoSuchSession
            | Self::NotOperator
            | Self::Password(_)
            | Self::Seed(_)
            | Self::Store(_) => return Vec::new(),
        };
        vec![Problem { field, message: self.to_string() }]
    }
}

/// Removes what has ended. A job.
pub async fn clear_away(db: &sqlx::PgPool) -> Result<(), sqlx::Error> {
    let mut conn = db.acquire().await?;
    store::clear_away(&mut conn).await
}

/// Makes the person who has that address an operator. For the command line: no page does it.
pub async fn make_operator(db: &sqlx::PgPool, email: &str) -> Result<(), IdentityError> {
    let email: EmailAddress = email.parse().map_err(|_| IdentityError::WrongCredentials)?;
    let mut tx = db.begin().await?;
    let person = people::verified(&mut tx, &email).await?.ok_or(IdentityError::WrongCredentials)?;
    appoint(&mut tx, person, &email).await?;
    tx.commit().await?;
    Ok(())
}

/// An operator of the platform, by their address, as who acts.
pub async fn operator(db: &sqlx::PgPool, email: &str) -> Result<Actor, IdentityError> {
    let email: EmailAddress = email.parse().map_err(|_| IdentityError::NotOperator)?;
    let mut conn = db.acquire().await?;
    let person = people::verified(&mut conn, &email).await?.ok_or(IdentityError::NotOperator)?;
    match store::is_operator(&mut conn, person).await? {
        true => Ok(Actor::Person { id: person, email: email.to_string() }),
        false => Err(IdentityError::NotOperator),
    }
}

/// Makes a person an operator, as part of the caller's transaction.
pub async fn appoint(
    conn: &mut sqlx::PgConnection,
    person: shared::ids::PersonId,
    email: &EmailAddress,
) -> Result<(), sqlx::Error> {
    store::make_operator(conn, person).await?;
    let entry = Entry::new("operator.appointed", person, email);
    audit::record_platform(conn, &Actor::System, Origin::internal(), entry).await
}
