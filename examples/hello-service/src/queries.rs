//! The queries.

use blocks::extract::{COUNTED_ROWS, Keyset, Listing, Page};
use blocks::{Caller, Query};
use sql::Db;

use crate::domain::Note;
use crate::error::NoteError;
use crate::store;

/// One of the caller's notes.
pub struct ReadNote {
    pub by: Caller,
    pub id: String,
}
blocks::operation!(ReadNote -> Result<Note, NoteError>, "hello-service.read", |it| user.id = it.by.id);

impl Query<Db> for ReadNote {
    async fn run(self, db: &Db) -> Result<Note, NoteError> {
        let id = self.id.parse().map_err(|_| NoteError::NotFound)?;
        let found = store::note(&mut db.read().await?, self.by.id, id).await?;
        found.ok_or(NoteError::NotFound)
    }
}

/// A page of the caller's notes, newest first.
pub struct ListNotes {
    pub by: Caller,
    pub page: Page,
}
blocks::operation!(ListNotes -> Result<Listing<Note>, NoteError>, "hello-service.list", |it| user.id = it.by.id);

impl Query<Db> for ListNotes {
    async fn run(self, db: &Db) -> Result<Listing<Note>, NoteError> {
        let span = self.page.span()?;
        let mut reader = db.read().await?;
        let total = store::count(&mut reader, self.by.id, COUNTED_ROWS).await?;
        let rows = store::newest(&mut reader, self.by.id, span).await?;
        let key = |note: &Note| Keyset::new(note.created_at, note.id);
        Ok(Listing::of(rows, total, &self.page, key))
    }
}
