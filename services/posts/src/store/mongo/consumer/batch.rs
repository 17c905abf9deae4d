//! Decides a batch: which events are applied, parked or given up. Nothing is written here.

use std::collections::{BTreeMap, HashMap};

use blocks::bus::{Record, TopicPartition, next_offsets, partitions_of};
use blocks::consumer::decide::{Decision, decide};
use blocks::consumer::parked::{UNREADABLE, event_type_of, give_up, read, record_text};
use blocks::consumer::{Applied, HandlerError, Reason, handling};
use blocks::error::chain;
use events::{Envelope, Malformed};
use mongodb::bson::doc;
use sql::StoreError;
use uuid::Uuid;

use super::super::events::EventDoc;
use super::keys::{self, Key, Known};
use super::rows::{self, RowDoc};
use super::{BatchError, Handler, Shared, drain};

/// How often a batch is decided anew when other members write the same keys.
const ATTEMPTS: usize = 32;

/// Events whose effects the store refuses, with the reasons.
pub(super) type Refusals = HashMap<Uuid, String>;

/// Applies a batch.
pub(super) async fn apply<H: Handler>(
    shared: &Shared<H>,
    records: &[Record],
) -> Result<Applied, BatchError> {
    let mut refusals = Refusals::new();
    let mut before = Applied::default();
    let mut attempts = 0;
    loop {
        let mut batch = Batch::new(shared, &refusals);
        let positions = batch.run(records).await?;
        match batch.write(Some(positions)).await {
            Ok(mut applied) => {
                // This attempt skipped what the overtaken one wrote: count it as handled only.
                applied.skipped = applied.skipped.saturating_sub(before.handled);
                before += applied;
                return Ok(before);
            }
            Err(BatchError::Refused(event, error)) => {
                refusals.insert(event, chain(&error));
            }
            Err(BatchError::Overtaken(applied)) if attempts < ATTEMPTS => {
                before += applied;
                attempts += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// A batch while it is decided.
pub(super) struct Batch<'a, H: Handler> {
    pub shared: &'a Shared<H>,
    pub refusals: &'a Refusals,
    pub keys: HashMap<Key, Known>,
    /// Parked events of keys that may go on in this batch, by version.
    pub waiting: HashMap<Key, BTreeMap<i64, RowDoc>>,
    /// Keys with more parked events than `waiting` holds, and the last version loaded.
    pub more: HashMap<Key, i64>,
    pub effects: Vec<H::Effect>,
    /// The event that each effect is of.
    pub causes: Vec<Uuid>,
    /// Events to park.
    pub parked: Vec<RowDoc>,
    /// Events that had their effect at once.
    pub processed: Vec<RowDoc>,
    /// Rows that are no longer parked.
    pub waited: Vec<String>,
    pub dead_letters: Vec<EventDoc>,
    pub applied: Applied,
}

/// The offsets of a batch's partitions, before and after it.
pub(super) struct Moves {
    pub stored: BTreeMap<TopicPartition, Option<i64>>,
    pub next: BTreeMap<TopicPartition, i64>,
}

impl<'a, H: Handler> Batch<'a, H> {
    pub fn new(shared: &'a Shared<H>, refusals: &'a Refusals) -> Self {
        Self {
            shared,
            refusals,
            keys: HashMap::new(),
            waiting: HashMap::new(),
            more: HashMap::new(),
            effects: Vec::new(),
            causes: Vec::new(),
            parked: Vec::new(),
            processed: Vec::new(),
            waited: Vec::new(),
            dead_letters: Vec::new(),
            applied: Applied::default(),
        }
    }

    async fn run(&mut self, records: &[Record]) -> Result<Moves, BatchError> {
        let mut stored: BTreeMap<TopicPartition, Option<i64>> = partitions_of(records)
            .into_iter()
            .map(|of| (of, None))
            .collect();
        for of in self.shared.positions(doc! {}).await? {
            let partition = TopicPartition {
                topic: of.topic,
                partition: of.partition,
            };
            if let Some(next) = stored.get_mut(&partition) {
                *next = Some(of.next);
            }
        }
        let fresh: Vec<&Record> = {
            let believed = self.shared.believed.lock();
            // A partition that this member knows, but the store has no offset of, was forgotten.
            if stored
                .iter()
                .any(|(of, next)| believed.get(of) > Some(&next.unwrap_or_default()))
            {
                return Err(BatchError::Moved);
            }
            let is_fresh = |record: &&Record| {
                let of = record.topic_partition();
                let next = stored.get(&of).copied().flatten().unwrap_or_default();
                // If nobody else moved the offset, the bus itself went back: its log was lost or
                // restored from a copy. Versions decide then.
                record.offset >= next || believed.get(&of) == Some(&next)
            };
            records.iter().filter(is_fresh).collect()
        };
        self.applied.skipped += (records.len() - fresh.len()) as u64;
        let events: Vec<(&Record, Result<Envelope, Malformed>)> =
            fresh.iter().map(|record| (*record, read(record))).collect();
        self.load(&events).await?;
        for (record, event) in &events {
            match event {
                Ok(event) => self.event(record, event).await?,
                Err(malformed) => self.unreadable(record, malformed)?,
            }
        }
        let next = next_offsets(fresh);
        Ok(Moves { stored, next })
    }

    /// Loads the keys' states, and the parked events of keys with a possible gap or an unreadable record.
    async fn load(
        &mut self,
        events: &[(&Record, Result<Envelope, Malformed>)],
    ) -> Result<(), StoreError> {
        let mut wanted: Vec<Key> = events
            .iter()
            .map(|(record, event)| match event {
                Ok(event) => Key {
                    topic: record.topic.clone(),
                    key: event.subject.clone(),
                },
                Err(_) => unreadable_key(record),
            })
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let (mongo, group) = (&self.shared.mongo, self.shared.group);
        self.keys = keys::load(mongo, group, wanted.into_iter()).await?;
        let waiting: Vec<Key> = self
            .keys
            .iter()
            .filter(|(key, known)| {
                let blocked = known.state().blocked;
                blocked == Some(Reason::Gap) || (blocked.is_some() && is_unreadable(key))
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in waiting {
            self.load_waiting(&key).await?;
        }
        Ok(())
    }

    /// Loads a page of a key's parked events.
    pub async fn load_waiting(&mut self, key: &Key) -> Result<(), StoreError> {
        let ids = [key.id(self.shared.group)];
        let rows = rows::load(&self.shared.mongo, &ids, Some(drain::PAGE)).await?;
        if i64::try_from(rows.len()).is_ok_and(|count| count >= drain::PAGE) {
            let last = rows.iter().map(|row| row.version).max();
            self.more.insert(key.clone(), last.unwrap_or_default());
        }
        let rows = rows.into_iter().map(|row| (row.version, row));
        self.waiting.insert(key.clone(), rows.collect());
        Ok(())
    }

    /// The state of a key, new if it has none.
    pub fn known(&mut self, key: &Key, partition: i32) -> &mut Known {
        let group = self.shared.group;
        self.keys
            .entry(key.clone())
            .or_insert_with(|| Known::new(group, key, partition))
    }

    pub async fn event(&mut self, record: &Record, event: &Envelope) -> Result<(), BatchError> {
        let key = Key {
            topic: record.topic.clone(),
            key: event.subject.clone(),
        };
        let base = self.shared.base(&record.topic);
        let state = self.known(&key, record.partition).state();
        match decide(state, base, event.sequence) {
            Decision::Skip => self.applied.skipped += 1,
            Decision::Park => self.park(&key, record, event)?,
            Decision::Gap => {
                self.park(&key, record, event)?;
                self.gap(&key, record.partition, event.sequence);
            }
            Decision::Apply => match self.decide(record, event).await? {
                Ok(effect) => {
                    self.handled(&key, record.partition, event, effect);
                    if state.blocked == Some(Reason::Gap) {
                        drain::after_gap(self, &key).await?;
                    }
                }
                Err(error) => {
                    self.park(&key, record, event)?;
                    self.refused(record, &key, 0, &error);
                }
            },
        }
        Ok(())
    }

    /// Asks the handler for the effect. The inner error is its refusal.
    pub async fn decide(
        &self,
        record: &Record,
        event: &Envelope,
    ) -> Result<Result<Option<H::Effect>, HandlerError>, BatchError> {
        if let Some(why) = self.refusals.get(&event.id) {
            return Ok(Err(HandlerError::Rejected(why.clone().into())));
        }
        let decided = self.shared.handler.decide(event);
        match handling(self.shared.group, record, event, decided).await {
            Err(HandlerError::Unavailable(cause)) => Err(BatchError::Away(cause)),
            decided => Ok(decided),
        }
    }

    /// Notes that `event` has its effect in this batch.
    pub fn handled(
        &mut self,
        key: &Key,
        partition: i32,
        event: &Envelope,
        effect: Option<H::Effect>,
    ) {
        if let Some(effect) = effect {
            self.effects.push(effect);
            self.causes.push(event.id);
        }
        self.known(key, partition).reached(event.sequence);
        let mongo = &self.shared.mongo;
        let now = mongo.settings().clock.now();
        self.applied.handled += 1;
        let took = (now - event.time).num_milliseconds();
        self.applied.freshness_ms.push(took);
        let waited = self.waiting.get_mut(key);
        if let Some(row) = waited.and_then(|waiting| waiting.remove(&event.sequence)) {
            self.waited.push(row.id);
        } else {
            let row = RowDoc::processed(mongo, self.shared.group, key, event);
            self.processed.push(row);
        }
    }

    fn park(&mut self, key: &Key, record: &Record, event: &Envelope) -> Result<(), StoreError> {
        self.applied.parked += 1;
        let (mongo, group) = (&self.shared.mongo, self.shared.group);
        let row = RowDoc::waiting(mongo, group, key, Some(event), record_text(record)?);
        // The key may go on in this very batch.
        let waiting = self.waiting.entry(key.clone()).or_default();
        waiting.insert(event.sequence, row.clone());
        self.parked.push(row);
        Ok(())
    }

    /// Blocks `key` until a missing version comes. It is never due by itself: that version ends the
    /// gap, or an operator gives it up.
    pub fn gap(&mut self, key: &Key, partition: i32, found: i64) {
        let now = self.shared.mongo.settings().clock.now();
        let known = self.known(key, partition);
        let error = match known.doc.version {
            Some(known) => format!("version {} has not come, {found} has", known + 1),
            None => format!("no version before {found} has come"),
        };
        known.park(Reason::Gap, &error, 0, None, now);
    }

    /// Parks a record that is no event under a key of its own, since its version is not known. If it had
    /// one, the next version shows the gap. It is parked already if the batch was given before and
    /// failed later on.
    fn unreadable(&mut self, record: &Record, malformed: &Malformed) -> Result<(), StoreError> {
        let key = unreadable_key(record);
        let (mongo, group) = (&self.shared.mongo, self.shared.group);
        let row = RowDoc::waiting(mongo, group, &key, None, record_text(record)?);
        let known = self.waiting.get(&key);
        if known.is_some_and(|rows| rows.values().any(|known| known.record == row.record)) {
            self.applied.skipped += 1;
            return Ok(());
        }
        self.parked.push(row);
        self.applied.parked += 1;
        let error = HandlerError::Poison(malformed.to_string().into());
        self.refused(record, &key, 0, &error);
        Ok(())
    }

    /// Blocks `key` after its first parked event was refused: for a retry, or for good.
    pub fn refused(
        &mut self,
        record: &Record,
        key: &Key,
        attempts_before: i64,
        error: &HandlerError,
    ) {
        let shared = self.shared;
        let attempts = attempts_before + 1;
        self.applied.failed += 1;
        let reason = match error {
            HandlerError::Poison(_) => Reason::Poison,
            _ if attempts >= shared.retry.attempts => Reason::Rejected,
            _ => Reason::Retrying,
        };
        let clock = &shared.mongo.settings().clock;
        let now = clock.now();
        let retry_at = (reason == Reason::Retrying).then(|| now + shared.retry.pause(attempts));
        let text = chain(error);
        let known = self.known(key, record.partition);
        known.park(reason, &text, attempts, retry_at, now);
        if reason != Reason::Retrying {
            self.applied.dead += 1;
            let dead_letter = give_up(shared.group, &key.key, record, reason, attempts, &text);
            let event_type = event_type_of(record);
            let dead_letter =
                EventDoc::new(&shared.mongo, clock.id(), &event_type, 0, &dead_letter);
            self.dead_letters.push(dead_letter);
        }
    }
}

/// The key under which an unreadable record is parked.
fn unreadable_key(record: &Record) -> Key {
    Key {
        topic: record.topic.clone(),
        key: format!("{UNREADABLE}{}/{}", record.partition, record.offset),
    }
}

/// True if `key` is that of an unreadable record.
pub(super) fn is_unreadable(key: &Key) -> bool {
    key.key.starts_with(UNREADABLE)
}
