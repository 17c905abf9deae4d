//! Making the feed anew from the log.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use blocks::Problem;
use blocks::consumer::ConsumerLoop;
use blocks::metrics::Metrics;
use tokio::time::{Duration, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::view::Progress;
use super::{Admin, Applier, away, ndjson};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Begins, and tells how far it is until it is through. It goes on when nobody listens any more.
pub(super) async fn rebuild(State(admin): State<Admin>) -> Result<Response, Problem> {
    admin.feed.rebuild().await.map_err(|error| away(&error))?;
    let consumer = (admin.applier == Applier::Here).then(|| Running::start(&admin));
    let watch = Watch {
        admin,
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
    admin: Admin,
    consumer: Option<Running>,
    total: i64,
    finished: bool,
}

impl Watch {
    async fn next(&mut self) -> anyhow::Result<Option<Progress>> {
        if self.finished {
            return Ok(None);
        }
        if self.admin.stop.is_cancelled() {
            anyhow::bail!("the server stops; the rebuild goes on when it starts again");
        }
        let progress = self.admin.feed.rebuild_progress().await;
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
    fn start(admin: &Admin) -> Self {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let member = ConsumerLoop::new(
            admin.feed.consumer().clone(),
            Arc::clone(&admin.bus),
            Arc::clone(&admin.clock),
            &Metrics::new(),
        );
        let told = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = member.run(told).await {
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
