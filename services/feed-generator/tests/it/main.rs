//! The feed as its readers see it, from events on a real topic log.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should say where"
)]

mod api;
mod backend;
mod erasure;
mod garbage;
mod memory;
mod model;
mod outage;
#[cfg(feature = "fleet")]
mod redis;
mod streams;
mod support;
