//! Everything at once: both planes, real stores, the provider simulator, and people and
//! programs that use them from outside.
#![expect(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod calls;
mod enumeration;
mod forms;
mod generations;
mod headers;
mod input;
mod invitations;
mod learning;
mod markup;
mod outage;
mod pages;
mod passwords;
mod payments;
mod requests;
mod second_factor;
mod secrets;
mod sessions;
mod site;
mod throttling;
