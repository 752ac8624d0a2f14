//! The secrets that open an upstream: entered once, kept sealed, never shown again but
//! for their end. Several share the calls by their weights.

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::json;
use shared::{
    ids::{CredentialId, UpstreamId},
    seal::Sealer,
    snapshot,
    vendors::Vendor,
};
use time::OffsetDateTime;

use super::{Connection, UpstreamError, find, find_to_change, owner, store};
use crate::{
    access::Work,
    audit::{self, Entry},
    names,
    web::Problems,
};

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Credential {
    pub id: CredentialId,
    pub label: String,
    /// The end of the secret.
    pub hint: String,
    /// Its share of the calls, from 0 to 1000. One of 0 is used when the others fail.
    pub weight: i16,
    pub enabled: bool,
    pub last_result: Option<Connection>,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_tested_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
}

/// What is said about a credential beside its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewCredential {
    pub label: String,
    pub weight: i16,
}

impl NewCredential {
    /// The one that comes with a new upstream.
    pub fn first() -> Self {
        Self { label: FIRST.to_owned(), weight: 1 }
    }
}

pub(super) const FIRST: &str = "default";

/// What is to be different about a credential; the rest stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub label: Option<String>,
    pub weight: Option<i16>,
    pub enabled: Option<bool>,
}

/// More than anybody spreads calls over.
pub(super) const MOST: i64 = 20;

pub async fn list(work: &mut Work, upstream: UpstreamId) -> Result<Vec<Credential>, UpstreamError> {
    let organization = work.organization;
    find(work, upstream).await?;
    Ok(store::credentials(work, organization, upstream, None).await?)
}

pub async fn one(
    work: &mut Work,
    upstream: UpstreamId,
    credential: CredentialId,
) -> Result<Credential, UpstreamError> {
    let organization = work.organization;
    let found = store::credentials(work, organization, upstream, Some(credential)).await?;
    found.into_iter().next().ok_or(UpstreamError::NoCredential)
}

/// What a secret of this owner is sealed for.
pub(super) fn purpose(work: &Work, credential: CredentialId, base_url: &str) -> String {
    snapshot::Upstream::purpose(credential, owner(work), base_url)
}

pub async fn add(
    work: &mut Work,
    sealer: &Sealer,
    upstream: UpstreamId,
    new: &NewCredential,
    secret: &SecretString,
) -> Result<CredentialId, UpstreamError> {
    let place = find_to_change(work, upstream).await?;
    let organization = work.organization;
    if store::credentials(work, organization, upstream, None).await?.len() as i64 >= MOST {
        return Err(UpstreamError::TooManyCredentials);
    }
    let credential = CredentialId::generate();
    let kept = kept(sealer, &purpose(work, credential, &place.base_url), secret);
    store::insert_credential(work, organization, upstream, credential, new, &kept).await?;
    let entry = Entry::new("provider.credential_added", upstream, place.name)
        .after(json!({ "credential": credential, "label": new.label, "weight": new.weight }));
    audit::record(work, entry).await?;
    Ok(credential)
}

pub async fn change(
    work: &mut Work,
    upstream: UpstreamId,
    credential: CredentialId,
    change: Change,
) -> Result<(), UpstreamError> {
    let place = find_to_change(work, upstream).await?;
    let before = one(work, upstream, credential).await?;
    let after = Change {
        label: Some(change.label.unwrap_or_else(|| before.label.clone())),
        weight: Some(change.weight.unwrap_or(before.weight)),
        enabled: Some(change.enabled.unwrap_or(before.enabled)),
    };
    let told = |label: &str, weight, enabled| {
        json!({
            "credential": credential, "label": label, "weight": weight, "enabled": enabled,
        })
    };
    let before = told(&before.label, Some(before.weight), Some(before.enabled));
    let told = told(after.label.as_deref().unwrap_or_default(), after.weight, after.enabled);
    if before == told {
        return Ok(());
    }
    let organization = work.organization;
    store::update_credential(work, organization, credential, &after).await?;
    let entry = Entry::new("provider.credential_changed", upstream, place.name);
    audit::record(work, entry.before(before).after(told)).await?;
    Ok(())
}

