//! What auth can be asked.

use blocks::extract::{Cursor, Page};
use uuid::Uuid;

use crate::domain::Account;
use crate::error::AuthError;
use crate::store::SessionRow;
use crate::{Auth, store};

/// The account with this id.
///
/// # Errors
/// [`AuthError::NoAccount`] when it is gone.
pub async fn account(auth: &Auth, id: i64) -> Result<Account, AuthError> {
    store::account(&auth.db, id)
        .await?
        .ok_or(AuthError::NoAccount)
}

/// A page of an account's live sessions, newest first.
pub struct Sessions {
    /// Those of the page.
    pub items: Vec<SessionRow>,
    /// How many there are in all.
    pub total: i64,
    /// Where the next page starts.
    pub next: Option<Cursor>,
}

/// The account's live sessions, newest first.
///
/// # Errors
/// When the cursor is none of ours.
pub async fn sessions(auth: &Auth, user_id: i64, page: &Page) -> Result<Sessions, AuthError> {
    let cursor = page
        .cursor
        .as_ref()
        .map(Cursor::decode::<Uuid>)
        .transpose()?;
    // One more than asked for tells whether there is a next page.
    let span = (cursor, page.limit + 1, page.skip);
    let (mut items, total) =
        store::newest_sessions(&auth.db, user_id, auth.clock.now(), span).await?;
    let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items
        .last()
        .filter(|_| more)
        .map(|last| Cursor::encode(&last.id));
    Ok(Sessions { items, total, next })
}
