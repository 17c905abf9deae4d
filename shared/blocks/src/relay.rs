//! The relay: publishes committed events, at least once, and never keeps a request waiting.
//!
//! After each commit the writing side hands its events over in memory. Events that a crash, an outage or a
//! full channel left behind are read from the outbox: at start, after a failed delivery, and by the sweep.
//! One process at a time holds the lease of the sweep. Two relays may therefore publish the same event, or
//! version 2 before 1: consumers enforce the order.

mod acknowledge;
mod failures;
mod poll;
mod spans;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Clock;
use crate::backoff::{Backoff, at};
use crate::bus::{BusError, EventBus};
use crate::error::BoxError;
use crate::metrics::{Metrics, RelayMetrics};
use crate::outbox::{Outbox, Pending, Place};

use self::acknowledge::Acknowledgements;
use self::failures::{ACKNOWLEDGE, Failures, Operation, POLL, PUBLISH, READ, SET_ASIDE, SWEEP};
use self::poll::{Backlog, Poller};

/// Shortest pause between two publishes of the hand-over. The first events after a pause go at once. Those
/// of a busy time go together, so that every consumer has fewer batches to write.
const PACE: Duration = Duration::from_millis(10);
/// Events in one publish.
const BATCH: usize = 500;

/// Stores keep times to the millisecond.
const MOMENT: TimeDelta = TimeDelta::milliseconds(1);

/// The work ended early: by a failure, which is logged, or by a stop.
struct Interrupted;

/// Publishes one service's outbox.
pub struct Relay {
    outbox: Arc<dyn Outbox>,
    bus: Arc<dyn EventBus>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    counted: RelayMetrics,
    holder: Uuid,
    acknowledgements: Acknowledgements,
    /// Earliest time of the next publish of the hand-over.
    not_before: Instant,
    poller: Poller,
    /// Published from the outbox while the same events lay in the hand-over.
    overtaken: HashSet<Place>,
    backoff: Backoff,
    failures: Failures,
    /// True after an interrupted catch-up: rows older than those in the hand-over are pending.
    unfinished: bool,
}

