//! The way to Redis: one connection, shared by all, and one of each worker's own, on which every
//! call's question is in the pipe at once. No question waits longer than our [`Patience`].

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind};
use secrecy::ExposeSecret;
use shared::{
    counters::{self, Incarnation},
    wire::{self, Address, BadAddress, History, Wire},
};
use tokio::{sync::Notify, time::Instant};
use tracing::{debug, info, warn};

use super::{
    Place,
    breaker::Breaker,
    metrics::LimitMetrics,
    near::{self, Of},
    patience::Patience,
    scripts::Scripts,
};

const CONNECT: Duration = Duration::from_millis(500);

pub struct Store {
    address: Address,
    connection: ArcSwapOption<Wire>,
    breaker: Breaker,
    pub scripts: Scripts,
    /// What was looked after last.
    history: ArcSwap<History>,
    /// With a Redis that does not answer, before the breaker opens.
    pub patience: Patience,
    /// Told when Redis is to be looked after at once.
    pub trouble: Arc<Notify>,
    metrics: Arc<LimitMetrics>,
}

impl Store {
    /// Only reads the address: Redis is first asked by a beat.
    pub fn new(
        place: &Place,
        scripts: Scripts,
        metrics: Arc<LimitMetrics>,
    ) -> Result<Self, BadAddress> {
        let address: Address = place.redis_url.expose_secret().parse()?;
        let patience = if address.is_cluster() { Patience::with_each } else { Patience::in_line };
        Ok(Self {
            address,
            connection: ArcSwapOption::empty(),
            breaker: Breaker::open(),
            scripts,
            history: ArcSwap::default(),
            patience: patience(place.patience),
            trouble: Arc::default(),
            metrics,
        })
    }

    pub fn is_there(&self) -> bool {
        self.breaker.is_closed() && self.connection.load().is_some()
    }

    /// `None` when Redis is not worth asking, or did not answer. It may have heard us all
    /// the same.
    pub async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> Option<T> {
        let mut connection = self.present()?;
        let answer = self.put(&mut connection, question).await;
        self.judged(answer)
    }

    /// The same for those who began to wait then. The question is made when it is put, and anew
    /// where Redis did not understand it.
    pub async fn ask_since<T: FromRedisValue>(
        &self,
        since: Instant,
        mut question: impl FnMut() -> Cmd,
    ) -> Option<T> {
        let mut connection = self.present()?;
        let put = question();
        let answer = match self.patience.wait_since(since, put.query_async(&mut connection)).await {
            Err(error) if has_forgotten(&error) => match self.prepare(&mut connection).await {
                Ok(()) => {
                    let again = question();
                    self.patience.wait(again.query_async(&mut connection)).await
                }
                Err(error) => Err(error),
            },
            answer => answer,
        };
        self.judged(answer)
    }

    /// Says several things at once. Answers whether all were heard, as far as one knows.
    pub async fn tell(&self, what: &Pipeline) -> bool {
        let Some(mut connection) = self.present() else { return false };
        let mut told = self.patience.wait(what.exec_async(&mut connection)).await;
        if told.as_ref().is_err_and(has_forgotten) {
            // What was told is lost, since some of it may have been heard.
            told = told.and(self.prepare(&mut connection).await);
        }
        self.judged(told).is_some()
    }

    /// Says that we live, over a new connection if there is none that works, and answers
    /// how many proxies do and what the time is. This alone brings a Redis back that was given up.
    pub async fn beat(&self, fleet: &str, proxy: &str) -> Option<(u32, i64)> {
        let beat = self.scripts.beat(fleet, proxy);
        if let Some(mut connection) = self.shared().as_deref().cloned() {
            if let Err(error) = self.look_after(&mut connection).await {
                // One master of a cluster that is away is no reason to give up the others.
                debug!(%error, "Redis does not say which history it is part of: {error}");
            }
            let answer = self.put(&mut connection, &beat).await;
            return self.judged(answer);
        }
        let mut connection = self.connect().await.ok()?;
        let alive = self.put(&mut connection, &beat).await.ok()?;
        self.connection.store(Some(Arc::new(connection)));
        if self.breaker.close() {
            info!("limits are shared through Redis");
        }
        self.metrics.shared.set(1);
        Some(alive)
    }

    /// The one that is nearest.
    fn present(&self) -> Option<Wire> {
        let shared = self.shared()?;
        let of = Of::new(&shared, self.history.load_full());
        let near = near::near(self.name(), &of, (&self.address, self.how_patient()));
        Some(near.unwrap_or_else(|| Wire::clone(&shared)))
    }

    fn shared(&self) -> Option<Arc<Wire>> {
        if !self.breaker.is_closed() {
            return None;
        }
        self.connection.load_full()
    }

    fn name(&self) -> near::Name {
        std::ptr::from_ref(&*self.trouble).addr()
    }

    fn how_patient(&self) -> wire::Patience {
        wire::Patience { connect: CONNECT, answer: self.patience.longest() }
    }

    async fn connect(&self) -> RedisResult<Wire> {
        let mut connection = self.address.connect(self.how_patient()).await?;
        self.prepare(&mut connection).await?;
        Ok(connection)
    }

    /// A server may be followed, overtaken and put back into its place while our connection to
    /// it lasts.
    async fn look_after(&self, connection: &mut Wire) -> RedisResult<()> {
        if connection.history().await? == **self.history.load() {
            return Ok(());
        }
        self.prepare(connection).await
    }

