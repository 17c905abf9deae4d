//! What posts do when something becomes of an account: take over its name, or delete its posts.

use std::sync::Arc;

use async_trait::async_trait;
use blocks::consumer::HandlerError;
use events::Envelope;
use events::users::{UserCreated, UserDeleted, UserUpdated};
use sql::{Handler, StoreError, Tx};

use crate::cache::Cache;
use crate::domain::Author;
use crate::removal::{PAGE, Removal};
use crate::store::authors;

/// Keeps the authors as `user.events` tell them.
pub struct Accounts {
    cache: Option<Arc<Cache>>,
    removal: Arc<Removal>,
}

impl Accounts {
    pub(crate) fn new(cache: Option<Arc<Cache>>, removal: Arc<Removal>) -> Self {
        Self { cache, removal }
    }

    async fn rename(
        &self,
        tx: &mut Tx,
        user_id: i64,
        username: String,
        version: i64,
    ) -> Result<(), HandlerError> {
        let author = Author {
            id: user_id,
            name: username,
        };
        if authors::rename(tx, &author, version).await?
            && let Some(cache) = self.cache.clone()
        {
            tx.after_commit(move || cache.forget_all());
        }
        Ok(())
    }

    async fn close(&self, tx: &mut Tx, user_id: i64, version: i64) -> Result<(), HandlerError> {
        authors::close(tx, user_id, version).await?;
        let deleted = authors::delete_posts(tx, user_id, PAGE).await?;
        // More than a page goes on outside of this write, so that others are not kept waiting.
        let removal = Arc::clone(&self.removal);
        let full = i64::try_from(deleted.len()).is_ok_and(|deleted| deleted == PAGE);
        let cache = self.cache.clone();
        tx.after_commit(move || {
            if let Some(cache) = cache {
                cache.forget_all();
            }
            if full {
                removal.go_on();
            }
        });
        Ok(())
    }
}

#[async_trait]
impl Handler for Accounts {
    async fn handle(&self, tx: &mut Tx, event: &Envelope) -> Result<(), HandlerError> {
        if let Some(created) = event.open::<UserCreated>() {
            let UserCreated {
                user_id, username, ..
            } = created?;
            return self.rename(tx, user_id, username, event.sequence).await;
        }
        if let Some(updated) = event.open::<UserUpdated>() {
            let UserUpdated {
                user_id, username, ..
            } = updated?;
            return self.rename(tx, user_id, username, event.sequence).await;
        }
        if let Some(deleted) = event.open::<UserDeleted>() {
            return self.close(tx, deleted?.user_id, event.sequence).await;
        }
        Ok(())
    }

    async fn reset(&self, tx: &mut Tx, _: &[String]) -> Result<(), StoreError> {
        authors::reset(tx).await
    }
}
