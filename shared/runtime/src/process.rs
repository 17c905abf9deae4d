//! A process: services with their relays and consumers behind one listener, until it is stopped.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use axum::Router;
use blocks::Clock;
use blocks::Service;
use blocks::bus::EventBus;
use blocks::consumer::{Consumer, ConsumerLoop};
use blocks::kit::{self, Limits};
use blocks::metrics::Metrics;
use blocks::outbox::Outbox;
use blocks::relay::Relay;
use blocks::service::Background;
use chrono::TimeDelta;
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::stage::{Alarm, Stage};
use crate::topics::Topics;

/// Interval at which old rows and records are removed.
const CLEAN_UP_EVERY: Duration = Duration::from_hours(1);
/// Delay of the first clean-up: not while everybody waits for the start.
const FIRST_CLEAN_UP: Duration = Duration::from_mins(1);
/// Time that published rows stay in an outbox: for publishing them once more.
const OUTBOX_KEEPS: TimeDelta = TimeDelta::days(7);
/// The part of the grace period left for events and databases when the last request ends late.
const LEFT_FOR_DELIVERY: Duration = Duration::from_secs(2);

/// The stores below the services of a process.
#[async_trait]
pub trait Stores: Send + Sync {
    /// Removes records that the bus no longer keeps, where that is this process's work; answers how many.
    ///
    /// # Errors
    /// When a store can't be reached.
    async fn clean_up(&self) -> anyhow::Result<u64>;

    /// Finishes writes in progress and closes everything.
    async fn close(&self);
}

/// The parts that a process runs besides answering requests.
pub struct Process {
    /// Their routers are part of the application already.
    pub services: Vec<Service>,
    /// The bus for their events.
    pub bus: Arc<dyn EventBus>,
    /// The clock for times and ids.
    pub clock: Arc<dyn Clock>,
    /// The metrics that all parts share.
    pub metrics: Arc<Metrics>,
    /// The stores below the services.
    pub stores: Arc<dyn Stores>,
    /// Other work, which stops with the intake of requests.
    pub beside: Vec<Arc<dyn Background>>,
}

impl Process {
    /// Runs everything until `stop` is cancelled, then stops in order, within the grace period of `limits`.
    /// Requests under way are finished, consumers finish their batch, relays publish the events of both,
    /// and stores are closed.
    ///
    /// # Errors
    /// The reason why it could not start or go on.
    pub async fn run(
        self,
        listener: TcpListener,
        app: Router,
        limits: Limits,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut topics = Topics::of(&self.services)?;
        topics.create(&*self.bus).await?;
        let alarm = Alarm::new(stop.clone());
        let consumers = Stage::new("consumers", CancellationToken::new(), &alarm);
        let relays = Stage::new("relays", CancellationToken::new(), &alarm);
        let intake = Stage::new("intake", stop.child_token(), &alarm);
        let grace = limits.grace;
        self.work(&consumers);
        let deadline = self.take_in(&intake, listener, app, &limits);
        // Requests are served without a bus: their events wait in the outboxes.
        tokio::select! {
            () = stop.cancelled() => {}
            made = topics.wait_for(&*self.bus) => match made {
                Ok(()) => {
                    self.consume(&consumers);
                    self.relay(&relays);
                }
                Err(error) => alarm.raise(error),
            }
        }
        stop.cancelled().await;
        let end = Instant::now() + grace;
        intake.end(deadline).await;
        let left = || (end - Instant::now()).max(LEFT_FOR_DELIVERY / 8);
        consumers.end(left()).await;
        relays.end(left()).await;
        if tokio::time::timeout(left(), self.stores.close())
            .await
            .is_err()
        {
            tracing::warn!("the stores did not close in time: the next start looks after them");
        }
        tracing::info!("stopped");
        alarm.outcome()
    }

