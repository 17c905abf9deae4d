//! The offsets that groups commit: kept in memory, written a moment later. Nobody waits for them, and only
//! lag is computed from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use blocks::bus::TopicPartition;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::db::Db;
use crate::error::StoreError;
use crate::{execute, fetch_all};

/// Time that commits gather before they are written.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// A group's offset in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Partition number, from 0.
    pub partition: i32,
    /// The offset of the next record that it will handle.
    pub next: i64,
}

type Key = (String, TopicPartition);

pub(super) struct Offsets {
    db: Db,
    known: Arc<Mutex<Known>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Known {
    next: BTreeMap<Key, i64>,
    changed: BTreeSet<Key>,
    flushing: bool,
}

impl Offsets {
    pub(super) async fn load(db: &Db) -> Result<Self, StoreError> {
        let mut reader = db.read().await?;
        let rows: Vec<(String, String, i32, i64)> = fetch_all!(
            reader,
            "select consumer_group, topic, partition, next_offset from group_offsets"
        )?;
        let next = rows
            .into_iter()
            .map(|(group, topic, partition, next)| {
                ((group, TopicPartition { topic, partition }), next)
            })
            .collect();
        Ok(Self {
            db: db.clone(),
            known: Arc::new(Mutex::new(Known {
                next,
                ..Known::default()
            })),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    pub(super) fn all(&self) -> Vec<GroupOffset> {
        self.known
            .lock()
            .next
            .iter()
            .map(|((group, partition), next)| GroupOffset {
                group: group.clone(),
                topic: partition.topic.clone(),
                partition: partition.partition,
                next: *next,
            })
            .collect()
    }

    pub(super) fn set(&self, group: &str, next: &BTreeMap<TopicPartition, i64>) {
        let mut known = self.known.lock();
        for (partition, next) in next {
            let key = (group.to_owned(), partition.clone());
            if known.next.insert(key.clone(), *next) != Some(*next) {
                known.changed.insert(key);
            }
        }
        if known.changed.is_empty() || known.flushing {
            return;
        }
        known.flushing = true;
        let (db, known, stop) = (self.db.clone(), Arc::clone(&self.known), self.stop.clone());
        self.tasks.spawn(async move {
            // Commits that come soon share the write.
            drop(tokio::time::timeout(FLUSH_AFTER, stop.cancelled()).await);
            flush(&db, &known).await;
        });
    }

    /// Writes the commits that are not written yet.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn flush(db: &Db, known: &Mutex<Known>) {
    let changed: Vec<(Key, i64)> = {
        let mut known = known.lock();
        known.flushing = false;
        let keys = std::mem::take(&mut known.changed);
        keys.into_iter()
            .filter_map(|key| known.next.get(&key).copied().map(|next| (key, next)))
            .collect()
    };
    let keys: Vec<Key> = changed.iter().map(|(key, _)| key.clone()).collect();
    let written: Result<(), StoreError> = db
        .write(move |tx| {
            Box::pin(async move {
                let now = tx.now().timestamp_millis();
                for ((group, of), next) in changed {
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
        // Written with the next commit instead: lag tools of another process see it a bit later.
        tracing::debug!(%error, "the offsets of consumer groups were not written down");
        known.lock().changed.extend(keys);
    }
}
