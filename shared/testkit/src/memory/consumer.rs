//! A consumer group's store in memory: effects, versions, parked events and offsets, one write a batch.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::{Positions, Record, partitions_of};
use blocks::consumer::decide::Base;
use blocks::consumer::parked::read_record;
use blocks::consumer::plan::{PAGE, listed_since, readable_now};
use blocks::consumer::{
    Applied, ApplyError, Block, Blocked, Consumer, ConsumerStore, HandlerError, Key, Known, Member,
    Offsets, ParkedKeys, Plan, Pulse, Reason, Stands, handling,
};
use blocks::error::BoxError;
use events::{Envelope, Topic};
use sql::StoreError;
use tokio::sync::Notify;

use super::{Memory, State, Tx};

/// A group's handler of events.
#[async_trait]
pub trait Handler<S: State>: Send + Sync + 'static {
    /// Writes the effect of one event, inside the one write of its batch. An event of an unknown type is
    /// `Ok`.
    ///
    /// # Errors
    /// See [`HandlerError`]. Nothing of the effect is left then.
    fn handle(&self, tx: &mut Tx<S>, event: &Envelope) -> Result<(), HandlerError>;

    /// Empties the projection that was made of `topics`, before they are read again from the start.
    fn reset(&self, tx: &mut Tx<S>, topics: &[String]);

    /// Prepares a reset, before its write.
    ///
    /// # Errors
    /// When it must not happen now.
    async fn prepare_reset(&self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Ends a write that moved the group's offsets to `next`. True if the handled events were new ones, so
    /// that their age says how fresh the projection is.
    fn moved(&self, _tx: &mut Tx<S>, _next: &Offsets) -> bool {
        true
    }
}

/// The rows of a group.
#[derive(Clone, Default)]
pub(super) struct Group {
    offsets: Offsets,
    versions: BTreeMap<Key, i64>,
    blocks: BTreeMap<Key, (i64, Block)>,
    /// The number that the last blocked key got.
    last: i64,
    /// The types and records of waiting events, by key and version.
    waiting: BTreeMap<(Key, i64), (Option<String>, String)>,
}

impl Group {
    fn known<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> HashMap<Key, Known> {
        let known = |key: &Key| Known {
            version: self.versions.get(key).copied(),
            block: self.blocks.get(key).map(|(_, block)| block.clone()),
            ..Known::default()
        };
        keys.into_iter()
            .map(|key| (key.clone(), known(key)))
            .collect()
    }

    /// The versions, types and records of the events that wait for `key`.
    fn waiting(&self, key: &Key) -> impl Iterator<Item = (i64, Option<&String>, &String)> {
        let of_key = self
            .waiting
            .range((key.clone(), i64::MIN)..=(key.clone(), i64::MAX));
        of_key.map(|((_, version), (event_type, record))| (*version, event_type.as_ref(), record))
    }

    fn numbered(&self, id: i64) -> Option<&Key> {
        let mut blocks = self.blocks.iter();
        blocks.find_map(|(key, (number, _))| (*number == id).then_some(key))
    }
}

/// A consumer group whose store is a [`Memory`].
pub struct MemoryConsumer<S, H> {
    memory: Memory<S>,
    member: Member,
    handler: H,
}

impl<S: State, H: Handler<S>> MemoryConsumer<S, H> {
    /// The group `group` that reads `topics` and lets `handler` write their effect into `memory`.
    pub fn new(memory: Memory<S>, group: &'static str, topics: &[Topic], handler: H) -> Self {
        Self {
            memory,
            member: Member::new(group, topics),
            handler,
        }
    }

    /// The consumer for a [`blocks::Service`].
    pub fn consumer(self) -> Consumer {
        let (group, topics) = (self.member.group, self.member.topics.clone());
        Consumer::new(group, &topics, Arc::new(self))
    }

    async fn read<T>(&self, look: impl FnOnce(&Group) -> T) -> Result<T, StoreError> {
        let kept = self.memory.kept().await?;
        Ok(match kept.groups.get(self.member.group) {
            Some(group) => look(group),
            None => look(&Group::default()),
        })
    }