    fn take_in(
        &self,
        intake: &Stage,
        listener: TcpListener,
        app: Router,
        limits: &Limits,
    ) -> Duration {
        for background in &self.beside {
            let (background, stop) = (Arc::clone(background), intake.stop());
            intake.spawn(background.name(), async move { background.run(stop).await });
        }
        let spared = LEFT_FOR_DELIVERY.min(limits.grace / 4);
        let limits = Limits {
            grace: limits.grace.saturating_sub(spared),
            ..limits.clone()
        };
        let deadline = limits.grace + spared / 2;
        let stop = intake.stop();
        intake.spawn("the HTTP server", async move {
            kit::serve(listener, app, &limits, stop)
                .await
                .context("could not serve")
        });
        deadline
    }

    fn relay(&self, relays: &Stage) {
        for outbox in self.outboxes() {
            let relay = Relay::new(
                Arc::clone(&outbox),
                Arc::clone(&self.bus),
                Arc::clone(&self.clock),
                Arc::clone(&self.metrics),
            );
            let name = format!("the relay of {}", outbox.service());
            relays.spawn(name, relay.run(relays.stop()));
        }
    }

    /// Starts the services' background work, with or without events.
    fn work(&self, consumers: &Stage) {
        for service in &self.services {
            for background in &service.background {
                let (background, stop) = (Arc::clone(background), consumers.stop());
                let name = format!("{} of {}", background.name(), service.name);
                consumers.spawn(name, async move { background.run(stop).await });
            }
        }
    }

    fn consume(&self, consumers: &Stage) {
        for service in &self.services {
            for consumer in &service.consumers {
                let member = ConsumerLoop::new(
                    consumer.clone(),
                    Arc::clone(&self.bus),
                    Arc::clone(&self.clock),
                    &self.metrics,
                );
                let name = format!("the consumer group {}", consumer.group);
                consumers.spawn(name, member.run(consumers.stop()));
            }
        }
        let housekeeping = Housekeeping {
            outboxes: self.outboxes(),
            consumers: self.consumers(),
            stores: Arc::clone(&self.stores),
            clock: Arc::clone(&self.clock),
        };
        consumers.spawn("housekeeping", housekeeping.run(consumers.stop()));
    }

    fn outboxes(&self) -> Vec<Arc<dyn Outbox>> {
        let outboxes = self
            .services
            .iter()
            .filter_map(|service| service.outbox.clone())
            .map(|outbox| outbox as Arc<dyn Outbox>);
        outboxes.collect()
    }

    fn consumers(&self) -> Vec<Consumer> {
        let services = self.services.iter();
        services
            .flat_map(|service| service.consumers.clone())
            .collect()
    }
}

/// Removes old rows and records.
struct Housekeeping {
    outboxes: Vec<Arc<dyn Outbox>>,
    consumers: Vec<Consumer>,
    stores: Arc<dyn Stores>,
    clock: Arc<dyn Clock>,
}

impl Housekeeping {
    async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut turn = tokio::time::interval_at(Instant::now() + FIRST_CLEAN_UP, CLEAN_UP_EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = turn.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.clean_up() => {}
            }
        }
    }

    /// A failed clean-up is tried again at the next turn: nothing but disk space depends on it.
    async fn clean_up(&self) {
        let before = self.clock.now() - OUTBOX_KEEPS;
        for outbox in &self.outboxes {
            match outbox.remove_published(before).await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(service = outbox.service(), rows, "outbox cleaned up"),
                Err(error) => failed(outbox.service(), &*error),
            }
        }
        for consumer in &self.consumers {
            match consumer.store.clean_up().await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(group = consumer.group, rows, "inbox cleaned up"),
                Err(error) => failed(consumer.group, &*error),
            }
        }
        match self.stores.clean_up().await {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "topics cleaned up"),
            Err(error) => failed("topics", error.as_ref()),
        }
    }
}

fn failed(of: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(of, error = %blocks::error::chain(error), "could not clean up");
}
