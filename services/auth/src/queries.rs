//! The queries of auth.

use blocks::extract::{Listing, Page};

use crate::domain::Account;
use crate::error::AuthError;
use crate::store::SessionRow;
use crate::{Auth, store};

/// The account with this id.
///
/// # Errors
/// [`AuthError::NoAccount`] when it is gone.
pub async fn account(auth: &Auth, id: i64) -> Result<Account, AuthError> {
    store::account(&mut auth.db.read().await?, id)
        .await?
        .ok_or(AuthError::NoAccount)
}

/// A page of the account's live sessions, newest first.
///
/// # Errors
/// When the cursor is none of ours.
pub async fn sessions(
    auth: &Auth,
    user_id: i64,
    page: &Page,
) -> Result<Listing<SessionRow>, AuthError> {
    let span = (page.after()?, page.rows(), page.skip);
    let mut reader = auth.db.read().await?;
    let (rows, total) =
        store::newest_sessions(&mut reader, user_id, auth.clock.now(), span).await?;
    Ok(Listing::of(rows, total, page, |last| last.id))
}
