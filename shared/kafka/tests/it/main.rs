//! The Kafka adapter keeps the bus contract over a real broker, and its own promises.
//!
//! `scripts/kafka up` starts one and prints its address for `TEST_KAFKA`. Tests that stop or freeze a
//! broker start one of their own by the same script.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should say where"
)]

mod contract;
mod groups;
mod nobody;
mod outage;
mod refusals;
mod security;
mod topics;
mod wire;
