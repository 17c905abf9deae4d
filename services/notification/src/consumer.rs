//! The consumer group `notification`: welcomes new accounts, but not those that were imported, and removes
//! the inboxes of closed ones.

use async_trait::async_trait;
use blocks::consumer::{Consumer, HandlerError};
use events::users::{UserCreated, UserDeleted};
use events::{Envelope, Topic, topic};
use sql::{Db, Handler, SqlConsumer, StoreError, Tx};
use std::sync::Arc;

use crate::domain::Notice;
use crate::store;

pub const GROUP: &str = "notification";

/// The topics that the group reads.
pub const TOPICS: &[Topic] = &[topic::USERS];

struct Reactions;

#[async_trait]
impl Handler for Reactions {
    async fn handle(&self, tx: &mut Tx, event: &Envelope) -> Result<(), HandlerError> {
        if let Some(user) = event.open::<UserCreated>() {
            let user = user?;
            if !user.imported {
                store::tell(tx, &Notice::welcome(user.user_id, &user.username)).await?;
            }
        } else if let Some(user) = event.open::<UserDeleted>() {
            let user_id = user?.user_id;
            let records = store::remove_all(tx, user_id).await?;
            sql::accounts::erased(tx, user_id, records).await?;
        }
        Ok(())
    }

    /// Keeps the inboxes, which are no projection: the topic forgets accounts after a week, and
    /// only this store knows which were read. Reading the topic again notifies nobody twice.
    async fn reset(&self, _: &mut Tx, _: &[String]) -> Result<(), StoreError> {
        Ok(())
    }
}

pub(crate) fn consumer(db: Db) -> Consumer {
    SqlConsumer::new(db, GROUP, TOPICS, Arc::new(Reactions)).consumer()
}
