//! Short-lived signed tokens, and the one way in which they are read.

use std::collections::HashMap;

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::{Named, TokenError};

/// For how long a signed token is good, and no longer whatever it says.
pub(super) const LIFE: Duration = Duration::minutes(15);
/// How far clocks may be apart.
const LEEWAY: Duration = Duration::seconds(5);
const ISSUER: &str = "turnpike/control-plane";
const AUDIENCE: &str = "turnpike/management-api";
/// So that nothing else that we sign is ever taken for one of these.
const TYPE: &str = "at+jwt";

/// Signs and reads the short-lived tokens.
pub struct AccessTokens {
    ours: EncodingKey,
    kid: String,
    /// By the only names we follow to a key.
    known: HashMap<String, DecodingKey>,
    validation: Validation,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    /// The opaque token that this stands for.
    sub: String,
    org: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl AccessTokens {
    /// With an Ed25519 private key in PKCS #8, base64.
    pub fn new(key: &SecretString) -> Result<Self, TokenError> {
        let document = BASE64.decode(key.expose_secret().trim()).map_err(|_| TokenError::BadKey)?;
        let pair = Ed25519KeyPair::from_pkcs8(&document).map_err(|_| TokenError::BadKey)?;
        let (kid, public) = public_half(pair.public_key().as_ref());
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY.whole_seconds().unsigned_abs();
        Ok(Self {
            ours: EncodingKey::from_ed_der(&document),
            known: HashMap::from([(kid.clone(), public)]),
            kid,
            validation,
        })
    }

    /// Reads what the key signed that was used before, too. Takes its public half.
    pub fn also_reading(mut self, public: &str) -> Result<Self, TokenError> {
        let bytes = BASE64.decode(public.trim()).map_err(|_| TokenError::BadKey)?;
        if bytes.len() != 32 {
            return Err(TokenError::BadKey);
        }
        let (kid, key) = public_half(&bytes);
        self.known.insert(kid, key);
        Ok(self)
    }

    pub(super) fn sign(
        &self,
        named: Named,
        now: OffsetDateTime,
    ) -> Result<SecretString, TokenError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(self.kid.clone());
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: named.token.to_string(),
            org: named.organization.to_string(),
            iat: now.unix_timestamp(),
            nbf: now.unix_timestamp(),
            exp: (now + LIFE).unix_timestamp(),
        };
        let text = jsonwebtoken::encode(&header, &claims, &self.ours);
        Ok(text.map_err(TokenError::Unsigned)?.into())
    }

    /// The opaque token that this one stands for, if it is ours and its time has come
    /// and not passed. Why it is not is nobody's business.
    pub(super) fn read(&self, text: &str) -> Option<Named> {
        let header = jsonwebtoken::decode_header(text).ok()?;
        if header.alg != Algorithm::EdDSA
            || header.typ.as_deref() != Some(TYPE)
            || header.crit.is_some()
        {
            return None;
        }
        let key = self.known.get(header.kid.as_deref()?)?;
        let claims = jsonwebtoken::decode::<Claims>(text, key, &self.validation).ok()?.claims;
        let life = claims.exp.checked_sub(claims.iat)?;
        let is_short = (0..=LIFE.whole_seconds()).contains(&life);
        let latest = (OffsetDateTime::now_utc() + LEEWAY).unix_timestamp();
        if !is_short || claims.iat > latest {
            return None;
        }
        Some(Named { organization: claims.org.parse().ok()?, token: claims.sub.parse().ok()? })
    }
}

/// A public key, and the name that tokens call it by.
fn public_half(bytes: &[u8]) -> (String, DecodingKey) {
    let hash = digest::digest(&digest::SHA256, bytes);
    let kid = hash.as_ref()[..8].iter().map(|it| format!("{it:02x}")).collect();
    (kid, DecodingKey::from_ed_der(bytes))
}

