//! The queries of auth.

use blocks::extract::{Listing, Page};
use blocks::{Caller, Query};

use crate::domain::Account;
use crate::error::AuthError;
use crate::store::SessionRow;
use crate::{Auth, store};

/// The caller's account.
pub struct ReadAccount {
    pub by: Caller,
}
blocks::operation!(ReadAccount -> Result<Account, AuthError>, "auth.me", |it| user.id = it.by.id);

impl Query<Auth> for ReadAccount {
    async fn run(self, on: &Auth) -> Result<Account, AuthError> {
        account(on, self.by.id).await
    }
}

pub(crate) async fn account(on: &Auth, id: i64) -> Result<Account, AuthError> {
    let found = store::account(&mut on.db.read().await?, id).await?;
    found.ok_or(AuthError::NoAccount)
}

/// A page of the caller's live sessions, newest first.
pub struct ListSessions {
    pub by: Caller,
    pub page: Page,
}
blocks::operation!(ListSessions -> Result<Listing<SessionRow>, AuthError>, "auth.sessions",
    |it| user.id = it.by.id);

impl Query<Auth> for ListSessions {
    async fn run(self, on: &Auth) -> Result<Listing<SessionRow>, AuthError> {
        let page = self.page;
        let span = (page.after()?, page.rows(), page.skip);
        let mut reader = on.db.read().await?;
        let (rows, total) =
            store::newest_sessions(&mut reader, self.by.id, on.clock.now(), span).await?;
        Ok(Listing::of(rows, total, &page, |last| last.id))
    }
}
