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
mod drain;
mod keys;
mod operator;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use blocks::Clock;
use blocks::bus::{Positions, Record, TopicPartition};
use blocks::consumer::{
    Applied, ApplyError, Blocked, ConsumerStore, HandlerError, Member, Offsets, Plan, Pulse,
};
use blocks::error::BoxError;
use chrono::TimeDelta;
use events::{Envelope, Topic};
use redis::{Pipeline, Script};
use sql::FaultPoint;
use tokio::sync::Notify;
use uuid::Uuid;

use super::args::Args;
use super::link::Link;

/// The effects of a group's events, given to its script as arguments for commands of its own.
#[async_trait]
pub trait Effects: Send + Sync + 'static {
    /// Lua that adds to the table `commands`. Each command is a function that takes the index of its
    /// first argument in `ARGV`, and returns the index after its last. Keys begin with `projection`.
    /// The Lua may set `answer`, a function that returns a number for the script's answer. Commands
    /// must not fail.
    fn script(&self) -> String;

    /// Adds the script arguments for one event's effect to `args`. They are dropped if it fails. An event
    /// of an unknown type is `Ok`. The effect of some events is computed but not used, so this must have no
    /// other side effect.
    ///
    /// # Errors
    /// See [`HandlerError`].
    fn effect(&self, event: &Envelope, args: &mut Args) -> Result<(), HandlerError>;

    /// The arguments that drop what `topics` made, before they are read again from the start.
    ///
    /// # Errors
    /// When it must not happen now.
    async fn forget(&self, topics: &[String]) -> Result<Args, BoxError>;

    /// Does what must follow writes of `group` that gave `answer`. If this fails, the writes stay: given again
    /// they are skipped, and only this is tried again. True if the handled events were new ones, so that
    /// their age says how fresh the projection is.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn settle(&self, _group: &Group, _answer: i64) -> Result<bool, BoxError> {
        Ok(true)
    }
}

/// A group's name, topics and keys.
pub struct GroupSettings {
    pub group: &'static str,
    /// The topics that it reads.
    pub topics: Vec<Topic>,
    /// The prefix of its keys.
    pub prefix: String,
    /// The prefix of its projection's keys.
    pub projection: String,
    /// The time, for what backs off.
    pub clock: Arc<dyn Clock>,
}

/// A consumer group's store.
pub struct Group {
    pub(super) link: Arc<Link>,
    settings: GroupSettings,
    effects: Arc<dyn Effects>,
    script: Script,
    member: Member,
    /// The greatest answer of the projection since it was last taken.
    answer: AtomicI64,
}

/// Records in one batch: several writes, so that Redis finds the next one sent when it has done
/// one.
const BATCH: usize = 8000;
/// A key that is due for this long was left by a member that is gone.
const OVERDUE: TimeDelta = TimeDelta::seconds(2);
/// Most tries of a write when other members write in between.
const ATTEMPTS: usize = 50;
/// The error after as many.
const BUSY: &str = "others write the same partitions all the time";

impl Group {
    /// The group's store behind `link`.
    pub fn new(link: Arc<Link>, settings: GroupSettings, effects: Arc<dyn Effects>) -> Self {
        let code = include_str!("group.lua");
        let script = code.replace("--- the projection's commands ---", &effects.script());
        Self {
            link,
            member: Member::new(settings.group, &settings.topics),
            settings,
            effects,
            script: Script::new(&script),
            answer: AtomicI64::default(),
        }
    }

