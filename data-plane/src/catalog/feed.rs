//! How new images get here: by asking Redis every few seconds, and at once on a hint.
//!
//! A hint carries no content, so a lost one costs a period, never a change. While Redis
//! is away the present snapshot serves on.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use deadpool_redis::{Manager, Pool, Runtime};
use futures::StreamExt;
use redis::{AsyncCommands, AsyncConnectionConfig};
use secrecy::{ExposeSecret, SecretString};
use shared::{event, random, snapshot, tasks::Supervisor};
use tokio::{sync::Notify, time::timeout};
use tracing::{error, info, warn};

use super::{Catalog, Offered};
use crate::metrics::Metrics;

const CONNECT: Duration = Duration::from_secs(2);
/// Long enough for the largest image over a slow network.
const ANSWER: Duration = Duration::from_secs(5);
const RECONNECT: Duration = Duration::from_secs(1);

/// Where in Redis we meet the control plane.
#[derive(Clone, Debug)]
pub struct Source {
    pub redis_url: SecretString,
    pub image: String,
    pub hint: String,
    /// Where to say when keys were used.
    pub last_used: String,
    /// Where to tell of calls.
    pub events: String,
    /// How often to ask, hints apart.
    pub period: Duration,
}

impl Source {
    pub fn standard(redis_url: SecretString) -> Self {
        let (image, hint) = (snapshot::IMAGE.to_owned(), snapshot::HINT.to_owned());
        let last_used = snapshot::LAST_USED.to_owned();
        let events = event::PLACE.to_owned();
        Self { redis_url, image, hint, last_used, events, period: period() }
    }
}

/// Keeps a catalog current.
pub struct Feed {
    source: Source,
    client: redis::Client,
    pool: Pool,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    /// The image refused last, so that it is complained about once.
    refused: Mutex<Option<u64>>,
}

#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("Redis failed: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("no connection to Redis: {0}")]
    Pool(#[from] deadpool_redis::PoolError),
    #[error("the pool for Redis is not valid: {0}")]
    Build(#[from] deadpool_redis::BuildError),
    #[error("Redis did not answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("Redis closed the subscription")]
    Closed,
}

impl Feed {
    /// Only reads the address: whether Redis is there shows later, and stops nothing.
    pub fn new(
        source: Source,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, FeedError> {
        let url = source.redis_url.expose_secret();
        let client = redis::Client::open(url)?;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let pool = Pool::builder(Manager::new_with_config(url, settings)?)
            .max_size(2)
            .wait_timeout(Some(CONNECT))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(CONNECT))
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Self { source, client, pool, catalog, metrics, refused: Mutex::default() })
    }

    /// The connections, for who else has something to say to Redis.
    pub fn pool(&self) -> Pool {
        self.pool.clone()
    }

    /// Checks now, at every hint, and every period.
    pub fn start(self: Arc<Self>, supervisor: &Supervisor) {
        let hinted = Arc::new(Notify::new());
        hinted.notify_one();

        let (feed, on_hint) = (self.clone(), hinted.clone());
        supervisor.every("check for a snapshot", self.source.period, hinted, move || {
            let feed = feed.clone();
            async move { feed.check().await }
        });

        let (stopped, subscribe) = (supervisor.clone(), Arc::new(Notify::new()));
        subscribe.notify_one();
        supervisor.every("listen for snapshot hints", RECONNECT, subscribe, move || {
            let (feed, stopped, on_hint) = (self.clone(), stopped.clone(), on_hint.clone());
            async move {
                tokio::select! {
                    () = stopped.stopped() => Ok(()),
                    ended = feed.listen(&on_hint) => ended,
                }
            }
        });
    }

    pub async fn check(&self) -> Result<(), FeedError> {
        let fetched = self.fetch().await;
        self.metrics.snapshot.checked(fetched.is_ok());
        match fetched? {
            Some(image) => self.offer(&image),
            None => warn!("Redis holds no snapshot; is the control plane running?"),
        }
        Ok(())
    }

    async fn fetch(&self) -> Result<Option<Vec<u8>>, FeedError> {
        let mut connection = self.pool.get().await?;
        Ok(connection.get(&self.source.image).await?)
    }

    fn offer(&self, image: &[u8]) {
        match self.catalog.offer(image) {
            Ok(Offered::Known) => (),
            Ok(Offered::Taken { revision }) => info!(revision, "serving snapshot {revision}"),
            Err(reason) if self.is_news(image) => {
                self.metrics.snapshot.rejected();
                error!(%reason, "refused a snapshot, keeping the present one");
            }
            Err(_) => (),
        }
    }

    fn is_news(&self, image: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        image.hash(&mut hasher);
        let refused = Some(hasher.finish());
        let mut last = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *last, refused) != refused
    }

    /// Nudges at each hint, until the connection breaks.
    async fn listen(&self, hinted: &Notify) -> Result<(), FeedError> {
        let mut subscription = timeout(CONNECT, self.client.get_async_pubsub()).await??;
        timeout(CONNECT, subscription.subscribe(&self.source.hint)).await??;
        // What was announced before we listened was not heard.
        hinted.notify_one();
        let mut hints = subscription.on_message();
        while hints.next().await.is_some() {
            hinted.notify_one();
        }
        Err(FeedError::Closed)
    }
}

/// From 3 to 5 seconds, another for each process, so that a fleet started at once does
/// not ask at once.
fn period() -> Duration {
    let [dice] = random::bytes::<1>();
    Duration::from_secs(3) + Duration::from_millis(2_000) * u32::from(dice) / 255
}
