//! Putting the parts together, starting them, and stopping them without cutting anyone
//! short.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use actix_http::{HttpServiceBuilder, error::DispatchError};
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::{
    App, HttpServer,
    dev::{AppConfig, Server, ServerHandle},
    rt::net::TcpStream,
    web::Data,
};
use futures::future::ready;
use shared::{
    counters,
    tasks::Supervisor,
    wire::{self, Pool},
};
use socket2::{Domain, SockRef, Socket, Type};
use tracing::{info, warn};

use crate::{
    admit::Room,
    authenticate::TrustedProxies,
    budgets::Meter,
    call::{Calling, Neighbours},
    catalog::{
        Catalog, Opener,
        feed::{Feed, FeedError, Proxy, Rest, Source},
    },
    config::{Config, Timeouts},
    connection::Connection,
    egress::Egress,
    feedback::Post,
    files,
    generations::Questions,
    health,
    limits::{Limiter, Place},
    metrics::Metrics,
    pipeline::Gateway,
    place::OwnPlace,
    receive::{Limits, Patience},
    refused::Pages,
    web,
};

/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to close its end.
const DISCONNECT: Duration = Duration::from_secs(1);
/// A worker's connections at most, however many files there are.
const MOST_CONNECTIONS: usize = 25_600;
/// Connections that wait until a worker takes them.
const BACKLOG: i32 = 1_024;
/// What waits for a client that takes it slowly. Beyond, the upstream has to wait.
const WRITE_BUFFER: usize = 16 * 1024;
/// Calls are told so long before the end of the drain, beside what a silence of a stream
/// takes, that it comes.
const FAREWELL: Duration = Duration::from_secs(5);
/// Answers whose callers have left are heard out before the drain, for this part of its time.
const HEARING: u32 = 4;

/// As many connections to Redis ask what became of calls.
const ASKING: usize = 2;

/// A data plane that serves.
pub struct Running {
    pub address: SocketAddr,
    pub metrics_address: Option<SocketAddr>,
    pub catalog: Arc<Catalog>,
    gateway: Data<Gateway>,
    supervisor: Supervisor,
    servers: Vec<ServerHandle>,
    drain_delay: Duration,
    drain: Duration,
    feed: Arc<Feed>,
    redis: Pool,
    places: Places,
    neighbours: Neighbours,
    /// The last to go: whoever starts after us finds all that we wrote.
    _place: Option<OwnPlace>,
}

/// Where in Redis we say something.
#[derive(Clone)]
struct Places {
    last_used: String,
}

/// The ways to the control plane that calls take.
struct Ways {
    counters: counters::Places,
    feedback: Post,
    generations: Questions,
}

