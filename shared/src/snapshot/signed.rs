//! What travels: a change, or everything, with our word for it.
//!
//! A head says which revision it is, which one it follows, what the records add up to
//! afterwards, and what its body is. It is signed as the text that it is kept as, so that
//! there are no two ways to write one down. Each delta names the digest of the head
//! before it: whoever has checked one revision knows the next when they see it.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use secrecy::{ExposeSecret, SecretString};

use super::SetSum;

/// The form of what we publish. A reader refuses a newer one and serves what it has.
pub const SCHEMA: u32 = 1;

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What the first revision follows.
    pub const NOTHING: Self = Self([0; 32]);

    pub fn of(bytes: &[u8]) -> Self {
        Self(digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Half of it, which tells things apart that nobody chose to be alike.
    pub fn mark(&self) -> u128 {
        let half = self.0.first_chunk().expect("32 bytes have 16");
        u128::from_be_bytes(*half)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|it| write!(f, "{it:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What changed since the revision before.
    Delta,
    /// Everything there is at its revision.
    Full,
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Full => "full",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub form: Form,
    pub schema: u32,
    pub revision: i64,
    /// In microseconds since 1970.
    pub published_at: i64,
    /// For a delta, the digest of the head that it follows; for everything, the digest of
    /// the delta that made its revision, which the next delta follows.
    pub chain: Digest,
    /// Of all records at this revision.
    pub sum: SetSum,
    pub body: Digest,
}

impl Head {
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_string().as_bytes())
    }

    /// What the next delta follows.
    pub fn chain_end(&self) -> Digest {
        match self.form {
            Form::Delta => self.digest(),
            Form::Full => self.chain,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return None;
        }
        let form = lines.next()?;
        let form = [Form::Delta, Form::Full].into_iter().find(|it| it.name() == form)?;
        let head = Self {
            form,
            schema: lines.next()?.parse().ok()?,
            revision: lines.next()?.parse().ok()?,
            published_at: lines.next()?.parse().ok()?,
            chain: Digest::parse(lines.next()?)?,
            sum: SetSum(u128::from_str_radix(lines.next()?, 16).ok()?),
            body: Digest::parse(lines.next()?)?,
        };
        // What we would write otherwise is not what was signed.
        (head.to_string() == text).then_some(head)
    }
}

/// Nothing else that any key of ours signs begins like this.
const TITLE: &str = "turnpike snapshot";

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { form, schema, revision, published_at, chain, sum, body } = self;
        writeln!(f, "{TITLE}\n{}\n{schema}\n{revision}\n{published_at}", form.name())?;
        writeln!(f, "{chain}\n{sum}\n{body}")
    }
}

/// A head, the signature of it, and the body that it names. Nobody has checked it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub head: String,
    pub signature: Vec<u8>,
    pub body: Vec<u8>,
}

/// A head that we know who wrote, and its body.
#[derive(Clone, Debug)]
pub struct Genuine {
    pub head: Head,
    pub signed: Signed,
}

pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// With an Ed25519 private key in PKCS #8, base64.
    pub fn new(key: &SecretString) -> Result<Self, BadSnapshotKey> {
        let document = BASE64.decode(key.expose_secret().trim()).map_err(|_| BadSnapshotKey)?;
        Ed25519KeyPair::from_pkcs8(&document).map(Self).map_err(|_| BadSnapshotKey)
    }

    /// A new key: its private half, and its public half for the proxies.
    pub fn generate() -> (SecretString, String) {
        let document = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new());
        let document = document.expect("the operating system gives randomness");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("it was just made");
        (BASE64.encode(document.as_ref()).into(), BASE64.encode(pair.public_key().as_ref()))
    }

    /// Who reads what this signs.
    pub fn verifier(&self) -> Verifier {
        let public = self.0.public_key().as_ref().try_into();
        Verifier(vec![PublicKey(public.expect("an Ed25519 public key has 32 bytes"))])
    }

    pub fn sign(&self, head: &Head, body: Vec<u8>) -> Signed {
        let head = head.to_string();
        Signed { signature: self.0.sign(head.as_bytes()).as_ref().to_vec(), head, body }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

/// What signs, as a configuration holds it: known to be a key.
#[derive(Clone, Debug)]
pub struct SnapshotKey(SecretString);

impl SnapshotKey {
    pub fn signer(&self) -> Signer {
        Signer::new(&self.0).expect("it was read as a key")
    }
}

impl std::str::FromStr for SnapshotKey {
    type Err = BadSnapshotKey;

    fn from_str(text: &str) -> Result<Self, BadSnapshotKey> {
        let key = SecretString::from(text);
        Signer::new(&key)?;
        Ok(Self(key))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a snapshot key is an Ed25519 key in base64")]
pub struct BadSnapshotKey;

/// The public half of a key that signs snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl std::str::FromStr for PublicKey {
    type Err = BadSnapshotKey;

    fn from_str(text: &str) -> Result<Self, BadSnapshotKey> {
        let bytes = BASE64.decode(text.trim()).map_err(|_| BadSnapshotKey)?;
        bytes.try_into().map(Self).map_err(|_| BadSnapshotKey)
    }
}

/// Knows whose word counts: one key's, or during a change of keys two.
#[derive(Clone, Debug)]
pub struct Verifier(Vec<PublicKey>);

impl Verifier {
    pub fn new(keys: Vec<PublicKey>) -> Self {
        Self(keys)
    }

    pub fn verify(&self, signed: Signed) -> Result<Genuine, NotGenuine> {
        let text = signed.head.as_bytes();
        let is_by = |key: &PublicKey| {
            UnparsedPublicKey::new(&ED25519, key.0).verify(text, &signed.signature).is_ok()
        };
        if !self.0.iter().any(is_by) {
            return Err(NotGenuine::Unsigned);
        }
        let head = Head::parse(&signed.head).ok_or(NotGenuine::UnknownHead)?;
        if head.schema > SCHEMA {
            return Err(NotGenuine::Newer { schema: head.schema });
        }
        if head.body != Digest::of(&signed.body) {
            return Err(NotGenuine::OtherBody);
        }
        Ok(Genuine { head, signed })
    }
}

/// Why what came is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGenuine {
    #[error("it is not signed by a key that we know")]
    Unsigned,
    #[error("its head cannot be read")]
    UnknownHead,
    #[error("it has schema {schema}, newer than our {SCHEMA}: update this proxy")]
    Newer { schema: u32 },
    #[error("its body is not the one that was signed")]
    OtherBody,
}

impl Signed {
    /// As one piece, for a file.
    pub fn write(&self, to: &mut Vec<u8>) {
        for part in [self.head.as_bytes(), &self.signature, &self.body] {
            let length = u32::try_from(part.len()).expect("a part is far below 4 GiB");
            to.extend_from_slice(&length.to_be_bytes());
            to.extend_from_slice(part);
        }
    }

    /// The next one in `from`, which is left at what follows. `None` where it was cut.
    pub fn read(from: &mut &[u8]) -> Option<Self> {
        let mut part = || {
            let (length, rest) = from.split_first_chunk()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (part, rest) = rest.split_at_checked(length)?;
            *from = rest;
            Some(part.to_vec())
        };
        Some(Self { head: String::from_utf8(part()?).ok()?, signature: part()?, body: part()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(body: &[u8]) -> Head {
        Head {
            form: Form::Delta,
            schema: SCHEMA,
            revision: 7,
            published_at: 1_763_712_000_000_000,
            chain: Digest::of(b"before"),
            sum: SetSum(42),
            body: Digest::of(body),
        }
    }

    fn signer() -> Signer {
        Signer::new(&Signer::generate().0).unwrap()
    }

    #[test]
    fn what_is_signed_is_known_again() {
        let signer = signer();
        let signed = signer.sign(&head(b"body"), b"body".to_vec());
        let mut bytes = Vec::new();
        signed.write(&mut bytes);
        let mut rest = bytes.as_slice();
        let read = Signed::read(&mut rest).unwrap();
        assert!(rest.is_empty());
        let genuine = signer.verifier().verify(read).unwrap();
        assert_eq!(genuine.head, head(b"body"));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let signer = signer();
        let mut bytes = Vec::new();
        signer.sign(&head(b"body"), b"body".to_vec()).write(&mut bytes);
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            let Some(read) = Signed::read(&mut altered.as_slice()) else { continue };
            assert!(signer.verifier().verify(read).is_err(), "byte {at}");
        }
        for end in 0..bytes.len() {
            assert!(Signed::read(&mut &bytes[..end]).is_none(), "cut at {end}");
        }
    }

    #[test]
    fn another_key_is_not_ours_and_an_earlier_one_may_be() {
        let (ours, theirs) = (signer(), signer());
        let signed = ours.sign(&head(b""), vec![]);
        assert_eq!(theirs.verifier().verify(signed.clone()).unwrap_err(), NotGenuine::Unsigned);
        let both = [theirs.verifier().0, ours.verifier().0].concat();
        assert!(Verifier::new(both).verify(signed).is_ok());
    }

    #[test]
    fn what_is_newer_than_we_are_is_refused() {
        let signer = signer();
        let newer = Head { schema: SCHEMA + 1, ..head(b"") };
        let refused = signer.verifier().verify(signer.sign(&newer, vec![])).unwrap_err();
        assert_eq!(refused, NotGenuine::Newer { schema: SCHEMA + 1 });
    }
}
