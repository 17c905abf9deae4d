//! A process: services with their relays and consumers behind one listener, until it is stopped.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use axum::Router;
use blocks::Clock;
use blocks::Service;
use blocks::bus::EventBus;
use blocks::consumer::ConsumerLoop;
use blocks::error::{BoxError, chain};
use blocks::kit::{self, Limits};
use blocks::metrics::Metrics;
use blocks::relay::Relay;
use blocks::service::Background;
use chrono::TimeDelta;
use parking_lot::Mutex;
use service::Close;
use sql::Db;
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

/// Closes a database.
pub(crate) fn close(db: &Db) -> Close {
    let db = db.clone();
    Box::new(move || Box::pin(async move { db.close().await }))
}

/// Closes stores, the last one that was opened first.
pub(crate) async fn close_all(closes: &Mutex<Vec<Close>>) {
    let closes = std::mem::take(&mut *closes.lock());
    for close in closes.into_iter().rev() {
        close().await;
    }
}

/// Runs services' consumer groups and relays.
#[derive(Clone)]
pub struct Delivery {
    /// The bus for their events.
    pub bus: Arc<dyn EventBus>,
    /// The clock for times and ids.
    pub clock: Arc<dyn Clock>,
    /// The metrics that all parts share.
    pub metrics: Arc<Metrics>,
}

impl Delivery {
    /// Starts the consumer groups of `service`.
    pub fn consume(&self, service: &Service, consumers: &Stage) {
        for consumer in &service.consumers {
            let (bus, clock) = (Arc::clone(&self.bus), Arc::clone(&self.clock));
            let member = ConsumerLoop::new(consumer.clone(), bus, clock, &self.metrics);
            let name = format!("the consumer group {}", consumer.group);
            consumers.spawn(name, member.run(consumers.stop()));
        }
    }

    /// Starts the relay of `service`, where it has an outbox.
    pub fn relay(&self, service: &Service, relays: &Stage) {
        let Some(outbox) = service.outbox.clone() else {
            return;
        };
        let Self {
            bus,
            clock,
            metrics,
        } = self.clone();
        let relay = Relay::new(outbox, bus, clock, metrics);
        let name = format!("the relay of {}", service.name);
        relays.spawn(name, relay.run(relays.stop()));
    }
}

/// Starts the background work of `service`, which needs no events.
pub fn work(service: &Service, stage: &Stage) {
    for background in &service.background {
        let (background, stop) = (Arc::clone(background), stage.stop());
        let name = format!("{} of {}", background.name(), service.name);
        stage.spawn(name, async move { background.run(stop).await });
    }
}

/// The parts that a process runs besides answering requests.
pub struct Process {
    /// Their routers are part of the application already.
    pub services: Vec<Service>,
    /// Publishes and handles their events.
    pub delivery: Delivery,
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
        let this = Arc::new(self);
        let bus = &*this.delivery.bus;
        let mut topics = Topics::of(&this.services)?;
        topics.create(bus).await?;
        let alarm = Alarm::new(stop.clone());
        let consumers = Stage::new("consumers", CancellationToken::new(), &alarm);
        let relays = Stage::new("relays", CancellationToken::new(), &alarm);
        let intake = Stage::new("intake", stop.child_token(), &alarm);
        let grace = limits.grace;
        for service in &this.services {
            work(service, &consumers);
        }
        let deadline = this.take_in(&intake, listener, app, &limits);
        // Requests are served without a bus: their events wait in the outboxes.
        tokio::select! {
            () = stop.cancelled() => {}
            made = topics.wait_for(bus) => match made {
                Ok(()) => {
                    for service in &this.services {
                        this.delivery.consume(service, &consumers);
                        this.delivery.relay(service, &relays);
                    }
                    let housekeeping = Arc::clone(&this).keep_house(consumers.stop());
                    consumers.spawn("housekeeping", housekeeping);
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
        if tokio::time::timeout(left(), this.stores.close())
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

    /// Removes old rows and records.
    async fn keep_house(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        let mut turn = tokio::time::interval_at(Instant::now() + FIRST_CLEAN_UP, CLEAN_UP_EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let work = async {
            loop {
                turn.tick().await;
                self.clean_up().await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = work => Ok(()),
        }
    }

    /// A failed clean-up is tried again at the next turn: nothing but disk space depends on it.
    async fn clean_up(&self) {
        let before = self.delivery.clock.now() - OUTBOX_KEEPS;
        for service in &self.services {
            if let Some(outbox) = &service.outbox {
                tell(
                    "outbox",
                    service.name,
                    outbox.remove_published(before).await,
                );
            }
            for consumer in &service.consumers {
                tell("inbox", consumer.group, consumer.store.clean_up().await);
            }
        }
        let topics = self.stores.clean_up().await;
        tell("topics", "all", topics.map_err(Into::into));
    }
}

fn tell(what: &str, of: &str, cleaned_up: Result<u64, BoxError>) {
    match cleaned_up {
        Ok(0) => {}
        Ok(removed) => tracing::info!(of, removed, "{what} cleaned up"),
        Err(error) => tracing::warn!(of, error = %chain(&*error), "could not clean up: {what}"),
    }
}
