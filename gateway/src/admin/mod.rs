//! What an operator can see and do, as an HTTP API of its own.
//!
//! It is not reachable over the network: a running server offers it at the socket `rookery.sock` in
//! its data folder, which only the folder's owner can open; without a server the command line
//! answers itself by the same routes.
//!
//! Lists are JSON; what goes on for a while is a line of JSON each (`ndjson`).

mod accounts;
mod dead_letters;
mod feed;
mod ndjson;
mod outbox;
mod records;
pub mod socket;
mod tail;
mod topics;
pub mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use blocks::bus::{BusError, EventBus};
use blocks::consumer::Consumer;
use blocks::error::BoxError;
use blocks::outbox::InspectOutbox;
use blocks::{AsProblem, Clock, Problem};
use feed_generator::Feed;
use runtime::Embedded;
use tokio_util::sync::CancellationToken;

pub use accounts::Accounts;

use crate::site::Site;

/// Who tries blocked events again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applier {
    /// The consumer loops of this process.
    Loops,
    /// Nobody else: it is done here and now.
    Here,
}

/// The admin API.
#[derive(Clone)]
pub struct Admin {
    pub(crate) accounts: Accounts,
    pub(crate) feed: Feed,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) outboxes: Vec<Arc<dyn InspectOutbox>>,
    pub(crate) applier: Applier,
    pub(crate) stop: CancellationToken,
}

impl Admin {
    /// For `site` over `embedded`; what streams ends when `stop` is cancelled.
    pub fn new(
        site: &Site,
        embedded: &Embedded,
        applier: Applier,
        stop: CancellationToken,
    ) -> Self {
        let services = site.services.iter();
        let mut databases = embedded.databases();
        databases.sort_by_key(|db| {
            services
                .clone()
                .position(|of| of.name == db.settings().service)
        });
        let outboxes = databases.into_iter();
        Self {
            accounts: Accounts::Open(site.auth.clone()),
            feed: site.feed.clone(),
            bus: embedded.bus(),
            clock: Arc::clone(embedded.clock()),
            consumers: services
                .flat_map(|service| service.consumers.clone())
                .collect(),
            outboxes: outboxes.map(|db| Arc::new(db) as _).collect(),
            applier,
            stop,
        }
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/topics", get(topics::list))
            .route("/topics/{topic}/records", get(records::read))
            .route("/outboxes", get(outbox::list))
            .route("/outboxes/republish", post(outbox::republish))
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
            .route("/feed/rebuild", post(feed::rebuild))
            .route("/admins", post(accounts::create_admin))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(self.clone())
    }
}

/// More than any command sends.
const BODY_LIMIT: usize = 64 << 10;
/// How often something that goes on is looked at.
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

/// A store or the bus did not answer. Whoever asks is the operator, so the cause is told.
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

fn refused(error: &impl AsProblem) -> Problem {
    error.problem()
}
