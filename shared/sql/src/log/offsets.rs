//! The offsets that groups commit, for lag tools: kept in memory, written a moment later. Nobody waits for
//! them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use blocks::bus::TopicPartition;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::db::Db;
use crate::error::StoreError;
use crate::execute;

/// Time that commits gather before they are written.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Offsets {
    db: Db,
    unwritten: Arc<Mutex<Unwritten>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Unwritten {
    next: BTreeMap<(String, TopicPartition), i64>,
    flushing: bool,
}

impl Offsets {
    pub(super) fn new(db: Db) -> Self {
        Self {
            db,
            unwritten: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    pub(super) fn set(&self, group: &str, next: &BTreeMap<TopicPartition, i64>) {
        let mut unwritten = self.unwritten.lock();
        for (partition, next) in next {
            let key = (group.to_owned(), partition.clone());
            unwritten.next.insert(key, *next);
        }
        if unwritten.next.is_empty() || std::mem::replace(&mut unwritten.flushing, true) {
            return;
        }
        let (db, stop) = (self.db.clone(), self.stop.clone());
        let unwritten = Arc::clone(&self.unwritten);
        self.tasks.spawn(async move {
            // Commits that come soon share the write.
            drop(tokio::time::timeout(FLUSH_AFTER, stop.cancelled()).await);
            flush(&db, &unwritten).await;
        });
    }

    /// Writes the commits that are not written yet.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn flush(db: &Db, unwritten: &Mutex<Unwritten>) {
    let commits = std::mem::take(&mut *unwritten.lock()).next;
    let to_write = commits.clone();
    let written: Result<(), StoreError> = db
        .write(move |tx| {
            Box::pin(async move {
                let now = tx.now().timestamp_millis();
                for ((group, of), next) in to_write {
                    execute!(tx,
                        "insert into group_offsets
                            (consumer_group, topic, partition, next_offset, updated_ms)
                         values ($1, $2, $3, $4, $5)
                         on conflict (consumer_group, topic, partition)
                         do update set next_offset = excluded.next_offset,
                                       updated_ms = excluded.updated_ms"
                        => group, of.topic, of.partition, next, now)?;
                }
                Ok(())
            })
        })
        .await;
    if let Err(error) = written {
        // Written with the next commit instead: lag tools see it a bit later.
        tracing::debug!(%error, "the offsets of consumer groups were not written down");
        let mut unwritten = unwritten.lock();
        for (key, next) in commits {
            unwritten.next.entry(key).or_insert(next);
        }
    }
}
