//! The relay: publishes what was committed, at least once, and never keeps a request waiting.
//!
//! After each commit the writing side hands its events over in memory. What a crash, an outage or a
//! full channel left behind is read from the outbox: at start, after a failed delivery, and by the
//! sweep, for which one process at a time holds a lease. Two relays may therefore publish the same
//! event, or version 2 before 1: consumers enforce the order.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Clock;
use crate::backoff::Backoff;
use crate::bus::{BusError, EventBus};
use crate::error::{BoxError, chain};
use crate::metrics::{Metrics, RelayMetrics};
use crate::outbox::{Outbox, Pending};

/// Events in one publish.
const BATCH: usize = 500;
/// Published rows are marked together, at the latest after this time.
const MARK_AFTER: Duration = Duration::from_millis(250);
/// So many are marked at once.
const MARK_AT: usize = 2000;
/// How often the outbox is looked at for what was left behind.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// What is pending for longer was left behind, in ms.
const LEFT_BEHIND_MS: i64 = 2_000;

/// What a publish came to.
enum Outcome {
    Published,
    /// The bus is away: nothing more can be said of the batch.
    Failed,
}

/// Publishes one service's outbox.
pub struct Relay {
    outbox: Arc<dyn Outbox>,
    bus: Arc<dyn EventBus>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    counted: RelayMetrics,
    holder: Uuid,
    /// Published, not yet marked.
    unmarked: Vec<i64>,
    mark_by: Option<Instant>,
    /// Published from the outbox while the same events lay in the hand-over.
    overtaken: HashSet<i64>,
    backoff: Backoff,
}

impl Relay {
    /// A relay for `outbox`.
    pub fn new(
        outbox: Arc<dyn Outbox>,
        bus: Arc<dyn EventBus>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let holder = clock.id();
        let counted = metrics.relay(outbox.service());
        Self {
            counted,
            outbox,
            bus,
            clock,
            metrics,
            holder,
            unmarked: Vec::new(),
            mark_by: None,
            overtaken: HashSet::new(),
            backoff: Backoff::default(),
        }
    }

