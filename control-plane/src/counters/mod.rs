//! What keeps the counters in Redis true: the healer, which puts back what a store lost, and
//! the sweeper, which keeps what dead proxies hold.
//!
//! Always holds: a shard that lost something counts again only after it knows every event that
//! the database does; a shard is healed once, by however many control planes, for a script
//! compares what it was when it was looked at. What a dead process held stays held. Caps are
//! put back by whoever keeps budgets, not here.

mod keeper;
mod releasing;
mod store;
#[cfg(test)]
pub mod tests;

pub use self::{
    keeper::{Keeper, KeeperError, warm},
    releasing::release,
    store::Process,
};