    fn group<'t>(&self, tx: &'t mut Tx<S>) -> &'t mut Group {
        tx.kept.groups.entry(self.member.group).or_default()
    }

    async fn write_batch(&self, records: &[Record]) -> Result<Applied, ApplyError> {
        let (kept, mut tx) = self.memory.begin().await.map_err(away)?;
        let stored = self.group(&mut tx).offsets.clone();
        let partitions = partitions_of(records);
        let mut stands = Stands::of(&partitions, &stored, &self.member.offsets())?;
        let fresh = stands.fresh(records);
        let keys = self
            .group(&mut tx)
            .known(fresh.iter().map(|(_, key, _)| key));
        let mut plan = Plan::new(&self.member, tx.now(), keys);
        plan.applied.skipped += (records.len() - fresh.len()) as u64;
        for (record, key, event) in &fresh {
            match event {
                Err(malformed) => plan.unreadable(record, malformed),
                Ok(event) => {
                    if plan.event(key, record, event) {
                        let done = self.effect(&mut tx, record, event).await?;
                        plan.done(key, record, event, done);
                    }
                }
            }
        }
        let mut applied = self.store(&mut tx, plan);
        let group = self.group(&mut tx);
        group.offsets.extend(stands.moves());
        let next = group.offsets.clone();
        if !self.handler.moved(&mut tx, &next) {
            applied.freshness_ms.clear();
        }
        self.memory.commit(kept, tx).map_err(away)?;
        let partitions = partitions.into_iter();
        self.member.learn(partitions.map(|of| {
            let next = next.get(&of).copied().unwrap_or_default();
            (of, next)
        }));
        Ok(applied)
    }

    /// Lets the handler write an effect. The inner error is its refusal.
    async fn effect(
        &self,
        tx: &mut Tx<S>,
        record: &Record,
        event: &Envelope,
    ) -> Result<Result<(), HandlerError>, ApplyError> {
        let (before, hooks) = (tx.kept.clone(), tx.hooks.len());
        let effect = async { self.handler.handle(tx, event) };
        match handling(self.member.group, record, event, effect).await {
            Ok(()) => Ok(Ok(())),
            Err(HandlerError::Unavailable(cause)) => Err(ApplyError::Unavailable(cause)),
            Err(refused) => {
                tx.kept = before;
                tx.hooks.truncate(hooks);
                Ok(Err(refused))
            }
        }
    }

    fn store(&self, tx: &mut Tx<S>, plan: Plan<'_>) -> Applied {
        let group = self.group(tx);
        let moved = plan.keys.iter().filter(|(_, known)| known.moved);
        let versions = moved.filter_map(|(key, known)| Some((key.clone(), known.version?)));
        group.versions.extend(versions);
        for row in plan.rows {
            if let Some(record) = row.record {
                let event_type = row.event.map(|(_, event_type)| event_type);
                group
                    .waiting
                    .insert((row.key, row.version), (event_type, record));
            }
        }
        for waited in &plan.unparked {
            group.waiting.remove(waited);
        }
        for key in &plan.blocks {
            let before = group.blocks.remove(key);
            if let Some(block) = plan.keys[key].block.clone() {
                let number = before.map_or_else(
                    || {
                        group.last += 1;
                        group.last
                    },
                    |(number, _)| number,
                );
                group.blocks.insert(key.clone(), (number, block));
            }
        }
        let now = tx.now();
        for (event_type, dead_letter) in plan.dead_letters {
            tx.kept.outbox.push(&event_type, 0, dead_letter, now);
        }
        self.member.fills(plan.filled);
        plan.applied
    }

    /// Makes a blocked key due; with `discards`, gives up what it waits for before.
    async fn resume(&self, id: i64, discards: bool) -> Result<bool, BoxError> {
        let resumed = self.memory.write::<_, StoreError>(|tx| {
            let now = tx.now();
            let group = self.group(tx);
            let Some(key) = group.numbered(id).cloned() else {
                return Ok(false);
            };
            let first = group.waiting(&key).next().map(|(version, ..)| version);
            let mut plan = Plan::new(&self.member, now, group.known([&key]));
            if discards {
                plan.discard(&key, first);
            } else {
                plan.replay(&key);
            }
            self.store(tx, plan);
            Ok(true)
        });
        let resumed = resumed.await?;
        self.member.due.notify_one();
        Ok(resumed)
    }
}

fn away(error: StoreError) -> ApplyError {
    ApplyError::Unavailable(error.into())
}

#[async_trait]
impl<S: State, H: Handler<S>> ParkedKeys for MemoryConsumer<S, H> {
    async fn due_keys(&self, max: usize) -> Result<Vec<Key>, ApplyError> {
        let now = self.memory.clock().now();
        let due = self.read(|group| {
            let due = group
                .blocks
                .iter()
                .filter(|(_, (_, block))| block.is_due(now));
            let mut due: Vec<_> = due
                .map(|(key, (_, block))| (block.retry_at, key.clone()))
                .collect();
            due.sort();
            due
        });
        let due = due.await.map_err(away)?;
        Ok(due.into_iter().take(max).map(|(_, key)| key).collect())
    }

    async fn apply_page(&self, key: &Key) -> Result<Option<(Applied, bool)>, ApplyError> {
        let (kept, mut tx) = self.memory.begin().await.map_err(away)?;
        let now = tx.now();
        let group = self.group(&mut tx);
        let mut keys = group.known([key]);
        if keys.values().all(|known| !known.is_due(now)) {
            return Ok(None);
        }
        let waiting = group.waiting(key).take(PAGE);
        let waiting =
            waiting.map(|(version, _, record)| Ok((version, read_record(&key.topic, record)?)));
        let waiting: Result<Vec<(i64, Record)>, BoxError> = waiting.collect();
        let waiting = waiting.map_err(ApplyError::Unavailable)?;
        if let Some(real) = readable_now(key, &waiting) {
            keys.extend(group.known([&real]));
        }
        let mut plan = Plan::new(&self.member, now, keys);
        let mut page = plan.page(key, waiting);
        while let Some((record, event)) = plan.next(&mut page) {
            let done = self.effect(&mut tx, &record, &event).await?;
            plan.tried(&mut page, &record, &event, done);
        }
        let applied = self.store(&mut tx, plan);
        self.memory.commit(kept, tx).map_err(away)?;
        Ok(Some((applied, page.goes_on())))
    }
}

