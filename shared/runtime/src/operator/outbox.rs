//! The outboxes: events that wait for the bus.

use axum::Json;
use axum::extract::State;
use blocks::extract::{ValidJson, ValidQuery};
use blocks::outbox::InspectOutbox;
use blocks::{Problem, error::BoxError};
use serde::Deserialize;

use super::view::{OutboxView, Republish, Republished};
use super::{Operator, away, listed};

/// The details to answer with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HowMuch {
    /// Number of latest rows to show.
    #[serde(default)]
    list: usize,
}

pub(super) async fn list(
    State(operator): State<Operator>,
    ValidQuery(how_much): ValidQuery<HowMuch>,
) -> Result<Json<Vec<OutboxView>>, Problem> {
    let mut outboxes = Vec::new();
    for outbox in &operator.outboxes {
        let seen = view(&operator, &**outbox, how_much.list).await;
        outboxes.push(seen.map_err(|error| away(&error))?);
    }
    Ok(Json(outboxes))
}

async fn view(
    operator: &Operator,
    outbox: &dyn InspectOutbox,
    rows: usize,
) -> Result<OutboxView, BoxError> {
    let depth = outbox.depth().await?;
    let now = operator.clock.now();
    Ok(OutboxView {
        service: outbox.service().to_owned(),
        pending: depth.pending,
        oldest: depth.oldest,
        oldest_age_ms: depth.oldest.map(|oldest| (now - oldest).num_milliseconds()),
        refused: outbox.refused().await?,
        rows: match rows {
            0 => Vec::new(),
            _ => outbox.latest(rows).await?,
        },
    })
}

pub(super) async fn republish(
    State(operator): State<Operator>,
    ValidJson(wanted): ValidJson<Republish>,
) -> Result<Json<Vec<Republished>>, Problem> {
    let outboxes: Vec<&dyn InspectOutbox> = match &wanted.service {
        None => operator.outboxes.iter().map(|outbox| &**outbox).collect(),
        Some(name) => {
            let mut all = operator.outboxes.iter();
            let found = all.find(|outbox| outbox.service() == name);
            let names = operator.outboxes.iter().map(|outbox| outbox.service());
            vec![&**found.ok_or_else(|| {
                Problem::not_found(
                    "service_not_found",
                    format!("there is no service {name:?}; {}", listed(names)),
                )
            })?]
        }
    };
    let mut done = Vec::new();
    for outbox in outboxes {
        let events = outbox.republish(wanted.since).await;
        done.push(Republished {
            service: outbox.service().to_owned(),
            events: events.map_err(|error| away(&error))?,
        });
    }
    Ok(Json(done))
}
