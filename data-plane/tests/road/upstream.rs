//! An upstream that follows a script, down to the byte.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    task::JoinSet,
};

/// What the upstream does after it has read a request.
#[derive(Clone)]
pub enum Step {
    Send(Vec<u8>),
    /// Sends pieces of a stream for as long as they are taken.
    Flood,
    /// Serves another request on the same connection.
    Next,
    /// Goes on when the test says so.
    Await(Arc<Notify>),
    /// Does nothing until the other end hangs up.
    Hang,
}

pub struct Upstream {
    pub address: SocketAddr,
    pub events: mpsc::UnboundedReceiver<Event>,
    scripts: Arc<Mutex<VecDeque<Vec<Step>>>>,
    flooded: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

/// What the upstream saw.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Request {
        head: String,
        body: String,
    },
    HungUp,
    /// So many bytes of a flood were taken.
    Flooded(usize),
}

impl Upstream {
    /// Each request takes the next script; the last one serves all that follow. After
    /// its script the connection is closed.
    pub async fn start(scripts: impl IntoIterator<Item = Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scripts = Arc::new(Mutex::new(scripts.into_iter().collect()));
        let (sender, events) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let (taken, flooded) = (scripts.clone(), Arc::<AtomicUsize>::default());
        let counted = flooded.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (taken, counted) = (taken.clone(), counted.clone());
                connections.spawn(serve(stream, taken, counted, sender.clone()));
            }
        });
        Self { address, events, scripts, flooded, _tasks: tasks }
    }

    pub fn then(&self, script: Vec<Step>) {
        *self.scripts.lock().unwrap() = [script].into();
    }

    pub async fn event(&mut self) -> Event {
        crate::soon(self.events.recv()).await.unwrap()
    }

    /// How many bytes of all floods were taken so far.
    pub fn flooded(&self) -> usize {
        self.flooded.load(Ordering::Relaxed)
    }

    /// How many requests have come since the last look.
    pub fn requests(&mut self) -> usize {
        let events = std::iter::from_fn(|| self.events.try_recv().ok());
        events.filter(|it| matches!(it, Event::Request { .. })).count()
    }
}

async fn serve(
    mut stream: TcpStream,
    scripts: Arc<Mutex<VecDeque<Vec<Step>>>>,
    flooded: Arc<AtomicUsize>,
    events: mpsc::UnboundedSender<Event>,
) {
    let next = || {
        let mut scripts = scripts.lock().unwrap();
        let next = if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() };
        next.unwrap_or_default().into_iter()
    };
    let Some(request) = read(&mut stream).await else { return };
    let _ = events.send(request);
    let mut script = next();
    while let Some(step) = script.next() {
        match step {
            Step::Next => {
                let Some(request) = read(&mut stream).await else { return };
                let _ = events.send(request);
                script = next();
            }
            Step::Flood => {
                let (piece, mut taken) = (chunk(&format!("data: {}\n\n", "x".repeat(8_000))), 0);
                // So that what is taken is what the other end took.
                SockRef::from(&stream).set_send_buffer_size(piece.len()).unwrap();
                while stream.write_all(&piece).await.is_ok() {
                    taken += piece.len();
                    flooded.fetch_add(piece.len(), Ordering::Relaxed);
                }
                let _ = events.send(Event::Flooded(taken));
                return;
            }
            Step::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    let _ = events.send(Event::HungUp);
                    return;
                }
            }
            Step::Await(signal) => signal.notified().await,
            Step::Hang => {
                let _ = stream.read(&mut [0]).await;
                let _ = events.send(Event::HungUp);
                return;
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Event> {
    let mut received = Vec::new();
    let end = loop {
        if let Some(at) = received.windows(4).position(|it| it == b"\r\n\r\n") {
            break at + 4;
        }
        let count = stream.read_buf(&mut received).await.ok()?;
        if count == 0 {
            return None;
        }
    };
    let head = String::from_utf8(received.drain(..end).collect()).unwrap().to_lowercase();
    let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
    let length: usize = length.unwrap().parse().unwrap();
    while received.len() < length {
        stream.read_buf(&mut received).await.ok()?;
    }
    Some(Event::Request { head, body: String::from_utf8(received).unwrap() })
}

/// The same answer on a connection that stays.
pub fn staying(mut answer: Vec<Step>) -> Vec<Step> {
    answer.push(Step::Next);
    answer
}

/// A whole answer with its length.
pub fn answer(status: &str, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
    vec![Step::Send(format!("{head}{body}").into_bytes())]
}

pub const JSON: &str = "content-type: application/json\r\n";

pub const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A piece of a body in chunked transfer encoding.
pub fn chunk(bytes: &str) -> Vec<u8> {
    format!("{:x}\r\n{bytes}\r\n", bytes.len()).into_bytes()
}

pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
