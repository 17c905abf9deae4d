//! Statements on closed accounts, and on the services' answers that they hold nothing of them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sql::{Reader, StoreError, Tx, execute, fetch_all, fetch_optional};

/// A service's answer that it holds nothing of an account any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx_macros::FromRow)]
pub struct ErasureRow {
    pub service: String,
    /// How many records it erased.
    pub records: i64,
    /// When the answer came.
    pub erased_at: DateTime<Utc>,
}

/// Notes a service's answer. Of several the first counts.
pub async fn note_erasure(
    tx: &mut Tx,
    user_id: i64,
    service: &str,
    records: i64,
) -> Result<(), StoreError> {
    let now = tx.now();
    execute!(tx,
        "insert into erasures (user_id, service, records, erased_at) values ($1, $2, $3, $4)
         on conflict (user_id, service) do nothing" => user_id, service, records, now)
}

/// When an account was closed, and the answers so far; `None` if it was not.
pub async fn erasure(
    reader: &mut Reader,
    user_id: i64,
) -> Result<Option<(DateTime<Utc>, Vec<ErasureRow>)>, StoreError> {
    let closed: Option<DateTime<Utc>> = fetch_optional!(reader, scalar
        "select closed_at from closed_accounts where user_id = $1" => user_id)?;
    let Some(closed) = closed else {
        return Ok(None);
    };
    let answers = fetch_all!(reader,
        "select service, records, erased_at from erasures where user_id = $1 order by service"
        => user_id)?;
    Ok(Some((closed, answers)))
}
