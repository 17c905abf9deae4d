//! Walks over the records of a partition.

use std::sync::Arc;
use std::vec;

use blocks::bus::{BusError, EventBus, Record};

/// Records in one read of a partition.
const PAGE: usize = 500;

/// The records of a partition from one offset up to another.
pub struct Pages {
    bus: Arc<dyn EventBus>,
    topic: String,
    partition: i32,
    next: i64,
    end: i64,
    page: vec::IntoIter<Record>,
}

impl Pages {
    /// Begins at `next` and ends before `end`.
    pub fn new(bus: &Arc<dyn EventBus>, topic: &str, partition: i32, next: i64, end: i64) -> Self {
        Self {
            bus: Arc::clone(bus),
            topic: topic.to_owned(),
            partition,
            next,
            end,
            page: Vec::new().into_iter(),
        }
    }

    /// All partitions of `topic`, as far as they reach now.
    ///
    /// # Errors
    /// When the bus does not answer, or has no such topic.
    pub async fn of_topic(bus: &Arc<dyn EventBus>, topic: &str) -> Result<Vec<Self>, BusError> {
        let watermarks = (0..).zip(bus.watermarks(topic).await?);
        let of = watermarks.map(|(at, mark)| Self::new(bus, topic, at, mark.oldest, mark.next));
        Ok(of.collect())
    }

    /// The next record, which stays.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn peek(&mut self) -> Result<Option<&Record>, BusError> {
        if self.page.as_slice().is_empty() && self.next < self.end {
            let page = self.bus.read(&self.topic, self.partition, self.next, PAGE);
            let mut page = page.await?;
            // Without a record, those before the end were removed: there are no more.
            self.next = page.last().map_or(self.end, |last| last.offset + 1);
            page.retain(|record| record.offset < self.end);
            self.page = page.into_iter();
        }
        Ok(self.page.as_slice().first())
    }

    /// The next record.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn next(&mut self) -> Result<Option<Record>, BusError> {
        self.peek().await?;
        Ok(self.page.next())
    }
}
