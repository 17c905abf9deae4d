//! Statements on people as providers know them, and on what signs them in once.

use chrono::{DateTime, Utc};
use sql::{Reader, StoreError, Tx, execute, fetch_optional, rows_affected};
use sqlx::AssertSqlSafe;

use crate::domain::key;

/// An account that somebody may be signed in to.
#[derive(Debug, Clone, Copy, sqlx_macros::FromRow)]
pub struct KnownAccount {
    pub id: i64,
    pub is_active: bool,
    pub email_verified: bool,
}

/// Notes that a state has brought somebody in; false if it had before.
pub async fn use_state(
    tx: &mut Tx,
    hash: &[u8],
    expires_at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let now = tx.now();
    execute!(tx, "delete from oidc_states where expires_at <= $1" => now)?;
    let added = rows_affected!(tx,
        "insert into oidc_states (hash, expires_at) values ($1, $2)
         on conflict (hash) do nothing" => hash, expires_at)?;
    Ok(added == 1)
}

/// The account of `subject`.
pub async fn account_of_identity(
    tx: &mut Tx,
    issuer: &str,
    subject: &str,
) -> Result<Option<KnownAccount>, StoreError> {
    fetch_optional!(tx,
        "select u.id, u.is_active, u.email_verified
         from oidc_identities i join users u on u.id = i.user_id
         where i.issuer = $1 and i.subject = $2" => issuer, subject)
}

/// The account with this address, which keeps it until the end of the write.
pub async fn account_to_link(tx: &mut Tx, email: &str) -> Result<Option<KnownAccount>, StoreError> {
    let lock = tx.dialect().for_update();
    let statement =
        format!("select id, is_active, email_verified from users where email_key = $1{lock}");
    fetch_optional!(tx, AssertSqlSafe(statement) => key(email))
}

/// Links an account to `subject`; false if that has an account, or the account somebody else there.
pub async fn add_identity(
    tx: &mut Tx,
    user_id: i64,
    issuer: &str,
    subject: &str,
) -> Result<bool, StoreError> {
    let now = tx.now();
    let added = rows_affected!(tx,
        "insert into oidc_identities (issuer, subject, user_id, created_at) values ($1, $2, $3, $4)
         on conflict do nothing" => issuer, subject, user_id, now)?;
    Ok(added == 1)
}

/// Unlinks an account whose address nobody has verified: whoever is linked may not be its owner.
pub async fn unlink_unverified(tx: &mut Tx, user_id: i64) -> Result<(), StoreError> {
    execute!(tx,
        "delete from oidc_identities where user_id = $1
            and exists (select 1 from users where id = $1 and not email_verified)" => user_id)
}

/// Adds a code for a session of the account.
pub async fn add_code(
    tx: &mut Tx,
    hash: &[u8],
    user_id: i64,
    expires_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let now = tx.now();
    execute!(tx, "delete from oidc_codes where expires_at <= $1" => now)?;
    execute!(tx, "insert into oidc_codes (hash, user_id, expires_at) values ($1, $2, $3)"
        => hash, user_id, expires_at)
}

/// The account that a code is for.
pub async fn account_of_code(
    reader: &mut Reader,
    hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<i64>, StoreError> {
    fetch_optional!(reader, scalar
        "select user_id from oidc_codes where hash = $1 and expires_at > $2" => hash, now)
}

/// Uses a code up; false if somebody else has.
pub async fn take_code(tx: &mut Tx, hash: &[u8]) -> Result<bool, StoreError> {
    let taken = rows_affected!(tx, "delete from oidc_codes where hash = $1" => hash)?;
    Ok(taken == 1)
}

/// Makes the account's codes useless.
pub async fn remove_codes(tx: &mut Tx, user_id: i64) -> Result<(), StoreError> {
    execute!(tx, "delete from oidc_codes where user_id = $1" => user_id)
}
