//! The consumer's store in MongoDB, held against its contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::ManualClock;
use blocks::consumer::{ApplyError, ConsumerStore, HandlerError, Reason};
use blocks::outbox::{Outbox as _, Place};
use events::{Envelope, Message, Topic};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::error::{ErrorKind, WriteFailure};
use posts::store::mongo::Mongo;
use posts::store::mongo::consumer::{Handler, MongoConsumer};
use sql::{FaultPoint, Faults, StoreError};
use testkit::consumer_store::{Adapter, Bench, GROUP, Refusals, STEPS, Stepped, numbered};
use testkit::faults::Fails;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::stores::{connect, fresh_url};

const LEDGER: &str = "ledger";

/// Notes each step in its counter's document, which knows the last one.
struct Ledger {
    mongo: Mongo,
    refusals: Arc<Refusals>,
}

fn failed(error: mongodb::error::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

#[async_trait]
impl Handler for Ledger {
    type Effect = Stepped;

    async fn decide(&self, event: &Envelope) -> Result<Option<Stepped>, HandlerError> {
        self.refusals.step(event)
    }

    async fn write(&self, steps: &[Stepped]) -> Result<(), StoreError> {
        let ledger = self.mongo.database().collection::<Document>(LEDGER);
        for Stepped { counter, value } in steps {
            let before = doc! {"_id": counter, "last": {"$lt": value}};
            let step = doc! {"$set": {"last": value}, "$push": {"values": value}};
            // If the last step is not before this one, the upsert becomes an insert, which is
            // refused.
            match ledger.update_one(before, step).upsert(true).await {
                Ok(_) => {}
                Err(error) if is_duplicate(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    async fn reset(&self, _: &[String]) -> Result<(), StoreError> {
        let ledger = self.mongo.database().collection::<Document>(LEDGER);
        ledger.delete_many(doc! {}).await.map_err(failed)?;
        Ok(())
    }
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    matches!(
        &*error.kind,
        ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == 11_000
    )
}

/// A member that stops between the effects of a batch and what follows them, until it may go on.
struct Slow {
    ledger: Ledger,
    written: Arc<Notify>,
    may_go_on: watch::Receiver<bool>,
}

#[async_trait]
impl Handler for Slow {
    type Effect = Stepped;

    async fn decide(&self, event: &Envelope) -> Result<Option<Stepped>, HandlerError> {
        self.ledger.decide(event).await
    }

    async fn write(&self, steps: &[Stepped]) -> Result<(), StoreError> {
        self.ledger.write(steps).await?;
        self.written.notify_one();
        let mut may_go_on = self.may_go_on.clone();
        may_go_on.wait_for(|may| *may).await.unwrap();
        Ok(())
    }

    async fn reset(&self, topics: &[String]) -> Result<(), StoreError> {
        self.ledger.reset(topics).await
    }
}

struct MongoLedger {
    mongo: Mongo,
    clock: Arc<ManualClock>,
}

impl MongoLedger {
    async fn open() -> Self {
        let clock = Arc::new(ManualClock::default());
        let mongo = connect(&fresh_url(), Arc::clone(&clock) as _).await;
        Self { mongo, clock }
    }
}

#[async_trait]
impl Adapter for MongoLedger {
    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    async fn member(&self, topic: Topic, refusals: &Arc<Refusals>) -> Arc<dyn ConsumerStore> {
        let ledger = Ledger {
            mongo: self.mongo.clone(),
            refusals: Arc::clone(refusals),
        };
        let consumer = MongoConsumer::new(self.mongo.clone(), GROUP, &[topic], ledger);
        consumer.consumer().store
    }

    async fn ledger(&self) -> BTreeMap<String, Vec<i64>> {
        let ledger = self.mongo.database().collection::<Document>(LEDGER);
        let found = ledger.find(doc! {}).await.unwrap();
        let found: Vec<Document> = found.try_collect().await.unwrap();
        let counters = found.into_iter().map(|counter| {
            let values = counter.get_array("values").unwrap().iter();
            let values = values.map(|value| value.as_i64().unwrap()).collect();
            (counter.get_str("_id").unwrap().to_owned(), values)
        });
        counters.collect()
    }

    async fn dead_letters(&self) -> Vec<Message> {
        let pending = self.mongo.pending(None, Place::START, 100).await.unwrap();
        pending.into_iter().map(|pending| pending.message).collect()
    }

    fn inject(&self, faults: Arc<dyn Faults>) {
        self.mongo.inject(faults);
    }

    async fn empty(&self) -> bool {
        self.mongo.database().drop().await.unwrap();
        true
    }
}

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn a_crash_between_any_two_writes_of_a_batch_is_harmless() {
    const WRITES: usize = 5;
    let bench = Bench::over(MongoLedger::open().await).await;
    // Effects, a gap that closes, an event that is given up, and one behind it that waits.
    bench
        .refusals
        .poison
        .lock()
        .unreadable
        .insert(("b".to_owned(), 2));
    let order = [
        ("a", 1),
        ("a", 3),
        ("b", 1),
        ("b", 2),
        ("b", 3),
        ("a", 2),
        ("c", 2),
    ];
    let records = order.map(|(counter, value)| bench.event(counter, value));
    let records = numbered(records.to_vec(), 0);
    for batch in [&records[..2], &records[2..]] {
        bench
            .adapter
            .inject(Fails::first(WRITES, FaultPoint::BeforeCommit));
        for crash in 0..WRITES {
            let applied = bench.store.apply(batch).await;
            assert!(applied.is_err(), "crash {crash}: {applied:?}");
        }
        bench.store.apply(batch).await.unwrap();
    }
    let ledger = bench.adapter.ledger().await;
    assert_eq!(ledger["a"], [1, 2, 3]);
    assert_eq!(ledger["b"], [1]);
    let positions = bench.store.stored_positions(STEPS.name);
    assert_eq!(positions.await.unwrap()[&0], 7);
    assert!(!bench.adapter.dead_letters().await.is_empty());

    // A retry is broken off as well.
    bench.refusals.cure();
    let mut blocked = bench.blocked().await;
    // Both were blocked in the same millisecond.
    blocked.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(
        blocked,
        [
            ("b".to_owned(), Reason::Poison),
            ("c".to_owned(), Reason::Gap)
        ]
    );
    bench
        .adapter
        .inject(Fails::first(WRITES, FaultPoint::BeforeCommit));
    for blocked in bench.listed().await {
        assert!(bench.store.replay(blocked.id).await.unwrap());
    }
    bench.settle().await;
    let ledger = bench.adapter.ledger().await;
    assert_eq!(
        (&ledger["b"][..], &ledger["c"][..]),
        (&[1, 2, 3][..], &[2][..])
    );
    assert_eq!(bench.blocked().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_MONGODB_URL"]
async fn a_batch_that_was_decided_before_a_reset_moves_nothing_after_it() {
    // The first batch of a partition, and a later one.
    for before in [0, 2] {
        let bench = Bench::over(MongoLedger::open().await).await;
        let order = [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 2)];
        let records = order.map(|(counter, value)| bench.event(counter, value));
        let records = numbered(records.to_vec(), 0);
        if before > 0 {
            bench.store.apply(&records[..before]).await.unwrap();
        }
        let (go_on, may_go_on) = watch::channel(false);
        let written = Arc::new(Notify::new());
        let slow = Slow {
            ledger: Ledger {
                mongo: bench.adapter.mongo.clone(),
                refusals: Arc::clone(&bench.refusals),
            },
            written: Arc::clone(&written),
            may_go_on,
        };
        let slow = MongoConsumer::new(bench.adapter.mongo.clone(), GROUP, &[STEPS], slow);
        let slow = slow.consumer().store;
        slow.begin_at(STEPS.name, &[0]).await.unwrap();
        let batch = records[before..].to_vec();
        let mut writing = JoinSet::new();
        writing.spawn(async move { slow.apply(&batch).await });
        written.notified().await;
        bench.store.reset(&[STEPS.name.to_owned()]).await.unwrap();
        go_on.send_replace(true);
        let late = writing.join_next().await.unwrap().unwrap();
        let has_moved = matches!(late, Err(ApplyError::Moved));
        assert!(has_moved || before == 0, "{late:?}");

        let next = bench.member().await;
        let begin = next.begin_at(STEPS.name, &[0]).await.unwrap();
        assert_eq!(
            begin,
            BTreeMap::new(),
            "its offsets are of before the reset"
        );
        assert_eq!(bench.blocked().await, []);
        next.apply(&records).await.unwrap();
        let ledger = bench.adapter.ledger().await;
        assert_eq!(
            (&ledger["a"][..], &ledger["b"][..]),
            (&[1, 2, 3][..], &[1][..])
        );
        assert_eq!(bench.blocked().await, [("c".to_owned(), Reason::Gap)]);
    }
}

testkit::consumer_store_contract!(
    #[ignore = "needs TEST_MONGODB_URL"]
    async {
        MongoLedger::open().await
    }
);
