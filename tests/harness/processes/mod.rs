//! The whole product as the processes that it is in production, each of which a test may
//! freeze, kill and start again: the control plane, some proxies, the provider simulator,
//! and a PostgreSQL and a Redis of their own.
//!
//! Nothing of it outlives the test, however that ends: `infra/keeper.sh` sees to it.

pub mod clocks;
mod cluster;
mod home;
mod installation;
mod ports;
mod process;

pub use self::{
    cluster::RedisCluster,
    installation::{Extent, Installation, NewKey},
    process::Process,
};
