//! An answer as the bytes that go out, with the places to pause at and to stop.

use std::{io::Write, ops::Range};

use super::{
    answer::{Answer, Body, Events},
    faults::{Fault, Point},
    profile::Pace,
};

/// What is to be sent. Kept by a connection from answer to answer, for its buffers.
#[derive(Default)]
pub(super) struct Wire {
    pub bytes: Vec<u8>,
    /// Offsets in `bytes` that the pace wants a pause before.
    pub beats: Vec<usize>,
    pub pace: Pace,
    /// So much filler comes at this offset.
    pub filler: Option<(usize, u64)>,
    /// How much of `bytes` is sent.
    pub end: usize,
    pub then: Then,
    /// Where each event ends in `bytes`, while rendering.
    event_ends: Vec<usize>,
    /// Where the call's number stands in `bytes`, twice.
    numbers: [Range<usize>; 2],
}

/// What becomes of the connection.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    #[default]
    Next,
    Close,
    /// Stays open, silent.
    Hang,
    Reset,
}

/// What the client can take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Manners {
    pub chunks: bool,
    pub keep_alive: bool,
}

impl Wire {
    pub(super) fn render(&mut self, answer: &Answer, number: u64, manners: Manners) {
        self.clear();
        self.pace = answer.pace;
        if !manners.keep_alive {
            self.then = Then::Close;
        }
        if answer.fault == Some(Fault::EarlyHints) {
            self.bytes.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n");
        }
        let framing = framing(answer, manners);
        self.head(answer, number, framing, manners);
        let head = self.bytes.len();
        self.body(&answer.body, framing);
        self.end = self.bytes.len();
        if let Some(fault) = answer.fault {
            self.misbehave(fault, head);
        }
    }

    /// Makes it the answer to another call, the same but for its number; whether that was possible.
    pub(super) fn renumber(&mut self, number: u64) -> bool {
        let number = number.to_string();
        let fits = self.numbers.iter().all(|it| it.len() == number.len());
        if fits {
            for place in self.numbers.clone() {
                self.bytes[place].copy_from_slice(number.as_bytes());
            }
        }
        fits
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.beats.clear();
        self.event_ends.clear();
        self.filler = None;
        self.then = Then::Next;
    }

    fn head(&mut self, answer: &Answer, number: u64, framing: Framing, manners: Manners) {
        let out = &mut self.bytes;
        let mut put = |parts: &[&str]| parts.iter().for_each(|it| out.extend(it.as_bytes()));
        put(&["HTTP/1.1 ", &answer.status.to_string(), " ", reason(answer.status)]);
        put(&["\r\ncontent-type: ", answer.content_type]);
        for (name, value) in &answer.headers {
            put(&["\r\n", name, ": ", value]);
        }
        if !manners.keep_alive {
            put(&["\r\nconnection: close"]);
        }
        if let Some(Fault::HugeHeader { kibibytes }) = answer.fault {
            put(&["\r\nx-filler: ", &"x".repeat(kibibytes << 10)]);
        }
        if let Some(length) = framing.length {
            let _ = write!(out, "\r\ncontent-length: {length}");
        }
        if framing.chunked {
            out.extend_from_slice(b"\r\ntransfer-encoding: chunked");
        }
        // Anthropic's clients read the one, the others' the other.
        self.numbers = ["\r\nrequest-id: req_sim_", "\r\nx-request-id: req_sim_"].map(|name| {
            out.extend_from_slice(name.as_bytes());
            let start = out.len();
            let _ = write!(out, "{number}");
            start..out.len()
        });
        out.extend_from_slice(b"\r\n\r\n");
    }

