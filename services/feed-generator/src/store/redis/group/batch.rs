//! Decides each record of a write in order, and adds its script arguments.

use std::collections::{BTreeMap, HashMap};

use blocks::bus::Record;
use blocks::consumer::decide::{Decision, decide};
use blocks::consumer::parked::{UNREADABLE, give_up, record_text};
use blocks::consumer::{Applied, HandlerError, Reason, handling_now};
use blocks::error::{BoxError, chain};
use chrono::{DateTime, TimeDelta, Utc};
use events::{Envelope, Malformed};

use super::Group;
use super::keys::{Block, Key, Known};
use crate::store::redis::args::Args;
use crate::store::redis::outbox;

/// An event, and its key among those of its topic.
pub(super) struct ReadEvent {
    event: Envelope,
    pub key: Key,
    /// Its effect, if computed ahead; the first write that is tried takes it.
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

    /// Computes the effect ahead, before it is known whether it will be used.
    pub fn ask(&mut self, group: &Group, record: &Record) {
        self.effect = Some(said(group, record, &self.event));
    }
}

/// The arguments of an event's effect, or the reason for a refusal. The outer error means that a
/// dependency is away.
type Said = Result<Result<Args, HandlerError>, BoxError>;

/// Computes the effect of `event`. A panic is a refusal.
fn said(group: &Group, record: &Record, event: &Envelope) -> Said {
    let mut args = Args::default();
    let effect = || group.effects.effect(event, &mut args);
    match handling_now(group.settings.group, record, event, effect) {
        Ok(()) => Ok(Ok(args)),
        Err(HandlerError::Unavailable(cause)) => Err(cause),
        Err(error) => Ok(Err(error)),
    }
}

pub(super) struct Batch<'a> {
    pub group: &'a Group,
    pub now: DateTime<Utc>,
    pub keys: HashMap<Key, Known>,
    pub args: Args,
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
                match self.take(effect.unwrap_or_else(|| said(self.group, record, event)))? {
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

    /// Adds the effect of `event`. The inner error is a refusal, which adds nothing. The outer error
    /// means that a dependency is away.
    pub fn apply(
        &mut self,
        record: &Record,
        event: &Envelope,
    ) -> Result<Result<(), HandlerError>, BoxError> {
        self.take(said(self.group, record, event))
    }

    fn take(&mut self, said: Said) -> Result<Result<(), HandlerError>, BoxError> {
        Ok(said?.map(|args| self.args.append(args)))
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
        self.args.push("park").push(key.field()).number(version);
        self.args.push(record_text(record)?);
        Ok(())
    }

    /// Blocks `key` until a missing version comes. It is never due by itself: that version ends the
    /// gap, or an operator gives it up.
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

    /// Makes the events parked behind a gap due: the missing version of `key` has come.
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
        self.args.push("block").push(key.field());
        self.args.push(serde_json::to_string(&block)?);
        known.block = Some(block);
        Ok(())
    }

    /// Parks a record that is no event under a key of its own, since its version is not known. If it
    /// had one, the next version shows the gap.
    pub fn unreadable(&mut self, record: &Record, malformed: &Malformed) -> Result<(), BoxError> {
        let key = Key {
            topic: record.topic.as_str().into(),
            key: format!("{UNREADABLE}{}/{}", record.partition, record.offset).into(),
        };
        self.park(record, &key, 0)?;
        let error = HandlerError::Poison(malformed.to_string().into());
        self.refused(record, &key, &error)
    }

    /// Blocks `key` after its first parked event was refused: for a retry, or for good.
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
            let dead_letter = give_up(group, &key.key, record, reason, attempts, &text);
            self.args
                .push("letter")
                .push(outbox::text(&dead_letter, self.now)?);
        }
        Ok(())
    }

    /// Adds the versions that changed.
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
            self.args.push("versions").push(topic);
            self.args.push((2 * moved.len()).to_string());
            for (key, version) in moved {
                self.args.push(key).number(version);
            }
        }
    }
}
