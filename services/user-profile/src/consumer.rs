//! What profiles do when something becomes of an account: a closed one leaves none behind.

use async_trait::async_trait;
use blocks::consumer::HandlerError;
use events::Envelope;
use events::users::UserDeleted;
use sql::{Handler, StoreError, Tx};

use crate::store;

/// Deletes the profiles of closed accounts.
pub struct Accounts;

#[async_trait]
impl Handler for Accounts {
    async fn handle(&self, tx: &mut Tx, event: &Envelope) -> Result<(), HandlerError> {
        if let Some(deleted) = event.open::<UserDeleted>() {
            store::close(tx, deleted?.user_id).await?;
        }
        Ok(())
    }

    /// Nothing to empty: that an account was closed stays true, and the log forgets it after a week.
    async fn reset(&self, _: &mut Tx, _: &[String]) -> Result<(), StoreError> {
        Ok(())
    }
}
