//! Applies parked events: after a back-off, a replay, a discard, or when the missing version came.

use std::collections::{BTreeSet, HashSet};

use async_trait::async_trait;
use blocks::bus::{Record, TopicPartition};
use blocks::consumer::parked::read_record;
use blocks::consumer::plan::{PAGE, readable_now};
use blocks::consumer::{Applied, ApplyError, Block, Key, ParkedKeys, Plan};
use blocks::error::BoxError;
use redis::Pipeline;
use sql::FaultPoint;

use super::batch::effect;
use super::keys::{Snapshot, read_block};
use super::{ATTEMPTS, BUSY, Group};

#[async_trait]
impl ParkedKeys for Group {
    async fn due_keys(&self, max: usize) -> Result<Vec<Key>, ApplyError> {
        let parked = self.parked().await.map_err(ApplyError::Unavailable)?;
        let now = self.settings.clock.now();
        let due = parked.into_iter().filter(|(_, _, block)| block.is_due(now));
        let mut due: Vec<_> = due.map(|(_, key, block)| (block.retry_at, key)).collect();
        due.sort();
        Ok(due.into_iter().map(|(_, key)| key).take(max).collect())
    }

    async fn apply_page(&self, key: &Key) -> Result<Option<(Applied, bool)>, ApplyError> {
        let applied = self.apply_page_of(key).await;
        applied.map_err(ApplyError::Unavailable)
    }
}

impl Group {
    async fn apply_page_of(&self, key: &Key) -> Result<Option<(Applied, bool)>, BoxError> {
        self.link.fault(FaultPoint::BeforeWrite)?;
        for _ in 0..ATTEMPTS {
            let Some((mut snapshot, waiting)) = self.snapshot_of_key(key, PAGE).await? else {
                return Ok(None);
            };
            let now = self.settings.clock.now();
            if snapshot
                .keys
                .get(key)
                .is_none_or(|known| !known.is_due(now))
            {
                return Ok(None);
            }
            if let (Some(real), Some((_, record))) = (readable_now(key, &waiting), waiting.first())
            {
                let of = BTreeSet::from([record.topic_partition()]);
                snapshot
                    .keys
                    .extend(self.snapshot(&of, &HashSet::from([real])).await?.keys);
            }
            let (checks, mut args) = snapshot.begin(self);
            let mut plan = Plan::new(&self.member, now, snapshot.keys);
            let mut page = plan.page(key, waiting);
            while let Some((record, event)) = plan.next(&mut page) {
                let done = effect(self, &record, &event)?.map(|more| args.append(more));
                plan.tried(&mut page, &record, &event, done);
            }
            if let Some(applied) = self.write_plan(&checks, args, plan).await? {
                return Ok(Some((applied, page.goes_on())));
            }
        }
        Err(BUSY.into())
    }

    /// The state of a parked key, and up to `max` of its parked records, lowest version first.
    pub(super) async fn snapshot_of_key(
        &self,
        key: &Key,
        max: usize,
    ) -> Result<Option<(Snapshot, Vec<(i64, Record)>)>, BoxError> {
        let mut pipeline = Pipeline::new();
        pipeline.hget(self.key("parked"), key.to_string());
        let (text,): (Option<String>,) = self.link.ask(&pipeline).await?;
        let Some(text) = text else { return Ok(None) };
        let partition = TopicPartition {
            topic: key.topic.to_string(),
            partition: read_block(&text)?.1.partition,
        };
        let keys = HashSet::from([key.clone()]);
        let snapshot = self.snapshot(&BTreeSet::from([partition]), &keys).await?;
        let waiting = self.parked_records(key, max).await?;
        Ok(Some((snapshot, waiting)))
    }

    /// The blocked keys, with their numbers.
    pub(super) async fn parked(&self) -> Result<Vec<(i64, Key, Block)>, BoxError> {
        let mut pipeline = Pipeline::new();
        pipeline.hgetall(self.key("parked"));
        let (fields,): (Vec<(String, String)>,) = self.link.ask(&pipeline).await?;
        let mut parked = Vec::with_capacity(fields.len());
        for (field, text) in fields {
            let (id, block) = read_block(&text)?;
            let key = Key::parse(&field).ok_or("a parked key without a topic")?;
            parked.push((id, key, block));
        }
        parked.sort_by_key(|(id, ..)| *id);
        Ok(parked)
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
        let waiting = self.key(&format!("waiting:{key}"));
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
