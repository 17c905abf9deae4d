//! Signing keys.

use chrono::{DateTime, Utc};
use sql::{Db, StoreError, on};

/// A signing key as it is stored.
pub struct StoredKey {
    /// Its id.
    pub kid: String,
    /// Encrypted.
    pub sealed: Vec<u8>,
    /// Whether its time to sign has come.
    pub signs: bool,
}

/// The keys that are not retired; of those that sign, the latest is the last.
pub async fn signing_keys(db: &Db) -> Result<Vec<StoredKey>, StoreError> {
    let now = db.settings().clock.now();
    let mut reader = db.read().await?;
    let rows: Vec<(String, Vec<u8>, DateTime<Utc>)> = on!(reader, conn => sqlx::query_as(
        "select kid, sealed, signs_from from signing_keys
         where retired_at is null order by signs_from, generation",
    )
    .fetch_all(&mut *conn)
    .await)?;
    let stored = |(kid, sealed, signs_from)| StoredKey {
        kid,
        sealed,
        signs: signs_from <= now,
    };
    Ok(rows.into_iter().map(stored).collect())
}

/// Adds a key that signs from now on, unless another process adds one at the same moment.
pub async fn add_signing_key(db: &Db, kid: String, sealed: Vec<u8>) -> Result<(), StoreError> {
    db.write(move |tx| {
        Box::pin(async move {
            let now = tx.now();
            on!(tx, conn => sqlx::query(
                "insert into signing_keys (kid, generation, sealed, published_at, signs_from)
                 select $1, coalesce(max(generation), 0) + 1, $2, $3, $3 from signing_keys
                 where true
                 on conflict (generation) do nothing",
            )
            .bind(&kid)
            .bind(&sealed)
            .bind(now)
            .execute(&mut *conn)
            .await
            .map(|_| ()))
        })
    })
    .await
}
