//! The one write of a batch.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use blocks::bus::{Record, partitions_of};
use blocks::consumer::decide::{Decision, decide};
use blocks::consumer::parked::{UNREADABLE, event_type_of, give_up, read, record_text};
use blocks::consumer::{Applied, HandlerError, Reason, handling};
use blocks::error::chain;
use events::{Envelope, Malformed};
use futures::FutureExt;

use super::inbox::{self, InboxRow};
use super::keys::{self, Block, Key, Known};
use super::{BatchError, Shared, drain, positions};
use crate::error::StoreError;
use crate::tx::Tx;

/// Writes a batch. When `apart`, each event has a savepoint of its own: a refused one is parked and the
/// others stay. Otherwise the first refusal undoes the batch, which is quicker as long as none is refused.
pub(super) async fn write(
    shared: &Arc<Shared>,
    records: Arc<[Record]>,
    apart: bool,
) -> Result<Applied, BatchError> {
    let of_write = Arc::clone(shared);
    shared
        .db
        .write(move |tx| {
            Box::pin(async move {
                let mut batch = Batch {
                    shared: &of_write,
                    apart,
                    keys: HashMap::new(),
                    rows: Vec::new(),
                    applied: Applied::default(),
                };
                batch.run(tx, &records).await?;
                Ok(batch.applied)
            })
        })
        .await
}

pub(super) struct Batch<'a> {
    pub shared: &'a Arc<Shared>,
    pub apart: bool,
    pub keys: HashMap<Key, Known>,
    pub rows: Vec<InboxRow>,
    pub applied: Applied,
}