    fn body(&mut self, body: &Body, framing: Framing) {
        match body {
            Body::Whole(body) if framing.bytewise => self.bytewise([(&body[..], true)].into_iter()),
            Body::Events(events) if framing.bytewise => self.bytewise(events.iter()),
            Body::Whole(body) => {
                self.beats.push(0);
                self.chunk(body, framing.chunked);
            }
            Body::Events(events) => self.events(events, framing),
            Body::Filled { before, filler, after } => {
                if framing.chunked {
                    let length = before.len() as u64 + filler + after.len() as u64;
                    let _ = write!(self.bytes, "{length:x}\r\n");
                }
                self.bytes.extend_from_slice(before);
                self.filler = Some((self.bytes.len(), *filler));
                self.bytes.extend_from_slice(after);
                if framing.chunked {
                    self.bytes.extend_from_slice(b"\r\n");
                }
            }
        }
        if framing.chunked {
            self.bytes.extend_from_slice(b"0\r\n\r\n");
        }
    }

    fn events(&mut self, events: &Events, framing: Framing) {
        self.bytes.reserve(events.size() + events.len() * 8);
        for (event, paced) in events.iter() {
            if paced {
                // What comes before the first token waits with it, the head too.
                let at = if self.beats.is_empty() { 0 } else { self.bytes.len() };
                self.beats.push(at);
            }
            self.chunk(event, framing.chunked);
            self.event_ends.push(self.bytes.len());
        }
    }

    fn bytewise<'a>(&mut self, parts: impl Iterator<Item = (&'a [u8], bool)>) {
        self.pace = Pace { gap: Some(std::time::Duration::ZERO), ..self.pace };
        for (part, _) in parts {
            for byte in part.chunks(1) {
                self.beats.push(self.bytes.len());
                self.chunk(byte, true);
            }
            self.event_ends.push(self.bytes.len());
        }
    }

    fn chunk(&mut self, part: &[u8], chunked: bool) {
        if !chunked {
            self.bytes.extend_from_slice(part);
        } else if !part.is_empty() {
            let _ = write!(self.bytes, "{:x}\r\n", part.len());
            self.bytes.extend_from_slice(part);
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other faults are in the answer already"
    )]
    fn misbehave(&mut self, fault: Fault, head: usize) {
        match fault {
            Fault::Hang => self.stop_at(0, Then::Hang),
            Fault::Stall { events } => {
                self.stop_at(self.place(Point::Event(events), head), Then::Hang)
            }
            Fault::Reset(point) => self.stop_at(self.place(point, head), Then::Reset),
            Fault::Fin(point) => self.stop_at(self.place(point, head), Then::Close),
            Fault::ShortLength | Fault::Close => self.then = Then::Close,
            Fault::ExtraBytes => {
                self.bytes.extend_from_slice(b"unexpected garbage");
                self.end = self.bytes.len();
            }
            _ => (),
        }
    }

    fn stop_at(&mut self, end: usize, then: Then) {
        self.end = end.min(self.end);
        self.then = then;
    }

    /// A body that has no events counts as one, of which half is sent.
    fn place(&self, point: Point, head: usize) -> usize {
        match point {
            Point::Byte(at) => at,
            Point::Event(0) => head,
            Point::Event(_) if self.event_ends.is_empty() => head + (self.end - head) / 2,
            Point::Event(nth) => self.event_ends[nth.min(self.event_ends.len()) - 1],
        }
    }
}

/// How the end of the body is told.
#[derive(Clone, Copy)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    bytewise: bool,
}

fn framing(answer: &Answer, manners: Manners) -> Framing {
    let size = match &answer.body {
        Body::Whole(body) => body.len() as u64,
        Body::Events(events) => events.size() as u64,
        Body::Filled { before, filler, after } => (before.len() + after.len()) as u64 + filler,
    };
    let streamed = matches!(answer.body, Body::Events(_));
    let bytewise = answer.fault == Some(Fault::Bytes) && manners.chunks;
    match answer.fault {
        Some(Fault::ShortLength) => {
            Framing { length: Some(size + 100), chunked: false, bytewise: false }
        }
        Some(Fault::BothLengths) => Framing { length: Some(size), chunked: true, bytewise: false },
        Some(_) | None => {
            let chunked = (streamed || bytewise) && manners.chunks;
            Framing { length: (!chunked && !streamed).then_some(size), chunked, bytewise }
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        529 => "Overloaded",
        _ => "Other",
    }
}
