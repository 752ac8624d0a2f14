//! The proxies, by what they say of themselves: which revision they serve, why they
//! refuse a newer one, which sites they leave alone, and when they heard that a key was
//! revoked.
//!
//! All of it is in Redis, dated by its clock. Nothing here decides anything.

#[cfg(test)]
mod tests;
mod web;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use shared::{
    failure::{Classified, Kind},
    ids::{ApiKeyId, CredentialId},
    snapshot::{Places, Report},
};
use tokio::time::timeout;
use tracing::warn;

use crate::{access::Doors, platform::Platform, snapshots};

pub fn doors(doors: &mut Doors) {
    web::doors(doors);
}

/// A proxy that has said nothing for so long is not counted on.
const LIVE: Duration = Duration::from_secs(15);
/// One that has said nothing for so long is not shown.
const KNOWN: Duration = Duration::from_secs(86_400);
/// A page waits no longer for Redis.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub struct Proxy {
    pub name: String,
    pub report: Report,
    /// How long ago it said so.
    pub silent_for: Duration,
}

impl Proxy {
    pub fn is_live(&self) -> bool {
        self.silent_for < LIVE
    }

    /// Revisions that it has not got yet.
    pub fn is_behind_by(&self, newest: i64) -> i64 {
        (newest - self.report.revision).max(0)
    }
}

/// How far a key's revocation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// So many proxies let it in no more,
    pub refused: usize,
    /// of those that live.
    pub live: usize,
    /// Until the last of them did, where the fast lane carried it.
    pub after: Option<Duration>,
}

/// What is known of how far a key's revocation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    Told(Refusal),
    /// What was published last still lets the key in.
    Untold,
    /// The store where proxies look does not answer.
    Unknown,
}

impl Revocation {
    /// Whether there is nothing more to come.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::Told(refusal) => refusal.is_complete(),
            Self::Untold | Self::Unknown => false,
        }
    }

    /// What whoever looks at the key has to know.
    pub fn warning(&self) -> Option<&'static str> {
        match self {
            Self::Told(_) => None,
            Self::Untold => Some(
                "The proxies have not been told yet that this key is revoked: calls with it may \
                 still be let in. They are told as soon as the store where they look answers.",
            ),
            Self::Unknown => Some(
                "The store where proxies look does not answer. A proxy that has not heard of the \
                 revocation goes on letting the key in until it does, and refuses it within \
                 seconds of that.",
            ),
        }
    }
}

impl std::fmt::Display for Revocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Told(refusal) => refusal.fmt(f),
            Self::Untold => f.write_str("Not told yet"),
            Self::Unknown => f.write_str("Not known"),
        }
    }
}

impl Refusal {
    pub fn is_complete(&self) -> bool {
        self.refused == self.live
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { refused, live, after } = self;
        let proxies = if *live == 1 { "proxy" } else { "proxies" };
        write!(f, "Refused on {refused} of {live} {proxies}")?;
        match after {
            Some(after) if *refused > 0 => write!(f, " after {} ms", after.as_millis()),
            Some(_) | None => Ok(()),
        }
    }
}

/// How a site stands that some proxy leaves alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftAlone {
    pub credential: CredentialId,
    /// By so many proxies,
    pub on: usize,
    /// of those that live.
    pub live: usize,
    /// For how long: the longest of them.
    pub open: Duration,
    /// How long until a call tries it again: the first of them. Zero where the next does.
    pub rest: Duration,
}

impl std::fmt::Display for LeftAlone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let proxies = if self.live == 1 { "proxy" } else { "proxies" };
        write!(f, "Left alone on {} of {} {proxies}", self.on, self.live)
    }
}

impl LeftAlone {
    /// `Next call tries it`, `Tried again in 12 s`.
    pub fn again(&self) -> String {
        match self.rest.as_millis().div_ceil(1_000) {
            0 => "The next call tries it".to_owned(),
            seconds => format!("Tried again in {seconds} s"),
        }
    }
}

/// The sites that live proxies leave alone, as of now; those that are so for longest first.
pub fn left_alone(proxies: &[Proxy]) -> Vec<LeftAlone> {
    let live: Vec<_> = proxies.iter().filter(|it| it.is_live()).collect();
    let mut sites = BTreeMap::<CredentialId, LeftAlone>::new();
    for (proxy, it) in live
        .iter()
        .flat_map(|proxy| proxy.report.breakers.listed.iter().map(move |breaker| (proxy, breaker)))
    {
        let open = Duration::from_millis(it.open_ms) + proxy.silent_for;
        let rest = Duration::from_millis(it.rest_ms).saturating_sub(proxy.silent_for);
        let (credential, live) = (it.credential, live.len());
        let first = LeftAlone { credential, on: 0, live, open, rest };
        let site = sites.entry(credential).or_insert(first);
        site.on += 1;
        (site.open, site.rest) = (site.open.max(open), site.rest.min(rest));
    }
    let mut sites: Vec<_> = sites.into_values().collect();
    sites.sort_by_key(|it| (Reverse(it.open), it.credential));
    sites
}

/// The same by credential. Nothing where that is not known: the page is about a provider,
/// not about Redis.
pub async fn known_left_alone(platform: &Platform) -> HashMap<CredentialId, LeftAlone> {
    match proxies(platform).await {
        Ok(proxies) => left_alone(&proxies).into_iter().map(|it| (it.credential, it)).collect(),
        Err(error) => {
            warn!(%error, "could not ask which sites are left alone");
            HashMap::new()
        }
    }
}

