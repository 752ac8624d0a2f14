//! Which model is right for a prompt.
//!
//! A user's last turn becomes features; of these follow what it is for, its language, and how
//! much it matters which model is asked. What is known of models, from public data and from a
//! tenant's own labels, says how good each one's answer would be; and what the tenant wants says
//! what that is worth beside cost and time. The order of the models is the answer.
//!
//! Nothing here reads a clock, draws chance, or waits: the same prompt has the same answer.
//!
//! Always holds: what surrounds the last turn (a system prompt, tools, earlier turns) changes no
//! estimate; no text makes anything here panic; nothing computed here is an amount of money.

mod choice;
mod features;
mod heads;
mod kept;
mod language;
mod learned;
mod quality;
mod router;
mod task;
mod tenant;
#[cfg(feature = "train")]
pub mod train;
mod weights;
mod words;

use std::sync::LazyLock;

pub use self::{
    choice::{Goal, Offer, Worth, solve},
    features::{Features, Turn},
    heads::Ridge,
    kept::{MOST_BYTES, MOST_GRAMS, NotFeatures},
    language::Language,
    learned::{Counts, LONGEST_NAME, Learned, MOST_WEIGHTS, NotLearned},
    quality::{Basis, Expected, Known, Prior},
    router::{Judged, Router, Standing},
    task::{TASKS, Task},
    tenant::{Label, MOST_LABELS, MOST_MODELS, Tenant, Terms},
    weights::{Unreadable, read},
};

/// What `make train-router` made.
pub(crate) static SHIPPED: &[u8] = include_bytes!("../router.weights");

/// The router that is shipped.
pub fn router() -> &'static Router {
    static ROUTER: LazyLock<Router> =
        LazyLock::new(|| read(SHIPPED).expect("a test reads the weights that are shipped"));
    &ROUTER
}

#[cfg(test)]
mod tests;
