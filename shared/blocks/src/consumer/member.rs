//! This process's member of a consumer group: its memory beside the group's store, whatever the store.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use events::{Cleanup, Envelope, Malformed, Topic};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::decide::Base;
use super::parked::read;
use super::plan::Key;
use super::{Applied, ApplyError, Retry};
use crate::bus::{Record, TopicPartition};

/// A record with its key, read as the event that it should be.
pub type Keyed<'a> = (&'a Record, Key, Result<Envelope, Malformed>);

/// The next offset of partitions.
pub type Offsets = BTreeMap<TopicPartition, i64>;

/// Most keys in one round of retries: new records want their turn, too.
const KEYS: usize = 100;

/// A member of a group.
pub struct Member {
    /// The group's name.
    pub group: &'static str,
    /// The topics that it reads.
    pub topics: Vec<Topic>,
    /// The number and pace of tries for a refused event.
    pub retry: Retry,
    /// True if the inbox keeps processed events, for people to read.
    pub keeps_inbox: bool,
    /// Rung when something became due.
    pub due: Notify,
    /// The next offset of each partition, as far as this member knows.
    believed: Mutex<Offsets>,
    /// Keys whose missing version came: the events parked behind it go on.
    filled: Mutex<Vec<Key>>,
    /// Results of writes whose batch failed later: the next answer reports them.
    unreported: Mutex<Applied>,
}

/// A store's writes about keys that wait.
#[async_trait]
pub trait ParkedKeys: Send + Sync {
    /// Up to `max` keys that are due, the longest due first.
    ///
    /// # Errors
    /// See [`ApplyError`].
    async fn due_keys(&self, max: usize) -> Result<Vec<Key>, ApplyError>;

    /// Applies a page of the events that wait for `key`, in one write. `None` if it is not due; true when
    /// there is more to do now.
    ///
    /// # Errors
    /// See [`ApplyError`].
    async fn apply_page(&self, key: &Key) -> Result<Option<(Applied, bool)>, ApplyError>;
}

impl Member {
    /// A member of `group` that reads `topics`.
    pub fn new(group: &'static str, topics: &[Topic]) -> Self {
        Self {
            group,
            topics: topics.to_vec(),
            retry: Retry::default(),
            keeps_inbox: false,
            due: Notify::new(),
            believed: Mutex::default(),
            filled: Mutex::default(),
            unreported: Mutex::default(),
        }
    }

    /// The first version that a key of `topic` may have.
    pub fn base(&self, topic: &str) -> Base {
        let compacted = |topic: &Topic| matches!(topic.cleanup, Cleanup::Compact { .. });
        match self.topics.iter().find(|known| known.name == topic) {
            Some(topic) if compacted(topic) => Base::Any,
            _ => Base::First,
        }
    }

    /// Notes that it begins to read `partitions` of `topic` where the store says, and answers where that is.
    pub fn begin_at(
        &self,
        topic: &str,
        partitions: &[i32],
        mut stored: BTreeMap<i32, i64>,
    ) -> BTreeMap<i32, i64> {
        stored.retain(|partition, _| partitions.contains(partition));
        let mut believed = self.believed.lock();
        for partition in partitions {
            let of = TopicPartition {
                topic: topic.to_owned(),
                partition: *partition,
            };
            match stored.get(partition) {
                Some(next) => believed.insert(of, *next),
                None => believed.remove(&of),
            };
        }
        stored
    }

    /// Forgets its offsets.
    pub fn starts_over(&self) {
        self.believed.lock().clear();
    }

    /// Its last known offsets.
    pub fn offsets(&self) -> Offsets {
        self.believed.lock().clone()
    }

    /// Notes offsets that it wrote, or found in the store.
    pub fn learn(&self, offsets: impl IntoIterator<Item = (TopicPartition, i64)>) {
        self.believed.lock().extend(offsets);
    }

    /// Notes keys whose missing version comes with a write, before that: it may be done although its answer
    /// is lost.
    pub fn fills(&self, keys: Vec<Key>) {
        self.filled.lock().extend(keys);
    }