#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(
        "another process has its state in {directory:?}: each proxy needs a TURNPIKE_STATE_DIR of its own"
    )]
    Taken { directory: PathBuf },
    #[error("the state cannot be kept in {directory:?}")]
    State { directory: PathBuf, source: io::Error },
    #[error("TURNPIKE_REDIS_URL is not usable")]
    Redis(#[from] FeedError),
    #[error("the journal cannot be kept in {directory:?}")]
    Journal { directory: Option<PathBuf>, source: io::Error },
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// Serves what is published where the control plane usually publishes it.
pub async fn start(config: Config) -> Result<Running, NotStarted> {
    let source = Source::standard(config.redis_url.clone());
    start_from(source, config).await
}

/// Needs a multi-threaded runtime: the catalog is kept current beside the workers.
pub async fn start_from(source: Source, config: Config) -> Result<Running, NotStarted> {
    let place = config.state_dir.as_deref().map(own_place).transpose()?;
    let egress = Egress::new(config.reach.clone(), &config.timeouts);
    let sealer = config.credential_key.sealer("credentials");
    let catalog = Arc::new(Catalog::new(Opener::new(sealer, egress.clone())));
    let metrics = Arc::new(Metrics::new()?);
    let places = Places { last_used: source.last_used.clone() };
    let (counters, feedback) = (source.events.clone(), source.feedback.clone());
    let (pulses, generations) = (source.pulses.clone(), source.generations.clone());
    let proxy = Proxy::of(&config);
    let name = proxy.name.clone();
    let feed = Arc::new(Feed::new(source, proxy, catalog.clone(), metrics.clone())?);
    let redis = feed.pool();
    feed.catch_up().await;
    let ways = Ways {
        counters,
        feedback: Post::new(redis.clone(), feedback),
        generations: Questions::new(feed.another_pool(ASKING)?, generations),
    };
    let gateway = Data::new(gateway(&config, catalog.clone(), metrics, ways)?);

    let (address, server) = listen(&config, gateway.clone(), egress)?;
    let private = config.floor.metrics_listen.map(|it| listen_privately(it, gateway.clone()));
    let (metrics_address, private) = private.transpose()?.unzip();

    let supervisor = Supervisor::default();
    let (calling, listens_at) = (gateway.calling.clone(), address.to_string());
    feed.clone().start(&supervisor, move || Rest {
        address: listens_at.clone(),
        breakers: calling.left_alone(),
    });
    let neighbours = Neighbours { redis: redis.clone(), place: pulses, name };
    neighbours.clone().start(&supervisor, gateway.calling.clone());
    gateway.last_used.clone().start(&supervisor, redis.clone(), places.last_used.clone());
    gateway.meter.limiter.clone().start(&supervisor);
    gateway.meter.clone().start(&supervisor);
    gateway.refusals.clone().start(&supervisor);
    let mut servers = vec![server.handle()];
    supervisor.run("serve", server);
    if let Some(private) = private {
        servers.push(private.handle());
        supervisor.run("serve metrics", private);
    }
    info!(%address, "serving on http://{address}");
    let drain_delay = Duration::from_secs(config.drain_delay_seconds);
    Ok(Running {
        address,
        metrics_address,
        catalog,
        gateway,
        supervisor,
        servers,
        drain_delay,
        drain: Duration::from_secs(config.floor.drain_seconds),
        feed,
        redis,
        places,
        neighbours,
        _place: place,
    })
}

fn own_place(directory: &Path) -> Result<OwnPlace, NotStarted> {
    let directory = directory.to_owned();
    match OwnPlace::take(&directory) {
        Ok(Some(place)) => Ok(place),
        Ok(None) => Err(NotStarted::Taken { directory }),
        Err(source) => Err(NotStarted::State { directory, source }),
    }
}

impl Running {
    /// Says at once that we leave, then lets what is under way finish.
    pub async fn drain(self) {
        self.gateway.draining.store(true, Ordering::Relaxed);
        info!("draining");
        tokio::time::sleep(self.drain_delay).await;
        // They come over connections of the workers, which go with these.
        let heard = self.gateway.meter.has_heard_all();
        let _ = tokio::time::timeout(self.drain / HEARING, heard).await;
        tokio::select! {
            () = self.stop_serving() => (),
            () = self.say_farewell() => (),
        }
        self.gateway.meter.ends_hearing();
        self.supervisor.shut_down().await;
        self.gateway.meter.limiter.leave().await;
        self.gateway.meter.departs().await;
        self.gateway.refusals.sum_up();
        self.feed.end().await;
        if let Err(error) = self.neighbours.leave().await {
            warn!(%error, "could not say that nothing is seen any more");
        }
        if let Err(error) = self.gateway.last_used.carry(&self.redis, &self.places.last_used).await
        {
            warn!(%error, "could not tell when keys were last used");
        }
        info!("stopped");
    }

    async fn stop_serving(&self) {
        // In the order they were started: health is told to the end.
        for server in &self.servers {
            server.stop(true).await;
        }
    }

    /// Tells the calls that last longer than we may wait. What waits for an answer is refused
    /// at once; a stream notices at its next piece or silence, and ends with an error instead
    /// of a cut.
    async fn say_farewell(&self) {
        let notice = (self.gateway.calling.timeouts.ping + FAREWELL).min(self.drain / 2);
        tokio::time::sleep(self.drain - notice).await;
        self.gateway.calling.leave();
        std::future::pending().await
    }

    /// Comes about when a part has failed that we cannot do without.
    pub async fn failed(&self) {
        self.supervisor.stopped().await;
    }
}

fn gateway(
    config: &Config,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    ways: Ways,
) -> Result<Gateway, NotStarted> {
    let standard = Place::standard(config.redis_url.clone(), config.assumed_proxies);
    let place = Place { counters: ways.counters, ..standard };
    let limiter = Limiter::new(place, metrics.limits.clone())
        .map_err(|it| FeedError::from(wire::NotMade::from(it)))?;
    let (directory, most) = (config.journal(), config.journal_bytes);
    if directory.is_none() {
        warn!("TURNPIKE_JOURNAL_DIR is not set: what is not told yet is lost with the process");
    }
    let meter = Meter::begin(directory.as_deref(), most, limiter, metrics.meter.clone())
        .map_err(|source| NotStarted::Journal { directory, source })?;
    let calling = Calling::new(config.timeouts, config.breaker_calls, &metrics.call);
    let patience = Patience { grace: config.timeouts.body, ..Patience::default() };
    Ok(Gateway {
        catalog,
        meter,
        feedback: ways.feedback,
        generations: ways.generations,
        room: Room::new(config.max_in_flight, config.body_memory_bytes),
        metrics,
        last_used: Arc::default(),
        refusals: Arc::default(),
        proxies: TrustedProxies(config.trusted_proxies.clone()),
        limits: Limits { bytes: config.body_limit_bytes, patience },
        calling: calling.into(),
        pages: Pages::of(&config.dashboard_url),
        draining: false.into(),
    })
}

fn listen(
    config: &Config,
    gateway: Data<Gateway>,
    egress: Egress,
) -> Result<(SocketAddr, Server), NotStarted> {
    let address = config.floor.listen;
    let not_listening = |source| NotStarted::Listen { address, source };
    let listener = listener(address).map_err(not_listening)?;
    let bound = listener.local_addr().map_err(not_listening)?;
    let workers = config
        .floor
        .workers
        .unwrap_or_else(|| thread::available_parallelism().map_or(2, Into::into));
    let server = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections_each(config.max_connections, workers))
        .shutdown_timeout(config.floor.drain_seconds)
        .disable_signals();
    let (leaving, timeouts) = (server.graceful_shutdown_signal(), config.timeouts);
    let serve = move || {
        // Built on the worker's thread: each worker has connections of its own.
        let client = Data::new(egress.client());
        let app = App::new().app_data(gateway.clone()).app_data(client).configure(web::routes);
        let leaving = leaving.clone();
        let http = HttpServiceBuilder::default()
            .graceful_shutdown_signal(move || {
                let leaving = leaving.clone();
                async move { leaving.notified().await }
            })
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.visits().clone());
            })
            .h1_write_buffer_size(WRITE_BUFFER)
            // A client that has closed its end is gone, and its call with it.
            .h1_allow_half_closed(false)
            .client_request_timeout(timeouts.head)
            .client_disconnect_timeout(DISCONNECT)
            .keep_alive(KEEP_ALIVE)
            .local_addr(bound)
            .h1(map_config(app, |()| AppConfig::default()));
        fn_service(move |stream| ready(Ok::<_, DispatchError>(accepted(stream, &timeouts))))
            .and_then(http)
    };
    let server = server.listen("calls", listener, serve).map_err(not_listening)?;
    Ok((bound, server.run()))
}

