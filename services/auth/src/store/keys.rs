//! Statements on signing keys.

use chrono::{DateTime, Utc};
use sql::{Reader, StoreError, Tx, execute, fetch_all, rows_affected};

/// A signing key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct StoredKey {
    /// The key's id.
    pub kid: String,
    /// The key's number, from 1, with retired ones counted.
    pub generation: i64,
    /// The encrypted key.
    pub sealed: Vec<u8>,
    /// Since when the JWKS has it.
    pub published_at: DateTime<Utc>,
    /// From when on it signs, until the next one does.
    pub signs_from: DateTime<Utc>,
    /// When it was taken out of the JWKS by a word, and not by the time.
    pub retired_at: Option<DateTime<Utc>>,
}

/// All keys, in the order in which they sign.
pub async fn signing_keys(reader: &mut Reader) -> Result<Vec<StoredKey>, StoreError> {
    fetch_all!(
        reader,
        "select kid, generation, sealed, published_at, signs_from, retired_at
         from signing_keys order by signs_from, generation"
    )
}

/// Adds a key after the keys that were read. False if another process that read the same was first: then
/// nothing is added.
pub async fn add_signing_key(tx: &mut Tx, key: &StoredKey) -> Result<bool, StoreError> {
    let added = rows_affected!(tx,
        "insert into signing_keys (kid, generation, sealed, published_at, signs_from)
         values ($1, $2, $3, $4, $5) on conflict (generation) do nothing"
        => &key.kid, key.generation, &key.sealed, key.published_at, key.signs_from)?;
    Ok(added == 1)
}

/// Takes all keys but one out of the JWKS.
pub async fn retire_others(tx: &mut Tx, kid: &str) -> Result<(), StoreError> {
    let now = tx.now();
    execute!(tx, "update signing_keys set retired_at = $2 where kid <> $1 and retired_at is null"
        => kid, now)
}
