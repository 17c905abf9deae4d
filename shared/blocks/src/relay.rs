//! The relay: publishes what was committed, at least once, and never keeps a request waiting.
//!
//! After each commit the writing side hands its events over in memory. What a crash, an outage or a
//! full channel left behind is read from the outbox: at start, after a failed delivery, and by the
//! sweep, for which one process at a time holds a lease. Two relays may therefore publish the same
//! event, or version 2 before 1: consumers enforce the order.

mod looks;
mod marks;
mod spans;
mod troubles;

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

use self::looks::{Looks, Seen};
use self::marks::Marks;
use self::troubles::{Troubles, Work};

/// What is handed over is published at most so often: the first events after a pause go at once, those
/// of a busy time go together, and every consumer has as few batches to write.
const PACE: Duration = Duration::from_millis(10);
/// Events in one publish.
const BATCH: usize = 500;

/// Stores keep times to the millisecond.
const MOMENT: TimeDelta = TimeDelta::milliseconds(1);

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
    marks: Marks,
    /// When what is handed over may be published next.
    not_before: Instant,
    looks: Looks,
    /// Published from the outbox while the same events lay in the hand-over.
    overtaken: HashSet<Place>,
    backoff: Backoff,
    troubles: Troubles,
    /// A catch-up was broken off: rows older than what is handed over are pending.
    unfinished: bool,
}

/// Rows of the outbox, from the oldest on.
struct Page {
    rows: Vec<Place>,
    /// Those of them that are to be published: not those that were, and only wait for their mark.
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
            marks: Marks::new(Arc::clone(&outbox)),
            troubles: Troubles::new(outbox.service()),
            looks: Looks::new(Arc::clone(&outbox), Arc::clone(&clock)),
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

    /// Publishes until `stop`, then what was handed over by then.
    ///
    /// # Errors
    /// When the hand-over was given to another relay already.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut committed = self
            .outbox
            .committed()
            .ok_or_else(|| anyhow::anyhow!("the outbox has a relay already"))?;
        self.catch_up(&mut committed, &stop).await;
        let mut handed: Vec<Vec<Pending>> = Vec::new();
        loop {
            let look_at = self.looks.due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // These are rare; behind a stream of hand-overs they would never have their turn.
                () = at(look_at) => self.looks.begin(&self.marks),
                seen = self.looks.end() => self.sweep(seen, &mut committed, &stop).await,
                marked = self.marks.step() => { self.marked(marked); }
                count = paced(self.not_before, &mut committed, &mut handed) => {
                    if count == 0 {
                        break;
                    }
                    self.handed_over(&mut handed, &mut committed, &stop).await;
                }
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
        self.not_before = Instant::now() + PACE;
        let behind = self.outbox.fell_behind();
        let mut events: Vec<Pending> = handed.drain(..).flatten().collect();
        if !self.overtaken.is_empty() {
            events.retain(|event| !self.overtaken.remove(&event.place));
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
            let publish = self.bus.publish(&batch);
            let published = match spans::drain(self.outbox.service(), batch.len(), publish).await {
                Ok(()) => batch.len(),
                Err(BusError::Refused { index, reason }) if index < batch.len() => {
                    if !self.set_aside(&events.remove(index), &reason).await {
                        return Outcome::Failed;
                    }
                    index
                }
                Err(error @ BusError::UnknownTopic(_)) => {
                    let Some(index) = events.iter().position(|e| error.is_about(&e.message)) else {
                        self.failed(Work::Publish, &error);
                        return Outcome::Failed;
                    };
                    // Nothing of the batch is known to be accepted: the others are offered again.
                    let reason = error.to_string();
                    if !self.set_aside(&events.remove(index), &reason).await {
                        return Outcome::Failed;
                    }
                    0
                }
                Err(error) => {
                    self.failed(Work::Publish, &error);
                    return Outcome::Failed;
                }
            };
            spans::published(self.outbox.service(), &events[..published]);
            self.troubles.worked(Work::Publish);
            self.backoff.reset();
            self.counted.published(published as u64);
            self.marks.add(&events[..published]);
            events.drain(..published);
            if let Err(error) = self.marks.make_room().await {
                self.failed(Work::Mark, &*error);
            }
        }
        Outcome::Published
    }

