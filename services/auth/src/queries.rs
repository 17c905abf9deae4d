//! The queries of auth.

use blocks::extract::{Listing, Page};
use blocks::{Caller, Query};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::Account;
use crate::error::AuthError;
use crate::import::{EXPORTED, Exported};
use crate::keyring::KeyState;
use crate::store::{ErasureRow, SessionRow, Sort, UserFilter, UserPlace};
use crate::{Auth, store};

/// The caller's account.
pub struct ReadAccount {
    pub by: Caller,
}
blocks::operation!(ReadAccount -> Result<Account, AuthError>, "auth.me", |it| user.id = it.by.id);

impl Query<Auth> for ReadAccount {
    async fn run(self, on: &Auth) -> Result<Account, AuthError> {
        account(on, self.by.id).await?.ok_or(AuthError::NoAccount)
    }
}

pub(crate) async fn account(on: &Auth, id: i64) -> Result<Option<Account>, AuthError> {
    Ok(store::account(&mut on.db.read().await?, id).await?)
}

/// The account that is asked for.
#[derive(Debug, Clone)]
pub enum Which {
    Id(i64),
    /// The one with this address, whatever its case.
    Email(String),
    /// The one with this name, whatever its case.
    Username(String),
    /// The one with this id, unless it is another one's name.
    Number(i64, String),
}

impl Which {
    /// What a person means. No username has an `@`; a number as it is written otherwise is an id, but may be a name.
    pub fn parse(text: String) -> Self {
        match text.parse::<i64>() {
            Ok(id) if id.to_string() == text => Self::Number(id, text),
            _ if text.contains('@') => Self::Email(text),
            _ => Self::Username(text),
        }
    }
}

/// An account, for itself, an admin or an operator; to others there is none.
pub struct ReadUser {
    /// `None` is an operator.
    pub by: Option<Caller>,
    pub which: Which,
}
blocks::operation!(ReadUser -> Result<Account, AuthError>, "users.get");

impl Query<Auth> for ReadUser {
    async fn run(self, on: &Auth) -> Result<Account, AuthError> {
        let mut reader = on.db.read().await?;
        let found = match self.which {
            Which::Id(id) => store::account(&mut reader, id).await?,
            Which::Email(email) => store::account_at(&mut reader, email.trim()).await?,
            Which::Username(name) => store::account_named(&mut reader, &name).await?,
            Which::Number(id, name) => {
                let named = store::account_named(&mut reader, &name).await?;
                let found = store::account(&mut reader, id).await?;
                if named.is_some() && found.is_some() && named != found {
                    return Err(AuthError::Ambiguous);
                }
                found.or(named)
            }
        };
        let may = |account: &Account| self.by.is_none_or(|by| by.may_act_for(account.id));
        found.filter(may).ok_or(AuthError::NoUser)
    }
}

/// A page of all accounts.
pub struct ListUsers {
    pub filter: UserFilter,
    pub sort: Sort,
    pub page: Page,
}
blocks::operation!(ListUsers -> Result<Listing<Account>, AuthError>, "users.list");

impl Query<Auth> for ListUsers {
    async fn run(self, on: &Auth) -> Result<Listing<Account>, AuthError> {
        let Self { filter, sort, page } = self;
        let span = (UserPlace::after(&page, sort)?, page.skip, page.rows());
        let mut reader = on.db.read().await?;
        let total = store::count_users(&mut reader, &filter).await?;
        let rows = store::users(&mut reader, &filter, sort, span, total).await?;
        Ok(Listing::of(rows, total, &page, |last| {
            UserPlace::of(last, sort)
        }))
    }
}

/// What is left of a closed account: when it was closed, and the services' answers so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    pub user_id: i64,
    pub closed_at: DateTime<Utc>,
    pub answers: Vec<ErasureRow>,
}

/// How far the erasure of a closed account is.
pub struct ReadErasure {
    pub id: i64,
}
blocks::operation!(ReadErasure -> Result<Erasure, AuthError>, "users.erasure", |it| user.id = it.id);

impl Query<Auth> for ReadErasure {
    async fn run(self, on: &Auth) -> Result<Erasure, AuthError> {
        let found = store::erasure(&mut on.db.read().await?, self.id).await?;
        let (closed_at, answers) = found.ok_or(AuthError::NoUser)?;
        Ok(Erasure {
            user_id: self.id,
            closed_at,
            answers,
        })
    }
}

/// A part of all accounts with their hashes, by id: for operators alone.
pub struct ExportAccounts {
    /// The last id of the part before.
    pub after: i64,
}
blocks::operation!(ExportAccounts -> Result<Exported, AuthError>, "users.export");

impl Query<Auth> for ExportAccounts {
    async fn run(self, on: &Auth) -> Result<Exported, AuthError> {
        let mut reader = on.db.read().await?;
        let rows = store::portable_accounts(&mut reader, self.after, EXPORTED).await?;
        let next = rows.last().map(|(id, _)| *id);
        let accounts = rows.into_iter().map(|(_, account)| account).collect();
        Ok(Exported { accounts, next })
    }
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

/// The keys that sign, signed or will.
pub struct ListKeys;
blocks::operation!(ListKeys -> Result<Vec<KeyState>, AuthError>, "auth.keys");

impl Query<Auth> for ListKeys {
    async fn run(self, on: &Auth) -> Result<Vec<KeyState>, AuthError> {
        let stored = store::signing_keys(&mut on.db.read().await?).await?;
        Ok(on.keyring.states(stored))
    }
}
