//! The operators' view of a process and their actions in it, as an HTTP API of its own. It covers the bus,
//! outboxes and consumer groups, and below a service's name that service's own endpoints.
//!
//! | way | who may |
//! |---|---|
//! | the socket `rookery.sock` in the data folder | the folder's owner |
//! | the private port of a service that runs alone (`port`) | whoever signs with `OPERATOR_KEY` |
//! | in this process, over stores that it opened | whoever can open them |
//!
//! Lists are JSON; streams are a line of JSON each (`ndjson`).

mod dead_letters;
mod outbox;
#[cfg(feature = "fleet")]
pub mod port;
mod records;
pub mod socket;
mod tail;
mod topics;
pub mod view;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::serve::Listener;
use blocks::bus::{BusError, EventBus};
use blocks::consumer::Consumer;
use blocks::error::BoxError;
use blocks::outbox::InspectOutbox;
use blocks::{Clock, Problem};
use service::{Opened, Place, Role};
use tokio_util::sync::CancellationToken;

/// The operators' endpoints over the services of a process.
#[derive(Clone)]
pub struct Operator {
    bus: Arc<dyn EventBus>,
    clock: Arc<dyn Clock>,
    consumers: Vec<Consumer>,
    outboxes: Vec<Arc<dyn InspectOutbox>>,
    role: Role,
    stop: CancellationToken,
}

impl Operator {
    /// The API over `services`, which are open at `place`; streams end when `stop` is cancelled.
    pub fn router<'a>(
        services: impl IntoIterator<Item = &'a Opened>,
        place: &dyn Place,
        stop: CancellationToken,
    ) -> Router {
        let mut operator = Self {
            bus: place.bus(),
            clock: Arc::clone(place.clock()),
            consumers: Vec::new(),
            outboxes: Vec::new(),
            role: place.role(),
            stop,
        };
        let mut own = Router::new();
        for opened in services {
            let service = &opened.service;
            operator.consumers.extend(service.consumers.iter().cloned());
            operator.outboxes.extend(service.outbox.clone());
            own = own.nest(&format!("/{}", service.name), opened.operator.clone());
        }
        Router::new()
            .route("/topics", get(topics::list))
            .route("/topics/{topic}/records", get(records::read))
            .route("/outboxes", get(outbox::list))
            .route("/outboxes/republish", post(outbox::republish))
            .route("/groups", get(dead_letters::groups))
            .route("/dead-letters", get(dead_letters::list))
            .route("/dead-letters/replay", post(dead_letters::replay_all))
            .route("/dead-letters/{group}/{id}", get(dead_letters::show))
            .route(
                "/dead-letters/{group}/{id}/replay",
                post(dead_letters::replay),
            )
            .route(
                "/dead-letters/{group}/{id}/discard",
                post(dead_letters::discard),
            )
            .with_state(operator)
            .merge(own)
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
    }
}

/// Serves operators until `stop` is cancelled. Answers that still stream, as the progress of a rebuild, are
/// cut off: the reader sees that, and asks again.
async fn serve<L>(listener: L, api: Router, stop: CancellationToken) -> anyhow::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let serving = axum::serve(listener, api).with_graceful_shutdown(stop.clone().cancelled_owned());
    let cut_off = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        served = serving => served.context("could not serve operators"),
        () = cut_off => Ok(()),
    }
}

/// Time that answers under way may take at a stop.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// More than any command sends.
const BODY_LIMIT: usize = 64 << 10;
/// Interval of polls of work that goes on.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// `names` as a person reads them; a hint where there are none.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        "there are none".into()
    } else {
        format!("there are: {}", names.join(", "))
    }
}

/// A store or the bus did not answer. The client is the operator, so it gets the cause.
fn away(error: &BoxError) -> Problem {
    Problem::new(
        http::StatusCode::SERVICE_UNAVAILABLE,
        "store_unavailable",
        blocks::error::chain(&**error),
    )
}

async fn bus_problem(bus: &dyn EventBus, error: BusError) -> Problem {
    match error {
        BusError::UnknownTopic(topic) => unknown_topic(bus, &topic).await,
        other => away(&other.into()),
    }
}

async fn unknown_topic(bus: &dyn EventBus, topic: &str) -> Problem {
    match bus.topics().await {
        Ok(mut topics) => {
            topics.sort_by(|one, other| one.name.cmp(&other.name));
            let names = topics.iter().map(|topic| topic.name.as_str());
            Problem::not_found(
                "topic_not_found",
                format!("there is no topic {topic:?}; {}", listed(names)),
            )
        }
        Err(error) => away(&error.into()),
    }
}
