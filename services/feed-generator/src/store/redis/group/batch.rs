//! A batch: what becomes of each record, decided in order, and told to the script in one go.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use blocks::bus::{Record, TopicPartition};
use blocks::consumer::decide::{Decision, decide};
use blocks::consumer::parked::{UNREADABLE, dead_letter, read, record_text};
use blocks::consumer::{Applied, ApplyError, HandlerError, Reason};
use blocks::error::{BoxError, chain};
use chrono::{DateTime, TimeDelta, Utc};
use events::{Envelope, Malformed};
use sql::FaultPoint;

use super::keys::{Block, Key, Known, Look, field};
use super::{ATTEMPTS, Answer, Group};
use crate::store::redis::outbox;
use crate::store::redis::words::Words;

/// Writes a batch, looking again as long as others get in between.
pub(super) async fn write(group: &Group, records: &[Record]) -> Result<(Applied, i64), ApplyError> {
    let away = ApplyError::Unavailable;
    group.link.fault(FaultPoint::BeforeWrite).map_err(away)?;
    let read: Vec<(&Record, Result<Envelope, Malformed>)> = records
        .iter()
        .map(|record| (record, read(record)))
        .collect();
    let partitions: BTreeSet<TopicPartition> =
        records.iter().map(Record::topic_partition).collect();
    let keys = read.iter().filter_map(|(record, event)| {
        let event = event.as_ref().ok()?;
        Some(key_of(record, event))
    });
    let keys: BTreeSet<Key> = keys.collect();
    for _ in 0..ATTEMPTS {
        let look = group.look(&partitions, &keys).await.map_err(away)?;
        let fresh = fresh(group, &read, &look)?;
        let (checks, words) = look.begin(group);
        let mut batch = Batch {
            group,
            now: group.settings.clock.now(),
            keys: look.keys,
            words,
            applied: Applied {
                skipped: (read.len() - fresh.len()) as u64,
                ..Applied::default()
            },
            filled: Vec::new(),
        };
        let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for (record, event) in fresh {
            match event {
                Ok(event) => batch.event(record, event).map_err(away)?,
                Err(malformed) => batch.unreadable(record, malformed).map_err(away)?,
            }
            next.insert(record.topic_partition(), record.offset + 1);
        }
        batch.store();
        for (of, next) in &next {
            batch.words.say("offset").say(field(of)).number(*next);
        }
        let Batch {
            words,
            applied,
            filled,
            ..
        } = batch;
        // Before it is written: it may be although its answer is lost.
        group.goes_on_later(filled);
        if let Answer::Done(told) = group.run(&checks, words).await.map_err(away)? {
            let mut believed = group.believed();
            // Where another member went on, this one now knows; where it wrote itself, too.
            believed.extend(look.offsets);
            believed.extend(next);
            return Ok((applied, told));
        }
    }
    Err(away("others write the same partitions all the time".into()))
}

type ReadRecord<'a> = (&'a Record, &'a Result<Envelope, Malformed>);

/// The records that were not written before.
fn fresh<'a>(
    group: &Group,
    read: &'a [(&'a Record, Result<Envelope, Malformed>)],
    look: &Look,
) -> Result<Vec<ReadRecord<'a>>, ApplyError> {
    let believed = group.believed();
    let mut fresh = Vec::with_capacity(read.len());
    for (record, event) in read {
        let of = record.topic_partition();
        let stored = look.offsets.get(&of).copied().unwrap_or_default();
        let here = believed.get(&of).copied();
        if here > Some(stored) {
            return Err(ApplyError::Moved);
        }
        // What lies before a position that nobody else moved was asked for by the bus: its log begins
        // anew (it was lost, or brought back from a copy). Versions decide then.
        if record.offset >= stored || here == Some(stored) {
            fresh.push((*record, event));
        }
    }
    Ok(fresh)
}

fn key_of(record: &Record, event: &Envelope) -> Key {
    Key {
        topic: record.topic.clone(),
        key: event.subject.clone(),
    }
}

pub(super) struct Batch<'a> {
    pub group: &'a Group,
    pub now: DateTime<Utc>,
    pub keys: HashMap<Key, Known>,
    pub words: Words,
    pub applied: Applied,
    /// Keys whose missing version came.
    pub filled: Vec<Key>,
}

