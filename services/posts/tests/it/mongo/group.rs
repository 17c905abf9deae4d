//! The consumer's store in MongoDB, held against its contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::ManualClock;
use blocks::consumer::{ConsumerStore, HandlerError};
use blocks::outbox::{Outbox as _, Place};
use events::{Envelope, Message, Topic};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::error::{ErrorKind, WriteFailure};
use posts::store::mongo::Mongo;
use posts::store::mongo::consumer::{Handler, MongoConsumer};
use sql::{Faults, StoreError};
use testkit::consumer_store::{Adapter, GROUP, Refusals, Stepped};

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
            // Where the last one is not before this one, the insert that it becomes is refused.
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

testkit::consumer_store_contract!(
    #[ignore = "needs TEST_MONGODB_URL"]
    async {
        MongoLedger::open().await
    }
);
