//! The loop of a consumer group's member: records in, one write a batch, retries when they are due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use events::Cleanup;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Applied, ApplyError, Consumer, ConsumerStore, GAP_LISTED_MS, spans};
use crate::Clock;
use crate::backoff::{Backoff, at};
use crate::bus::{
    BusError, EventBus, Positions, Record, Subscription, TopicPartition, next_offsets,
};
use crate::error::{BoxError, chain};
use crate::metrics::{ConsumerMetrics, Freshness, Metrics};

/// Interval at which the lag is measured and reported to the bus while records come.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Interval of polls for keys that wait: for a missing version, an operator, or another member.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A member that waits for records for so long without an error works.
const WORKS_AFTER: Duration = Duration::from_secs(1);

/// The measured state of a consumer group's member.
#[derive(Debug, Default)]
pub struct ConsumerStatus {
    active: AtomicBool,
    lag: AtomicI64,
    /// From when an event happened to the commit of its effect.
    pub freshness: Freshness,
}

impl ConsumerStatus {
    /// True if it is joined to its group and its last attempt at anything succeeded.
    pub fn active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Records not yet taken in, when last measured.
    pub fn lag(&self) -> i64 {
        self.lag.load(Ordering::Relaxed)
    }
}

/// True if a topic keeps only the last record of each key.
fn is_compacted(topic: &str) -> bool {
    events::topic_named(topic).is_some_and(|of| matches!(of.cleanup, Cleanup::Compact { .. }))
}

/// Records of `topic` that the group of `store` has not taken in.
///
/// # Errors
/// When bus or store can't be reached.
pub async fn lag(
    bus: &dyn EventBus,
    store: &dyn ConsumerStore,
    topic: &str,
) -> Result<i64, BoxError> {
    let next = store.stored_positions(topic).await?;
    let mut lag = 0;
    for (partition, watermark) in (0_i32..).zip(bus.watermarks(topic).await?) {
        let at = next.get(&partition).copied().unwrap_or(watermark.oldest);
        // An offset beyond the end belongs to a log that was replaced.
        lag += (watermark.next - at.max(watermark.oldest)).max(0);
    }
    Ok(lag)
}

/// A member of a consumer group, until it is stopped.
pub struct ConsumerLoop {
    consumer: Consumer,
    bus: Arc<dyn EventBus>,
    clock: Arc<dyn Clock>,
    metrics: ConsumerMetrics,
    backoff: Backoff,
    retry_at: Option<Instant>,
    /// Time of the next check for gaps.
    look_at: Option<Instant>,
    /// Start of the time in which every poll found nothing to read.
    caught_up_since: Option<Instant>,
    /// The last batch found the store elsewhere than believed.
    moved: bool,
    next: BTreeMap<TopicPartition, i64>,
    /// The offsets that this member has stored, since it last asked where to begin.
    stored: BTreeMap<TopicPartition, i64>,
    reported: Option<Instant>,
}

