//! Many calls at once that take long, read as they come.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime,
    sync::oneshot,
    task::JoinSet,
};

/// What became of all of them so far.
#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    /// Bytes of answers.
    received: AtomicU64,
    chunks: AtomicU64,
    ended: AtomicU64,
}

/// Closed when dropped.
pub struct Streams {
    counters: Arc<Counters>,
    close: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Streams {
    /// Sends `request` on so many connections.
    pub fn open(address: SocketAddr, request: Vec<u8>, count: u32) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        let counters = Arc::new(Counters::default());
        let (close, closed) = oneshot::channel();
        let (request, counted) = (Arc::<[u8]>::from(request), counters.clone());
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let mut reading = JoinSet::new();
                for _ in 0..count {
                    let (request, counters) = (request.clone(), counted.clone());
                    reading.spawn(async move {
                        // However it ends, it was to go on.
                        let _ = read(address, &request, &counters).await;
                        counters.ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
                let _ = closed.await;
            });
        });
        Ok(Self { counters, close: Some(close), thread: Some(thread) })
    }

    /// How many requests were sent as a whole; a failure where one was answered or dropped.
    pub fn held(&self) -> io::Result<u64> {
        self.check()?;
        match self.counters.received.load(Ordering::Relaxed) {
            0 => Ok(self.counters.sent.load(Ordering::Relaxed)),
            _ => Err(io::Error::other("a call was answered that was to be held")),
        }
    }

    /// How many chunks came so far; a failure where a stream has ended.
    pub fn chunks(&self) -> io::Result<u64> {
        self.check()?;
        Ok(self.counters.chunks.load(Ordering::Relaxed))
    }

    fn check(&self) -> io::Result<()> {
        match self.counters.ended.load(Ordering::Relaxed) {
            0 => Ok(()),
            ended => Err(io::Error::other(format!("{ended} calls ended that were to go on"))),
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        drop(self.close.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn read(address: SocketAddr, request: &[u8], counters: &Counters) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    counters.sent.fetch_add(1, Ordering::Relaxed);
    let mut part = vec![0; 4 << 10];
    let mut is_first = true;
    loop {
        let read = stream.read(&mut part).await?;
        // What is refused, ends here.
        if read == 0 || is_first && !part.starts_with(b"HTTP/1.1 200") {
            return Ok(());
        }
        is_first = false;
        counters.received.fetch_add(read as u64, Ordering::Relaxed);
        counters.chunks.fetch_add(events(&part[..read]), Ordering::Relaxed);
    }
}

/// Each chunk is one event, sent in one write.
fn events(part: &[u8]) -> u64 {
    part.windows(6).filter(|it| it == b"data: ").count() as u64
}

#[cfg(test)]
mod tests {
    use std::{io::Write, net::TcpListener, time::Duration};

    use super::*;

    #[test]
    fn chunks_of_all_streams_are_counted_and_an_end_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams = Streams::open(address, b"ask".to_vec(), 2).unwrap();
        let mut servers: Vec<_> = (0..2).map(|_| listener.accept().unwrap().0).collect();
        let until = |is: &dyn Fn() -> bool| {
            while !is() {
                thread::sleep(Duration::from_millis(1));
            }
        };
        until(&|| streams.held().unwrap() == 2);
        for server in &mut servers {
            server.write_all(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\ndata: 2\n\n").unwrap();
        }
        until(&|| streams.chunks().unwrap() == 4);
        assert!(streams.held().is_err());
        drop(servers.pop());
        until(&|| streams.chunks().is_err());
    }
}
