//! The relay, against a bus that notes the events it was given.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use blocks::bus::{BusError, EventBus, Positions, Record, Subscription, TopicSpec, Watermarks};
use blocks::consumer::HandlerError;
use blocks::metrics::Metrics;
use blocks::outbox::{Direct, InspectOutbox, Outbox, Pending, Place};
use blocks::relay::Relay;
use blocks::{Clock, SystemClock};
use events::{Context, Envelope, Event, Message, Topic, header};
use parking_lot::Mutex;
use sql::{Db, FaultPoint, Handler, SqlConsumer, StoreError, Tx, on};
use testkit::faults::Fails;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ledger::{self, Ledger, MIGRATIONS, STEPS, Stepped, step};

/// A bus that notes the events it accepts, in order.
#[derive(Default)]
pub struct Bus {
    accepted: Mutex<Vec<(String, String)>>,
    away: AtomicBool,
    slow: Duration,
    /// Keys it will never take.
    refused: BTreeSet<String>,
}

impl Bus {
    pub fn of(&self, key: &str) -> Vec<String> {
        let accepted = self.accepted.lock();
        let of_key = accepted.iter().filter(|(of, _)| of == key);
        of_key.map(|(_, version)| version.clone()).collect()
    }

    pub fn count(&self) -> usize {
        self.accepted.lock().len()
    }
}

#[async_trait]
impl EventBus for Bus {
    async fn publish(&self, batch: &[Message]) -> Result<(), BusError> {
        tokio::time::sleep(self.slow).await;
        if self.away.load(Ordering::SeqCst) {
            return Err(BusError::Unavailable("away".into()));
        }
        if let Some(unknown) = batch.iter().find(|message| message.topic != STEPS.name) {
            return Err(BusError::UnknownTopic(unknown.topic.clone()));
        }
        for (index, message) in batch.iter().enumerate() {
            if self.refused.contains(&message.key) {
                let reason = "too large".to_owned();
                return Err(BusError::Refused { index, reason });
            }
            let version = message
                .headers
                .iter()
                .find(|(name, _)| name == header::SEQUENCE);
            let version = version.unwrap().1.clone();
            self.accepted.lock().push((message.key.clone(), version));
        }
        Ok(())
    }
    async fn ensure_topics(&self, _: &[TopicSpec]) -> Result<(), BusError> {
        Ok(())
    }
    async fn subscribe(
        &self,
        _: &str,
        topics: &[String],
        _: Arc<dyn Positions>,
    ) -> Result<Box<dyn Subscription>, BusError> {
        Err(BusError::UnknownTopic(topics.concat()))
    }
    async fn topics(&self) -> Result<Vec<TopicSpec>, BusError> {
        Ok(Vec::new())
    }
    async fn watermarks(&self, _: &str) -> Result<Vec<Watermarks>, BusError> {
        Ok(Vec::new())
    }
    async fn read(&self, _: &str, _: i32, _: i64, _: usize) -> Result<Vec<Record>, BusError> {
        Ok(Vec::new())
    }
}

struct World {
    db: testkit::db::TestDb,
    bus: Arc<Bus>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    loops: JoinSet<anyhow::Result<()>>,
}

impl World {
    async fn of(bus: Bus) -> Self {
        let db = testkit::db::sqlite("counters", MIGRATIONS).await;
        let (bus, metrics) = (Arc::new(bus), Metrics::new());
        let relay = Relay::new(
            Arc::new(db.db.clone()),
            Arc::clone(&bus) as _,
            Arc::new(SystemClock),
            Arc::clone(&metrics),
        );
        let (stop, mut loops) = (CancellationToken::new(), JoinSet::new());
        loops.spawn(relay.run(stop.clone()));
        Self {
            db,
            bus,
            metrics,
            stop,
            loops,
        }
    }

    async fn publishes(&self, count: usize) {
        until("everything is published", || async {
            self.bus.count() >= count
        })
        .await;
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.loops.join_next().await {
            ended.unwrap().unwrap();
        }
    }
}

pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..1500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 15 s: {what}");
}

/// Many events in one write.
async fn many(db: &Db, count: i64) {
    db.write(move |tx| {
        Box::pin(async move {
            for at in 0..count {
                let counter = format!("many{at}");
                tx.publish(&Stepped { counter, value: 1 }, 1).await?;
            }
            Ok::<_, StoreError>(())
        })
    })
    .await
    .unwrap();
}

