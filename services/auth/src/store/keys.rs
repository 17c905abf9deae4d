//! Statements on signing keys.

use chrono::{DateTime, TimeDelta, Utc};
use sql::{Reader, StoreError, Tx, execute, fetch_all};

/// The greatest difference between the clocks of two replicas.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(1);

/// A signing key as it is stored.
pub struct StoredKey {
    /// The key's id.
    pub kid: String,
    /// The key's number, from 1, with retired ones counted.
    pub generation: i64,
    /// The encrypted key.
    pub sealed: Vec<u8>,
    /// True if its time to sign has come.
    pub signs: bool,
    /// True if its time comes within the difference of two clocks: another process made it just
    /// now.
    pub about_to_sign: bool,
    /// True if everything it signed has expired.
    pub retired: bool,
}

/// All keys as they are `now`; the last one that signs is the latest.
pub async fn signing_keys(
    reader: &mut Reader,
    now: DateTime<Utc>,
) -> Result<Vec<StoredKey>, StoreError> {
    #[derive(sqlx_macros::FromRow)]
    struct Row {
        kid: String,
        generation: i64,
        sealed: Vec<u8>,
        signs_from: DateTime<Utc>,
        retired_at: Option<DateTime<Utc>>,
    }
    let rows: Vec<Row> = fetch_all!(
        reader,
        "select kid, generation, sealed, signs_from, retired_at
         from signing_keys order by signs_from, generation"
    )?;
    let stored = |row: Row| StoredKey {
        kid: row.kid,
        generation: row.generation,
        sealed: row.sealed,
        signs: row.retired_at.is_none() && row.signs_from <= now,
        about_to_sign: row.retired_at.is_none() && row.signs_from <= now + CLOCKS_DIFFER,
        retired: row.retired_at.is_some(),
    };
    Ok(rows.into_iter().map(stored).collect())
}

/// Adds a key that signs from now on, after the keys that were read. If another process that read
/// the same was first, nothing is added.
pub async fn add_signing_key(
    tx: &mut Tx,
    generation: i64,
    kid: &str,
    sealed: &[u8],
) -> Result<(), StoreError> {
    let now = tx.now();
    execute!(tx,
        "insert into signing_keys (kid, generation, sealed, published_at, signs_from)
         values ($1, $2, $3, $4, $4) on conflict (generation) do nothing"
        => kid, generation, sealed, now)
}
