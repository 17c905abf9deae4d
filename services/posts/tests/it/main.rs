//! Posts over HTTP, in the store, in memory, and in what they do about accounts.
#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expected by where it fails"
)]

mod api;
mod bad_input;
mod cache;
mod consumer;
mod harness;
mod idempotency;
mod lists;
mod store;
