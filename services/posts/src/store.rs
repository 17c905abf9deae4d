//! The port to the store of posts: state and event in one write, whatever the technology.

pub mod closed;
#[cfg(feature = "fleet")]
pub mod mongo;
mod sql;

use async_trait::async_trait;
use blocks::extract::{KeyedRequest, Span};
use events::posts::{PostDeleted, PostUpdated};
use uuid::Uuid;

pub use self::sql::SqlPosts;
use ::sql::StoreError;

use crate::domain::{Author, Draft, Post, Tag};
use crate::error::PostError;

/// The filter of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only posts of this author.
    pub user_id: Option<i64>,
    /// Only posts with this tag.
    pub tag: Option<Tag>,
}

/// A store of posts.
///
/// Elsewhere a command begins the write, and store functions take its `tx`. Here each method is one
/// whole write, which the SQL adapter begins. MongoDB changes one document at a time, so both
/// adapters can't share a write of several statements. Decisions over several calls (read, change,
/// compare the version) are in `commands`, once for both.
///
/// These hold for every adapter, and the tests in `tests/it/store.rs` check them:
/// - a write and the event it causes are one, and the event's version is the post's;
/// - a write to a version that is not the last one changes nothing and returns false;
/// - a deleted post leaves no content behind, and its version goes on counting;
/// - every answer shows the author's current name;
/// - a deleted account publishes nothing any more.
#[async_trait]
pub trait PostStore: Send + Sync + 'static {
    /// Publishes `draft`. The store knows the author's current name: `author.name` only counts
    /// until the account is known. With `request`, a repeated request returns the post as it was
    /// published.
    ///
    /// # Errors
    /// [`PostError::AccountDeleted`], [`PostError::Key`], or that the store failed.
    async fn create(
        &self,
        draft: Draft,
        author: Author,
        request: Option<KeyedRequest>,
    ) -> Result<Post, PostError>;

    /// Replaces version `post.version - 1` by `post`; false if that is not the last version.
    ///
    /// # Errors
    /// When the store failed.
    async fn update(&self, post: &Post, event: &PostUpdated) -> Result<bool, StoreError>;

    /// Makes `post` a tombstone; false if it is not the last version.
    ///
    /// # Errors
    /// When the store failed.
    async fn delete(&self, post: &Post, event: &PostDeleted) -> Result<bool, StoreError>;

    /// The post, if it exists and was not deleted.
    ///
    /// # Errors
    /// When the store failed.
    async fn get(&self, id: Uuid) -> Result<Option<Post>, StoreError>;

    /// The posts of a part of the list, newest first.
    ///
    /// # Errors
    /// When the store failed.
    async fn newest(&self, filter: &Filter, of: Span) -> Result<Vec<Post>, StoreError>;

    /// The number of posts, counted up to [`COUNTED_ROWS`](blocks::extract::COUNTED_ROWS).
    ///
    /// # Errors
    /// When the store failed.
    async fn count(&self, filter: &Filter) -> Result<i64, StoreError>;
}
