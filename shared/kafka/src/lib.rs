//! The event bus over Kafka.
//!
//! ```text
//! KafkaBus ─┬─ publish    producer   idempotent, acks=all; thrown away after a failed delivery
//!           ├─ subscribe  Member ◀─ holdings ◀─ Poller     one client a member, polled all the time
//!           ├─ topics     admin      created with partitions and retention
//!           └─ watermarks    metadata   a client without a group: metadata, watermarks, single reads
//! ```
//!
//! A member starts at the offsets in its group's own store; those committed to Kafka serve lag tools only
//! and are never read. A partition is let go when its records are no longer in the caller's hands, so
//! between two batches.
//!
//! Without the feature `client` this crate is empty: librdkafka costs minutes of compiling, and the
//! embedded server needs none of it. This is the one crate that names `rdkafka`.

#![cfg(feature = "client")]
#![warn(missing_docs)]

mod admin;
mod bus;
mod check;
mod client;
mod holdings;
mod member;
mod metadata;
mod poller;
mod producer;
mod reader;
mod rebalance;
mod records;
mod security;

pub use bus::KafkaBus;
pub use check::KafkaCheck;
pub use client::Settings;
pub use security::{Sasl, Security, Tls};