impl Batch<'_> {
    async fn run(&mut self, tx: &mut Tx, records: &[Record]) -> Result<(), BatchError> {
        let stored = positions::stored(tx, self.shared, records).await?;
        let fresh: Vec<&Record> = {
            let believed = self.shared.believed.lock();
            for of in partitions_of(records) {
                if believed.get(&of) > stored.get(&of) {
                    return Err(BatchError::Moved);
                }
            }
            let is_fresh = |record: &&Record| {
                let of = record.topic_partition();
                let next = stored.get(&of).copied().unwrap_or_default();
                // The bus delivers records again that lie before an offset which nobody else moved: its log
                // begins anew (it was lost, or restored from a copy). Versions decide then.
                record.offset >= next || believed.get(&of) == Some(&next)
            };
            records.iter().filter(is_fresh).collect()
        };
        self.applied.skipped += (records.len() - fresh.len()) as u64;
        let read: Vec<(&Record, Result<Envelope, Malformed>)> =
            fresh.iter().map(|record| (*record, read(record))).collect();
        self.load_keys(tx, &read).await?;
        let mut together = Vec::new();
        for (record, event) in &read {
            match event {
                Ok(event) if self.joins(tx, record, event) => together.push((*record, event)),
                Ok(event) => {
                    self.apply_all(tx, &std::mem::take(&mut together)).await?;
                    self.event(tx, record, event).await?;
                }
                Err(malformed) => self.unreadable(tx, record, malformed).await?,
            }
        }
        self.apply_all(tx, &together).await?;
        self.store(tx).await?;
        positions::store(tx, self.shared, &fresh, stored).await?;
        Ok(())
    }

    /// Stores the batch's results: versions and inbox rows.
    pub async fn store(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        keys::store(tx, self.shared, self.keys.iter()).await?;
        self.store_rows(tx).await
    }

    /// Stores the inbox rows gathered so far.
    pub async fn store_rows(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        inbox::store(tx, self.shared, &std::mem::take(&mut self.rows)).await
    }

    async fn load_keys(
        &mut self,
        tx: &mut Tx,
        read: &[(&Record, Result<Envelope, Malformed>)],
    ) -> Result<(), StoreError> {
        let mut by_topic: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (record, event) in read {
            if let Ok(event) = event {
                by_topic
                    .entry(&record.topic)
                    .or_default()
                    .push(&event.subject);
            }
        }
        for (topic, mut keys) in by_topic {
            keys.sort_unstable();
            keys.dedup();
            self.keys
                .extend(keys::load(tx, self.shared, topic, &keys).await?);
        }
        Ok(())
    }

    /// True if `event` is applied together with others, which is then noted. That is the usual case; a
    /// refusal of any of them undoes the batch, which is then written apart.
    fn joins(&mut self, tx: &Tx, record: &Record, event: &Envelope) -> bool {
        let key = Key {
            topic: record.topic.clone(),
            key: event.subject.clone(),
        };
        let state = self.keys.get(&key).copied().unwrap_or_default().state;
        let base = self.shared.base(&record.topic);
        let joins = !self.apart
            && state.blocked.is_none()
            && decide(state, base, event.sequence) == Decision::Apply;
        if joins {
            self.handled(tx, &key, event);
        }
        joins
    }

    async fn apply_all(
        &self,
        tx: &mut Tx,
        together: &[(&Record, &Envelope)],
    ) -> Result<(), BatchError> {
        if together.is_empty() {
            return Ok(());
        }
        let handler = &self.shared.handler;
        let events: Vec<&Envelope> = together.iter().map(|(_, event)| *event).collect();
        let work = async {
            if !handler.handle_all(tx, &events).await? {
                for (record, event) in together {
                    handling(self.shared.group, record, event, handler.handle(tx, event)).await?;
                }
            }
            Ok(())
        };
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(HandlerError::Unavailable(cause))) => Err(BatchError::Away(cause)),
            Ok(Err(_)) | Err(_) => Err(BatchError::Refused),
        }
    }

    pub async fn event(
        &mut self,
        tx: &mut Tx,
        record: &Record,
        event: &Envelope,
    ) -> Result<(), BatchError> {
        let key = Key {
            topic: record.topic.clone(),
            key: event.subject.clone(),
        };
        let known = self.keys.entry(key.clone()).or_default();
        match decide(known.state, self.shared.base(&record.topic), event.sequence) {
            Decision::Skip => self.applied.skipped += 1,
            Decision::Park => self.park(record, event)?,
            Decision::Gap => {
                let state = known.state;
                known.state.blocked = Some(Reason::Gap);
                self.park(record, event)?;
                let gap = Gap {
                    known: state.known,
                    found: event.sequence,
                    partition: record.partition,
                };
                gap.block(tx, self.shared, &key).await?;
            }
            Decision::Apply => {
                let fills_gap = known.state.blocked == Some(Reason::Gap);
                match self.apply(tx, record, event).await? {
                    Ok(()) => {
                        self.handled(tx, &key, event);
                        if fills_gap {
                            drain::after_gap(self, tx, &key).await?;
                        }
                    }
                    Err(error) => {
                        self.park(record, event)?;
                        self.refused(tx, record, &key, 0, &error).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Lets the handler write the effect. The inner error is its refusal; nothing of its effect is left
    /// then.
    pub async fn apply(
        &self,
        tx: &mut Tx,
        record: &Record,
        event: &Envelope,
    ) -> Result<Result<(), HandlerError>, BatchError> {
        let savepoint = if self.apart {
            Some(tx.savepoint().await?)
        } else {
            None
        };
        let handled = self.shared.handler.handle(tx, event);
        let done = handling(self.shared.group, record, event, handled).await;
        match (done, savepoint) {
            (Err(HandlerError::Unavailable(cause)), _) => Err(BatchError::Away(cause)),
            (Ok(()), Some(savepoint)) => {
                tx.keep(savepoint).await?;
                Ok(Ok(()))
            }
            (Ok(()), None) => Ok(Ok(())),
            (Err(error), Some(savepoint)) => {
                tx.undo(savepoint).await?;
                Ok(Err(error))
            }
            (Err(_), None) => Err(BatchError::Refused),
        }
    }

    /// Notes that `event` had its effect.
    pub fn handled(&mut self, tx: &Tx, key: &Key, event: &Envelope) {
        let known = self.keys.entry(key.clone()).or_default();
        known.state.known = Some(event.sequence);
        known.moved = true;
        self.applied.handled += 1;
        self.applied
            .freshness_ms
            .push((tx.now() - event.time).num_milliseconds());
        if self.shared.db.settings().keep_inbox {
            self.rows.push(InboxRow {
                topic: key.topic.clone(),
                key: key.key.clone(),
                version: event.sequence,
                id: event.id.to_string(),
                event_type: Some(event.event_type.clone()),
                status: "processed",
                record: None,
            });
        }
    }

    fn park(&mut self, record: &Record, event: &Envelope) -> Result<(), StoreError> {
        self.applied.parked += 1;
        self.rows.push(InboxRow {
            topic: record.topic.clone(),
            key: event.subject.clone(),
            version: event.sequence,
            id: event.id.to_string(),
            event_type: Some(event.event_type.clone()),
            status: "processing",
            record: Some(record_text(record)?),
        });
        Ok(())
    }

    /// A record that is no event stays alone under a key of its own, since its place among the versions of
    /// its key is unknown. If it took one, the next version shows the gap.
    async fn unreadable(
        &mut self,
        tx: &mut Tx,
        record: &Record,
        malformed: &Malformed,
    ) -> Result<(), BatchError> {
        let key = Key {
            topic: record.topic.clone(),
            key: format!("{UNREADABLE}{}/{}", record.partition, record.offset),
        };
        self.rows.push(InboxRow {
            topic: key.topic.clone(),
            key: key.key.clone(),
            version: 0,
            id: tx.id().to_string(),
            event_type: None,
            status: "processing",
            record: Some(record_text(record).map_err(StoreError::from)?),
        });
        self.applied.parked += 1;
        let error = HandlerError::Poison(malformed.to_string().into());
        self.refused(tx, record, &key, 0, &error).await
    }

    /// Blocks `key` after its first waiting event was refused: until a retry, or for good.
    pub async fn refused(
        &mut self,
        tx: &mut Tx,
        record: &Record,
        key: &Key,
        attempts_before: i64,
        error: &HandlerError,
    ) -> Result<(), BatchError> {
        let attempts = attempts_before + 1;
        self.applied.failed += 1;
        let retry = &self.shared.retry;
        let reason = match error {
            HandlerError::Poison(_) => Reason::Poison,
            _ if attempts >= retry.attempts => Reason::Rejected,
            _ => Reason::Retrying,
        };
        let retry_at = (reason == Reason::Retrying).then(|| tx.now() + retry.pause(attempts));
        let text = chain(error);
        keys::block(
            tx,
            self.shared,
            key,
            Block {
                partition: record.partition,
                reason,
                error: &text,
                attempts,
                retry_at,
            },
        )
        .await?;
        let known = self.keys.entry(key.clone()).or_default();
        known.state.blocked = Some(reason);
        known.attempts = attempts;
        if reason != Reason::Retrying {
            self.applied.dead += 1;
            let group = self.shared.group;
            let dead_letter = give_up(group, &key.key, record, reason, attempts, &text);
            let (id, event_type) = (tx.id(), event_type_of(record));
            tx.enqueue(id, &event_type, 0, dead_letter);
        }
        Ok(())
    }
}

/// A version is missing before one that came.
pub(super) struct Gap {
    pub known: Option<i64>,
    pub found: i64,
    pub partition: i32,
}

impl Gap {
    /// Lets `key` wait for it. It never becomes due by itself: the missing version ends it, or an operator
    /// who knows that none will come.
    pub async fn block(&self, tx: &mut Tx, shared: &Shared, key: &Key) -> Result<(), StoreError> {
        let error = match self.known {
            Some(known) => format!("version {} has not come, {} has", known + 1, self.found),
            None => format!("no version before {} has come", self.found),
        };
        let block = Block {
            partition: self.partition,
            reason: Reason::Gap,
            error: &error,
            attempts: 0,
            retry_at: None,
        };
        keys::block(tx, shared, key, block).await
    }
}
