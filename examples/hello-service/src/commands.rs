//! What can be told. A command begins the write; the store takes it.

use blocks::Caller;
use sql::{Db, accounts};

use crate::domain::{Note, check_text};
use crate::error::NoteError;
use crate::store;

/// Leaves a note for `caller`.
pub async fn create(db: &Db, caller: &Caller, text: &str) -> Result<Note, NoteError> {
    let (user_id, text) = (caller.id, check_text(text)?);
    db.write(move |tx| {
        Box::pin(async move {
            accounts::introduce(tx, user_id, "").await?;
            if !accounts::hold_open(tx, user_id).await? {
                return Err(NoteError::AccountDeleted);
            }
            // An event of it goes out in the same write: `tx.publish(&NoteCreated { … }, 1)`.
            Ok(store::insert(tx, user_id, text).await?)
        })
    })
    .await
}
