//! Notes that people leave for themselves.
//!
//! | owns | notes |
//! | publishes | `user.erased` |
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

use blocks::{Route, Service};
use events::topic;
use service::Definition;
use sql::{Db, Migration, accounts};

/// Its folder, executable, schema and consumer group.
pub const NAME: &str = "hello-service";

/// Its schema, step by step.
pub const MIGRATIONS: &[Migration] = &[sql::migration!(1001, "notes", "0001_notes.sql")];

pub static DEFINITION: Definition = Definition {
    name: NAME,
    about: "Notes that people leave for themselves.",
    routes: &[
        Route::required(&["GET", "POST"], "/api/hello-service"),
        Route::required(&["GET"], "/api/hello-service/{id}"),
    ],
    topics: &[topic::USERS],
    publishes: &["user.erased"],
    consumes: &[topic::USERS],
    migrations: MIGRATIONS,
    ..Definition::on_database(service)
};

/// The service over `db`.
pub fn service(db: &Db) -> Service {
    Service {
        consumers: vec![accounts::group(db, NAME, consumer::Owners)],
        ..DEFINITION.over(db, api::router(db.clone()))
    }
}
