//! One connection: reads requests, sends answers, and notices when the client is gone.
//!
//! Written by hand over `httparse` because a fault needs the raw socket (cut here, reset there),
//! and because a benchmark needs the cheapest upstream there can be: a small call is one read and
//! one write. A client that closes its sending side counts as gone, as it does for real providers.

use std::{io, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep_until},
};

use super::{
    State,
    again::Last,
    control,
    receive::{Payload, Progress, Received, progress},
    recording::{Call, Ending},
    serve::{self, Request},
    wire::{Then, Wire},
};

const FIRST_READ: usize = 4 << 10;
/// A buffer that grew beyond this is given back after the call.
const LARGEST_KEPT: usize = 256 << 10;
static FILLER: [u8; 64 << 10] = [b'x'; 64 << 10];

pub(super) async fn serve(state: Arc<State>, stream: TcpStream) {
    // What fails here fails for this client only, who notices; the recorded call tells the rest.
    let _ = stream.set_nodelay(true);
    let mut connection = Connection {
        state,
        stream,
        buffer: Vec::with_capacity(FIRST_READ),
        wire: Wire::default(),
        last: Last::default(),
    };
    while let Ok(true) = connection.call().await {}
}

struct Connection {
    state: Arc<State>,
    stream: TcpStream,
    /// What was received and not used up yet.
    buffer: Vec<u8>,
    wire: Wire,
    /// What `wire` answers.
    last: Last,
}

/// The client closed its side, or the connection broke.
struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Connection {
    /// Serves one call; whether another may follow.
    async fn call(&mut self) -> io::Result<bool> {
        let Some(received) = self.receive().await? else { return Ok(false) };
        let (number, length) = (self.state.next_call(), received.length);
        let (status, call) = self.answer(received, number).await;

        let mut sent = 0;
        let result = self.send(&mut sent, length).await;
        if let Some(call) = call {
            self.finish(&call, status, sent, result.is_err());
        }
        if result.is_err() {
            return Ok(false);
        }
        self.buffer.drain(..length);
        self.conclude().await
    }

    /// Puts the answer on the wire. Its status, and the call if it is recorded.
    async fn answer(&mut self, received: Received, number: u64) -> (u16, Option<Arc<Call>>) {
        let Self { state, buffer, wire, last, .. } = self;
        let head = &buffer[..received.head];
        let body = match &received.payload {
            Payload::Plain(range) => &buffer[range.clone()],
            Payload::Unchunked(bytes) => bytes,
        };
        let changes = state.changes();
        if let Some(status) = last.status(&received, buffer, changes)
            && wire.renumber(number)
        {
            return (status, state.recordings.begin(number, head, body));
        }
        let request = Request::new(&received, buffer, body);
        if control::is_meant(&request) {
            last.forget();
            let answer = control::answer(state, &request).await;
            wire.render(&answer, number, received.manners);
            return (answer.status, None);
        }
        let call = state.recordings.begin(number, head, body);
        let answer = serve::answer(state, &request);
        wire.render(&answer, number, received.manners);
        last.remember(received, buffer, answer.status, changes);
        (answer.status, call)
    }

    /// The next request; `None` once the client has no more.
    async fn receive(&mut self) -> io::Result<Option<Received>> {
        let mut told_to_continue = false;
        loop {
            let (total, expects_continue) = match progress(&self.buffer) {
                Progress::Whole(received) => return Ok(Some(received)),
                Progress::Needs { total, expects_continue } => (total, expects_continue),
                Progress::Refused(answer) => {
                    self.stream.write_all(answer.as_bytes()).await?;
                    self.stream.shutdown().await?;
                    return Ok(None);
                }
            };
            if expects_continue && !told_to_continue {
                self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                told_to_continue = true;
            }
            while self.buffer.len() < total {
                self.buffer.reserve((total - self.buffer.len()).max(FIRST_READ));
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    return Ok(None);
                }
            }
        }
    }

    /// Sends what the wire holds at its pace, counting into `sent`.
    async fn send(&mut self, sent: &mut u64, request: usize) -> Result<(), Gone> {
        let Self { stream, buffer, wire, .. } = self;
        let mut due = Instant::now();
        let mut from = 0;
        if wire.pace != Default::default() {
            let mut pause = wire.pace.first;
            let beats = if wire.pace.gap.is_some() { &wire.beats[..] } else { &[0] };
            for &beat in beats.iter().filter(|it| **it < wire.end) {
                write(stream, &wire.bytes[from..beat], sent).await?;
                from = beat;
                due += pause;
                if !pause.is_zero() {
                    unless_gone(stream, buffer, request, sleep_until(due)).await?;
                }
                pause = wire.pace.gap.unwrap_or_default();
            }
        }
        if let Some((at, length)) = wire.filler
            && at <= wire.end
        {
            write(stream, &wire.bytes[from..at], sent).await?;
            from = at;
            let mut left = length;
            while left > 0 {
                let part = left.min(FILLER.len() as u64);
                write(stream, &FILLER[..part as usize], sent).await?;
                left -= part;
            }
        }
        write(stream, &wire.bytes[from..wire.end], sent).await?;
        if wire.then == Then::Hang {
            unless_gone(stream, buffer, request, std::future::pending()).await?;
        }
        Ok(())
    }

    fn finish(&self, call: &Call, status: u16, sent: u64, gone: bool) {
        let cut = self.wire.then == Then::Reset || self.wire.end < self.wire.bytes.len();
        let ending = match (gone, cut) {
            (true, _) => Ending::ClientHungUp,
            (false, true) => Ending::CutByFault,
            (false, false) => Ending::Complete,
        };
        self.state.recordings.finish(call, status, sent, ending);
    }

    /// Does with the connection what the answer wants; whether it goes on.
    async fn conclude(&mut self) -> io::Result<bool> {
        match self.wire.then {
            Then::Next | Then::Hang => (),
            Then::Close => {
                self.stream.shutdown().await?;
                return Ok(false);
            }
            Then::Reset => {
                self.stream.set_zero_linger()?;
                return Ok(false);
            }
        }
        if self.buffer.is_empty() && self.buffer.capacity() > LARGEST_KEPT {
            self.buffer = Vec::with_capacity(FIRST_READ);
        }
        if self.wire.bytes.capacity() > LARGEST_KEPT {
            self.wire = Wire::default();
            self.last.forget();
        }
        Ok(true)
    }
}

async fn write(stream: &mut TcpStream, bytes: &[u8], sent: &mut u64) -> Result<(), Gone> {
    let mut left = bytes;
    while !left.is_empty() {
        let written = stream.write(left).await?;
        *sent += written as u64;
        left = &left[written..];
    }
    Ok(())
}

/// Waits for `wait`, but not beyond the client's departure. What the client sends meanwhile (its
/// next request) is kept behind the `request` that is being served, up to a bound.
async fn unless_gone(
    stream: &TcpStream,
    buffer: &mut Vec<u8>,
    request: usize,
    wait: impl Future<Output = ()>,
) -> Result<(), Gone> {
    let departure = async {
        while buffer.len() < request + LARGEST_KEPT {
            stream.readable().await?;
            buffer.reserve(FIRST_READ);
            match stream.try_read_buf(buffer) {
                Ok(0) => return Err(Gone),
                Ok(_) => (),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                Err(error) => return Err(error.into()),
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        biased;
        gone = departure => gone,
        () = wait => Ok(()),
    }
}
