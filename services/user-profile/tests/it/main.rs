//! Profiles over HTTP, in the store, and in what they do about closed accounts.
mod api;
mod bad_input;
mod consumer;
mod harness;
