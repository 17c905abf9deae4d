//! Writes a decided batch; the module's documentation gives the order and its reasons.

use std::sync::atomic::Ordering;

use blocks::consumer::Applied;
use blocks::outbox::{Pending, Place};
use mongodb::bson::doc;
use sql::{FaultPoint, StoreError};

use super::super::Mongo;
use super::super::error::{failed, is_duplicate};
use super::super::events::EventDoc;
use super::batch::{Batch, Moves};
use super::rows::{self, RowDoc};
use super::{BatchError, Handler, OFFSETS, keys};

impl<H: Handler> Batch<'_, H> {
    /// Writes the batch; `moves` holds its offsets, if they change.
    pub async fn write(mut self, moves: Option<Moves>) -> Result<Applied, BatchError> {
        let (mongo, member) = (&self.consumer.mongo, &self.consumer.member);
        let faults = Steps::begin(mongo)?;
        self.write_effects().await?;
        faults.after(1)?;
        let rows = std::mem::take(&mut self.plan.rows).into_iter();
        let rows = rows.map(|row| RowDoc::of(mongo, member.group, &self.generations, row));
        let (parked, processed): (Vec<_>, Vec<_>) = rows.partition(|row| row.record.is_some());
        rows::store_waiting(mongo, &parked).await?;
        faults.after(2)?;
        let dead_letters = self.write_dead_letters(mongo).await?;
        faults.after(3)?;
        member.fills(std::mem::take(&mut self.plan.filled));
        let changed = std::mem::take(&mut self.plan.keys).into_iter();
        let changed = changed.filter(|(_, known)| known.moved || known.block_changed);
        let changed = changed.filter_map(|(key, known)| Some(self.docs.remove(&key)?.with(known)));
        let stored = keys::store(mongo, changed.collect()).await;
        if !stored.inspect_err(|error| mongo.answer_lost(&dead_letters, error))? {
            return Err(BatchError::Overtaken(Applied::default()));
        }
        mongo.hand_over(dead_letters);
        faults.after(4)?;
        rows::store_processed(mongo, &processed).await?;
        rows::unpark(mongo, member.group, &self.generations, &self.plan.unparked).await?;
        faults.after(5)?;
        if let Some(moves) = &moves {
            self.write_positions(mongo, moves).await?;
        }
        mongo.fault(FaultPoint::AfterCommit)?;
        if let Some(Moves { stored, next }) = moves {
            // Takes over the offsets as stored, whoever wrote them.
            member.learn(stored.into_iter().chain(next));
        }
        Ok(self.plan.applied)
    }

    /// Writes the effects. One that the store refuses must not hold up the others: it is searched
    /// for, and its event is parked.
    async fn write_effects(&self) -> Result<(), BatchError> {
        if self.effects.is_empty() {
            return Ok(());
        }
        let handler = &self.consumer.handler;
        match handler.write(&self.effects).await {
            Ok(()) => return Ok(()),
            Err(error @ StoreError::Unavailable(_)) => return Err(error.into()),
            Err(_) => {}
        }
        for (effect, cause) in self.effects.iter().zip(&self.causes) {
            match handler.write(std::slice::from_ref(effect)).await {
                Ok(()) => {}
                Err(error @ StoreError::Unavailable(_)) => return Err(error.into()),
                Err(error) => return Err(BatchError::Refused(*cause, error)),
            }
        }
        Ok(())
    }

    async fn write_dead_letters(&mut self, mongo: &Mongo) -> Result<Vec<Pending>, BatchError> {
        let (mut documents, mut dead_letters) = (Vec::new(), Vec::new());
        for (event_type, message) in std::mem::take(&mut self.plan.dead_letters) {
            let id = mongo.settings().clock.id();
            documents.push(EventDoc::new(mongo, id, &event_type, 0, &message));
            let place = Place::from(id);
            dead_letters.push(Pending { place, message });
        }
        mongo.enqueue(documents).await?;
        Ok(dead_letters)
    }

    async fn write_positions(&mut self, mongo: &Mongo, moves: &Moves) -> Result<(), BatchError> {
        let group = self.consumer.member.group;
        let mut statements = Vec::new();
        let mut fresh = Vec::new();
        for (of, next) in &moves.next {
            let scope = self.generations.scope(group, &of.topic);
            let id = format!("{scope}/{}/{}", of.topic, of.partition);
            match moves.stored.get(of) {
                Some(stored) => statements.push(doc! {
                    "q": {"_id": id, "next": *stored}, "u": {"$set": {"next": *next}},
                }),
                None => fresh.push(doc! {
                    "_id": id, "group": group, "topic": &of.topic, "partition": of.partition,
                    "next": *next, "generation": self.generations.of(&of.topic),
                }),
            }
        }
        let expected = statements.len();
        let mut mine = expected == 0 || mongo.update_each(OFFSETS, statements).await? == expected;
        if !fresh.is_empty() {
            let offsets = mongo.collection(OFFSETS);
            match offsets.insert_many(fresh).ordered(false).await {
                Ok(_) => {}
                Err(error) if is_duplicate(&error) => mine = false,
                Err(error) => return Err(failed(error).into()),
            }
        }
        if !mine {
            // The writes stay, but another member has set the offsets.
            return Err(BatchError::Overtaken(std::mem::take(
                &mut self.plan.applied,
            )));
        }
        Ok(())
    }
}

/// Injected faults between the steps, at another step each time.
struct Steps<'a> {
    mongo: &'a Mongo,
    fails_after: usize,
}

impl<'a> Steps<'a> {
    fn begin(mongo: &'a Mongo) -> Result<Self, StoreError> {
        mongo.fault(FaultPoint::BeforeWrite)?;
        let turn = mongo.inner.faulty_step.fetch_add(1, Ordering::Relaxed);
        let fails_after = 1 + turn % 5;
        Ok(Self { mongo, fails_after })
    }

    fn after(&self, step: usize) -> Result<(), StoreError> {
        if step == self.fails_after {
            self.mongo.fault(FaultPoint::BeforeCommit)?;
        }
        Ok(())
    }
}
