//! The operators' routes of the feed: a rebuild from the log.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use blocks::consumer::ConsumerLoop;
use blocks::error::{BoxError, chain};
use blocks::metrics::Metrics;
use blocks::{Clock, Problem, ndjson};
use serde::{Deserialize, Serialize};
use service::{Place, Role};
use tokio::time::{Duration, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::Feed;

/// Interval between two lines of progress.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// The progress of a rebuild: a line of the answer to `POST /rebuild`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Records of the log that were read.
    pub done: i64,
    /// Records of the log to read in all.
    pub total: i64,
    /// True once readers see the outcome.
    pub finished: bool,
}

#[derive(Clone)]
struct Operator {
    feed: Feed,
    clock: Arc<dyn Clock>,
    /// True if no server runs the consumer: then it runs here for the rebuild.
    stands_in: bool,
}

pub(crate) fn router(feed: &Feed, on: &dyn Place) -> Router {
    Router::new()
        .route("/rebuild", post(rebuild))
        .with_state(Operator {
            feed: feed.clone(),
            clock: Arc::clone(on.clock()),
            stands_in: on.role() == Role::StandsIn,
        })
}

/// Shows the cause, since only operators get the answer.
fn unavailable(error: &BoxError) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "store_unavailable",
        chain(&**error),
    )
}

/// Begins a rebuild and streams its progress. It goes on when nobody listens any more.
async fn rebuild(State(operator): State<Operator>) -> Result<Response, Problem> {
    operator
        .feed
        .rebuild()
        .await
        .map_err(|error| unavailable(&error))?;
    let consumer = operator.stands_in.then(|| Running::start(&operator));
    let watch = Watch {
        feed: operator.feed,
        consumer,
        total: 0,
        finished: false,
    };
    Ok(ndjson::answer(futures::stream::try_unfold(
        watch,
        |mut watch| async move { Ok(watch.next().await?.map(|progress| (vec![progress], watch))) },
    )))
}

struct Watch {
    feed: Feed,
    consumer: Option<Running>,
    total: i64,
    finished: bool,
}

impl Watch {
    async fn next(&mut self) -> anyhow::Result<Option<Progress>> {
        if self.finished {
            return Ok(None);
        }
        let progress = self.feed.rebuild_progress().await;
        let progress = progress.map_err(|error| anyhow::anyhow!(error))?;
        if let Some(progress) = progress {
            self.total = progress.total;
            sleep(TELL_EVERY).await;
            return Ok(Some(Progress {
                done: progress.done,
                total: progress.total,
                finished: false,
            }));
        }
        self.finished = true;
        if let Some(consumer) = self.consumer.take() {
            consumer.end().await;
        }
        Ok(Some(Progress {
            done: self.total,
            total: self.total,
            finished: true,
        }))
    }
}

/// The feed's consumer, where no server runs it.
struct Running {
    tasks: TaskTracker,
    stop: DropGuard,
}

impl Running {
    fn start(operator: &Operator) -> Self {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let member = ConsumerLoop::new(
            operator.feed.consumer().clone(),
            Arc::clone(&operator.feed.inner.bus),
            Arc::clone(&operator.clock),
            &Metrics::new(),
        );
        let stopped = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = member.run(stopped).await {
                tracing::error!(error = format!("{error:#}"), "the feed's consumer failed");
            }
        });
        Self {
            tasks,
            stop: stop.drop_guard(),
        }
    }

    async fn end(self) {
        drop(self.stop);
        self.tasks.close();
        self.tasks.wait().await;
    }
}
