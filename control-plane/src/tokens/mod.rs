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