async fn pending(db: &Db) -> i64 {
    Outbox::depth(db).await.unwrap().pending
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_event_goes_first_however_many_wait_for_their_mark() {
    let world = World::of(Bus::default()).await;
    many(&world.db, 1200).await;
    world.publishes(1200).await;
    world.bus.away.store(true, Ordering::SeqCst);
    step(&world.db, "a".into(), false).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.bus.away.store(false, Ordering::SeqCst);
    step(&world.db, "a".into(), false).await.unwrap();
    until("both are published", || async {
        world.bus.of("a").len() >= 2
    })
    .await;
    assert_eq!(world.bus.of("a")[..2], ["1", "2"]);
    until("all are marked", || async { pending(&world.db).await == 0 }).await;
    world.end().await;
}

const NOWHERE: Topic = Topic {
    name: "nowhere",
    ..STEPS
};

/// An event for a topic that is not there.
#[derive(serde::Serialize, serde::Deserialize)]
struct Astray {}

impl Event for Astray {
    const TOPIC: &'static Topic = &NOWHERE;
    const TYPE: &'static str = "counter.lost";
    const VERSION: u16 = 1;
    fn subject(&self) -> String {
        "astray".to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_behind_is_swept_while_others_keep_writing() {
    let slow = Duration::from_millis(25);
    let world = World::of(Bus {
        slow,
        ..Bus::default()
    })
    .await;
    // Its start is over: from here on only the sweep finds what nobody handed over.
    step(&world.db, "first".into(), false).await.unwrap();
    until("the first is marked", || async {
        pending(&world.db).await == 0
    })
    .await;
    world.db.inject(Fails::once(FaultPoint::AfterCommit));
    step(&world.db, "left".into(), false).await.unwrap_err();
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (db, over) = (world.db.db.clone(), Arc::clone(&over));
        writers.spawn(async move {
            while !over.load(Ordering::SeqCst) {
                step(&db, format!("w{writer}"), false).await.unwrap();
            }
        });
    }
    until("it is swept", || async { world.bus.of("left") == ["1"] }).await;
    over.store(true, Ordering::SeqCst);
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_bus_will_never_take_is_set_aside_and_the_rest_goes_on() {
    let world = World::of(Bus {
        refused: BTreeSet::from(["large".to_owned()]),
        ..Bus::default()
    })
    .await;
    for counter in ["a", "large"] {
        step(&world.db, counter.into(), false).await.unwrap();
    }
    let astray = world
        .db
        .write(|tx| Box::pin(async move { tx.publish(&Astray {}, 1).await }));
    astray.await.unwrap();
    step(&world.db, "b".into(), false).await.unwrap();
    world.publishes(2).await;
    until("the others are marked", || async {
        pending(&world.db).await == 0
    })
    .await;
    assert_eq!((world.bus.of("a").len(), world.bus.of("b").len()), (1, 1));
    assert_eq!(world.db.refused().await.unwrap(), 2);
    let rows = world.db.latest(10).await.unwrap();
    let reasons: Vec<String> = rows.into_iter().filter_map(|row| row.error).collect();
    assert_eq!(reasons, ["no topic nowhere", "too large"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outbox_is_measured_while_the_bus_is_away() {
    let world = World::of(Bus::default()).await;
    world.bus.away.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        step(&world.db, "a".into(), false).await.unwrap();
    }
    let line = "outbox_pending{service=\"counters\"} 5";
    until("the metric says so", || async {
        world.metrics.encode().contains(line)
    })
    .await;
    world.end().await;
}

/// Refuses one event, and lacks something for another, after all were written.
struct Troubled(Ledger);

#[async_trait]
impl Handler for Troubled {
    async fn handle(&self, tx: &mut Tx, event: &Envelope) -> Result<(), HandlerError> {
        self.0.handle(tx, event).await?;
        match event.subject.as_str() {
            "poison" => Err(HandlerError::Poison("poison".into())),
            "away" => Err(HandlerError::Unavailable("away".into())),
            _ => Ok(()),
        }
    }
    async fn reset(&self, tx: &mut Tx, topics: &[String]) -> Result<(), StoreError> {
        self.0.reset(tx, topics).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_given_up_in_its_middle_leaves_nothing_in_a_commit_it_shares() {
    let db = testkit::db::sqlite("ledger", MIGRATIONS).await;
    let handler = Arc::new(Troubled(Ledger::default()));
    let consumer = SqlConsumer::new(db.db.clone(), "ledger", &[STEPS], handler).consumer();
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let (db, over) = (db.db.clone(), Arc::clone(&over));
        writers.spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let write = db.write(|tx| {
                    Box::pin(async move {
                        on!(tx, conn => sqlx::query("select 1").execute(&mut *conn).await.map(|_| ()))
                    })
                });
                write.await.unwrap();
            }
        });
    }
    for offset in 0..50 {
        let records: Vec<Record> = ["fine", "poison", "away"]
            .into_iter()
            .map(|key| record(key, 1, offset))
            .collect();
        consumer.store.apply(&records).await.unwrap_err();
    }
    over.store(true, Ordering::SeqCst);
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    assert!(
        ledger::ledger(&db).await.is_empty(),
        "{:?}",
        ledger::ledger(&db).await
    );
}

fn record(key: &str, version: i64, offset: i64) -> Record {
    let event = Stepped {
        counter: key.to_owned(),
        value: version,
    };
    testkit::service::record(&SystemClock, offset, version, &event)
}

fn in_memory(value: i64) -> Pending {
    let step = Stepped {
        counter: "c".into(),
        value,
    };
    let (id, now) = (SystemClock.id(), SystemClock.now());
    let event = Envelope::new(id, "counters", now, value, Context::default(), &step);
    Pending {
        place: Place::row(value),
        message: event.unwrap().message(),
    }
}

#[tokio::test]
async fn what_memory_alone_has_is_published_at_a_stop_as_long_as_the_bus_takes_it() {
    // More than wait in the hand-over.
    let count = 5000;
    for away in [false, true] {
        let bus = Arc::new(Bus {
            away: AtomicBool::new(away),
            ..Bus::default()
        });
        let (hand_over, outbox) = Direct::new("counters");
        for value in 1..=count {
            hand_over.give(vec![in_memory(value)]);
        }
        let stop = CancellationToken::new();
        stop.cancel();
        let clock = Arc::new(SystemClock);
        let relay = Relay::new(outbox.clone(), bus.clone(), clock, Metrics::new());
        relay.run(stop).await.unwrap();
        let lost = if away { count } else { 0 };
        assert_eq!(outbox.depth().await.unwrap().pending, lost);
        assert_eq!(bus.count(), usize::try_from(count - lost).unwrap());
    }
}
