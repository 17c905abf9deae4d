//! What a store and a load can fail by. Both can be cloned: everybody who waited hears the same.

use std::error::Error;
use std::sync::Arc;

use blocks::error::BoxError;

/// A cause that several hear of.
pub type SharedError = Arc<dyn Error + Send + Sync>;

/// A store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CacheError {
    /// It can't be reached, or can't serve now. A later call may succeed.
    #[error("the cache's store is away")]
    Away(#[source] SharedError),
    /// The call is wrong: another kind of value under the key, or no number.
    #[error("the cache's store refused: {0}")]
    Refused(String),
    /// The store holds as much as it may.
    #[error("the cache's store is full")]
    Full,
}

impl CacheError {
    /// A store that could not be asked.
    pub fn away(cause: impl Into<BoxError>) -> Self {
        Self::Away(cause.into().into())
    }

    pub(crate) fn unexpected(what: &str) -> Self {
        Self::Refused(format!("the answer is not {what}"))
    }
}

/// A value could not be loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// The load failed; all who waited for it get this, and nothing is remembered.
    #[error("the load failed")]
    Failed(#[source] SharedError),
    /// The store is away, and as many loads as may run beside it are under way.
    #[error("too many loads while the cache's store is away")]
    Busy,
    /// The loaded value can't be written as JSON.
    #[error("the loaded value is no JSON")]
    Json(#[source] Arc<serde_json::Error>),
}
