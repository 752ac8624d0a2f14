//! How the catalog is kept current: by asking Redis every few seconds, and at once on a
//! hint.
//!
//! A hint carries no content, so a lost one costs a period, never a change. While Redis
//! is away the present snapshot serves on; what cannot be taken is refused with a reason,
//! which the operators' page shows.

mod following;
mod kept;
mod lane;
mod reading;
mod reporting;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt;
use secrecy::{ExposeSecret, SecretString};
use shared::{
    counters, feedback, generations, pulses, random,
    seal::MasterKey,
    snapshot::{self, NotGenuine, Places, PublicKey, Verifier},
    tasks::Supervisor,
    wire::{self, Address, Patience, Pool},
};
use time::OffsetDateTime;
use tokio::{sync::Notify, time::timeout};
use tracing::{error, info, warn};

pub use self::reporting::Rest;
use self::{kept::Kept, lane::Lane};
use super::{Catalog, Rejected};
use crate::{config::Config, metrics::Metrics};

const CONNECT: Duration = Duration::from_secs(2);
/// Long enough for one piece of an image over a slow network.
const ANSWER: Duration = Duration::from_secs(2);
const RECONNECT: Duration = Duration::from_secs(1);
/// How often what we hold is added up.
const ADD_UP: Duration = Duration::from_secs(60);
/// For how long a start waits for something newer than the copy on the disk.
const START: Duration = Duration::from_secs(1);

/// Where in Redis we meet the control plane.
#[derive(Clone, Debug)]
pub struct Source {
    pub redis_url: SecretString,
    pub places: Places,
    /// Where to say when keys were used.
    pub last_used: String,
    /// Where to say how upstreams do.
    pub pulses: String,
    /// Where to say what callers said of answers.
    pub feedback: String,
    /// Where to ask what became of calls.
    pub generations: String,
    /// Where to tell of calls.
    pub events: counters::Places,
    /// How often to ask, hints apart.
    pub period: Duration,
    /// How often the fast lane is asked, hints apart.
    pub lane_period: Duration,
}

impl Source {
    pub fn standard(redis_url: SecretString) -> Self {
        Self {
            redis_url,
            places: Places::default(),
            last_used: snapshot::LAST_USED.to_owned(),
            pulses: pulses::PLACE.to_owned(),
            feedback: feedback::STREAM.to_owned(),
            generations: generations::QUESTIONS.to_owned(),
            events: counters::Places::default(),
            period: period(),
            lane_period: Duration::from_millis(500),
        }
    }
}

/// Who we are, and what we trust and keep.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub name: String,
    pub trusted: Vec<PublicKey>,
    pub state_dir: Option<PathBuf>,
    pub credential_key: MasterKey,
}

impl Proxy {
    pub fn of(config: &Config) -> Self {
        let drawn = || format!("proxy-{}", random::base62(6));
        Self {
            name: config.proxy_name.clone().unwrap_or_else(drawn),
            trusted: config.snapshot_public_keys.clone(),
            state_dir: config.state_dir.clone(),
            credential_key: config.credential_key.clone(),
        }
    }
}

