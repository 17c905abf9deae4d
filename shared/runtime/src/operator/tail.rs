//! Reads a topic without a group: existing records in the order of time, then new ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::{BusError, EventBus, Positions, Record, Subscription, Watermarks};
use blocks::error::BoxError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Operator;
use crate::pages::Pages;

/// Records in one batch of the answer.
const PAGE: usize = 200;
/// Number of latest records shown by default.
const LATEST: usize = 10;

/// The records to begin with.
pub(super) enum Start {
    /// With the oldest record.
    Oldest,
    /// With the latest ones.
    Latest,
    /// With these offsets; a partition that is absent begins with its oldest record.
    At(BTreeMap<i32, i64>),
}

/// A reader of a topic.
pub(super) struct Tail {
    bus: Arc<dyn EventBus>,
    topic: String,
    /// The records that existed at the beginning, of each partition.
    backlog: Vec<Pages>,
    /// Number of records still to give, where there is a limit.
    left: Option<usize>,
    follow: bool,
    subscription: Option<Box<dyn Subscription>>,
    ends: BTreeMap<i32, i64>,
    stop: CancellationToken,
    name: Uuid,
}

impl Tail {
    pub(super) async fn open(
        operator: &Operator,
        topic: String,
        start: Start,
        limit: Option<usize>,
        follow: bool,
    ) -> Result<Self, BusError> {
        let bus = &operator.bus;
        let latest = matches!(start, Start::Latest).then_some(limit.unwrap_or(LATEST));
        let (mut backlog, mut ends) = (Vec::new(), BTreeMap::new());
        let mut surplus = 0;
        for (partition, Watermarks { oldest, next: end }) in
            (0..).zip(bus.watermarks(&topic).await?)
        {
            let begin = match (&start, latest) {
                (Start::At(at), _) => at.get(&partition).copied().unwrap_or(oldest),
                (_, None) => oldest,
                (_, Some(wanted)) => {
                    let pages = |from| Pages::new(bus, &topic, partition, from, end);
                    let (begin, records) = latest_of(pages, oldest, end, wanted).await?;
                    surplus += records;
                    begin
                }
            };
            backlog.push(Pages::new(bus, &topic, partition, begin, end));
            ends.insert(partition, end);
        }
        let mut tail = Self {
            bus: Arc::clone(bus),
            topic,
            backlog,
            left: limit.filter(|_| !(latest.is_some() && follow)),
            follow,
            subscription: None,
            ends,
            stop: operator.stop.clone(),
            name: operator.clock.id(),
        };
        // Each partition has as many as are wanted of all.
        for _ in latest.unwrap_or(surplus)..surplus {
            tail.earliest().await?;
        }
        Ok(tail)
    }

    /// The next records; `None` when there are no more.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<Record>>> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let mut batch = Vec::new();
        while batch.len() < PAGE
            && let Some(record) = self.earliest().await?
        {
            batch.push(record);
        }
        if batch.is_empty() {
            if !self.follow {
                return Ok(None);
            }
            match self.coming().await? {
                Some(records) => batch = records,
                None => return Ok(None),
            }
        }
        if let Some(left) = &mut self.left {
            batch.truncate(*left);
            *left -= batch.len();
        }
        Ok(Some(batch))
    }

    /// The next record of the backlog, in the order of time over all partitions. A partition is read as it
    /// lies: a record published once more is behind newer ones.
    async fn earliest(&mut self) -> Result<Option<Record>, BusError> {
        let mut earliest = None;
        for (at, pages) in self.backlog.iter_mut().enumerate() {
            if let Some(record) = pages.peek().await?
                && earliest.is_none_or(|(time, _)| record.time < time)
            {
                earliest = Some((record.time, at));
            }
        }
        match earliest {
            Some((_, at)) => self.backlog[at].next().await,
            None => Ok(None),
        }
    }

    /// Newly published records; `None` at a stop.
    async fn coming(&mut self) -> Result<Option<Vec<Record>>, BusError> {
        let subscription = match &mut self.subscription {
            Some(subscription) => subscription,
            empty => {
                let ends = Arc::new(Ends(self.ends.clone()));
                // A group of its own: it takes nothing away from anybody.
                let group = format!("tail-{}", self.name);
                let topics = [self.topic.clone()];
                empty.insert(self.bus.subscribe(&group, &topics, ends).await?)
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => Ok(None),
            records = subscription.next(PAGE) => records.map(Some),
        }
    }
}

/// The offset from which on a partition has its latest `wanted` records, and how many it has from there.
/// Compaction leaves holes, so it looks back further until it has enough.
async fn latest_of(
    pages: impl Fn(i64) -> Pages,
    oldest: i64,
    end: i64,
    wanted: usize,
) -> Result<(i64, usize), BusError> {
    let mut back = i64::try_from(wanted).unwrap_or(i64::MAX);
    loop {
        let from = end.saturating_sub(back).max(oldest);
        let (mut pages, mut offsets) = (pages(from), Vec::new());
        while let Some(record) = pages.next().await? {
            offsets.push(record.offset);
        }
        if offsets.len() >= wanted || from <= oldest {
            let latest = &offsets[offsets.len().saturating_sub(wanted)..];
            return Ok((latest.first().copied().unwrap_or(end), latest.len()));
        }
        back = back.saturating_mul(4);
    }
}

/// Begins where the backlog ended.
struct Ends(BTreeMap<i32, i64>);

#[async_trait]
impl Positions for Ends {
    async fn begin_at(
        &self,
        _topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, BoxError> {
        let mut ends = self.0.clone();
        ends.retain(|partition, _| partitions.contains(partition));
        Ok(ends)
    }
}