impl Batch<'_> {
    pub fn event(&mut self, record: &Record, event: &Envelope) -> Result<(), BoxError> {
        let key = key_of(record, event);
        let known = self.keys.entry(key.clone()).or_default();
        match decide(known.state(), self.group.base(&key.topic), event.sequence) {
            Decision::Skip => self.applied.skipped += 1,
            Decision::Park => self.park(record, &key, event.sequence)?,
            Decision::Gap => {
                let missing = known.version;
                self.park(record, &key, event.sequence)?;
                self.gap(&key, missing, event.sequence, record.partition)?;
            }
            Decision::Apply => {
                let fills_gap = known.block.is_some();
                match self.apply(event)? {
                    Ok(()) => {
                        self.handled(&key, event);
                        if fills_gap {
                            self.goes_on(&key)?;
                        }
                    }
                    Err(error) => {
                        self.park(record, &key, event.sequence)?;
                        self.refused(record, &key, &error)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Says the effect of `event`. The inner error is what it was refused with; nothing of its effect is
    /// said then. The outer one: what its effect needs is away.
    pub fn apply(&mut self, event: &Envelope) -> Result<Result<(), HandlerError>, BoxError> {
        let said = self.words.len();
        let effect = AssertUnwindSafe(|| self.group.effects.effect(event, &mut self.words));
        let done = catch_unwind(effect).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            let said = said.unwrap_or("no message");
            Err(HandlerError::Rejected(
                format!("the handler panicked: {said}").into(),
            ))
        });
        match done {
            Ok(()) => Ok(Ok(())),
            Err(HandlerError::Unavailable(cause)) => Err(cause),
            Err(error) => {
                self.words.unsay(said);
                Ok(Err(error))
            }
        }
    }

    /// Notes that `event` had its effect.
    pub fn handled(&mut self, key: &Key, event: &Envelope) {
        let known = self.keys.entry(key.clone()).or_default();
        known.version = Some(event.sequence);
        known.moved = true;
        self.applied.handled += 1;
        let age = self.now - event.time;
        self.applied.freshness_ms.push(age.num_milliseconds());
    }

    fn park(&mut self, record: &Record, key: &Key, version: i64) -> Result<(), BoxError> {
        self.applied.parked += 1;
        self.words.say("park").say(key.field()).number(version);
        self.words.say(record_text(record)?);
        Ok(())
    }

    /// Lets `key` wait for a version. It is never due by itself: the missing version ends it, or
    /// somebody who knows that none will come.
    pub fn gap(
        &mut self,
        key: &Key,
        known: Option<i64>,
        found: i64,
        partition: i32,
    ) -> Result<(), BoxError> {
        let error = match known {
            Some(known) => format!("version {} has not come, {found} has", known + 1),
            None => format!("no version before {found} has come"),
        };
        self.block(key, Reason::Gap, error, 0, None, partition)
    }

    /// The version that `key` waited for has come: what waits behind it is due.
    fn goes_on(&mut self, key: &Key) -> Result<(), BoxError> {
        let Some(block) = self.keys.get(key).and_then(|known| known.block.clone()) else {
            return Ok(());
        };
        self.filled.push(key.clone());
        self.block(
            key,
            Reason::Retrying,
            block.error,
            0,
            Some(self.now),
            block.partition,
        )
    }

    pub fn block(
        &mut self,
        key: &Key,
        reason: Reason,
        error: String,
        attempts: i64,
        retry_at: Option<DateTime<Utc>>,
        partition: i32,
    ) -> Result<(), BoxError> {
        let known = self.keys.entry(key.clone()).or_default();
        let before = known.block.as_ref();
        let block = Block {
            reason,
            error,
            attempts,
            retry_at,
            since: before.map_or(self.now, |block| block.since),
            partition: before.map_or(partition, |block| block.partition),
        };
        self.words.say("block").say(key.field());
        self.words.say(serde_json::to_string(&block)?);
        known.block = Some(block);
        Ok(())
    }

    /// A record that is no event stays alone under a key of its own: whatever its key was, its place
    /// among the versions is not known. If it took one, the next version shows the gap.
    fn unreadable(&mut self, record: &Record, malformed: &Malformed) -> Result<(), BoxError> {
        let key = Key {
            topic: record.topic.clone(),
            key: format!("{UNREADABLE}{}/{}", record.partition, record.offset),
        };
        self.park(record, &key, 0)?;
        let error = HandlerError::Poison(malformed.to_string().into());
        self.refused(record, &key, &error)
    }

    /// Blocks `key` after its first waiting event was refused: to be tried again, or for good.
    pub fn refused(
        &mut self,
        record: &Record,
        key: &Key,
        error: &HandlerError,
    ) -> Result<(), BoxError> {
        let attempts = self.keys.entry(key.clone()).or_default().attempts() + 1;
        self.applied.failed += 1;
        let retry = &self.group.settings.retry;
        let reason = match error {
            HandlerError::Poison(_) => Reason::Poison,
            _ if attempts >= retry.attempts => Reason::Rejected,
            _ => Reason::Retrying,
        };
        let pause: Option<TimeDelta> = (reason == Reason::Retrying).then(|| retry.pause(attempts));
        let retry_at = pause.map(|pause| self.now + pause);
        let text = chain(error);
        self.block(
            key,
            reason,
            text.clone(),
            attempts,
            retry_at,
            record.partition,
        )?;
        if reason != Reason::Retrying {
            self.applied.dead += 1;
            let group = self.group.settings.group;
            tracing::error!(
                group, topic = %key.topic, key = %key.key,
                reason = reason.as_str(), attempts, error = %text,
                "gave up on an event: its key waits until it is replayed or discarded"
            );
            let letter = dead_letter(group, record, reason, attempts, &text);
            self.words
                .say("letter")
                .say(outbox::text(&letter, self.now)?);
        }
        Ok(())
    }

    /// Says the versions that moved.
    pub fn store(&mut self) {
        let mut by_topic: BTreeMap<&str, Vec<(&str, i64)>> = BTreeMap::new();
        for (key, known) in &self.keys {
            if let (true, Some(version)) = (known.moved, known.version) {
                by_topic
                    .entry(&key.topic)
                    .or_default()
                    .push((&key.key, version));
            }
        }
        for (topic, moved) in by_topic {
            self.words.say("versions").say(topic);
            self.words.say((2 * moved.len()).to_string());
            for (key, version) in moved {
                self.words.say(key).number(version);
            }
        }
    }
}