/// Rows of the outbox, from the oldest on.
struct Page {
    rows: Vec<Place>,
    /// The events to publish among them. The others are published and wait for their acknowledgement.
    events: Vec<Pending>,
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
            acknowledgements: Acknowledgements::new(Arc::clone(&outbox)),
            failures: Failures::new(outbox.service()),
            poller: Poller::new(Arc::clone(&outbox), Arc::clone(&clock)),
            outbox,
            bus,
            clock,
            metrics,
            holder,
            not_before: Instant::now(),
            overtaken: HashSet::new(),
            backoff: Backoff::default(),
            unfinished: false,
        }
    }

    /// Publishes until `stop`, and then the events that the hand-over still has.
    ///
    /// # Errors
    /// When another relay has the hand-over already.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut committed = self
            .outbox
            .committed()
            .ok_or_else(|| anyhow::anyhow!("the outbox has a relay already"))?;
        self.catch_up(&mut committed, &stop).await;
        let mut handed: Vec<Vec<Pending>> = Vec::new();
        loop {
            let poll_at = self.poller.due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // These are rare; behind a stream of hand-overs they would never have their turn.
                () = at(poll_at) => self.poller.start(&self.acknowledgements),
                polled = self.poller.result() => self.sweep(polled, &mut committed, &stop).await,
                done = self.acknowledgements.step() => drop(self.outcome(&ACKNOWLEDGE, done)),
                count = paced(self.not_before, &mut committed, &mut handed) => {
                    if count == 0 {
                        break;
                    }
                    self.publish_handed_over(&mut handed, &mut committed, &stop).await;
                }
            }
        }
        self.finish(&mut committed).await;
        Ok(())
    }

    async fn publish_handed_over(
        &mut self,
        handed: &mut Vec<Vec<Pending>>,
        committed: &mut mpsc::Receiver<Vec<Pending>>,
        stop: &CancellationToken,
    ) {
        self.not_before = Instant::now() + PACE;
        let behind = self.outbox.fell_behind();
        let mut events: Vec<Pending> = handed.drain(..).flatten().collect();
        if !self.overtaken.is_empty() {
            events.retain(|event| !self.overtaken.remove(&event.place));
        }
        // Events were dropped after these: they are in the outbox, these come first.
        if self.publish(events).await.is_err() || behind {
            self.catch_up(committed, stop).await;
        }
    }

    /// Publishes `events` in order. A refused one is set aside and the others go on.
    async fn publish(&mut self, mut events: Vec<Pending>) -> Result<(), Interrupted> {
        while !events.is_empty() {
            let next = events.iter().take(BATCH);
            let batch: Vec<_> = next.map(|event| event.message.clone()).collect();
            let publish = self.bus.publish(&batch);
            let published = match spans::drain(self.outbox.service(), batch.len(), publish).await {
                Ok(()) => batch.len(),
                Err(BusError::Refused { index, reason }) if index < batch.len() => {
                    self.set_aside(&events.remove(index), &reason).await?;
                    index
                }
                Err(error) => {
                    let Some(index) = events.iter().position(|e| error.is_about(&e.message)) else {
                        return Err(self.failed(&PUBLISH, &error));
                    };
                    // Nothing of the batch is known to be accepted: the others are offered again.
                    let reason = error.to_string();
                    self.set_aside(&events.remove(index), &reason).await?;
                    0
                }
            };
            spans::published(self.outbox.service(), &events[..published]);
            self.failures.end(&PUBLISH);
            self.backoff.reset();
            self.counted.published(published as u64);
            self.acknowledgements.add(&events[..published]);
            events.drain(..published);
            if let Err(error) = self.acknowledgements.make_room().await {
                self.failed(&ACKNOWLEDGE, &*error);
            }
        }
        Ok(())
    }

    /// Keeps an event that the bus will never take from holding up the others.
    async fn set_aside(&mut self, event: &Pending, reason: &str) -> Result<(), Interrupted> {
        spans::refused(self.outbox.service(), event, reason);
        let done = self.outbox.mark_refused(event.place, reason).await;
        self.outcome(&SET_ASIDE, done)
    }

    /// Notes the outcome of `operation`.
    fn outcome<T>(
        &mut self,
        operation: &Operation,
        done: Result<T, BoxError>,
    ) -> Result<T, Interrupted> {
        match done {
            Ok(done) => {
                self.failures.end(operation);
                Ok(done)
            }
            Err(error) => Err(self.failed(operation, &*error)),
        }
    }

    fn failed(
        &mut self,
        operation: &Operation,
        error: &(dyn std::error::Error + 'static),
    ) -> Interrupted {
        self.counted.failed();
        self.failures.add(operation, error);
        Interrupted
    }

    /// Publishes from the oldest pending row on, until every row that missed the hand-over is published.
    ///
    /// It takes two rounds, each up to the end that the outbox had at its start: while others write, an
    /// outbox is never empty. The first round drops the hand-over, whose events are pending too and would
    /// only hold memory. The second finds these, and rows that appeared before others that were there.
    async fn catch_up(
        &mut self,
        committed: &mut mpsc::Receiver<Vec<Pending>>,
        stop: &CancellationToken,
    ) {
        self.unfinished = true;
        while !stop.is_cancelled() {
            if self.round(Some(committed), stop).await.is_ok()
                && self.round(None, stop).await.is_ok()
            {
                self.unfinished = false;
                return;
            }
            self.poller.start(&self.acknowledgements);
            let polled = self.poller.result().await;
            self.measure(polled);
            let again = Instant::now() + self.backoff.pause();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(again.max(self.acknowledgements.not_before())) => {}
            }
        }
    }

    /// Publishes and acknowledges the rows that are pending now; where the store hides some, again and
    /// again. Drops the hand-over `dropped` meanwhile.
    async fn round(
        &mut self,
        mut dropped: Option<&mut mpsc::Receiver<Vec<Pending>>>,
        stop: &CancellationToken,
    ) -> Result<(), Interrupted> {
        let end = self.clock.now() + MOMENT;
        let mut before = HashSet::new();
        loop {
            let seen = self.pass(end, dropped.as_deref_mut(), stop).await?;
            // If acknowledged rows alone are still there, they are left to the sweep.
            if seen.is_empty() || seen == before {
                return Ok(());
            }
            let done = self.acknowledgements.all().await;
            let acknowledged = self.outcome(&ACKNOWLEDGE, done);
            if !self.outbox.hides_some() {
                return Ok(());
            }
            acknowledged?;
            before = seen;
        }
    }

    /// Publishes the rows written before `end`, once from the oldest to the newest. Returns their places.
    async fn pass(
        &mut self,
        end: DateTime<Utc>,
        mut dropped: Option<&mut mpsc::Receiver<Vec<Pending>>>,
        stop: &CancellationToken,
    ) -> Result<HashSet<Place>, Interrupted> {
        let mut seen = HashSet::new();
        let mut after = Place::START;
        while !stop.is_cancelled() {
            if let Some(committed) = &mut dropped {
                while committed.try_recv().is_ok() {}
                self.outbox.fell_behind();
                self.overtaken.clear();
            }
            let page = self.pending_page(end, after).await;
            let page = self.outcome(&READ, page)?;
            let Some(last) = page.rows.last() else {
                return Ok(seen);
            };
            after = *last;
            let places: Vec<Place> = page.events.iter().map(|event| event.place).collect();
            self.publish(page.events).await?;
            self.overtaken.extend(places);
            seen.extend(page.rows);
        }
        Err(Interrupted)
    }

    /// Pending rows that were written before `before`, after the place `after`.
    async fn pending_page(&self, before: DateTime<Utc>, after: Place) -> Result<Page, BoxError> {
        let rows = self.outbox.pending(Some(before), after, BATCH).await?;
        let waiting = self.acknowledgements.places();
        Ok(Page {
            rows: rows.iter().map(|row| row.place).collect(),
            events: rows
                .into_iter()
                .filter(|row| !waiting.contains(&row.place))
                .collect(),
        })
    }

    /// Publishes the events that a poll found to be left behind, by this process or another.
    async fn sweep(
        &mut self,
        polled: Result<Backlog, BoxError>,
        committed: &mut mpsc::Receiver<Vec<Pending>>,
        stop: &CancellationToken,
    ) {
        if committed.is_empty() {
            self.overtaken.clear();
        }
        if self.outbox.fell_behind() {
            self.catch_up(committed, stop).await;
        }
        if let Some(before) = self.measure(polled)
            && let Ok(()) = self.sweep_pages(before, stop).await
        {
            self.failures.end(&SWEEP);
        }
    }

    /// Gives the result of a poll to the metrics. Returns the time before which events were left behind.
    fn measure(&mut self, polled: Result<Backlog, BoxError>) -> Option<DateTime<Utc>> {
        let backlog = self.outcome(&POLL, polled).ok()?;
        let age = backlog.oldest.map(|oldest| self.clock.now() - oldest);
        let age = age.and_then(|age| age.to_std().ok()).unwrap_or_default();
        let service = self.outbox.service();
        self.metrics.outbox(service, backlog.pending, age);
        backlog.left_behind
    }

    async fn sweep_pages(
        &mut self,
        left_behind: DateTime<Utc>,
        stop: &CancellationToken,
    ) -> Result<(), Interrupted> {
        let mut after = Place::START;
        while !stop.is_cancelled() {
            let lease = self.outbox.lease(self.holder).await;
            if lease
                .map_err(|error| self.failed(&SWEEP, &*error))?
                .is_none()
            {
                break;
            }
            let page = self.pending_page(left_behind, after).await;
            let page = page.map_err(|error| self.failed(&SWEEP, &*error))?;
            let Some(last) = page.rows.last() else {
                break;
            };
            after = *last;
            if page.events.is_empty() {
                continue;
            }
            tracing::info!(
                service = self.outbox.service(),
                events = page.events.len(),
                "publishing events that were left behind"
            );
            self.publish(page.events).await?;
            // Other sweepers would take them for left behind, too.
            self.acknowledgements.soon();
        }
        Ok(())
    }

    /// Publishes and acknowledges the rest of the hand-over at a stop. It is one attempt: the next start
    /// reads the remainder from the outbox.
    async fn finish(&mut self, committed: &mut mpsc::Receiver<Vec<Pending>>) {
        if self.outbox.ends_with_the_process() {
            return drop(self.finish_for_good().await);
        }
        let mut events = Vec::new();
        while let Ok(more) = committed.try_recv() {
            events.extend(more);
        }
        events.retain(|event| !self.overtaken.remove(&event.place));
        // The rows of an interrupted catch-up come before these: the next start publishes all in order.
        if !self.unfinished {
            drop(self.publish(events).await);
        }
        let done = self.acknowledgements.all().await;
        drop(self.outcome(&ACKNOWLEDGE, done));
    }

    /// Publishes all that is pending, as long as the bus takes it.
    async fn finish_for_good(&mut self) -> Result<(), Interrupted> {
        loop {
            let done = self.acknowledgements.all().await;
            self.outcome(&ACKNOWLEDGE, done)?;
            let events = self.outbox.pending(None, Place::START, BATCH).await;
            let events = self.outcome(&READ, events)?;
            if events.is_empty() {
                return Ok(());
            }
            self.publish(events).await?;
        }
    }
}

/// Receives from the hand-over, not before `not_before`; 0 when it is closed.
async fn paced(
    not_before: Instant,
    committed: &mut mpsc::Receiver<Vec<Pending>>,
    handed: &mut Vec<Vec<Pending>>,
) -> usize {
    tokio::time::sleep_until(not_before).await;
    committed.recv_many(handed, BATCH).await
}
