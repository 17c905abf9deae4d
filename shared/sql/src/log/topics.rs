//! The log's topics in memory: their watermarks and their last records.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use blocks::bus::{Record, TopicSpec};
use events::Cleanup;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

/// Number of a partition's records that stay in memory for members that are caught up.
const TAIL_RECORDS: usize = 512;
/// The most bytes of them.
const TAIL_BYTES: usize = 256 * 1024;
/// The bits of a place that are the offset.
const OFFSET_BITS: u32 = 40;

/// All topics by name.
#[derive(Default)]
pub(super) struct Topics {
    by_name: RwLock<BTreeMap<String, Arc<TopicState>>>,
}

impl Topics {
    pub(super) fn get(&self, name: &str) -> Option<Arc<TopicState>> {
        self.by_name.read().get(name).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<TopicState>> {
        self.by_name.read().values().cloned().collect()
    }

    pub(super) fn add(&self, topic: TopicState) {
        self.by_name
            .write()
            .insert(topic.name.clone(), Arc::new(topic));
    }
}

/// A topic and the members that wait for its records.
pub(super) struct TopicState {
    pub(super) name: String,
    pub(super) partitions: Vec<Partition>,
    cleanup: Mutex<Cleanup>,
    listeners: Mutex<Vec<(u64, Arc<Notify>)>>,
}

impl TopicState {
    /// `partitions` are ids and next offsets in the order of their numbers.
    pub(super) fn new(name: String, cleanup: Cleanup, partitions: &[(i64, i64)]) -> Self {
        let partitions = partitions
            .iter()
            .map(|(id, next)| Partition::new(*id, *next))
            .collect();
        Self {
            name,
            partitions,
            cleanup: Mutex::new(cleanup),
            listeners: Mutex::default(),
        }
    }

    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.partitions.len()).unwrap_or(u16::MAX)
    }

    pub(super) fn cleanup(&self) -> Cleanup {
        *self.cleanup.lock()
    }

    pub(super) fn set_cleanup(&self, cleanup: Cleanup) {
        *self.cleanup.lock() = cleanup;
    }

    pub(super) fn is_compacted(&self) -> bool {
        matches!(self.cleanup(), Cleanup::Compact { .. })
    }

    pub(super) fn spec(&self) -> TopicSpec {
        TopicSpec {
            name: self.name.clone(),
            partitions: self.count(),
            cleanup: self.cleanup(),
        }
    }

    pub(super) fn partition(&self, number: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(number).ok()?)
    }

    pub(super) fn listen(&self, member: u64, bell: &Arc<Notify>) {
        self.listeners.lock().push((member, Arc::clone(bell)));
    }

    pub(super) fn forget(&self, member: u64) {
        self.listeners.lock().retain(|(id, _)| *id != member);
    }

    /// Wakes all that wait for news. Where nobody waits, the next one to wait is woken at once.
    pub(super) fn ring(&self) {
        for (_, bell) in self.listeners.lock().iter() {
            bell.notify_one();
        }
    }
}

/// A partition: its watermarks and its last records.
pub(super) struct Partition {
    pub(super) id: i64,
    /// The offset of the next record. Moved by the database's one writer only; a failed commit leaves a
    /// hole, never an offset that is given twice.
    next: AtomicI64,
    /// The end of the committed records, for members to compare with their offset.
    head: AtomicI64,
    tail: Mutex<Tail>,
}

#[derive(Default)]
struct Tail {
    /// From here to the head, every record is in `records`.
    from: i64,
    records: VecDeque<Record>,
    bytes: usize,
}

impl Partition {
    fn new(id: i64, next: i64) -> Self {
        let tail = Tail {
            from: next,
            ..Tail::default()
        };
        Self {
            id,
            next: AtomicI64::new(next),
            head: AtomicI64::new(next),
            tail: Mutex::new(tail),
        }
    }

    /// The place of the record of `offset` in the table.
    pub(super) fn place(&self, offset: i64) -> i64 {
        (self.id << OFFSET_BITS) + offset
    }

    /// The first place behind the partition.
    pub(super) fn end(&self) -> i64 {
        (self.id + 1) << OFFSET_BITS
    }

    pub(super) fn offset(&self, place: i64) -> i64 {
        place - self.place(0)
    }

    pub(super) fn next(&self) -> i64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(super) fn set_next(&self, next: i64) {
        self.next.store(next, Ordering::Relaxed);
    }

    pub(super) fn head(&self) -> i64 {
        self.head.load(Ordering::Acquire)
    }

