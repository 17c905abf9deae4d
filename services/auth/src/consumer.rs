//! Collects the services' answers that they hold nothing of a closed account any more.

use std::sync::Arc;

use async_trait::async_trait;
use blocks::consumer::{Consumer, HandlerError};
use events::users::UserErased;
use events::{Envelope, topic};
use sql::{Db, Handler, SqlConsumer, StoreError, Tx};

use crate::{NAME, store};

struct Answers;

#[async_trait]
impl Handler for Answers {
    async fn handle(&self, tx: &mut Tx, event: &Envelope) -> Result<(), HandlerError> {
        let Some(erased) = event.open::<UserErased>().transpose()? else {
            return Ok(());
        };
        let records = i64::try_from(erased.records).unwrap_or(i64::MAX);
        Ok(store::note_erasure(tx, erased.user_id, &erased.service, records).await?)
    }

    /// Keeps the answers: the log forgets them after a week.
    async fn reset(&self, _: &mut Tx, _: &[String]) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The group of auth.
pub(crate) fn group(db: &Db) -> Consumer {
    SqlConsumer::new(db.clone(), NAME, &[topic::USERS], Arc::new(Answers)).consumer()
}