    /// Notes the results of a write for [`Member::report`].
    pub fn note(&self, applied: Applied) {
        *self.unreported.lock() += applied;
    }

    /// The results that were not reported yet.
    pub fn report(&self) -> Applied {
        std::mem::take(&mut self.unreported.lock())
    }

    /// Goes on with keys whose missing version has just been applied. They are due: if it fails, this wakes the
    /// group, which tries them again.
    pub async fn go_on(&self, store: &dyn ParkedKeys) {
        let next = || self.filled.lock().last().cloned();
        while let Some(key) = next() {
            if self.apply_all(store, &key).await.is_err() {
                return self.due.notify_one();
            }
            self.filled.lock().retain(|done| *done != key);
        }
    }

    /// Tries some of the keys that are due, each in writes of its own.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn retry_due(&self, store: &dyn ParkedKeys) -> Result<(), ApplyError> {
        for key in store.due_keys(KEYS).await? {
            self.apply_all(store, &key).await?;
        }
        Ok(())
    }

    async fn apply_all(&self, store: &dyn ParkedKeys, key: &Key) -> Result<(), ApplyError> {
        while let Some((applied, more)) = store.apply_page(key).await? {
            self.note(applied);
            if !more {
                break;
            }
        }
        Ok(())
    }
}

/// A partition's offsets while a write is decided.
struct Stand {
    /// The next offset in the store.
    stored: i64,
    /// The next offset as this member left it, or knew it before.
    here: Option<i64>,
    /// The next offset after the write.
    next: Option<i64>,
}

/// The offsets of a write's partitions: they tell which of its records are new to the store.
pub struct Stands<'a>(BTreeMap<(&'a str, i32), Stand>);

impl<'a> Stands<'a> {
    /// The offsets of `partitions`, as they are in the store, and as this member knows them. A partition
    /// without a stored offset was forgotten or never seen: it is at its start.
    ///
    /// # Errors
    /// [`ApplyError::Moved`] when the store's offset of one went back behind this member's.
    pub fn of(
        partitions: &'a BTreeSet<TopicPartition>,
        stored: &Offsets,
        here: &Offsets,
    ) -> Result<Self, ApplyError> {
        let mut stands = BTreeMap::new();
        for of in partitions {
            let stand = Stand {
                stored: stored.get(of).copied().unwrap_or_default(),
                here: here.get(of).copied(),
                next: None,
            };
            if stand.here > Some(stand.stored) {
                return Err(ApplyError::Moved);
            }
            stands.insert((of.topic.as_str(), of.partition), stand);
        }
        Ok(Self(stands))
    }

    /// True if `record` was not written before; its partition's offset then moves behind it. The bus may hand
    /// over records before an offset that nobody else moved, when its log was lost or restored from a copy.
    /// These count as new, and their versions decide.
    pub fn take(&mut self, record: &'a Record) -> bool {
        let stand = self.0.get_mut(&(record.topic.as_str(), record.partition));
        let is_new =
            |stand: &&mut Stand| record.offset >= stand.stored || stand.here == Some(stand.stored);
        let new = stand.filter(is_new);
        new.map(|stand| stand.next = Some(record.offset + 1))
            .is_some()
    }

    /// Reads those of `records` that were not written before, in their order; see [`Stands::take`].
    pub fn fresh(&mut self, records: &'a [Record]) -> Vec<Keyed<'a>> {
        let fresh = records.iter().filter(|&record| self.take(record));
        fresh
            .map(|record| {
                let event = read(record);
                (record, Key::of(record, event.as_ref()), event)
            })
            .collect()
    }

    /// The offsets that move.
    pub fn moves(self) -> Offsets {
        let moves = self
            .0
            .into_iter()
            .filter_map(|((topic, partition), stand)| {
                let topic = topic.to_owned();
                Some((TopicPartition { topic, partition }, stand.next?))
            });
        moves.collect()
    }
}
