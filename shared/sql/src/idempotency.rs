//! Does requests once that may be sent twice. The key lies in the same write as the effect, so neither is
//! there without the other; a refused request leaves no key.

use blocks::extract::{KeyRefused, KeyedRequest};
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::db::Db;
use crate::dialect::Dialect;
use crate::error::StoreError;
use crate::tx::Tx;
use crate::{execute, fetch_optional, rows_affected};

/// Number of forgotten keys that a new one removes, so that nobody has to sweep.
const REMOVED_WITH_EACH: i64 = 4;

/// Time that a request waits for another one under its key. SQLite's one writer makes it wait anyway, and
/// it gets the first one's answer.
const WAITS: &str = "set local lock_timeout = '2s'";

impl Db {
    /// [Writes](Self::write) by `work`, as an `operation` of an account. Its answer is stored under the key of
    /// `request`: the same request again does nothing and gets that answer, from which the response is made.
    ///
    /// # Errors
    /// Those of `work`, [`KeyRefused`], or that the store failed.
    pub async fn write_once<T, E, F>(
        &self,
        operation: (&'static str, i64),
        request: Option<KeyedRequest>,
        work: F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        E: From<StoreError> + From<KeyRefused> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        self.write(move |tx| Box::pin(once(tx, operation, request, work)))
            .await
    }
}

/// [`Db::write_once`] inside of its write, which an error undoes.
async fn once<T, E, F>(
    tx: &mut Tx,
    (operation, user_id): (&'static str, i64),
    request: Option<KeyedRequest>,
    work: F,
) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: From<StoreError> + From<KeyRefused>,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>>,
{
    let Some(KeyedRequest { key, fingerprint }) = request else {
        return work(tx).await;
    };
    let now = tx.now();
    let forgotten = now - KeyedRequest::KEPT;
    let waits = tx.dialect() == Dialect::Postgres;
    if waits {
        tx.run(WAITS).await?;
    }
    let taken = rows_affected!(tx,
        "insert into idempotency_keys (user_id, operation, key, fingerprint, answer, created_at)
         values ($1, $2, $3, $4, '', $5)
         on conflict (user_id, operation, key) do update set
            fingerprint = excluded.fingerprint, answer = '', created_at = excluded.created_at
         where idempotency_keys.created_at <= $6"
        => user_id, operation, &key, &fingerprint, now, forgotten);
    let taken = match taken {
        Err(error) if error.is_lock_timeout() => return Err(KeyRefused::InFlight.into()),
        taken => taken?,
    };
    if waits {
        tx.run("set local lock_timeout to default").await?;
    }
    if taken == 0 {
        let answer: Option<String> = fetch_optional!(tx, scalar
            "select answer from idempotency_keys
             where user_id = $1 and operation = $2 and key = $3 and fingerprint = $4"
            => user_id, operation, &key, &fingerprint)?;
        let answer = answer.ok_or(KeyRefused::Reused)?;
        return Ok(serde_json::from_str(&answer).map_err(StoreError::from)?);
    }
    let answer = work(tx).await?;
    let text = serde_json::to_string(&answer).map_err(StoreError::from)?;
    execute!(tx,
        "update idempotency_keys set answer = $4 where user_id = $1 and operation = $2 and key = $3"
        => user_id, operation, &key, text)?;
    remove_forgotten(tx, forgotten).await?;
    Ok(answer)
}

async fn remove_forgotten(tx: &mut Tx, before: DateTime<Utc>) -> Result<(), StoreError> {
    execute!(tx,
        "delete from idempotency_keys where (user_id, operation, key) in
            (select user_id, operation, key from idempotency_keys where created_at <= $1
             order by created_at limit $2)" => before, REMOVED_WITH_EACH)
}

/// Forgets all keys of an account: answers may name it.
///
/// # Errors
/// When the store failed.
pub async fn forget(tx: &mut Tx, user_id: i64) -> Result<(), StoreError> {
    execute!(tx, "delete from idempotency_keys where user_id = $1" => user_id)
}
