//! What is told of each call, once, whichever way it left.
//!
//! An event is handed to the meter, which keeps it in the journal and says it to Redis with
//! what it settles: what is counted and what is told of are the same.

mod client;
mod story;
mod tags;

use shared::event::Event;

pub use self::{story::Story, tags::tags};

/// Handed on by its pointer, so that the road copies no more than that.
type Told = Box<Event>;

#[cfg(test)]
mod tests;
