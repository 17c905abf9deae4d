//! A member of a consumer group, with its offset in each of its partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::{BusError, Positions, Record, Subscription, TopicPartition};
use tokio::sync::Notify;

use super::groups::Group;
use super::topics::TopicState;
use super::{Inner, records, unavailable};

/// A member of a group. Dropping it leaves the group.
pub(super) struct LogMember {
    id: u64,
    name: String,
    log: Arc<Inner>,
    group: Arc<Group>,
    topics: Vec<Arc<TopicState>>,
    positions: Arc<dyn Positions>,
    bell: Arc<Notify>,
    /// The group's changes that this member has followed.
    seen: u64,
    /// Its partitions and the next offset in each; `None` until the stored offsets were asked for.
    stands: BTreeMap<TopicPartition, Option<i64>>,
    /// The partition that comes first, so that a busy one does not keep the others waiting.
    turn: usize,
}

impl LogMember {
    pub(super) fn join(
        log: Arc<Inner>,
        id: u64,
        name: &str,
        topics: Vec<Arc<TopicState>>,
        positions: Arc<dyn Positions>,
    ) -> Self {
        let group = log.group(name);
        let bell = Arc::new(Notify::new());
        let seen = group.changes();
        for topic in &topics {
            topic.listen(id, &bell);
        }
        group.join(id, topics.clone(), Arc::clone(&bell));
        Self {
            id,
            name: name.to_owned(),
            log,
            group,
            topics,
            positions,
            bell,
            seen,
            stands: BTreeMap::new(),
            turn: 0,
        }
    }

    fn topic(&self, name: &str) -> Option<&Arc<TopicState>> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// Lets go of partitions promised to others and takes free ones.
    fn follow_group(&mut self) {
        let changes = self.group.changes();
        if changes == self.seen {
            return;
        }
        let exchange = self.group.exchange(self.id);
        self.seen = changes;
        for partition in exchange.released {
            self.stands.remove(&partition);
        }
        for partition in exchange.gained {
            self.stands.insert(partition, None);
        }
    }

    /// Asks the store for the offsets of partitions whose start is unknown.
    async fn find_starts(&mut self) -> Result<(), BusError> {
        let mut unknown: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for (of, next) in &self.stands {
            if next.is_none() {
                let of_topic = unknown.entry(of.topic.clone()).or_default();
                of_topic.push(of.partition);
            }
        }
        for (topic, partitions) in unknown {
            let known = self.positions.begin_at(&topic, &partitions).await;
            let known = known.map_err(BusError::Unavailable)?;
            for (partition, next) in &mut self.stands {
                if partition.topic == topic && next.is_none() {
                    *next = Some(known.get(&partition.partition).copied().unwrap_or(0));
                }
            }
            self.mind_the_end(&topic).await?;
        }
        Ok(())
    }

    /// A stored offset behind the end of the log belongs to another log, one that was removed or replaced
    /// by an older copy. New records would never be seen, so reading starts over.
    async fn mind_the_end(&mut self, topic: &str) -> Result<(), BusError> {
        let Some(topic) = self.topic(topic).cloned() else {
            return Ok(());
        };
        let beyond = |(partition, next): (&TopicPartition, &Option<i64>)| {
            partition.topic == topic.name
                && topic
                    .partition(partition.partition)
                    .is_some_and(|known| next.is_some_and(|next| next > known.head()))
        };
        if !self.stands.iter().any(beyond) {
            return Ok(());
        }
        let watermarks = records::watermarks(&self.log.db, &topic)
            .await
            .map_err(unavailable)?;
        for (partition, next) in &mut self.stands {
            let number = usize::try_from(partition.partition).unwrap_or(usize::MAX);
            let Some(watermark) = watermarks
                .get(number)
                .filter(|_| partition.topic == topic.name)
            else {
                continue;
            };
            if next.is_some_and(|next| next > watermark.next) {
                tracing::warn!(
                    group = self.name,
                    topic = topic.name,
                    partition = number,
                    position = *next,
                    end = watermark.next,
                    "the group stands behind the end of the topic: it reads the topic from its start"
                );
                *next = Some(0);
            }
        }
        Ok(())
    }

    /// New records of its partitions, up to `max`.
    async fn collect(&mut self, max: usize) -> Result<Vec<Record>, BusError> {
        let mut batch = Vec::new();
        let mut moves = Vec::new();
        let partitions = self.stands.len();
        let in_turn = self
            .stands
            .iter()
            .cycle()
            .skip(self.turn % partitions.max(1));
        for (place, next) in in_turn.take(partitions) {
            let (Some(next), Some(topic)) = (*next, self.topic(&place.topic)) else {
                continue;
            };
            let Some(partition) = topic.partition(place.partition) else {
                continue;
            };
            let head = partition.head();
            if next >= head {
                continue;
            }
            let room = max - batch.len();
            let records = match partition.recent(next, room) {
                Some(records) => records,
                None => records::read(&self.log.db, topic, place.partition, next, room)
                    .await
                    .map_err(unavailable)?,
            };
            // Nothing there though the head is beyond: all of it was removed, or never committed.
            let next = records.last().map_or(head, |record| record.offset + 1);
            moves.push((place.clone(), next));
            batch.extend(records);
            if batch.len() >= max {
                break;
            }
        }
        // Nothing is awaited from here on: a future that is dropped has moved nothing.
        self.turn = self.turn.wrapping_add(1);
        for (partition, next) in moves {
            self.stands.insert(partition, Some(next));
        }
        Ok(batch)
    }
}

#[async_trait]
impl Subscription for LogMember {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, BusError> {
        loop {
            self.follow_group();
            self.find_starts().await?;
            let batch = self.collect(max.max(1)).await?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            self.bell.notified().await;
        }
    }

    async fn rewind(&mut self) -> Result<(), BusError> {
        for next in self.stands.values_mut() {
            *next = None;
        }
        self.find_starts().await
    }

    async fn commit(&mut self, next: &BTreeMap<TopicPartition, i64>) -> Result<(), BusError> {
        self.log.offsets.set(&self.name, next);
        Ok(())
    }
}

impl Drop for LogMember {
    fn drop(&mut self) {
        for topic in &self.topics {
            topic.forget(self.id);
        }
        self.group.leave(self.id);
    }
}
