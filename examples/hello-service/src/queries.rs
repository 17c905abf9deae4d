//! The queries.

use blocks::extract::{COUNTED_ROWS, Keyset, Listing, Page};
use sql::Db;

use crate::domain::Note;
use crate::error::NoteError;
use crate::store;

/// The owner's note of this id.
pub async fn note(db: &Db, owner: i64, id: &str) -> Result<Note, NoteError> {
    let id = id.parse().map_err(|_| NoteError::NotFound)?;
    let found = store::note(&mut db.read().await?, owner, id).await?;
    found.ok_or(NoteError::NotFound)
}

/// A page of the owner's notes, newest first.
pub async fn list(db: &Db, owner: i64, page: &Page) -> Result<Listing<Note>, NoteError> {
    let after = page.after()?.unwrap_or(Keyset::TOP);
    let mut reader = db.read().await?;
    let total = store::count(&mut reader, owner, COUNTED_ROWS).await?;
    let rows = store::newest(&mut reader, owner, after, page.skip, page.rows()).await?;
    let place = |last: &Note| Keyset::new(last.created_at, last.id);
    Ok(Listing::of(rows, total, page, place))
}