    /// Keeps an event that the bus will never take from holding up the others; false when it could not
    /// be noted.
    async fn set_aside(&mut self, event: &Pending, reason: &str) -> bool {
        spans::refused(self.outbox.service(), event, reason);
        match self.outbox.mark_refused(event.place, reason).await {
            Ok(()) => {
                self.troubles.worked(Work::SetAside);
                true
            }
            Err(error) => {
                self.failed(Work::SetAside, &*error);
                false
            }
        }
    }

    fn failed(&mut self, work: Work, error: &(dyn std::error::Error + 'static)) {
        self.counted.failed();
        self.troubles.failed(work, error);
    }

    /// Marks all that was published; false when it could not be done.
    async fn mark_all(&mut self) -> bool {
        let marked = self.marks.all().await;
        self.marked(marked)
    }

    /// What a marking came to. When it failed the rows stay pending.
    fn marked(&mut self, marked: Result<(), BoxError>) -> bool {
        match marked {
            Ok(()) => {
                self.troubles.worked(Work::Mark);
                true
            }
            Err(error) => {
                self.failed(Work::Mark, &*error);
                false
            }
        }
    }

    /// Publishes from the oldest pending row on, until no row is left that was committed without being
    /// handed over. In two rounds, each to where the outbox ended when it began: where others go on writing
    /// an outbox is never empty. During the first what is handed over is dropped, since it is pending, too,
    /// and would only hold memory; the second finds it, and rows that appeared before others that were
    /// there.
    async fn catch_up(
        &mut self,
        committed: &mut mpsc::Receiver<Vec<Pending>>,
        stop: &CancellationToken,
    ) {
        self.unfinished = true;
        while !stop.is_cancelled() {
            if self.round(Some(committed), stop).await && self.round(None, stop).await {
                self.unfinished = false;
                return;
            }
            self.looks.begin(&self.marks);
            let seen = self.looks.end().await;
            self.measured(&seen);
            let again = Instant::now() + self.backoff.pause();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(again.max(self.marks.not_before())) => {}
            }
        }
    }

    /// Publishes and marks what is pending now; where the store hides some, again and again. False when it
    /// was broken off.
    async fn round(
        &mut self,
        mut dropped: Option<&mut mpsc::Receiver<Vec<Pending>>>,
        stop: &CancellationToken,
    ) -> bool {
        let end = self.clock.now() + MOMENT;
        let mut before = HashSet::new();
        loop {
            let Some(seen) = self.pass(end, dropped.as_deref_mut(), stop).await else {
                return false;
            };
            // What is still there after it was marked, and nothing else, is left to the sweep.
            if seen.is_empty() || seen == before {
                return true;
            }
            let marked = self.mark_all().await;
            if !self.outbox.hides_some() {
                return true;
            }
            if !marked {
                return false;
            }
            before = seen;
        }
    }

    /// Publishes what was written before `end`, once from the oldest to the newest, and tells what it saw;
    /// nothing when it was broken off.
    async fn pass(
        &mut self,
        end: DateTime<Utc>,
        mut dropped: Option<&mut mpsc::Receiver<Vec<Pending>>>,
        stop: &CancellationToken,
    ) -> Option<HashSet<Place>> {
        let mut seen = HashSet::new();
        let mut after = Place::START;
        while !stop.is_cancelled() {
            if let Some(committed) = &mut dropped {
                while committed.try_recv().is_ok() {}
                self.outbox.fell_behind();
                self.overtaken.clear();
            }
            let page = match self.pending_page(end, after).await {
                Ok(page) => page,
                Err(error) => {
                    self.failed(Work::Read, &*error);
                    return None;
                }
            };
            self.troubles.worked(Work::Read);
            let Some(last) = page.rows.last() else {
                return Some(seen);
            };
            after = *last;
            let places: Vec<Place> = page.events.iter().map(|event| event.place).collect();
            if matches!(self.publish(page.events).await, Outcome::Failed) {
                return None;
            }
            self.overtaken.extend(places);
            seen.extend(page.rows);
        }
        None
    }

