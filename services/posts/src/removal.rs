//! Deletes the posts of closed accounts, a page a write. The store knows the remaining work, so it
//! goes on after a restart.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blocks::error::chain;
use blocks::service::Background;
use sql::StoreError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Most posts that one write deletes.
pub const PAGE: i64 = 200;
/// Pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

/// The outcome of one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// These posts were deleted; there may be more.
    Posts(Vec<Uuid>),
    /// No posts are left.
    Nothing,
    /// No posts are left, but one may be on its way, or another process may have died while closing an
    /// account. Poll again after this time.
    NothingYet(Duration),
}

/// Finds and deletes the posts of closed accounts.
#[async_trait]
pub trait ClosedAccounts: Send + Sync + 'static {
    /// Deletes up to `limit` posts of closed accounts, each with its event.
    ///
    /// # Errors
    /// When the store failed.
    async fn remove_some(&self, limit: i64) -> Result<Removed, StoreError>;
}

/// The worker that deletes the posts of closed accounts.
pub struct Removal {
    accounts: Arc<dyn ClosedAccounts>,
    more: Notify,
}

impl Removal {
    /// Deletes the posts that `accounts` finds.
    pub fn new(accounts: Arc<dyn ClosedAccounts>) -> Self {
        Self {
            accounts,
            more: Notify::new(),
        }
    }

    /// Wakes the worker: a closed account has more posts than one page.
    pub fn go_on(&self) {
        self.more.notify_one();
    }

    /// Deletes until nothing is left; returns the number of deleted posts.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn drain(&self) -> Result<usize, StoreError> {
        self.round().await.map(|(removed, _)| removed)
    }

    /// Deletes until nothing is left; returns the number of deleted posts, and when to poll again.
    async fn round(&self) -> Result<(usize, Option<Duration>), StoreError> {
        let mut removed = 0;
        loop {
            match self.accounts.remove_some(PAGE).await? {
                Removed::Posts(posts) => removed += posts.len(),
                Removed::Nothing => return Ok((removed, None)),
                Removed::NothingYet(pause) => return Ok((removed, Some(pause))),
            }
        }
    }
}

#[async_trait]
impl Background for Removal {
    fn name(&self) -> &'static str {
        "posts of closed accounts"
    }

    async fn run(&self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let done = tokio::select! {
                done = self.round() => done,
                () = stop.cancelled() => return Ok(()),
            };
            let more = async {
                match done {
                    Ok((_, None)) => self.more.notified().await,
                    Ok((_, Some(pause))) => tokio::select! {
                        () = self.more.notified() => {}
                        () = tokio::time::sleep(pause) => {}
                    },
                    Err(error) => {
                        let error = chain(&error);
                        tracing::warn!(error, "posts of closed accounts wait to be deleted");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            };
            tokio::select! {
                () = more => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }
}
