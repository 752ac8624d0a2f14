//! The vocabulary both planes speak: ids, money, failures, keys, and the few services
//! every process needs. Nothing here knows about HTTP, HTML or any provider.

pub mod condition;
pub mod config;
pub mod counters;
pub mod event;
pub mod failure;
pub mod feedback;
pub mod generations;
pub mod ids;
pub mod json;
pub mod keys;
pub mod money;
mod networks;
pub mod pulses;
pub mod random;
pub mod reach;
pub mod seal;
pub mod snapshot;
pub mod tasks;
pub mod telemetry;
pub mod usage;
pub mod vendors;
pub mod wire;
