//! Other services' accounts: their current names, and which were closed, by `user.events`. A service that
//! follows them has a table of its own for them, to which others refer:
//!
//! ```sql
//! create table accounts (
//!     user_id bigint primary key,
//!     username text not null,
//!     version bigint not null, -- of the event that told it; 0 before the first
//!     closed_at timestamptz
//! );
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use blocks::consumer::{Consumer, HandlerError};
use blocks::{AsProblem, Problem};
use events::users::{AccountChange, UserErased};
use events::{Envelope, topic};
use sqlx::AssertSqlSafe;

use crate::consumer::{Handler, SqlConsumer};
use crate::db::Db;
use crate::error::StoreError;
use crate::idempotency;
use crate::tx::Tx;
use crate::{execute, fetch_optional, rows_affected};

/// The account was closed. Its token may still be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the account was deleted")]
pub struct Closed;

impl AsProblem for Closed {
    fn problem(&self) -> Problem {
        Problem::forbidden("account_deleted", "this account was deleted")
    }
}

/// A service's reaction to changes of accounts.
pub trait Follower: Send + Sync + 'static {
    /// True if names are kept: for services that show them.
    const NAMES: bool = false;

    /// Follows the change of a known name, in the write that takes it over.
    ///
    /// # Errors
    /// When the store failed.
    fn renamed(
        &self,
        _tx: &mut Tx,
        _user_id: i64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Erases the service's data of a closed account, in the write that closes it. Name and idempotency
    /// keys are erased already. Gives the number of records, which is answered by `user.erased` in the same
    /// write; `None` where the rest may go later, and with it the answer ([`erased`]).
    ///
    /// # Errors
    /// When the store failed.
    fn erase(
        &self,
        tx: &mut Tx,
        user_id: i64,
    ) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;
}

/// The handler of a group that follows `user.events`.
pub struct Accounts<F>(pub F);

/// The group of `db` in which `follower` reacts.
pub fn group(db: &Db, name: &'static str, follower: impl Follower) -> Consumer {
    let handler = Arc::new(Accounts(follower));
    SqlConsumer::new(db.clone(), name, &[topic::USERS], handler).consumer()
}

#[async_trait]
impl<F: Follower> Handler for Accounts<F> {
    async fn handle(&self, tx: &mut Tx, event: &Envelope) -> Result<(), HandlerError> {
        // A service without names is not held up by an event whose name can't be read.
        let change = if F::NAMES {
            AccountChange::of(event)?
        } else {
            AccountChange::closed_by(event)?
        };
        match change {
            Some(AccountChange::Named { user_id, username }) => {
                let is_new = rename(tx, user_id, &username, event.sequence).await?;
                if is_new {
                    self.0.renamed(tx, user_id).await?;
                }
            }
            Some(AccountChange::Closed { user_id }) => {
                let is_new = close(tx, user_id, event.sequence).await?;
                if is_new && let Some(records) = self.0.erase(tx, user_id).await? {
                    erased(tx, user_id, records).await?;
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Takes the names from the log anew. Known ones stay until the log changes them, since it forgets
    /// after a week; closed accounts stay closed.
    async fn reset(&self, tx: &mut Tx, _: &[String]) -> Result<(), StoreError> {
        execute!(
            tx,
            "update accounts set version = 0 where closed_at is null"
        )
    }
}

/// Answers that this service holds nothing of a closed account any more: `user.erased`.
///
/// # Errors
/// When the store failed.
pub async fn erased(tx: &mut Tx, user_id: i64, records: u64) -> Result<(), StoreError> {
    let service = tx.shared.settings.service.to_owned();
    let answer = UserErased {
        user_id,
        service,
        records,
    };
    tx.publish(&answer, 1).await
}

/// Makes an account known by the name that came with the caller, unless an event of it came before.
///
/// # Errors
/// When the store failed.
pub async fn introduce(tx: &mut Tx, user_id: i64, username: &str) -> Result<(), StoreError> {
    // Nothing on a conflict: two writes that share the row would wait for each other to change it.
    execute!(tx,
        "insert into accounts (user_id, username, version) values ($1, $2, 0)
         on conflict (user_id) do nothing" => user_id, username)
}

/// Makes an account known, and keeps it from being closed until the end of the write. `??` refuses a closed
/// one.
///
/// # Errors
/// When the store failed; the inner one when the account is closed.
pub async fn hold_open(
    tx: &mut Tx,
    user_id: i64,
    username: &str,
) -> Result<Result<(), Closed>, StoreError> {
    introduce(tx, user_id, username).await?;
    let lock = tx.dialect().for_share();
    let statement =
        format!("select 1 from accounts where user_id = $1 and closed_at is null{lock}");
    let open: Option<i32> = fetch_optional!(tx, scalar AssertSqlSafe(statement) => user_id)?;
    Ok(open.map(drop).ok_or(Closed))
}

/// Takes over a name from the account's event `version`; true if this changes a name that was shown. An
/// event older than the last one changes nothing.
async fn rename(
    tx: &mut Tx,
    user_id: i64,
    username: &str,
    version: i64,
) -> Result<bool, StoreError> {
    let before: Option<String> = fetch_optional!(tx, scalar
        "select username from accounts where user_id = $1" => user_id)?;
    let taken = rows_affected!(tx,
        "insert into accounts (user_id, username, version) values ($1, $2, $3)
         on conflict (user_id) do update set
            username = excluded.username, version = excluded.version
         where accounts.version < excluded.version and accounts.closed_at is null"
        => user_id, username, version)?;
    Ok(taken == 1 && before.is_some_and(|before| before != username))
}

/// Closes an account: its name and its keys are forgotten. False if it was closed before: then its data is
/// erased, or about to be.
async fn close(tx: &mut Tx, user_id: i64, version: i64) -> Result<bool, StoreError> {
    let now = tx.now();
    let closed = rows_affected!(tx,
        "insert into accounts (user_id, username, version, closed_at) values ($1, '', $2, $3)
         on conflict (user_id) do update set
            username = '', version = excluded.version, closed_at = excluded.closed_at
         where accounts.closed_at is null" => user_id, version, now)?;
    idempotency::forget(tx, user_id).await?;
    Ok(closed == 1)
}
