//! Notes that people leave for themselves.
//!
//! | owns | notes |
//! | publishes | nothing |
//! | consumes | `user.deleted` |
//!
//! Invariant: a note is seen by its owner only, and a closed account leaves none.

mod api;
mod commands;
mod consumer;
mod domain;
mod error;
mod queries;
mod store;

use std::sync::Arc;

use blocks::{Route, Service};
use events::{Topic, topic};
use service::{Definition, Opened, Place};
use sql::accounts::Accounts;
use sql::{Db, Migration, SqlConsumer};

/// Its folder, executable, schema and consumer group.
pub const NAME: &str = "hello-service";

/// Its schema, step by step.
pub const MIGRATIONS: &[Migration] = &[sql::migration!(1001, "notes", "0001_notes.sql")];

const CONSUMES: &[Topic] = &[topic::USERS];

/// The service.
pub static DEFINITION: Definition = Definition {
    name: NAME,
    about: "Notes that people leave for themselves.",
    routes: &[Route::required(&["GET", "POST"], "/api/hello-service")],
    consumes: CONSUMES,
    migrations: MIGRATIONS,
    ..Definition::new(|on| Box::pin(open(on)))
};

async fn open(on: &dyn Place) -> anyhow::Result<Opened> {
    let db = on.database(&DEFINITION).await?;
    Ok(Opened::of(service(&db)))
}

/// The service over `db`.
pub fn service(db: &Db) -> Service {
    let accounts = Arc::new(Accounts(consumer::Owners));
    let group = SqlConsumer::new(db.clone(), NAME, CONSUMES, accounts);
    Service {
        consumers: vec![group.consumer()],
        ..DEFINITION.over(db, api::router(db.clone()))
    }
}
