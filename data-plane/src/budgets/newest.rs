//! What was settled last and is not counted yet. It is in the journal, and here as well, for who
//! says it next need not read it from there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;
use shared::{
    counters::{Counted, Settlement, Shard},
    event::Event,
    ids::{BudgetId, RequestId},
};
use uuid::Uuid;

use super::book::parts;

/// As many bytes of events are kept. What is more is read from the journal.
const MOST: usize = 1024 * 1024;

/// What a settlement says, under whichever number.
pub struct Said {
    call: String,
    /// Of which budgets the call may hold something.
    pub held: Vec<BudgetId>,
    counted: Vec<Counted>,
    pub event: Vec<u8>,
}

/// What of an event it takes to settle it.
#[derive(Deserialize)]
struct Known {
    request: RequestId,
    #[serde(default)]
    counted: Vec<Counted>,
}

impl Said {
    pub fn new(event: &Event, held: Vec<BudgetId>) -> Self {
        let (call, counted) = (name_of(event.request), event.counted.clone());
        Self { call, held, counted, event: event.encode() }
    }

    /// As the journal keeps it.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (held, event) = parts(bytes)?;
        let Known { request, counted } = serde_json::from_slice(event).ok()?;
        Some(Self { call: name_of(request), held, counted, event: event.to_vec() })
    }

    pub fn settlement(&self, number: u64) -> Settlement<'_> {
        let Self { call, held, counted, event } = self;
        Settlement { number, call, event, held, counted }
    }
}

fn name_of(call: RequestId) -> String {
    call.uuid().simple().encode_lower(&mut Uuid::encode_buffer()).to_owned()
}

/// By shard and number. Whoever writes a settlement down under a number puts it here first, so
/// that what is here is what the journal has last under that number, or is to have.
#[derive(Default)]
pub struct Newest(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    all: BTreeMap<(Shard, u64), Arc<Said>>,
    bytes: usize,
}

impl Newest {
    pub fn put(&self, at: (Shard, u64), said: Said) {
        let mut kept = self.kept();
        // One that there was no room for in the journal may have been meant to have that number.
        kept.remove(at);
        if kept.bytes + said.event.len() <= MOST {
            kept.bytes += said.event.len();
            kept.all.insert(at, Arc::new(said));
        }
    }

    pub fn get(&self, at: (Shard, u64)) -> Option<Arc<Said>> {
        self.kept().all.get(&at).cloned()
    }

    /// That all up to a number are counted.
    pub fn forget(&self, shard: Shard, number: u64) {
        let mut kept = self.kept();
        while let Some((at, _)) = kept.all.range((shard, 0)..=(shard, number)).next() {
            let at = *at;
            kept.remove(at);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, at: (Shard, u64)) {
        if let Some(it) = self.all.remove(&at) {
            self.bytes -= it.event.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(length: usize) -> Said {
        Said { call: String::new(), held: Vec::new(), counted: Vec::new(), event: vec![0; length] }
    }

    #[test]
    fn what_is_kept_is_what_was_put_last_and_never_much() {
        let (newest, one, other) = (Newest::default(), Shard::from(1), Shard::from(2));
        let length = |shard, number| newest.get((shard, number)).map(|it| it.event.len());
        newest.put((one, 1), said(10));
        newest.put((one, 1), said(20));
        newest.put((one, 2), said(MOST - 20));
        assert_eq!((length(one, 1), length(one, 2)), (Some(20), Some(MOST - 20)));
        // There is no room for another, nor is what was there before taken for it.
        newest.put((other, 2), said(1));
        newest.put((one, 1), said(21));
        assert_eq!((length(other, 2), length(one, 1)), (None, None));
        newest.forget(one, 2);
        newest.put((other, 2), said(MOST));
        newest.forget(one, 9);
        assert_eq!((length(one, 2), length(other, 2)), (None, Some(MOST)));
    }
}
