//! What end-to-end tests stand on: both planes in this process, on real stores, before
//! the provider simulator; a browser without a window; a reader of pages. And for tests in
//! which processes die, the same as `processes` of their own, and a `load` on them.
//!
//! Dropping a [`Stack`] checks what always holds, so that every test is also a test of
//! the books.

mod browser;
pub mod html;
mod invariants;
pub mod load;
pub mod people;
pub mod processes;
pub mod redis_database;
pub mod relay;
pub mod stack;
mod valve;
mod wait;

#[path = "../simulator/mod.rs"]
pub mod simulator;

#[path = "../fake_stripe/mod.rs"]
pub mod fake_stripe;

pub use browser::{Answer, Browser, Request};
pub use people::{Person, one_time_code, secret_on, sign_in};
pub use stack::{Settings, Stack};
pub use wait::{eventually, soon};
