//! When each key was last used, told to the control plane now and then.
//!
//! Coarse on purpose: a call notes it in memory, and a job carries what was noted to
//! Redis. What a killed process had not carried yet is lost; it is a date for people to
//! look at, and nothing is decided by it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::AsyncCommands;
use shared::wire::Pool;
use shared::{ids::ApiKeyId, tasks::Supervisor};
use time::OffsetDateTime;
use tokio::sync::Notify;

use crate::catalog::feed::FeedError;

const PERIOD: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct LastUsed {
    /// In seconds since 1970.
    noted: Mutex<HashMap<ApiKeyId, i64>>,
}

impl LastUsed {
    pub fn note(&self, key: ApiKeyId, now: OffsetDateTime) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.insert(key, now.unix_timestamp());
    }

    /// Carries what was noted to the hash `place`. What could not be carried is kept.
    pub async fn carry(&self, redis: &Pool, place: &str) -> Result<(), FeedError> {
        let noted = std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner));
        if noted.is_empty() {
            return Ok(());
        }
        let fields: Vec<_> = noted.iter().map(|(key, at)| (key.to_string(), *at)).collect();
        let carried = async {
            let mut connection = redis.get().await?;
            let () = connection.hset_multiple(place, &fields).await?;
            Ok::<_, FeedError>(())
        }
        .await;
        if carried.is_err() {
            let mut present = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, at) in noted {
                present.entry(key).or_insert(at);
            }
        }
        carried
    }

    pub fn start(self: Arc<Self>, supervisor: &Supervisor, redis: Pool, place: String) {
        let unasked = Arc::<Notify>::default();
        supervisor.every("tell when keys were used", PERIOD, unasked, move || {
            let (noted, redis, place) = (self.clone(), redis.clone(), place.clone());
            async move { noted.carry(&redis, &place).await }
        });
    }
}
