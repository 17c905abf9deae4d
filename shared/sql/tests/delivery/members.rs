//! Members of one group in different processes: one takes up the keys that another left behind.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use blocks::bus::{EventBus, Record, TopicSpec};
use blocks::consumer::{Consumer, ConsumerLoop, HandlerError};
use blocks::metrics::Metrics;
use blocks::{Clock, SystemClock};
use events::{Context, Envelope};
use sql::log::TopicLog;
use sql::{Db, Durability, Handler, Retry, Settings, SqlConsumer, StoreError, Tx};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ledger::{self, Ledger, MIGRATIONS, STEPS, Stepped};

/// A member polls every five seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes nothing.
struct Refuses {
    for_good: bool,
}

#[async_trait]
impl Handler for Refuses {
    async fn handle(&self, _: &mut Tx, _: &Envelope) -> Result<(), HandlerError> {
        if self.for_good {
            return Err(HandlerError::Poison("can't be read".into()));
        }
        Err(HandlerError::Rejected("not now".into()))
    }

    async fn reset(&self, _: &mut Tx, _: &[String]) -> Result<(), StoreError> {
        Ok(())
    }
}

async fn log(folder: &Path, name: &str) -> TopicLog {
    let path = folder.join(name);
    let log = TopicLog::open(&path, Durability::Process, Arc::new(SystemClock))
        .await
        .unwrap();
    log.ensure_topics(&[TopicSpec::from(&STEPS), TopicSpec::dead_letters_of(&STEPS)])
        .await
        .unwrap();
    log
}

async fn record(log: &TopicLog) -> Record {
    let step = Stepped {
        counter: "c".into(),
        value: 1,
    };
    let clock = SystemClock;
    let event = Envelope::new(
        clock.id(),
        "counters",
        clock.now(),
        1,
        Context::default(),
        &step,
    );
    log.publish(&[event.unwrap().message()]).await.unwrap();
    let mut partitions = (0_i32..).zip(log.watermarks(STEPS.name).await.unwrap());
    let (partition, watermark) = partitions
        .find(|(_, watermark)| watermark.next > 0)
        .unwrap();
    let read = log.read(STEPS.name, partition, watermark.oldest, 1).await;
    read.unwrap().remove(0)
}

fn member(db: &Db, handler: Arc<dyn Handler>) -> Consumer {
    let retry = Retry {
        attempts: 3,
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(50),
    };
    SqlConsumer::with_retry(db.clone(), "ledger", &[STEPS], handler, retry).consumer()
}

/// A key is parked by a member that is never seen again. Another member runs meanwhile that reads nothing
/// itself (its log is empty) and found no waiting key when it joined.
async fn taken_up(for_good: bool, mend: impl AsyncFnOnce(&Consumer)) {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let settings = Settings::new("ledger", Arc::clone(&clock));
    let path = folder.path().join("ledger.db");
    let db = Db::open_sqlite(&path, Durability::Process, settings, MIGRATIONS)
        .await
        .unwrap();
    let staying = member(&db, Arc::new(Ledger::default()));
    let (stop, mut loops) = (CancellationToken::new(), JoinSet::new());
    let bus = Arc::new(log(folder.path(), "nothing.db").await);
    let looping = ConsumerLoop::new(staying.clone(), bus, clock, &Metrics::new());
    loops.spawn(looping.run(stop.clone()));
    while !staying.status.active() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;

    let leaving = member(&db, Arc::new(Refuses { for_good }));
    let refused = record(&log(folder.path(), "log.db").await).await;
    leaving.store.apply(&[refused]).await.unwrap();
    assert_eq!(ledger::ledger(&db).await.len(), 0);
    drop(leaving);
    // An operator's command is one more process.
    mend(&member(&db, Arc::new(Ledger::default()))).await;

    let end = Instant::now() + PATIENCE;
    while ledger::ledger(&db).await.is_empty() {
        assert!(Instant::now() < end, "nobody takes it up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ledger::ledger(&db).await["c"], [1]);
    stop.cancel();
    loops.join_all().await;
}

#[tokio::test]
async fn a_retry_that_a_member_left_behind_is_run_by_another_one() {
    taken_up(false, async |_| {}).await;
}

#[tokio::test]
async fn a_replay_that_another_process_asked_for_is_run_by_a_member_that_saw_nothing_blocked() {
    taken_up(true, async |operator| {
        let blocked = operator.store.blocked().await.unwrap();
        assert!(operator.store.replay(blocked[0].id).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_group_that_another_process_reset_reads_again_although_nothing_new_comes() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let settings = Settings::new("ledger", Arc::clone(&clock));
    let path = folder.path().join("ledger.db");
    let db = Db::open_sqlite(&path, Durability::Process, settings, MIGRATIONS)
        .await
        .unwrap();
    let log = log(folder.path(), "log.db").await;
    record(&log).await;
    let reader = member(&db, Arc::new(Ledger::default()));
    let (stop, mut loops) = (CancellationToken::new(), JoinSet::new());
    let looping = ConsumerLoop::new(reader, Arc::new(log), clock, &Metrics::new());
    loops.spawn(looping.run(stop.clone()));
    let reads = async || {
        let end = Instant::now() + PATIENCE;
        while ledger::ledger(&db).await.is_empty() {
            assert!(Instant::now() < end, "nobody reads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    reads().await;
    // An operator's command is one more process: it rings nobody here.
    let operator = member(&db, Arc::new(Ledger::default()));
    operator
        .store
        .reset(&[STEPS.name.to_owned()])
        .await
        .unwrap();
    assert!(ledger::ledger(&db).await.is_empty());
    reads().await;
    stop.cancel();
    loops.join_all().await;
}
