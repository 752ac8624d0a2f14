//! Tokens of the management API: opaque ones of people and services, and the
//! short-lived signed ones they are exchanged for.

use secrecy::{ExposeSecret, SecretString};
use shared::failure::{Classified, Kind};

use crate::{
    access::{Actor, Authority},
    organizations::Membership,
    platform::Platform,
};

/// What a token opens.
pub struct Bearer {
    pub membership: Membership,
    pub authority: Authority,
    pub actor: Actor,
}

/// Whose token that is, if it opens anything now.
pub async fn recognize(
    _platform: &Platform,
    _token: &SecretString,
) -> Result<Option<Bearer>, sqlx::Error> {
    Ok(None)
}

/// Signs and reads the short-lived tokens.
pub struct AccessTokens;

impl AccessTokens {
    pub fn new(key: &SecretString) -> Result<Self, TokenError> {
        if key.expose_secret().is_empty() { Err(TokenError::BadKey) } else { Ok(Self) }
    }
}

/// A key pair for signing: the private half as configuration takes it, and the public.
pub fn generate_signing_key() -> (SecretString, String) {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{Ed25519KeyPair, KeyPair as _},
    };
    use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let document = document.expect("the operating system gives randomness");
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("we just made it");
    (BASE64.encode(document.as_ref()).into(), BASE64.encode(pair.public_key().as_ref()))
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the signing key is not an Ed25519 private key in PKCS #8, base64")]
    BadKey,
}

impl Classified for TokenError {
    fn kind(&self) -> Kind {
        match self {
            Self::BadKey => Kind::Internal,
        }
    }
}

pub fn doors(_: &mut crate::access::Doors) {}