/// Puts another secret in the place of the one that is there.
pub async fn rotate(
    work: &mut Work,
    sealer: &Sealer,
    upstream: UpstreamId,
    credential: CredentialId,
    secret: &SecretString,
) -> Result<(), UpstreamError> {
    let place = find_to_change(work, upstream).await?;
    let before = one(work, upstream, credential).await?;
    let kept = kept(sealer, &purpose(work, credential, &place.base_url), secret);
    let organization = work.organization;
    store::replace_secret(work, organization, credential, &kept).await?;
    let entry = Entry::new("provider.credential_rotated", upstream, place.name)
        .after(json!({ "credential": credential, "label": before.label }));
    audit::record(work, entry).await?;
    Ok(())
}

/// Forgets the secret for good.
pub async fn remove(
    work: &mut Work,
    upstream: UpstreamId,
    credential: CredentialId,
) -> Result<(), UpstreamError> {
    let place = find_to_change(work, upstream).await?;
    let before = one(work, upstream, credential).await?;
    let organization = work.organization;
    store::delete_credential(work, organization, credential).await?;
    let entry = Entry::new("provider.credential_removed", upstream, place.name)
        .before(json!({ "credential": credential, "label": before.label }));
    audit::record(work, entry).await?;
    Ok(())
}

/// A secret as we keep it.
pub(super) struct Kept {
    pub hint: String,
    pub sealed: Vec<u8>,
}

fn kept(sealer: &Sealer, purpose: &str, secret: &SecretString) -> Kept {
    Kept { hint: hint(secret), sealed: sealer.seal_text(secret, purpose) }
}

/// The end of a secret that is long enough to have one to spare.
fn hint(secret: &SecretString) -> String {
    let secret = secret.expose_secret();
    match secret.len() {
        16.. => secret.get(secret.len() - 4..).unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

/// A secret as somebody pasted it.
pub(super) fn secret(text: &str) -> Result<SecretString, Problems> {
    let text = text.trim();
    let is_secret = (1..=500).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_graphic());
    if is_secret {
        Ok(text.to_owned().into())
    } else {
        Err(Problems::one("secret", "paste the provider's key: 1 to 500 characters, no spaces"))
    }
}

/// The secret that comes with a new upstream. Where none is asked for, any will do.
pub(super) fn first_secret(vendor: &Vendor, text: &str) -> Result<SecretString, Problems> {
    match text.trim() {
        "" if vendor.is_keyless => Ok("none".to_owned().into()),
        text => secret(text),
    }
}

pub(super) fn label(text: &str) -> Result<String, String> {
    names::checked(text).ok_or_else(|| format!("a credential's name {}", names::RULE))
}

pub(super) fn weight(number: i64) -> Result<i16, &'static str> {
    i16::try_from(number)
        .ok()
        .filter(|it| (0..=1000).contains(it))
        .ok_or("a weight is a whole number from 0 to 1000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_secret_shows_nothing_of_itself() {
        assert_eq!(hint(&"hunter2".to_owned().into()), "");
        assert_eq!(hint(&"sk-0123456789abcdef".to_owned().into()), "cdef");
    }

    #[test]
    fn a_secret_fits_into_a_header() {
        assert_eq!(secret(" sk-1 \n").unwrap().expose_secret(), "sk-1");
        for bad in ["", " ", "a b", "a\nb", "ключ", &"x".repeat(501)] {
            assert!(secret(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_weight_has_ends() {
        assert_eq!(weight(0), Ok(0));
        assert_eq!(weight(1000), Ok(1000));
        for bad in [-1, 1001, i64::MAX] {
            assert!(weight(bad).is_err(), "{bad}");
        }
    }
}