    /// Pending rows that were written `before` then, after the place `after`.
    async fn pending_page(&self, before: DateTime<Utc>, after: Place) -> Result<Page, BoxError> {
        let rows = self.outbox.pending(Some(before), after, BATCH).await?;
        let unmarked = self.marks.places();
        Ok(Page {
            rows: rows.iter().map(|row| row.place).collect(),
            events: rows
                .into_iter()
                .filter(|row| !unmarked.contains(&row.place))
                .collect(),
        })
    }

    /// Looks after what a look found to be left behind, by this process or another.
    async fn sweep(
        &mut self,
        seen: Result<Seen, BoxError>,
        committed: &mut mpsc::Receiver<Vec<Pending>>,
        stop: &CancellationToken,
    ) {
        if committed.is_empty() {
            self.overtaken.clear();
        }
        if self.outbox.fell_behind() {
            self.catch_up(committed, stop).await;
        }
        self.measured(&seen);
        if let Ok(Seen {
            left_behind: Some(before),
            ..
        }) = seen
        {
            match self.sweep_pages(before, stop).await {
                Ok(Outcome::Published) => self.troubles.worked(Work::Sweep),
                Ok(Outcome::Failed) => {}
                Err(error) => self.failed(Work::Sweep, &*error),
            }
        }
    }

    /// Tells the metrics how much waits.
    fn measured(&mut self, seen: &Result<Seen, BoxError>) {
        match seen {
            Ok(seen) => {
                self.troubles.worked(Work::Look);
                let age = seen.oldest.map(|oldest| self.clock.now() - oldest);
                let age = age.and_then(|age| age.to_std().ok()).unwrap_or_default();
                self.metrics
                    .outbox(self.outbox.service(), seen.pending, age);
            }
            Err(error) => self.failed(Work::Look, &**error),
        }
    }

    async fn sweep_pages(
        &mut self,
        left_behind: DateTime<Utc>,
        stop: &CancellationToken,
    ) -> Result<Outcome, BoxError> {
        let mut after = Place::START;
        while !stop.is_cancelled() && self.outbox.lease(self.holder).await?.is_some() {
            let page = self.pending_page(left_behind, after).await?;
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
            if matches!(self.publish(page.events).await, Outcome::Failed) {
                return Ok(Outcome::Failed);
            }
            // Others would take them for left behind, too.
            self.marks.soon();
        }
        Ok(Outcome::Published)
    }

    /// Publishes and marks what was handed over before the stop. One attempt: the rest is in the
    /// outbox for the next start.
    async fn last_words(&mut self, committed: &mut mpsc::Receiver<Vec<Pending>>) {
        let mut events = Vec::new();
        while let Ok(more) = committed.try_recv() {
            events.extend(more);
        }
        events.retain(|event| !self.overtaken.remove(&event.place));
        // What is left of a catch-up comes before these: the next start publishes all in order.
        if !self.unfinished {
            self.publish(events).await;
        }
        self.mark_all().await;
    }
}

/// What was handed over, not before it is time; 0 when nothing will be any more.
async fn paced(
    not_before: Instant,
    committed: &mut mpsc::Receiver<Vec<Pending>>,
    handed: &mut Vec<Vec<Pending>>,
) -> usize {
    tokio::time::sleep_until(not_before).await;
    committed.recv_many(handed, BATCH).await
}
