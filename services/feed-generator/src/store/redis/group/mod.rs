//! A consumer group's store in Redis: effect, versions, parked events and positions, one script a write.
//!
//! A member reads what it needs to know, decides in Rust, and tells one script what to do. The script
//! looks first whether all is still as the member read it: each partition names its last write, and
//! the store an epoch, which an emptied one no longer has. If not, the member reads again. So members
//! of different partitions never wait for each other, and two of the same partition never both write.
//!
//! Redis runs a script alone and keeps it whole, also in its append-only file, but undoes nothing of
//! one that fails: see `group.lua`. Not for Redis Cluster: a group's keys are not of one slot.

mod batch;
mod drain;
mod keys;
pub(super) mod moving;
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

use super::link::Link;
use super::words::Words;
use keys::Key;

/// What a group makes of its events, told to its script in words of its own.
pub trait Effects: Send + Sync + 'static {
    /// Lua that adds its words to `words`: each is a function of the place of its first argument in
    /// `ARGV`, and answers the place after its last. Keys begin with `projection`. It may set `told`, a
    /// function of what to tell at the end, a number. Words must not fail.
    fn script(&self) -> String;

    /// Says the effect of one event. What it said before it failed is taken back. An event of a type
    /// it does not know is `Ok`. It is also asked of events whose effect is not taken then: what it says is
    /// all that it may do.
    ///
    /// # Errors
    /// See [`HandlerError`].
    fn effect(&self, event: &Envelope, words: &mut Words) -> Result<(), HandlerError>;

    /// Says that what was made of `topics` goes, before they are read again from the start.
    fn forget(&self, topics: &[String], words: &mut Words);
}

/// What a group is.
pub struct GroupSettings {
    /// Its name.
    pub group: &'static str,
    /// What it reads.
    pub topics: Vec<Topic>,
    /// How its keys begin.
    pub prefix: String,
    /// How those of its projection begin.
    pub projection: String,
    /// The time, for what backs off.
    pub clock: Arc<dyn Clock>,
    /// How often a refused event is tried.
    pub retry: Retry,
}

/// A consumer group's store.
pub struct Group {
    pub(super) link: Arc<Link>,
    settings: GroupSettings,
    effects: Box<dyn Effects>,
    script: Script,
    due: Notify,
    /// Where this member believes each partition to be.
    believed: Mutex<Offsets>,
    /// Keys whose missing version came: what waited behind it is to go on.
    filled: Mutex<Vec<Key>>,
    /// What became of batches whose answer was a failure of what followed them.
    untold: Mutex<Applied>,
}

/// What a script answers.
enum Answer {
    /// All is done; what the projection tells of it.
    Done(i64),
    /// It is no longer as it was read: nothing is done.
    Changed,
}

/// The next offset of partitions.
pub type Offsets = BTreeMap<TopicPartition, i64>;

/// Records in one batch: several writes, so that the next one is there when Redis has done one.
const BATCH: usize = 8000;
/// What is due for so long was left by a member that is gone.
const OVERDUE: TimeDelta = TimeDelta::seconds(2);
/// How often a write is tried when others get in between.
const ATTEMPTS: usize = 50;

impl Group {
    /// The group's store behind `link`.
    pub fn new(link: Arc<Link>, settings: GroupSettings, effects: Box<dyn Effects>) -> Self {
        let code = include_str!("group.lua");
        let script = code.replace("--- the projection's words ---", &effects.script());
        Self {
            link,
            settings,
            effects,
            script: Script::new(&script),
            due: Notify::new(),
            believed: Mutex::default(),
            filled: Mutex::default(),
            untold: Mutex::default(),
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

    /// Runs the script: `words`, if all of `checks` hold.
    async fn run(&self, checks: &[[String; 3]], words: Words) -> Result<Answer, BoxError> {
        self.run_as(self.settings.clock.id(), checks, words).await
    }

    /// Runs the script as the write that `id` names.
    async fn run_as(
        &self,
        id: Uuid,
        checks: &[[String; 3]],
        words: Words,
    ) -> Result<Answer, BoxError> {
        self.link.fault(FaultPoint::BeforeCommit)?;
        let mut all = Words::default();
        all.say(self.settings.prefix.as_str())
            .say(id.to_string())
            .say(self.settings.projection.as_str())
            .say(checks.len().to_string());
        for text in checks.iter().flatten() {
            all.say(text.as_str());
        }
        all.append(words);
        let (done, told): (String, i64) = self.link.write(&self.script, &all).await?;
        if done != "done" {
            return Ok(Answer::Changed);
        }
        self.link.fault(FaultPoint::AfterCommit)?;
        Ok(Answer::Done(told))
    }

    /// Rings when the store is not where this member knows it to be, since it may have nothing to write
    /// by which it would find out: it was emptied or rolled back, or another process made it forget. And
    /// when something is long due that whoever was to try it did not.
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

    /// Forgets `topics` if all of `checks` hold, and says `words` besides; false when one did not hold.
    /// The versions are kept under the key `before`, if that is not empty.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn forget(
        &self,
        topics: &[String],
        checks: &[[String; 3]],
        before: &str,
        words: Words,
    ) -> Result<bool, BoxError> {
        let mut all = Words::default();
        for topic in topics {
            all.say("forget").say(topic.as_str()).say(before);
        }
        all.append(words);
        self.link.fault(FaultPoint::BeforeWrite)?;
        let done = self.run(checks, all).await;
        // Also when it failed: it may be done although its answer was lost.
        self.due.notify_one();
        Ok(matches!(done?, Answer::Done(_)))
    }

    /// Writes a batch, and answers what the projection tells of it and where it leaves the partitions. What
    /// follows from it comes before [`Group::done`].
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn apply_told(&self, records: &[Record]) -> Result<(i64, Offsets), ApplyError> {
        let (told, here) = write::write(self, records).await?;
        let told = told.max(drain::filled(self).await?);
        Ok((told, here))
    }

    /// Tries what is due, and answers what the projection tells of it.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn retry_told(&self) -> Result<i64, ApplyError> {
        drain::due(self).await
    }

    /// All that belongs to a batch is done, and partitions are `here`: what became of its records, and of
    /// those before whose answer was a failure.
    pub fn done(&self, here: Offsets) -> Applied {
        self.believed.lock().extend(here);
        self.take_untold()
    }

    fn goes_on_later(&self, keys: Vec<Key>) {
        let mut filled = self.filled.lock();
        filled.extend(keys);
    }

    fn told_later(&self, applied: Applied) {
        *self.untold.lock() += applied;
    }

    fn take_untold(&self) -> Applied {
        std::mem::take(&mut self.untold.lock())
    }

    fn offsets_query(&self) -> Pipeline {
        let mut pipeline = Pipeline::new();
        pipeline.hgetall(self.key("offsets"));
        pipeline
    }
}

/// The next offset of each partition, as the hash has it.
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

/// Those of one topic, by partition.
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
        let mut words = Words::default();
        self.effects.forget(topics, &mut words);
        self.forget(topics, &[], "", words).await.map(|_| ())
    }

    /// Versions are kept for ever: an old event that comes again must not bring a deleted post back.
    async fn clean_up(&self) -> Result<u64, BoxError> {
        Ok(0)
    }
}