#[async_trait]
impl<S: State, H: Handler<S>> Positions for MemoryConsumer<S, H> {
    async fn begin_at(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, BoxError> {
        let stored = self.stored_positions(topic).await?;
        Ok(self.member.begin_at(topic, partitions, stored))
    }
}

#[async_trait]
impl<S: State, H: Handler<S>> ConsumerStore for MemoryConsumer<S, H> {
    fn starts_over(&self) {
        self.member.starts_over();
    }

    async fn stored_positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, BoxError> {
        let stored = self.read(|group| {
            let of_topic = group.offsets.iter().filter(|(of, _)| of.topic == topic);
            of_topic.map(|(of, next)| (of.partition, *next)).collect()
        });
        Ok(stored.await?)
    }

    async fn apply(&self, records: &[Record]) -> Result<Applied, ApplyError> {
        let applied = self.write_batch(records).await?;
        self.member.go_on(self).await;
        self.member.note(applied);
        Ok(self.member.report())
    }

    async fn retry_due(&self) -> Result<Applied, ApplyError> {
        self.member.retry_due(self).await?;
        Ok(self.member.report())
    }

    async fn pulse(&self) -> Result<Pulse, BoxError> {
        let now = self.memory.clock().now();
        let pulse = self.read(|group| {
            let blocks = group.blocks.values().map(|(_, block)| block.clone());
            Pulse::of(blocks, now)
        });
        Ok(pulse.await?)
    }

    async fn give_up_gaps(&self, topic: &str, partitions: &[i32]) -> Result<(), BoxError> {
        let any = self.member.base(topic) == Base::Any;
        self.memory
            .write(|tx| {
                let now = tx.now();
                let group = self.group(tx);
                for (key, (_, block)) in &mut group.blocks {
                    let is_gap = block.reason == Reason::Gap && block.retry_at.is_none();
                    let is_here = &*key.topic == topic && partitions.contains(&block.partition);
                    let is_lost = any || !group.versions.contains_key(key);
                    if is_gap && is_here && is_lost && block.since <= listed_since(now) {
                        block.retry_at = Some(now);
                    }
                }
                Ok(())
            })
            .await
    }

    fn due(&self) -> &Notify {
        &self.member.due
    }

    async fn blocked(&self) -> Result<Vec<Blocked>, BoxError> {
        let now = self.memory.clock().now();
        let blocked = self.read(|group| {
            let listed = group
                .blocks
                .iter()
                .filter(|(_, (_, block))| block.is_listed(now));
            let listed = listed.map(|(key, (id, block))| {
                let first = group.waiting(key).next();
                Blocked {
                    id: *id,
                    group: self.member.group.to_owned(),
                    topic: key.topic.to_string(),
                    key: key.key.to_string(),
                    reason: block.reason,
                    error: block.error.clone(),
                    attempts: block.attempts,
                    since: block.since,
                    version: first.map(|(version, ..)| version),
                    event_type: first.and_then(|(_, event_type, _)| event_type.cloned()),
                    waiting: i64::try_from(group.waiting(key).count()).unwrap_or(i64::MAX),
                }
            });
            let mut listed: Vec<Blocked> = listed.collect();
            listed.sort_by_key(|blocked| blocked.id);
            listed
        });
        Ok(blocked.await?)
    }

    async fn waiting(&self, id: i64, max: usize) -> Result<Vec<Record>, BoxError> {
        let waiting = self.read(|group| {
            let Some(key) = group.numbered(id) else {
                return Ok(Vec::new());
            };
            let records = group.waiting(key).take(max);
            records
                .map(|(_, _, record)| read_record(&key.topic, record))
                .collect()
        });
        waiting.await?
    }

    async fn replay(&self, id: i64) -> Result<bool, BoxError> {
        self.resume(id, false).await
    }

    async fn discard(&self, id: i64) -> Result<bool, BoxError> {
        self.resume(id, true).await
    }

    async fn reset(&self, topics: &[String]) -> Result<(), BoxError> {
        self.handler.prepare_reset().await?;
        let reset = self.memory.write::<_, StoreError>(|tx| {
            let is_of = |topic: &str| topics.iter().any(|of| of == topic);
            let group = self.group(tx);
            group.offsets.retain(|of, _| !is_of(&of.topic));
            group.versions.retain(|key, _| !is_of(&key.topic));
            group.blocks.retain(|key, _| !is_of(&key.topic));
            group.waiting.retain(|(key, _), _| !is_of(&key.topic));
            let next = group.offsets.clone();
            self.handler.reset(tx, topics);
            self.handler.moved(tx, &next);
            Ok(())
        });
        let reset = reset.await;
        // Also when it failed: it may be committed although its answer was lost.
        self.member.due.notify_one();
        Ok(reset?)
    }

    /// Processed events leave at once.
    async fn clean_up(&self) -> Result<u64, BoxError> {
        Ok(0)
    }
}
