//! Carries messages to webhooks: tried again when they fail, ever less often.
//!
//! A message is sent with an id that stays the same, a time and a signature of both and the
//! body, as standardwebhooks.com says it, so that whoever gets it can tell that it is ours
//! and that it is not an old one.

use std::time::Duration;

use futures::{StreamExt, stream};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use shared::{
    failure::{Classified, Kind},
    ids::{DeliveryId, OrganizationId},
};
use time::OffsetDateTime;
use tracing::{error, warn};

use super::{purpose, signature, store};
use crate::{
    access::{Actor, Origin, Work},
    platform::Platform,
};

/// So many are tried before one is given up, over seven hours.
const MOST_ATTEMPTS: i32 = 8;
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// How many are due at once, and how many are sent at once.
const DUE: i32 = 100;
const AT_ONCE: usize = 4;
/// For how long those that ended are kept for people to look at.
const KEPT: time::Duration = time::Duration::days(30);

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered(u16),
    /// Answered with another status than success; it is tried again where `true`.
    Refused(u16, bool),
    /// There was no answer; it is tried again where `true`.
    Unanswered(bool),
    /// Somebody else sends it, or it has ended.
    NotDue,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Delivered(status) => write!(f, "Delivered: it answered {status}"),
            Self::Refused(status, _) => write!(f, "It answered {status}"),
            Self::Unanswered(_) => f.write_str("There was no answer"),
            Self::NotDue => f.write_str("It is on its way"),
        }
    }
}

/// Sends what is due. Any number may run at once.
pub async fn deliver_due(platform: &Platform) -> Result<(), DeliveryError> {
    let due = {
        let mut conn = platform.db.acquire().await?;
        store::due(&mut conn, DUE).await?
    };
    let sent = stream::iter(due).map(|(organization, id)| send(platform, organization, id));
    let outcomes: Vec<_> = sent.buffer_unordered(AT_ONCE).collect().await;
    outcomes.into_iter().try_for_each(|it| it.map(drop))
}

/// Makes one attempt at a message. It is locked meanwhile, so that no two make it.
pub async fn send(
    platform: &Platform,
    organization: OrganizationId,
    id: DeliveryId,
) -> Result<Outcome, DeliveryError> {
    let (actor, origin) = (Actor::System, Origin::internal());
    let mut work = Work::begin(&platform.db, organization, actor, origin).await?;
    let Some(message) = store::lock_due(&mut work, organization, id).await? else {
        return Ok(Outcome::NotDue);
    };
    let purpose = purpose(organization, message.webhook);
    let now = OffsetDateTime::now_utc();
    let Ok(secret) = platform.secrets.webhooks.open(&message.sealed_secret, &purpose) else {
        error!(webhook.id = %message.webhook, "the secret of a webhook cannot be opened");
        store::note(&mut work, organization, id, Outcome::Unanswered(false), now).await?;
        work.commit().await?;
        return Ok(Outcome::Unanswered(false));
    };
    let timestamp = now.unix_timestamp();
    let signature = signature(&secret, id, timestamp, &message.body);
    let headers = headers([
        ("webhook-id", id.to_string()),
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-signature", signature),
        ("content-type", "application/json".to_owned()),
        ("user-agent", "Turnpike-Webhooks/1".to_owned()),
    ]);
    let answer = match message.url.parse() {
        Ok(url) => platform.egress.post(&url, headers, message.body).await.ok(),
        Err(_) => None,
    };
    let attempts = message.attempts + 1;
    let outcome = match answer.map(|it| it.as_u16()) {
        Some(status) if (200..300).contains(&status) => Outcome::Delivered(status),
        // Gone: whoever says so does not want to be asked again.
        Some(410) => Outcome::Refused(410, false),
        Some(status) => Outcome::Refused(status, attempts < MOST_ATTEMPTS),
        None => Outcome::Unanswered(attempts < MOST_ATTEMPTS),
    };
    store::note(&mut work, organization, id, outcome, now + wait(attempts)).await?;
    work.commit().await?;
    if !matches!(outcome, Outcome::Delivered(_)) {
        warn!(delivery.id = %id, attempts, "a webhook did not take a message");
    }
    Ok(outcome)
}

fn headers(list: impl IntoIterator<Item = (&'static str, String)>) -> HeaderMap {
    let header = |(name, value): (&'static str, String)| {
        Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
    };
    list.into_iter().filter_map(header).collect()
}

/// After so many attempts: four times as long as before the last.
fn wait(attempts: i32) -> Duration {
    let exponent = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0).min(10);
    FIRST_WAIT * 4_u32.saturating_pow(exponent)
}

/// Forgets what ended long ago.
pub async fn forget_old(platform: &Platform) -> Result<(), DeliveryError> {
    let mut conn = platform.db.acquire().await?;
    store::forget(&mut conn, OffsetDateTime::now_utc() - KEPT).await?;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("the store of webhooks failed: {0}")]
    Store(#[from] sqlx::Error),
}

impl Classified for DeliveryError {
    fn kind(&self) -> Kind {
        match self {
            Self::Store(error) => error.kind(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_longer_than_the_one_before() {
        let waits: Vec<_> = (1..MOST_ATTEMPTS).map(wait).collect();
        assert_eq!(waits[0], FIRST_WAIT);
        assert!(waits.is_sorted());
        let all: Duration = waits.iter().sum();
        assert!(all > Duration::from_secs(7 * 3_600) && all < Duration::from_secs(8 * 3_600));
    }
}
