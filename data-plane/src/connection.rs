//! A client's connection, on which whoever begins to ask has to say all of a request's head soon.
//!
//! Always holds: what has come of a head, and is not all of it, is waited for no longer than a
//! first head is. The server counts the time of a connection's first one only, and a connection
//! that has been served once could otherwise be kept for ever with a single byte.
//!
//! And: what waits here already is handed over in parts. The server reads for as long as there
//! is something, and keeps the room that this took for as long as the connection lives: for a
//! large body nearly as much again as the body.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use crate::call::Timer;

/// What the server reads before it has to look at it. Its buffer of 16 KiB never grows by this:
/// it asks for more when less than 1 KiB is left of it.
const AT_ONCE: usize = 15 * 1024;

/// How many visits are under way on a connection.
#[derive(Clone, Debug, Default)]
pub struct Visits(Rc<Cell<u32>>);

/// One of them, until it is dropped.
#[must_use = "a visit that is dropped is over"]
pub struct UnderWay(Visits);

impl Visits {
    pub fn begin(&self) -> UnderWay {
        self.0.set(self.0.get() + 1);
        UnderWay(self.clone())
    }

    fn are_under_way(&self) -> bool {
        self.0.get() > 0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Self(Visits(visits)) = self;
        visits.set(visits.get() - 1);
    }
}

/// Ends, as if its client had closed it, when a head does not come in time.
pub struct Connection<S = TcpStream> {
    stream: S,
    visits: Visits,
    patience: Duration,
    /// When the head that has begun has to be here.
    due: Option<Instant>,
    timer: Option<Timer>,
    /// What was read since the server last had to wait.
    at_once: usize,
}

impl<S> Connection<S> {
    /// A head may take as long as `patience`.
    pub fn new(stream: S, patience: Duration) -> Self {
        Self { stream, visits: Visits::default(), patience, due: None, timer: None, at_once: 0 }
    }

    pub fn visits(&self) -> &Visits {
        &self.visits
    }

    /// Reads, until the server has to look at what it has got. Says how many bytes came.
    fn poll_part(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        if self.at_once >= AT_ONCE {
            self.at_once = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = poll_at_most(AT_ONCE - self.at_once, &mut self.stream, cx, buffer);
        match &read {
            Poll::Ready(Ok(bytes)) => self.at_once += bytes,
            Poll::Ready(Err(_)) | Poll::Pending => self.at_once = 0,
        }
        read
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else { return Poll::Pending };
        self.timer.get_or_insert_with(|| Timer::new(due)).poll_until(due, cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let read = this.poll_part(cx, buffer);
        // What comes is a body then, for which there are other limits, or has to wait.
        if this.visits.are_under_way() {
            return read.map_ok(|_| ());
        }
        if let Poll::Ready(read) = read {
            if read? > 0 {
                this.due.get_or_insert_with(|| Instant::now() + this.patience);
            }
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_due(cx));
        Poll::Ready(Ok(()))
    }
}

/// Reads so many bytes, or fewer.
fn poll_at_most(
    most: usize,
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<usize>> {
    let before = buffer.filled().len();
    if buffer.remaining() <= most {
        ready!(Pin::new(stream).poll_read(cx, buffer))?;
    } else {
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
        ready!(Pin::new(stream).poll_read(cx, &mut part))?;
        let bytes = part.filled().len();
        buffer.advance(bytes);
    }
    Poll::Ready(Ok(buffer.filled().len() - before))
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Whoever is answered has said all of a head.
        self.due = None;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        time::{sleep, timeout},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    fn connected() -> (DuplexStream, Connection<DuplexStream>) {
        let (client, server) = duplex(1_000);
        (client, Connection::new(server, PATIENCE))
    }

    /// Whether it stays open for a minute in which nothing more comes.
    async fn stays(connection: &mut Connection<DuplexStream>) -> bool {
        timeout(SECOND * 60, connection.read_u8()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_has_so_long_however_it_drips() {
        let (mut client, mut connection) = connected();
        assert!(stays(&mut connection).await, "nobody has asked for anything");
        let begun = Instant::now();
        let dripping = async {
            while client.write_all(b"x").await.is_ok() {
                sleep(SECOND * 2).await;
            }
        };
        let mut read = Vec::new();
        tokio::select! {
            () = dripping => panic!("it was read to the end"),
            it = connection.read_to_end(&mut read) => assert!(it.is_ok()),
        }
        assert_eq!((begun.elapsed(), read.len()), (PATIENCE, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_answered_has_been_said() {
        let (mut client, mut connection) = connected();
        for _ in 0..2 {
            client.write_all(b"x").await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), b'x');
            connection.write_all(b"answer").await.unwrap();
            assert!(stays(&mut connection).await);
        }
        client.write_all(b"x").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'x');
        assert!(!stays(&mut connection).await);
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_visit_is_under_way_nothing_is_a_head() {
        let (mut client, mut connection) = connected();
        client.write_all(b"x").await.unwrap();
        connection.read_u8().await.unwrap();
        let visits = [connection.visits().begin(), connection.visits().begin()];
        client.write_all(b"x").await.unwrap();
        connection.read_u8().await.unwrap();
        for visit in visits {
            assert!(stays(&mut connection).await);
            drop(visit);
        }
        assert!(!stays(&mut connection).await, "and nobody has answered");
    }

    /// As the server reads: until nothing comes, into whatever room there is.
    #[tokio::test(start_paused = true)]
    async fn what_waits_already_is_handed_over_in_parts() {
        for room in [1_000, 8 * 1024, AT_ONCE, 100_000] {
            let (mut client, server) = duplex(1 << 20);
            let mut connection = Connection::new(server, PATIENCE);
            client.write_all(&vec![b'x'; 3 * AT_ONCE + 1]).await.unwrap();
            drop(client);
            let (mut room, mut parts) = (vec![0; room], vec![0]);
            poll_fn(|cx| {
                loop {
                    let mut buffer = ReadBuf::new(&mut room);
                    let read = Pin::new(&mut connection).poll_read(cx, &mut buffer);
                    match (read, buffer.filled().len()) {
                        (Poll::Ready(it), 0) => return Poll::Ready(it),
                        (Poll::Ready(_), bytes) => *parts.last_mut().unwrap() += bytes,
                        (Poll::Pending, _) => break,
                    }
                }
                parts.push(0);
                Poll::Pending
            })
            .await
            .unwrap();
            assert_eq!(parts, [AT_ONCE, AT_ONCE, AT_ONCE, 1]);
        }
    }
}
