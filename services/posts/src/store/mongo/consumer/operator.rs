//! Operators' actions on blocked keys: list, replay, discard, reset.

use std::collections::BTreeMap;

use blocks::bus::Record;
use blocks::consumer::decide::Base;
use blocks::consumer::parked::UNREADABLE;
use blocks::consumer::{Blocked, GAP_LISTED_MS, Pulse, Reason};
use blocks::error::BoxError;
use chrono::{DateTime, TimeDelta, Utc};
use mongodb::bson::{Document, doc};
use sql::StoreError;

use super::super::document::{date, time};
use super::super::error::failed;
use super::keys::{self, KeyDoc, Known};
use super::rows::{self, Listed};
use super::{Handler, KEYS, Shared};

/// How often an operator's action is tried while the group writes the same key.
const ATTEMPTS: usize = 32;

pub(super) async fn blocked<H>(shared: &Shared<H>) -> Result<Vec<Blocked>, StoreError> {
    let listed = listed_since(shared);
    let mut keys = parked(shared, doc! {}).await?;
    keys.retain(|key| key.parked.as_ref().is_some_and(|p| is_listed(p, listed)));
    keys.sort_by_key(|key| key.parked.as_ref().map(|parked| parked.number));
    let ids: Vec<String> = keys.iter().map(|key| key.id.clone()).collect();
    let mut waiting: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
    for row in rows::list(&shared.mongo, &ids).await? {
        waiting.entry(row.key_id.clone()).or_default().push(row);
    }
    let shown = keys.into_iter().filter_map(|key| {
        let parked = key.parked?;
        let mut waiting = waiting.remove(&key.id).unwrap_or_default();
        waiting.retain(|row| key.version.is_none_or(|known| row.version > known));
        let first = waiting.iter().min_by_key(|row| row.version);
        Some(Blocked {
            id: parked.number,
            group: key.group,
            topic: key.topic,
            key: key.key,
            reason: parked.reason,
            error: parked.error,
            attempts: parked.attempts,
            since: time(parked.since),
            version: first.map(|row| row.version),
            event_type: first.and_then(|row| row.event_type.clone()),
            waiting: i64::try_from(waiting.len()).unwrap_or(i64::MAX),
        })
    });
    Ok(shown.collect())
}

pub(super) async fn pulse<H>(shared: &Shared<H>) -> Result<Pulse, StoreError> {
    let listed = listed_since(shared);
    let mut pulse = Pulse::default();
    for parked in parked(shared, doc! {})
        .await?
        .into_iter()
        .filter_map(|key| key.parked)
    {
        pulse.blocked += i64::from(is_listed(&parked, listed));
        pulse.gaps += i64::from(parked.reason == Reason::Gap);
        let due = [pulse.next_due, parked.retry_at.map(time)];
        pulse.next_due = due.into_iter().flatten().min();
    }
    Ok(pulse)
}

/// The blocked keys of the group.
async fn parked<H>(shared: &Shared<H>, wanted: Document) -> Result<Vec<KeyDoc>, StoreError> {
    let mut of_group = doc! {"group": shared.group, "parked.number": {"$gt": 0_i64}};
    of_group.extend(wanted);
    keys::find(&shared.mongo, of_group).await
}

fn is_listed(parked: &keys::ParkedDoc, listed: DateTime<Utc>) -> bool {
    parked.reason != Reason::Gap || time(parked.since) <= listed
}

/// Gaps that began before this time are listed, and may be given up.
fn listed_since<H>(shared: &Shared<H>) -> DateTime<Utc> {
    shared.mongo.settings().clock.now() - TimeDelta::milliseconds(GAP_LISTED_MS)
}

/// Makes gaps due whose missing version will never come; see
/// [`blocks::consumer::ConsumerStore::give_up_gaps`].
pub(super) async fn give_up_gaps<H>(
    shared: &Shared<H>,
    topic: &str,
    partitions: &[i32],
) -> Result<(), StoreError> {
    let mut gaps = doc! {
        "group": shared.group, "topic": topic, "partition": {"$in": partitions},
        "parked.reason": Reason::Gap.as_str(), "parked.retry_at": null,
        "parked.since": {"$lte": date(listed_since(shared))},
    };
    if shared.base(topic) == Base::First {
        gaps.insert("version", mongodb::bson::Bson::Null);
    }
    let due = doc! {
        "$set": {"parked.retry_at": date(shared.mongo.settings().clock.now())},
        "$inc": {"rev": 1_i64},
    };
    let done = shared.mongo.collection(KEYS).update_many(gaps, due).await;
    done.map_err(failed)?;
    Ok(())
}