impl ConsumerLoop {
    /// A member for `consumer`'s group.
    pub fn new(
        consumer: Consumer,
        bus: Arc<dyn EventBus>,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Self {
        let metrics = metrics.consumer(consumer.group);
        Self {
            consumer,
            bus,
            clock,
            metrics,
            backoff: Backoff::default(),
            retry_at: None,
            look_at: None,
            caught_up_since: None,
            moved: false,
            next: BTreeMap::new(),
            stored: BTreeMap::new(),
            reported: None,
        }
    }

    /// Consumes until `stop`; a batch in progress is finished.
    ///
    /// # Errors
    /// When a topic it reads does not exist.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let Some(mut subscription) = self.join(&stop).await? else {
            return Ok(());
        };
        let store = Arc::clone(&self.consumer.store);
        self.plan().await;
        self.report(&mut *subscription).await;
        while !stop.is_cancelled() {
            let (retry_at, look_at) = (self.retry_at, self.look_at);
            let report_at = self.reported.filter(|_| !self.next.is_empty());
            // A wait for records that does not fail for a while has come back to work.
            let works_at = (!self.consumer.status.active()).then(|| Instant::now() + WORKS_AFTER);
            // In no fixed order: retries must not starve records, nor the other way round.
            tokio::select! {
                () = stop.cancelled() => break,
                () = store.due().notified() => {
                    // An operator's word: a replay, a discard, or a reset to the start.
                    self.retry(&mut *subscription, &stop).await;
                    self.rewind(&mut *subscription, &stop).await;
                }
                () = at(retry_at) => self.retry(&mut *subscription, &stop).await,
                () = at(look_at) => {
                    self.report(&mut *subscription).await;
                    self.plan().await;
                    if self.is_behind().await {
                        self.rewind(&mut *subscription, &stop).await;
                    }
                }
                () = at(report_at) => self.report(&mut *subscription).await,
                () = at(works_at) => self.works(),
                records = subscription.next(store.most_at_once()) => match records {
                    Ok(records) => self.take_in(&mut *subscription, &records, &stop).await,
                    Err(error) => {
                        self.pause("could not read from the bus", &error, &stop).await;
                    }
                },
            }
        }
        self.report(&mut *subscription).await;
        self.consumer.status.active.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn join(
        &mut self,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Box<dyn Subscription>>> {
        let consumer = self.consumer.clone();
        while !stop.is_cancelled() {
            let positions = Arc::clone(&consumer.store) as Arc<dyn Positions>;
            match self
                .bus
                .subscribe(consumer.group, &consumer.topics, positions)
                .await
            {
                Ok(subscription) => {
                    self.works();
                    return Ok(Some(subscription));
                }
                Err(error @ BusError::UnknownTopic(_)) => return Err(error.into()),
                Err(error) => {
                    self.pause("could not join the consumer group", &error, stop)
                        .await;
                }
            }
        }
        Ok(None)
    }

    /// Applies a batch, for as long as it takes: records that are good are never given up because
    /// the store is away.
    async fn take_in(
        &mut self,
        subscription: &mut dyn Subscription,
        records: &[Record],
        stop: &CancellationToken,
    ) {
        while !stop.is_cancelled() {
            let span = spans::batch(self.consumer.group, records);
            match self.consumer.store.apply(records).instrument(span).await {
                Ok(applied) => {
                    spans::taken_in(self.consumer.group, records);
                    self.moved = false;
                    let next = next_offsets(records);
                    self.stored.extend(next.clone());
                    self.next.extend(next);
                    self.applied(applied).await;
                    if self.reported.is_none_or(|at| Instant::now() >= at) {
                        self.report(subscription).await;
                    }
                    return;
                }
                Err(error @ ApplyError::Moved) => {
                    tracing::info!(
                        group = self.consumer.group,
                        "{error}: reading again from there"
                    );
                    if std::mem::replace(&mut self.moved, true) {
                        // It happens once; a store that goes on moving must not be chased.
                        self.pause("could not follow the store", &error, stop).await;
                    }
                    return self.rewind(subscription, stop).await;
                }
                Err(error) => self.pause("could not apply a batch", &error, stop).await,
            }
        }
    }

    async fn retry(&mut self, subscription: &mut dyn Subscription, stop: &CancellationToken) {
        match self.consumer.store.retry_due().await {
            Ok(applied) => self.applied(applied).await,
            Err(ApplyError::Moved) => self.rewind(subscription, stop).await,
            Err(error) => self.pause("could not retry", &error, stop).await,
        }
        self.plan().await;
    }

    async fn rewind(&mut self, subscription: &mut dyn Subscription, stop: &CancellationToken) {
        self.stored.clear();
        while !stop.is_cancelled() {
            self.consumer.store.starts_over();
            match subscription.rewind().await {
                Ok(()) => {
                    self.works();
                    return self.report(subscription).await;
                }
                Err(error) => {
                    self.pause("could not read the group's positions", &error, stop)
                        .await;
                }
            }
        }
    }

    async fn applied(&mut self, applied: Applied) {
        self.works();
        self.consumer.status.freshness.record(&applied.freshness_ms);
        self.metrics.record(&applied);
        if applied.parked + applied.failed > 0 {
            self.plan().await;
        }
    }

    /// Looks up the time of the next retry and the keys that wait.
    async fn plan(&mut self) {
        let now = self.clock.now();
        match self.consumer.store.pulse().await {
            Ok(pulse) => {
                let due = pulse.next_due;
                self.retry_at =
                    due.map(|due| Instant::now() + (due - now).to_std().unwrap_or_default());
                // Always: an operator's word may come from another process, and keys that wait from a
                // member that is gone. Neither rings here.
                self.look_at = Some(Instant::now() + LOOK_EVERY);
                self.metrics.blocked(pulse.blocked);
                if pulse.gaps > 0 {
                    self.give_up_gaps().await;
                }
            }
            Err(error) => {
                tracing::debug!(group = self.consumer.group, error = %chain(&*error), "no plan");
                self.look_at = Some(Instant::now() + self.backoff.pause());
            }
        }
    }

    /// True if the store is behind what this member stored: another process let the group begin again, or the store
    /// was emptied or rolled back. Where nothing comes to be read, no write would notice.
    async fn is_behind(&self) -> bool {
        for topic in &self.consumer.topics {
            let Ok(stored) = self.consumer.store.stored_positions(topic).await else {
                return false;
            };
            let mut own = self.stored.iter().filter(|(of, _)| of.topic == *topic);
            if own.any(|(of, next)| stored.get(&of.partition).is_none_or(|at| at < next)) {
                return true;
            }
        }
        false
    }

    /// Ends the wait for versions that retention removed. This member must first have had nothing left to
    /// read for so long that anyone who still had one would have published it.
    async fn give_up_gaps(&mut self) {
        let long = Duration::from_millis(GAP_LISTED_MS.unsigned_abs());
        if self
            .caught_up_since
            .is_none_or(|since| since.elapsed() < long)
        {
            return;
        }
        for topic in &self.consumer.topics {
            let done = match self.bus.watermarks(topic).await {
                Ok(watermarks) => {
                    let watermarks = (0_i32..).zip(watermarks);
                    // Compaction takes records out of the middle, and the oldest one stays the first.
                    let lost: Vec<i32> = watermarks
                        .filter(|(_, watermark)| watermark.oldest > 0 || is_compacted(topic))
                        .map(|(partition, _)| partition)
                        .collect();
                    self.consumer.store.give_up_gaps(topic, &lost).await
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = done {
                let error = chain(&*error);
                tracing::debug!(group = self.consumer.group, %error, "gaps not looked at");
            }
        }
    }

    /// Measures the lag and tells the bus how far the group is.
    async fn report(&mut self, subscription: &mut dyn Subscription) {
        self.reported = Some(Instant::now() + REPORT_EVERY);
        let next = std::mem::take(&mut self.next);
        if !next.is_empty()
            && let Err(error) = subscription.commit(&next).await
        {
            tracing::debug!(group = self.consumer.group, error = %chain(&error), "offset not told");
        }
        self.measure_lag().await;
    }

    async fn measure_lag(&mut self) {
        let mut total = 0;
        for topic in &self.consumer.topics {
            match lag(&*self.bus, &*self.consumer.store, topic).await {
                Ok(lag) => {
                    self.metrics.lag(topic, lag);
                    total += lag;
                }
                Err(error) => {
                    let error = chain(&*error);
                    self.caught_up_since = None;
                    return tracing::debug!(group = self.consumer.group, %error, "lag unknown");
                }
            }
        }
        self.caught_up_since = match self.caught_up_since {
            Some(since) if total == 0 => Some(since),
            _ => (total == 0).then(Instant::now),
        };
        self.consumer.status.lag.store(total, Ordering::Relaxed);
    }

    fn works(&mut self) {
        if self.backoff.failures() > 0 {
            tracing::info!(group = self.consumer.group, "consuming works again");
        }
        self.backoff.reset();
        self.consumer.status.active.store(true, Ordering::Relaxed);
    }

    async fn pause(
        &mut self,
        what: &'static str,
        error: &(dyn std::error::Error + Sync + 'static),
        stop: &CancellationToken,
    ) {
        self.consumer.status.active.store(false, Ordering::Relaxed);
        self.measure_lag().await;
        self.caught_up_since = None;
        // Once a fault, not once an attempt.
        if self.backoff.failures() == 0 {
            tracing::warn!(group = self.consumer.group, error = %chain(error), "{what}");
        }
        let pause = self.backoff.pause();
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