    /// Takes up records committed from `first` on, in commit order.
    pub(super) fn committed(&self, first: i64, records: Vec<Record>) {
        let mut tail = self.tail.lock();
        let head = self.head();
        let Some(end) = records.last().map(|record| record.offset + 1) else {
            return;
        };
        if first >= head {
            if first > head {
                tail.restart(first);
            }
            for record in records {
                tail.push(record);
            }
        }
        self.head.store(head.max(end), Ordering::Release);
    }

    /// Learns from the table that the partition reaches to `head`; true when that is news.
    pub(super) fn reaches(&self, head: i64) -> bool {
        let mut tail = self.tail.lock();
        let news = head > self.head();
        if news {
            tail.restart(head);
            self.head.store(head, Ordering::Release);
        }
        news
    }

    /// Forgets the last records: some of them were removed.
    pub(super) fn drop_tail(&self) {
        let mut tail = self.tail.lock();
        let head = self.head();
        tail.restart(head);
    }

    /// Up to `max` records from `from` on, if memory reaches that far back.
    pub(super) fn recent(&self, from: i64, max: usize) -> Option<Vec<Record>> {
        let tail = self.tail.lock();
        if from < tail.from {
            return None;
        }
        let start = tail.records.partition_point(|record| record.offset < from);
        Some(tail.records.range(start..).take(max).cloned().collect())
    }
}

impl Tail {
    fn restart(&mut self, from: i64) {
        *self = Self {
            from,
            ..Self::default()
        };
    }

    fn push(&mut self, record: Record) {
        self.bytes += size(&record);
        self.records.push_back(record);
        while self.records.len() > TAIL_RECORDS || self.bytes > TAIL_BYTES {
            let Some(oldest) = self.records.pop_front() else {
                break;
            };
            self.bytes -= size(&oldest);
            self.from = oldest.offset + 1;
        }
    }
}

/// About what a record takes up in memory.
pub(super) fn size(record: &Record) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2 * size_of::<String>())
        .sum();
    size_of::<Record>() + record.value.len() + headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn records(offsets: std::ops::Range<i64>, bytes: usize) -> Vec<Record> {
        offsets
            .map(|offset| Record {
                topic: "t".into(),
                partition: 0,
                offset,
                key: None,
                headers: vec![],
                value: vec![0; bytes],
                time: DateTime::default(),
            })
            .collect()
    }

    fn offsets(records: Option<Vec<Record>>) -> Option<Vec<i64>> {
        records.map(|records| records.iter().map(|record| record.offset).collect())
    }

    #[test]
    fn memory_answers_only_for_what_it_has_without_a_hole() {
        let partition = Partition::new(1, 10);
        assert_eq!(offsets(partition.recent(9, 5)), None);
        assert_eq!(offsets(partition.recent(10, 5)), Some(vec![]));
        partition.committed(10, records(10..13, 1));
        assert_eq!(offsets(partition.recent(11, 5)), Some(vec![11, 12]));
        assert_eq!(offsets(partition.recent(10, 2)), Some(vec![10, 11]));
        assert_eq!(partition.head(), 13);

        // A commit in between of which memory was not told.
        partition.committed(15, records(15..16, 1));
        assert_eq!(offsets(partition.recent(12, 5)), None);
        assert_eq!(offsets(partition.recent(15, 5)), Some(vec![15]));

        // A commit found in the table first.
        assert!(partition.reaches(18));
        assert!(!partition.reaches(18));
        partition.committed(16, records(16..18, 1));
        assert_eq!(offsets(partition.recent(16, 5)), None);
        assert_eq!(offsets(partition.recent(18, 5)), Some(vec![]));
        assert_eq!(partition.head(), 18);
    }

    #[test]
    fn memory_is_bounded_in_records_and_in_bytes() {
        let partition = Partition::new(1, 0);
        partition.committed(0, records(0..2000, 1));
        assert_eq!(offsets(partition.recent(0, 1)), None);
        assert!(partition.tail.lock().records.len() <= TAIL_RECORDS);
        partition.committed(2000, records(2000..2008, TAIL_BYTES / 4));
        assert!(partition.tail.lock().bytes <= TAIL_BYTES);
        partition.committed(2008, records(2008..2009, TAIL_BYTES + 1));
        assert_eq!(offsets(partition.recent(2008, 1)), None);
        assert_eq!(offsets(partition.recent(2009, 1)), Some(vec![]));
    }

    #[test]
    fn places_are_ordered_by_partition_and_offset() {
        let (first, second) = (Partition::new(1, 0), Partition::new(2, 0));
        assert!(first.place(i64::from(u32::MAX)) < first.end());
        assert_eq!(first.end(), second.place(0));
        assert_eq!(second.offset(second.place(7)), 7);
    }
}
