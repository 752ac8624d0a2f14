//! What we say of ourselves: which revision we serve, and why no newer one.

use std::sync::{PoisonError, atomic::Ordering};

use redis::Script;
use shared::snapshot::{OpenBreakers, Report};

use super::{Feed, FeedError};

/// Dated by the one clock that all proxies share.
const REPORT: &str = r"
    local time = redis.call('TIME')
    local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
    redis.call('HSET', KEYS[1], ARGV[1], now .. ' ' .. ARGV[2])
";

/// What a report says beside what we serve.
pub struct Rest {
    /// Where we listen.
    pub address: String,
    pub breakers: OpenBreakers,
}

impl Feed {
    pub(super) async fn report(&self, rest: Rest) -> Result<(), FeedError> {
        let report = self.what_we_serve(rest);
        let Ok(report) = serde_json::to_string(&report) else { return Ok(()) };
        let mut connection = self.pool.get().await?;
        let script = Script::new(REPORT);
        let mut said = script.key(self.source.places.reports());
        Ok(said.arg(&self.proxy.name).arg(report).invoke_async(&mut connection).await?)
    }

    fn what_we_serve(&self, rest: Rest) -> Report {
        let present = self.catalog.present();
        let refusing = self.refusing.lock().unwrap_or_else(PoisonError::into_inner);
        let at = present.as_ref().map_or(0, |it| it.taken_at.unix_timestamp_nanos() / 1_000);
        Report {
            revision: present.as_ref().map_or(0, |it| it.revision),
            refuses: refusing.as_ref().map(|it| it.reason.clone()),
            published_at: i64::try_from(at).unwrap_or_default(),
            lag_ms: self.lag_ms.load(Ordering::Relaxed),
            quarantined: present.as_ref().map_or(0, |it| it.quarantined.len()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: rest.address,
            breakers: rest.breakers,
        }
    }

    /// Whoever leaves in order is not missed.
    pub(super) async fn take_leave(&self) -> Result<(), FeedError> {
        let mut connection = self.pool.get().await?;
        let mut leave = redis::cmd("HDEL");
        leave.arg(self.source.places.reports()).arg(&self.proxy.name);
        Ok(leave.query_async(&mut connection).await?)
    }
}
