//! The way to Redis: to one server, or to a cluster of them. Which, its address says; whoever
//! asks something sees no difference, as long as what one command touches is in one slot.
//!
//! To one server nothing is sent twice. Of a cluster the same is asked again where a slot has
//! moved or a connection broke. Scripts are made known to masters alone: a replica that takes
//! over does not know them, and so is known not to be who it follows.

use std::{collections::HashMap, fmt, time::Duration};

use deadpool::{
    Runtime,
    managed::{self, BuildError, Metrics, Object, RecycleError, RecycleResult},
};
use futures::future::try_join_all;
use redis::{
    Arg, AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture,
    RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike, MultiplexedConnection, PubSub},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{
        LogicalAggregateOp, MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo, Slot,
    },
};
use secrecy::{ExposeSecret, SecretString};

pub type PoolError = managed::PoolError<RedisError>;

/// How often a cluster is asked again that does not know yet who has a slot, and what is
/// waited before. A replica takes over within this, or the question fails.
const TRIES: u32 = 6;
/// How often it is asked elsewhere, having said where. A question whose connection broke is also
/// asked again, so that nothing may be asked of a cluster that does harm when it is done twice:
/// scripts see to that themselves.
const REDIRECTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(10);

/// Where Redis is: `redis://host:port/number`, or several nodes of a cluster with commas
/// between, of which one that answers tells of all the others.
#[derive(Clone)]
pub struct Address {
    nodes: Vec<SecretString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address of Redis is redis://host:port/number, or those of a cluster's nodes with commas \
     between; TLS is not built in yet"
)]
pub struct BadAddress;

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    #[error(transparent)]
    Address(#[from] BadAddress),
    #[error("the pool for Redis is not valid: {0}")]
    Pool(#[from] BuildError),
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub connect: Duration,
    pub answer: Duration,
}

impl std::str::FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let nodes: Vec<_> = text.split(',').map(str::trim).collect();
        let opens = |it: &&str| Client::open(*it).is_ok();
        if !nodes.iter().all(opens) {
            return Err(BadAddress);
        }
        // A cluster has one database.
        if nodes.len() > 1 && ClusterClient::new(nodes.clone()).is_err() {
            return Err(BadAddress);
        }
        Ok(Self { nodes: nodes.into_iter().map(SecretString::from).collect() })
    }
}

/// It may hold a password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("nodes", &self.nodes.len()).finish()
    }
}

impl Address {
    pub fn is_cluster(&self) -> bool {
        self.nodes.len() > 1
    }

    pub async fn connect(&self, patience: Patience) -> RedisResult<Wire> {
        let Patience { connect, answer } = patience;
        if let [server] = self.nodes.as_slice() {
            let settings = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(connect))
                .set_response_timeout(Some(answer));
            let client = Client::open(server.expose_secret())?;
            return client
                .get_multiplexed_async_connection_with_config(&settings)
                .await
                .map(Wire::Server);
        }
        let cluster = ClusterClient::builder(self.nodes.iter().map(ExposeSecret::expose_secret))
            .connection_timeout(connect)
            .response_timeout(answer)
            .overall_response_timeout(Some(answer))
            .retries(REDIRECTS)
            .build()?;
        cluster.get_async_connection().await.map(Wire::Cluster)
    }

    /// To hear of messages. In a cluster every node passes all of them on.
    pub async fn subscribe(&self) -> RedisResult<PubSub> {
        let mut failed = None;
        for node in &self.nodes {
            match Client::open(node.expose_secret())?.get_async_pubsub().await {
                Ok(subscription) => return Ok(subscription),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.expect("an address has a node"))
    }

    /// `most` connections at once. Only reads the address: whether Redis is there shows later.
    pub fn pool(&self, patience: Patience, most: usize) -> Result<Pool, NotMade> {
        let opening = Opening { address: self.clone(), patience };
        let pool = managed::Pool::builder(opening)
            .max_size(most)
            .wait_timeout(Some(patience.connect))
            .create_timeout(Some(patience.connect))
            .recycle_timeout(Some(patience.connect))
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Pool(pool))
    }
}

