//! A consumer group's store in Redis: effects, versions, parked events and offsets, one script a write.
//!
//! A member reads the state it needs, decides in Rust, and sends one script. The script first checks
//! that the state is still as the member read it. For this each partition names its last write, and
//! the store an epoch, which an emptied store lacks. If a check fails, the member reads again. So
//! members of different partitions never wait for each other, and two of the same partition never
//! both write.
//!
//! Redis runs a script alone and keeps it whole, also in its append-only file. But it undoes nothing
//! of a script that fails: see `group.lua`. Not for Redis Cluster: a group's keys are not of one
//! slot.

mod batch;
pub(super) mod data_migration;
mod drain;
mod keys;
mod operator;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::Clock;
use blocks::bus::{Positions, Record, TopicPartition, note_start};
use blocks::consumer::decide::Base;
use blocks::consumer::{Applied, ApplyError, Blocked, ConsumerStore, HandlerError, Pulse, Retry};
use blocks::error::BoxError;
use chrono::TimeDelta;
use events::{Cleanup, Envelope, Topic};
use parking_lot::Mutex;
use redis::{Pipeline, Script};
use sql::FaultPoint;
use tokio::sync::Notify;
use uuid::Uuid;

use super::args::Args;
use super::link::Link;
use keys::Key;

/// The effects of a group's events, given to its script as arguments for commands of its own.
pub trait Effects: Send + Sync + 'static {
    /// Lua that adds commands to the table `words`. Each is a function that takes the index of its
    /// first argument in `ARGV`, and returns the index after its last. Keys begin with `projection`.
    /// The Lua may set `told`, a function that returns a number for the script's answer. Commands must
    /// not fail.
    fn script(&self) -> String;

    /// Adds the script arguments for one event's effect to `words`. They are dropped if it fails. An event
    /// of an unknown type is `Ok`. The effect of some events is computed but not used, so this must have no
    /// other side effect.
    ///
    /// # Errors
    /// See [`HandlerError`].
    fn effect(&self, event: &Envelope, args: &mut Args) -> Result<(), HandlerError>;

    /// Adds the arguments that drop what `topics` made, before they are read again from the start.
    fn forget(&self, topics: &[String], args: &mut Args);
}

/// A group's name, topics, keys and retries.
pub struct GroupSettings {
    /// The group's name.
    pub group: &'static str,
    /// The topics that it reads.
    pub topics: Vec<Topic>,
    /// The prefix of its keys.
    pub prefix: String,
    /// The prefix of its projection's keys.
    pub projection: String,
    /// The time, for what backs off.
    pub clock: Arc<dyn Clock>,
    /// The number and pace of tries for a refused event.
    pub retry: Retry,
}

/// A consumer group's store.
pub struct Group {
    pub(super) link: Arc<Link>,
    settings: GroupSettings,
    effects: Box<dyn Effects>,
    script: Script,
    due: Notify,
    /// The next offset of each partition, as far as this member knows.
    believed: Mutex<Offsets>,
    /// Keys whose missing version came: the events parked behind it go on.
    filled: Mutex<Vec<Key>>,
    /// Results of writes whose batch failed later: the next answer reports them.
    unreported: Mutex<Applied>,
}

/// The answer of a script.
enum Answer {
    /// All is written; the number is the projection's answer.
    Done(i64),
    /// A check failed: nothing is written.
    Changed,
}

/// The next offset of partitions.
pub type Offsets = BTreeMap<TopicPartition, i64>;

/// Records in one batch: several writes, so that Redis finds the next one sent when it has done
/// one.
const BATCH: usize = 8000;
/// A key that is due for this long was left by a member that is gone.
const OVERDUE: TimeDelta = TimeDelta::seconds(2);
/// How often a write is tried when other members write in between.
const ATTEMPTS: usize = 50;

