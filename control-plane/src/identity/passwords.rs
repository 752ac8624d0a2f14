//! Passwords: what is good enough, and hashing that never blocks the event loop.

use std::{fmt, sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use secrecy::{ExposeSecret, SecretString};
use shared::failure::{Classified, Kind};
use tokio::{
    sync::Semaphore,
    task::{JoinError, spawn_blocking},
    time::timeout,
};

/// A password good enough to be somebody's only factor.
pub struct Password(SecretString);

impl Password {
    const SHORTEST: usize = 15;
    const LONGEST: usize = 1024;

    /// Refuses what is short, long beyond reason, or guessed early by those who guess:
    /// dictionaries, keyboard walks, and the words given as `context`.
    pub fn new(text: SecretString, context: &[&str]) -> Result<Self, WeakPassword> {
        let plain = text.expose_secret();
        if plain.chars().count() < Self::SHORTEST {
            return Err(WeakPassword::Short);
        }
        if plain.len() > Self::LONGEST {
            return Err(WeakPassword::Long);
        }
        // Its cost grows with the text; beyond this length nobody guesses anyway.
        let head: String = plain.chars().take(64).collect();
        if zxcvbn::zxcvbn(&head, context).score() < zxcvbn::Score::Three {
            return Err(WeakPassword::Guessable);
        }
        Ok(Self(text))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    #[error("use at least 15 characters: a few unrelated words do well")]
    Short,
    #[error("use at most 1,024 bytes")]
    Long,
    #[error("that is among the first that attackers try: use a few unrelated words")]
    Guessable,
}

/// Hashes and verifies on threads of its own, so many at a time, with a queue that ends.
pub struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Verified where there is no account, so that an unknown address takes as long.
    nobody: String,
}

impl Default for Passwords {
    fn default() -> Self {
        let nobody = argon2().hash_password(&shared::random::bytes::<16>());
        Self {
            turns: Arc::new(Semaphore::new(Self::AT_ONCE)),
            waiting: Arc::new(Semaphore::new(Self::AT_ONCE + Self::QUEUE)),
            nobody: nobody.expect("argon2 takes any password").to_string(),
        }
    }
}

impl Passwords {
    const AT_ONCE: usize = 2;
    const QUEUE: usize = 64;
    const PATIENCE: Duration = Duration::from_secs(5);

    pub async fn hash(&self, password: Password) -> Result<String, PasswordError> {
        self.turn(move || {
            let hash = argon2().hash_password(password.0.expose_secret().as_bytes());
            hash.map(|it| it.to_string()).map_err(|_| PasswordError::Hash)
        })
        .await?
    }

    /// Whether `text` is the password behind `hash`. Takes as long without a hash.
    pub async fn verify(
        &self,
        text: &SecretString,
        hash: Option<String>,
    ) -> Result<bool, PasswordError> {
        if text.expose_secret().len() > Password::LONGEST {
            return Ok(false);
        }
        let (text, is_somebody) = (text.clone(), hash.is_some());
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        self.turn(move || {
            let hash = PasswordHash::new(&hash).map_err(|_| PasswordError::Hash)?;
            let verified = argon2().verify_password(text.expose_secret().as_bytes(), &hash);
            Ok(verified.is_ok() && is_somebody)
        })
        .await?
    }

    async fn turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _place = self.waiting.try_acquire().map_err(|_| PasswordError::Busy)?;
        let turn = timeout(Self::PATIENCE, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| PasswordError::Busy)?;
        let done = spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        Ok(done.await?)
    }
}

/// OWASP's first choice for one lane: 19 MiB, two passes.
fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("the parameters are within bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many people are signing in at this moment: try again in a few seconds")]
    Busy,
    #[error("a password could not be hashed")]
    Hash,
    #[error("a password could not be hashed")]
    Thread(#[from] JoinError),
}

impl Classified for PasswordError {
    fn kind(&self) -> Kind {
        match self {
            Self::Busy => Kind::RateLimited,
            Self::Hash | Self::Thread(_) => Kind::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<WeakPassword>) {
        let outcome = Password::new(text.to_owned().into(), &["northwind", "ada@northwind.test"]);
        assert_eq!(outcome.err(), expected, "{text}");
    }

    #[test]
    fn good_passwords_are_long_and_unguessed() {
        check("correct-horse", Some(WeakPassword::Short));
        check("Password123456!", Some(WeakPassword::Guessable));
        check("aaaaaaaaaaaaaaaaaaaa", Some(WeakPassword::Guessable));
        check("northwindnorthwind", Some(WeakPassword::Guessable));
        check("violet anvil teaspoon orbit", None);
        check("ちょうどいい長さの合言葉を選びました", None);
        check(&"wörd ".repeat(300), Some(WeakPassword::Long));
    }

    #[tokio::test]
    async fn a_password_is_verified_exactly() {
        let desk = Passwords::default();
        let text = SecretString::from(" violet anvil teaspoon orbit".to_owned());
        let hash = desk.hash(Password::new(text.clone(), &[]).unwrap()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(desk.verify(&text, Some(hash.clone())).await.unwrap());
        let trimmed = SecretString::from("violet anvil teaspoon orbit".to_owned());
        assert!(!desk.verify(&trimmed, Some(hash)).await.unwrap());
        assert!(!desk.verify(&text, None).await.unwrap());
    }
}