/// Every proxy heard of within a day, by name.
pub async fn proxies(platform: &Platform) -> Result<Vec<Proxy>, FleetError> {
    proxies_in(&platform.redis, &platform.publisher.places).await
}

async fn proxies_in(store: &shared::wire::Pool, places: &Places) -> Result<Vec<Proxy>, FleetError> {
    let said = async {
        let mut conn = store.get().await?;
        let mut ask = redis::pipe();
        ask.hgetall(places.reports()).cmd("TIME");
        let (said, now): (HashMap<String, String>, (i64, i64)) = ask.query_async(&mut conn).await?;
        let now_ms = now.0 * 1_000 + now.1 / 1_000;
        let mut proxies: Vec<_> =
            said.into_iter().filter_map(|(name, text)| read(name, &text, now_ms)).collect();
        proxies.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(proxies)
    };
    timeout(PATIENCE, said).await.map_err(|_| FleetError::TooSlow)?
}

/// A report that cannot be read is of a version that we do not know, and not shown.
fn read(name: String, text: &str, now_ms: i64) -> Option<Proxy> {
    let (at, report) = text.split_once(' ')?;
    let silent_for = Duration::from_millis(u64::try_from(now_ms - at.parse::<i64>().ok()?).ok()?);
    let report = serde_json::from_str(report).ok()?;
    Some(Proxy { name, report, silent_for }).filter(|it| it.silent_for < KNOWN)
}

/// How many of the proxies that live have heard all of these entries of the fast lane, and how
/// many live.
pub async fn heard_all(
    store: &shared::wire::Pool,
    places: &Places,
    entries: &[String],
) -> Result<(usize, usize), FleetError> {
    let proxies = proxies_in(store, places).await?;
    let mut ask = redis::pipe();
    for entry in entries {
        ask.hkeys(places.heard(entry));
    }
    let heard: Vec<HashSet<String>> = ask.query_async(&mut store.get().await?).await?;
    let live = proxies.iter().filter(|it| it.is_live());
    let has_heard = |it: &&Proxy| heard.iter().all(|names| names.contains(&it.name));
    Ok((live.clone().filter(has_heard).count(), live.count()))
}

/// How far a key's revocation has come: as the fast lane carried it, within the last day, or else
/// the chain. Nothing where there is no proxy to refuse it.
pub async fn revocation(platform: &Platform, key: ApiKeyId) -> Option<Revocation> {
    let known = async {
        match heard(platform, key).await? {
            Some(refusal) => Ok(Revocation::Told(refusal)),
            None => by_revision(platform, key).await,
        }
    };
    match timeout(PATIENCE, known).await {
        Ok(Ok(Revocation::Told(refusal))) if refusal.live == 0 => None,
        Ok(Ok(revocation)) => Some(revocation),
        Ok(Err(error)) => {
            warn!(%error, "could not ask which proxies refuse {key}");
            Some(Revocation::Unknown)
        }
        Err(_) => Some(Revocation::Unknown),
    }
}

/// Who serves the newest revision lets in what that lets in.
async fn by_revision(platform: &Platform, key: ApiKeyId) -> Result<Revocation, FleetError> {
    if snapshots::lets_in(&platform.db, key).await? {
        return Ok(Revocation::Untold);
    }
    let newest = snapshots::newest(&platform.db).await?.map_or(0, |it| it.0);
    let proxies = proxies(platform).await?;
    let live = proxies.iter().filter(|it| it.is_live());
    let refused = live.clone().filter(|it| it.is_behind_by(newest) == 0).count();
    Ok(Revocation::Told(Refusal { refused, live: live.count(), after: None }))
}

async fn heard(platform: &Platform, key: ApiKeyId) -> Result<Option<Refusal>, FleetError> {
    let places = &platform.publisher.places;
    let entry: Option<String> = {
        let mut conn = platform.redis.get().await?;
        redis::cmd("GET").arg(places.stop_of(key)).query_async(&mut conn).await?
    };
    let Some(entry) = entry else { return Ok(None) };
    // The id of an entry begins with when it was made.
    let Some(began) = entry.split('-').next().and_then(|it| it.parse::<u64>().ok()) else {
        return Ok(None);
    };
    let proxies = proxies(platform).await?;
    let mut conn = platform.redis.get().await?;
    let heard: HashMap<String, u64> =
        redis::cmd("HGETALL").arg(places.heard(&entry)).query_async(&mut conn).await?;
    let live: Vec<_> = proxies.iter().filter(|it| it.is_live()).collect();
    let at: Vec<_> = live.iter().filter_map(|it| heard.get(&it.name)).collect();
    let last = at.iter().map(|it| **it).max().unwrap_or(began);
    let after = Duration::from_millis(last.saturating_sub(began));
    Ok(Some(Refusal { refused: at.len(), live: live.len(), after: Some(after) }))
}

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("Redis did not answer in time")]
    TooSlow,
    #[error("Redis gave no connection")]
    NoConnection(#[from] shared::wire::PoolError),
    #[error("Redis failed")]
    Redis(#[from] redis::RedisError),
    #[error("the chain of revisions could not be read")]
    Store(#[from] sqlx::Error),
}

impl Classified for FleetError {
    fn kind(&self) -> Kind {
        match self {
            Self::TooSlow | Self::NoConnection(_) | Self::Redis(_) => Kind::Unavailable,
            Self::Store(error) => error.kind(),
        }
    }
}