    /// Publishes until `stop`, then what was handed over by then.
    ///
    /// # Errors
    /// When the hand-over was given to another relay already.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut committed = self
            .outbox
            .committed()
            .ok_or_else(|| anyhow::anyhow!("the outbox has a relay already"))?;
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.catch_up(&mut committed, &stop).await;
        let mut handed: Vec<Vec<Pending>> = Vec::new();
        loop {
            let mark_by = self.mark_by;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                count = committed.recv_many(&mut handed, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    self.handed_over(&mut handed, &mut committed, &stop).await;
                }
                () = until(mark_by) => self.mark().await,
                _ = sweep.tick() => self.sweep(&mut committed, &stop).await,
            }
        }
        self.last_words(&mut committed).await;
        Ok(())
    }

    /// Publishes what commits handed over.
    async fn handed_over(
        &mut self,
        handed: &mut Vec<Vec<Pending>>,
        committed: &mut mpsc::Receiver<Vec<Pending>>,
        stop: &CancellationToken,
    ) {
        let behind = self.outbox.fell_behind();
        let mut events: Vec<Pending> = handed.drain(..).flatten().collect();
        if !self.overtaken.is_empty() {
            events.retain(|event| !self.overtaken.remove(&event.id));
        }
        // Events were dropped after these: they are in the outbox, these come first.
        if matches!(self.publish(events).await, Outcome::Failed) || behind {
            self.catch_up(committed, stop).await;
        }
    }

    /// Publishes `events` in order. A refused one is set aside and the others go on.
    async fn publish(&mut self, mut events: Vec<Pending>) -> Outcome {
        while !events.is_empty() {
            let batch: Vec<_> = events
                .iter()
                .take(BATCH)
                .map(|e| e.message.clone())
                .collect();
            let published = match self.bus.publish(&batch).await {
                Ok(()) => batch.len(),
                Err(BusError::Refused { index, reason }) if index < batch.len() => {
                    let refused = events[index].id;
                    tracing::error!(
                        service = self.outbox.service(), outbox.position = refused, %reason,
                        "the bus refused an event: its row is kept as `refused`"
                    );
                    if let Err(error) = self.outbox.mark_refused(refused, &reason).await {
                        self.failed("could not set a refused event aside", &*error);
                        return Outcome::Failed;
                    }
                    events.remove(index);
                    index
                }
                Err(error) => {
                    self.failed("could not publish, events stay in the outbox", &error);
                    return Outcome::Failed;
                }
            };
            if self.backoff.failures() > 0 {
                tracing::info!(service = self.outbox.service(), "publishing works again");
            }
            self.backoff.reset();
            self.counted.published(published as u64);
            self.unmarked
                .extend(events.drain(..published).map(|event| event.id));
            self.mark_by
                .get_or_insert_with(|| Instant::now() + MARK_AFTER);
            if self.unmarked.len() >= MARK_AT {
                self.mark().await;
            }
        }
        Outcome::Published
    }

    fn failed(&mut self, what: &'static str, error: &(dyn std::error::Error + 'static)) {
        self.counted.failed();
        // Once a fault, not once an attempt.
        if self.backoff.failures() == 0 {
            tracing::warn!(service = self.outbox.service(), error = %chain(error), "{what}");
        }
    }

    /// Marks what was published. When that fails the rows stay pending and are published again.
    async fn mark(&mut self) {
        self.mark_by = None;
        if self.unmarked.is_empty() {
            return;
        }
        match self.outbox.mark_published(&self.unmarked).await {
            Ok(()) => self.unmarked.clear(),
            Err(error) => {
                self.failed("could not mark events as published", &*error);
                self.mark_by = Some(Instant::now() + self.backoff.pause());
            }
        }
    }

    /// Publishes from the oldest pending row on, until none is left.
    async fn catch_up(
        &mut self,
        committed: &mut mpsc::Receiver<Vec<Pending>>,
        stop: &CancellationToken,
    ) {
        loop {
            // What lies in the hand-over is pending, too; it would only hold memory.
            while committed.try_recv().is_ok() {}
            self.outbox.fell_behind();
            match self.pending_page(TimeDelta::days(1)).await {
                Ok(page) if page.is_empty() => return,
                Ok(page) => {
                    let ids: Vec<i64> = page.iter().map(|event| event.id).collect();
                    if matches!(self.publish(page).await, Outcome::Published) {
                        self.overtaken.extend(ids);
                        self.mark().await;
                        if self.unmarked.is_empty() {
                            continue;
                        }
                    }
                }
                Err(error) => self.failed("could not read the outbox", &*error),
            }
            let pause = self.backoff.pause();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Pending rows up to `ahead` from now (a negative span: older than that), without those that
    /// were published and only wait for their mark.
    async fn pending_page(&self, ahead: TimeDelta) -> Result<Vec<Pending>, BoxError> {
        let page = self.outbox.pending(self.clock.now() + ahead, BATCH).await?;
        let unmarked: HashSet<i64> = self.unmarked.iter().copied().collect();
        Ok(page
            .into_iter()
            .filter(|event| !unmarked.contains(&event.id))
            .collect())
    }

    /// Looks after what was left behind, by this process or another.
    async fn sweep(
        &mut self,
        committed: &mut mpsc::Receiver<Vec<Pending>>,
        stop: &CancellationToken,
    ) {
        if committed.is_empty() {
            self.overtaken.clear();
        }
        if self.outbox.fell_behind() {
            self.catch_up(committed, stop).await;
        }
        let left_behind = self.clock.now() - TimeDelta::milliseconds(LEFT_BEHIND_MS);
        match self.outbox.depth().await {
            Ok(depth) => {
                let age = depth
                    .oldest
                    .map(|oldest| self.clock.now() - oldest)
                    .unwrap_or_default();
                let age = age.to_std().unwrap_or_default();
                self.metrics
                    .outbox(self.outbox.service(), depth.pending, age);
                if depth.oldest.is_none_or(|oldest| oldest >= left_behind) {
                    return;
                }
            }
            Err(error) => return self.failed("could not look at the outbox", &*error),
        }
        if let Err(error) = self.sweep_pages(stop).await {
            self.failed("could not sweep the outbox", &*error);
        }
    }

    async fn sweep_pages(&mut self, stop: &CancellationToken) -> Result<(), BoxError> {
        self.mark().await;
        while !stop.is_cancelled() && self.outbox.lease(self.holder).await?.is_some() {
            let page = self
                .pending_page(TimeDelta::milliseconds(-LEFT_BEHIND_MS))
                .await?;
            if page.is_empty() {
                return Ok(());
            }
            tracing::info!(
                service = self.outbox.service(),
                events = page.len(),
                "publishing events that were left behind"
            );
            if matches!(self.publish(page).await, Outcome::Failed) {
                return Ok(());
            }
            self.mark().await;
        }
        Ok(())
    }

    /// Publishes and marks what was handed over before the stop. One attempt: the rest is in the
    /// outbox for the next start.
    async fn last_words(&mut self, committed: &mut mpsc::Receiver<Vec<Pending>>) {
        let mut events = Vec::new();
        while let Ok(more) = committed.try_recv() {
            events.extend(more);
        }
        events.retain(|event| !self.overtaken.remove(&event.id));
        self.publish(events).await;
        self.mark().await;
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
