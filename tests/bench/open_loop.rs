//! One connection that calls at a fixed rate.
//!
//! A call counts from when it was due, not from when it was sent: where one is late, those that
//! wait behind it are late too, and that is told rather than left out.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use httparse::Status;

use super::calls::Call;

const PATIENCE: Duration = Duration::from_secs(10);
/// Sleeping is not exact to less than this; the rest is waited for awake.
const AWAKE: Duration = Duration::from_micros(200);

/// How long each call took, from when it was due.
#[derive(Default)]
pub struct Delays {
    pub first_byte: Vec<Duration>,
    pub whole: Vec<Duration>,
    /// Between two arrivals of parts of one answer's body.
    pub gaps: Vec<Duration>,
}

pub fn call_at_rate(
    address: SocketAddr,
    key: &str,
    call: &Call,
    per_second: u32,
    length: Duration,
) -> io::Result<Delays> {
    let mut connection = Connection::open(address)?;
    let request = request("/v1/chat/completions", key, &call.body);
    let interval = Duration::from_secs(1) / per_second;
    let mut delays = Delays::default();
    let begun = Instant::now();
    let mut due = begun;
    while due.duration_since(begun) < length {
        wait_until(due);
        let answer = connection.call(&request)?;
        answer.check(call.streams)?;
        delays.first_byte.push(answer.first_byte.duration_since(due));
        delays.whole.push(answer.end.duration_since(due));
        delays.gaps.extend(answer.gaps);
        due += interval;
    }
    Ok(delays)
}

fn wait_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if let Some(asleep) = left.checked_sub(AWAKE) {
        thread::sleep(asleep);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

pub fn request(path: &str, key: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The revision that a proxy says it serves.
pub fn revision(address: SocketAddr) -> io::Result<i64> {
    let answer = Connection::open(address)?.call(b"GET /readyz HTTP/1.1\r\nhost: bench\r\n\r\n")?;
    let ready: serde_json::Value = serde_json::from_slice(&answer.body)?;
    Ok(ready["revision"].as_i64().unwrap_or_default())
}

pub struct Connection {
    stream: TcpStream,
}

pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// When the body began.
    pub first_byte: Instant,
    pub end: Instant,
    pub gaps: Vec<Duration>,
}

impl Answer {
    /// Whether it is what a call is measured for; figures about failures say nothing.
    pub fn check(&self, streams: bool) -> io::Result<()> {
        let done = b"data: [DONE]";
        let complete = !streams || self.body.windows(done.len()).any(|it| it == done);
        if self.status == 200 && complete {
            return Ok(());
        }
        let body = String::from_utf8_lossy(&self.body);
        let shown: String = body.chars().take(300).collect();
        Err(io::Error::other(format!("answered {}: {shown}", self.status)))
    }
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

struct Head {
    status: u16,
    length: usize,
    framing: Framing,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    pub fn call(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request)?;
        let (mut received, mut head) = (Vec::with_capacity(16 << 10), None);
        let (mut arrivals, mut part) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let read = self.stream.read(&mut part)?;
            let now = Instant::now();
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received.extend_from_slice(&part[..read]);
            if head.is_none() {
                head = parse_head(&received)?;
            }
            let Some(Head { status, length, framing }) = head else { continue };
            let body = &received[length..];
            if !body.is_empty() {
                arrivals.push(now);
            }
            if framing.is_whole(body) {
                return Ok(Answer {
                    status,
                    first_byte: arrivals.first().copied().unwrap_or(now),
                    end: now,
                    gaps: arrivals.windows(2).map(|it| it[1].duration_since(it[0])).collect(),
                    body: body.to_vec(),
                });
            }
        }
    }
}

impl Framing {
    fn is_whole(self, body: &[u8]) -> bool {
        match self {
            Self::Length(length) => body.len() >= length,
            Self::Chunked => body == b"0\r\n\r\n" || body.ends_with(b"\r\n0\r\n\r\n"),
        }
    }
}

fn parse_head(received: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(received).map_err(io::Error::other)? {
        Status::Complete(length) => length,
        Status::Partial => return Ok(None),
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|it| it.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let framing = match header("content-length").and_then(|it| it.parse().ok()) {
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    };
    Ok(Some(Head { status: response.code.unwrap_or_default(), length, framing }))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::calls;

    /// Answers each request on one connection with the next of `answers`, in the parts given.
    fn server(answers: Vec<Vec<&'static str>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let _ = stream.read(&mut [0; 4096]).unwrap();
                for part in answer {
                    stream.write_all(part.as_bytes()).unwrap();
                }
            }
        });
        address
    }

    const STREAM: [&str; 3] = [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "9\r\ndata: 1\n\n\r\n",
        "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n",
    ];

    #[test]
    fn answers_of_known_length_and_chunked_ones_are_read_to_their_end() {
        let short = vec!["HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n", "no"];
        let address = server(vec![short, STREAM.to_vec()]);
        let mut connection = Connection::open(address).unwrap();
        let refused = connection.call(b"x").unwrap();
        assert_eq!((refused.status, &refused.body[..]), (401, &b"no"[..]));
        assert!(refused.check(false).is_err());
        let stream = connection.call(b"x").unwrap();
        assert!(stream.check(true).is_ok());
        assert!(stream.first_byte <= stream.end);
    }

    #[test]
    fn a_stream_without_its_last_event_is_a_failure() {
        let cut = vec![STREAM[0], STREAM[1], "0\r\n\r\n"];
        let answer = Connection::open(server(vec![cut])).unwrap().call(b"x").unwrap();
        assert!(answer.check(true).is_err());
    }

    #[test]
    fn a_connection_that_ends_early_is_a_failure() {
        let address = server(vec![vec![STREAM[0]]]);
        let error = call_at_rate(address, "key", &calls::small(), 10, PATIENCE).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_call_that_waited_for_another_counts_from_when_it_was_due() {
        // Far more than one connection can take: all but the first are late.
        let answer = vec!["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"];
        let address = server(vec![answer; 100]);
        let length = Duration::from_nanos(100);
        let delays = call_at_rate(address, "key", &calls::small(), 1_000_000_000, length).unwrap();
        assert_eq!(delays.whole.len(), 100);
        assert!(delays.whole.is_sorted());
    }
}
