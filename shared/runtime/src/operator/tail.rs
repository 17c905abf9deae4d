//! Reads a topic without a group: existing records in the order of time, then new ones.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::{BusError, EventBus, Positions, Record, Subscription};
use blocks::error::BoxError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Records in one read of a partition, and in one batch of the answer.
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

/// Records of a partition that existed at the beginning and are not read yet.
struct Backlog {
    partition: i32,
    next: i64,
    end: i64,
    read: VecDeque<Record>,
}

/// A reader of a topic.
pub(super) struct Tail {
    bus: Arc<dyn EventBus>,
    topic: String,
    backlog: Vec<Backlog>,
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
        bus: Arc<dyn EventBus>,
        topic: String,
        start: Start,
        limit: Option<usize>,
        follow: bool,
        stop: CancellationToken,
        name: Uuid,
    ) -> Result<Self, BusError> {
        let watermarks = bus.watermarks(&topic).await?;
        let mut backlog: Vec<Backlog> = (0..)
            .zip(watermarks)
            .map(|(partition, watermark)| Backlog {
                partition,
                next: match &start {
                    Start::At(at) => at.get(&partition).copied().unwrap_or(watermark.oldest),
                    Start::Oldest | Start::Latest => watermark.oldest,
                },
                end: watermark.next,
                read: VecDeque::new(),
            })
            .collect();
        let ends = backlog.iter().map(|of| (of.partition, of.end)).collect();
        let latest = matches!(start, Start::Latest);
        if latest {
            let wanted = limit.unwrap_or(LATEST);
            keep_latest(&*bus, &topic, &mut backlog, wanted).await?;
        }
        Ok(Self {
            bus,
            topic,
            backlog,
            left: limit.filter(|_| !(latest && follow)),
            follow,
            subscription: None,
            ends,
            stop,
            name,
        })
    }

    /// The next records; `None` when there are no more.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<Record>>> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let mut batch = self.of_backlog().await?;
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

    /// Up to a page of the existing records, in the order of time over all partitions.
    async fn of_backlog(&mut self) -> Result<Vec<Record>, BusError> {
        let mut batch = Vec::new();
        while batch.len() < PAGE {
            for of in &mut self.backlog {
                of.fill(&*self.bus, &self.topic).await?;
            }
            let earliest = self
                .backlog
                .iter_mut()
                .filter(|of| !of.read.is_empty())
                .min_by_key(|of| (of.read[0].time, of.partition));
            let Some(record) = earliest.and_then(|of| of.read.pop_front()) else {
                break;
            };
            batch.push(record);
        }
        Ok(batch)
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

impl Backlog {
    async fn fill(&mut self, bus: &dyn EventBus, topic: &str) -> Result<(), BusError> {
        if !self.read.is_empty() || self.next >= self.end {
            return Ok(());
        }
        let page = bus.read(topic, self.partition, self.next, PAGE).await?;
        self.next = page.last().map_or(self.end, |last| last.offset + 1);
        self.read
            .extend(page.into_iter().filter(|record| record.offset < self.end));
        Ok(())
    }
}

/// Cuts `backlog` down to the latest `wanted` records over all partitions.
async fn keep_latest(
    bus: &dyn EventBus,
    topic: &str,
    backlog: &mut [Backlog],
    wanted: usize,
) -> Result<(), BusError> {
    let mut latest = Vec::new();
    for of in &mut *backlog {
        latest.extend(latest_of(bus, topic, of, wanted).await?);
        of.next = of.end;
    }
    latest.sort_by_key(|record| (record.time, record.partition, record.offset));
    let surplus = latest.len().saturating_sub(wanted);
    for record in latest.drain(surplus..) {
        if let Some(of) = backlog
            .iter_mut()
            .find(|of| of.partition == record.partition)
        {
            of.read.push_back(record);
        }
    }
    // A record published once more lies behind newer ones: a partition is read as it lies.
    for of in backlog {
        of.read
            .make_contiguous()
            .sort_by_key(|record| record.offset);
    }
    Ok(())
}

/// The latest `wanted` records of a partition. Compaction leaves holes, so it looks back further
/// until it has enough.
async fn latest_of(
    bus: &dyn EventBus,
    topic: &str,
    of: &Backlog,
    wanted: usize,
) -> Result<Vec<Record>, BusError> {
    let mut back = i64::try_from(wanted).unwrap_or(i64::MAX);
    loop {
        let from = of.end.saturating_sub(back).max(of.next);
        let mut found = Vec::new();
        let mut next = from;
        while next < of.end {
            let page = bus.read(topic, of.partition, next, PAGE).await?;
            next = page.last().map_or(of.end, |last| last.offset + 1);
            found.extend(page.into_iter().filter(|record| record.offset < of.end));
        }
        if found.len() >= wanted || from <= of.next {
            return Ok(found.split_off(found.len().saturating_sub(wanted)));
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
