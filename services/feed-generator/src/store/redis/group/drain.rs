//! Applies parked events: after a back-off, a replay, a discard, or when the missing version came.

use std::collections::{BTreeSet, HashSet};

use blocks::bus::{Record, TopicPartition};
use blocks::consumer::decide::Base;
use blocks::consumer::parked::{UNREADABLE, read, read_record};
use blocks::consumer::{Applied, ApplyError, Reason};
use blocks::error::BoxError;
use redis::Pipeline;
use sql::FaultPoint;

use super::batch::{Batch, ReadEvent};
use super::keys::{Block, Key, Look};
use super::{ATTEMPTS, Answer, Group};

/// Most parked events of a key in one write.
const PAGE: usize = 200;
/// Most keys in one round.
const KEYS: usize = 100;

/// Tries up to [`KEYS`] keys that are due, each in a write of its own. The limit gives new records
/// their turn.
pub(super) async fn due(group: &Group) -> Result<i64, ApplyError> {
    let parked = group.parked().await.map_err(ApplyError::Unavailable)?;
    let now = group.settings.clock.now();
    let mut due: Vec<_> = parked
        .into_iter()
        .filter_map(|(_, key, block)| Some((block.retry_at.filter(|at| *at <= now)?, key)))
        .collect();
    due.sort();
    let mut told = 0;
    for (_, key) in due.into_iter().take(KEYS) {
        told = told.max(all_of(group, &key).await?);
    }
    Ok(told)
}

/// Goes on with keys whose missing version has just been applied.
pub(super) async fn filled(group: &Group) -> Result<i64, ApplyError> {
    let next = || {
        let filled = group.filled.lock();
        filled.last().cloned()
    };
    let mut told = 0;
    while let Some(key) = next() {
        told = told.max(all_of(group, &key).await?);
        let mut filled = group.filled.lock();
        filled.retain(|done| *done != key);
    }
    Ok(told)
}

async fn all_of(group: &Group, key: &Key) -> Result<i64, ApplyError> {
    let mut told = 0;
    while let Some((applied, more)) = one(group, key).await.map_err(ApplyError::Unavailable)? {
        told = told.max(more.told);
        group.told_later(applied);
        if !more.goes_on {
            break;
        }
    }
    Ok(told)
}

struct More {
    told: i64,
    /// There is more to do now.
    goes_on: bool,
}

/// The state of a parked key, and up to `max` of its parked records, lowest version first.
pub(super) async fn look(
    group: &Group,
    key: &Key,
    max: usize,
) -> Result<Option<(Look, Vec<(i64, Record)>)>, BoxError> {
    let Some(block) = group.block(key).await? else {
        return Ok(None);
    };
    let partition = TopicPartition {
        topic: key.topic.to_string(),
        partition: block.partition,
    };
    let keys = HashSet::from([key.clone()]);
    let look = group.look(&BTreeSet::from([partition]), &keys).await?;
    let waiting = group.parked_records(key, max).await?;
    Ok(Some((look, waiting)))
}

/// Applies one page of a due key; `None` when it is no longer due.
async fn one(group: &Group, key: &Key) -> Result<Option<(Applied, More)>, BoxError> {
    group.link.fault(FaultPoint::BeforeWrite)?;
    for _ in 0..ATTEMPTS {
        let now = group.settings.clock.now();
        let Some((mut look, waiting)) = look(group, key, PAGE).await? else {
            return Ok(None);
        };
        let known = look.keys.get(key).cloned().unwrap_or_default();
        let due = known.block.as_ref().and_then(|block| block.retry_at);
        if due.is_none_or(|at| at > now) {
            return Ok(None);
        }
        // A due gap has been given up: the first parked event goes on from there.
        let is_gap = known
            .block
            .as_ref()
            .is_some_and(|block| block.reason == Reason::Gap);
        let any = group.base(&key.topic) == Base::Any;
        let given_up = is_gap && (known.version.is_none() || any);
        if let (true, Some((_, record))) = (key.key.starts_with(UNREADABLE), waiting.first())
            && let Ok(event) = read(record)
        {
            // A newer release may read it: then it is handled like any event.
            let keys = HashSet::from([ReadEvent::of(record, event).key]);
            let of = BTreeSet::from([record.topic_partition()]);
            look.keys.extend(group.look(&of, &keys).await?.keys);
        }
        let (checks, args) = look.begin(group);
        let mut batch = Batch {
            group,
            now,
            keys: look.keys,
            args,
            applied: Applied::default(),
            filled: Vec::new(),
        };
        let goes_on = page(&mut batch, key, &waiting, given_up)?;
        batch.store();
        group.goes_on_later(std::mem::take(&mut batch.filled));
        if let Answer::Done(told) = group.run(&checks, batch.args).await? {
            return Ok(Some((batch.applied, More { told, goes_on })));
        }
    }
    Err("others write the same partition all the time".into())
}

