//! One-time codes from an app, and recovery codes for when the phone is gone.

use aws_lc_rs::hmac;
use qrcode::{QrCode, render::svg};
use secrecy::{ExposeSecret, SecretString};
use shared::{ids::PersonId, random, seal::Sealer};
use sqlx::PgConnection;
use time::OffsetDateTime;
use totp_rs::{Builder, Secret, Totp};

use super::{IdentityError, store};

/// A seed shown to its owner, who has not yet proven to have it.
pub struct Proposal {
    /// As text, for typing.
    pub seed: SecretString,
    /// As a picture, for the app: an SVG in a data address.
    pub picture: String,
}

/// Makes a new seed for `person`, which counts once a code of it was shown.
pub async fn propose(
    conn: &mut PgConnection,
    sealer: &Sealer,
    person: PersonId,
    email: &str,
) -> Result<Proposal, IdentityError> {
    let seed: [u8; 20] = random::bytes();
    store::propose_factor(conn, person, &sealer.seal(&seed, &purpose(person))).await?;
    proposal(seed.to_vec(), email)
}

/// The seed proposed before, to show again beside a wrong code.
pub async fn proposed(
    conn: &mut PgConnection,
    sealer: &Sealer,
    person: PersonId,
    email: &str,
) -> Result<Proposal, IdentityError> {
    let factor = store::factor(conn, person).await?.filter(|it| !it.is_confirmed);
    let factor = factor.ok_or(IdentityError::NothingToConfirm)?;
    proposal(sealer.open(&factor.sealed_seed, &purpose(person))?, email)
}

fn proposal(seed: Vec<u8>, email: &str) -> Result<Proposal, IdentityError> {
    let text = Secret::from(seed.as_slice()).to_base32();
    // The app's list shows issuer and account; a colon would split them wrongly.
    let url = totp(seed, email).to_url().map_err(|_| IdentityError::NothingToConfirm)?;
    let code = QrCode::new(url).map_err(|_| IdentityError::NothingToConfirm)?;
    let picture = code.render::<svg::Color>().min_dimensions(176, 176).build();
    let encoded: String = form_urlencoded::byte_serialize(picture.as_bytes()).collect();
    let picture = format!("data:image/svg+xml,{}", encoded.replace('+', "%20"));
    Ok(Proposal { seed: text.into(), picture })
}

fn totp(seed: Vec<u8>, email: &str) -> Totp {
    Builder::new()
        .with_secret(Secret::from(seed.as_slice()))
        .with_issuer(Some("Turnpike"))
        .with_account_name(email.replace(':', "_"))
        .build_noncompliant()
}

/// Whether `code` is the one of now, or of the step before or after, and new: of two
/// who show the same code, one passes. The first code shown confirms the seed.
pub async fn check(
    conn: &mut PgConnection,
    sealer: &Sealer,
    person: PersonId,
    code: &str,
    now: OffsetDateTime,
) -> Result<(), IdentityError> {
    let factor = store::factor(conn, person).await?.ok_or(IdentityError::WrongCode)?;
    let seed = sealer.open(&factor.sealed_seed, &purpose(person))?;
    let code: String = code.chars().filter(|it| !it.is_whitespace()).collect();
    let now = u64::try_from(now.unix_timestamp()).map_err(|_| IdentityError::WrongCode)?;
    let counter = totp(seed, "").check(&code, now).and_then(|it| i64::try_from(it).ok());
    match counter {
        Some(counter) if counter > factor.last_counter => {
            Ok(store::note_counter(conn, person, counter).await?)
        }
        _ => Err(IdentityError::WrongCode),
    }
}

/// Replaces the recovery codes with ten new ones, which are shown this once.
pub async fn new_recovery_codes(
    conn: &mut PgConnection,
    marks: &hmac::Key,
    person: PersonId,
) -> Result<Vec<SecretString>, sqlx::Error> {
    let codes: Vec<String> = (0..10)
        .map(|_| format!("{}-{}", random::base62(6), random::base62(6)).to_lowercase())
        .collect();
    let hashes: Vec<_> = codes.iter().map(|it| recovery_hash(marks, person, it)).collect();
    store::replace_recovery_codes(conn, person, &hashes).await?;
    Ok(codes.into_iter().map(SecretString::from).collect())
}

/// Uses up one recovery code.
pub async fn recover(
    conn: &mut PgConnection,
    marks: &hmac::Key,
    person: PersonId,
    code: &SecretString,
) -> Result<(), IdentityError> {
    let code = code.expose_secret().trim().to_lowercase();
    let hash = recovery_hash(marks, person, &code);
    if store::use_recovery_code(conn, person, &hash).await? {
        Ok(())
    } else {
        Err(IdentityError::WrongCode)
    }
}

fn recovery_hash(marks: &hmac::Key, person: PersonId, code: &str) -> Vec<u8> {
    hmac::sign(marks, format!("recovery|{person}|{code}").as_bytes()).as_ref().to_vec()
}

fn purpose(person: PersonId) -> String {
    format!("seed|{person}")
}
