//! Resumes keys that waited: after a back-off, a replay, a discard, or when the missing version came.

use std::collections::HashMap;
use std::sync::Arc;

use blocks::consumer::decide::{Base, KeyState};
use blocks::consumer::parked::{UNREADABLE, read, read_record};
use blocks::consumer::{Applied, Reason};
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use super::batch::{Batch, Gap};
use super::inbox;
use super::keys::{self, Key};
use super::{BatchError, Shared};
use crate::error::StoreError;
use crate::tx::Tx;
use crate::{fetch_all, fetch_optional};

/// Number of a key's events that are applied in one write.
const PAGE: i64 = 200;
/// Number of keys tried in one round.
const KEYS: i64 = 100;

/// Tries keys that are due, each in a write of its own, and no more than [`KEYS`] of them: new
/// records want their turn, too.
pub(super) async fn due(shared: &Arc<Shared>) -> Result<Applied, BatchError> {
    let mut applied = Applied::default();
    for key in due_keys(shared).await? {
        while let Some((more, goes_on)) = one(shared, key.clone()).await? {
            applied += more;
            if !goes_on {
                break;
            }
        }
    }
    Ok(applied)
}

async fn due_keys(shared: &Shared) -> Result<Vec<Key>, BatchError> {
    let now = shared.db.settings().clock.now();
    let mut reader = shared.db.read().await?;
    let rows: Vec<(String, String)> = fetch_all!(reader,
        "select topic, key from parked_keys where consumer_group = $1 and retry_at <= $2
         order by retry_at limit $3" => shared.group, now, KEYS)?;
    Ok(rows
        .into_iter()
        .map(|(topic, key)| Key { topic, key })
        .collect())
}

/// One page of a key that is due; `None` when it no longer is. True when there is more to do now.
async fn one(shared: &Arc<Shared>, key: Key) -> Result<Option<(Applied, bool)>, BatchError> {
    let of_write = Arc::clone(shared);
    shared
        .db
        .write(move |tx| {
            Box::pin(async move {
                let now = tx.now();
                let statement = format!(
                    "select retry_at from parked_keys
                     where consumer_group = $1 and topic = $2 and key = $3{}",
                    tx.dialect().for_update()
                );
                let retry_at: Option<Option<DateTime<Utc>>> =
                    fetch_optional!(tx, scalar AssertSqlSafe(statement)
                        => of_write.group, &key.topic, &key.key)?;
                if retry_at.flatten().is_none_or(|at| at > now) {
                    return Ok(None);
                }
                let mut batch = Batch {
                    shared: &of_write,
                    apart: true,
                    keys: HashMap::new(),
                    rows: Vec::new(),
                    applied: Applied::default(),
                };
                let loaded = keys::load(tx, &of_write, &key.topic, &[&key.key]).await?;
                batch.keys = loaded;
                let known = batch.keys.get(&key).copied().unwrap_or_default();
                // A gap that is due has been given up: the first that waits goes on from there.
                let given_up = known.state.blocked == Some(Reason::Gap)
                    && (known.state.known.is_none()
                        || of_write.base(&key.topic) == Base::Any);
                let more = page(&mut batch, tx, &key, given_up).await?;
                batch.store(tx).await?;
                Ok(Some((batch.applied, more)))
            })
        })
        .await
}

/// Goes on with a key whose missing version has just been applied.
pub(super) async fn after_gap(
    batch: &mut Batch<'_>,
    tx: &mut Tx,
    key: &Key,
) -> Result<(), BatchError> {
    // Waiting events may have come in this very batch.
    batch.store_rows(tx).await?;
    while page(batch, tx, key, false).await? {}
    Ok(())
}

/// Applies a page of the events that wait for `key`, lowest version first. The write that finds none left
/// removes the block. True when there is more to do now.
async fn page(
    batch: &mut Batch<'_>,
    tx: &mut Tx,
    key: &Key,
    mut gap_given_up: bool,
) -> Result<bool, BatchError> {
    let waiting = inbox::parked(tx, batch.shared, key, PAGE).await?;
    let full = i64::try_from(waiting.len()).is_ok_and(|count| count == PAGE);
    for row in waiting {
        let known = batch.keys.entry(key.clone()).or_default();
        let (state, attempts) = (known.state, known.attempts);
        let Some(text) = &row.record else { continue };
        let record = read_record(&key.topic, text).map_err(StoreError::Unavailable)?;
        if key.key.starts_with(UNREADABLE) {
            return unreadable_again(batch, tx, key, &record, attempts)
                .await
                .map(|()| false);
        }
        if state.known.is_some_and(|known| row.version <= known) {
            inbox::processed(tx, batch.shared, key, row.version).await?;
            continue;
        }
        let is_next = row.version == state.known.map_or(1, |known| known + 1);
        if !is_next && !std::mem::take(&mut gap_given_up) && !is_base(batch, key, state) {
            let gap = Gap {
                known: state.known,
                found: row.version,
                partition: record.partition,
            };
            gap.block(tx, batch.shared, key).await?;
            batch.keys.entry(key.clone()).or_default().state.blocked = Some(Reason::Gap);
            return Ok(false);
        }
        let event = match read(&record) {
            Ok(event) => event,
            Err(malformed) => {
                batch
                    .refused(tx, &record, key, attempts, &malformed.into())
                    .await?;
                return Ok(false);
            }
        };
        match batch.apply(tx, &record, &event).await? {
            Ok(()) => {
                inbox::processed(tx, batch.shared, key, row.version).await?;
                batch.handled(tx, key, &event);
                batch
                    .rows
                    .pop_if(|last| last.version == row.version && last.key == key.key);
                batch.keys.entry(key.clone()).or_default().attempts = 0;
            }
            Err(error) => {
                batch.refused(tx, &record, key, attempts, &error).await?;
                return Ok(false);
            }
        }
    }
    if full {
        return Ok(true);
    }
    keys::unblock(tx, batch.shared, key).await?;
    let known = batch.keys.entry(key.clone()).or_default();
    known.state.blocked = None;
    known.attempts = 0;
    Ok(false)
}

/// True if a key may begin with any version that waits first.
fn is_base(batch: &Batch<'_>, key: &Key, state: KeyState) -> bool {
    state.known.is_none() && batch.shared.base(&key.topic) == Base::Any
}

/// Tries again a record that was no event: for a newer release it may be one, and is then treated as all
/// others.
async fn unreadable_again(
    batch: &mut Batch<'_>,
    tx: &mut Tx,
    key: &Key,
    record: &blocks::bus::Record,
    attempts: i64,
) -> Result<(), BatchError> {
    match read(record) {
        Err(malformed) => {
            batch
                .refused(tx, record, key, attempts, &malformed.into())
                .await
        }
        Ok(event) => {
            inbox::processed(tx, batch.shared, key, 0).await?;
            keys::unblock(tx, batch.shared, key).await?;
            batch.keys.remove(key);
            let real = keys::load(tx, batch.shared, &record.topic, &[&event.subject]).await?;
            batch.keys.extend(real);
            Box::pin(batch.event(tx, record, &event)).await
        }
    }
}
