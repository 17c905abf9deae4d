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
mod groups;
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
use async_trait::async_trait;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::Listener;
use blocks::bus::{BusError, EventBus};
use blocks::consumer::Consumer;
use blocks::error::{BoxError, chain};
use blocks::outbox::InspectOutbox;
use blocks::service::Background;
use blocks::{Clock, Problem};
use http::StatusCode;
use parking_lot::Mutex;
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
            .route("/groups", get(groups::list))
            .route("/groups/{group}/reset", post(groups::reset))
            .route("/dead-letters", get(dead_letters::list))
            .route("/dead-letters/replay", post(dead_letters::replay_all))
            .route("/dead-letters/{group}/{id}", get(dead_letters::show))
            .route("/dead-letters/{group}/{id}/{what}", post(dead_letters::act))
            .with_state(operator)
            .merge(own)
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
    }
}

/// The operators' API at a listener. Connections wait until it runs.
struct Listening<L> {
    name: &'static str,
    listener: Mutex<Option<L>>,
    api: Router,
}

impl<L> Listening<L> {
    fn on(listener: L, name: &'static str, api: Router) -> Arc<Self> {
        let listener = Mutex::new(Some(listener));
        Arc::new(Self {
            name,
            listener,
            api,
        })
    }
}

#[async_trait]
impl<L> Background for Listening<L>
where
    L: Listener + Sync,
    L::Addr: std::fmt::Debug,
{
    fn name(&self) -> &'static str {
        self.name
    }

    /// At a stop, answers that still stream, as the progress of a rebuild, are cut off: the reader sees that,
    /// and asks again.
    async fn run(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let listener = self.listener.lock().take().context("it runs already")?;
        let serving = axum::serve(listener, self.api.clone());
        let serving = serving.with_graceful_shutdown(stop.clone().cancelled_owned());
        let cut_off = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            served = serving => served.context("could not serve operators"),
            () = cut_off => Ok(()),
        }
    }
}

/// Time that answers under way may take at a stop.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// More than any command sends.
const BODY_LIMIT: usize = 64 << 10;
/// Interval of polls of work that goes on.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The reason why an operator gets no answer, with its cause: the reader can do something about it.
struct Failed(Problem);

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

/// A store or the bus did not answer.
impl From<BoxError> for Failed {
    fn from(error: BoxError) -> Self {
        let (status, why) = (StatusCode::SERVICE_UNAVAILABLE, chain(&*error));
        Self(Problem::new(status, "store_unavailable", why))
    }
}

impl From<BusError> for Failed {
    fn from(error: BusError) -> Self {
        BoxError::from(error).into()
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

/// Nothing has the name that was given; the names that there are, for another try.
fn unknown<'a>(code: &'static str, what: &str, names: impl IntoIterator<Item = &'a str>) -> Failed {
    let names: Vec<&str> = names.into_iter().collect();
    let known = match names[..] {
        [] => "there are none".to_owned(),
        _ => format!("there are: {}", names.join(", ")),
    };
    Failed(Problem::not_found(code, format!("{what}; {known}")))
}