    /// One of the group's keys.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.settings.prefix)
    }

    /// Runs the script with `args`; false if one of `checks` did not hold, and nothing is written.
    async fn run(&self, checks: &[[String; 3]], args: Args) -> Result<bool, BoxError> {
        self.run_as(self.settings.clock.id(), checks, args).await
    }

    /// Runs the script as the write that `id` names.
    async fn run_as(&self, id: Uuid, checks: &[[String; 3]], args: Args) -> Result<bool, BoxError> {
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
        let (done, answer): (String, i64) = self.link.write(&self.script, &all).await?;
        if done != "done" {
            return Ok(false);
        }
        self.link.fault(FaultPoint::AfterCommit)?;
        self.answer.fetch_max(answer, Ordering::Relaxed);
        Ok(true)
    }

    /// Writes what was decided about a key by the state that `checks` name; `None` if it has changed.
    async fn write_plan(
        &self,
        checks: &[[String; 3]],
        mut args: Args,
        plan: Plan<'_>,
    ) -> Result<Option<Applied>, BoxError> {
        let decided = batch::add(self, plan, &mut args)?;
        self.member.fills(decided.filled);
        let is_written = self.run(checks, args).await?;
        Ok(is_written.then_some(decided.applied))
    }

    /// Runs `args` without checks: for a group that nobody runs yet.
    pub(super) async fn write_unchecked(&self, args: Args) -> Result<(), BoxError> {
        self.run(&[], args).await.map(drop)
    }

    /// Wakes the consumer if a key is long overdue.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn look_around(&self) -> Result<(), BoxError> {
        let overdue = self.settings.clock.now() - OVERDUE;
        let next_due = operator::pulse(self).await?.next_due;
        if next_due.is_some_and(|due| due < overdue) {
            self.member.due.notify_one();
        }
        Ok(())
    }

    /// Forgets `topics` and runs `args` if all of `checks` hold; false when one did not. The versions
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
        self.member.due.notify_one();
        done
    }

    fn take_answer(&self) -> i64 {
        self.answer.swap(0, Ordering::Relaxed)
    }

    /// Ends a batch that leaves partitions at the offsets `here`. Returns the results of its records and
    /// of earlier ones not yet reported.
    async fn settle(&self, here: Offsets) -> Result<Applied, ApplyError> {
        let settled = self.effects.settle(self, self.take_answer()).await;
        let are_new = settled.map_err(ApplyError::Unavailable)?;
        self.member.learn(here);
        let mut applied = self.member.report();
        if !are_new {
            applied.freshness_ms.clear();
        }
        Ok(applied)
    }

    fn offsets_query(&self) -> Pipeline {
        let mut pipeline = Pipeline::new();
        pipeline.hgetall(self.key("offsets"));
        pipeline
    }
}

/// Parses the hash of next offsets, by partition.
fn offsets((fields,): (BTreeMap<String, i64>,)) -> Result<Offsets, BoxError> {
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
fn of_topic(offsets: Offsets, topic: &str) -> BTreeMap<i32, i64> {
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
        Ok(self.member.begin_at(topic, partitions, stored))
    }
}

#[async_trait]
impl ConsumerStore for Group {
    fn starts_over(&self) {
        self.member.starts_over();
    }

    async fn stored_positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, BoxError> {
        let offsets = offsets(self.link.read(&self.offsets_query()).await?)?;
        Ok(of_topic(offsets, topic))
    }

    fn most_at_once(&self) -> usize {
        BATCH
    }

    async fn apply(&self, records: &[Record]) -> Result<Applied, ApplyError> {
        let here = write::write(self, records).await?;
        self.member.go_on(self).await;
        self.settle(here).await
    }

    async fn retry_due(&self) -> Result<Applied, ApplyError> {
        self.member.retry_due(self).await?;
        self.settle(Offsets::new()).await
    }

    async fn pulse(&self) -> Result<Pulse, BoxError> {
        operator::pulse(self).await
    }

    async fn give_up_gaps(&self, topic: &str, partitions: &[i32]) -> Result<(), BoxError> {
        operator::give_up_gaps(self, topic, partitions).await
    }

    fn due(&self) -> &Notify {
        &self.member.due
    }

    async fn blocked(&self) -> Result<Vec<Blocked>, BoxError> {
        operator::blocked(self).await
    }

    async fn waiting(&self, id: i64, max: usize) -> Result<Vec<Record>, BoxError> {
        operator::waiting(self, id, max).await
    }

    async fn replay(&self, id: i64) -> Result<bool, BoxError> {
        let found = operator::resume(self, id, false).await?;
        self.member.due.notify_one();
        Ok(found)
    }

    async fn discard(&self, id: i64) -> Result<bool, BoxError> {
        let found = operator::resume(self, id, true).await?;
        self.member.due.notify_one();
        Ok(found)
    }

    async fn reset(&self, topics: &[String]) -> Result<(), BoxError> {
        let args = self.effects.forget(topics).await?;
        self.forget(topics, &[], "", args).await?;
        self.effects.settle(self, self.take_answer()).await?;
        Ok(())
    }

    /// Versions are kept for ever: an old event that comes again must not bring a deleted post back.
    async fn clean_up(&self) -> Result<u64, BoxError> {
        Ok(0)
    }
}
