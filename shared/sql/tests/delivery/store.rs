//! The consumer's store on each database, held against its contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::ManualClock;
use blocks::consumer::ConsumerStore;
use blocks::outbox::{Outbox as _, Place};
use events::{Message, Topic};
use sql::{Faults, SqlConsumer, StoreError, on};
use testkit::consumer_store::{Adapter, GROUP, Refusals};
use testkit::db::TestDb;

use crate::ledger::{self, Ledger, MIGRATIONS};

struct SqlLedger {
    db: TestDb,
    clock: Arc<ManualClock>,
    cases: u32,
}

impl SqlLedger {
    async fn sqlite() -> Self {
        let clock = Arc::new(ManualClock::default());
        let db = testkit::db::sqlite_at(GROUP, MIGRATIONS, Arc::clone(&clock) as _).await;
        let cases = 96;
        Self { db, clock, cases }
    }

    async fn postgres() -> Self {
        let clock = Arc::new(ManualClock::default());
        let db = testkit::db::postgres_at(GROUP, MIGRATIONS, Arc::clone(&clock) as _).await;
        let cases = 12;
        Self { db, clock, cases }
    }
}

#[async_trait]
impl Adapter for SqlLedger {
    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    async fn member(&self, topic: Topic, refusals: &Arc<Refusals>) -> Arc<dyn ConsumerStore> {
        let refusals = Arc::clone(refusals);
        let handler = Arc::new(Ledger { refusals });
        let consumer = SqlConsumer::new(self.db.db.clone(), GROUP, &[topic], handler);
        consumer.consumer().store
    }

    async fn ledger(&self) -> BTreeMap<String, Vec<i64>> {
        ledger::ledger(&self.db).await
    }

    async fn dead_letters(&self) -> Vec<Message> {
        let pending = self.db.db.pending(None, Place::START, 100).await.unwrap();
        pending.into_iter().map(|pending| pending.message).collect()
    }

    fn inject(&self, faults: Arc<dyn Faults>) {
        self.db.inject(faults);
    }

    /// As a copy from before the first write would.
    async fn empty(&self) -> bool {
        let emptied = self.db.write::<_, StoreError, _>(|tx| {
            Box::pin(async move {
                for statement in [
                    "delete from ledger",
                    "delete from balances",
                    "delete from consumer_offsets",
                    "delete from consumer_versions",
                    "delete from inbox_messages",
                    "delete from parked_keys",
                    "delete from outbox_messages",
                ] {
                    on!(tx, conn => sqlx::query(statement).execute(&mut *conn).await.map(|_| ()))?;
                }
                Ok(())
            })
        });
        emptied.await.unwrap();
        true
    }

    fn cases(&self) -> u32 {
        self.cases
    }
}

mod sqlite {
    testkit::consumer_store_contract!(async { super::SqlLedger::sqlite().await });
}

mod postgres {
    testkit::consumer_store_contract!(
        #[ignore = "needs TEST_DATABASE_URL"]
        async {
            super::SqlLedger::postgres().await
        }
    );
}
