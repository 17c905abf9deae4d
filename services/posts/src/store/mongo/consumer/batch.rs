//! Decides a batch: which events are applied, parked or given up. Nothing is written here.

use std::collections::HashMap;

use blocks::bus::{Record, partitions_of};
use blocks::consumer::parked::record_text;
use blocks::consumer::{Applied, ApplyError, HandlerError, Key, Offsets, Plan, Stands, handling};
use blocks::error::chain;
use events::Envelope;
use mongodb::bson::doc;
use sql::StoreError;
use uuid::Uuid;

use super::generations::{self, Generations};
use super::keys::{self, KeyDoc};
use super::{BatchError, Handler, MongoConsumer, rows};

/// Most times that a batch is decided anew because other members write the same keys.
const ATTEMPTS: usize = 32;

/// Events whose effects the store refuses, with the reasons.
pub(super) type Refusals = HashMap<Uuid, String>;

pub(super) async fn write<H: Handler>(
    consumer: &MongoConsumer<H>,
    records: &[Record],
) -> Result<Applied, BatchError> {
    let mut refusals = Refusals::new();
    let mut before = Applied::default();
    let mut attempts = 0;
    loop {
        let (batch, moves) = Batch::of(consumer, &refusals, records).await?;
        match batch.write(Some(moves)).await {
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

/// A write while it is decided.
pub(super) struct Batch<'a, H: Handler> {
    pub consumer: &'a MongoConsumer<H>,
    refusals: &'a Refusals,
    /// The keys as they are stored.
    pub docs: HashMap<Key, KeyDoc>,
    pub plan: Plan<'a>,
    pub effects: Vec<H::Effect>,
    /// The event that each effect is of.
    pub causes: Vec<Uuid>,
    /// The topics' generations, as the batch was decided by.
    pub generations: Generations,
}

/// The offsets of a batch's partitions, before and after it.
pub(super) struct Moves {
    pub stored: Offsets,
    pub next: Offsets,
}

impl<'a, H: Handler> Batch<'a, H> {
    /// A write about the keys of `docs`.
    pub fn new(
        consumer: &'a MongoConsumer<H>,
        refusals: &'a Refusals,
        docs: HashMap<Key, KeyDoc>,
        generations: Generations,
    ) -> Self {
        let known = docs.iter().map(|(key, doc)| (key.clone(), doc.known()));
        let now = consumer.mongo.settings().clock.now();
        Self {
            plan: Plan::new(&consumer.member, now, known.collect()),
            consumer,
            refusals,
            docs,
            effects: Vec::new(),
            causes: Vec::new(),
            generations,
        }
    }

    async fn of(
        consumer: &'a MongoConsumer<H>,
        refusals: &'a Refusals,
        records: &[Record],
    ) -> Result<(Self, Moves), BatchError> {
        let of_group = generations::stored(consumer, doc! {}).await?;
        let (stored, generations) = (of_group.offsets, of_group.generations);
        let partitions = partitions_of(records);
        let mut stands = Stands::of(&partitions, &stored, &consumer.member.offsets())?;
        let fresh = stands.fresh(records);
        let wanted = fresh.iter().map(|(record, key, _)| (key, record.partition));
        let (mongo, group) = (&consumer.mongo, consumer.member.group);
        let docs = keys::load(mongo, group, &generations, wanted).await?;
        let mut batch = Self::new(consumer, refusals, docs, generations);
        batch.plan.applied.skipped += (records.len() - fresh.len()) as u64;
        for (record, key, event) in &fresh {
            match event {
                // The batch was given before, and failed later on.
                Err(_) if batch.is_parked(key, record).await? => batch.plan.applied.skipped += 1,
                Err(malformed) => batch.plan.unreadable(record, malformed),
                Ok(event) => {
                    if batch.plan.event(key, record, event) {
                        let done = batch.decide(record, event).await?;
                        batch.plan.done(key, record, event, done);
                    }
                }
            }
        }
        let next = stands.moves();
        Ok((batch, Moves { stored, next }))
    }

    /// True if `record` waits under `key` already.
    async fn is_parked(&self, key: &Key, record: &Record) -> Result<bool, StoreError> {
        let Some(doc) = self.docs.get(key).filter(|doc| doc.parked.is_some()) else {
            return Ok(false);
        };
        let text = record_text(record);
        let rows = rows::load(&self.consumer.mongo, &doc.id, None).await?;
        Ok(rows.iter().any(|row| row.record.as_ref() == Some(&text)))
    }

    /// Asks the handler for an effect, which this write then has. The inner error is its refusal.
    pub async fn decide(
        &mut self,
        record: &Record,
        event: &Envelope,
    ) -> Result<Result<(), HandlerError>, ApplyError> {
        if let Some(why) = self.refusals.get(&event.id) {
            return Ok(Err(HandlerError::Rejected(why.clone().into())));
        }
        let decided = self.consumer.handler.decide(event);
        match handling(self.consumer.member.group, record, event, decided).await {
            Ok(effect) => {
                self.causes.extend(effect.as_ref().map(|_| event.id));
                self.effects.extend(effect);
                Ok(Ok(()))
            }
            Err(HandlerError::Unavailable(cause)) => Err(ApplyError::Unavailable(cause)),
            Err(refused) => Ok(Err(refused)),
        }
    }
}
