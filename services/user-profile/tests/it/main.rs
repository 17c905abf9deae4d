//! Profiles over HTTP and in the store, and their consumer of closed accounts.

mod api;
mod bad_input;
mod consumer;

use testkit::db::TestDb;
use testkit::service::App;
use user_profile::{Profiles, service};

const PROFILE: &str = "/api/profile";

fn app(db: &TestDb) -> App {
    App::on(db, service(&Profiles::open(db.db.clone())))
}

/// Key, type and version of published events, in the order of the commits.
async fn published(app: &App) -> Vec<(String, String, i64)> {
    let events = app.drain().await.into_iter();
    events
        .map(|event| (event.subject, event.event_type, event.sequence))
        .collect()
}