/// Applies a page of the events parked for `key`. The write that finds none left removes the block.
/// True when there is more to do now.
fn page(
    batch: &mut Batch<'_>,
    key: &Key,
    waiting: &[(i64, Record)],
    mut gap_given_up: bool,
) -> Result<bool, BoxError> {
    let any = batch.group.base(&key.topic) == Base::Any;
    for (version, record) in waiting {
        let known = batch.keys.entry(key.clone()).or_default().version;
        if key.key.starts_with(UNREADABLE) {
            return unreadable_again(batch, key, record).map(|()| false);
        }
        if known.is_some_and(|known| *version <= known) {
            unpark(batch, key, *version);
            continue;
        }
        let is_next = *version == known.map_or(1, |known| known + 1);
        let is_base = known.is_none() && any;
        if !is_next && !std::mem::take(&mut gap_given_up) && !is_base {
            batch.gap(key, known, *version, record.partition)?;
            return Ok(false);
        }
        let event = match read(record) {
            Ok(event) => event,
            Err(malformed) => {
                batch.refused(record, key, &malformed.into())?;
                return Ok(false);
            }
        };
        match batch.apply(record, &event)? {
            Ok(()) => {
                unpark(batch, key, *version);
                batch.handled(key, &event);
                if let Some(block) = &mut batch.keys.entry(key.clone()).or_default().block {
                    block.attempts = 0;
                }
            }
            Err(error) => {
                batch.refused(record, key, &error)?;
                return Ok(false);
            }
        }
    }
    if waiting.len() == PAGE {
        return Ok(true);
    }
    unblock(batch, key);
    Ok(false)
}

pub(super) fn unpark(batch: &mut Batch<'_>, key: &Key, version: i64) {
    batch.args.push("unpark").push(key.field()).number(version);
}

pub(super) fn unblock(batch: &mut Batch<'_>, key: &Key) {
    batch.args.push("unblock").push(key.field());
    batch.keys.entry(key.clone()).or_default().block = None;
}

fn unreadable_again(batch: &mut Batch<'_>, key: &Key, record: &Record) -> Result<(), BoxError> {
    match read(record) {
        Err(malformed) => batch.refused(record, key, &malformed.into()),
        Ok(event) => {
            unpark(batch, key, 0);
            unblock(batch, key);
            batch.event(record, &mut ReadEvent::of(record, event))
        }
    }
}

impl Group {
    /// The blocked keys, with their numbers.
    pub(super) async fn parked(&self) -> Result<Vec<(i64, Key, Block)>, BoxError> {
        let mut pipeline = Pipeline::new();
        pipeline.hgetall(self.key("parked"));
        let (fields,): (Vec<(String, String)>,) = self.link.ask(&pipeline).await?;
        let mut parked = Vec::with_capacity(fields.len());
        for (field, text) in fields {
            let (id, block) = Block::read(&text)?;
            let key = Key::of_field(&field).ok_or("a parked key without a topic")?;
            parked.push((id, key, block));
        }
        parked.sort_by_key(|(id, ..)| *id);
        Ok(parked)
    }

    async fn block(&self, key: &Key) -> Result<Option<Block>, BoxError> {
        let mut pipeline = Pipeline::new();
        pipeline.hget(self.key("parked"), key.field());
        let (text,): (Option<String>,) = self.link.ask(&pipeline).await?;
        Ok(text
            .map(|text| Block::read(&text))
            .transpose()?
            .map(|(_, block)| block))
    }

    /// Up to `max` parked records of `key`, lowest version first.
    pub(super) async fn parked_records(
        &self,
        key: &Key,
        max: usize,
    ) -> Result<Vec<(i64, Record)>, BoxError> {
        let Some(last) = max.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let mut pipeline = Pipeline::new();
        let waiting = self.key(&format!("waiting:{}", key.field()));
        pipeline.zrange_withscores(waiting, 0, isize::try_from(last)?);
        let (rows,): (Vec<(String, f64)>,) = self.link.ask(&pipeline).await?;
        let rows = rows.into_iter().map(|(text, version)| {
            #[expect(clippy::cast_possible_truncation, reason = "a version has no fraction")]
            let version = version as i64;
            Ok((version, read_record(&key.topic, &text)?))
        });
        rows.collect()
    }
}
