//! The relay over a store that is slow to mark published events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use blocks::Clock;
use blocks::clock::ManualClock;
use blocks::error::BoxError;
use blocks::metrics::Metrics;
use blocks::outbox::{Depth, Lease, Outbox, Pending, Place, Published};
use blocks::relay::Relay;
use chrono::{DateTime, TimeDelta, Utc};
use sql::{Db, FaultPoint};
use testkit::faults::Fails;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::ledger::{MIGRATIONS, step};
use crate::relay::{Bus, until};

/// An outbox that marks nothing until it may, and counts its calls.
struct Reluctant {
    db: Db,
    may_mark: Semaphore,
    /// Another process commits an event before each read of pending ones.
    is_busy: bool,
    looks: AtomicUsize,
    sweeps: AtomicUsize,
}

impl Reluctant {
    fn over(db: &Db, may_mark: usize, is_busy: bool) -> Arc<Self> {
        Arc::new(Self {
            db: db.clone(),
            may_mark: Semaphore::new(may_mark),
            is_busy,
            looks: AtomicUsize::new(0),
            sweeps: AtomicUsize::new(0),
        })
    }

    fn relay(self: &Arc<Self>, bus: &Arc<Bus>, clock: &Arc<ManualClock>) -> Relay {
        Relay::new(
            Arc::clone(self) as _,
            Arc::clone(bus) as _,
            Arc::clone(clock) as Arc<dyn Clock>,
            Metrics::new(),
        )
    }
}

#[async_trait]
impl Outbox for Reluctant {
    fn service(&self) -> &'static str {
        self.db.service()
    }
    fn committed(&self) -> Option<mpsc::Receiver<Vec<Pending>>> {
        self.db.committed()
    }
    fn fell_behind(&self) -> bool {
        self.db.fell_behind()
    }
    async fn pending(
        &self,
        before: Option<DateTime<Utc>>,
        after: Place,
        max: usize,
    ) -> Result<Vec<Pending>, BoxError> {
        if self.is_busy {
            // Committed, and handed over to nobody here.
            self.db.inject(Fails::once(FaultPoint::AfterCommit));
            step(&self.db, "others".into(), false).await.unwrap_err();
        }
        if before.is_some() {
            self.sweeps.fetch_add(1, Ordering::SeqCst);
        }
        self.db.pending(before, after, max).await
    }
    async fn mark_published(&self, events: &[Published]) -> Result<(), BoxError> {
        let _permit = self.may_mark.acquire().await?;
        self.db.mark_published(events).await
    }
    async fn mark_refused(&self, place: Place, reason: &str) -> Result<(), BoxError> {
        self.db.mark_refused(place, reason).await
    }
    async fn depth(&self) -> Result<Depth, BoxError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.db.depth().await
    }
    async fn keys_pending_before(&self, time: DateTime<Utc>) -> Result<i64, BoxError> {
        self.db.keys_pending_before(time).await
    }
    async fn lease(&self, holder: Uuid) -> Result<Option<Lease>, BoxError> {
        self.db.lease(holder).await
    }
    async fn remove_published(&self, before: DateTime<Utc>) -> Result<u64, BoxError> {
        self.db.remove_published(before).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_waits_for_its_mark_is_not_taken_for_left_behind_and_hides_nothing() {
    let clock = Arc::new(ManualClock::default());
    let db = testkit::db::sqlite_at("counters", MIGRATIONS, Arc::clone(&clock) as _).await;
    let outbox = Reluctant::over(&db.db, 0, false);
    let bus = Arc::new(Bus::default());
    let relay = outbox.relay(&bus, &clock);
    let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
    running.spawn(relay.run(stop.clone()));
    let looks = || outbox.looks.load(Ordering::SeqCst);
    // Its start is over: it marks what it finds then before anything else.
    until("the outbox is looked at", || async { looks() > 0 }).await;
    let sweeps = outbox.sweeps.load(Ordering::SeqCst);
    for _ in 0..3 {
        step(&db, "marked late".into(), false).await.unwrap();
    }
    until("all are published", || async { bus.count() == 3 }).await;

    clock.advance(TimeDelta::seconds(10));
    db.inject(Fails::once(FaultPoint::AfterCommit));
    step(&db, "left".into(), false).await.unwrap_err();
    let before = looks();
    until("it was looked at again", || async { looks() > before + 1 }).await;
    assert_eq!(outbox.sweeps.load(Ordering::SeqCst), sweeps);

    clock.advance(TimeDelta::seconds(10));
    until("it is swept", || async { bus.of("left") == ["1"] }).await;
    assert_eq!(bus.of("marked late"), ["1", "2", "3"]);

    outbox.may_mark.add_permits(1);
    until("all are marked", || async {
        db.depth().await.unwrap().pending == 0
    })
    .await;
    assert_eq!(bus.count(), 4);
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_ends_although_others_write_all_the_time() {
    let clock = Arc::new(ManualClock::default());
    let db = testkit::db::sqlite_at("counters", MIGRATIONS, Arc::clone(&clock) as _).await;
    let outbox = Reluctant::over(&db.db, 1, true);
    let bus = Arc::new(Bus::default());
    step(&db, "before".into(), false).await.unwrap();
    let relay = outbox.relay(&bus, &clock);
    let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
    running.spawn(relay.run(stop.clone()));
    until("the outbox is looked at", || async {
        clock.advance(TimeDelta::milliseconds(5));
        outbox.looks.load(Ordering::SeqCst) > 0
    })
    .await;
    assert_eq!(bus.of("before"), ["1"]);
    stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended.unwrap().unwrap();
    }
}
