//! Offsets in memory, in place of a consumer's own store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use blocks::bus::{Positions, Record};
use blocks::error::BoxError;
use parking_lot::Mutex;

/// A group's offsets, in memory.
#[derive(Debug, Default)]
pub struct MemoryPositions {
    next: Mutex<BTreeMap<String, BTreeMap<i32, i64>>>,
    away: AtomicBool,
}

impl MemoryPositions {
    /// Notes that `records` were handled.
    pub fn handled(&self, records: &[Record]) {
        for record in records {
            self.set(&record.topic, record.partition, record.offset + 1);
        }
    }

    /// Says that `partition` goes on at `next`.
    pub fn set(&self, topic: &str, partition: i32, next: i64) {
        self.next
            .lock()
            .entry(topic.to_owned())
            .or_default()
            .insert(partition, next);
    }

    /// Forgets everything, as an emptied store does.
    pub fn clear(&self) {
        self.next.lock().clear();
    }

    /// Makes the store unreachable, or reachable again.
    pub fn unavailable(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// The next offset of each partition of `topic`.
    pub fn of(&self, topic: &str) -> BTreeMap<i32, i64> {
        self.next.lock().get(topic).cloned().unwrap_or_default()
    }
}

#[async_trait]
impl Positions for MemoryPositions {
    async fn begin_at(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, BoxError> {
        if self.away.load(Ordering::SeqCst) {
            return Err("the store is away".into());
        }
        let mut of_topic = self.of(topic);
        of_topic.retain(|partition, _| partitions.contains(partition));
        Ok(of_topic)
    }
}
