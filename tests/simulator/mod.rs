//! The provider simulator: the stand-in for every vendor that demo, tests and benchmarks share.
//!
//! It speaks the wire formats of OpenAI, Anthropic and Gemini, and always gives the same answer
//! and usage to the same request. Models are served under any name; some names say how the model
//! behaves (`profile`) or fails (`faults`), and `control` changes both while running. Everything
//! received is recorded (`recording`), with whether the client hung up. A key that contains
//! `bad-key` is refused as the vendor would; every other key, and none, is let in. Paths are told
//! by their ends, so that `http://simulator/east/v1` and `http://simulator/west/v1` are two
//! upstreams to a gateway, which a fault's scope can tell apart.
//!
//! Deliberately absent: memory of earlier calls (a cached prompt is one that looks continued), TLS,
//! HTTP/2, and any correctness of what is said.

mod again;
mod answer;
mod anthropic;
mod ask;
mod control;
mod digest;
mod embed;
pub mod faults;
mod gemini;
mod http;
mod openai;
pub mod profile;
mod receive;
pub mod recording;
mod refusal;
mod reply;
mod schema;
mod serve;
mod spoilt;
#[cfg(test)]
mod tests;
mod tokens;
mod wire;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::{self, Runtime},
    sync::mpsc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use faults::{Fault, Faults, Scope};
use profile::{Profile, Profiles};
use recording::{Call, Recordings};

/// How a simulator is started.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    /// Threads that serve connections.
    pub workers: usize,
    /// Whether calls are recorded.
    pub record: bool,
}

impl Default for Config {
    /// On a free port of this machine, recording.
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into(), workers: 1, record: true }
    }
}

/// A running simulator, on threads of its own; dropping it stops it.
pub struct Simulator {
    pub address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

/// What all connections share.
struct State {
    recordings: Recordings,
    faults: Faults,
    profiles: Profiles,
    calls: AtomicU64,
}

impl State {
    fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Grows whenever the same request may get another answer than before.
    fn changes(&self) -> u64 {
        self.faults.changes() + self.profiles.changes()
    }
}

impl Simulator {
    /// Listens at once; an address that is taken is an error.
    pub fn start(config: Config) -> io::Result<Self> {
        let listener = listen(config.listen)?;
        let mut simulator = Self {
            address: listener.local_addr()?,
            state: Arc::new(State {
                recordings: Recordings::new(config.record),
                faults: Faults::default(),
                profiles: Profiles::default(),
                calls: AtomicU64::new(0),
            }),
            stop: CancellationToken::new(),
            threads: Vec::new(),
        };
        let mut workers = Vec::new();
        for _ in 0..config.workers.max(1) {
            let (sender, connections) = mpsc::channel(1024);
            workers.push(sender);
            simulator.run(|state| work(state, connections))?;
        }
        simulator.run(|_| accept(listener, workers))?;
        Ok(simulator)
    }

    /// The base URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes the calls in `scope` meet `fault`.
    pub fn arm(&self, fault: Fault, scope: Scope) {
        self.state.faults.arm(fault, scope);
    }

    /// Forgets every armed fault; those in models' names stay.
    pub fn disarm(&self) {
        self.state.faults.disarm();
    }

    /// Makes `model` behave so, whatever its name says.
    pub fn set_profile(&self, model: &str, profile: Profile) {
        self.state.profiles.set(model.to_owned(), profile);
    }

    /// The recorded calls, oldest first.
    pub fn calls(&self) -> Vec<Arc<Call>> {
        self.state.recordings.after(0)
    }

    /// Forgets the recorded calls, those going on too.
    pub fn forget_calls(&self) {
        self.state.recordings.forget();
    }

    /// Waits for a recorded call that `is_it`, be it over or still going on.
    ///
    /// # Panics
    /// If there is none within ten seconds.
    pub async fn call_that(&self, is_it: impl Fn(&Call) -> bool) -> Arc<Call> {
        let found = |calls: &[Arc<Call>]| calls.iter().find(|it| is_it(it)).cloned();
        let found = self.state.recordings.wait_until(found);
        match tokio::time::timeout(Duration::from_secs(10), found).await {
            Ok(call) => call,
            Err(_) => {
                let calls = self.calls();
                let told = calls.iter().map(|it| (it.method(), it.target(), it.outcome()));
                panic!("no such call within ten seconds, only {:#?}", told.collect::<Vec<_>>());
            }
        }
    }

    /// Closes every connection and waits until all threads are gone.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }

    /// Runs `work` on a thread of its own until the simulator stops.
    fn run<W, F>(&mut self, work: W) -> io::Result<()>
    where
        W: FnOnce(Arc<State>) -> F + Send + 'static,
        F: Future<Output = io::Result<()>>,
    {
        let runtime = single_thread()?;
        let (state, stop) = (self.state.clone(), self.stop.clone());
        let thread = std::thread::Builder::new().name("simulator".to_owned()).spawn(move || {
            let result = runtime.block_on(stop.run_until_cancelled(work(state)));
            if let Some(Err(error)) = result {
                tracing::error!(%error, "the simulator stopped serving: {error}");
            }
        })?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.end();
    }
}

fn single_thread() -> io::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

/// Room for the thousands of connections that a test opens at once.
const BACKLOG: u32 = 4096;

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let runtime = single_thread()?;
    let listener = {
        let _entered = runtime.enter();
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        socket.and_then(|socket| {
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)?.into_std()
        })
    };
    // Who starts a simulator is often on a runtime already, where another must not be dropped.
    runtime.shutdown_background();
    listener
}

/// Hands connections to the workers in turn, so that each has its share.
async fn accept(
    listener: std::net::TcpListener,
    workers: Vec<mpsc::Sender<std::net::TcpStream>>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    for worker in workers.iter().cycle() {
        let connection = match listener.accept().await {
            Ok((stream, _)) => stream.into_std()?,
            // Out of file descriptors, most likely: some will come back.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        if worker.send(connection).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn work(
    state: Arc<State>,
    mut connections: mpsc::Receiver<std::net::TcpStream>,
) -> io::Result<()> {
    let tasks = TaskTracker::new();
    while let Some(connection) = connections.recv().await {
        let stream = TcpStream::from_std(connection)?;
        tasks.spawn(http::serve(state.clone(), stream));
    }
    Ok(())
}
