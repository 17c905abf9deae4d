//! Posts over HTTP, in the store and in memory, and their consumer of accounts.
#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expected by where it fails"
)]

#[macro_use]
mod stores;

mod api;
mod bad_input;
mod cache;
mod consumer;
mod harness;
mod idempotency;
mod lists;
mod memory;
#[cfg(feature = "fleet")]
mod mongo;
mod store;
