//! Follows accounts: a closed one loses its profile.

use sql::accounts::Follower;
use sql::{StoreError, Tx};

use crate::store;

/// Deletes the profiles of closed accounts.
pub struct Owners;

impl Follower for Owners {
    async fn erase(&self, tx: &mut Tx, user_id: i64) -> Result<Option<u64>, StoreError> {
        let removed = store::remove(tx, user_id).await?;
        Ok(Some(removed.into()))
    }
}