    /// Makes the scripts known. A Redis that does not know the one by which we know it again
    /// was restarted, or is another one: it may have lost something, which is said before
    /// anything can be counted there.
    async fn prepare(&self, connection: &mut Wire) -> RedisResult<()> {
        let history = connection.history().await?;
        self.scripts.enter(&history);
        self.history.store(Arc::new(history));
        let counters = &self.scripts.counters;
        let booted = self.patience.wait(counters.is_booted().query_async(connection)).await?;
        if counters::Scripts::is_another(booted) {
            warn!("Redis was restarted or is another one: budgets are counted again first");
            let () = counters.chill_all(Incarnation::fresh()).exec_async(connection).await?;
        }
        self.scripts.load().exec_async(connection).await
    }

    async fn put<T: FromRedisValue>(
        &self,
        connection: &mut Wire,
        question: &Cmd,
    ) -> RedisResult<T> {
        match self.patience.wait(question.query_async(connection)).await {
            Err(error) if has_forgotten(&error) => {
                self.prepare(connection).await?;
                let again = self.scripts.again(question);
                let question = again.as_ref().unwrap_or(question);
                self.patience.wait(question.query_async(connection)).await
            }
            answer => answer,
        }
    }

    fn judged<T>(&self, answer: RedisResult<T>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.breaker.succeeded();
                Some(answer)
            }
            Err(error) => {
                near::forget(self.name());
                self.metrics.redis_failures.inc();
                if self.breaker.failed() {
                    self.give_up(&error);
                }
                None
            }
        }
    }

    fn give_up(&self, error: &RedisError) {
        warn!(%error, "Redis fails, each proxy gives out its share of the limits: {error}");
        self.metrics.shared.set(0);
        self.connection.store(None);
        self.trouble.notify_one();
    }
}

/// Redis was restarted, or told to forget its scripts.
fn has_forgotten(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        process::{Child, Command, Stdio},
    };

    use redis::AsyncCommands;
    use shared::{counters::Places, ids::RequestId};

    use super::{
        super::tests::{redis, redis_url},
        *,
    };
    use crate::metrics::Metrics;

    /// A Redis that nobody else uses.
    struct Server {
        process: Child,
        port: u16,
    }

    impl Server {
        fn start() -> Self {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let port_text = port.to_string();
            let process = Command::new("redis-server")
                .args(["--port", &port_text, "--bind", "127.0.0.1", "--save", ""])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            Self { process, port }
        }

        fn url(&self) -> String {
            format!("redis://127.0.0.1:{}", self.port)
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    /// A store with scripts of its own, which nobody has told Redis yet.
    async fn untold() -> Store {
        let clock = format!("-- {}\nlocal function clock() return 1 end\n", RequestId::generate());
        let scripts = Scripts::with(&clock, Duration::from_secs(30), Places::default());
        let metrics = Metrics::new().unwrap().limits.clone();
        let store = Store::new(&Place::standard(redis_url(), 1), scripts, metrics).unwrap();
        let patience = wire::Patience { connect: CONNECT, answer: Duration::from_secs(10) };
        let connection = store.address.connect(patience).await.unwrap();
        store.connection.store(Some(Arc::new(connection)));
        store.breaker.close();
        store
    }

    /// Even one that has all scripts: it was followed by another, whose writes it did not see.
    #[tokio::test]
    async fn a_redis_that_was_overtaken_and_put_back_is_another() {
        let server = Server::start();
        let place = Place::standard(server.url().into(), 1);
        let scripts = Scripts::new(Places::default());
        let metrics = Metrics::new().unwrap().limits.clone();
        let store = Store::new(&place, scripts, metrics).unwrap();
        while store.beat("fleet", "one").await.is_none() {}
        let shard = shared::counters::Shard::from(17);
        let kept = store.scripts.counters.places.incarnation(shard);
        let mut redis = redis(&server.url().into()).await;
        let () = redis.set(&kept, "5 W 0").await.unwrap();
        assert!(store.beat("fleet", "one").await.is_some());
        let state: String = redis.get(&kept).await.unwrap();
        assert_eq!(state, "5 W 0");
        let at = (shard, shared::counters::Epoch(1), Incarnation(5));
        let question = store.scripts.counters.extend(at, "call", &[]);
        for to in [["127.0.0.1", "1"], ["NO", "ONE"]] {
            let () = redis::cmd("REPLICAOF").arg(&to).query_async(&mut redis).await.unwrap();
        }
        assert!(store.beat("fleet", "one").await.is_some());
        let state: String = redis.get(&kept).await.unwrap();
        assert!(state.contains(" C "), "{state}");

        // Whoever asks by a name of before, and is not understood, asks by the present one.
        let () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut redis).await.unwrap();
        assert_eq!(store.ask::<i64>(&question).await, Some(-1));
    }

    #[tokio::test]
    async fn a_redis_that_forgot_the_scripts_is_told_them_again() {
        let fleet = format!("test:{}", RequestId::generate());
        let store = untold().await;
        assert_eq!(store.beat(&fleet, "one").await, Some((1, 1)));
        assert_eq!(store.metrics.redis_failures.get(), 0);

        let store = untold().await;
        let mut telling = Pipeline::new();
        telling.add_command(store.scripts.beat(&fleet, "one"));
        assert!(!store.tell(&telling).await);
        assert!(store.tell(&telling).await);
    }
}
