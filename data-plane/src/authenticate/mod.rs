//! Whose call it is, and whether their key may make it.
//!
//! Always holds: every header that can carry a key is read by one function; a text that
//! is not one of our keys is refused before anything is looked up; without a snapshot
//! nobody is refused as unknown, they are asked to come back.

mod address;
mod carriers;

use std::{net::IpAddr, sync::Arc};

use actix_web::http::header::HeaderMap;
use shared::{
    failure::{Classified, Code, Kind, code},
    ids::{ApiKeyId, OrganizationId},
    keys::{Brand, KeyHash, Presented},
    snapshot::{Key, RevokedBy, Scope},
};
use time::{OffsetDateTime, macros::format_description};

pub use self::address::TrustedProxies;
use self::carriers::Carried;
use crate::catalog::{KnownSecret, Shut, Snapshot};

/// What somebody at the door shows.
#[derive(Clone, Copy)]
pub struct Knock<'a> {
    pub headers: &'a HeaderMap,
    pub query: &'a str,
    /// The other end of the connection.
    pub peer: Option<IpAddr>,
}

/// Proof that a key was presented, is good, and is for this endpoint.
#[derive(Clone, Debug)]
pub struct Caller {
    pub key: Arc<Key>,
}

impl Caller {
    pub fn organization(&self) -> OrganizationId {
        self.key.organization
    }
}

/// `scope` is what the key has to be for; nothing where a key for anything will do.
pub fn authenticate(
    snapshot: Option<&Snapshot>,
    proxies: &TrustedProxies,
    knock: Knock<'_>,
    scope: impl Into<Option<Scope>>,
    now: OffsetDateTime,
) -> Result<Caller, NotLetIn> {
    let presented = present(knock)?;
    let snapshot = snapshot.ok_or(NotLetIn::NotReady)?;
    let Presented { hash, hint, .. } = presented;
    let Some(KnownSecret { key, valid_until }) = snapshot.secret(&hash) else {
        return Err(shut(snapshot, &hash, hint));
    };
    let id = key.id;
    if let Some(since) = valid_until.filter(|it| *it <= now) {
        return Err(NotLetIn::Replaced { hint, since, key: id });
    }
    if let Some(since) = key.expires_at.filter(|it| *it <= now) {
        return Err(NotLetIn::Expired { hint, since, key: id });
    }
    let address = proxies.client(knock.peer, knock.headers);
    if !may_come_from(key, address) {
        return Err(NotLetIn::Address { hint, address, key: id });
    }
    if let Some(scope) = scope.into().filter(|it| !key.scopes.contains(it)) {
        return Err(NotLetIn::Scope { hint, scope, key: id });
    }
    if snapshot.bars(key) {
        return Err(NotLetIn::Closed);
    }
    Ok(Caller { key: key.clone() })
}

/// Why a secret that has our checksum does not open anything. More than that it does not, only
/// who has all of it is told.
fn shut(snapshot: &Snapshot, hash: &KeyHash, hint: String) -> NotLetIn {
    match snapshot.why_shut(hash) {
        Some(Shut::Revoked(it)) => {
            let at = OffsetDateTime::from_unix_timestamp(it.at);
            let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
            NotLetIn::Revoked { hint, key: it.id, at, by: it.by }
        }
        Some(Shut::Stopped(key)) => NotLetIn::Stopped { hint, key: key.id },
        None => NotLetIn::Unknown { hint },
    }
}

fn present(knock: Knock<'_>) -> Result<Presented, NotLetIn> {
    if carriers::is_in_query(knock.query) {
        return Err(NotLetIn::InUrl);
    }
    let text = match carriers::find(knock.headers) {
        Carried::One(text) => text,
        Carried::Nothing => return Err(NotLetIn::Missing),
        Carried::Several => return Err(NotLetIn::Conflicting),
    };
    let presented: Presented =
        text.parse().map_err(|_| NotLetIn::NotOurs { looks_like: carriers::looks_like(text) })?;
    match presented.brand {
        Brand::Live | Brand::Test => Ok(presented),
        Brand::Management | Brand::Service => Err(NotLetIn::Management { hint: presented.hint }),
    }
}

fn may_come_from(key: &Key, address: Option<IpAddr>) -> bool {
    let allowed = &key.allowed_addresses;
    allowed.is_empty() || address.is_some_and(|it| allowed.iter().any(|net| net.contains(&it)))
}

