//! The outboxes: what waits for the bus.

use axum::Json;
use axum::extract::State;
use blocks::extract::{ValidJson, ValidQuery};
use blocks::outbox::Outbox;
use blocks::{Problem, error::BoxError};
use serde::Deserialize;
use sql::Db;

use super::view::{OutboxView, Republish, Republished};
use super::{Admin, away, listed};

/// How much to say.
#[derive(Debug, Deserialize)]
pub(super) struct HowMuch {
    /// So many of the latest rows.
    #[serde(default)]
    list: i64,
}

pub(super) async fn list(
    State(admin): State<Admin>,
    ValidQuery(how_much): ValidQuery<HowMuch>,
) -> Result<Json<Vec<OutboxView>>, Problem> {
    let mut outboxes = Vec::new();
    for db in &admin.databases {
        let seen = view(&admin, db, how_much.list).await;
        outboxes.push(seen.map_err(|error| away(&error))?);
    }
    Ok(Json(outboxes))
}

async fn view(admin: &Admin, db: &Db, rows: i64) -> Result<OutboxView, BoxError> {
    let depth = db.depth().await?;
    let now = admin.clock.now();
    Ok(OutboxView {
        service: db.service().to_owned(),
        pending: depth.pending,
        oldest: depth.oldest,
        oldest_age_ms: depth.oldest.map(|oldest| (now - oldest).num_milliseconds()),
        refused: db.outbox_refused().await?,
        rows: match rows {
            ..=0 => Vec::new(),
            _ => db.outbox_rows(rows).await?,
        },
    })
}

pub(super) async fn republish(
    State(admin): State<Admin>,
    ValidJson(wanted): ValidJson<Republish>,
) -> Result<Json<Vec<Republished>>, Problem> {
    let databases: Vec<&Db> = match &wanted.service {
        None => admin.databases.iter().collect(),
        Some(name) => {
            let found = admin.databases.iter().find(|db| db.service() == name);
            let names = admin.databases.iter().map(Outbox::service);
            vec![found.ok_or_else(|| {
                Problem::not_found(
                    "service_not_found",
                    format!("there is no service {name:?}; {}", listed(names)),
                )
            })?]
        }
    };
    let mut done = Vec::new();
    for db in databases {
        let events = db.outbox_republish(wanted.since).await;
        done.push(Republished {
            service: db.service().to_owned(),
            events: events.map_err(|error| away(&error.into()))?,
        });
    }
    Ok(Json(done))
}
