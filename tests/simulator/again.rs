//! What a connection was asked last, whose answer its wire still holds.
//!
//! The same request gets the same answer, so one that is asked again need not be understood again.
//! A benchmark asks one thing a million times: this is what keeps the simulator cheaper than what
//! is measured against it.

use super::receive::{Payload, Received};

/// The last request of a connection, and what was true when it was answered.
#[derive(Default)]
pub(super) struct Last(Option<Asked>);

struct Asked {
    received: Received,
    buffer: Vec<u8>,
    status: u16,
    /// `State::changes` from before it was answered.
    changes: u64,
}

/// What is longer is not kept twice.
const LONGEST: usize = 256 << 10;

impl Last {
    /// The status that was answered, if all that decides an answer is as it was.
    pub(super) fn status(&self, received: &Received, buffer: &[u8], changes: u64) -> Option<u16> {
        let asked = self.0.as_ref()?;
        (asked.changes == changes && asked.is(received, buffer)).then_some(asked.status)
    }

    pub(super) fn remember(
        &mut self,
        received: Received,
        buffer: &[u8],
        status: u16,
        changes: u64,
    ) {
        if received.length > LONGEST {
            return self.forget();
        }
        let mut kept = self.0.take().map(|it| it.buffer).unwrap_or_default();
        kept.clear();
        kept.extend_from_slice(&buffer[..received.length]);
        self.0 = Some(Asked { received, buffer: kept, status, changes });
    }

    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

impl Asked {
    fn is(&self, received: &Received, buffer: &[u8]) -> bool {
        let (Payload::Plain(body), Payload::Plain(kept)) =
            (&received.payload, &self.received.payload)
        else {
            return false;
        };
        let key = received.key.clone().map(|it| &buffer[it]);
        self.received.manners == received.manners
            && self.received.vendor == received.vendor
            && self.buffer[self.received.method.clone()] == buffer[received.method.clone()]
            && self.buffer[self.received.target.clone()] == buffer[received.target.clone()]
            && self.received.key.clone().map(|it| &self.buffer[it]) == key
            && self.buffer[kept.clone()] == buffer[body.clone()]
    }
}
