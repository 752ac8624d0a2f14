//! A client's connection, on which whoever begins to ask has to say all of a request's head soon.
//!
//! Always holds: what has come of a head, and is not all of it, is waited for no longer than a
//! first head is. The server counts the time of a connection's first one only, and a connection
//! that has been served once could otherwise be kept for ever with a single byte.

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
}

impl<S> Connection<S> {
    /// A head may take as long as `patience`.
    pub fn new(stream: S, patience: Duration) -> Self {
        Self { stream, visits: Visits::default(), patience, due: None, timer: None }
    }

    pub fn visits(&self) -> &Visits {
        &self.visits
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
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        // What comes is a body then, for which there are other limits, or has to wait.
        if this.visits.are_under_way() {
            return read;
        }
        if read.is_ready() {
            if buffer.filled().len() > before {
                this.due.get_or_insert_with(|| Instant::now() + this.patience);
            }
            return read;
        }
        ready!(this.poll_due(cx));
        Poll::Ready(Ok(()))
    }
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
}