impl Group {
    /// The group's store behind `link`.
    pub fn new(link: Arc<Link>, settings: GroupSettings, effects: Box<dyn Effects>) -> Self {
        let code = include_str!("group.lua");
        let script = code.replace("--- the projection's commands ---", &effects.script());
        Self {
            link,
            settings,
            effects,
            script: Script::new(&script),
            due: Notify::new(),
            believed: Mutex::default(),
            filled: Mutex::default(),
            unreported: Mutex::default(),
        }
    }

    /// One of the group's keys.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.settings.prefix)
    }

    fn base(&self, topic: &str) -> Base {
        let compacted = |topic: &Topic| matches!(topic.cleanup, Cleanup::Compact { .. });
        match self
            .settings
            .topics
            .iter()
            .find(|known| known.name == topic)
        {
            Some(topic) if compacted(topic) => Base::Any,
            _ => Base::First,
        }
    }

    /// Runs the script with `words`, which it obeys only if all of `checks` hold.
    async fn run(&self, checks: &[[String; 3]], args: Args) -> Result<Answer, BoxError> {
        self.run_as(self.settings.clock.id(), checks, args).await
    }

    /// Runs the script as the write that `id` names.
    async fn run_as(
        &self,
        id: Uuid,
        checks: &[[String; 3]],
        args: Args,
    ) -> Result<Answer, BoxError> {
        self.link.fault(FaultPoint::BeforeCommit)?;
        let mut all = Args::default();
        all.push(self.settings.prefix.as_str())
            .push(id.to_string())
            .push(self.settings.projection.as_str())
            .push(checks.len().to_string());
        for text in checks.iter().flatten() {
            all.push(text.as_str());
        }
        all.append(args);
        let (done, told): (String, i64) = self.link.write(&self.script, &all).await?;
        if done != "done" {
            return Ok(Answer::Changed);
        }
        self.link.fault(FaultPoint::AfterCommit)?;
        Ok(Answer::Done(told))
    }

    /// Wakes the consumer if the store is behind what this member knows, or if a key is long overdue.
    /// The store may have been emptied, rolled back or reset by another process. A member with nothing
    /// to write would not notice.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn look_around(&self) -> Result<(), BoxError> {
        let offsets = offsets(self.link.ask(&self.offsets_query()).await?)?;
        let is_behind = self.believed.lock().iter().any(|(of, next)| {
            let stored = offsets.get(of).copied();
            stored.unwrap_or_default() < *next
        });
        let overdue = self.settings.clock.now() - OVERDUE;
        let next_due = operator::pulse(self).await?.next_due;
        if is_behind || next_due.is_some_and(|due| due < overdue) {
            self.due.notify_one();
        }
        Ok(())
    }

    /// Forgets `topics` and runs `words` if all of `checks` hold; false when one did not. The versions
    /// are kept under the key `before`, if that is not empty.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn forget(
        &self,
        topics: &[String],
        checks: &[[String; 3]],
        before: &str,
        args: Args,
    ) -> Result<bool, BoxError> {
        let mut all = Args::default();
        for topic in topics {
            all.push("forget").push(topic.as_str()).push(before);
        }
        all.append(args);
        self.link.fault(FaultPoint::BeforeWrite)?;
        let done = self.run(checks, all).await;
        // Also after a failure: the write may be done although its answer was lost.
        self.due.notify_one();
        Ok(matches!(done?, Answer::Done(_)))
    }

    /// Writes a batch; returns the projection's answer and the next offsets of its partitions. The caller
    /// does its follow-up first, then calls [`Group::done`].
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn apply_told(&self, records: &[Record]) -> Result<(i64, Offsets), ApplyError> {
        let (told, here) = write::write(self, records).await?;
        let told = told.max(drain::filled(self).await?);
        Ok((told, here))
    }

    /// Tries the keys that are due; returns the projection's answer.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn retry_told(&self) -> Result<i64, ApplyError> {
        drain::due(self).await
    }

    /// Ends a batch that leaves partitions at the offsets `here`. Returns the results of its records and
    /// of earlier ones not yet reported.
    pub fn done(&self, here: Offsets) -> Applied {
        self.believed.lock().extend(here);
        self.take_untold()
    }

    fn goes_on_later(&self, keys: Vec<Key>) {
        let mut filled = self.filled.lock();
        filled.extend(keys);
    }

    fn told_later(&self, applied: Applied) {
        *self.unreported.lock() += applied;
    }

    fn take_untold(&self) -> Applied {
        std::mem::take(&mut self.unreported.lock())
    }

    fn offsets_query(&self) -> Pipeline {
        let mut pipeline = Pipeline::new();
        pipeline.hgetall(self.key("offsets"));
        pipeline
    }
}

