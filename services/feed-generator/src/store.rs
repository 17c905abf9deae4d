//! The port to the read model. An adapter has two sides: this one, which is read, and a
//! [`blocks::consumer::ConsumerStore`], which follows the topics.

#[cfg(feature = "fleet")]
pub mod redis;
mod rows;
pub mod sql;

use async_trait::async_trait;
use blocks::service::Check;
use bytes::Bytes;

use crate::domain::Window;
use crate::error::FeedError;
use crate::rebuild::Targets;

/// The sizes of the read model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Activities that the global stream shows.
    pub activities: usize,
    /// Users with a stream of their own.
    pub streams: usize,
}

/// The streams for readers.
///
/// These hold for every adapter. A stream is ordered by the posts' creation, newest first. It shows
/// each post once, in its latest state, under its author's latest name. A walk by cursor meets each
/// post that stays exactly once, whatever is written meanwhile.
#[async_trait]
pub trait FeedStore: Check {
    /// The part of a stream that `window` names, as the JSON that is sent.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn page(&self, window: &Window) -> Result<Bytes, FeedError>;

    /// Counts activities and streams.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn counts(&self) -> Result<Counts, FeedError>;

    /// The targets of the current rebuild; `None` when there is none.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn targets(&self) -> Result<Option<Targets>, FeedError>;

    /// True if something of a closed account is left, in a store that erases in several writes.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn is_erasing(&self) -> Result<bool, FeedError> {
        Ok(false)
    }
}

pub(crate) use rows::{Source, newest};
