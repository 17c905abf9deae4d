//! The event bus over Kafka.
//!
//! ```text
//! KafkaBus ─┬─ publish    producer   idempotent, acks=all; thrown away after a failed delivery
//!           ├─ subscribe  Member ◀─ holdings ◀─ Poller     one client a member, polled all the time
//!           ├─ topics     admin      created with partitions and retention
//!           └─ watermarks    look       a client without a group: metadata, watermarks, single reads
//! ```
//!
//! A member starts at the offsets in its group's own store; those committed to Kafka serve lag tools only
//! and are never read. A partition is let go when its records are no longer in the caller's hands, so
//! between two batches.
//!
//! Without the feature `client` this crate is empty: librdkafka costs minutes of compiling, and the
//! embedded server needs none of it. This is the one crate that names `rdkafka`.

#![warn(missing_docs)]

#[cfg(feature = "client")]
mod admin;
#[cfg(feature = "client")]
mod bus;
#[cfg(feature = "client")]
mod check;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod holdings;
#[cfg(feature = "client")]
mod look;
#[cfg(feature = "client")]
mod member;
#[cfg(feature = "client")]
mod poller;
#[cfg(feature = "client")]
mod producer;
#[cfg(feature = "client")]
mod reader;
#[cfg(feature = "client")]
mod rebalance;
#[cfg(feature = "client")]
mod records;

#[cfg(feature = "client")]
pub use bus::KafkaBus;
#[cfg(feature = "client")]
pub use check::KafkaCheck;
#[cfg(feature = "client")]
pub use client::Settings;
