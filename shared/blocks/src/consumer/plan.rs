//! The changes of one write in a group's store, decided without I/O and alike for every store.
//!
//! A store loads the state of some keys and gives records to a [`Plan`], in their order. It asks its handler
//! for each effect that the plan wants, and writes what the plan then holds in one write, or in steps that
//! may be repeated.

mod page;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use events::{Envelope, Malformed, Message};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::decide::{Decision, KeyState, decide};
use super::member::Member;
use super::parked::{event_type_of, give_up, record_text};
use super::{Applied, GAP_LISTED_MS, HandlerError, Pulse, Reason};
use crate::bus::Record;
use crate::error::chain;

pub use page::{PAGE, Page, readable_now};

/// Prefix of keys that stand for records which are no events.
const UNREADABLE: &str = "@unreadable/";

/// A key of a topic. No topic has a slash in its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The key itself.
    pub key: Arc<str>,
}

impl Key {
    /// The key `key` of `topic`.
    pub fn new(topic: &str, key: &str) -> Self {
        let (topic, key) = (topic.into(), key.into());
        Self { topic, key }
    }

    /// The key that a record waits under: its event's, or one of its own if it is no event.
    pub fn of(record: &Record, event: Result<&Envelope, &Malformed>) -> Self {
        if let Ok(event) = event {
            return Self::new(&record.topic, &event.subject);
        }
        let key = format!("{UNREADABLE}{}/{}", record.partition, record.offset);
        Self::new(&record.topic, &key)
    }

    /// True if it stands for a record that is no event.
    pub fn is_unreadable(&self) -> bool {
        self.key.starts_with(UNREADABLE)
    }

    /// Reads what its `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (topic, key) = text.split_once('/')?;
        Some(Self::new(topic, key))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.key)
    }
}

/// The reason why a key is blocked, and its next try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The reason.
    pub reason: Reason,
    /// The last error, with its causes.
    pub error: String,
    /// Failed attempts so far.
    pub attempts: i64,
    /// When it is tried again.
    pub retry_at: Option<DateTime<Utc>>,
    /// When the block began.
    pub since: DateTime<Utc>,
    /// The partition of the key's records.
    pub partition: i32,
}

/// Gaps that began before this time are listed, and may be given up.
pub fn listed_since(now: DateTime<Utc>) -> DateTime<Utc> {
    now - TimeDelta::milliseconds(GAP_LISTED_MS)
}

impl Block {
    /// True if operators are shown it.
    pub fn is_listed(&self, now: DateTime<Utc>) -> bool {
        self.reason != Reason::Gap || self.since <= listed_since(now)
    }

    /// True if its key is to be tried now.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.retry_at.is_some_and(|at| at <= now)
    }
}

impl Pulse {
    /// The summary of all blocks of a group.
    pub fn of(blocks: impl IntoIterator<Item = Block>, now: DateTime<Utc>) -> Self {
        let mut pulse = Self::default();
        for block in blocks {
            let due = [pulse.next_due, block.retry_at];
            pulse.next_due = due.into_iter().flatten().min();
            pulse.blocked += i64::from(block.is_listed(now));
            pulse.gaps += i64::from(block.reason == Reason::Gap);
        }
        pulse
    }
}

/// A key's state while a write is decided.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The last version that took effect.
    pub version: Option<i64>,
    /// Its block.
    pub block: Option<Block>,
    /// True if its version must be stored.
    pub moved: bool,
    /// True if its block must be stored, or removed.
    pub block_changed: bool,
}

impl Known {
    /// True if the key is to be tried now.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.block.as_ref().is_some_and(|block| block.is_due(now))
    }

    fn state(&self) -> KeyState {
        KeyState {
            known: self.version,
            blocked: self.block.as_ref().map(|block| block.reason),
        }
    }
}

