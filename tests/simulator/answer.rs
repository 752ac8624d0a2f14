//! An answer before it becomes bytes on a connection.

use super::{faults::Fault, profile::Pace};

pub(super) struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    /// Beyond content type and length, which follow from the rest.
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
    pub pace: Pace,
    pub fault: Option<Fault>,
}

pub(super) enum Body {
    Whole(Vec<u8>),
    Events(Events),
    /// `before`, so many bytes of filler, `after`: too large to be held in memory.
    Filled {
        before: Vec<u8>,
        filler: u64,
        after: Vec<u8>,
    },
}

impl Answer {
    pub(super) const EVENTS: &'static str = "text/event-stream; charset=utf-8";

    pub(super) fn json(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: "application/json",
            headers: Vec::new(),
            body: Body::Whole(body),
            pace: Pace::default(),
            fault: None,
        }
    }

    pub(super) fn stream(events: Events) -> Self {
        let body = Body::Events(events);
        Self { content_type: Self::EVENTS, body, ..Self::json(200, Vec::new()) }
    }

    #[must_use]
    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The events of a stream, one after the other in one buffer.
#[derive(Default)]
pub(super) struct Events {
    bytes: Vec<u8>,
    ends: Vec<End>,
}

/// Where an event ends, and whether the pace of the stream asks for a pause before it.
#[derive(Clone, Copy)]
struct End {
    at: usize,
    paced: bool,
}

impl Events {
    pub(super) fn with_capacity(events: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(events) }
    }

    /// Adds an event that `write` writes whole.
    pub(super) fn push(&mut self, paced: bool, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(End { at: self.bytes.len(), paced });
    }

    /// Adds a server-sent event holding nothing but `data`.
    pub(super) fn data(&mut self, paced: bool, data: &impl serde::Serialize) {
        self.push(paced, |out| {
            out.extend_from_slice(b"data: ");
            json(out, data);
            out.extend_from_slice(b"\n\n");
        });
    }

    /// Adds a server-sent event with a name.
    pub(super) fn named(&mut self, paced: bool, name: &str, data: &impl serde::Serialize) {
        self.push(paced, |out| {
            for part in ["event: ", name, "\ndata: "] {
                out.extend_from_slice(part.as_bytes());
            }
            json(out, data);
            out.extend_from_slice(b"\n\n");
        });
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Each event's bytes, and whether a pause comes before it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let event = &self.bytes[start..end.at];
            start = end.at;
            (event, end.paced)
        })
    }

    pub(super) fn truncate(&mut self, events: usize) {
        self.ends.truncate(events);
        self.bytes.truncate(self.ends.last().map_or(0, |it| it.at));
    }

    /// The same events with each one's bytes rewritten.
    pub(super) fn rewritten(&self, mut rewrite: impl FnMut(usize, &[u8], &mut Vec<u8>)) -> Self {
        let mut events = Self::with_capacity(self.len(), self.size() * 2);
        for (index, (event, paced)) in self.iter().enumerate() {
            events.push(paced, |out| rewrite(index, event, out));
        }
        events
    }
}

/// Writes `value` as JSON.
pub(super) fn json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(out, value).expect("our answers are maps with string keys");
}

pub(super) fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    json(&mut out, value);
    out
}