/// A key pair for signing: the private half as configuration takes it, and the public.
pub fn generate_signing_key() -> (SecretString, String) {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let document = document.expect("the operating system gives randomness");
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("we just made it");
    (BASE64.encode(document.as_ref()).into(), BASE64.encode(pair.public_key().as_ref()))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};
    use shared::ids::{ApiTokenId, OrganizationId};

    use super::*;

    /// Somebody who holds a key of ours, or another's, and writes what they like.
    struct Forger {
        tokens: AccessTokens,
        pair: Ed25519KeyPair,
        public: Vec<u8>,
        named: Named,
        header: Value,
        claims: Value,
    }

    impl Forger {
        fn new() -> Self {
            let (private, public) = generate_signing_key();
            let tokens = AccessTokens::new(&private).unwrap();
            let document = BASE64.decode(private.expose_secret()).unwrap();
            let now = OffsetDateTime::now_utc().unix_timestamp();
            let named =
                Named { organization: OrganizationId::generate(), token: ApiTokenId::generate() };
            Self {
                header: json!({ "alg": "EdDSA", "typ": TYPE, "kid": tokens.kid }),
                claims: json!({
                    "iss": ISSUER, "aud": AUDIENCE, "sub": named.token, "org": named.organization,
                    "iat": now, "nbf": now, "exp": now + 900,
                }),
                pair: Ed25519KeyPair::from_pkcs8(&document).unwrap(),
                public: BASE64.decode(public).unwrap(),
                tokens,
                named,
            }
        }

        fn input(&self) -> String {
            input(&self.header.to_string(), &self.claims.to_string())
        }

        fn text(&self) -> String {
            self.signed(&self.input())
        }

        fn signed(&self, input: &str) -> String {
            let signature = self.pair.sign(input.as_bytes());
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
        }

        fn shift(&mut self, iat: i64, nbf: i64, exp: i64) {
            let now = OffsetDateTime::now_utc().unix_timestamp();
            self.claims["iat"] = json!(now + iat);
            self.claims["nbf"] = json!(now + nbf);
            self.claims["exp"] = json!(now + exp);
        }
    }

    fn input(header: &str, claims: &str) -> String {
        let encode = |it: &str| URL_SAFE_NO_PAD.encode(it);
        format!("{}.{}", encode(header), encode(claims))
    }

    /// What `forge` writes, having an honest token before it, opens or does not.
    #[track_caller]
    fn check(about: &str, opens: bool, forge: impl FnOnce(&mut Forger) -> String) {
        let mut forger = Forger::new();
        let text = forge(&mut forger);
        let expected = opens.then_some(forger.named);
        assert_eq!(forger.tokens.read(&text), expected, "{about}: {text}");
    }

    #[test]
    fn what_we_sign_we_read() {
        check("ours", true, |it| {
            let now = OffsetDateTime::now_utc();
            it.tokens.sign(it.named, now).unwrap().expose_secret().to_owned()
        });
        check("the forger's honest one", true, |it| it.text());
    }

    #[test]
    fn a_claim_is_not_left_out() {
        for claim in ["iss", "aud", "sub", "org", "iat", "nbf", "exp"] {
            check(claim, false, |it| {
                it.claims.as_object_mut().unwrap().remove(claim);
                it.text()
            });
            check(claim, false, |it| {
                it.claims[claim] = Value::Null;
                it.text()
            });
        }
    }

    #[test]
    fn a_claim_is_not_another() {
        let wrong = [
            ("iss", json!("turnpike/data-plane")),
            ("iss", json!([ISSUER])),
            ("iss", json!("")),
            ("aud", json!("turnpike/data-plane")),
            ("aud", json!([AUDIENCE])),
            ("aud", json!([AUDIENCE, "other"])),
            ("aud", json!("")),
            ("sub", json!("")),
            ("sub", json!("tok_1")),
            ("sub", json!(OrganizationId::generate())),
            ("org", json!("ours")),
            ("org", json!(ApiTokenId::generate())),
            ("exp", json!("4000000000")),
            ("exp", json!(-1)),
            ("exp", json!(4_000_000_000_u64)),
            ("exp", json!(1e300)),
            ("nbf", json!("0")),
            ("iat", json!("0")),
            ("iat", json!(i64::MIN)),
        ];
        for (claim, value) in wrong {
            check(&format!("{claim} {value}"), false, |it| {
                it.claims[claim] = value;
                it.text()
            });
        }
    }

    #[test]
    fn a_header_is_not_another() {
        let wrong = [
            ("typ", json!("JWT")),
            ("typ", json!("AT+JWT ")),
            ("typ", Value::Null),
            ("kid", json!("other")),
            ("kid", json!("../../dev/null")),
            ("kid", json!("' OR 1=1 --")),
            ("kid", Value::Null),
            ("alg", json!("none")),
            ("alg", json!("None")),
            ("alg", json!("HS256")),
            ("alg", json!("ES256")),
            ("alg", Value::Null),
            ("crit", json!(["exp"])),
        ];
        for (name, value) in wrong {
            check(&format!("{name} {value}"), false, |it| {
                it.header[name] = value;
                it.text()
            });
        }
    }

    #[test]
    fn a_key_that_a_token_brings_along_is_not_looked_at() {
        check("jwk", false, |it| {
            let (private, public) = generate_signing_key();
            let other = BASE64.decode(private.expose_secret()).unwrap();
            it.pair = Ed25519KeyPair::from_pkcs8(&other).unwrap();
            let x = URL_SAFE_NO_PAD.encode(BASE64.decode(public).unwrap());
            it.header["jwk"] = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
            it.header["jku"] = json!("https://example.com/keys");
            it.text()
        });
    }

    #[test]
    fn a_token_without_our_signature_is_not_ours() {
        check("alg none, no signature", false, |it| {
            it.header["alg"] = json!("none");
            format!("{}.", it.input())
        });
        check("no signature", false, |it| format!("{}.", it.input()));
        check("HS256 with the public key", false, |it| {
            it.header["alg"] = json!("HS256");
            let input = it.input();
            let key = hmac::Key::new(hmac::HMAC_SHA256, &it.public);
            let tag = hmac::sign(&key, input.as_bytes());
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag))
        });
        check("HS256 with nothing", false, |it| {
            it.header["alg"] = json!("HS256");
            let input = it.input();
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), input.as_bytes());
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag))
        });
        check("another's signature", false, |it| {
            let other = Forger::new();
            other.signed(&it.input())
        });
        check("another's signature and kid", false, |it| {
            let other = Forger::new();
            it.header["kid"] = json!(other.tokens.kid);
            other.signed(&it.input())
        });
        check("another payload", false, |it| {
            let (honest, signature) = {
                let text = it.text();
                let (input, signature) = text.rsplit_once('.').unwrap();
                (input.to_owned(), signature.to_owned())
            };
            it.claims["sub"] = json!(ApiTokenId::generate());
            assert_ne!(honest, it.input());
            format!("{}.{signature}", it.input())
        });
        check("a flipped bit", false, |it| {
            let input = it.input();
            let mut signature = it.pair.sign(input.as_bytes()).as_ref().to_vec();
            signature[7] ^= 1;
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
        });
    }

    #[test]
    fn a_token_has_its_time() {
        check("expired for 10 s", false, |it| {
            it.shift(-700, -700, -10);
            it.text()
        });
        check("expired for 2 s", true, |it| {
            it.shift(-700, -700, -2);
            it.text()
        });
        check("not yet valid", false, |it| {
            it.shift(0, 30, 600);
            it.text()
        });
        check("issued in the future", false, |it| {
            it.shift(60, 0, 600);
            it.text()
        });
        check("good for too long", false, |it| {
            it.shift(0, 0, 901);
            it.text()
        });
        check("expires before it is issued", false, |it| {
            it.shift(2, 0, 1);
            it.text()
        });
    }

    #[test]
    fn a_mangled_text_is_not_a_token() {
        check("truncated", false, |it| it.text()[..it.text().len() - 4].to_owned());
        check("two parts", false, |it| it.input());
        check("four parts", false, |it| format!("{}.x", it.text()));
        check("five parts", false, |it| format!("a.b.{}", it.text()));
        check("empty", false, |_| String::new());
        check("dots", false, |_| "..".to_owned());
        check("padded", false, |it| format!("{}==", it.text()));
        check("with a space", false, |it| format!("{} ", it.text()));
        check("no JSON", false, |it| it.signed(&input("{", "}")));
        check("a list", false, |it| it.signed(&input("[]", "[]")));
        check("a claim twice", false, |it| {
            let twice = it.claims.to_string().replacen('{', "{\"exp\":4000000000,", 1);
            it.signed(&input(&it.header.to_string(), &twice))
        });
    }

    #[test]
    fn two_keys_overlap() {
        let (before, now) = (Forger::new(), Forger::new());
        let text = before.text();
        assert_eq!(now.tokens.read(&text), None);
        let both = now.tokens.also_reading(&BASE64.encode(&before.public)).unwrap();
        assert_eq!(both.read(&text), Some(before.named));
    }

    #[test]
    fn a_signing_key_is_an_ed25519_key() {
        for bad in ["", "x", "AAAA", &BASE64.encode([7; 32])] {
            assert!(matches!(AccessTokens::new(&bad.into()), Err(TokenError::BadKey)), "{bad}");
        }
    }
}
