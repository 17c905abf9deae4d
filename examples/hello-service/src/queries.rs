//! What can be asked.

use blocks::Caller;
use blocks::extract::{COUNTED_ROWS, Keyset, Listing, Page};
use sql::Db;

use crate::domain::Note;
use crate::error::NoteError;
use crate::store;

/// A page of the caller's notes, newest first.
pub async fn list(db: &Db, caller: &Caller, page: &Page) -> Result<Listing<Note>, NoteError> {
    let after = page.after()?.unwrap_or(Keyset::TOP);
    let mut reader = db.read().await?;
    let total = store::count(&mut reader, caller.id, COUNTED_ROWS).await?;
    let rows = store::newest(&mut reader, caller.id, after, page.skip, page.rows()).await?;
    Ok(Listing::of(rows, total, page, |last| {
        Keyset::new(last.created_at, last.id)
    }))
}
