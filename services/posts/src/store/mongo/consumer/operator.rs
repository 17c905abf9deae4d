//! Operators' actions on blocked keys: list, replay, discard, reset.

use std::collections::{BTreeMap, HashMap};

use blocks::bus::Record;
use blocks::consumer::decide::Base;
use blocks::consumer::plan::listed_since;
use blocks::consumer::{Blocked, Plan, Pulse, Reason};
use blocks::error::BoxError;
use mongodb::bson::{Document, doc};
use sql::StoreError;

use super::super::document::{date, time};
use super::super::error::failed;
use super::keys::{self, KeyDoc};
use super::rows::{self, Listed};
use super::{Handler, KEYS, MongoConsumer, generations};

/// Most tries of an operator's action while the group writes the same key.
const ATTEMPTS: usize = 32;

pub(super) async fn blocked<H>(consumer: &MongoConsumer<H>) -> Result<Vec<Blocked>, StoreError> {
    let now = consumer.mongo.settings().clock.now();
    let mut keys = parked(consumer, doc! {}).await?;
    keys.retain(|key| key.block().is_some_and(|block| block.is_listed(now)));
    keys.sort_by_key(|key| key.parked.as_ref().map(|parked| parked.number));
    let ids: Vec<String> = keys.iter().map(|key| key.id.clone()).collect();
    let mut waiting: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
    for row in rows::list(&consumer.mongo, &ids).await? {
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

pub(super) async fn pulse<H>(consumer: &MongoConsumer<H>) -> Result<Pulse, StoreError> {
    let keys = parked(consumer, doc! {}).await?;
    let now = consumer.mongo.settings().clock.now();
    Ok(Pulse::of(keys.iter().filter_map(KeyDoc::block), now))
}

/// The blocked keys of the group.
async fn parked<H>(
    consumer: &MongoConsumer<H>,
    wanted: Document,
) -> Result<Vec<KeyDoc>, StoreError> {
    let mut of_group = doc! {"group": consumer.member.group, "parked.number": {"$gt": 0_i64}};
    of_group.extend(wanted);
    let generations = generations::known(consumer).await?;
    keys::find(&consumer.mongo, generations.without_void(of_group)).await
}

/// Makes gaps due whose missing version will never come; see
/// [`blocks::consumer::ConsumerStore::give_up_gaps`].
pub(super) async fn give_up_gaps<H>(
    consumer: &MongoConsumer<H>,
    topic: &str,
    partitions: &[i32],
) -> Result<(), StoreError> {
    let now = consumer.mongo.settings().clock.now();
    let mut gaps = doc! {
        "group": consumer.member.group, "topic": topic, "partition": {"$in": partitions},
        "parked.reason": Reason::Gap.as_str(), "parked.retry_at": null,
        "parked.since": {"$lte": date(listed_since(now))},
    };
    if consumer.member.base(topic) == Base::First {
        gaps.insert("version", mongodb::bson::Bson::Null);
    }
    let due = doc! {
        "$set": {"parked.retry_at": date(now)},
        "$inc": {"rev": 1_i64},
    };
    let gaps = generations::known(consumer).await?.without_void(gaps);
    let done = consumer.mongo.collection(KEYS).update_many(gaps, due).await;
    done.map_err(failed)?;
    Ok(())
}

pub(super) async fn waiting<H>(
    consumer: &MongoConsumer<H>,
    id: i64,
    max: usize,
) -> Result<Vec<Record>, BoxError> {
    let Some(key) = numbered(consumer, id).await? else {
        return Ok(Vec::new());
    };
    let rows = rows::load(&consumer.mongo, &key.id, None).await?;
    let records = rows::records(rows)?.into_iter();
    let waits = |(version, _): &(i64, Record)| key.version.is_none_or(|known| *version > known);
    let records = records.filter(waits).map(|(_, record)| record);
    Ok(records.take(max).collect())
}

async fn numbered<H>(
    consumer: &MongoConsumer<H>,
    number: i64,
) -> Result<Option<KeyDoc>, StoreError> {
    if number < 1 {
        return Ok(None);
    }
    let found = parked(consumer, doc! {"parked.number": number}).await?;
    Ok(found.into_iter().next())
}

/// Makes a blocked key due with fresh attempts; with `discards`, gives up what it waits for before. False when
/// no key has that number.
pub(super) async fn resume<H>(
    consumer: &MongoConsumer<H>,
    number: i64,
    discards: bool,
) -> Result<bool, StoreError> {
    let (mongo, member) = (&consumer.mongo, &consumer.member);
    for _ in 0..ATTEMPTS {
        let Some(doc) = numbered(consumer, number).await? else {
            return Ok(false);
        };
        let waiting = rows::list(mongo, std::slice::from_ref(&doc.id)).await?;
        let versions = waiting.iter().map(|row| row.version);
        let first = versions.filter(|version| doc.version.is_none_or(|known| *version > known));
        let first = first.min();
        let key = doc.key();
        let known = HashMap::from([(key.clone(), doc.known())]);
        let mut plan = Plan::new(member, mongo.settings().clock.now(), known);
        if discards {
            plan.discard(&key, first);
        } else {
            plan.replay(&key);
        }
        let known = plan.keys.remove(&key).unwrap_or_default();
        if keys::store(mongo, vec![doc.with(known)]).await? {
            let generations = generations::known(consumer).await?;
            rows::unpark(mongo, member.group, &generations, &plan.unparked).await?;
            return Ok(true);
        }
    }
    Err(StoreError::Unavailable(
        "the group keeps writing about this key".into(),
    ))
}

/// Forgets all of `topics`. It has happened once their generations have begun; after a failure it can be run
/// again.
pub(super) async fn reset<H: Handler>(
    consumer: &MongoConsumer<H>,
    topics: &[String],
) -> Result<(), StoreError> {
    let (mongo, group) = (&consumer.mongo, consumer.member.group);
    consumer.handler.reset(topics).await?;
    for topic in topics {
        generations::begin(mongo, group, topic).await?;
    }
    let generations = generations::known(consumer).await?;
    generations::remove_void(mongo, group, &generations).await
}
