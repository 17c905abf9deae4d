//! Calls to the outside (mail, SMS, webhooks), which no transaction can undo.
//!
//! A write claims the call, the call is made, and a second write settles its outcome. A crash in between
//! leaves the claim: the call may have been made, so it is not made again. A sweep shows it as
//! uncertain, and an operator who finds out settles it. All attempts have the same key: give it to the provider
//! (Message-ID, idempotency key), which then drops a second one.

use chrono::{DateTime, TimeDelta, Utc};

use crate::db::Reader;
use crate::error::StoreError;
use crate::tx::Tx;
use crate::{execute, fetch_all, fetch_optional, rows_affected};

/// Time for which a call's outcome is remembered at least. It is longer while an event is parked that may
/// have caused the call: a replay must not make it again. A group that is reset after this time, over a
/// topic that keeps its records for longer, makes its calls again.
pub const KEPT: TimeDelta = TimeDelta::days(30);
/// Number of settled claims that a sweep removes at most, so that nobody waits long for it.
const REMOVED_AT_ONCE: i64 = 500;

/// The right to make a call once.
#[derive(Debug, Clone, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct Claim {
    /// Names the call, in every attempt.
    pub key: String,
    /// 1 for the first attempt.
    pub attempt: i64,
}

/// The outcome of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The provider took it.
    Done,
    /// The provider did not take it; from then on it may be tried again.
    Retry(DateTime<Utc>, String),
    /// The provider did not take it, and never will.
    Failed(String),
    /// No answer came: the provider may have taken it.
    Uncertain(String),
}

/// Claims the call `key`, in a write committed before the call is made. `None` when the call was made, is
/// being made, may have been made, or must wait.
///
/// # Errors
/// When the store failed.
pub async fn claim(tx: &mut Tx, key: &str) -> Result<Option<Claim>, StoreError> {
    let now = tx.now();
    fetch_optional!(tx,
        "insert into claims (key, state, attempt, claimed_at) values ($1, 'claimed', 1, $2)
         on conflict (key) do update set
            state = 'claimed', attempt = claims.attempt + 1, claimed_at = excluded.claimed_at
         where claims.state = 'retry' and claims.retry_at <= excluded.claimed_at
         returning key, attempt" => key, now)
}

/// Stores the outcome of the call of `claim`; false when it is known already. An uncertain one may be
/// settled late, by its answer or by an operator.
///
/// # Errors
/// When the store failed.
pub async fn settle(tx: &mut Tx, claim: &Claim, outcome: &Outcome) -> Result<bool, StoreError> {
    let (state, retry_at, error) = match outcome {
        Outcome::Done => ("done", None, None),
        Outcome::Retry(at, error) => ("retry", Some(*at), Some(error)),
        Outcome::Failed(error) => ("failed", None, Some(error)),
        Outcome::Uncertain(error) => ("uncertain", None, Some(error)),
    };
    let settled = rows_affected!(tx,
        "update claims set state = $3, retry_at = $4, error = $5
         where key = $1 and attempt = $2 and state in ('claimed', 'uncertain')"
        => &claim.key, claim.attempt, state, retry_at, error)?;
    Ok(settled == 1)
}

/// Makes claims uncertain that are older than the longest call, `longest`, and answers how many. Removes
/// some that were settled long ago.
///
/// # Errors
/// When the store failed.
pub async fn sweep(tx: &mut Tx, longest: TimeDelta) -> Result<u64, StoreError> {
    let now = tx.now();
    execute!(tx,
        "delete from claims where key in (
            select key from claims where state in ('done', 'failed') and claimed_at <= $1
            and not exists (select 1 from parked_keys where since <= claimed_at) limit $2)"
        => now - KEPT, REMOVED_AT_ONCE)?;
    rows_affected!(tx,
        "update claims set state = 'uncertain', error = 'whoever made the call did not say how it went'
         where state = 'claimed' and claimed_at <= $1" => now - longest)
}

/// Up to `limit` calls that may have been made, the oldest first.
///
/// # Errors
/// When the store failed.
pub async fn uncertain(reader: &mut Reader, limit: i64) -> Result<Vec<Claim>, StoreError> {
    fetch_all!(reader,
        "select key, attempt from claims where state = 'uncertain'
         order by claimed_at, key limit $1" => limit)
}
