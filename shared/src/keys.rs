//! The format of our keys and tokens, which both planes issue and recognize.
//!
//! `tpk_live_` + 8 public characters + `_` + 32 secret ones + a checksum of all before.
//! The prefix tells people and scanners whose it is; the checksum lets us refuse a
//! mistyped or invented one without asking any store; 190 secret bits make a plain
//! hash enough to keep.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::random;

const PUBLIC: usize = 8;
const SECRET: usize = 32;
const CHECKSUM: usize = 6;

/// What a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Brand {
    /// The data plane, for real.
    Live,
    /// The data plane, marked as a trial.
    Test,
    /// The management API, on behalf of a person.
    Management,
    /// The management API, on behalf of a service.
    Service,
}

impl Brand {
    const ALL: [Self; 4] = [Self::Live, Self::Test, Self::Management, Self::Service];

    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Live => "tpk_live_",
            Self::Test => "tpk_test_",
            Self::Management => "tpk_mgmt_",
            Self::Service => "tpk_svc_",
        }
    }
}

/// What is kept of a key: enough to recognize it, too little to use it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    pub fn of(text: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// A key just made. Its secret is shown once and never kept.
#[derive(Debug)]
pub struct NewKey {
    pub secret: SecretString,
    pub hash: KeyHash,
    /// How the key is shown from now on: `tpk_live_8dK2hQ0x…f3Bz`.
    pub hint: String,
}

impl NewKey {
    pub fn generate(brand: Brand) -> Self {
        let body =
            format!("{}{}_{}", brand.prefix(), random::base62(PUBLIC), random::base62(SECRET));
        let text = format!("{body}{}", checksum(&body));
        Presented::from_str(&text).expect("we write the format that we read").into_new(text)
    }
}

/// A well-formed key that somebody sent. Whether it opens anything is another question.
#[derive(Debug)]
pub struct Presented {
    pub brand: Brand,
    pub hash: KeyHash,
    pub hint: String,
}

impl Presented {
    fn into_new(self, text: String) -> NewKey {
        NewKey { secret: text.into(), hash: self.hash, hint: self.hint }
    }

    pub fn parse(text: &SecretString) -> Result<Self, NotAKey> {
        text.expose_secret().parse()
    }
}

/// A key that somebody chose beforehand, as the demo does.
impl TryFrom<SecretString> for NewKey {
    type Error = NotAKey;

    fn try_from(secret: SecretString) -> Result<Self, NotAKey> {
        let presented = Presented::parse(&secret)?;
        Ok(presented.into_new(secret.expose_secret().to_owned()))
    }
}

impl FromStr for Presented {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let brand =
            Brand::ALL.into_iter().find(|it| text.starts_with(it.prefix())).ok_or(NotAKey)?;
        let prefix = brand.prefix().len();
        let is_plain = text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_');
        if !is_plain || text.len() != prefix + PUBLIC + 1 + SECRET + CHECKSUM {
            return Err(NotAKey);
        }
        let (body, sum) = text.split_at(text.len() - CHECKSUM);
        if checksum(body) != sum {
            return Err(NotAKey);
        }
        let hint = format!("{}…{}", &text[..prefix + PUBLIC], &text[text.len() - 4..]);
        Ok(Self { brand, hash: KeyHash::of(text), hint })
    }
}

fn checksum(body: &str) -> String {
    random::base62_of(crc32fast::hash(body.as_bytes())).iter().map(|it| char::from(*it)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("that is not a key of ours")]
pub struct NotAKey;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_key_is_recognized() {
        for brand in Brand::ALL {
            let key = NewKey::generate(brand);
            let seen = Presented::parse(&key.secret).unwrap();
            assert_eq!((seen.brand, seen.hash, seen.hint), (brand, key.hash, key.hint));
        }
    }

    #[test]
    fn keys_that_share_their_ends_are_different_keys() {
        let one = NewKey::generate(Brand::Live);
        let text = one.secret.expose_secret();
        assert_ne!(KeyHash::of(text), KeyHash::of(&text[..text.len() - 1]));
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_noticed(at in 0..55_usize, to in "[0-9A-Za-z]") {
            let key = NewKey::generate(Brand::Live);
            let mut text = key.secret.expose_secret().to_owned();
            prop_assume!(text[at..=at] != to);
            text.replace_range(at..=at, &to);
            prop_assert!(text.parse::<Presented>().is_err());
        }

        #[test]
        fn no_text_is_a_panic(text: String) {
            let _ = text.parse::<Presented>();
            let _ = format!("tpk_live_{text}").parse::<Presented>();
        }
    }
}
