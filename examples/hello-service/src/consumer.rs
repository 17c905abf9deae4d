//! Reactions to events: erases the notes of closed accounts.

use sql::accounts::Follower;
use sql::{StoreError, Tx};

use crate::store;

pub struct Owners;

impl Follower for Owners {
    async fn erase(&self, tx: &mut Tx, user_id: i64) -> Result<Option<u64>, StoreError> {
        store::remove_all(tx, user_id).await.map(Some)
    }
}
