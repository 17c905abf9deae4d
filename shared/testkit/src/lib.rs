//! Harness and contract suites. A dev-dependency, never a dependency.
#![warn(missing_docs)]
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should say where"
)]
#![expect(
    clippy::missing_panics_doc,
    reason = "every function here panics when a promise is broken"
)]

/// The guide whose code is run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/in-memory-stores.md")]
mod guide {}

pub mod broker;
pub mod bus;
pub mod cache;
pub mod community;
pub mod consumer_store;
pub mod db;
pub mod door;
pub mod faults;
pub mod fleet;
pub mod http;
pub mod lease;
pub mod memory;
pub mod no_events;
pub mod own;
pub mod ports;
pub mod positions;
pub mod service;
pub mod stack;
pub mod stand_in;
pub mod strangers;