/// Parses the hash of next offsets, by partition.
fn offsets((fields,): (BTreeMap<String, i64>,)) -> Result<BTreeMap<TopicPartition, i64>, BoxError> {
    let read = fields.into_iter().map(|(field, next)| {
        let (topic, partition) = field.rsplit_once('/').ok_or("an offset of no partition")?;
        let of = TopicPartition {
            topic: topic.to_owned(),
            partition: partition.parse()?,
        };
        Ok((of, next))
    });
    read.collect()
}

/// The offsets of one topic, by partition.
fn of_topic(offsets: BTreeMap<TopicPartition, i64>, topic: &str) -> BTreeMap<i32, i64> {
    let of_topic = offsets.into_iter().filter(|(of, _)| of.topic == topic);
    of_topic.map(|(of, next)| (of.partition, next)).collect()
}

#[async_trait]
impl Positions for Group {
    async fn begin_at(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, BoxError> {
        let offsets = offsets(self.link.ask(&self.offsets_query()).await?)?;
        let stored = of_topic(offsets, topic);
        Ok(note_start(
            &mut self.believed.lock(),
            topic,
            partitions,
            stored,
        ))
    }
}

#[async_trait]
impl ConsumerStore for Group {
    fn starts_over(&self) {
        self.believed.lock().clear();
    }

    async fn stored_positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, BoxError> {
        let offsets = offsets(self.link.read(&self.offsets_query()).await?)?;
        Ok(of_topic(offsets, topic))
    }

    fn most_at_once(&self) -> usize {
        BATCH
    }

    async fn apply(&self, records: &[Record]) -> Result<Applied, ApplyError> {
        let (_, here) = self.apply_told(records).await?;
        Ok(self.done(here))
    }

    async fn retry_due(&self) -> Result<Applied, ApplyError> {
        self.retry_told().await?;
        Ok(self.done(Offsets::new()))
    }

    async fn pulse(&self) -> Result<Pulse, BoxError> {
        operator::pulse(self).await
    }

    async fn give_up_gaps(&self, topic: &str, partitions: &[i32]) -> Result<(), BoxError> {
        operator::give_up_gaps(self, topic, partitions).await
    }

    fn due(&self) -> &Notify {
        &self.due
    }

    async fn blocked(&self) -> Result<Vec<Blocked>, BoxError> {
        operator::blocked(self).await
    }

    async fn waiting(&self, id: i64, max: usize) -> Result<Vec<Record>, BoxError> {
        operator::waiting(self, id, max).await
    }

    async fn replay(&self, id: i64) -> Result<bool, BoxError> {
        let found = operator::replay(self, id).await?;
        self.due.notify_one();
        Ok(found)
    }

    async fn discard(&self, id: i64) -> Result<bool, BoxError> {
        let found = operator::discard(self, id).await?;
        self.due.notify_one();
        Ok(found)
    }

    async fn reset(&self, topics: &[String]) -> Result<(), BoxError> {
        let mut args = Args::default();
        self.effects.forget(topics, &mut args);
        self.forget(topics, &[], "", args).await.map(|_| ())
    }

    /// Versions are kept for ever: an old event that comes again must not bring a deleted post back.
    async fn clean_up(&self) -> Result<u64, BoxError> {
        Ok(0)
    }
}
