//! Notification: users' inboxes, and which notifications they have read.
//!
//! ```text
//! topic `user.events` ─ consumer ─┬─ notifications   one atomic write
//!                                 └─ positions
//! GET  /api/notifications            ─ api ─ queries  ─ store
//! POST /api/notifications/{id}/read  ─ api ─ commands ─ store
//! ```
//!
//! | | |
//! |---|---|
//! | owns | the inboxes |
//! | publishes | `user.erased` |
//! | consumes | `user.created`, `user.deleted` |
//!
//! Invariants: a user gets one notification of a thing, however often its event comes; only its
//! owner sees and changes an inbox; a closed account has none.

pub mod api;
pub mod commands;
pub mod consumer;
pub mod domain;
pub mod error;
pub mod queries;
mod store;

use blocks::{Mediator, Route, Service};
use service::{Definition, Size};
use sql::{Db, Migration};

/// The service's name: its folder, schema and consumer group.
pub const NAME: &str = "notification";

/// The schema, step by step.
pub const MIGRATIONS: &[Migration] = &[
    sql::migration!(1001, "notifications", "0001_notifications.sql"),
    sql::migration!(1002, "counts", "0002_counts.sql"),
];

/// The gateway's rule for each endpoint.
pub const ROUTES: &[Route] = &[
    Route::required(&["GET"], "/api/notifications"),
    Route::required(&["GET"], "/api/notifications/unread-count"),
    Route::required(&["POST"], "/api/notifications/{id}/read"),
    Route::required(&["POST"], "/api/notifications/read-all"),
];

/// The service's state: the inboxes. Cheap to clone.
#[derive(Clone)]
pub struct Notifications {
    db: Db,
}

impl Notifications {
    /// Opens the inboxes in `db`.
    pub fn open(db: Db) -> Self {
        Self { db }
    }
}

impl Mediator for Notifications {
    fn service(&self) -> &'static str {
        NAME
    }
}

pub static DEFINITION: Definition = Definition {
    name: NAME,
    about: "What users are told, and whether they read it.",
    routes: ROUTES,
    topics: consumer::TOPICS,
    publishes: &["user.erased"],
    consumes: consumer::TOPICS,
    migrations: MIGRATIONS,
    size: Size {
        most_replicas: 6,
        ..Size::USUAL
    },
    ..Definition::on_database(|db| service(&Notifications::open(db.clone())))
};

/// The service over `notifications`.
pub fn service(notifications: &Notifications) -> Service {
    let router = api::router(notifications.clone());
    Service {
        consumers: vec![consumer::consumer(notifications.db.clone())],
        ..DEFINITION.over(&notifications.db, router)
    }
}
