//! Follows accounts: takes over a new name, or deletes the posts of a closed account.

use std::sync::Arc;

use sql::accounts::Follower;
use sql::{StoreError, Tx};

use crate::cache::Cache;
use crate::removal::{PAGE, Removal};
use crate::store::closed;

/// Follows the accounts that write.
pub struct Authors {
    cache: Option<Arc<Cache>>,
    removal: Arc<Removal>,
}

impl Authors {
    pub(crate) fn new(cache: Option<Arc<Cache>>, removal: Arc<Removal>) -> Self {
        Self { cache, removal }
    }

    fn forget_answers(&self, tx: &mut Tx) {
        if let Some(cache) = self.cache.clone() {
            tx.after_commit(move || cache.forget_all());
        }
    }
}

impl Follower for Authors {
    const NAMES: bool = true;

    async fn renamed(&self, tx: &mut Tx, _: i64) -> Result<(), StoreError> {
        self.forget_answers(tx);
        Ok(())
    }

    async fn erase(&self, tx: &mut Tx, user_id: i64) -> Result<Option<u64>, StoreError> {
        let deleted = closed::begin(tx, user_id, PAGE).await?;
        self.forget_answers(tx);
        // Posts beyond one page are deleted outside of this write, so that others need not wait.
        if i64::try_from(deleted.len()).is_ok_and(|deleted| deleted == PAGE) {
            let removal = Arc::clone(&self.removal);
            tx.after_commit(move || removal.go_on());
        }
        Ok(None)
    }
}