#[derive(Debug, thiserror::Error)]
pub enum NotLetIn {
    #[error("Send your key as `Authorization: Bearer …`. You sent none.")]
    Missing,
    #[error(
        "Your key was in the address, where it ends up in logs. Send it as \
         `Authorization: Bearer …`, and replace it in the dashboard."
    )]
    InUrl,
    #[error("You sent different keys in different headers. Send one.")]
    Conflicting,
    #[error("{}", not_ours(*looks_like))]
    NotOurs { looks_like: Option<&'static str> },
    #[error(
        "The token {hint} is for the management API. Calls of models need an API key, which \
         begins with tpk_live_ or tpk_test_."
    )]
    Management { hint: String },
    #[error(
        "The key {hint} opens nothing here: it was revoked some time ago, its owner or project is \
         suspended, or it is of another installation."
    )]
    Unknown { hint: String },
    #[error("The key {hint} was revoked on {} by {}. Create another.", day(*at), who(*by))]
    Revoked { hint: String, key: ApiKeyId, at: OffsetDateTime, by: RevokedBy },
    #[error(
        "The key {hint} was stopped a moment ago: it was revoked or rotated, or its owner may not \
         use it any more."
    )]
    Stopped { hint: String, key: ApiKeyId },
    #[error("The key {hint} expired on {}.", day(*since))]
    Expired { hint: String, since: OffsetDateTime, key: ApiKeyId },
    #[error("The key {hint} was rotated, and this secret of it ended on {}.", day(*since))]
    Replaced { hint: String, since: OffsetDateTime, key: ApiKeyId },
    #[error("The key {hint} may not be used from {}.", told(*address))]
    Address { hint: String, address: Option<IpAddr>, key: ApiKeyId },
    #[error("The key {hint} is not for this endpoint: it lacks the scope {:?}.", scope.name())]
    Scope { hint: String, scope: Scope, key: ApiKeyId },
    #[error("no snapshot is held yet")]
    NotReady,
    #[error("a record of the caller's cannot be read, so that we do not know what they may do")]
    Closed,
}

impl NotLetIn {
    /// The key that it is about, whose page in the dashboard says more.
    pub fn key(&self) -> Option<ApiKeyId> {
        match self {
            Self::Revoked { key, .. }
            | Self::Stopped { key, .. }
            | Self::Expired { key, .. }
            | Self::Replaced { key, .. }
            | Self::Address { key, .. }
            | Self::Scope { key, .. } => Some(*key),
            Self::Missing
            | Self::InUrl
            | Self::Conflicting
            | Self::NotOurs { .. }
            | Self::Management { .. }
            | Self::Unknown { .. }
            | Self::NotReady
            | Self::Closed => None,
        }
    }
}

impl Classified for NotLetIn {
    fn kind(&self) -> Kind {
        match self {
            Self::InUrl | Self::Conflicting => Kind::Invalid,
            Self::Missing
            | Self::NotOurs { .. }
            | Self::Management { .. }
            | Self::Unknown { .. }
            | Self::Revoked { .. }
            | Self::Stopped { .. }
            | Self::Expired { .. }
            | Self::Replaced { .. } => Kind::Unauthenticated,
            Self::Address { .. } | Self::Scope { .. } => Kind::Forbidden,
            Self::NotReady | Self::Closed => Kind::Unavailable,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Missing => code::MISSING_API_KEY,
            Self::InUrl => code::API_KEY_IN_URL,
            Self::Conflicting => code::CONFLICTING_API_KEYS,
            Self::NotOurs { .. }
            | Self::Management { .. }
            | Self::Unknown { .. }
            | Self::Revoked { .. }
            | Self::Stopped { .. }
            | Self::Expired { .. }
            | Self::Replaced { .. } => code::INVALID_API_KEY,
            Self::Address { .. } => code::ADDRESS_NOT_ALLOWED,
            Self::Scope { .. } => code::KEY_SCOPE,
            Self::NotReady | Self::Closed => code::UNAVAILABLE,
        }
    }
}

fn not_ours(looks_like: Option<&str>) -> String {
    match looks_like {
        Some(whose) => format!(
            "That is not a key of ours; it looks like {whose} key. Use a key from the dashboard: \
             it begins with tpk_live_ or tpk_test_."
        ),
        None => "That is not a key of ours, or part of it is missing: ours begin with tpk_live_ \
                 or tpk_test_ and have a checksum, which this one fails."
            .to_owned(),
    }
}

fn day(at: OffsetDateTime) -> String {
    let format = format_description!(
        version = 2,
        "[day padding:none] [month repr:short] [year] [hour]:[minute] UTC"
    );
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

fn who(by: RevokedBy) -> &'static str {
    match by {
        RevokedBy::Owner => "its owner",
        RevokedBy::Member => "another member of your organization",
        RevokedBy::Program => "a program",
    }
}

fn told(address: Option<IpAddr>) -> String {
    address.map_or("an unknown address".to_owned(), |it| it.to_string())
}

#[cfg(test)]
mod tests;
