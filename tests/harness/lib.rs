//! x

#[path = "../simulator/mod.rs"]
pub mod simulator;
