//! The road of a request: read `pipeline` first, then the stages in its order.
//!
//! This crate has no database and no route that changes anything. What it knows comes
//! from the catalog's snapshot, so it serves on while all else is down.

pub mod app;
pub mod config;
pub mod pipeline;

pub mod admit;
pub mod answer;
pub mod ask;
pub mod authenticate;
pub mod budgets;
pub mod call;
pub mod catalog;
pub mod connection;
pub mod egress;
pub mod emit;
pub mod endpoints;
pub mod feedback;
pub mod files;
pub mod generations;
pub mod health;
pub mod journal;
pub mod last_used;
pub mod limits;
pub mod metrics;
pub mod models;
pub mod nearest;
pub mod panics;
pub mod place;
pub mod providers;
pub mod receive;
pub mod refusals;
pub mod refused;
pub mod route;
pub mod sse;
pub mod visit;
pub mod web;
