//! What a company drills before it trusts us: a process is frozen or killed under load, and
//! the calls go on.
//!
//! Each starts an installation of real processes, calls it all the while, and says how many
//! calls there were and how many failed.
#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod cluster;
mod control_plane;
mod everything;
mod leaving;
mod postgres;
mod proxies;
mod redis;
