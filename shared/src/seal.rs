//! Secrets at rest: encrypted, and bound to what they are for.
//!
//! A sealed value opens only with the same purpose it was sealed for, so that a row's
//! ciphertext copied to another row, or a credential moved to another host, is refused
//! rather than used.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    hmac,
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use secrecy::{ExposeSecret, SecretString};

/// 32 bytes from configuration, from which each use gets a key of its own.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    pub fn generate() -> Self {
        Self(crate::random::bytes())
    }

    pub fn to_base64(&self) -> SecretString {
        BASE64.encode(self.0).into()
    }

    /// A key for encrypting, different for each `use_of`.
    pub fn sealer(&self, use_of: &'static str) -> Sealer {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.derive(use_of));
        Sealer { key: key.expect("AES-256 takes 32 bytes") }
    }

    /// A key for signing short texts, different for each `use_of`.
    pub fn signer(&self, use_of: &'static str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.derive(use_of))
    }

    fn derive(&self, use_of: &'static str) -> [u8; 32] {
        struct Length;
        impl KeyType for Length {
            fn len(&self) -> usize {
                32
            }
        }
        let salt = Salt::new(HKDF_SHA256, b"turnpike/v1");
        let mut key = [0; 32];
        salt.extract(&self.0)
            .expand(&[use_of.as_bytes()], Length)
            .and_then(|it| it.fill(&mut key))
            .expect("32 bytes are within what HKDF gives");
        key
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl std::str::FromStr for MasterKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bytes = BASE64.decode(text.trim()).map_err(|_| BadKey)?;
        let key: [u8; 32] = bytes.try_into().map_err(|_| BadKey)?;
        // A key of one repeated byte was typed, not drawn.
        if key.iter().all(|it| *it == key[0]) { Err(BadKey) } else { Ok(Self(key)) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 32 random bytes in base64")]
pub struct BadKey;

#[derive(Debug)]
pub struct Sealer {
    key: RandomizedNonceKey,
}

impl Sealer {
    /// Encrypts `secret` for `purpose` alone. The nonce stands before the ciphertext.
    pub fn seal(&self, secret: &[u8], purpose: &str) -> Vec<u8> {
        let mut sealed = secret.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(purpose), &mut sealed)
            .expect("what we seal is far shorter than AES-GCM allows");
        [nonce.as_ref().as_slice(), &sealed].concat()
    }

    pub fn open(&self, sealed: &[u8], purpose: &str) -> Result<Vec<u8>, CannotOpen> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(CannotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CannotOpen)?;
        let mut buffer = rest.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(purpose), &mut buffer);
        plain.map(|it| it.to_vec()).map_err(|_| CannotOpen)
    }

    pub fn open_text(&self, sealed: &[u8], purpose: &str) -> Result<SecretString, CannotOpen> {
        let bytes = self.open(sealed, purpose)?;
        String::from_utf8(bytes).map(SecretString::from).map_err(|_| CannotOpen)
    }

    pub fn seal_text(&self, secret: &SecretString, purpose: &str) -> Vec<u8> {
        self.seal(secret.expose_secret().as_bytes(), purpose)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value was altered, or sealed for another purpose or with another key")]
pub struct CannotOpen;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_purpose_only() {
        let sealer = MasterKey::generate().sealer("test");
        let sealed = sealer.seal(b"seed", "person 1");
        assert_eq!(sealer.open(&sealed, "person 1").unwrap(), b"seed");
        assert_eq!(sealer.open(&sealed, "person 2"), Err(CannotOpen));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let sealer = MasterKey::generate().sealer("test");
        let sealed = sealer.seal(b"seed", "");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(sealer.open(&altered, ""), Err(CannotOpen));
        }
    }

    #[test]
    fn each_use_has_a_key_of_its_own() {
        let master = MasterKey::generate();
        let sealed = master.sealer("one").seal(b"seed", "");
        assert_eq!(master.sealer("two").open(&sealed, ""), Err(CannotOpen));
    }

    #[test]
    fn a_typed_key_is_refused() {
        for bad in ["", "changeme", &BASE64.encode([0; 32]), &BASE64.encode([1, 2, 3])] {
            assert_eq!(bad.parse::<MasterKey>().unwrap_err(), BadKey);
        }
        let good = MasterKey::generate().to_base64();
        assert!(good.expose_secret().parse::<MasterKey>().is_ok());
    }
}
