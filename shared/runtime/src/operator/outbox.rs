//! The outboxes: events that wait for the bus.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use blocks::error::BoxError;
use blocks::extract::{ValidJson, ValidQuery};
use blocks::outbox::InspectOutbox;
use serde::Deserialize;

use super::view::{OutboxView, Republish, Republished};
use super::{Failed, Operator, unknown};

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
) -> Result<Json<Vec<OutboxView>>, Failed> {
    let mut outboxes = Vec::new();
    for outbox in &operator.outboxes {
        outboxes.push(view(&operator, &**outbox, how_much.list).await?);
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
) -> Result<Json<Vec<Republished>>, Failed> {
    let is_wanted = |outbox: &Arc<dyn InspectOutbox>| match &wanted.service {
        Some(name) => outbox.service() == name,
        None => true,
    };
    let mut done = Vec::new();
    for outbox in operator.outboxes.iter().filter(|of| is_wanted(of)) {
        done.push(Republished {
            service: outbox.service().to_owned(),
            events: outbox.republish(wanted.since).await?,
        });
    }
    if let (Some(name), []) = (&wanted.service, &done[..]) {
        let names = operator.outboxes.iter().map(|outbox| outbox.service());
        let what = format!("there is no service {name:?}");
        return Err(unknown("service_not_found", &what, names));
    }
    Ok(Json(done))
}
