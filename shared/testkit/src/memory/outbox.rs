//! The outbox of a store in memory.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use blocks::error::BoxError;
use blocks::outbox::{
    Depth, InspectOutbox, LEASE_MS, Lease, Outbox, OutboxRow, Pending, Place, Published,
};
use chrono::{DateTime, TimeDelta, Utc};
use events::{Message, dead_letter_topic};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Memory, State};

const PENDING: &str = "pending";
const PUBLISHED: &str = "published";
const REFUSED: &str = "refused";

/// The events, by their number in the order of commits.
#[derive(Clone, Default)]
pub(super) struct Rows {
    last: i64,
    rows: BTreeMap<i64, (OutboxRow, Message)>,
}

/// The sweeper's lease.
#[derive(Clone, Copy)]
pub(super) struct Held {
    holder: Uuid,
    epoch: i64,
    until: DateTime<Utc>,
}

impl Rows {
    pub fn push(&mut self, event_type: &str, version: i64, message: Message, now: DateTime<Utc>) {
        self.last += 1;
        let row = OutboxRow {
            position: Place::row(self.last).to_string(),
            status: PENDING.to_owned(),
            event_type: event_type.to_owned(),
            topic: message.topic.clone(),
            key: message.key.clone(),
            version,
            created_at: now,
            published_at: None,
            error: None,
        };
        self.rows.insert(self.last, (row, message));
    }

    /// The events that were added since `before`.
    pub fn after(&self, before: &Self) -> Vec<Pending> {
        let added = self.rows.range(before.last + 1..);
        added
            .map(|(place, (_, message))| pending(*place, message))
            .collect()
    }

    /// Those that wait to be published.
    fn waiting(&self) -> impl Iterator<Item = (i64, &OutboxRow, &Message)> {
        let rows = self
            .rows
            .iter()
            .filter(|(_, (row, _))| row.status == PENDING);
        rows.map(|(place, (row, message))| (*place, row, message))
    }

    /// The row at `place`, if it waits to be published.
    fn waits(&mut self, place: Place) -> Option<&mut OutboxRow> {
        let (row, _) = self.rows.get_mut(&place.as_row()?)?;
        (row.status == PENDING).then_some(row)
    }
}

fn pending(place: i64, message: &Message) -> Pending {
    Pending {
        place: Place::row(place),
        message: message.clone(),
    }
}

#[async_trait]
impl<S: State> Outbox for Memory<S> {
    fn service(&self) -> &'static str {
        self.0.service
    }

    fn committed(&self) -> Option<mpsc::Receiver<Vec<Pending>>> {
        self.0.committed.lock().take()
    }

    fn fell_behind(&self) -> bool {
        self.0.hand_over.fell_behind()
    }

    async fn pending(
        &self,
        before: Option<DateTime<Utc>>,
        after: Place,
        max: usize,
    ) -> Result<Vec<Pending>, BoxError> {
        let kept = self.kept().await?;
        let waiting = kept.outbox.waiting().filter(|(place, row, _)| {
            Place::row(*place) > after && before.is_none_or(|before| row.created_at < before)
        });
        let waiting = waiting.take(max);
        Ok(waiting
            .map(|(place, _, message)| pending(place, message))
            .collect())
    }

    async fn mark_published(&self, events: &[Published]) -> Result<(), BoxError> {
        self.write(|tx| {
            let now = tx.now();
            for event in events {
                if let Some(row) = tx.kept.outbox.waits(event.place) {
                    PUBLISHED.clone_into(&mut row.status);
                    row.published_at = Some(now);
                }
            }
            Ok(())
        })
        .await
    }

    async fn mark_refused(&self, place: Place, reason: &str) -> Result<(), BoxError> {
        self.write(|tx| {
            if let Some(row) = tx.kept.outbox.waits(place) {
                REFUSED.clone_into(&mut row.status);
                row.error = Some(reason.to_owned());
            }
            Ok(())
        })
        .await
    }

    async fn depth(&self) -> Result<Depth, BoxError> {
        let kept = self.kept().await?;
        Ok(Depth {
            pending: i64::try_from(kept.outbox.waiting().count())?,
            oldest: kept
                .outbox
                .waiting()
                .next()
                .map(|(_, row, _)| row.created_at),
        })
    }

    async fn keys_pending_before(&self, time: DateTime<Utc>) -> Result<i64, BoxError> {
        let kept = self.kept().await?;
        let older = kept
            .outbox
            .waiting()
            .filter(|(_, row, _)| row.created_at < time);
        let keys: BTreeSet<&str> = older.map(|(_, row, _)| row.key.as_str()).collect();
        Ok(i64::try_from(keys.len())?)
    }

    async fn lease(&self, holder: Uuid) -> Result<Option<Lease>, BoxError> {
        self.write(|tx| {
            let now = tx.now();
            let epoch = match &tx.kept.lease {
                None => 1,
                Some(held) if held.holder == holder => held.epoch,
                Some(held) if held.until < now => held.epoch + 1,
                Some(_) => return Ok(None),
            };
            let until = now + TimeDelta::milliseconds(LEASE_MS);
            tx.kept.lease = Some(Held {
                holder,
                epoch,
                until,
            });
            Ok(Some(Lease { epoch }))
        })
        .await
    }

    async fn remove_published(&self, before: DateTime<Utc>) -> Result<u64, BoxError> {
        self.write(|tx| {
            let rows = &mut tx.kept.outbox.rows;
            let count = rows.len();
            rows.retain(|_, (row, _)| {
                row.status != PUBLISHED || row.published_at.is_none_or(|at| at >= before)
            });
            Ok((count - rows.len()) as u64)
        })
        .await
    }
}

#[async_trait]
impl<S: State> InspectOutbox for Memory<S> {
    async fn latest(&self, max: usize) -> Result<Vec<OutboxRow>, BoxError> {
        let kept = self.kept().await?;
        let newest = kept.outbox.rows.values().rev().take(max);
        Ok(newest.map(|(row, _)| row.clone()).collect())
    }

    async fn refused(&self) -> Result<i64, BoxError> {
        let kept = self.kept().await?;
        let rows = kept.outbox.rows.values();
        let refused = rows.filter(|(row, _)| row.status == REFUSED);
        Ok(i64::try_from(refused.count())?)
    }

    async fn republish(&self, since: DateTime<Utc>) -> Result<u64, BoxError> {
        let dead_letters = dead_letter_topic("");
        self.write(|tx| {
            let mut count = 0;
            for (row, _) in tx.kept.outbox.rows.values_mut() {
                let is_event = !row.topic.ends_with(&dead_letters);
                if row.status != PENDING && row.created_at >= since && is_event {
                    PENDING.clone_into(&mut row.status);
                    (row.published_at, row.error) = (None, None);
                    count += 1;
                }
            }
            Ok(count)
        })
        .await
    }
}
