//! Reactions to events: what is left of accounts that were closed.

use async_trait::async_trait;
use sql::accounts::Follower;
use sql::{StoreError, Tx};

use crate::store;

pub struct Owners;

#[async_trait]
impl Follower for Owners {
    const NAMES: bool = false;

    async fn erase(&self, tx: &mut Tx, user_id: i64) -> Result<(), StoreError> {
        store::remove_all(tx, user_id).await
    }
}
