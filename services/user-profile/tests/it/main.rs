//! Profiles over HTTP, in the store, and in what they do about closed accounts.
#![expect(
    clippy::unwrap_used,
    reason = "a test says what it expected by where it fails"
)]

mod api;
mod bad_input;
mod consumer;
mod harness;
