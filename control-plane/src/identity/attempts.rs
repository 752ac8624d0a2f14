//! Guessing is slowed down: by account and by address, with a growing pause.
//!
//! Nobody is ever locked out for good, and a browser in which somebody has signed in
//! before has a count of its own, so that strangers who guess do not keep the owner of
//! an account away from it.

use aws_lc_rs::hmac;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

use super::{IdentityError, store};

/// One thing that is counted, in a form that tells nothing to who reads the table.
#[derive(Clone, Debug)]
pub struct Bucket {
    key: Vec<u8>,
    /// Failures before the first pause.
    free: i32,
}

impl Bucket {
    pub fn account(marks: &hmac::Key, email: &str, device: Option<&str>) -> Self {
        Self::new(marks, &format!("account|{email}|{}", device.unwrap_or("unknown")), 5)
    }

    /// An address, or for IPv6 the network it is likely to have whole.
    pub fn address(marks: &hmac::Key, address: std::net::IpAddr) -> Self {
        let network = match address {
            std::net::IpAddr::V4(it) => it.to_string(),
            std::net::IpAddr::V6(it) => format!("{:x?}", &it.segments()[..4]),
        };
        Self::new(marks, &format!("address|{network}"), 20)
    }

    pub fn code(marks: &hmac::Key, person: shared::ids::PersonId) -> Self {
        Self::new(marks, &format!("code|{person}"), 5)
    }

    pub fn mail(marks: &hmac::Key, email: &str) -> Self {
        Self::new(marks, &format!("mail|{email}"), 5)
    }

    fn new(marks: &hmac::Key, text: &str, free: i32) -> Self {
        Self { key: hmac::sign(marks, text.as_bytes()).as_ref().to_vec(), free }
    }
}

/// Refuses while any of them pauses.
pub async fn check(
    conn: &mut PgConnection,
    buckets: &[&Bucket],
    now: OffsetDateTime,
) -> Result<(), IdentityError> {
    let keys: Vec<Vec<u8>> = buckets.iter().map(|it| it.key.clone()).collect();
    match store::blocked_until(conn, &keys).await? {
        Some(until) if until > now => {
            Err(IdentityError::TooManyTries { seconds: (until - now).whole_seconds().max(1) })
        }
        _ => Ok(()),
    }
}

/// Counts one failure in each.
pub async fn count(
    conn: &mut PgConnection,
    buckets: &[&Bucket],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    for bucket in buckets {
        let failures = store::count_failure(conn, &bucket.key, now).await?;
        let pause = pause(failures - bucket.free);
        if !pause.is_zero() {
            store::block(conn, &bucket.key, now + pause).await?;
        }
    }
    Ok(())
}

pub async fn forget(conn: &mut PgConnection, bucket: &Bucket) -> Result<(), sqlx::Error> {
    store::forget_failures(conn, &bucket.key).await
}

/// Twice as long each time, a quarter of an hour at most.
fn pause(beyond: i32) -> Duration {
    match u32::try_from(beyond) {
        Ok(0) | Err(_) => Duration::ZERO,
        Ok(beyond) => Duration::seconds(1 << beyond.min(10)).min(Duration::minutes(15)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(pause(-3), Duration::ZERO);
        assert_eq!(pause(0), Duration::ZERO);
        assert_eq!(pause(1), Duration::seconds(2));
        assert_eq!(pause(4), Duration::seconds(16));
        assert_eq!(pause(i32::MAX), Duration::minutes(15));
    }
}
