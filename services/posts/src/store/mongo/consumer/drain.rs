//! Applies parked events: after a back-off, a replay, a discard, or when the missing version came.

use blocks::consumer::decide::Base;
use blocks::consumer::parked::read;
use blocks::consumer::{Applied, Reason};
use blocks::error::chain;
use chrono::TimeDelta;
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};

use super::super::document::{date, read as read_document};
use super::super::error::failed;
use super::batch::{Batch, Refusals, is_unreadable};
use super::keys::{self, Key, KeyDoc};
use super::rows::{self, RowDoc};
use super::{BatchError, Handler, KEYS, Shared};

/// Most parked events of a key in one write.
pub(super) const PAGE: i64 = 200;
/// Most keys in one round.
const KEYS_A_ROUND: i64 = 100;

/// Tries up to [`KEYS_A_ROUND`] keys that are due, each by itself. The limit gives new records their
/// turn.
pub(super) async fn due<H: Handler>(shared: &Shared<H>) -> Result<Applied, BatchError> {
    let mut applied = Applied::default();
    for key in due_keys(shared).await? {
        while let Some((more, goes_on)) = one(shared, &key).await? {
            applied += more;
            if !goes_on {
                break;
            }
        }
    }
    Ok(applied)
}

async fn due_keys<H>(shared: &Shared<H>) -> Result<Vec<Key>, BatchError> {
    let now = date(shared.mongo.settings().clock.now());
    let found = shared
        .mongo
        .collection(KEYS)
        .find(doc! {
            "group": shared.group, "parked.number": {"$gt": 0_i64},
            "parked.retry_at": {"$lte": now},
        })
        .sort(doc! {"parked.retry_at": 1})
        .limit(KEYS_A_ROUND)
        .await
        .map_err(failed)?;
    let found: Vec<Document> = found.try_collect().await.map_err(failed)?;
    let found = found.into_iter();
    let keys = found.filter_map(|doc| read_document::<KeyDoc>(&shared.mongo, KEYS, doc));
    Ok(keys
        .map(|doc| Key {
            topic: doc.topic,
            key: doc.key,
        })
        .collect())
}

/// Applies one page of a due key; `None` when it is no longer due. True when there is more to do
/// now.
async fn one<H: Handler>(
    shared: &Shared<H>,
    key: &Key,
) -> Result<Option<(Applied, bool)>, BatchError> {
    let mut refusals = Refusals::new();
    loop {
        let mut batch = Batch::new(shared, &refusals);
        let wanted = std::iter::once(key.clone());
        batch.keys = keys::load(&shared.mongo, shared.group, wanted).await?;
        let now = date(shared.mongo.settings().clock.now());
        let state = match batch.keys.get(key) {
            Some(known) => {
                let retry_at = known.doc.parked.as_ref().and_then(|parked| parked.retry_at);
                if retry_at.is_none_or(|at| at > now) {
                    return Ok(None);
                }
                known.state()
            }
            None => return Ok(None),
        };
        batch.load_waiting(key).await?;
        // A due gap has been given up: the first parked event goes on from there.
        let given_up = state.blocked == Some(Reason::Gap)
            && (state.known.is_none() || shared.base(&key.topic) == Base::Any);
        let goes_on = page(&mut batch, key, given_up).await?;
        match batch.write(None).await {
            Ok(applied) => return Ok(Some((applied, goes_on))),
            // Another member does it.
            Err(BatchError::Overtaken(_)) => return Ok(None),
            Err(BatchError::Refused(event, error)) => {
                refusals.insert(event, chain(&error));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Goes on with a key whose missing version is applied in this batch.
pub(super) async fn after_gap<H: Handler>(
    batch: &mut Batch<'_, H>,
    key: &Key,
) -> Result<(), BatchError> {
    page(batch, key, false).await.map(|_| ())
}

/// Applies the loaded parked events of `key`, lowest version first. The last one removes the block.
/// True when there is more to do now.
async fn page<H: Handler>(
    batch: &mut Batch<'_, H>,
    key: &Key,
    mut gap_given_up: bool,
) -> Result<bool, BatchError> {
    let waiting = batch.waiting.get(key).cloned().unwrap_or_default();
    let base = batch.shared.base(&key.topic);
    for row in waiting.into_values() {
        let record = match rows::record(&row) {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(error) => return Err(BatchError::Away(error)),
        };
        let known = batch.known(key, record.partition);
        let (state, attempts) = (known.state(), known.attempts());
        if is_unreadable(key) {
            return unreadable_again(batch, key, &row, attempts)
                .await
                .map(|()| false);
        }
        if state.known.is_some_and(|known| row.version <= known) {
            batch.waited.push(row.id);
            continue;
        }
        let is_next = row.version == state.known.map_or(1, |known| known + 1);
        let is_base = state.known.is_none() && base == Base::Any;
        if !is_next && batch.more.get(key).is_some_and(|last| row.version > *last) {
            // This event came with the batch: others that are not loaded are parked before it.
            break;
        }
        if !is_next && !std::mem::take(&mut gap_given_up) && !is_base {
            batch.gap(key, record.partition, row.version);
            return Ok(false);
        }
        let event = match read(&record) {
            Ok(event) => event,
            Err(malformed) => {
                batch.refused(&record, key, attempts, &malformed.into());
                return Ok(false);
            }
        };
        match batch.decide(&record, &event).await? {
            Ok(effect) => {
                batch.handled(key, record.partition, &event, effect);
                // The next event has its own attempts.
                if let Some(parked) = &mut batch.known(key, record.partition).doc.parked {
                    parked.attempts = 0;
                }
            }
            Err(error) => {
                batch.refused(&record, key, attempts, &error);
                return Ok(false);
            }
        }
    }
    let more = batch.more.contains_key(key);
    let now = batch.shared.mongo.settings().clock.now();
    if let Some(known) = batch.keys.get_mut(key) {
        if more {
            // The rest of the key is due at once.
            let due = now - TimeDelta::milliseconds(1);
            known.park(Reason::Retrying, "more waits", 0, Some(due), now);
        } else {
            known.unpark();
        }
    }
    Ok(more)
}

/// Tries an unreadable record again. If a newer release can read it, it is handled like any event.
async fn unreadable_again<H: Handler>(
    batch: &mut Batch<'_, H>,
    key: &Key,
    row: &RowDoc,
    attempts: i64,
) -> Result<(), BatchError> {
    let record = rows::record(row).map_err(BatchError::Away)?;
    let Some(record) = record else { return Ok(()) };
    match read(&record) {
        Err(malformed) => batch.refused(&record, key, attempts, &malformed.into()),
        Ok(event) => {
            batch.waited.push(row.id.clone());
            batch.known(key, record.partition).unpark();
            let real = Key {
                topic: record.topic.clone(),
                key: event.subject.clone(),
            };
            let (mongo, group) = (&batch.shared.mongo, batch.shared.group);
            let loaded = keys::load(mongo, group, std::iter::once(real.clone())).await?;
            let gap = loaded
                .get(&real)
                .is_some_and(|known| known.state().blocked == Some(Reason::Gap));
            batch.keys.extend(loaded);
            if gap {
                batch.load_waiting(&real).await?;
            }
            Box::pin(batch.event(&record, &event)).await?;
        }
    }
    Ok(())
}
