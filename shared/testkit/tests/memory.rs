//! The stores in memory, held against the contracts of their ports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use blocks::consumer::{ConsumerStore, HandlerError};
use blocks::outbox::{LEASE_MS, Outbox, Place};
use blocks::{Clock, ManualClock, SystemClock};
use chrono::{DateTime, TimeDelta, Utc};
use events::{Envelope, Message, Topic};
use sql::Faults;
use testkit::consumer_store::{self, GROUP, Refusals};
use testkit::lease;
use testkit::memory::{Handler, Memory, MemoryConsumer, Tx};
use uuid::Uuid;

type Counters = BTreeMap<String, Vec<i64>>;

/// Notes each step under its counter.
struct Ledger(Arc<Refusals>);

impl Handler<Counters> for Ledger {
    fn handle(&self, tx: &mut Tx<Counters>, event: &Envelope) -> Result<(), HandlerError> {
        let Some(step) = event.open::<consumer_store::Stepped>().transpose()? else {
            return Ok(());
        };
        tx.entry(step.counter.clone()).or_default().push(step.value);
        self.0.judge(&step)
    }

    fn reset(&self, tx: &mut Tx<Counters>, _: &[String]) {
        tx.clear();
    }
}

struct MemoryLedger {
    memory: Memory<Counters>,
    clock: Arc<ManualClock>,
}

impl MemoryLedger {
    fn open() -> Self {
        let clock = Arc::new(ManualClock::default());
        let memory = Memory::new(GROUP, Arc::clone(&clock) as _);
        Self { memory, clock }
    }
}

#[async_trait]
impl consumer_store::Adapter for MemoryLedger {
    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    async fn member(&self, topic: Topic, refusals: &Arc<Refusals>) -> Arc<dyn ConsumerStore> {
        let ledger = Ledger(Arc::clone(refusals));
        let group = MemoryConsumer::new(self.memory.clone(), GROUP, &[topic], ledger);
        group.consumer().store
    }

    async fn ledger(&self) -> Counters {
        self.memory.read(Clone::clone).await.expect("it is open")
    }

    async fn dead_letters(&self) -> Vec<Message> {
        let pending = self.memory.pending(None, Place::START, 100).await;
        let pending = pending.expect("it is open").into_iter();
        pending.map(|pending| pending.message).collect()
    }

    fn inject(&self, faults: Arc<dyn Faults>) {
        self.memory.inject(faults);
    }

    async fn empty(&self) -> bool {
        self.memory.empty().await;
        true
    }

    fn cases(&self) -> u32 {
        96
    }
}

mod group {
    use super::MemoryLedger;
    testkit::consumer_store_contract!(async { MemoryLedger::open() });
}

/// The system's time, so many ms later.
#[derive(Default)]
struct Later(AtomicI64);

impl Clock for Later {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + TimeDelta::milliseconds(self.0.load(Ordering::SeqCst))
    }

    fn id(&self) -> Uuid {
        SystemClock.id()
    }
}

struct MemoryLease {
    memory: Memory<()>,
    clock: Arc<Later>,
}

impl MemoryLease {
    fn open() -> Self {
        let clock = Arc::new(Later::default());
        let memory = Memory::new("notes", Arc::clone(&clock) as _);
        Self { memory, clock }
    }
}

#[async_trait]
impl lease::Adapter for MemoryLease {
    fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(self.memory.clone())
    }

    async fn expire(&self) {
        self.clock.0.fetch_add(LEASE_MS + 1, Ordering::SeqCst);
    }
}

mod lease_of_the_sweeper {
    use super::MemoryLease;
    testkit::lease_contract!(async { MemoryLease::open() });
}