/// A connection: to one server, or to all of a cluster.
#[derive(Clone)]
pub enum Wire {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Of which history what is kept there is part: each master begins another when it becomes one.
/// In a cluster, the histories of all masters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(String);

impl History {
    /// From what masters say of themselves.
    fn of<'a>(said: impl Iterator<Item = &'a str>) -> Option<Self> {
        let id = |text: &'a str| text.lines().find_map(|it| it.strip_prefix("master_replid:"));
        let mut ids: Vec<_> = said.map(id).collect::<Option<_>>()?;
        ids.sort_unstable();
        (!ids.is_empty()).then(|| Self(ids.join(" ")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Wire {
    pub async fn history(&mut self) -> RedisResult<History> {
        let mut ask = redis::cmd("INFO");
        ask.arg("replication");
        let said: Vec<String> = match self {
            Self::Server(server) => vec![ask.query_async(server).await?],
            Self::Cluster(cluster) => {
                let masters = at_masters(ResponsePolicy::Special);
                let said = cluster.route_command(ask, masters).await?;
                let said: HashMap<String, String> = redis::from_redis_value(said)?;
                said.into_values().collect()
            }
        };
        let history = History::of(said.iter().map(String::as_str));
        history.ok_or_else(|| (ErrorKind::UnexpectedReturnType, "a master has no history").into())
    }
}

fn at_masters(policy: ResponsePolicy) -> RoutingInfo {
    RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, Some(policy)))
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(server) => server.req_packed_command(command),
            Self::Cluster(cluster) => Box::pin(ask(cluster.clone(), command)),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(server) => server.req_packed_commands(commands, offset, count),
            Self::Cluster(cluster) => {
                let mut cluster = cluster.clone();
                Box::pin(async move {
                    // What is to be done as a whole is in one slot.
                    if commands.is_transaction() {
                        return cluster.req_packed_commands(commands, offset, count).await;
                    }
                    ask_all(cluster, commands).await
                })
            }
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(server) => server.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

async fn ask(mut cluster: ClusterConnection, command: &Cmd) -> RedisResult<Value> {
    let mut tried = 1;
    loop {
        match ask_once(&mut cluster, command).await {
            Err(error) if was_not_done(&error) && tried < TRIES => pause(tried).await,
            answer => return answer,
        }
        tried += 1;
    }
}

/// What concerns scripts, of masters only.
async fn ask_once(cluster: &mut ClusterConnection, command: &Cmd) -> RedisResult<Value> {
    let is = |place: usize, word: &str| {
        let simple = |it| if let Arg::Simple(word) = it { Some(word) } else { None };
        let found = command.args_iter().nth(place).and_then(simple);
        found.is_some_and(|it: &[u8]| it.eq_ignore_ascii_case(word.as_bytes()))
    };
    if !is(0, "SCRIPT") {
        return cluster.req_packed_command(command).await;
    }
    let policy = match is(1, "EXISTS") {
        true => ResponsePolicy::AggregateLogical(LogicalAggregateOp::And),
        false => ResponsePolicy::AllSucceeded,
    };
    cluster.route_command(command.clone(), at_masters(policy)).await
}

/// Commands on one slot in their order, those on several at the same time. Where one names no
/// key, all one after the other.
async fn ask_all(cluster: ClusterConnection, commands: &Pipeline) -> RedisResult<Vec<Value>> {
    let Some(slots) = by_slot(commands) else {
        let mut answers = Vec::new();
        for command in commands.cmd_iter() {
            answers.push(ask(cluster.clone(), command).await?);
        }
        return Ok(answers);
    };
    let asked = slots.iter().map(|it| ask_slot(cluster.clone(), &it.commands));
    let answered = try_join_all(asked).await?;
    let mut answers = vec![Value::Nil; slots.iter().map(|it| it.places.len()).sum()];
    for (slot, answered) in slots.iter().zip(answered) {
        for (place, answer) in slot.places.iter().zip(answered) {
            answers[*place] = answer;
        }
    }
    Ok(answers)
}

async fn ask_slot(mut cluster: ClusterConnection, commands: &Pipeline) -> RedisResult<Vec<Value>> {
    let count = commands.len();
    let mut tried = 1;
    loop {
        match cluster.req_packed_commands(commands, 0, count).await {
            Err(error) if was_not_done(&error) && tried < TRIES => pause(tried).await,
            answer => return answer,
        }
        tried += 1;
    }
}

/// The commands of a pipeline on one slot, and where each stood.
#[derive(Default)]
struct OfSlot {
    commands: Pipeline,
    places: Vec<usize>,
}

/// `None` where a command names no key.
fn by_slot(commands: &Pipeline) -> Option<Vec<OfSlot>> {
    let mut slots = HashMap::<Slot, OfSlot>::new();
    for (place, command) in commands.cmd_iter().enumerate() {
        let of_slot = slots.entry(Slot::for_key(key(command)?)).or_default();
        of_slot.commands.add_command(command.clone());
        of_slot.places.push(place);
    }
    Some(slots.into_values().collect())
}

/// The first key that a command names.
fn key(command: &Cmd) -> Option<&[u8]> {
    let mut words = command
        .args_iter()
        .filter_map(|it| if let Arg::Simple(word) = it { Some(word) } else { None });
    let name = words.next()?.to_ascii_uppercase();
    match name.as_slice() {
        b"SCRIPT" | b"PING" | b"TIME" | b"INFO" | b"PUBLISH" | b"CONFIG" | b"FLUSHALL" => None,
        b"EVALSHA" | b"EVAL" => words.nth(2),
        b"XREAD" | b"XREADGROUP" => {
            words.find(|it| it.eq_ignore_ascii_case(b"STREAMS")).and_then(|_| words.next())
        }
        b"XINFO" | b"XGROUP" | b"OBJECT" => words.nth(1),
        _ => words.next(),
    }
}

/// The cluster said that it did nothing, since the slot is somewhere else, or nowhere yet.
fn was_not_done(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    matches!(
        error.kind(),
        ErrorKind::ClusterConnectionNotFound
            | ErrorKind::Server(
                Moved | TryAgain | ClusterDown | MasterDown | ReadOnly | BusyLoading
            )
    )
}

async fn pause(tried: u32) {
    tokio::time::sleep(PAUSE * tried).await;
}

/// Connections that are kept for the next who asks.
#[derive(Clone)]
pub struct Pool(managed::Pool<Opening>);

pub struct Connection(Object<Opening>);

impl Connection {
    pub async fn history(&mut self) -> RedisResult<History> {
        let Kept { wire, is_broken } = &mut *self.0;
        let history = wire.history().await;
        *is_broken |= history.as_ref().is_err_and(RedisError::is_io_error);
        history
    }
}

impl Pool {
    pub async fn get(&self) -> Result<Connection, PoolError> {
        self.0.get().await.map(Connection)
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let Kept { wire, is_broken } = &mut *self.0;
        Box::pin(async move {
            let answer = wire.req_packed_command(command).await;
            *is_broken |= answer.as_ref().is_err_and(RedisError::is_io_error);
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let Kept { wire, is_broken } = &mut *self.0;
        Box::pin(async move {
            let answer = wire.req_packed_commands(commands, offset, count).await;
            *is_broken |= answer.as_ref().is_err_and(RedisError::is_io_error);
            answer
        })
    }

    fn get_db(&self) -> i64 {
        self.0.wire.get_db()
    }
}

/// A connection between those who use it.
struct Kept {
    wire: Wire,
    /// One to a cluster may go on asking who is gone: another is opened instead.
    is_broken: bool,
}

/// How a pool makes its connections.
struct Opening {
    address: Address,
    patience: Patience,
}

impl managed::Manager for Opening {
    type Type = Kept;
    type Error = RedisError;

    async fn create(&self) -> RedisResult<Kept> {
        let wire = self.address.connect(self.patience).await?;
        Ok(Kept { wire, is_broken: false })
    }

    async fn recycle(&self, kept: &mut Kept, _: &Metrics) -> RecycleResult<RedisError> {
        if kept.is_broken {
            return Err(RecycleError::message("it broke"));
        }
        if let Wire::Server(server) = &mut kept.wire {
            let () = redis::cmd("PING").query_async(server).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_a_server_or_of_several_nodes() {
        let nodes = |text: &str| text.parse::<Address>().map(|it| it.nodes.len());
        assert_eq!(nodes("redis://127.0.0.1:6379/3"), Ok(1));
        assert_eq!(nodes("redis://10.0.0.1:6379,redis://10.0.0.2:6379"), Ok(2));
        for bad in ["", "127.0.0.1", "redis://a,", "rediss://a:1"] {
            assert_eq!(nodes(bad), Err(BadAddress), "{bad}");
        }
    }

    #[test]
    fn an_address_is_not_told_in_debug() {
        let address: Address = "redis://:secret@127.0.0.1:6379".parse().unwrap();
        assert!(!format!("{address:?}").contains("secret"));
    }

    #[test]
    fn a_history_is_that_of_all_masters_in_whichever_order_they_say_it() {
        let one = "# Replication\r\nrole:master\r\nmaster_replid:aa\r\nmaster_replid2:00\r\n";
        let other = "role:master\r\nmaster_replid:bb\r\n";
        let history = History::of([one, other].into_iter()).unwrap();
        assert_eq!(history.as_str(), "aa bb");
        assert_eq!(History::of([other, one].into_iter()).unwrap(), history);
        assert_ne!(History::of([one].into_iter()).unwrap(), history);
        assert!(History::of(["role:master"].into_iter()).is_none());
        assert!(History::of(std::iter::empty()).is_none());
    }

    #[test]
    fn a_pipeline_is_sent_slot_by_slot() {
        let mut pipeline = Pipeline::new();
        pipeline
            .cmd("EVALSHA")
            .arg("hash")
            .arg(1)
            .arg("b:{one}")
            .arg("x")
            .cmd("HGETALL")
            .arg("{two}")
            .ignore()
            .cmd("XREAD")
            .arg("COUNT")
            .arg(5)
            .arg("STREAMS")
            .arg("ev:{one}")
            .arg("0")
            .cmd("XINFO")
            .arg("STREAM")
            .arg("{two}:all");
        let mut places: Vec<_> =
            by_slot(&pipeline).unwrap().into_iter().map(|it| it.places).collect();
        places.sort();
        assert_eq!(places, [vec![0, 2], vec![1, 3]]);
        pipeline.cmd("SCRIPT").arg("LOAD").arg("return 1");
        assert!(by_slot(&pipeline).is_none());
    }
}
