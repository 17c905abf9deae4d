//! What becomes of each record of a write, decided in order and said in words for the script.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use blocks::bus::Record;
use blocks::consumer::decide::{Decision, decide};
use blocks::consumer::parked::{UNREADABLE, dead_letter, record_text};
use blocks::consumer::{Applied, HandlerError, Reason};
use blocks::error::{BoxError, chain};
use chrono::{DateTime, TimeDelta, Utc};
use events::{Envelope, Malformed};

use super::Group;
use super::keys::{Block, Key, Known};
use crate::store::redis::outbox;
use crate::store::redis::words::Words;

/// An event, and its key among those of its topic.
pub(super) struct ReadEvent {
    event: Envelope,
    pub key: Key,
    /// What it says, if that was asked already; taken by the first write that is tried.
    effect: Option<Said>,
}

impl ReadEvent {
    pub fn of(record: &Record, event: Envelope) -> Self {
        Self {
            key: Key {
                topic: record.topic.as_str().into(),
                key: event.subject.as_str().into(),
            },
            event,
            effect: None,
        }
    }

    /// Asks for the effect before it is known whether it will have it.
    pub fn ask(&mut self, group: &Group) {
        self.effect = Some(said(group, &self.event));
    }
}

/// What an event's effect says, or what it was refused with. The outer error: what it needs is away.
type Said = Result<Result<Words, HandlerError>, BoxError>;

/// Says the effect of `event`. A panic is a refusal.
fn said(group: &Group, event: &Envelope) -> Said {
    let mut words = Words::default();
    let effect = AssertUnwindSafe(|| group.effects.effect(event, &mut words));
    let done = catch_unwind(effect).unwrap_or_else(|panic| Err(HandlerError::panicked(&*panic)));
    match done {
        Ok(()) => Ok(Ok(words)),
        Err(HandlerError::Unavailable(cause)) => Err(cause),
        Err(error) => Ok(Err(error)),
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
    /// Decides on an event.
    pub fn event(&mut self, record: &Record, read: &mut ReadEvent) -> Result<(), BoxError> {
        let ReadEvent { event, key, effect } = read;
        let known = self.keys.entry(key.clone()).or_default();
        match decide(known.state(), self.group.base(&key.topic), event.sequence) {
            Decision::Skip => self.applied.skipped += 1,
            Decision::Park => self.park(record, key, event.sequence)?,
            Decision::Gap => {
                let missing = known.version;
                self.park(record, key, event.sequence)?;
                self.gap(key, missing, event.sequence, record.partition)?;
            }
            Decision::Apply => {
                let fills_gap = known.block.is_some();
                let effect = effect.take();
                match self.take(effect.unwrap_or_else(|| said(self.group, event)))? {
                    Ok(()) => {
                        self.handled(key, event);
                        if fills_gap {
                            self.goes_on(key)?;
                        }
                    }
                    Err(error) => {
                        self.park(record, key, event.sequence)?;
                        self.refused(record, key, &error)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Says the effect of `event`. The inner error is what it was refused with; nothing of its effect is
    /// said then. The outer one: what its effect needs is away.
    pub fn apply(&mut self, event: &Envelope) -> Result<Result<(), HandlerError>, BoxError> {
        self.take(said(self.group, event))
    }

    fn take(&mut self, said: Said) -> Result<Result<(), HandlerError>, BoxError> {
        Ok(said?.map(|words| self.words.append(words)))
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
    pub fn unreadable(&mut self, record: &Record, malformed: &Malformed) -> Result<(), BoxError> {
        let key = Key {
            topic: record.topic.as_str().into(),
            key: format!("{UNREADABLE}{}/{}", record.partition, record.offset).into(),
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