/// How many connections each worker may have.
fn connections_each(most: Option<u32>, workers: usize) -> usize {
    let most = most.map_or_else(files::clients, u64::from);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    most.div_ceil(workers).min(MOST_CONNECTIONS)
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What goes out goes at once, and a client that takes nothing of what waits for it is
/// dropped by the kernel, which sees it though we are not asked for more.
fn accepted(stream: TcpStream, timeouts: &Timeouts) -> (Connection, Option<SocketAddr>) {
    let limited = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(&stream).set_tcp_user_timeout(Some(timeouts.write)));
    if let Err(error) = limited {
        warn!(%error, "could not limit how long a client may take nothing");
    }
    let peer = stream.peer_addr().ok();
    (Connection::new(stream, timeouts.head), peer)
}

fn listen_privately(
    address: SocketAddr,
    gateway: Data<Gateway>,
) -> Result<(SocketAddr, Server), NotStarted> {
    let server = HttpServer::new(move || {
        App::new().app_data(gateway.clone()).configure(health::private_routes)
    })
    .workers(1)
    .shutdown_timeout(1)
    .disable_signals()
    .bind(address)
    .map_err(|source| NotStarted::Listen { address, source })?;
    let bound = server.addrs().first().copied().unwrap_or(address);
    Ok((bound, server.run()))
}