/// An event for the inbox.
#[derive(Debug, Clone)]
pub struct InboxRow {
    /// The key that it waits under.
    pub key: Key,
    /// Its version; 0 for a record that is no event.
    pub version: i64,
    /// Its id and its type, unless it is no event.
    pub event: Option<(Uuid, String)>,
    /// The record, if it waits. Without, the event had its effect.
    pub record: Option<String>,
}

/// The changes of one write.
pub struct Plan<'a> {
    member: &'a Member,
    now: DateTime<Utc>,
    /// The keys' states after it.
    pub keys: HashMap<Key, Known>,
    /// Keys whose block changed, in turn.
    pub blocks: Vec<Key>,
    /// Keys whose missing version came: they are due at once.
    pub filled: Vec<Key>,
    /// Events to put into the inbox.
    pub rows: Vec<InboxRow>,
    /// Events that wait no longer, by their key and version.
    pub unparked: Vec<(Key, i64)>,
    /// Messages for the dead-letter topics, with the types of their events.
    pub dead_letters: Vec<(String, Message)>,
    /// The outcome.
    pub applied: Applied,
}

impl<'a> Plan<'a> {
    /// A write at `now` about `keys`, each of which has its stored state.
    pub fn new(member: &'a Member, now: DateTime<Utc>, keys: HashMap<Key, Known>) -> Self {
        Self {
            member,
            now,
            keys,
            blocks: Vec::new(),
            filled: Vec::new(),
            rows: Vec::new(),
            unparked: Vec::new(),
            dead_letters: Vec::new(),
            applied: Applied::default(),
        }
    }

    fn known(&mut self, key: &Key) -> &mut Known {
        self.keys.entry(key.clone()).or_default()
    }

    /// Decides on an event. True if its effect is wanted: its outcome goes to [`Plan::done`].
    pub fn event(&mut self, key: &Key, record: &Record, event: &Envelope) -> bool {
        let base = self.member.base(&key.topic);
        match decide(self.known(key).state(), base, event.sequence) {
            Decision::Apply => return true,
            Decision::Skip => self.applied.skipped += 1,
            Decision::Park => self.park(key, record, Some(event)),
            Decision::Gap => {
                self.park(key, record, Some(event));
                self.gap(key, record, event.sequence);
            }
        }
        false
    }

    /// Notes that `event` has its effect in this write, or was refused.
    pub fn done(
        &mut self,
        key: &Key,
        record: &Record,
        event: &Envelope,
        done: Result<(), HandlerError>,
    ) {
        if let Err(error) = done {
            self.park(key, record, Some(event));
            return self.refused(key, record, &error);
        }
        if self.member.keeps_inbox {
            self.rows.push(row(key, Some(event), None));
        }
        if let Some(block) = self.handled(key, event) {
            self.filled.push(key.clone());
            self.due(key, block);
        }
    }

    /// Parks a record that is no event under a key of its own, since its version is not known. If it had
    /// one, the next version shows the gap.
    pub fn unreadable(&mut self, record: &Record, malformed: &Malformed) {
        let key = Key::of(record, Err(malformed));
        self.park(&key, record, None);
        let error = HandlerError::Poison(malformed.to_string().into());
        self.refused(&key, record, &error);
    }

    /// Notes the effect of `event`. Returns the block of its key.
    fn handled(&mut self, key: &Key, event: &Envelope) -> Option<Block> {
        self.applied.handled += 1;
        let age = self.now - event.time;
        self.applied.freshness_ms.push(age.num_milliseconds());
        let known = self.known(key);
        known.version = Some(event.sequence);
        known.moved = true;
        // The next event has its own attempts.
        known.block.as_mut()?.attempts = 0;
        known.block.clone()
    }

    fn park(&mut self, key: &Key, record: &Record, event: Option<&Envelope>) {
        self.applied.parked += 1;
        self.rows.push(row(key, event, Some(record_text(record))));
    }

