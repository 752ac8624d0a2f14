//! A key's secrets: one, and after a rotation several for a while.

pub(super) mod store;

use std::str::FromStr;

use serde::Serialize;
use shared::{ids::ApiKeyId, keys::NewKey};
use time::OffsetDateTime;

use super::{BadTerm, Issued, KeyError, Reach, find_changeable, find_locked};
use crate::{
    access::Work,
    audit::{self, Entry},
};

/// One of a key's secrets that still opens something, by its ends.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SecretHint {
    pub hint: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    /// Null for the present one.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub valid_until: Option<OffsetDateTime>,
}

/// For how many hours a replaced secret goes on working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap(u8);

impl Overlap {
    /// Time enough to bring the new secret to where it is used.
    pub const USUAL: Self = Self(24);

    pub fn of_hours(hours: u16) -> Result<Self, BadTerm> {
        match u8::try_from(hours) {
            Ok(hours @ 0..=168) => Ok(Self(hours)),
            Ok(_) | Err(_) => Err(BadTerm::Overlap),
        }
    }

    pub fn hours(self) -> i32 {
        self.0.into()
    }
}

impl FromStr for Overlap {
    type Err = BadTerm;

    fn from_str(text: &str) -> Result<Self, BadTerm> {
        match text.trim() {
            "" => Ok(Self::USUAL),
            text => Self::of_hours(text.parse().map_err(|_| BadTerm::Overlap)?),
        }
    }
}

/// The key's secrets that still open something, the present one first.
pub async fn working(work: &mut Work, key: ApiKeyId) -> Result<Vec<SecretHint>, KeyError> {
    let organization = work.organization;
    Ok(store::working(work, organization, key).await?)
}

/// Gives a key that was just made its first.
pub(super) async fn add(
    work: &mut Work,
    key: ApiKeyId,
    secret: &NewKey,
) -> Result<(), sqlx::Error> {
    let organization = work.organization;
    store::add(work, organization, key, secret).await
}

/// Gives the key a new secret. Those it has go on working for the overlap, and no
/// longer than they would have.
pub async fn rotate(
    work: &mut Work,
    reach: Reach,
    key: ApiKeyId,
    overlap: Overlap,
) -> Result<Issued, KeyError> {
    let before = find_changeable(work, reach, key).await?;
    let organization = work.organization;
    store::retire(work, organization, key, overlap).await?;
    if store::working(work, organization, key).await?.len() >= MOST {
        return Err(KeyError::TooManySecrets);
    }
    let secret = NewKey::generate(before.mode.brand());
    store::add(work, organization, key, &secret).await?;
    let entry = Entry::new("key.rotated", key, before.terms.name)
        .before(before.hint)
        .after(serde_json::json!({ "hint": secret.hint, "overlap_hours": overlap.hours() }));
    audit::record(work, entry).await?;
    Ok(Issued { key, secret: secret.secret })
}

/// More than anybody rotating in a hurry needs, and few enough to look through.
pub(super) const MOST: usize = 5;

/// Ends at once what a rotation left working.
pub async fn end_overlap(work: &mut Work, reach: Reach, key: ApiKeyId) -> Result<(), KeyError> {
    let before = find_locked(work, reach, key).await?;
    let organization = work.organization;
    if store::drop_retired(work, organization, key).await? == 0 {
        return Err(KeyError::NoOverlap);
    }
    audit::record(work, Entry::new("key.overlap_ended", key, before.terms.name)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_is_at_most_a_week() {
        assert_eq!("".parse(), Ok(Overlap(24)));
        assert_eq!("0".parse(), Ok(Overlap(0)));
        assert_eq!("168".parse(), Ok(Overlap(168)));
        for bad in ["169", "256", "-1", "1.5", "x"] {
            assert_eq!(bad.parse::<Overlap>(), Err(BadTerm::Overlap), "{bad}");
        }
    }
}
