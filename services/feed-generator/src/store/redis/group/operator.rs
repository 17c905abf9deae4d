//! Operators' actions on blocked keys: list, replay, discard. Gaps are given up here, too.

use std::collections::{BTreeSet, HashSet};

use blocks::bus::{Record, TopicPartition};
use blocks::consumer::decide::Base;
use blocks::consumer::parked::{UNREADABLE, event_type_of};
use blocks::consumer::{Applied, Blocked, GAP_LISTED_MS, Pulse, Reason};
use blocks::error::BoxError;
use chrono::{DateTime, TimeDelta, Utc};
use redis::Pipeline;
use sql::FaultPoint;

use super::batch::Batch;
use super::drain::{self, unblock, unpark};
use super::keys::{Block, Key};
use super::{ATTEMPTS, Answer, Group};

/// The latest beginning of a gap that is listed and may be given up.
fn listed_since(group: &Group) -> DateTime<Utc> {
    group.settings.clock.now() - TimeDelta::milliseconds(GAP_LISTED_MS)
}

fn is_listed(block: &Block, since: DateTime<Utc>) -> bool {
    block.reason != Reason::Gap || block.since <= since
}

pub(super) async fn pulse(group: &Group) -> Result<Pulse, BoxError> {
    let since = listed_since(group);
    let mut pulse = Pulse::default();
    for (_, _, block) in group.parked().await? {
        pulse.next_due = match (pulse.next_due, block.retry_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        pulse.blocked += i64::from(is_listed(&block, since));
        pulse.gaps += i64::from(block.reason == Reason::Gap);
    }
    Ok(pulse)
}

pub(super) async fn blocked(group: &Group) -> Result<Vec<Blocked>, BoxError> {
    let since = listed_since(group);
    let mut blocked = Vec::new();
    for (id, key, block) in group.parked().await? {
        if !is_listed(&block, since) {
            continue;
        }
        let mut pipeline = Pipeline::new();
        pipeline.zcard(group.key(&format!("waiting:{}", key.field())));
        let (waiting,): (i64,) = group.link.ask(&pipeline).await?;
        let first = group.parked_records(&key, 1).await?.pop();
        let is_readable = !key.key.starts_with(UNREADABLE);
        blocked.push(Blocked {
            id,
            group: group.settings.group.to_owned(),
            topic: key.topic.to_string(),
            key: key.key.to_string(),
            reason: block.reason,
            error: block.error,
            attempts: block.attempts,
            since: block.since,
            version: first.as_ref().map(|(version, _)| *version),
            event_type: first
                .filter(|_| is_readable)
                .map(|(_, record)| event_type_of(&record)),
            waiting,
        });
    }
    Ok(blocked)
}

async fn named(group: &Group, id: i64) -> Result<Option<Key>, BoxError> {
    let parked = group.parked().await?;
    let found = parked.into_iter().find(|(of, ..)| *of == id);
    Ok(found.map(|(_, key, _)| key))
}

pub(super) async fn waiting(group: &Group, id: i64, max: usize) -> Result<Vec<Record>, BoxError> {
    let Some(key) = named(group, id).await? else {
        return Ok(Vec::new());
    };
    let records = group.parked_records(&key, max).await?;
    Ok(records.into_iter().map(|(_, record)| record).collect())
}

pub(super) async fn replay(group: &Group, id: i64) -> Result<bool, BoxError> {
    change(group, id, |batch, key, _| make_due(batch, key)).await
}

pub(super) async fn discard(group: &Group, id: i64) -> Result<bool, BoxError> {
    change(group, id, |batch, key, first| {
        let is_gap = reason(batch, key) == Some(Reason::Gap);
        make_due(batch, key)?;
        let Some(first) = first else {
            return Ok(());
        };
        if key.key.starts_with(UNREADABLE) {
            unpark(batch, key, first);
            unblock(batch, key);
            return Ok(());
        }
        // A gap is skipped up to the first parked event; a dead letter counts as done.
        let known = batch.keys.entry(key.clone()).or_default();
        known.version = Some(if is_gap { first - 1 } else { first });
        known.moved = true;
        if !is_gap {
            unpark(batch, key, first);
        }
        Ok(())
    })
    .await
}

fn reason(batch: &Batch<'_>, key: &Key) -> Option<Reason> {
    let block = batch.keys.get(key)?.block.as_ref()?;
    Some(block.reason)
}

/// Makes the key due with fresh attempts. A gap stays where a version must still come. At the
/// beginning of a key, or on a compacted topic, the operator ends it.
fn make_due(batch: &mut Batch<'_>, key: &Key) -> Result<(), BoxError> {
    let Some(block) = batch.keys.get(key).and_then(|known| known.block.clone()) else {
        return Ok(());
    };
    let reason = match block.reason {
        Reason::Gap => Reason::Gap,
        _ => Reason::Retrying,
    };
    batch.block(
        key,
        reason,
        block.error,
        0,
        Some(batch.now),
        block.partition,
    )
}

/// Changes the state of a parked key; `change` gets the first parked version. False if no key has
/// that number.
async fn change(
    group: &Group,
    id: i64,
    change: impl Fn(&mut Batch<'_>, &Key, Option<i64>) -> Result<(), BoxError>,
) -> Result<bool, BoxError> {
    group.link.fault(FaultPoint::BeforeWrite)?;
    for _ in 0..ATTEMPTS {
        let Some(key) = named(group, id).await? else {
            return Ok(false);
        };
        let Some((look, waiting)) = drain::look(group, &key, 1).await? else {
            continue;
        };
        let (checks, args) = look.begin(group);
        let mut batch = Batch {
            group,
            now: group.settings.clock.now(),
            keys: look.keys,
            args,
            applied: Applied::default(),
            filled: Vec::new(),
        };
        change(
            &mut batch,
            &key,
            waiting.first().map(|(version, _)| *version),
        )?;
        batch.store();
        if let Answer::Done(_) = group.run(&checks, batch.args).await? {
            return Ok(true);
        }
    }
    Err("others write the same partition all the time".into())
}

/// Makes gaps due whose missing version will never come; see
/// [`blocks::consumer::ConsumerStore::give_up_gaps`].
pub(super) async fn give_up_gaps(
    group: &Group,
    topic: &str,
    partitions: &[i32],
) -> Result<(), BoxError> {
    let since = listed_since(group);
    let any = group.base(topic) == Base::Any;
    let waits = |key: &Key, block: &Block| {
        *key.topic == *topic
            && block.reason == Reason::Gap
            && block.retry_at.is_none()
            && block.since <= since
            && partitions.contains(&block.partition)
    };
    for (_, key, block) in group.parked().await? {
        if !waits(&key, &block) {
            continue;
        }
        let of = TopicPartition {
            topic: topic.to_owned(),
            partition: block.partition,
        };
        let (partitions, keys) = (BTreeSet::from([of]), HashSet::from([key.clone()]));
        let look = group.look(&partitions, &keys).await?;
        let (checks, args) = look.begin(group);
        let known = look.keys.get(&key).cloned().unwrap_or_default();
        let still = known.block.as_ref().is_some_and(|block| waits(&key, block));
        if !still || !(any || known.version.is_none()) {
            continue;
        }
        let mut batch = Batch {
            group,
            now: group.settings.clock.now(),
            keys: look.keys,
            args,
            applied: Applied::default(),
            filled: Vec::new(),
        };
        let now = Some(batch.now);
        batch.block(&key, Reason::Gap, block.error, 0, now, block.partition)?;
        group.link.fault(FaultPoint::BeforeWrite)?;
        // If other members wrote in between, the next poll finds it again.
        group.run(&checks, batch.args).await?;
    }
    Ok(())
}
