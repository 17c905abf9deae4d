//! The feed's queries.

use blocks::Caller;
use blocks::consumer::lag;
use blocks::error::{BoxError, chain};
use blocks::extract::Page;
use blocks::metrics::Quantiles;
use bytes::Bytes;

use crate::Feed;
use crate::consumer::TOPICS;
use crate::domain::{Stream, Window};
use crate::error::FeedError;
use crate::store::Counts;

/// A page of `stream`, as the JSON that is sent.
///
/// # Errors
/// When the cursor is none of ours, the streams are not public and nobody is signed in, or the store
/// can't be reached.
pub async fn page(
    feed: &Feed,
    caller: Option<&Caller>,
    stream: Stream,
    page: &Page,
) -> Result<Bytes, FeedError> {
    admit(feed, caller)?;
    feed.store().page(&Window::of(stream, page)?).await
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
///
/// # Errors
/// When the streams are not public and nobody is signed in.
pub async fn stats(feed: &Feed, caller: Option<&Caller>) -> Result<Stats, FeedError> {
    admit(feed, caller)?;
    let counts = feed.store().counts().await.map_err(BoxError::from);
    let lag = measure_lag(feed).await;
    let status = &feed.consumer().status;
    Ok(Stats {
        counts: known("counts", counts),
        store_answers: known("store", feed.store().check().await).is_some(),
        consumer_active: status.active(),
        lag: known("lag", lag),
        freshness: status.freshness.quantiles(),
    })
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

fn admit(feed: &Feed, caller: Option<&Caller>) -> Result<(), FeedError> {
    if feed.is_public() || caller.is_some() {
        Ok(())
    } else {
        Err(FeedError::NotPublic)
    }
}