pub(super) async fn waiting<H>(
    shared: &Shared<H>,
    id: i64,
    max: usize,
) -> Result<Vec<Record>, BoxError> {
    let Some(key) = numbered(shared, id).await? else {
        return Ok(Vec::new());
    };
    let rows = rows::load(&shared.mongo, &[key.id], None).await?;
    let rows = rows.into_iter();
    let rows = rows.filter(|row| key.version.is_none_or(|known| row.version > known));
    let records = rows.filter_map(|row| rows::record(&row).transpose());
    records.take(max).collect()
}

async fn numbered<H>(shared: &Shared<H>, number: i64) -> Result<Option<KeyDoc>, StoreError> {
    if number < 1 {
        return Ok(None);
    }
    let found = parked(shared, doc! {"parked.number": number}).await?;
    Ok(found.into_iter().next())
}

pub(super) async fn replay<H>(shared: &Shared<H>, id: i64) -> Result<bool, StoreError> {
    let found = change(shared, id, |_, _, _| {}).await?;
    Ok(found.is_some())
}

pub(super) async fn discard<H>(shared: &Shared<H>, id: i64) -> Result<bool, StoreError> {
    let done = change(shared, id, |known, reason, first| match (reason, first) {
        (_, None) => {}
        (_, Some(_)) if known.doc.key.starts_with(UNREADABLE) => known.unpark(),
        // A gap is skipped up to the first parked event.
        (Reason::Gap, Some(first)) => known.reached(first - 1),
        // A dead letter counts as done.
        (_, Some(first)) => known.reached(first),
    });
    let Some((key_id, reason, first)) = done.await? else {
        return Ok(false);
    };
    if let Some(first) = first
        && reason != Reason::Gap
    {
        let row = format!("{key_id}/{first}");
        rows::store_processed(&shared.mongo, &[], &[row]).await?;
    }
    Ok(true)
}

/// Makes a blocked key due with fresh attempts, and changes it by `more`. This gets the reason of the block and
/// the first parked version; both are returned with the key's id. A gap stays where a version must still come.
/// At the beginning of a key, or on a compacted topic, the operator ends it.
async fn change<H>(
    shared: &Shared<H>,
    number: i64,
    more: impl Fn(&mut Known, Reason, Option<i64>),
) -> Result<Option<(String, Reason, Option<i64>)>, StoreError> {
    for _ in 0..ATTEMPTS {
        let Some(doc) = numbered(shared, number).await? else {
            return Ok(None);
        };
        let waiting = rows::list(&shared.mongo, std::slice::from_ref(&doc.id)).await?;
        let versions = waiting.iter().map(|row| row.version);
        let first = versions.filter(|version| doc.version.is_none_or(|known| *version > known));
        let first = first.min();
        let changed = true;
        let mut known = Known { doc, changed };
        let Some(parked) = &mut known.doc.parked else {
            return Ok(None);
        };
        let reason = parked.reason;
        parked.attempts = 0;
        parked.retry_at = Some(date(shared.mongo.settings().clock.now()));
        if reason != Reason::Gap {
            parked.reason = Reason::Retrying;
        }
        more(&mut known, reason, first);
        let key_id = known.doc.id.clone();
        if keys::store(&shared.mongo, std::iter::once(known)).await? {
            return Ok(Some((key_id, reason, first)));
        }
    }
    Err(StoreError::Unavailable(
        "the group keeps writing about this key".into(),
    ))
}

/// Forgets all of `topics`: first the projection, the offsets last. After a failure in between, it
/// can be run again.
pub(super) async fn reset<H: Handler>(
    shared: &Shared<H>,
    topics: &[String],
) -> Result<(), StoreError> {
    shared.handler.reset(topics).await?;
    rows::forget(&shared.mongo, shared.group, topics).await
}