/// Keeps a catalog current.
pub struct Feed {
    source: Source,
    proxy: Proxy,
    verifier: Verifier,
    address: Address,
    pool: Pool,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    kept: Kept,
    lane: Lane,
    /// From the publishing of the present revision until we served it.
    lag_ms: AtomicI64,
    /// Why we stay where we are, and with which newest revision before us.
    refusing: Mutex<Option<Refusing>>,
    added_up: Mutex<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusing {
    newest: i64,
    full: i64,
    reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("Redis failed: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("no connection to Redis: {0}")]
    Pool(#[from] wire::PoolError),
    #[error(transparent)]
    NotMade(#[from] wire::NotMade),
    #[error("Redis did not answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error("Redis closed the subscription")]
    Closed,
}

/// Why what Redis holds is not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error("{place}: {why}")]
    NotGenuine { place: String, why: NotGenuine },
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error("{0} is not all there")]
    Incomplete(String),
    #[error("Redis holds no revision after {0}, and nothing whole that is newer")]
    NothingNewer(i64),
}

impl Feed {
    /// Only reads the address: whether Redis is there shows later, and stops nothing.
    pub fn new(
        source: Source,
        proxy: Proxy,
        catalog: Arc<Catalog>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, FeedError> {
        let address: Address =
            source.redis_url.expose_secret().parse().map_err(wire::NotMade::from)?;
        let pool = address.pool(Patience { connect: CONNECT, answer: ANSWER }, 4)?;
        Ok(Self {
            verifier: Verifier::new(proxy.trusted.clone()),
            kept: Kept::new(proxy.state_dir.clone(), &proxy.credential_key),
            lane: Lane::default(),
            lag_ms: AtomicI64::default(),
            refusing: Mutex::default(),
            added_up: Mutex::new(Instant::now()),
            source,
            proxy,
            address,
            pool,
            catalog,
            metrics,
        })
    }

    /// The connections, for who else has something to say to Redis.
    pub fn pool(&self) -> Pool {
        self.pool.clone()
    }

    /// Other connections, for who may take all of theirs for long.
    pub fn another_pool(&self, most: usize) -> Result<Pool, FeedError> {
        Ok(self.address.pool(Patience { connect: CONNECT, answer: ANSWER }, most)?)
    }

    /// Before we serve: the copy on the disk, then what is newer, should Redis be there
    /// at once.
    pub async fn catch_up(&self) {
        self.recall();
        let newer = async {
            self.check().await?;
            self.hear_what_stopped().await
        };
        match timeout(START, newer).await {
            Ok(Ok(())) => (),
            Ok(Err(error)) => warn!(%error, "Redis is not there yet: {error}"),
            Err(_) => warn!("Redis is not there yet"),
        }
    }

    /// Checks at every hint and every period, and says what we serve and `rest`.
    pub fn start(
        self: Arc<Self>,
        supervisor: &Supervisor,
        rest: impl Fn() -> Rest + Send + Sync + 'static,
    ) {
        let rest = Arc::new(rest);
        let (hinted, stopped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        hinted.notify_one();

        let (feed, period) = (self.clone(), self.source.period);
        supervisor.every("check for a snapshot", period, hinted.clone(), move || {
            let (feed, rest) = (feed.clone(), rest.clone());
            async move {
                feed.check().await?;
                feed.report(rest()).await
            }
        });

        let (feed, period, news) = (self.clone(), self.source.lane_period, hinted.clone());
        supervisor.every("hear what stopped", period, stopped.clone(), move || {
            let (feed, news) = (feed.clone(), news.clone());
            async move {
                // That Redis is away, the other check tells, and less often.
                if let Ok(true) = feed.hear().await {
                    news.notify_one();
                }
                Ok::<_, FeedError>(())
            }
        });

        let feed = self.clone();
        supervisor.every("keep a copy", Duration::from_secs(2), Arc::default(), move || {
            let feed = feed.clone();
            async move { feed.keep() }
        });

        let (ending, subscribe) = (supervisor.clone(), Arc::new(Notify::new()));
        subscribe.notify_one();
        supervisor.every("listen for hints", RECONNECT, subscribe, move || {
            let (feed, ending) = (self.clone(), ending.clone());
            let (hinted, stopped) = (hinted.clone(), stopped.clone());
            async move {
                tokio::select! {
                    () = ending.stopped() => Ok(()),
                    ended = feed.listen(&hinted, &stopped) => ended,
                }
            }
        });
    }

    /// What is not on the disk yet goes there, and we take our leave.
    pub async fn end(&self) {
        if let Err(error) = self.keep() {
            warn!(%error, "could not keep a copy");
        }
        if let Err(error) = self.take_leave().await {
            warn!(%error, "could not say that we stop");
        }
    }

    /// Brings the catalog to the newest revision that there is, or says why not.
    pub async fn check(&self) -> Result<(), FeedError> {
        let read = self.shelf().await;
        self.metrics.snapshot.checked(read.is_ok());
        let Some(shelf) = read? else {
            warn!("Redis holds no snapshot; is the control plane running?");
            return Ok(());
        };
        let before = self.revision();
        let outcome = self.go_to(shelf).await;
        let revision = self.revision();
        if revision > before {
            self.note_lag();
            info!(revision, "serving revision {revision}");
        }
        match outcome {
            Ok(()) => self.settle(None),
            Err(NotTaken::Feed(error)) => return Err(error),
            Err(why) => {
                let reason = why.to_string();
                self.settle(Some(Refusing { newest: shelf.revision, full: shelf.full, reason }));
            }
        }
        Ok(())
    }

    fn revision(&self) -> i64 {
        self.catalog.present().as_ref().map_or(0, |it| it.revision)
    }

    /// Complains of each reason once.
    fn settle(&self, refusing: Option<Refusing>) {
        let mut last = self.refusing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Refusing { reason, .. }) = &refusing
            && last.as_ref().is_none_or(|it| it.reason != *reason)
        {
            self.metrics.snapshot.rejected();
            error!(reason, "refused a revision, keeping the present one: {reason}");
        }
        *last = refusing;
    }

    fn note_lag(&self) {
        if let Some(present) = self.catalog.present().as_ref() {
            let lag = (OffsetDateTime::now_utc() - present.taken_at).whole_milliseconds();
            self.lag_ms.store(i64::try_from(lag).unwrap_or_default(), Ordering::Relaxed);
        }
    }

    /// Nudges at each hint, until the connection breaks.
    async fn listen(&self, hinted: &Notify, stopped: &Notify) -> Result<(), FeedError> {
        let mut subscription = timeout(CONNECT, self.address.subscribe()).await??;
        timeout(CONNECT, subscription.subscribe(self.source.places.hint())).await??;
        // What was announced before we listened was not heard.
        hinted.notify_one();
        let mut hints = subscription.on_message();
        while let Some(hint) = hints.next().await {
            if hint.get_payload_bytes() == b"stop" { stopped } else { hinted }.notify_one();
        }
        Err(FeedError::Closed)
    }
}

/// From 4 to 6 seconds, another for each process, so that a fleet started at once does
/// not ask at once.
fn period() -> Duration {
    let [dice] = random::bytes::<1>();
    Duration::from_secs(4) + Duration::from_millis(2_000) * u32::from(dice) / 255
}
