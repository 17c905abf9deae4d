//! The commands. A command begins the write; the store takes it.

use blocks::extract::IdempotencyKey;
use sql::{Db, accounts, idempotency};

use crate::domain::{Note, check_text};
use crate::error::NoteError;
use crate::store;

/// Leaves a note of the account `by`; with a key only once, however often it is sent.
pub async fn create(db: &Db, by: i64, text: &str, key: IdempotencyKey) -> Result<Note, NoteError> {
    let text = check_text(text)?;
    let request = key.request(&text);
    db.write(move |tx| {
        let operation = ("hello-service.create", by);
        Box::pin(idempotency::once(tx, operation, request, move |tx| {
            Box::pin(async move {
                if !accounts::hold_open(tx, by, "").await? {
                    return Err(NoteError::Closed);
                }
                // An event of it goes out in the same write: `tx.publish(&NoteCreated { … }, 1)`.
                Ok(store::insert(tx, by, text).await?)
            })
        }))
    })
    .await
}
