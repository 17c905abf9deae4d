//! Applies parked events: after a back-off, a replay, a discard, or when the missing version came.

use async_trait::async_trait;
use blocks::consumer::plan::{PAGE, readable_now};
use blocks::consumer::{Applied, ApplyError, Key, ParkedKeys};
use blocks::error::chain;

use super::batch::{Batch, Refusals};
use super::{BatchError, Handler, MongoConsumer, generations, keys, rows};

#[async_trait]
impl<H: Handler> ParkedKeys for MongoConsumer<H> {
    async fn due_keys(&self, max: usize) -> Result<Vec<Key>, ApplyError> {
        let generations = generations::known(self).await.map_err(BatchError::from)?;
        let due = keys::due(&self.mongo, self.member.group, &generations, max).await;
        Ok(due.map_err(BatchError::from)?)
    }

    async fn apply_page(&self, key: &Key) -> Result<Option<(Applied, bool)>, ApplyError> {
        Ok(self.apply_page_of(key).await?)
    }
}

impl<H: Handler> MongoConsumer<H> {
    async fn apply_page_of(&self, key: &Key) -> Result<Option<(Applied, bool)>, BatchError> {
        let (mongo, group) = (&self.mongo, self.member.group);
        let mut refusals = Refusals::new();
        loop {
            let generations = generations::known(self).await?;
            let mut docs = keys::load(mongo, group, &generations, [(key, 0)]).await?;
            let now = mongo.settings().clock.now();
            let due = docs.get(key).filter(|doc| doc.known().is_due(now));
            let Some(doc) = due else { return Ok(None) };
            let waiting = rows::load(mongo, &doc.id, Some(PAGE)).await?;
            let waiting = rows::records(waiting).map_err(ApplyError::Unavailable)?;
            if let Some(real) = readable_now(key, &waiting) {
                let partition = waiting.first().map_or(0, |(_, record)| record.partition);
                docs.extend(keys::load(mongo, group, &generations, [(&real, partition)]).await?);
            }
            let mut batch = Batch::new(self, &refusals, docs, generations);
            let mut page = batch.plan.page(key, waiting);
            while let Some((record, event)) = batch.plan.next(&mut page) {
                let done = batch.decide(&record, &event).await?;
                batch.plan.tried(&mut page, &record, &event, done);
            }
            match batch.write(None).await {
                Ok(applied) => return Ok(Some((applied, page.goes_on()))),
                // Another member does it.
                Err(BatchError::Overtaken(_)) => return Ok(None),
                Err(BatchError::Refused(event, error)) => {
                    refusals.insert(event, chain(&error));
                }
                Err(error) => return Err(error),
            }
        }
    }
}
