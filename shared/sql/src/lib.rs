//! PostgreSQL and SQLite: one write for state and events, the outbox, the inbox, and the topic log
//! for the process that has no broker.
//!
//! | owns | the write seam [`Db::write`], [`Tx::publish`], the delivery's tables |
//! | promises | a committed change and its events are one write; nothing of a refused one stays |
//!
//! The same statement text runs on both databases; see [`on!`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use blocks::SystemClock;
//! use events::users::UserDeleted;
//! use sql::{Db, Durability, Migration, Settings, StoreError, on};
//!
//! const TABLE: &str = "create table names (user_id bigint primary key, name text not null)";
//! const MIGRATIONS: &[Migration] = &[Migration {
//!     version: 1001, what: "names", sqlite: TABLE, postgres: TABLE,
//! }];
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let settings = Settings::new("names", Arc::new(SystemClock));
//! let db = Db::open_sqlite(&folder.path().join("names.db"), Durability::Full, settings, MIGRATIONS).await?;
//!
//! // The row and its event: both, or neither.
//! db.write(|tx| Box::pin(async move {
//!     on!(tx, conn => sqlx::query("insert into names (user_id, name) values ($1, $2)")
//!         .bind(7_i64)
//!         .bind("ada")
//!         .execute(&mut *conn)
//!         .await
//!         .map(|_| ()))?;
//!     tx.publish(&UserDeleted { user_id: 7 }, 1).await?;
//!     Ok::<_, StoreError>(())
//! }))
//! .await?;
//!
//! let mut reader = db.read().await?;
//! let name: String = on!(reader, conn => sqlx::query_scalar("select name from names where user_id = $1")
//!     .bind(7_i64)
//!     .fetch_one(&mut *conn)
//!     .await)?;
//! assert_eq!(name, "ada");
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

/// The guides whose code is run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/commands.md")]
#[doc = include_str!("../../../docs/guides/outbox-and-inbox.md")]
mod guides {}

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
mod query;
mod statement;
pub mod tables;
mod tx;
mod writer;

pub use blocks::consumer::Retry;
pub use conn::SqliteConn;
pub use consumer::{BlockRow, Handler, SqlConsumer};
pub use db::{Db, Durability, Reader, Settings};
pub use dialect::Dialect;
pub use error::StoreError;
pub use faults::{FaultPoint, Faults};
pub use migrate::Migration;
pub use query::query;
pub use tx::{Conn, MAX_EVENT_BYTES, Tx};
