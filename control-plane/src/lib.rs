//! Where people manage organizations, keys, models and money, and operators the platform.
//!
//! Each feature is a folder: `mod.rs` says what it is and what its rules are, `store.rs`
//! holds every statement on its tables, `web.rs` its pages, `api.rs` its part of the
//! management API.

pub mod access;
pub mod app;
pub mod config;
pub mod egress;
pub mod failpoints;
pub mod health;
pub mod names;
pub mod platform;
pub mod web;

pub mod alerts;
pub mod audit;
pub mod billing;
pub mod budgets;
pub mod cost_centers;
pub mod counters;
pub mod defaults;
pub mod demo;
pub mod docs;
pub mod fleet;
pub mod identity;
pub mod invoices;
pub mod keys;
pub mod learning;
pub mod ledger;
pub mod limits;
pub mod mail;
pub mod members;
pub mod models;
pub mod operator;
pub mod organizations;
pub mod payments;
pub mod policies;
pub mod projects;
pub mod reconciliation;
pub mod requests;
pub mod snapshots;
pub mod teams;
pub mod tokens;
pub mod upstreams;
pub mod usage;

#[cfg(test)]
mod testing;
