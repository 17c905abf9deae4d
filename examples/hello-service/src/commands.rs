//! The commands. A command begins the write; the store takes it.

use blocks::extract::IdempotencyKey;
use blocks::{Caller, Command, Operation};
use sql::{Db, accounts};

use crate::domain::{Note, check_text};
use crate::error::NoteError;
use crate::store;

/// Leaves a note; with a key only once, however often it is sent.
pub struct LeaveNote {
    pub by: Caller,
    pub text: String,
    pub key: IdempotencyKey,
}
blocks::operation!(LeaveNote -> Result<Note, NoteError>, "hello-service.create", |it| user.id = it.by.id);

impl Command<Db> for LeaveNote {
    async fn run(self, db: &Db) -> Result<Note, NoteError> {
        let (by, text) = (self.by.id, check_text(&self.text)?);
        let request = self.key.request(&text);
        let write = db.write_once((Self::NAME, by), request, move |tx| {
            Box::pin(async move {
                accounts::hold_open(tx, by, "").await??;
                // An event of it goes out in the same write: `tx.publish(&NoteCreated { … }, 1)`.
                Ok(store::insert(tx, by, text).await?)
            })
        });
        write.await
    }
}
