//! Operators' actions on blocked keys: list, replay, discard. Gaps are given up here, too.

use std::collections::{BTreeSet, HashSet};

use blocks::bus::{Record, TopicPartition};
use blocks::consumer::decide::Base;
use blocks::consumer::parked::event_type_of;
use blocks::consumer::{Block, Blocked, Key, Plan, Pulse, Reason};
use blocks::error::BoxError;
use redis::Pipeline;
use sql::FaultPoint;

use super::{ATTEMPTS, BUSY, Group};

pub(super) async fn pulse(group: &Group) -> Result<Pulse, BoxError> {
    let blocks = group.parked().await?.into_iter().map(|(_, _, block)| block);
    Ok(Pulse::of(blocks, group.settings.clock.now()))
}

pub(super) async fn blocked(group: &Group) -> Result<Vec<Blocked>, BoxError> {
    let now = group.settings.clock.now();
    let mut blocked = Vec::new();
    let parked = group.parked().await?.into_iter();
    for (id, key, block) in parked.filter(|(_, _, block)| block.is_listed(now)) {
        let mut pipeline = Pipeline::new();
        pipeline.zcard(group.key(&format!("waiting:{key}")));
        let (waiting,): (i64,) = group.link.ask(&pipeline).await?;
        let first = group.parked_records(&key, 1).await?.pop();
        let is_readable = !key.is_unreadable();
        blocked.push(Blocked {
            id,
            group: group.member.group.to_owned(),
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

/// Makes a parked key due with fresh attempts; with `discards`, gives up what it waits for before. False if no
/// key has that number.
pub(super) async fn resume(group: &Group, id: i64, discards: bool) -> Result<bool, BoxError> {
    group.link.fault(FaultPoint::BeforeWrite)?;
    for _ in 0..ATTEMPTS {
        let Some(key) = named(group, id).await? else {
            return Ok(false);
        };
        let Some((snapshot, waiting)) = group.snapshot_of_key(&key, 1).await? else {
            continue;
        };
        let (checks, args) = snapshot.begin(group);
        let mut plan = Plan::new(&group.member, group.settings.clock.now(), snapshot.keys);
        if discards {
            plan.discard(&key, waiting.first().map(|(version, _)| *version));
        } else {
            plan.replay(&key);
        }
        if group.write_plan(&checks, args, plan).await?.is_some() {
            return Ok(true);
        }
    }
    Err(BUSY.into())
}

/// Makes gaps due whose missing version will never come; see
/// [`blocks::consumer::ConsumerStore::give_up_gaps`].
pub(super) async fn give_up_gaps(
    group: &Group,
    topic: &str,
    partitions: &[i32],
) -> Result<(), BoxError> {
    let now = group.settings.clock.now();
    let any = group.member.base(topic) == Base::Any;
    let waits = |block: &Block| {
        block.reason == Reason::Gap
            && block.retry_at.is_none()
            && block.is_listed(now)
            && partitions.contains(&block.partition)
    };
    for (_, key, block) in group.parked().await? {
        if *key.topic != *topic || !waits(&block) {
            continue;
        }
        let of = TopicPartition {
            topic: topic.to_owned(),
            partition: block.partition,
        };
        let keys = HashSet::from([key.clone()]);
        let snapshot = group.snapshot(&BTreeSet::from([of]), &keys).await?;
        let still = snapshot.keys.get(&key).is_some_and(|known| {
            known.block.as_ref().is_some_and(waits) && (any || known.version.is_none())
        });
        if still {
            let (checks, args) = snapshot.begin(group);
            let mut plan = Plan::new(&group.member, now, snapshot.keys);
            plan.replay(&key);
            group.link.fault(FaultPoint::BeforeWrite)?;
            // If other members wrote in between, the next poll finds it again.
            group.write_plan(&checks, args, plan).await?;
        }
    }
    Ok(())
}
