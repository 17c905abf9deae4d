//! What was already asked for under a key. The record lies in the same write as the post.

use chrono::{DateTime, Utc};
use sql::{StoreError, Tx, on};
use uuid::Uuid;

use crate::idempotency::{KEPT, KeyedRequest};

/// How many forgotten records a new one takes away with it, so that nobody has to sweep.
const REMOVED_WITH_EACH: i64 = 4;

/// The post that was published under a key. Title, content and tags are those of the request.
#[derive(Debug, sqlx_macros::FromRow)]
pub struct Record {
    /// The post.
    pub post_id: Uuid,
    /// The author's name in the answer; in a claim the one to use where the author is not known.
    pub username: String,
    /// When it was published.
    pub created_at: DateTime<Utc>,
}

/// What a key turned out to be.
pub enum Claim {
    /// New, and now taken.
    New,
    /// Taken by the same request before.
    Seen(Record),
    /// Taken by another request before.
    Other,
}

/// Takes `request.key` for the post in `record`. Two at once: the second waits for the first.
pub async fn claim(
    tx: &mut Tx,
    user_id: i64,
    request: &KeyedRequest,
    record: Record,
) -> Result<Claim, StoreError> {
    let forgotten = record.created_at - KEPT;
    let taken = on!(tx, conn => sqlx::query(
        "insert into idempotency_records (user_id, key, fingerprint, post_id, username, created_at)
         values ($1, $2, $3, $4,
            coalesce((select username from authors where user_id = $1), $5), $6)
         on conflict (user_id, key) do update set
            fingerprint = excluded.fingerprint, post_id = excluded.post_id,
            username = excluded.username, created_at = excluded.created_at
         where idempotency_records.created_at <= $7",
    )
    .bind(user_id)
    .bind(&request.key)
    .bind(&request.fingerprint)
    .bind(record.post_id)
    .bind(&record.username)
    .bind(record.created_at)
    .bind(forgotten)
    .execute(&mut *conn)
    .await
    .map(|done| done.rows_affected()))?;
    if taken == 1 {
        remove_forgotten(tx, forgotten).await?;
        return Ok(Claim::New);
    }
    let seen: Option<Record> = on!(tx, conn => sqlx::query_as(
        "select post_id, username, created_at from idempotency_records
         where user_id = $1 and key = $2 and fingerprint = $3",
    )
    .bind(user_id)
    .bind(&request.key)
    .bind(&request.fingerprint)
    .fetch_optional(&mut *conn)
    .await)?;
    Ok(seen.map_or(Claim::Other, Claim::Seen))
}

async fn remove_forgotten(tx: &mut Tx, before: DateTime<Utc>) -> Result<(), StoreError> {
    on!(tx, conn => sqlx::query(
        "delete from idempotency_records where (user_id, key) in
            (select user_id, key from idempotency_records where created_at <= $1
             order by created_at limit $2)",
    )
    .bind(before)
    .bind(REMOVED_WITH_EACH)
    .execute(&mut *conn)
    .await
    .map(|_| ()))
}

/// Forgets all keys of an account.
pub async fn forget(tx: &mut Tx, user_id: i64) -> Result<(), StoreError> {
    on!(tx, conn => sqlx::query("delete from idempotency_records where user_id = $1")
        .bind(user_id)
        .execute(&mut *conn)
        .await
        .map(|_| ()))
}