    /// Blocks `key` until a missing version comes. It is never due by itself: that version ends the gap, or it
    /// is given up.
    fn gap(&mut self, key: &Key, record: &Record, found: i64) {
        let error = match self.known(key).version {
            Some(known) => format!("version {} has not come, {found} has", known + 1),
            None => format!("no version before {found} has come"),
        };
        let block = Block {
            reason: Reason::Gap,
            error,
            attempts: 0,
            retry_at: None,
            since: self.now,
            partition: record.partition,
        };
        self.block(key, block);
    }

    /// Blocks `key` after its first waiting event was refused: for a retry, or for good.
    fn refused(&mut self, key: &Key, record: &Record, error: &HandlerError) {
        self.applied.failed += 1;
        let block = self.known(key).block.as_ref();
        let attempts = block.map_or(0, |block| block.attempts) + 1;
        let retry = &self.member.retry;
        let reason = match error {
            HandlerError::Poison(_) => Reason::Poison,
            _ if attempts >= retry.attempts => Reason::Rejected,
            _ => Reason::Retrying,
        };
        let retry_at = (reason == Reason::Retrying).then(|| self.now + retry.pause(attempts));
        let error = chain(error);
        if reason != Reason::Retrying {
            self.applied.dead += 1;
            let group = self.member.group;
            let dead_letter = give_up(group, &key.key, record, reason, attempts, &error);
            self.dead_letters.push((event_type_of(record), dead_letter));
        }
        let block = Block {
            reason,
            error,
            attempts,
            retry_at,
            since: self.now,
            partition: record.partition,
        };
        self.block(key, block);
    }

    /// Blocks `key`, or changes the reason: the beginning stays.
    fn block(&mut self, key: &Key, mut block: Block) {
        // An error may quote anything, and some stores take no NUL in a text.
        block.error = block.error.replace('\0', "\u{fffd}");
        if let Some(before) = &self.known(key).block {
            (block.since, block.partition) = (before.since, before.partition);
        }
        self.set_block(key, Some(block));
    }

    fn set_block(&mut self, key: &Key, block: Option<Block>) {
        let known = self.known(key);
        known.block = block;
        if !std::mem::replace(&mut known.block_changed, true) {
            self.blocks.push(key.clone());
        }
    }

    /// Makes `key` due at once, with fresh attempts.
    fn due(&mut self, key: &Key, block: Block) {
        let block = Block {
            reason: Reason::Retrying,
            attempts: 0,
            retry_at: Some(self.now),
            ..block
        };
        self.set_block(key, Some(block));
    }

    fn unpark(&mut self, key: &Key, version: i64) {
        self.unparked.push((key.clone(), version));
    }

    /// Makes a blocked key due with fresh attempts, as operators ask. A gap stays one where a version must
    /// still come. At the beginning of a key, or on a compacted topic, this ends it.
    pub fn replay(&mut self, key: &Key) {
        if let Some(block) = self.known(key).block.clone() {
            let reason = block.reason;
            self.due(key, block);
            if let (Reason::Gap, Some(block)) = (reason, &mut self.known(key).block) {
                block.reason = Reason::Gap;
            }
        }
    }

    /// Gives up the first event that waits for `key`, version `first`, or the versions that are missing
    /// before it; the rest becomes due.
    pub fn discard(&mut self, key: &Key, first: Option<i64>) {
        let is_gap = self.known(key).state().blocked == Some(Reason::Gap);
        self.replay(key);
        let Some(first) = first else { return };
        if key.is_unreadable() {
            self.set_block(key, None);
        } else {
            let known = self.known(key);
            known.version = Some(if is_gap { first - 1 } else { first });
            known.moved = true;
        }
        if !is_gap {
            self.unpark(key, first);
        }
    }
}

fn row(key: &Key, event: Option<&Envelope>, record: Option<String>) -> InboxRow {
    InboxRow {
        key: key.clone(),
        version: event.map_or(0, |event| event.sequence),
        event: event.map(|event| (event.id, event.event_type.clone())),
        record,
    }
}

#[cfg(test)]
mod tests;
