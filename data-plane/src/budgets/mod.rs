//! What calls may cost: which budgets bear a call, what it can cost at most, holding that
//! before it is sent, and counting what it came to afterwards.
//!
//! Always holds: of a hard budget no more is spent and held than its cap, at any moment and
//! on any number of proxies; what a call holds is let go of by its settlement and by nothing
//! else; a call is settled once, whichever way it ends, and told of with it; one that was sent
//! is never free: an answer that its caller did not wait for is heard out, or costs as much as
//! it may have come to; what is not counted yet is in the journal and is said again until it
//! is; where nobody can count, what a hard budget bears is not sent. A call without budgets
//! waits for none of this.

mod admission;
mod allowances;
mod bearing;
mod book;
mod clock;
mod gone;
mod hearing;
mod meter;
mod metrics;
mod newest;
mod quote;
mod refusal;
mod tab;
#[cfg(test)]
mod tests;
mod used;
mod weight;

#[cfg(test)]
pub use self::admission::weigh;
pub use self::{
    admission::{NotAdmitted, admit, admit_question},
    bearing::{Bearing, bearings},
    clock::{Clock, Edges},
    hearing::{Heard, Rest},
    meter::Meter,
    metrics::MeterMetrics,
    quote::quote,
    refusal::{BudgetExceeded, NotCounted, NotPriced, headers},
    tab::{Delivered, NotCovered, Tab},
    weight::{Weight, not_priced, thinks_beside_its_cap},
};
