//! PostgreSQL and SQLite: one write for state and events, the outbox, the inbox, and the topic log
//! for the process that has no broker.
//!
//! | owns | the write seam [`Db::write`], [`Tx::publish`], the delivery's tables |
//! | promises | a committed change and its events are one write; nothing of a refused one stays |
//!
//! The same statement text runs on both databases; see [`on!`].

pub mod accounts;
pub mod claims;
mod conn;
mod consumer;
mod db;
mod dialect;
mod error;
mod faults;
pub mod idempotency;
pub mod log;
mod migrate;
mod outbox;
mod outbox_insert;
mod outbox_rows;
pub mod tables;
mod tx;
mod writer;

pub use blocks::consumer::Retry;
pub use conn::SqliteConn;
pub use consumer::{Handler, SqlConsumer};
pub use db::{Db, Durability, Reader, Settings};
pub use dialect::Dialect;
pub use error::StoreError;
pub use faults::{FaultPoint, Faults};
pub use migrate::Migration;
pub use tx::{Conn, MAX_EVENT_BYTES, Tx};
