//! A member of a consumer group, as its caller sees it. Dropping it leaves the group.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::{BusError, Positions, Record, Subscription, TopicPartition};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::holdings::{Found, Holdings, Starts};
use crate::metadata::Metadata;

pub(crate) struct Member {
    holdings: Arc<Holdings>,
    metadata: Metadata,
    positions: Arc<dyn Positions>,
    _stops: DropGuard,
}

impl Member {
    pub(crate) fn new(
        holdings: Arc<Holdings>,
        metadata: Metadata,
        positions: Arc<dyn Positions>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            holdings,
            metadata,
            positions,
            _stops: stop.drop_guard(),
        }
    }

    async fn find_starts(&self, starts: Starts) -> Result<(), BusError> {
        for (topic, runs) in starts {
            let partitions: Vec<i32> = runs.iter().map(|(partition, _)| *partition).collect();
            let next = self.positions.begin_at(&topic, &partitions).await;
            let next = next.map_err(BusError::Unavailable)?;
            self.holdings.start(&topic, &runs, &next);
        }
        Ok(())
    }
}

#[async_trait]
impl Subscription for Member {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, BusError> {
        self.holdings.done();
        loop {
            match self.holdings.take(max.max(1)) {
                Found::Records(records) => return Ok(records),
                Found::Failure(failure) => return Err(failure),
                Found::Starts(starts) => self.find_starts(starts).await?,
                Found::Away => {
                    self.metadata.answers().await?;
                    self.holdings.is_back();
                }
                Found::Nothing => self.holdings.news.notified().await,
            }
        }
    }

    async fn rewind(&mut self) -> Result<(), BusError> {
        self.holdings.rewind();
        match self.holdings.take(1) {
            Found::Starts(starts) => self.find_starts(starts).await,
            Found::Failure(failure) => Err(failure),
            Found::Records(_) | Found::Away | Found::Nothing => Ok(()),
        }
    }

    async fn commit(&mut self, next: &BTreeMap<TopicPartition, i64>) -> Result<(), BusError> {
        self.holdings.commit(next);
        Ok(())
    }
}
