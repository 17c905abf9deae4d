//! Deletes the posts of closed accounts, a page a write. What is left to do is in the store, so it
//! goes on after a restart, too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blocks::error::chain;
use blocks::service::Background;
use sql::StoreError;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many posts one write deletes.
pub const PAGE: i64 = 200;
/// How long to wait when the store is away.
const PAUSE: Duration = Duration::from_secs(1);

/// What a look at the closed accounts came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// These posts were deleted; there may be more.
    Posts(Vec<Uuid>),
    /// None is left.
    Nothing,
    /// None is left, but one may be on its way, or another process may have closed an account and died
    /// before it was done. Look again after this.
    NothingYet(Duration),
}

/// Where the posts of closed accounts are found.
#[async_trait]
pub trait ClosedAccounts: Send + Sync + 'static {
    /// Deletes up to `limit` posts of closed accounts, each with its event.
    ///
    /// # Errors
    /// When the store failed.
    async fn remove_some(&self, limit: i64) -> Result<Removed, StoreError>;
}

/// Deletes the posts of closed accounts.
pub struct Removal {
    accounts: Arc<dyn ClosedAccounts>,
    more: Notify,
}

impl Removal {
    /// Deletes what `accounts` finds.
    pub fn new(accounts: Arc<dyn ClosedAccounts>) -> Self {
        Self {
            accounts,
            more: Notify::new(),
        }
    }

    /// Says that an account was closed that has more posts than one page.
    pub fn go_on(&self) {
        self.more.notify_one();
    }

    /// Deletes until nothing is left; answers how many.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn drain(&self) -> Result<usize, StoreError> {
        self.round().await.map(|(removed, _)| removed)
    }

    /// Deletes until nothing is left; answers how many, and when to look again.
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
