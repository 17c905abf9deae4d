//! The feed's queries.

use blocks::consumer::lag;
use blocks::error::{BoxError, chain};
use blocks::extract::Page;
use blocks::metrics::Quantiles;
use blocks::{Caller, Query};
use bytes::Bytes;

use crate::Feed;
use crate::consumer::TOPICS;
use crate::domain::{Stream, Window};
use crate::error::FeedError;
use crate::store::Counts;

/// A page of a stream, as the JSON that is sent.
pub struct ReadStream {
    pub by: Option<Caller>,
    pub stream: Stream,
    pub page: Page,
}
blocks::operation!(ReadStream -> Result<Bytes, FeedError>, "feed.stream",
    |it| user.id = it.by.as_ref().map(|by| by.id), stream = ?it.stream);

impl Query<Feed> for ReadStream {
    fn authorize(&self, on: &Feed) -> Result<(), FeedError> {
        admit(on, self.by.as_ref())
    }

    async fn run(self, on: &Feed) -> Result<Bytes, FeedError> {
        let window = Window::of(self.stream, &self.page)?;
        on.store().page(&window).await
    }
}

/// The feed's statistics. Values that can't be measured now are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// The sizes of the read model.
    pub counts: Option<Counts>,
    /// True if the read model's store answers.
    pub store_answers: bool,
    /// True if the consumer has joined its group and works.
    pub consumer_active: bool,
    /// Records on the topics that are not in the streams yet.
    pub lag: Option<i64>,
    /// Time from events to the commit of their effects.
    pub freshness: Option<Quantiles>,
}

/// Measures the feed's statistics.
pub struct MeasureStats {
    pub by: Option<Caller>,
}
blocks::operation!(MeasureStats -> Result<Stats, FeedError>, "feed.stats");

impl Query<Feed> for MeasureStats {
    fn authorize(&self, on: &Feed) -> Result<(), FeedError> {
        admit(on, self.by.as_ref())
    }

    async fn run(self, on: &Feed) -> Result<Stats, FeedError> {
        let counts = on.store().counts().await.map_err(BoxError::from);
        let lag = measure_lag(on).await;
        let status = &on.consumer().status;
        Ok(Stats {
            counts: known("counts", counts),
            store_answers: known("store", on.store().check().await).is_some(),
            consumer_active: status.active(),
            lag: known("lag", lag),
            freshness: status.freshness.quantiles(),
        })
    }
}

/// Logs a failed measurement instead of failing all statistics.
fn known<T>(what: &'static str, measured: Result<T, BoxError>) -> Option<T> {
    measured
        .inspect_err(|error| {
            tracing::warn!(what, error = %chain(&**error), "could not be measured");
        })
        .ok()
}

async fn measure_lag(feed: &Feed) -> Result<i64, BoxError> {
    let mut total = 0;
    for topic in TOPICS {
        total += lag(feed.bus(), &*feed.consumer().store, topic.name).await?;
    }
    Ok(total)
}

/// The streams are for those who are signed in, or for all.
fn admit(on: &Feed, by: Option<&Caller>) -> Result<(), FeedError> {
    if on.is_public() || by.is_some() {
        Ok(())
    } else {
        Err(FeedError::NotPublic)
    }
}
