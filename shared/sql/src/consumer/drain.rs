//! Resumes keys that waited: after a back-off, a replay, a discard, or when the missing version came.

use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::Record;
use blocks::consumer::parked::read_record;
use blocks::consumer::plan::{PAGE, readable_now};
use blocks::consumer::{Applied, ApplyError, Key, ParkedKeys, Plan};

use super::{BatchError, SqlConsumer, batch, inbox, keys};
use crate::error::StoreError;

#[async_trait]
impl ParkedKeys for SqlConsumer {
    async fn due_keys(&self, max: usize) -> Result<Vec<Key>, ApplyError> {
        let due = keys::due(&self.0, i64::try_from(max).unwrap_or(i64::MAX)).await;
        Ok(due.map_err(BatchError::from)?)
    }

    async fn apply_page(&self, key: &Key) -> Result<Option<(Applied, bool)>, ApplyError> {
        let (shared, key) = (Arc::clone(&self.0), key.clone());
        let applied = self.0.db.write::<_, BatchError, _>(move |tx| {
            Box::pin(async move {
                let mut keys = keys::load(tx, &shared, [&key]).await?;
                if keys.get(&key).is_none_or(|known| !known.is_due(tx.now())) {
                    return Ok(None);
                }
                let waiting = inbox::parked(tx, &shared, &key, PAGE).await?;
                let waiting = waiting.into_iter().filter_map(|(version, text)| {
                    let record = read_record(&key.topic, &text?);
                    Some(record.map(|record| (version, record)))
                });
                let waiting: Result<Vec<(i64, Record)>, _> = waiting.collect();
                let waiting = waiting.map_err(StoreError::Unavailable)?;
                if let Some(real) = readable_now(&key, &waiting) {
                    keys.extend(keys::load(tx, &shared, [&real]).await?);
                }
                let mut plan = Plan::new(&shared.member, tx.now(), keys);
                let mut page = plan.page(&key, waiting);
                while let Some((record, event)) = plan.next(&mut page) {
                    let done = batch::apply(tx, &shared, &record, &event).await?;
                    plan.tried(&mut page, &record, &event, done);
                }
                let applied = batch::store(tx, &shared, plan).await?;
                Ok(Some((applied, page.goes_on())))
            })
        });
        Ok(applied.await?)
    }
}
