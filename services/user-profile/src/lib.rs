//! User profiles: what people say about themselves.
//!
//! ```text
//! POST /api/profile ─ api ─ commands ─ store ─┬─ user_profiles       one atomic write
//!                                             └─ outbox_messages ─ relay ─▶ topic `profile.events`
//! topic `user.events` ─ consumer ─ accounts: those that were closed
//! ```
//!
//! | owns      | profiles, at most one an account |
//! |-----------|-----------|
//! | publishes | `profile.created`, `profile.updated`, `profile.deleted`: ids only; `user.erased` |
//! | consumes  | `user.deleted` |
//!
//! Invariants:
//! - a stored change and its event are one write, and nothing here talks to the bus;
//! - an account has one profile at most, by a constraint, and a closed one has none;
//! - a profile's id is never used again: its events have versions 1, 2, 3 …, the deletion too;
//! - nobody but its owner sees date of birth, address, postal code, phone number and preferences.

pub mod api;
pub mod commands;
pub mod consumer;
pub mod domain;
pub mod error;
mod integration;
pub mod queries;
pub mod store;

use blocks::{Mediator, Route, Service};
use chrono::NaiveDate;
use events::topic;
use service::Definition;
use sql::{Db, Migration, accounts};

use crate::consumer::Owners;

/// The service's name: its folder, schema and consumer group.
pub const NAME: &str = "user-profile";

/// The schema, step by step.
pub const MIGRATIONS: &[Migration] = &[
    sql::migration!(1001, "profiles", "0001_profiles.sql"),
    sql::migration!(1002, "accounts", "0002_accounts.sql"),
];

/// The gateway's rule for each endpoint.
pub const ROUTES: &[Route] = &[
    Route::required(&["GET", "POST", "PUT", "DELETE"], "/api/profile"),
    Route::required(&["GET"], "/api/profile/{user_id}"),
];

/// The service's state. Cheap to clone.
#[derive(Clone)]
pub struct Profiles {
    db: Db,
}

impl Profiles {
    /// Opens the profiles in `db`.
    pub fn open(db: Db) -> Self {
        Self { db }
    }

    fn today(&self) -> NaiveDate {
        self.db.settings().clock.now().date_naive()
    }
}

impl Mediator for Profiles {
    fn service(&self) -> &'static str {
        NAME
    }
}

pub static DEFINITION: Definition = Definition {
    name: NAME,
    about: "What people say about themselves.",
    routes: ROUTES,
    topics: &[topic::PROFILES, topic::USERS],
    publishes: &[
        "profile.created",
        "profile.updated",
        "profile.deleted",
        "user.erased",
    ],
    consumes: &[topic::USERS],
    migrations: MIGRATIONS,
    ..Definition::on_database(|db| service(&Profiles::open(db.clone())))
};

/// The service over `profiles`.
pub fn service(profiles: &Profiles) -> Service {
    Service {
        consumers: vec![accounts::group(&profiles.db, NAME, Owners)],
        ..DEFINITION.over(&profiles.db, api::router(profiles.clone()))
    }
}
